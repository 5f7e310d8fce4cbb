"""The inbox: what people write into the serving database, and how the next hour takes it.

Coach tools insert rows into the tables that the contract marks `publish: inbox`; nobody ever
changes one. A row belongs to the tick whose window holds the time at which it was written (one
that became visible later to the next tick), so an hour and a backfill hear the same. A valid row
is copied, once and for good, into `inbox_taken`; any other is answered in `inbox_rejections`.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

import pandas as pd
import sqlalchemy as sa

from tutorflow.decide.said import (
    Acknowledgement,
    AlertVerdict,
    Consent,
    InboxNote,
    Intervention,
    Override,
)
from tutorflow.errors import TutorflowError
from tutorflow.hours import to_naive_utc
from tutorflow.publish import contract
from tutorflow.publish.database import exists, reading, writing
from tutorflow.publish.tables import read_table
from tutorflow.settings import Settings

CLOCK_TOLERANCE = timedelta(minutes=5)  # by which the clock of a coach tool may be ahead
FILLED_IN = ("row_id", "written_at")
SECRET = {"restricted_notes": "note"}  # text that is copied nowhere
LONGEST_TEXT = 4_000

# Which learners of some there are.
KnownLearners = Callable[[Collection[str]], Collection[str]]


class AlertFacts(NamedTuple):
    """What the inbox must know of an alert."""

    learner_id: str
    course_id: str
    coach_id: str | None
    opened_at: datetime


class AlertLike(Protocol):
    """An open or lately closed alert (`tutorflow.decide.alerts.Alert`)."""

    alert_id: str
    key: tuple[str, str, str]
    coach_id: str | None
    opened_at: datetime


@dataclass(frozen=True)
class Written:
    """A row of an inbox table as it stands there: every value as text or None."""

    inbox: str
    row_id: str
    written_at: datetime
    values: Mapping[str, str | None]


class Refused(TutorflowError):
    """A row cannot be taken; the message tells the person who wrote it why."""


# -- writing by hand -------------------------------------------------------------------------------


def write(settings: Settings, name: str, **values: Any) -> str:
    """Insert a row into inbox table `name` as a coach tool would; returns its row id.

    Times are naive UTC. Raises ContractError for a table or column that does not exist, and
    ServingError when the database cannot be used.
    """
    spec = contract.inbox().get(name)
    if spec is None:
        known = ", ".join(contract.inbox())
        raise contract.ContractError(f"no inbox is called {name!r}; there are: {known}")
    unknown = sorted(set(values) - set(spec.columns))
    if unknown:
        raise contract.ContractError(f"{name} has no column {unknown[0]}")
    target = contract.metadata().tables[name]
    with writing(settings) as connection:
        inserted = connection.execute(sa.insert(target).values(values).returning(target.c.row_id))
        row_id: str = inserted.scalar_one()
    return row_id


# -- reading what has not been taken ---------------------------------------------------------------


def waiting(settings: Settings, until: datetime) -> list[Written]:
    """The rows written before `until` (naive UTC) that no tick has taken, in order of writing."""
    if not exists(settings):
        return []
    found: list[Written] = []
    with reading(settings) as connection:
        there = set(sa.inspect(connection).get_table_names())
        if "inbox_taken" not in there:
            return []
        for name in contract.inbox():
            if name in there:
                found += _untaken(connection, name)
    return sorted(
        (row for row in found if row.written_at < until),
        key=lambda row: (row.written_at, row.inbox, row.row_id),
    )


def _untaken(connection: sa.Connection, name: str) -> list[Written]:
    # As text: a value that is no time must be answered, not stop the hour.
    source = contract.metadata().tables[name]
    taken = contract.metadata().tables["inbox_taken"]
    is_taken = sa.exists().where(taken.c.inbox == name, taken.c.row_id == source.c.row_id)
    columns = [sa.cast(column, sa.Text).label(column.name) for column in source.c]
    rows = connection.execute(sa.select(*columns).where(~is_taken)).mappings().all()
    return [_written(name, dict(row)) for row in rows]


def _written(name: str, row: dict[str, str | None]) -> Written:
    row_id, written_at = row.pop("row_id") or "", row.pop("written_at") or ""
    values = {
        column: None if text is None else text.strip() or None for column, text in row.items()
    }
    return Written(name, row_id, _instant(written_at) or datetime.min, values)


def _instant(text: str) -> datetime | None:
    """The time in the text, naive UTC; None when it is no time."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return parsed if parsed.tzinfo is None else to_naive_utc(parsed)


# -- taking ----------------------------------------------------------------------------------------


