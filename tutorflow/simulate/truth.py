"""The hidden truth as Arrow tables; `diary` says how needs are defined.

Tables: learners (type, traits, stop), states (one row per learner and day), skills (one row per
learner, skill and day), needs (one row per spell), stops (one row per learner who stopped), results
(one row per learner and course), contacts (one row per human contact made), items (difficulties).
Learners are named by the source's user id. The pipeline never reads any of this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tutorflow.simulate.clock import HOUR, Clock
from tutorflow.simulate.coursework import Coursework
from tutorflow.simulate.curriculum import Curriculum
from tutorflow.simulate.diary import (
    CONTENT_REASONS,
    REASONS,
    SHORTEST_SPELL_DAYS,
    Codes,
    Diary,
)
from tutorflow.simulate.population import Population

_TIME = pa.timestamp("us", tz="UTC")
PASS_MARK = 60.0


@dataclass(frozen=True)
class Truth:
    """The hidden truth: Arrow tables by name."""

    tables: dict[str, pa.Table]


def tell_truth(
    diary: Diary,
    people: Population,
    curriculum: Curriculum,
    clock: Clock,
    coursework: Coursework,
    contacts: list[dict[str, Any]],
) -> Truth:
    """All truth tables up to the last whole day played."""
    return Truth(
        {
            "learners": _learners(people, clock),
            "states": _states(diary, people, clock),
            "skills": _skills(diary, people, curriculum, clock),
            "needs": _needs(diary, people, curriculum, clock),
            "stops": _stops(diary, people, clock),
            "results": _results(diary, people, curriculum, coursework),
            "contacts": _contacts(contacts),
            "items": pa.table(
                {
                    "item_id": [item.item_id for item in curriculum.items],
                    "difficulty": [item.difficulty for item in curriculum.items],
                    "guess": [item.guess for item in curriculum.items],
                }
            ),
        }
    )


def _learners(people: Population, clock: Clock) -> pa.Table:
    enrolled = [clock.instant(float(hour) * HOUR) for hour in people.enrolled_hour]
    return pa.table(
        {
            "user_id": people.user_ids,
            "learner_type": people.types,
            "help_style": people.help_styles,
            "enrolled_at": pa.array(enrolled, _TIME),
            "learning": people.learning,
            "motivation_level": people.motivation,
            "drift_per_week": people.drift,
            "belief_bias": people.belief_bias,
            "gaming": people.gaming,
            "sessions_per_week": people.sessions_per_week,
        }
    )


def _day_column(days: int, repeats: int, clock: Clock) -> pa.Array:
    dates = np.datetime64(clock.first_day) + np.repeat(np.arange(days), repeats)
    return pa.array(dates, pa.date32())


def _names(values: list[str], numbers: Codes) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(numbers.astype(np.int32)), pa.array(values))


def _states(diary: Diary, people: Population, clock: Clock) -> pa.Table:
    days, n = len(diary.skill), len(people)
    columns: dict[str, Any] = {
        "user_id": _names(people.user_ids, np.tile(np.arange(n), days)),
        "date": _day_column(days, n, clock),
    }
    for name, values in diary.levels.items():
        columns[name] = np.concatenate(values) if days else np.zeros(0, dtype=np.float32)
    return pa.table(columns)


def _skills(diary: Diary, people: Population, curriculum: Curriculum, clock: Clock) -> pa.Table:
    """True skill at the end of each day, of the skills of the learner's own courses."""
    days, skill_ids = len(diary.skill), [s.skill_id for s in curriculum.skills]
    pairs = [
        (learner, skill)
        for learner, courses in enumerate(people.courses)
        for course in courses
        for skill in curriculum.skills_of_course[course]
    ]
    learners, skills = (np.array(column) for column in zip(*pairs, strict=True))
    levels = [day[learners, skills] for day in diary.skill]
    return pa.table(
        {
            "user_id": _names(people.user_ids, np.tile(learners, days)),
            "skill_id": _names(skill_ids, np.tile(skills, days)),
            "date": _day_column(days, len(pairs), clock),
            "skill": np.concatenate(levels) if days else np.zeros(0, dtype=np.float32),
        }
    )


def _stops(diary: Diary, people: Population, clock: Clock) -> pa.Table:
    schema = pa.schema([("user_id", pa.string()), ("stopped_at", _TIME), ("kind", pa.string())])
    rows = [
        {
            "user_id": people.user_ids[stop["learner"]],
            "stopped_at": clock.instant(stop["hour"] * HOUR),
            "kind": stop["kind"],
        }
        for stop in diary.stops
    ]
    return pa.Table.from_pylist(rows, schema=schema)


