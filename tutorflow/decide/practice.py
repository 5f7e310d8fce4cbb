"""The practice plan: the next skill and how hard, for the AI tutor and everybody who asks why.

Goal: the skill the learner works on, or the next one of the course. Bottleneck: of the goal's
prerequisites that are not mastered, the one furthest upstream comes first. Difficulty: tasks whose
predicted chance of a right answer is nearest to a target that follows the learner's state. The
chance is a logistic of four inputs (METHODS 1): how often the task is solved (smoothed, as of the
end of the day before), the mastery estimate, and the learner's right and wrong tries on the skill.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from tutorflow.decide.frames import frame, rows_of
from tutorflow.decide.names import name_of
from tutorflow.policy.model import Band, Policy, Practice
from tutorflow.roster import Roster
from tutorflow.roster_columns import split_list

Learner = tuple[str, str]  # learner, course

# What the learners had done on each skill (of any course) before their moment.
SKILLS = """
    select
        asked.learner_id, asked.course_id, done.skill_id,
        count(*) filter (done.is_correct) as wins,
        count(*) filter (not done.is_correct) as misses,
        last(done.p_mastery_after order by done.known_at, done.opportunity) as p_mastery,
        max(done.p_mastery_after) as p_max,
        last(not done.is_correct order by done.known_at, done.opportunity) as is_last_wrong,
        bool_or(done.course_id = asked.course_id) as is_of_course,
        max(done.responded_at) as last_at
    from asked_plans as asked
    inner join marts.response_skills as done
        on done.learner_id = cast(asked.learner_id as uuid) and done.known_at < asked.as_of
    group by all
    order by all
"""

# Their last answers, newest first.
LAST_ANSWERS = """
    select asked.learner_id, asked.course_id, answers.item_id, answers.is_correct
    from asked_plans as asked
    inner join marts.responses as answers
        on answers.learner_id = cast(asked.learner_id as uuid)
        and answers.course_id = asked.course_id
        and answers.known_at < asked.as_of
        and answers.is_first_attempt
    qualify row_number() over (
        partition by asked.learner_id, asked.course_id order by answers.response_number desc
    ) <= $count
    order by asked.learner_id, asked.course_id, answers.response_number desc
"""

# Tasks of a skill, where no roster names them: those that anybody has been given for it.
ITEMS_SEEN = """
    select course_id, skill_id, item_id, min(known_at) as seen_at
    from marts.responses
    where item_id is not null
        and (course_id, skill_id) in (select (course_id, skill_id) from asked_skills)
    group by all
"""

# What the marts assume of a skill before the first try.
PRIORS = "select skill_id, value from seeds.measurement_constants where constant = 'bkt_prior'"

# How often each task, and all of its course, had been solved by the end of the day before.
SOLVED = """
    with items as (
        select
            course_id, item_id, known_at,
            cast(sum(first_try_count) over item as double) as tries,
            cast(sum(first_try_correct_count) over item as double) as solved
        from marts.item_days
        where (course_id, item_id) in (select (course_id, item_id) from asked_items)
        window item as (partition by course_id, item_id order by known_at)
    ),

    course_days as (
        select
            course_id, known_at,
            sum(first_try_count) as tries, sum(first_try_correct_count) as solved
        from marts.item_days
        where course_id in (select course_id from asked_items)
        group by all
    ),

    courses as (
        select
            course_id, known_at,
            cast(sum(tries) over course as double) as tries,
            cast(sum(solved) over course as double) as solved
        from course_days
        window course as (partition by course_id order by known_at)
    ),

    with_course as (
        select asked.*, courses.tries as course_tries, courses.solved as course_solved
        from asked_items as asked
        asof left join courses
            on asked.course_id = courses.course_id and asked.as_of > courses.known_at
    )

    select
        asked.*, coalesce(items.tries, 0) as tries, coalesce(items.solved, 0) as solved
    from with_course as asked
    asof left join items
        on asked.course_id = items.course_id
        and asked.item_id = items.item_id
        and asked.as_of > items.known_at
    order by all