@dataclass
class Inbox:
    """What waits for the ticks of a window, and what became of it.

    `by_tick`: the rows by index of the tick that takes them. `alerts`: every alert that may be
    meant, by id; those opened on the way are added as they come.
    """

    by_tick: Mapping[int, list[Written]]
    known_learners: KnownLearners
    earlier: list[InboxNote] = field(default_factory=list)
    alerts: dict[str, AlertFacts] = field(default_factory=dict)
    taken: list[dict[str, Any]] = field(default_factory=list)
    rejections: list[dict[str, Any]] = field(default_factory=list)

    def take(self, index: int, as_of: datetime, alerts: Iterable[AlertLike]) -> list[InboxNote]:
        """Take the rows of the tick that ends at `as_of`; what the decision is to hear of them.

        `alerts` are those open or lately closed at the start of the tick.
        """
        notes, self.earlier = self.earlier, []
        rows = self.by_tick.get(index, [])
        if not rows:
            return notes
        for alert in alerts:
            learner_id, course_id, _ = alert.key
            self.alerts[alert.alert_id] = AlertFacts(
                learner_id, course_id, alert.coach_id, alert.opened_at
            )
        named = {row.values["learner_id"] or "" for row in rows if "learner_id" in row.values}
        learners = set(self.known_learners(named)) if named else set()
        for row in rows:
            content, reason = dict[str, Any](row.values), None
            try:
                content = _checked(row, as_of, self.alerts, learners)
            except Refused as refusal:
                reason = str(refusal)
                self.rejections.append(_rejection(row, as_of, reason))
            self.taken.append(_taken(row, as_of, content, reason is None))
            note = None if reason else said(row.inbox, row.row_id, content)
            if note is not None:
                notes.append(note)
        return notes

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Rows of `inbox_taken` and `inbox_rejections`."""
        return {"inbox_taken": self.taken, "inbox_rejections": self.rejections}


def open_inbox(
    settings: Settings,
    ends: list[datetime],
    known_learners: KnownLearners,
    recent: timedelta = timedelta(days=14),
) -> Inbox:
    """What the ticks that end at `ends` (naive UTC, in order) take.

    Interventions of the `recent` past are heard again: they are why somebody is left alone.
    """
    by_tick: dict[int, list[Written]] = defaultdict(list)
    for row in waiting(settings, ends[-1]):
        by_tick[bisect_right(ends, row.written_at)].append(row)
    inbox = Inbox(by_tick, known_learners)
    if not exists(settings):
        return inbox
    since = ends[0] - recent
    earlier = read_table(
        settings,
        "inbox_taken",
        lambda t: sa.and_(
            t.c.inbox == "interventions", t.c.verdict == "accepted", t.c.taken_at >= since
        ),
    )
    notes = [
        said("interventions", row["row_id"], _loaded(row["content"]))
        for row in earlier.to_dict("records")
    ]
    inbox.earlier = [note for note in notes if note is not None]
    named = {
        row.values["alert_id"] or ""
        for rows in by_tick.values()
        for row in rows
        if "alert_id" in row.values
    }
    if named:
        alerts = read_table(settings, "alerts", {"alert_id": sorted(named)})
        for alert in alerts.to_dict("records"):
            coach = alert["coach_id"]
            inbox.alerts[alert["alert_id"]] = AlertFacts(
                alert["learner_id"],
                alert["course_id"],
                None if pd.isna(coach) else coach,
                alert["opened_at"].to_pydatetime(),
            )
    return inbox


def _taken(
    row: Written, as_of: datetime, content: Mapping[str, Any], accepted: bool
) -> dict[str, Any]:
    kept = {name: value for name, value in content.items() if name != SECRET.get(row.inbox)}
    return {
        "inbox": row.inbox,
        "row_id": row.row_id,
        "written_at": row.written_at,
        "taken_at": as_of,
        "verdict": "accepted" if accepted else "rejected",
        "alert_id": content.get("alert_id"),
        "learner_id": content.get("learner_id"),
        "content": json.dumps(kept, default=str, ensure_ascii=False, sort_keys=True),
    }


def _rejection(row: Written, as_of: datetime, reason: str) -> dict[str, Any]:
    return {
        "inbox": row.inbox,
        "row_id": row.row_id,
        "rejected_at": as_of,
        "coach_id": row.values.get("coach_id") or row.values.get("who"),
        "reason": reason,
    }


# -- is it valid? ----------------------------------------------------------------------------------


def _checked(
    row: Written, as_of: datetime, alerts: Mapping[str, AlertFacts], learners: Collection[str]
) -> dict[str, Any]:
    """The row's values in their types, defaults filled in; raises Refused."""
    spec = contract.table(row.inbox)
    content: dict[str, Any] = {}
    for column in spec.columns.values():
        if column.name not in FILLED_IN:
            content[column.name] = _value(column, row.values.get(column.name))
    if "alert_id" in content:
        alert = alerts.get(content["alert_id"])
        if alert is None or alert.opened_at >= as_of:
            raise Refused(
                f"there is no alert {content['alert_id']}; copy alert_id from coach_queue or alerts"
            )
        content |= {"learner_id": alert.learner_id, "course_id": alert.course_id}
        if "coach_id" in content and content["coach_id"] is None:
            content["coach_id"] = alert.coach_id
    elif content["learner_id"] not in learners:
        raise Refused(
            f"there is no learner {content['learner_id']}; write the pseudonym as in learner_states"
        )
    _check_between(row, content)
    return content


