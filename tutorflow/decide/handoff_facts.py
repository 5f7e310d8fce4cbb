"""What is known around each hand-off note: answers, help, contacts and cases like it.

Everything is as of the note's own tick, so a note reads the same whether its hour was decided by
itself or in one pass over a year.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pandas as pd
import sqlalchemy as sa

from tutorflow.decide.episodes import Alert, Signal
from tutorflow.decide.frames import frame, rows_of
from tutorflow.decide.ticks import NoteRequest
from tutorflow.publish import read_table
from tutorflow.settings import Settings

ANSWERS = 60  # the last answers that a note looks at
RECENT = timedelta(days=14)  # what the AI did, and where the learner worked
MEMORY = timedelta(days=28)  # what people did
SIMILAR = timedelta(days=90)  # cases like this one
IDS_AT_ONCE = 2_000
NOTES_AT_ONCE = 10_000  # so that memory does not grow with the window

# Answers are numbered in order of time, so the last ones need no sorting.
LAST_ANSWERS = """
    with latest as (
        select asked.alert_id, max(responses.response_number) as response_number
        from asked_notes as asked
        inner join marts.responses as responses
            on responses.learner_id = cast(asked.learner_id as uuid)
            and responses.course_id = asked.course_id
            and responses.known_at <= asked.fired_at
            and responses.known_at < asked.written_at
        group by asked.alert_id
    ),

    answers as (
        select
            asked.alert_id, responses.event_id, responses.learner_id, responses.course_id,
            responses.skill_id, responses.item_id, responses.module_id, responses.known_at,
            responses.opportunity, responses.is_first_attempt, responses.is_correct,
            responses.error_type, responses.log_seconds, responses.log_seconds_mean_of_last_20,
            responses.log_seconds_count_of_last_20, responses.p_mastery_before,
            responses.p_mastery_after, responses.response_number
        from asked_notes as asked
        inner join latest on asked.alert_id = latest.alert_id
        inner join marts.responses as responses
            on responses.learner_id = cast(asked.learner_id as uuid)
            and responses.course_id = asked.course_id
            and responses.response_number <= latest.response_number
            and responses.response_number > latest.response_number - $answers
    ),

    presented as (
        select
            answers.alert_id, answers.event_id,
            arg_max(events.attributes, (events.occurred_at, events.event_id)) as attributes
        from answers
        inner join marts.events as events
            on events.learner_id = answers.learner_id
            and events.course_id = answers.course_id
            and events.item_id = answers.item_id
            and events.event_type = 'item_presented'
            and events.occurred_at <= answers.known_at
            and events.occurred_at > answers.known_at - interval 1 day
        group by all
    )

    select
        answers.* exclude (learner_id, course_id),
        coalesce(own.attributes, presented.attributes) as attributes
    from answers
    left join presented
        on answers.alert_id = presented.alert_id and answers.event_id = presented.event_id
    left join marts.events as own
        on answers.event_id = own.event_id
    order by answers.alert_id, answers.response_number
"""

# What the AI tutor and people did, and where the learner worked.
DONE = """
    select
        asked.alert_id, events.event_type, events.actor, events.occurred_at, events.skill_id,
        events.module_id, events.item_id, events.is_activity, events.attributes
    from asked_notes as asked
    inner join marts.events as events
        on events.learner_id = cast(asked.learner_id as uuid)
        and events.course_id = asked.course_id
        and events.known_at < asked.written_at
    where events.event_type in (
            'hint_requested', 'explanation_viewed', 'difficulty_changed', 'message_sent',
            'session_attended'
        )
        and events.occurred_at >= asked.written_at - case
            when events.event_type = 'session_attended' then $memory
            when events.event_type = 'message_sent' and events.actor = 'coach' then $memory
            else $recent
        end
    order by asked.alert_id, events.occurred_at, events.event_id
"""

LAST_ACTIVITY = """
    select
        asked.alert_id,
        max(events.occurred_at) as at,
        arg_max(coalesce(events.module_id, events.item_id), (events.occurred_at, events.event_id))
            as place
    from asked_notes as asked
    inner join marts.events as events
        on events.learner_id = cast(asked.learner_id as uuid)
        and events.course_id = asked.course_id
        and events.known_at < asked.written_at
        and events.is_activity
    group by asked.alert_id