"""


@dataclass(frozen=True)
class Skill:
    """What a learner had done on a skill at their moment; ``p_max`` is the best mastery so far."""

    skill_id: str
    wins: int
    misses: int
    p_mastery: float
    p_max: float
    is_last_wrong: bool
    is_of_course: bool
    last_at: datetime

    def is_mastered(self, policy: Policy) -> bool:
        """Mastered, or mastered once and not forgotten since: one slip is not a relapse."""
        if self.p_mastery >= policy.mastered_at:
            return True
        return (
            self.p_max >= policy.mastered_at and self.p_mastery >= policy.practice.forgotten_below
        )


@dataclass(frozen=True)
class Curriculum:
    """The roster's skills by course, in its order, and what each of them builds on."""

    of_course: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    prerequisites: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def upstream(self, skill_id: str) -> list[str]:
        """Everything the skill builds on, what lies furthest upstream first (ties by id)."""
        depth: dict[str, int] = {}
        level, distance = {skill_id}, 0
        while level:
            distance += 1
            level = {before for one in level for before in self.prerequisites.get(one, ())}
            depth.update(dict.fromkeys(level, distance))
        depth.pop(skill_id, None)
        return sorted(depth, key=lambda one: (-depth[one], one))


@dataclass(frozen=True)
class Choice:
    """The skill to practise next and why."""

    skill_id: str
    goal_id: str
    reason: str

    @property
    def is_bottleneck(self) -> bool:
        """Is it practised for the sake of another skill?"""
        return self.skill_id != self.goal_id


def curriculum(roster: Roster) -> Curriculum:
    """The skills of a roster; without skills.csv an empty one."""
    by_course: dict[str, list[str]] = defaultdict(list)
    for row in rows_of(roster.skills):
        by_course["" if pd.isna(row.course_id) else row.course_id].append(row.skill_id)
    return Curriculum(
        {course: tuple(skills) for course, skills in by_course.items()},
        dict(zip(roster.skills["skill_id"], roster.skills["prerequisites"], strict=True)),
    )


def plan(
    warehouse: duckdb.DuckDBPyConnection,
    policy: Policy,
    roster: Roster,
    moments: Mapping[Learner, tuple[datetime, str]],
    titles: Mapping[str, str],
) -> pd.DataFrame:
    """Rows of ``practice_plan`` for learners who have answered something.

    ``moments`` maps (learner, course) to the tick at which to judge, and the state then; only
    what was known before that tick counts.
    """
    if not moments:
        return pd.DataFrame()
    asked = pd.DataFrame(
        [(*who, at) for who, (at, _) in sorted(moments.items())],
        columns=["learner_id", "course_id", "as_of"],
    ).astype({"learner_id": "str", "course_id": "str", "as_of": "datetime64[us]"})
    warehouse.register("asked_plans", asked)
    skills: dict[Learner, dict[str, Skill]] = defaultdict(dict)
    for row in rows_of(frame(warehouse, SKILLS)):
        skills[row.learner_id, row.course_id][row.skill_id] = Skill(
            row.skill_id,
            int(row.wins),
            int(row.misses),
            float(row.p_mastery),
            float(row.p_max),
            bool(row.is_last_wrong),
            bool(row.is_of_course),
            row.last_at.to_pydatetime(),
        )
    rules, course = policy.practice, curriculum(roster)
    last: dict[Learner, list[tuple[str | None, bool]]] = defaultdict(list)
    count = {"count": max(rules.items_not_repeated, rules.misses_in_a_row)}
    for row in rows_of(frame(warehouse, LAST_ANSWERS, count)):
        last[row.learner_id, row.course_id].append((row.item_id, bool(row.is_correct)))
    warehouse.unregister("asked_plans")
    choices = {
        who: choice
        for who in moments
        if (choice := choose(who[1], skills[who], course, policy, titles)) is not None
    }
    offered = _offers(warehouse, rules, roster, choices, moments, skills, last)
    rows = []
    for who, choice in sorted(choices.items()):
        at, state = moments[who]
        band, because = band_of(rules, state, [right for _, right in last[who]])
        known = skills[who].get(choice.skill_id)
        rows.append(_row(who, at, state, choice, band, because, known, offered.get(who), policy))
    return pd.DataFrame(rows)


