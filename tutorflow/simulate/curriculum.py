"""Two mathematics courses: skills with prerequisites, and items of differing difficulty.

The courses share a ladder: three skills of `linear-equations` build on skills of
`ratio-and-proportion`, which a learner of the second course may never have met. That is how a
missing prerequisite stays invisible to the AI tutor.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tutorflow.simulate.randomness import Stream, generator

ITEMS_PER_SKILL = 14
SKILLS_PER_MODULE = 3
FORMATS = ("picture", "word-problem", "equation")

COURSES = {
    "ratio-and-proportion": "Ratio and proportion",
    "linear-equations": "Linear equations",
}

# skill id, prerequisites, the error types it invites; order = order of the course
_LADDERS: dict[str, tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]] = {
    "ratio-and-proportion": (
        ("equivalent-fractions", (), ("common-factor", "concept")),
        ("fraction-multiplication", ("equivalent-fractions",), ("arithmetic", "concept")),
        ("fraction-division", ("fraction-multiplication",), ("inversion", "concept")),
        ("decimals-and-fractions", ("equivalent-fractions",), ("place-value", "concept")),
        ("ratio-notation", ("equivalent-fractions",), ("order-of-terms", "notation")),
        ("ratio-tables", ("ratio-notation",), ("additive-reasoning", "arithmetic")),
        ("unit-rates", ("ratio-tables", "fraction-division"), ("inversion", "units")),
        ("proportional-relationships", ("ratio-tables",), ("additive-reasoning", "concept")),
        (
            "percent-of-a-quantity",
            ("decimals-and-fractions", "ratio-tables"),
            ("place-value", "setup"),
        ),
        ("percent-change", ("percent-of-a-quantity",), ("wrong-base", "arithmetic")),
        ("scale-drawings", ("proportional-relationships",), ("units", "additive-reasoning")),
        ("compound-rates", ("unit-rates", "percent-change"), ("setup", "units")),
    ),
    "linear-equations": (
        ("integer-operations", (), ("sign", "arithmetic")),
        ("order-of-operations", ("integer-operations",), ("order", "sign")),
        ("writing-expressions", (), ("translation", "notation")),
        ("like-terms", ("integer-operations", "writing-expressions"), ("sign", "unlike-terms")),
        ("distributive-property", ("like-terms", "order-of-operations"), ("sign", "partial")),
        ("one-step-equations", ("integer-operations",), ("inverse-operation", "sign")),
        ("two-step-equations", ("one-step-equations",), ("inverse-operation", "order")),
        (
            "multi-step-equations",
            ("two-step-equations", "distributive-property"),
            ("isolation", "sign"),
        ),
        (
            "equations-with-fractions",
            ("multi-step-equations", "fraction-division"),
            ("common-denominator", "isolation"),
        ),
        ("slope", ("unit-rates", "integer-operations"), ("inversion", "sign")),
        ("linear-functions", ("slope", "writing-expressions"), ("intercept", "translation")),
        (
            "systems-of-equations",
            ("multi-step-equations", "linear-functions"),
            ("isolation", "elimination"),
        ),
    ),
}

# Skills beside the main line of a course; failing them holds nothing else up.
NOT_CORE = frozenset({"scale-drawings", "compound-rates", "equations-with-fractions"})


@dataclass(frozen=True)
class Skill:
    """A skill; `number`, `prerequisites` are positions in `Curriculum.skills`."""

    number: int
    skill_id: str
    course_id: str
    module_id: str
    prerequisites: tuple[int, ...]
    depth: int
    error_types: tuple[str, ...]

    @property
    def title(self) -> str:
        """'ratio-tables' -> 'Ratio tables'."""
        return self.skill_id.replace("-", " ").capitalize()

    @property
    def is_core(self) -> bool:
        """Whether later skills or the course's aim rest on it."""
        return self.skill_id not in NOT_CORE


@dataclass(frozen=True)
class Item:
    """A practice item; `difficulty` in logits on its skill's scale, `guess` = chance of luck."""

    number: int
    item_id: str
    title: str
    module_id: str
    skill: int
    second_skill: int | None
    skill_ids: str
    difficulty: float
    guess: float
    seconds_factor: float
    presentation: str


@dataclass(frozen=True)
class Curriculum:
    """All skills and items; `items_of[skill]` is sorted by difficulty."""

    skills: tuple[Skill, ...]
    items: tuple[Item, ...]
    items_of: tuple[tuple[Item, ...], ...]
    difficulties_of: tuple[tuple[float, ...], ...]
    skills_of_course: dict[str, tuple[int, ...]]
    number_of: dict[str, int] = field(repr=False)


def build_curriculum(seed: int) -> Curriculum:
    """The two courses with items whose difficulties depend on the seed alone."""
    skills = _skills()
    items = tuple(item for skill in skills for item in _items(seed, skill, skills))
    items_of = tuple(
        tuple(sorted((i for i in items if i.skill == s.number), key=lambda i: i.difficulty))
        for s in skills
    )
    return Curriculum(
        skills=skills,
        items=items,
        items_of=items_of,
        difficulties_of=tuple(tuple(i.difficulty for i in group) for group in items_of),
        skills_of_course={
            course: tuple(s.number for s in skills if s.course_id == course) for course in COURSES
        },
        number_of={s.skill_id: s.number for s in skills},
    )


def _skills() -> tuple[Skill, ...]:
    order = [(course, *entry) for course, ladder in _LADDERS.items() for entry in ladder]
    number_of = {skill_id: number for number, (_, skill_id, _, _) in enumerate(order)}
    depths: dict[str, int] = {}
    skills: list[Skill] = []
    for number, (course_id, skill_id, prerequisites, error_types) in enumerate(order):
        depths[skill_id] = 1 + max((depths[p] for p in prerequisites), default=-1)
        position = sum(s.course_id == course_id for s in skills)
        skills.append(
            Skill(
                number=number,
                skill_id=skill_id,
                course_id=course_id,
                module_id=f"{course_id}-m{position // SKILLS_PER_MODULE + 1}",
                prerequisites=tuple(number_of[p] for p in prerequisites),
                depth=depths[skill_id],
                error_types=error_types,
            )
        )
    return tuple(skills)


def _items(seed: int, skill: Skill, skills: tuple[Skill, ...]) -> list[Item]:
    rng = generator(seed, Stream.ITEMS, skill.number)
    items = []
    for position in range(ITEMS_PER_SKILL):
        # Pictures tend to be easier; the last item joins the skill to its prerequisite.
        presentation = FORMATS[position * len(FORMATS) // ITEMS_PER_SKILL]
        is_joint = position == ITEMS_PER_SKILL - 1 and bool(skill.prerequisites)
        second = skill.prerequisites[0] if is_joint else None
        is_choice = rng.random() < 0.4
        skill_ids = [skill.skill_id, *([skills[second].skill_id] if second is not None else [])]
        items.append(
            Item(
                number=skill.number * ITEMS_PER_SKILL + position,
                item_id=f"{skill.skill_id}-{position + 1:02d}",
                title=f"{skill.title}: {presentation.replace('-', ' ')} {position + 1}",
                module_id=skill.module_id,
                skill=skill.number,
                second_skill=second,
                skill_ids="~~".join(skill_ids),
                difficulty=rng.gauss(-0.5 + 0.4 * FORMATS.index(presentation), 0.65),
                guess=0.22 if is_choice else 0.03,
                seconds_factor=rng.lognormvariate(0.0, 0.25),
                presentation=presentation,
            )
        )
    return items
