"""What a decision knows besides events: who coaches whom, names of things, who is left alone."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import Any

import pandas as pd

from tutorflow.decide.frames import rows_of
from tutorflow.decide.working_time import Coach, parse_workdays
from tutorflow.errors import ConfigurationError
from tutorflow.policy.model import Pilot, Policy, Profile
from tutorflow.roster import Roster

FAR_PAST, FAR_FUTURE = datetime(1900, 1, 1), datetime(9999, 1, 1)
INSTANT = timedelta(microseconds=1)
Span = tuple[datetime, datetime]
Concerned = tuple[str | None, str | None]  # learner, course; None: every one
Person = tuple[str | None, str | None, str | None]  # age band, programme, cohort


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
    _wishes: dict[str, list[tuple[datetime, datetime, bool, str | None]]] = field(
        default_factory=dict
    )
    _people: dict[str, list[tuple[datetime, datetime, Person]]] = field(default_factory=dict)
    _guardians: dict[str, list[tuple[datetime, datetime, str]]] = field(default_factory=dict)
    _cohorts: dict[tuple[str, str], str | None] = field(default_factory=dict)
    _pilot: Pilot = field(default_factory=Pilot)
    _moments: list[tuple[datetime, Concerned]] = field(default_factory=list)
    _partings: list[tuple[datetime, Concerned]] = field(default_factory=list)
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

    def on_caseload(self, at: datetime) -> list[str]:
        """The learners on anybody's caseload at ``at``, staff accounts left out."""
        return sorted(
            learner
            for learner, spans in self._caseloads.items()
            if learner not in self._staff and any(begin <= at < end for begin, end, _ in spans)
        )

    def takes_nudges(self, learner_id: str, at: datetime) -> bool:
        """Whether the roster says at ``at`` that the learner wants nudges; they do by default."""
        return all(wants for wants, _ in self._wishes_at(learner_id, at))

    def language_of(self, learner_id: str, at: datetime) -> str | None:
        """The language that the roster names for the learner at ``at``."""
        return next((own for _, own in self._wishes_at(learner_id, at) if own is not None), None)

    def _wishes_at(self, learner_id: str, at: datetime) -> list[tuple[bool, str | None]]:
        return [
            (wants, language)
            for begin, end, wants, language in self._wishes.get(learner_id, ())
            if begin <= at < end
        ]

    def coach_named(self, coach_id: str) -> Coach | None:
        """The coach of that id, if there is one."""
        return self.coaches.get(coach_id)

    def profile_of(self, learner_id: str, at: datetime) -> Profile:
        """What routing may know of a learner at ``at``."""
        age_band, programme, _ = self._person(learner_id, at)
        contacts = [
            contact
            for begin, end, contact in self._guardians.get(learner_id, ())
            if begin <= at < end
        ]
        return Profile(age_band, programme, min(contacts, default=None))

    def _person(self, learner_id: str, at: datetime) -> tuple[str | None, str | None, str | None]:
        for begin, end, person in self._people.get(learner_id, ()):
            if begin <= at < end:
                return person
        return None, None, None

    @property
    def has_pauses(self) -> bool:
        """Whether the calendar knows of any."""
        return bool(self._pauses)

    def is_in_pilot(self, learner_id: str, course_id: str, at: datetime) -> bool:
        """Whether alerts are tried out for this learner on this course."""
        if self._pilot.courses is not None and course_id not in self._pilot.courses:
            return False
        if self._pilot.cohorts is None:
            return True
        cohorts = {self._person(learner_id, at)[2], self._cohorts.get((learner_id, course_id))}
        return not cohorts.isdisjoint(self._pilot.cohorts)

    def changing_between(self, begin: datetime, end: datetime) -> list[Concerned]:
        """For whom a pause, an enrolment or a course begins or ends in ``(begin, end]``."""
        return _between(self._moments, begin, end)

    def leaving_between(self, begin: datetime, end: datetime) -> list[Concerned]:
        """For whom an enrolment or a course begins or ends in ``(begin, end]``."""
        return _between(self._partings, begin, end)

    def resumes_at(self, learner_id: str, course_id: str, at: datetime) -> datetime:
        """When a clock that would strike at ``at`` strikes, if it stands still during pauses.

        Only the pause that holds ``at`` and later ones count, not those that were over before.
        """
        due = at
        for begin, end in _merged(
            (begin, end)
            for who in _names(learner_id, course_id)
            for begin, end, _ in self._pauses.get(who, ())
        ):
            if end > at and begin <= due:
                due = FAR_FUTURE if end - begin > FAR_FUTURE - due else due + (end - begin)
        return due

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
            for who in _names(learner_id, course_id):
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
        # An event of the very instant at which a tick ends belongs to the next one.
        changes[row.learner_id, row.course_id].append(
            (row.known_at.to_pydatetime() + INSTANT, left)
        )
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
    built._wishes = _wishes(roster.learners)
    built._caseloads = dict(caseloads)
    built._staff = frozenset(roster.learners.loc[staff, "learner_id"])
    built._changes = {who: sorted(spans) for who, spans in changes.items()}
    built._pauses = dict(pauses)
    built._course_ends = {**course_ends, **ends}
    built._people, built._guardians = _people(roster.learners), _guardians(roster.guardians)
    built._cohorts = {
        (row.learner_id, row.course_id): _text(row.cohort_id) for row in rows_of(roster.enrolments)
    }
    built._pilot = policy.pilot
    partings = list(_partings(built))
    built._partings = sorted(partings, key=_in_order)
    built._moments = sorted([*_pauses(built), *partings], key=_in_order)
    return built