"""

# The first activity after each contact.
RETURNS = """
    select contacts.alert_id, contacts.at, min(days.first_activity_at) as back_at
    from asked_contacts as contacts
    inner join marts.learner_days as days
        on days.learner_id = cast(contacts.learner_id as uuid)
        and days.last_activity_at > contacts.at
        and days.first_activity_at < contacts.written_at
        and days.activity_date > cast(contacts.at as date)
    group by all
"""


class Answer(NamedTuple):
    """One answer before a note; ``kind`` is the type of the task if the source names it."""

    event_id: str
    at: datetime
    skill_id: str | None
    module_id: str | None
    kind: str | None
    opportunity: int | None
    is_first_attempt: bool
    is_correct: bool
    error_type: str | None
    log_seconds: float | None
    log_seconds_before: float | None  # mean of the 20 before; None: fewer than 10
    p_before: float | None
    p_after: float | None


class Contact(NamedTuple):
    """What a person did: a message, a session, a logged intervention."""

    at: datetime
    what: str
    came_of_it: str | None


@dataclass(frozen=True)
class Cases:
    """Closed alerts of other learners with the same rule and subject.

    ``typical_days`` is the median until recovery; ``help`` the kinds that people logged in those
    that recovered.
    """

    count: int = 0
    recovered: int = 0
    typical_days: float | None = None
    help: tuple[str, ...] = ()


class Closed(NamedTuple):
    """A closed alert."""

    alert_id: str
    learner_id: str
    closed_at: datetime
    is_recovered: bool
    days: float  # it was open


Help = Mapping[str, Sequence[tuple[datetime, str]]]  # alert id -> when help was logged, what kind


@dataclass
class Around:
    """What is known around one note, oldest first."""

    answers: list[Answer] = field(default_factory=list)
    hints: list[datetime] = field(default_factory=list)
    explanations: list[datetime] = field(default_factory=list)
    messages: list[datetime] = field(default_factory=list)
    nudges: list[datetime] = field(default_factory=list)
    difficulty: list[tuple[datetime, str]] = field(default_factory=list)
    contacts: list[Contact] = field(default_factory=list)
    cases: Cases = field(default_factory=Cases)
    last_at: datetime | None = None
    last_place: str | None = None


class NotCommitted(NamedTuple):
    """What this window has decided so far, beside what the serving database has."""

    alerts: Sequence[Alert] = ()
    nudges: Iterable[Mapping[str, Any]] = ()  # rows of nudges_outbox
    taken: Iterable[Mapping[str, Any]] = ()  # rows of inbox_taken


def lead_of(signals: Sequence[Signal]) -> Signal:
    """The signal a note is about: the most serious, then the newest."""
    return max(signals, key=lambda s: (s.alert_tier, s.fired_at, s.signal_id))


def look_around(
    warehouse: duckdb.DuckDBPyConnection,
    settings: Settings,
    requests: Sequence[NoteRequest],
    window: NotCommitted,
    reopen_grace: timedelta,
) -> dict[str, Around]:
    """alert id -> what is known around its note."""
    found = {request.alert_id: Around() for request in requests}
    asked = pd.DataFrame(
        [
            {
                "alert_id": request.alert_id,
                "learner_id": request.key[0],
                "course_id": request.key[1],
                "fired_at": max(signal.fired_at for signal in request.signals),
                "written_at": request.at,
            }
            for request in requests
        ]
    ).astype({"fired_at": "datetime64[us]", "written_at": "datetime64[us]"})
    for begin in range(0, len(asked), NOTES_AT_ONCE):
        warehouse.register("asked_notes", asked[begin : begin + NOTES_AT_ONCE])
        for alert_id, answer in _answers(frame(warehouse, LAST_ANSWERS, {"answers": ANSWERS})):
            found[alert_id].answers.append(answer)
        for row in rows_of(frame(warehouse, DONE, {"recent": RECENT, "memory": MEMORY})):
            _note_done(found[row.alert_id], row)
        for row in rows_of(frame(warehouse, LAST_ACTIVITY)):
            around = found[row.alert_id]
            around.last_at, around.last_place = row.at.to_pydatetime(), _text(row.place)
        warehouse.unregister("asked_notes")
    taken = [
        row
        for row in window.taken
        if row["inbox"] == "interventions" and row["verdict"] == "accepted"
    ]
    _note_interventions(settings, requests, taken, found)
    _note_returns(warehouse, requests, found)
    _note_nudges(settings, requests, window.nudges, found)
    _note_cases(settings, requests, window.alerts, taken, reopen_grace, found)
    return found


def _answers(rows: pd.DataFrame) -> Iterator[tuple[str, Answer]]:
    """(alert id, answer) of each row; there are many, so they are read column by column."""

    def values(column: pd.Series) -> list[Any]:
        return column.astype("object").where(column.notna(), None).tolist()

    def numbers(name: str, of: pd.Series | None = None) -> list[float | None]:
        column = rows[name].astype("float64")
        return values(column if of is None else column.where(of))

    answers = zip(
        rows["event_id"].tolist(),
        rows["known_at"].dt.to_pydatetime(),
        values(rows["skill_id"]),
        values(rows["module_id"]),
        map(kind_of_task, values(rows["attributes"])),
        (None if n is None else int(n) for n in values(rows["opportunity"])),
        rows["is_first_attempt"].astype("bool").tolist(),
        rows["is_correct"].astype("bool").tolist(),
        values(rows["error_type"]),
        numbers("log_seconds"),
        numbers("log_seconds_mean_of_last_20", rows["log_seconds_count_of_last_20"] >= 10),
        numbers("p_mastery_before"),
        numbers("p_mastery_after"),
        strict=True,
    )
    for alert_id, answer in zip(rows["alert_id"].tolist(), answers, strict=True):
        yield alert_id, Answer(*answer)


@lru_cache(maxsize=10_000)  # most of the attributes are alike
def kind_of_task(attributes: str | None) -> str | None:
    """The type of a task as its source names it in the attributes; None: it does not say."""
    values = _json(attributes)
    for name in ("presentation", "item_type", "question_type", "format", "type"):
        value = values.get(name)
        if isinstance(value, str) and value.replace("-", "").replace("_", "").isalpha():
            return value.replace("-", " ").replace("_", " ")[:30]
    return None


def _note_done(around: Around, row: Any) -> None:
    at = row.occurred_at.to_pydatetime()
    if row.event_type == "hint_requested":
        around.hints.append(at)
    elif row.event_type == "explanation_viewed":
        around.explanations.append(at)
    elif row.event_type == "difficulty_changed":
        to = str(_json(_text(row.attributes)).get("to", "other"))
        around.difficulty.append((at, to if to in ("easier", "harder", "normal") else "other"))
    elif row.event_type == "session_attended":
        around.contacts.append(Contact(at, _purpose(row) or "session", None))
    elif row.actor == "coach":
        about = _purpose(row)
        around.contacts.append(Contact(at, f"message ({about})" if about else "message", None))
    else:
        around.messages.append(at)


def _purpose(row: Any) -> str:
    """What a contact was for, as its source says it in plain words; else empty."""
    words = str(_json(_text(row.attributes)).get("purpose", "")).replace("_", " ")
    return words if words.replace(" ", "").isalpha() and len(words) <= 30 else ""


def _note_interventions(
    settings: Settings,
    requests: Sequence[NoteRequest],
    taken_now: Sequence[Mapping[str, Any]],
    found: dict[str, Around],
) -> None:
    """What people logged in the inbox, taken by ticks before the note's."""
    learners = sorted({request.key[0] for request in requests})
    rows = {row["row_id"]: row for row in taken_now}
    for some in _chunks(learners):
        rows |= _taken(settings, {"learner_id": some})
    by_learner: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows.values():
        by_learner[str(row["learner_id"])].append(row)
    for request in requests:
        for row in by_learner.get(request.key[0], ()):
            taken_at = pd.Timestamp(row["taken_at"])
            if not request.at - MEMORY <= taken_at < request.at:
                continue
            content = _json(row["content"])
            code = str(content.get("code") or "").replace("_", " ")
            at = pd.Timestamp(content.get("at") or row["written_at"])
            if at.tzinfo is not None:
                at = at.tz_convert("UTC").tz_localize(None)
            kind = str(content.get("kind") or "contact").replace("_", " ")
            contact = Contact(at.to_pydatetime(), kind, code or None)
            found[request.alert_id].contacts.append(contact)
    for around in found.values():
        around.contacts.sort(key=lambda contact: (contact.at, contact.what))


