"""What a decision knows besides events: who coaches whom, names of things, who is left alone."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time
from typing import Any

import pandas as pd

from tutorflow.decide.frames import rows_of
from tutorflow.decide.working_time import Coach, parse_workdays
from tutorflow.errors import ConfigurationError
from tutorflow.policy.model import Policy
from tutorflow.roster import Roster

FAR_PAST, FAR_FUTURE = datetime(1900, 1, 1), datetime(9999, 1, 1)


@dataclass
class Surroundings:
    """Look-ups by learner and time; built once per window from the roster and enrolment events."""

    coaches: dict[str, Coach]
    default_coach: Coach
    titles: dict[str, str]
    core_skills: frozenset[str]
    enrolments: pd.DataFrame
    _caseloads: dict[str, list[tuple[datetime, datetime, str]]] = field(default_factory=dict)
    _staff: frozenset[str] = frozenset()
    _course_ends: dict[str, datetime] = field(default_factory=dict)
    _changes: dict[tuple[str, str], list[tuple[datetime, bool]]] = field(default_factory=dict)
    _pauses: dict[tuple[str | None, str | None], list[tuple[datetime, datetime, str]]] = field(
        default_factory=dict
    )

    def coach_of(self, learner_id: str, course_id: str, role: str, at: datetime) -> Coach:
        """The coach with this learner on the caseload at ``at``, of that role if there is one."""
        mine = [
            self.coaches.get(coach_id, self.default_coach)
            for begin, end, coach_id in self._caseloads.get(learner_id, ())
            if begin <= at < end
        ]
        fitting = [coach for coach in mine if coach.role == role]
        return (fitting or mine or [self.default_coach])[0]

    def pauses_between(self, begin: datetime, end: datetime) -> list[tuple[str, str]]:
        """Learners (with their course) whose own pause begins in ``[begin, end)``."""
        return [
            (learner, course)
            for (learner, course), spans in self._pauses.items()
            if learner is not None and course is not None
            for first, _, _ in spans
            if begin <= first < end
        ]

    def is_out_of_scope(self, learner_id: str, course_id: str, at: datetime) -> str | None:
        """Why this learner is left alone at ``at``; None: is not."""
        if learner_id in self._staff:
            return "staff account"
        changes = self._changes.get((learner_id, course_id))
        if changes:
            position = bisect_right(changes, (at, True)) - 1
            if position >= 0 and changes[position][1]:
                return f"withdrawn on {changes[position][0]:%Y-%m-%d}"
        if at > self._course_ends.get(course_id, FAR_FUTURE):
            return "withdrawn: the course is over"
        if self._pauses:
            for who in (
                (learner_id, course_id),
                (learner_id, None),
                (None, course_id),
                (None, None),
            ):
                for begin, end, kind in self._pauses.get(who, ()):
                    if begin <= at < end:
                        return f"paused ({kind})"
        return None


def surroundings(
    roster: Roster,
    policy: Policy,
    timezone: str,
    enrolment_changes: pd.DataFrame,
    course_ends: Mapping[str, datetime],
) -> Surroundings:
    """Build the look-ups; roster rows count from ``valid_from`` to ``valid_to``."""
    default = _default_coach(policy, timezone)
    coaches = {row.coach_id: _coach(row, default) for row in rows_of(roster.coaches)}
    built = Surroundings(
        coaches={default.coach_id: default, **coaches},
        default_coach=default,
        titles={
            **_titles(roster.items, "item_id"),
            **_titles(roster.skills, "skill_id"),
        },
        core_skills=frozenset(
            roster.skills.loc[roster.skills["is_core"].fillna(False).astype(bool), "skill_id"]
        ),
        enrolments=roster.enrolments,
    )
    caseloads: dict[str, list[tuple[datetime, datetime, str]]] = defaultdict(list)
    for row in rows_of(roster.caseloads):
        begin, end = _span(row.valid_from, row.valid_to)
        caseloads[row.learner_id].append((begin, end, row.coach_id))
    staff = roster.learners["is_staff"].fillna(False).astype(bool)
    changes: dict[tuple[str, str], list[tuple[datetime, bool]]] = defaultdict(list)
    for row in rows_of(enrolment_changes):
        left = row.event_type == "learner_withdrew"
        changes[row.learner_id, row.course_id].append((row.known_at.to_pydatetime(), left))
    for row in rows_of(roster.enrolments):
        if not pd.isna(row.withdrawn_at):
            changes[row.learner_id, row.course_id].append((row.withdrawn_at.to_pydatetime(), True))
    pauses: dict[tuple[str | None, str | None], list[tuple[datetime, datetime, str]]]
    pauses = defaultdict(list)
    for row in rows_of(roster.calendar):
        if row.kind in ("pause", "excused"):
            who = (_text(row.learner_id), _text(row.course_id))
            pauses[who].append((*_span(row.starts_at, row.ends_at), row.kind))
    ends = {
        row.course_id: row.ends_at.to_pydatetime()
        for row in rows_of(roster.courses)
        if not pd.isna(row.ends_at)
    }
    built._caseloads = dict(caseloads)
    built._staff = frozenset(roster.learners.loc[staff, "learner_id"])
    built._changes = {who: sorted(spans) for who, spans in changes.items()}
    built._pauses = dict(pauses)
    built._course_ends = {**course_ends, **ends}
    return built


def _default_coach(policy: Policy, timezone: str) -> Coach:
    hours = policy.working_hours
    return Coach(
        "default",
        "coach",
        policy.capacity.alerts_per_coach_day,
        timezone,
        parse_workdays(hours.workdays),
        hours.start,
        hours.end,
    )


def _coach(row: Any, default: Coach) -> Coach:
    def given(name: str, otherwise: object) -> object:
        value = getattr(row, name)
        return otherwise if value is None or pd.isna(value) else value

    def clock(name: str, otherwise: time) -> time:
        value = given(name, None)
        return otherwise if value is None else time.fromisoformat(str(value))

    workdays = given("workdays", None)
    try:
        return Coach(
            str(given("coach_id", "")),
            str(given("role", default.role)),
            int(str(given("capacity_per_day", default.capacity_per_day))),
            str(given("timezone", default.timezone)),
            default.workdays if workdays is None else parse_workdays(str(workdays)),
            clock("work_start", default.start),
            clock("work_end", default.end),
        )
    except ValueError as error:
        raise ConfigurationError(f"coaches.csv, {given('coach_id', '?')}: {error}") from None


def _titles(frame: pd.DataFrame, key: str) -> dict[str, str]:
    titled = frame[frame["title"].notna()]
    return dict(zip(titled[key], titled["title"], strict=True))


def _span(begin: Any, end: Any) -> tuple[datetime, datetime]:
    first = FAR_PAST if pd.isna(begin) else pd.Timestamp(begin).to_pydatetime()
    last = FAR_FUTURE if pd.isna(end) else pd.Timestamp(end).to_pydatetime()
    return first, last


def _text(value: Any) -> str | None:
    return None if value is None or pd.isna(value) or value == "" else str(value)