def _contacts(history: list[dict[str, Any]]) -> pa.Table:
    schema = pa.schema(
        [
            ("user_id", pa.string()),
            ("kind", pa.string()),
            ("at", _TIME),
            ("is_reached", pa.bool_()),
            ("factor", pa.float64()),
            ("has_returned", pa.bool_()),
        ]
    )
    return pa.Table.from_pylist(history, schema=schema)


def _results(
    diary: Diary, people: Population, curriculum: Curriculum, coursework: Coursework
) -> pa.Table:
    """The final result: expected mark of an unaided exam over the course, and whether it passes."""
    stopped = diary.stopped_now()
    rows = []
    for learner, courses in enumerate(people.courses):
        for course in courses:
            core = [s for s in curriculum.skills_of_course[course] if curriculum.skills[s].is_core]
            mark = 100.0 * sum(coursework.chance(learner, skill) for skill in core) / len(core)
            has_worked = bool(diary.has_started[learner])
            result = "pass" if mark >= PASS_MARK else "fail"
            if stopped[learner]:
                result = "withdrawn" if diary.has_withdrawn[learner] else "stopped_out"
            elif not has_worked:
                result = "never_started"
            rows.append(
                {
                    "user_id": people.user_ids[learner],
                    "course_id": course,
                    "final_mark": round(mark, 1),
                    "final_result": result,
                    "quiz_scores": coursework.quiz_scores.get((learner, course), []),
                }
            )
    schema = pa.schema(
        [
            ("user_id", pa.string()),
            ("course_id", pa.string()),
            ("final_mark", pa.float64()),
            ("final_result", pa.string()),
            ("quiz_scores", pa.list_(pa.float64())),
        ]
    )
    return pa.Table.from_pylist(rows, schema=schema)


NEEDS_SCHEMA = pa.schema(
    [
        ("user_id", pa.string()),
        ("kind", pa.string()),
        ("reason", pa.string()),
        ("skill_id", pa.string()),
        ("started_at", _TIME),
        ("ended_at", _TIME),
    ]
)


def _needs(diary: Diary, people: Population, curriculum: Curriculum, clock: Clock) -> pa.Table:
    """One row per spell of need; `ended_at` is null where it still lasts."""
    skills = [s.skill_id for s in curriculum.skills]

    def content(code: int) -> tuple[str, str | None]:
        return CONTENT_REASONS[(code - 1) % 2], skills[(code - 1) // 2]

    kinds: tuple[tuple[str, list[Codes], int, Callable[[int], tuple[str, str | None]]], ...] = (
        ("content", diary.content, 1, content),
        ("confidence", diary.confidence, SHORTEST_SPELL_DAYS, lambda _: ("belief_gap", None)),
        ("compliance", diary.compliance, SHORTEST_SPELL_DAYS, lambda c: (REASONS[c], None)),
        ("safety", diary.safety, 1, lambda _: ("distress", None)),
    )
    rows = []
    for kind, days, shortest, explain in kinds:
        for learner, code, first, last in _runs(days):
            still_lasts = last == len(days)
            if last - first < shortest and not still_lasts:
                continue
            reason, skill = explain(code)
            rows.append(
                {
                    "user_id": people.user_ids[learner],
                    "kind": kind,
                    "reason": reason,
                    "skill_id": skill,
                    "started_at": clock.instant((first + 1) * 24 * HOUR),
                    "ended_at": None if still_lasts else clock.instant((last + 1) * 24 * HOUR),
                }
            )
    rows.sort(key=lambda row: (row["user_id"], row["started_at"], row["kind"]))
    return pa.Table.from_pylist(rows, schema=NEEDS_SCHEMA)


def _runs(days: list[Codes]) -> Iterator[tuple[int, int, int, int]]:
    """Runs of one non-zero code: (learner, code, first day, day after the last)."""
    if not days:
        return
    codes = np.stack(days, axis=1)
    n, length = codes.shape
    edges = np.ones((n, length + 1), dtype=np.bool_)
    edges[:, 1:length] = codes[:, 1:] != codes[:, :-1]
    for learner in np.flatnonzero(codes.any(axis=1)).tolist():
        starts = np.flatnonzero(edges[learner])
        for first, last in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            if codes[learner, first]:
                yield learner, int(codes[learner, first]), first, last
