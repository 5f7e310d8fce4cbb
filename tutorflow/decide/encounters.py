"""Encounters: when people were in touch with learners, when they will meet, and what many met.

Contacts and scheduled sessions are read for the learners who may get an alert in the window; the
sizes of courses and the items many miss for whole courses, and only where a guard may need them.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pandas as pd

from tutorflow.decide.crowds import ItemTry
from tutorflow.decide.frames import frame, rows_of
from tutorflow.decide.rules.series import group_numbers
from tutorflow.policy.model import CohortGuard, ItemGuard, Policy

Who = tuple[str, str]  # learner, course

CONTACTS = """
    select learner_id, course_id, known_at
    from marts.events
    where (event_type = 'session_attended' or (event_type = 'message_sent' and actor = 'coach'))
        and known_at >= $since and known_at < $end
        and learner_id in (select learner_id from encounter_learners)
    order by known_at, event_id
"""

# What was said last of a session, as long as nothing newer was known, is what counts.
SESSIONS = """
    select
        learner_id, course_id, event_type, known_at, coalesce(due_at, occurred_at) as starts_at,
        lead(known_at) over (
            partition by
                learner_id, course_id,
                coalesce(session_id_of_source, cast(coalesce(due_at, occurred_at) as varchar))
            order by known_at, event_id
        ) as superseded_at
    from marts.events
    where event_type in ('session_scheduled', 'session_cancelled') and known_at < $end
        and coalesce(due_at, occurred_at) >= $since
        and learner_id in (select learner_id from encounter_learners)
    qualify event_type = 'session_scheduled'
    order by learner_id, course_id, starts_at, known_at
"""

# How many learners were active on a course in the whole days before a day.
SIZES = """
    select calendar.day, days.course_id, count(distinct days.learner_id) as learners
    from (
        select unnest(range(cast($first_day as date), cast($last_day as date) + 1, interval 1 day))
            ::date as day
    ) as calendar
    inner join marts.learner_days as days
        on days.activity_date < calendar.day and days.activity_date >= calendar.day - $active_days
    where days.course_id in (select course_id from encounter_courses)
        and days.activity_date >= cast($first_day as date) - $active_days
    group by all
"""

# First tries and items left unfinished, of the items that enough learners missed to be looked at.
TRIES = """
    with tries as (
        select known_at, course_id, item_id, learner_id, not is_correct as is_missed
        from marts.responses
        where is_first_attempt and item_id is not null and is_correct is not null
            and known_at >= $since and known_at < $end
        union all
        select known_at, course_id, item_id, learner_id, true as is_missed
        from marts.events
        where event_type = 'item_abandoned' and item_id is not null
            and known_at >= $since and known_at < $end
    ),

    often_missed as (
        select course_id, item_id
        from tries
        group by all
        having count(distinct learner_id) filter (is_missed) >= $missed
    )

    select tries.*
    from tries
    semi join often_missed using (course_id, item_id)
    order by known_at, course_id, item_id, learner_id
"""


class Meeting(NamedTuple):
    """A scheduled session: known from when to when (None: still), and when it starts."""

    starts_at: datetime
    known_at: datetime
    superseded_at: datetime | None


@dataclass(frozen=True)
class Encounters:
    """Look-ups by learner and time; times are naive UTC, and only what was known before counts."""

    contacts: dict[Who, list[datetime]] = field(default_factory=dict)
    meetings: dict[Who, list[Meeting]] = field(default_factory=dict)
    sizes: dict[tuple[str, date], int] = field(default_factory=dict)
    tries: list[ItemTry] = field(default_factory=list)
    zone: str = "UTC"

    def last_contact_at(self, learner_id: str, course_id: str, at: datetime) -> datetime | None:
        """When a person was last in touch with the learner, as known at ``at``."""
        known = self.contacts.get((learner_id, course_id), [])
        position = bisect_left(known, at)
        return known[position - 1] if position else None

    def next_session_at(self, learner_id: str, course_id: str, at: datetime) -> datetime | None:
        """The start of the learner's next scheduled session, as known at ``at``."""
        return min(
            (
                meeting.starts_at
                for meeting in self.meetings.get((learner_id, course_id), [])
                if meeting.starts_at > at
                and meeting.known_at < at
                and not (meeting.superseded_at is not None and meeting.superseded_at < at)
            ),
            default=None,
        )

    def active_learners(self, course_id: str, at: datetime) -> int:
        """Learners active on the course in the whole days before ``at``, as the guard asks."""
        local = at.replace(tzinfo=UTC).astimezone(ZoneInfo(self.zone))
        return self.sizes.get((course_id, local.date()), 0)


