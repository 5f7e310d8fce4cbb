"""Who the learners are: types, traits, starting knowledge, habits, enrolments, coaches."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tutorflow.simulate.config import SimulationConfig
from tutorflow.simulate.curriculum import COURSES, Curriculum
from tutorflow.simulate.randomness import Floats, Stream, generator

GAP_LEVEL = -2.6  # a prerequisite that was never learnt, in logits


@dataclass(frozen=True)
class LearnerType:
    """Mean traits of a type; every learner scatters around them, so the types overlap.

    share: of all learners. ability: logits on every skill at the start. learning: factor on the
    gain per opportunity. motivation: level that the motivation returns to. drift: how far that
    level sinks per week, from a day of the learner's own on. belief_bias: how far belief lies below
    skill. loss_aversion: weight of a failure against a success for belief and frustration. gaming:
    chance of a rapid guess on an item. help: factor on asking for hints. gaps: prerequisites never
    learnt that a lucky placement test hid.
    """

    share: float
    ability: float = 0.0
    learning: float = 1.0
    motivation: float = 0.35
    drift: float = 0.02
    belief_bias: float = 0.0
    loss_aversion: float = 1.0
    gaming: float = 0.01
    help: float = 1.0
    gaps: int = 0


TYPES: dict[str, LearnerType] = {
    "steady": LearnerType(share=0.41),
    "thriving": LearnerType(share=0.17, ability=0.7, learning=1.3, motivation=0.9, drift=0.0),
    "wheel_spinning": LearnerType(share=0.13, ability=-0.3, learning=0.85, help=1.3, gaps=2),
    "anxious": LearnerType(
        share=0.09, ability=0.4, motivation=0.1, belief_bias=1.7, loss_aversion=2.0, help=1.8
    ),
    "gaming": LearnerType(
        share=0.06, ability=-0.1, motivation=0.0, belief_bias=-0.6, gaming=0.25, help=1.5
    ),
    "drifting": LearnerType(share=0.10, motivation=0.2, drift=0.55, belief_bias=0.3),
    "never_started": LearnerType(share=0.04, motivation=-4.0),
}

HELP_STYLES = {"adaptive": (0.55, 1.0), "avoidant": (0.20, 0.1), "dependent": (0.25, 2.6)}
AGE_BANDS = {"under_13": 0.25, "13_17": 0.55, "adult": 0.20}
PROGRAMMES = {"after_school": 0.7, "summer_bridge": 0.3}
BOTH_COURSES_SHARE = 0.12
COHORT_SIZE = 30


@dataclass
class Population:
    """Traits as arrays over learners (n,), skills (n, skills) and hours of the local week (n, 168).

    `rhythm` sums to 1 over the week; `sessions_per_week` is the rate at motivation 0; `pace` is the
    log of the own factor on response times; `enrolled_hour` counts hours from the start.
    """

    user_ids: list[str]
    types: list[str]
    help_styles: list[str]
    courses: list[tuple[str, ...]]
    age_bands: list[str]
    programmes: list[str]
    enrolled_hour: NDArray[np.int64]
    skill: Floats
    learning: Floats
    motivation: Floats
    drift: Floats
    drift_from_day: Floats
    belief_bias: Floats
    loss_aversion: Floats
    gaming: Floats
    help: Floats
    sessions_per_week: Floats
    session_minutes: Floats
    pace: Floats
    rhythm: NDArray[np.float32]
    placed_out: list[frozenset[int]]
    live_slot: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.user_ids)

    def cohort(self, learner: int) -> str:
        """The cohort of a learner: neighbours in number started together."""
        return f"cohort-{learner // COHORT_SIZE + 1:02d}"

    def coach(self, learner: int, coaches: int) -> str:
        """The coach in charge: caseloads are dealt out one by one."""
        return f"coach-{learner % coaches + 1:02d}"


def build_population(config: SimulationConfig, curriculum: Curriculum) -> Population:
    """Draw every learner from a generator of their own; learner k is the same in any programme."""
    n, skills = config.learners, len(curriculum.skills)
    width = max(4, len(str(n)))
    population = Population(
        user_ids=[f"learner-{k + 1:0{width}d}" for k in range(n)],
        types=[],
        help_styles=[],
        courses=[],
        age_bands=[],
        programmes=[],
        enrolled_hour=np.zeros(n, dtype=np.int64),
        skill=np.zeros((n, skills)),
        learning=np.zeros(n),
        motivation=np.zeros(n),
        drift=np.zeros(n),
        drift_from_day=np.zeros(n),
        belief_bias=np.zeros(n),
        loss_aversion=np.zeros(n),
        gaming=np.zeros(n),
        help=np.zeros(n),
        sessions_per_week=np.zeros(n),
        session_minutes=np.zeros(n),
        pace=np.zeros(n),
        rhythm=np.zeros((n, 168), dtype=np.float32),
        placed_out=[],
        live_slot=np.zeros(n, dtype=np.int64),
    )
    for learner in range(n):
        rng = generator(config.seed, Stream.TRAITS, learner)
        _draw_traits(population, learner, rng)
        _draw_knowledge(population, learner, curriculum, rng)
        _draw_habits(population, learner, rng)
    return population


def _choice(rng: random.Random, shares: dict[str, float]) -> str:
    return rng.choices(list(shares), weights=list(shares.values()))[0]


def _draw_traits(people: Population, learner: int, rng: random.Random) -> None:
    name = _choice(rng, {name: kind.share for name, kind in TYPES.items()})
    kind = TYPES[name]
    style = _choice(rng, {style: share for style, (share, _) in HELP_STYLES.items()})
    people.types.append(name)
    people.help_styles.append(style)
    people.age_bands.append(_choice(rng, AGE_BANDS))
    people.programmes.append(_choice(rng, PROGRAMMES))
    people.learning[learner] = 0.12 * kind.learning * rng.lognormvariate(0.0, 0.3)
    people.motivation[learner] = rng.gauss(kind.motivation, 0.35)
    people.drift[learner] = max(0.0, kind.drift * rng.lognormvariate(0.0, 0.4))
    people.drift_from_day[learner] = rng.uniform(5.0, 40.0)
    people.belief_bias[learner] = rng.gauss(kind.belief_bias, 0.35)
    people.loss_aversion[learner] = kind.loss_aversion * rng.lognormvariate(0.0, 0.2)
    people.gaming[learner] = kind.gaming * rng.lognormvariate(0.0, 0.5)
    people.help[learner] = kind.help * HELP_STYLES[style][1] * rng.lognormvariate(0.0, 0.3)


def _draw_knowledge(
    people: Population, learner: int, curriculum: Curriculum, rng: random.Random
) -> None:
    kind = TYPES[people.types[learner]]
    first = list(COURSES)[0 if rng.random() < 0.55 else 1]
    both = rng.random() < BOTH_COURSES_SHARE
    people.courses.append(tuple(COURSES) if both else (first,))
    ability = rng.gauss(kind.ability, 0.45)
    for skill in curriculum.skills:
        level = ability - 0.55 - 0.22 * skill.depth + rng.gauss(0.0, 0.35)
        people.skill[learner, skill.number] = level
    course_skills = set(curriculum.skills_of_course[people.courses[learner][0]])
    needed_later = sorted(
        {p for s in curriculum.skills if s.number in course_skills for p in s.prerequisites}
    )
    gaps = rng.sample(needed_later, min(kind.gaps, len(needed_later)))
    people.skill[learner, gaps] = [GAP_LEVEL + rng.gauss(0.0, 0.2) for _ in gaps]
    # A placement test lets through who knows a skill - and, by luck, who does not.
    passed = {
        skill.number
        for skill in curriculum.skills
        if people.skill[learner, skill.number] + rng.gauss(0.0, 0.4) > 1.3
    }
    people.placed_out.append(frozenset(passed | set(gaps)))


def _draw_habits(people: Population, learner: int, rng: random.Random) -> None:
    people.sessions_per_week[learner] = rng.lognormvariate(np.log(2.6), 0.35)
    people.session_minutes[learner] = rng.lognormvariate(np.log(24.0), 0.25)
    people.pace[learner] = rng.gauss(0.0, 0.28)
    people.rhythm[learner] = _rhythm(rng)
    is_late = rng.random() < 0.15
    people.enrolled_hour[learner] = rng.randrange(24, 12 * 24) if is_late else rng.randrange(6, 20)
    # One weekly live session, Monday to Friday between 14:00 and 18:00 local time.
    people.live_slot[learner] = rng.randrange(5) * 24 + rng.randrange(14, 19)


def _rhythm(rng: random.Random) -> NDArray[np.float32]:
    """Share of a learner's sessions that start in each hour of the local week."""
    weekday_peak, weekend_peak = rng.gauss(16.8, 1.8), rng.gauss(12.5, 2.5)
    width = rng.uniform(1.3, 2.6)
    days = [rng.lognormvariate(0.0, 0.45) for _ in range(5)]
    days += [0.55 * rng.lognormvariate(0.0, 0.7) for _ in range(2)]
    hours = np.arange(24)
    week = np.concatenate(
        [
            weight
            * np.exp(-0.5 * ((hours - (weekday_peak if d < 5 else weekend_peak)) / width) ** 2)
            for d, weight in enumerate(days)
        ]
    )
    awake = np.tile(np.where((hours >= 6) & (hours < 23), 1.0, 0.02), 7)
    week = (week + 0.004) * awake
    return np.asarray(week / week.sum(), dtype=np.float32)