def _people(learners: pd.DataFrame) -> dict[str, list[tuple[datetime, datetime, Person]]]:
    people: dict[str, list[tuple[datetime, datetime, Person]]] = defaultdict(list)
    for row in rows_of(learners):
        person = (_text(row.age_band), _text(row.programme), _text(row.cohort_id))
        people[row.learner_id].append((*_span(row.valid_from, row.valid_to), person))
    return dict(people)


def _guardians(guardians: pd.DataFrame) -> dict[str, list[tuple[datetime, datetime, str]]]:
    """The guardians with recorded authority; others are never asked."""
    found: dict[str, list[tuple[datetime, datetime, str]]] = defaultdict(list)
    for row in rows_of(guardians[guardians["authority"].astype(bool)]):
        found[row.learner_id].append((*_span(row.valid_from, row.valid_to), row.contact_id))
    return dict(found)


def _between(
    moments: list[tuple[datetime, Concerned]], begin: datetime, end: datetime
) -> list[Concerned]:
    first = bisect_right(moments, begin, key=lambda moment: moment[0])
    last = bisect_right(moments, end, key=lambda moment: moment[0])
    return [concerned for _, concerned in moments[first:last]]


def _in_order(moment: tuple[datetime, Concerned]) -> tuple[datetime, str]:
    return moment[0], str(moment[1])


def _pauses(built: Surroundings) -> Iterable[tuple[datetime, Concerned]]:
    """Every instant at which a pause begins or ends."""
    for who, spans in built._pauses.items():
        for begin, end, _ in spans:
            yield begin, who
            yield end, who


def _partings(built: Surroundings) -> Iterable[tuple[datetime, Concerned]]:
    """Every instant from which on somebody has left, or is back."""
    for course, at in built._course_ends.items():
        yield at + INSTANT, (None, course)
    for learner_and_course, changes in built._changes.items():
        for at, _ in changes:
            yield at, learner_and_course


def _names(learner_id: str, course_id: str) -> tuple[Concerned, ...]:
    """How the calendar may name a learner on a course."""
    return (learner_id, course_id), (learner_id, None), (None, course_id), (None, None)


def _merged(spans: Iterable[Span]) -> list[Span]:
    """The spans in order, those that overlap or touch made one."""
    merged: list[Span] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((begin, end))
    return merged


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


def _wishes(
    learners: pd.DataFrame,
) -> dict[str, list[tuple[datetime, datetime, bool, str | None]]]:
    """What learners want of nudges, where that is not the default."""
    wishes: dict[str, list[tuple[datetime, datetime, bool, str | None]]] = defaultdict(list)
    for row in rows_of(learners[~learners["nudges"] | learners["language"].notna()]):
        begin, end = _span(row.valid_from, row.valid_to)
        wishes[row.learner_id].append((begin, end, bool(row.nudges), _text(row.language)))
    return dict(wishes)


def _titles(frame: pd.DataFrame, key: str) -> dict[str, str]:
    titled = frame[frame["title"].notna()]
    return dict(zip(titled[key], titled["title"], strict=True))


def _span(begin: Any, end: Any) -> tuple[datetime, datetime]:
    first = FAR_PAST if pd.isna(begin) else pd.Timestamp(begin).to_pydatetime()
    last = FAR_FUTURE if pd.isna(end) else pd.Timestamp(end).to_pydatetime()
    return first, last


def _text(value: Any) -> str | None:
    return None if value is None or pd.isna(value) or value == "" else str(value)