def choose(
    course_id: str,
    skills: Mapping[str, Skill],
    course: Curriculum,
    policy: Policy,
    titles: Mapping[str, str],
) -> Choice | None:
    """The next skill of a learner; None: nothing is known of them on the course."""
    mine = {name: one for name, one in skills.items() if one.is_of_course}
    if not mine:
        return None
    order = (*course.of_course.get(course_id, ()), *course.of_course.get("", ()))

    def name(skill_id: str) -> str:
        return name_of(titles, skill_id)

    def is_mastered(skill_id: str) -> bool:
        known = skills.get(skill_id)
        return known is not None and known.is_mastered(policy)

    def review() -> Choice:
        oldest = min(mine.values(), key=lambda one: (one.last_at, one.skill_id)).skill_id
        return Choice(
            oldest, oldest, f"everything practised is mastered; {name(oldest)} was longest ago"
        )

    if not order:
        weak = [one for one in mine.values() if not is_mastered(one.skill_id)]
        if not weak:
            return review()
        found = min(weak, key=lambda one: (one.p_mastery, one.skill_id))
        return Choice(
            found.skill_id,
            found.skill_id,
            f"{name(found.skill_id)} is furthest from mastered ({found.p_mastery:.2f})",
        )
    current = max(mine.values(), key=lambda one: (one.last_at, one.skill_id)).skill_id
    if is_mastered(current):
        goal = next((one for one in order if not is_mastered(one)), None)
        if goal is None:
            return review()
        why = f"{name(current)} is mastered; {name(goal)} comes next in the course"
    else:
        goal = current
        why = f"{name(goal)} is being practised and not mastered yet ({_p(skills, goal)})"
    for before in course.upstream(goal):
        if is_mastered(before) or not _holds_up(before, goal, skills, policy.practice):
            continue
        return Choice(
            before,
            goal,
            f"{name(goal)} builds on {name(before)}, which is "
            + ("new here" if before not in skills else f"not mastered ({_p(skills, before)})"),
        )
    return Choice(goal, goal, why)


def _p(skills: Mapping[str, Skill], skill_id: str) -> str:
    return f"mastery {skills[skill_id].p_mastery:.2f}"


def _holds_up(before: str, goal: str, skills: Mapping[str, Skill], rules: Practice) -> bool:
    """Does a prerequisite that is not mastered stand in the way of the goal?

    One that was practised here does. Of one that never was, nothing is known: only trouble with
    the goal itself speaks against it.
    """
    if before in skills:
        return True
    known = skills.get(goal)
    return known is not None and known.misses >= rules.misses_in_a_row and known.is_last_wrong


def band_of(rules: Practice, state: str, last_answers: list[bool]) -> tuple[Band, str]:
    """The band of predicted success to aim at, and why; answers newest first."""
    newest = last_answers[: rules.misses_in_a_row]
    if len(newest) == rules.misses_in_a_row and not any(newest):
        return rules.after_misses, f"easier after {rules.misses_in_a_row} misses in a row"
    if state == "recovering":
        return rules.recovering, "easier while recovering"
    if state == "thriving":
        return rules.thriving, "harder while thriving"
    return rules.usual, "usual difficulty"


def predicted(
    rules: Practice,
    item_logit: np.ndarray,
    p_mastery: np.ndarray,
    wins: np.ndarray,
    misses: np.ndarray,
) -> np.ndarray:
    """Chance of a right first try, 0-1, for arrays of one length."""
    weights = rules.coefficients
    score = (
        weights.intercept
        + weights.item * item_logit
        + weights.mastery * np.log(p_mastery / (1 - p_mastery))
        + weights.wins * np.log1p(wins)
        + weights.misses * np.log1p(misses)
    )
    chance: np.ndarray = 1 / (1 + np.exp(-score))
    return chance


def smoothed_logit(
    solved: np.ndarray, tries: np.ndarray, usual: np.ndarray, prior_weight: float
) -> np.ndarray:
    """Log-odds of a task being solved, drawn towards the course's usual share."""
    share = (solved + prior_weight * usual) / (tries + prior_weight)
    logit: np.ndarray = np.log(share / (1 - share))
    return logit


@dataclass(frozen=True)
class Offer:
    """Tasks nearest to the target, with the predicted chance of the nearest."""

    items: list[str]
    chance: float