def _taken(settings: Settings, whose: Mapping[str, Any]) -> dict[str, Mapping[Any, Any]]:
    """Interventions that earlier runs have taken, by row."""
    rows = read_table(
        settings, "inbox_taken", {"inbox": "interventions", "verdict": "accepted", **whose}
    )
    return {row["row_id"]: row for row in rows.to_dict("records")}


def _note_returns(
    warehouse: duckdb.DuckDBPyConnection,
    requests: Sequence[NoteRequest],
    found: dict[str, Around],
) -> None:
    """When the learner was back after each contact of which nobody said what came of it."""
    contacts = [
        {
            "alert_id": request.alert_id,
            "learner_id": request.key[0],
            "at": contact.at,
            "written_at": request.at,
        }
        for request in requests
        for contact in found[request.alert_id].contacts
        if contact.came_of_it is None
    ]
    if not contacts:
        return
    warehouse.register(
        "asked_contacts",
        pd.DataFrame(contacts).astype({"at": "datetime64[us]", "written_at": "datetime64[us]"}),
    )
    back = {
        (row.alert_id, row.at.to_pydatetime()): row.back_at.to_pydatetime()
        for row in rows_of(frame(warehouse, RETURNS))
    }
    warehouse.unregister("asked_contacts")
    for alert_id, around in found.items():
        around.contacts = [
            contact
            if (at := back.get((alert_id, contact.at))) is None or contact.came_of_it is not None
            else contact._replace(came_of_it=_back_after((at.date() - contact.at.date()).days))
            for contact in around.contacts
        ]