def _value(column: contract.Column, text: str | None) -> Any:
    if text is None:
        if column.nullable:
            return None
        raise Refused(f"{column.name} is missing; it is {column.description}")
    if len(text) > LONGEST_TEXT:
        raise Refused(f"{column.name} has {len(text)} characters; at most {LONGEST_TEXT} are kept")
    value = _typed(column, text)
    if column.values and value not in column.values:
        allowed = ", ".join(map(str, column.values))
        raise Refused(f"{column.name} cannot be {text!r}; write one of {allowed}")
    return value


def _typed(column: contract.Column, text: str) -> Any:
    if column.type == "timestamp":
        moment = _instant(text)
        if moment is None:
            raise Refused(f"{column.name} is no time: {text!r}; write it like 2026-03-02 14:30:00")
        return moment
    if column.type == "integer":
        if not text.lstrip("-").isdigit():
            raise Refused(f"{column.name} is no whole number: {text!r}")
        return int(text)
    if column.type == "boolean":
        known = {"1": True, "true": True, "t": True, "0": False, "false": False, "f": False}
        if text.lower() not in known:
            raise Refused(f"{column.name} is {text!r}; write true or false")
        return known[text.lower()]
    return text


def _check_between(row: Written, content: dict[str, Any]) -> None:
    """What one column demands of another; fills in the time."""
    if row.inbox == "interventions":
        content["at"] = content["at"] or row.written_at
        if content["at"] > row.written_at + CLOCK_TOLERANCE:
            raise Refused(
                f"at lies in the future ({content['at']:%Y-%m-%d %H:%M} UTC, written "
                f"{row.written_at:%Y-%m-%d %H:%M} UTC); log a contact once it has happened"
            )
    else:
        content["at"] = row.written_at
    if row.inbox == "recommendation_decisions" and content["decision"] != "accept":
        if content["reason"] is None:
            raise Refused(f"reason is missing; say why you {content['decision']} the step")
        if content["decision"] == "edit" and content["edited_action"] is None:
            raise Refused("edited_action is missing; write the step as you want it")
    if row.inbox == "overrides":
        if content["value"] is None:
            raise Refused(f"value is missing; write the new {content['what']}")
        if content["what"] == "alert_tier" and content["value"] not in ("1", "2", "3", "4"):
            raise Refused(f"value cannot be {content['value']!r}; an alert tier is 1, 2, 3 or 4")
    if row.inbox == "manual_flags":
        content["layer"] = content["layer"] or "confidence"
        content["alert_tier"] = content["alert_tier"] or 2


# -- what the decision hears -----------------------------------------------------------------------


def said(inbox: str, row_id: str, content: Mapping[str, Any]) -> InboxNote | None:
    """A valid row as the fold over time hears it; None for what it need not hear."""
    at = content.get("at")
    if not isinstance(at, datetime):
        return None
    by = str(content.get("coach_id") or content.get("who") or "unknown")
    if inbox == "acknowledgements":
        return Acknowledgement(row_id, at, by, content["alert_id"])
    if inbox == "alert_verdicts":
        return AlertVerdict(row_id, at, by, content["alert_id"], content["verdict"])
    if inbox == "interventions":
        return Intervention(
            row_id, at, by, content["learner_id"], content["course_id"], content["kind"]
        )
    if inbox == "overrides":
        is_tier = content["what"] == "alert_tier"
        return Override(
            row_id,
            at,
            by,
            content["alert_id"],
            content["why"],
            coach_id=None if is_tier else content["value"],
            alert_tier=int(content["value"]) if is_tier else None,
        )
    if inbox == "consent_changes":
        return Consent(
            row_id, at, by, content["learner_id"], content["purpose"], content["is_granted"]
        )
    return None


# -- what has been taken ---------------------------------------------------------------------------


def accepted(taken: pd.DataFrame, inbox: str) -> pd.DataFrame:
    """The accepted rows of one inbox out of `inbox_taken`, a column per value.

    Columns: row_id, written_at, taken_at and those of the inbox with `learner_id`, `course_id` and
    `at` (naive UTC); in order of `at` and row id.
    """
    rows = taken[(taken["inbox"] == inbox) & (taken["verdict"] == "accepted")]
    names = [c for c in contract.table(inbox).columns if c != SECRET.get(inbox)]
    columns = list(dict.fromkeys([*names, "taken_at", "learner_id", "course_id", "at"]))
    records = [
        {
            **_loaded(row["content"]),
            "row_id": row["row_id"],
            "written_at": row["written_at"],
            "taken_at": row["taken_at"],
        }
        for row in rows.to_dict("records")
    ]
    frame = pd.DataFrame(records, columns=columns)
    for name in ("written_at", "taken_at", "at"):
        frame[name] = frame[name].astype("datetime64[us]")
    return frame.sort_values(["at", "row_id"], ignore_index=True)


def _loaded(content: str) -> dict[str, Any]:
    """The content of a taken row, its time as a time."""
    values: dict[str, Any] = json.loads(content)
    at = values.get("at")
    return {**values, "at": None if at is None else _instant(at)}