def _offers(
    warehouse: duckdb.DuckDBPyConnection,
    rules: Practice,
    roster: Roster,
    choices: Mapping[Learner, Choice],
    moments: Mapping[Learner, tuple[datetime, str]],
    skills: Mapping[Learner, Mapping[str, Skill]],
    last: Mapping[Learner, list[tuple[str | None, bool]]],
) -> dict[Learner, Offer]:
    priors = {row.skill_id: row.value for row in rows_of(frame(warehouse, PRIORS))}
    wanted = pd.DataFrame(
        [
            (*who, skill, *_tries(skills[who].get(skill), skill, priors))
            for who, skill in ((who, choice.skill_id) for who, choice in choices.items())
        ],
        columns=["learner_id", "course_id", "skill_id", "wins", "misses", "p_mastery"],
    )
    wanted["as_of"] = pd.Series([moments[who][0] for who in choices], dtype="datetime64[us]")
    wanted["target"] = [
        band_of(rules, moments[who][1], [right for _, right in last[who]])[0].aim for who in choices
    ]
    offers = wanted.merge(_items(warehouse, roster, wanted), on=["course_id", "skill_id"])
    offers = offers[~(offers["seen_at"] >= offers["as_of"])].drop(columns="seen_at")
    if offers.empty:
        return {}
    fresh = [
        item not in [one for one, _ in last[learner, course][: rules.items_not_repeated]]
        for learner, course, item in zip(
            offers["learner_id"], offers["course_id"], offers["item_id"], strict=True
        )
    ]
    warehouse.register("asked_items", offers[fresh])
    found = frame(warehouse, SOLVED)
    warehouse.unregister("asked_items")
    tries = found["course_tries"].fillna(0) + 2
    usual = (found["course_solved"].fillna(0) + 1) / tries
    logit = smoothed_logit(
        found["solved"].to_numpy(), found["tries"].to_numpy(), usual.to_numpy(), rules.prior_weight
    )
    found["chance"] = predicted(
        rules,
        logit,
        found["p_mastery"].to_numpy(),
        found["wins"].to_numpy(),
        found["misses"].to_numpy(),
    )
    found["off"] = (found["chance"] - found["target"]).abs().round(9)
    nearest = found.sort_values(["off", "item_id"]).groupby(["learner_id", "course_id"])
    offered: dict[Learner, list[tuple[str, float]]] = defaultdict(list)
    for row in rows_of(nearest.head(rules.suggested_items)):
        offered[row.learner_id, row.course_id].append((row.item_id, float(row.chance)))
    return {who: Offer([item for item, _ in some], some[0][1]) for who, some in offered.items()}


def _tries(
    known: Skill | None, skill_id: str, priors: Mapping[str, float]
) -> tuple[int, int, float]:
    """(wins, misses, mastery): of a skill that is new, the estimate every learner starts with."""
    if known is not None:
        return known.wins, known.misses, known.p_mastery
    return 0, 0, priors.get(skill_id, priors["*"])


def _items(
    warehouse: duckdb.DuckDBPyConnection, roster: Roster, wanted: pd.DataFrame
) -> pd.DataFrame:
    """course_id, skill_id, item_id and, of tasks known from answers only, since when."""
    named = roster.items[roster.items["skill_id"].notna()]
    if not named.empty:
        listed = pd.DataFrame(
            {
                "item_id": named["item_id"],
                "skill_id": [split_list(skills)[0] for skills in named["skill_id"]],
            }
        )
        courses = wanted[["course_id", "skill_id"]].drop_duplicates()
        known = courses.merge(listed, on="skill_id")
        known["seen_at"] = pd.Series(pd.NaT, index=known.index, dtype="datetime64[us]")
        return known
    warehouse.register("asked_skills", wanted[["course_id", "skill_id"]].drop_duplicates())
    seen = frame(warehouse, ITEMS_SEEN)
    warehouse.unregister("asked_skills")
    return seen


def _row(
    who: Learner,
    at: datetime,
    state: str,
    choice: Choice,
    band: Band,
    because: str,
    known: Skill | None,
    offer: Offer | None,
    policy: Policy,
) -> dict[str, Any]:
    chance = None if offer is None else round(offer.chance, 6)
    return {
        "learner_id": who[0],
        "course_id": who[1],
        "next_skill_id": choice.skill_id,
        "goal_skill_id": choice.goal_id,
        "is_bottleneck": choice.is_bottleneck,
        "reason": f"{choice.reason}; {because}",
        "state": state,
        "p_mastery": None if known is None else known.p_mastery,
        "target_success": band.aim,
        "band_low": band.low,
        "band_high": band.high,
        "suggested_items": json.dumps([] if offer is None else offer.items),
        "predicted_success": math.nan if chance is None else chance,
        "is_in_band": chance is not None and band.low <= chance <= band.high,
        "policy_version": policy.fingerprint,
        "as_of": at,
    }