def _back_after(days: int) -> str:
    return "back the next day" if days <= 1 else f"back after {days} days"


def _note_nudges(
    settings: Settings,
    requests: Sequence[NoteRequest],
    of_window: Iterable[Mapping[str, Any]],
    found: dict[str, Around],
) -> None:
    """Nudges that had become ready before the note."""
    rows: dict[str, Mapping[Any, Any]] = {}
    learners = sorted({request.key[0] for request in requests})
    since = min(request.at for request in requests) - RECENT
    for some in _chunks(learners):
        stored = read_table(
            settings,
            "nudges_outbox",
            lambda t, some=some: (
                t.c.learner_id.in_(some) & (t.c.status == "ready") & (t.c.as_of >= since)
            ),
        )
        rows |= {row["nudge_row_id"]: row for row in stored.to_dict("records")}
    rows |= {row["nudge_row_id"]: row for row in of_window if row["status"] == "ready"}
    by_who: dict[tuple[str, str], list[pd.Timestamp]] = defaultdict(list)
    for row in rows.values():
        by_who[row["learner_id"], row["course_id"]].append(pd.Timestamp(row["as_of"]))
    for request in requests:
        found[request.alert_id].nudges = sorted(
            at.to_pydatetime()
            for at in by_who.get(request.key[:2], ())
            if request.at - RECENT <= at < request.at
        )


class _Alike:
    """Closed alerts of one rule and subject, by the time they closed."""

    def __init__(self, cases: list[Closed]) -> None:
        self.cases = sorted(cases, key=lambda case: (case.closed_at, case.alert_id))
        self._closed_at = [case.closed_at for case in self.cases]
        self._learner = np.array([case.learner_id for case in self.cases], dtype="object")
        self._recovered = np.array([case.is_recovered for case in self.cases], dtype="bool")
        self._days = np.array([case.days for case in self.cases])

    def seen_by(self, request: NoteRequest, reopen_grace: timedelta, help: Help) -> Cases:
        """What a note may tell of them.

        Closed for good: longer ago than an alert can re-open, so that the count never changes.
        """
        first = bisect_left(self._closed_at, request.at - SIMILAR)
        last = bisect_left(self._closed_at, request.at - reopen_grace)
        others = self._learner[first:last] != request.key[0]
        recovered = self._recovered[first:last] & others
        if not recovered.any():
            return Cases(int(others.sum()))
        kinds = tuple(
            kind
            for position in (first + np.flatnonzero(recovered)).tolist()
            if help
            for at, kind in help.get(self.cases[position].alert_id, ())
            if kind and at < request.at
        )
        typical = float(np.median(self._days[first:last][recovered]))
        return Cases(int(others.sum()), int(recovered.sum()), typical, kinds)


