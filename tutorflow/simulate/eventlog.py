"""The events a programme's platform sends: rows waiting until they are received, then Arrow tables.

Columns are those of the canonical input format. Times are UTC with their zone. Most events arrive
seconds after they happened; a share (`late_share`) minutes to hours later, some more than a day.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from tutorflow.simulate.config import SimulationConfig
from tutorflow.simulate.randomness import Stream, mix, step_in

_TIME = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [
        ("source_event_id", pa.string()),
        ("user_id", pa.string()),
        ("event_type", pa.string()),
        ("occurred_at", _TIME),
        ("received_at", _TIME),
        ("course_id", pa.string()),
        ("module_id", pa.string()),
        ("item_id", pa.string()),
        ("skill_id", pa.string()),
        ("session_id", pa.string()),
        ("attempt_number", pa.int32()),
        ("is_correct", pa.bool_()),
        ("score", pa.float64()),
        ("score_max", pa.float64()),
        ("response_seconds", pa.float64()),
        ("hint_level", pa.int32()),
        ("hint_level_max", pa.int32()),
        ("hints_available", pa.int32()),
        ("due_at", _TIME),
        ("error_type", pa.string()),
        ("self_report", pa.float64()),
        ("text_flag", pa.string()),
        ("actor", pa.string()),
        ("attributes", pa.string()),
    ]
)

Row = tuple[Any, ...]
_HOUR_US = 3_600_000_000
_LATE_MEDIAN_SECONDS = 40 * 60.0
_LATE_MAX_SECONDS = 48 * 3600.0


class EventLog:
    """Collects events in any order and hands them out in the order they are received.

    Seconds (`at`, `due`) count from the start of the programme. An event at or after the end of the
    programme does not happen; one that would be received after it is received just before it.
    """

    def __init__(self, config: SimulationConfig, user_ids: Sequence[str]) -> None:
        self._streams = [
            mix(config.seed, Stream.LATENESS, learner) for learner in range(len(user_ids))
        ]
        self._late_share = config.late_share
        self._user_ids = user_ids
        self._start_us = int(config.starts_at.timestamp()) * 1_000_000
        self._end_us = self._start_us + config.hours * _HOUR_US
        self._numbers = [0] * len(user_ids)
        self._waiting: defaultdict[int, list[Row]] = defaultdict(list)

    def add(
        self,
        learner: int,
        event_type: str,
        at: float,
        actor: str = "learner",
        *,
        course: str | None = None,
        module: str | None = None,
        item: str | None = None,
        skill: str | None = None,
        session: str | None = None,
        attempt: int | None = None,
        correct: bool | None = None,
        score: float | None = None,
        score_max: float | None = None,
        seconds: float | None = None,
        hint: int | None = None,
        hint_max: int | None = None,
        hints: int | None = None,
        due: float | None = None,
        error: str | None = None,
        report: float | None = None,
        flag: str | None = None,
        attributes: str | None = None,
    ) -> None:
        """Record that something happened to a learner (number) at a second of the programme."""
        occurred = self._start_us + int(at * 1000.0) * 1000
        if occurred >= self._end_us:
            return
        self._numbers[learner] = number = self._numbers[learner] + 1
        received = min(occurred + self._delay_us(learner, number), self._end_us - 1000)
        row = (
            received,
            learner,
            number,
            event_type,
            occurred,
            course,
            module,
            item,
            skill,
            session,
            attempt,
            correct,
            score,
            score_max,
            seconds,
            hint,
            hint_max,
            hints,
            None if due is None else self._start_us + int(due * 1000.0) * 1000,
            error,
            report,
            flag,
            actor,
            attributes,
        )
        self._waiting[(received - self._start_us) // _HOUR_US].append(row)

    def _delay_us(self, learner: int, number: int) -> int:
        drawn = step_in(self._streams[learner], number)
        share, position = (drawn >> 32) * 2.0**-32, (drawn & 0xFFFFFFFF) * 2.0**-32
        if share >= self._late_share:
            return 300_000 + int(position * 8_000_000)
        # Log-logistic: minutes to hours, with a long tail.
        odds = (position + 1e-9) / (1.0 - position + 1e-9)
        seconds = _LATE_MEDIAN_SECONDS * math.exp(0.8 * math.log(odds))
        return int(min(max(seconds, 60.0), _LATE_MAX_SECONDS) * 1e6)

    def take(self, until: datetime) -> pa.Table:
        """The events received before `until` that were not taken yet, in order of receipt."""
        until_us = (until - datetime.fromtimestamp(0, until.tzinfo)) // timedelta(microseconds=1)
        last = (until_us - self._start_us) // _HOUR_US
        rows: list[Row] = []
        for hour in sorted(h for h in self._waiting if h <= last):
            ready = [row for row in self._waiting[hour] if row[0] < until_us]
            rest = [row for row in self._waiting[hour] if row[0] >= until_us]
            rows += ready
            if rest:
                self._waiting[hour] = rest
            else:
                del self._waiting[hour]
        rows.sort(key=_receipt)
        return self._table(rows)

    def _table(self, rows: list[Row]) -> pa.Table:
        if not rows:
            return SCHEMA.empty_table()
        received, learners, numbers, event_types, occurred, *rest = zip(*rows, strict=True)
        user_ids = [self._user_ids[learner] for learner in learners]
        identifiers = [f"{u}-{n:06d}" for u, n in zip(user_ids, numbers, strict=True)]
        columns: Iterable[Any] = (identifiers, user_ids, event_types, occurred, received, *rest)
        arrays = [
            pa.array(column, pa.int64() if field.type == _TIME else field.type).cast(field.type)
            for column, field in zip(columns, SCHEMA, strict=True)
        ]
        return pa.Table.from_arrays(arrays, schema=SCHEMA)


def _receipt(row: Row) -> tuple[int, int, int]:
    return row[0], row[1], row[2]