def load_encounters(
    warehouse: duckdb.DuckDBPyConnection,
    policy: Policy,
    zone: str,
    first: datetime,
    ends: Sequence[datetime],
    learners: Collection[str],
    crowded: Collection[str],
) -> Encounters:
    """The encounters around the ticks that end at ``ends``, the first of which begins at ``first``.

    ``learners`` may get an alert in it; in the courses ``crowded`` a rule fired often enough for
    the cohort guard to ask how many learners there are.
    """
    end, fatigue = ends[-1], policy.fatigue
    warehouse.register("encounter_ids", pd.DataFrame({"id": sorted(learners)}, dtype="str"))
    warehouse.execute(
        "create or replace temp table encounter_learners as "
        "select cast(id as uuid) as learner_id from encounter_ids"
    )
    since = first - timedelta(hours=fatigue.already_on_it_hours)
    contacts: dict[Who, list[datetime]] = defaultdict(list)
    for row in rows_of(frame(warehouse, CONTACTS, {"since": since, "end": end})):
        contacts[row.learner_id, row.course_id].append(row.known_at.to_pydatetime())
    meetings: dict[Who, list[Meeting]] = defaultdict(list)
    for row in rows_of(frame(warehouse, SESSIONS, {"since": first, "end": end})):
        superseded = None if pd.isna(row.superseded_at) else row.superseded_at.to_pydatetime()
        meetings[row.learner_id, row.course_id].append(
            Meeting(row.starts_at.to_pydatetime(), row.known_at.to_pydatetime(), superseded)
        )
    return Encounters(
        dict(contacts),
        dict(meetings),
        _sizes(warehouse, fatigue.cohort_guard, zone, (first, end), crowded),
        _tries(warehouse, fatigue.item_guard, first, ends),
        zone,
    )


def _sizes(
    warehouse: duckdb.DuckDBPyConnection,
    guard: CohortGuard,
    zone: str,
    span: tuple[datetime, datetime],
    courses: Collection[str],
) -> dict[tuple[str, date], int]:
    if not courses:
        return {}
    warehouse.register(
        "encounter_courses", pd.DataFrame({"course_id": sorted(courses)}, dtype="str")
    )
    days = [at.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).date() for at in span]
    rows = frame(
        warehouse,
        SIZES,
        {"first_day": days[0], "last_day": days[1], "active_days": guard.active_days},
    )
    return {
        (row.course_id, pd.Timestamp(row.day).date()): int(row.learners) for row in rows_of(rows)
    }


def _tries(
    warehouse: duckdb.DuckDBPyConnection,
    guard: ItemGuard,
    first: datetime,
    ends: Sequence[datetime],
) -> list[ItemTry]:
    numbers = {
        "since": first - timedelta(hours=guard.hours),
        "end": ends[-1],
        "missed": math.ceil(guard.share * guard.learners),
    }
    rows = _of_items_found(frame(warehouse, TRIES, numbers), ends, guard)
    return [
        ItemTry(
            row.known_at.to_pydatetime(),
            row.course_id,
            row.item_id,
            row.learner_id,
            bool(row.is_missed),
        )
        for row in rows_of(rows)
    ]


def _of_items_found(
    tries: pd.DataFrame, ends: Sequence[datetime], guard: ItemGuard
) -> pd.DataFrame:
    """All tries of the items that the guard finds at any of the ticks; about others it is silent.

    It counts as :func:`tutorflow.decide.crowds.judge_item` does. Of an item that is found nothing
    is left out: a part of its tries would have another share.
    """
    ticks, reach = np.array(ends, dtype="datetime64[us]"), timedelta(hours=guard.hours)
    at = tries["known_at"].to_numpy().astype("datetime64[us]")
    begin = np.searchsorted(ticks, at, side="right")
    end = np.searchsorted(ticks, at + np.timedelta64(reach), side="left")
    item = group_numbers(tries, ["course_id", "item_id"]).to_numpy()
    who = group_numbers(tries, ["course_id", "item_id", "learner_id"]).to_numpy()
    size, bad = len(ticks) + 1, tries["is_missed"].to_numpy(dtype="bool")
    met_at, met = _ups_and_downs(item * size, who, begin, end)
    missed_at, missed = _ups_and_downs((item * size)[bad], who[bad], begin[bad], end[bad])
    moments = np.concatenate((met_at, missed_at))
    order = np.argsort(moments, kind="stable")
    moments = moments[order]
    met = np.concatenate((met, 0 * missed))[order].cumsum()
    missed = np.concatenate((0 * met_at, missed))[order].cumsum()
    is_last = np.append(moments[1:] != moments[:-1], True)
    is_found = is_last & (met >= guard.learners) & (missed >= guard.share * met)
    return tries[np.isin(item, moments[is_found] // size)]


def _ups_and_downs(
    place: np.ndarray, who: np.ndarray, begin: np.ndarray, end: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(moments, +1 or -1): how many are there, if a row is there at the ticks in [begin, end).

    ``place`` is where the ticks of a row's item begin. Who comes again before leaving is one.
    """
    left = pd.Series(end).groupby(who, sort=False).shift(fill_value=0).to_numpy()
    begin = np.maximum(begin, left)
    counts = begin < end
    moments = np.concatenate(((place + begin)[counts], (place + end)[counts]))
    return moments, np.repeat((1, -1), counts.sum())


def item_finder(responses: pd.DataFrame) -> Callable[[str], str | None]:
    """Event -> the item it is about, for answers; the look-up is built when it is first asked."""
    items: dict[str, str | None] = {}

    def item_of(event_id: str) -> str | None:
        if not items:
            known = responses[responses["item_id"].notna()]
            items.update(zip(known["event_id"].astype("str"), known["item_id"], strict=True))
            items[""] = None
        return items.get(event_id)

    return item_of