def _note_cases(
    settings: Settings,
    requests: Sequence[NoteRequest],
    of_window: Sequence[Alert],
    taken_now: Sequence[Mapping[str, Any]],
    reopen_grace: timedelta,
    found: dict[str, Around],
) -> None:
    """Alerts of other learners with the same rule and subject that are closed for good."""
    leads = {request.alert_id: lead_of(request.signals) for request in requests}
    rules = sorted({lead.rule_id for lead in leads.values()})
    subjects = sorted({_subject(lead) for lead in leads.values()})
    since = min(request.at for request in requests) - SIMILAR
    evidence = read_table(
        settings,
        "alert_evidence",
        lambda t: sa.and_(
            t.c.rule_id.in_(rules),
            sa.or_(t.c.subject_id.in_(subjects), t.c.subject_kind != "skill"),
            t.c.fired_at >= since - SIMILAR - RECENT,
        ),
    )
    about: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for row in rows_of(evidence):
        subject = row.subject_id if row.subject_kind == "skill" else ""
        about[row.alert_id].add((row.rule_id, subject))
    closed: dict[str, Closed] = {}
    for some in _chunks(sorted(about)):
        for row in rows_of(read_table(settings, "alerts", {"alert_id": some, "status": "closed"})):
            spell = row.opened_at.to_pydatetime(), row.closed_at.to_pydatetime()
            closed[row.alert_id] = _closed(row.alert_id, row.learner_id, *spell, row.close_reason)
    for alert in of_window:
        closed.pop(alert.alert_id, None)
        if alert.closed_at is not None:
            spell = alert.opened_at, alert.closed_at
            closed[alert.alert_id] = _closed(
                alert.alert_id, alert.key[0], *spell, alert.close_reason
            )
            about[alert.alert_id] = {(s.rule_id, _subject(s)) for s in alert.signals}
    alike: dict[tuple[str, str], list[Closed]] = defaultdict(list)
    wanted = {(lead.rule_id, _subject(lead)) for lead in leads.values()}
    for alert_id, case in closed.items():
        for which in about[alert_id] & wanted if case.days <= SIMILAR.days else ():
            alike[which].append(case)
    help = _help(settings, {c.alert_id for cases in alike.values() for c in cases}, taken_now)
    groups = {which: _Alike(cases) for which, cases in alike.items()}
    for request in requests:
        group = groups.get((leads[request.alert_id].rule_id, _subject(leads[request.alert_id])))
        if group is not None:
            found[request.alert_id].cases = group.seen_by(request, reopen_grace, help)


def _closed(
    alert_id: str, learner_id: str, opened_at: datetime, closed_at: datetime, reason: str | None
) -> Closed:
    days = (closed_at - opened_at).total_seconds() / 86400
    return Closed(alert_id, learner_id, closed_at, reason == "recovered", days)


def _help(settings: Settings, ids: set[str], taken_now: Sequence[Mapping[str, Any]]) -> Help:
    """When people logged which kind of help on some alerts."""
    rows = {row["row_id"]: row for row in taken_now if row["alert_id"] in ids}
    for some in _chunks(sorted(ids)):
        rows |= _taken(settings, {"alert_id": some})
    kinds: dict[str, list[tuple[datetime, str]]] = defaultdict(list)
    for row in rows.values():
        kind = str(_json(row["content"]).get("kind", "")).replace("_", " ")
        kinds[str(row["alert_id"])].append((pd.Timestamp(row["taken_at"]).to_pydatetime(), kind))
    return dict(kinds)


def _subject(signal: Signal) -> str:
    """Cases are alike by skill; by item or learner only the rule can be the same."""
    return signal.subject_id if signal.subject_kind == "skill" else ""


def _chunks(ids: Sequence[str]) -> Iterable[list[str]]:
    return (list(ids[begin : begin + IDS_AT_ONCE]) for begin in range(0, len(ids), IDS_AT_ONCE))


def _json(text: str | None) -> dict[str, Any]:
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return None if value is None or pd.isna(value) else str(value)
