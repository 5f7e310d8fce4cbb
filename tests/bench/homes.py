"""Home directories with simulated histories, and hours that arrive in them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tutorflow.settings import Settings, load_settings
from tutorflow.simulate.bulk import write_bulk

HOUR = timedelta(hours=1)
EVENTS_PER_WEEK = 140  # of a learner of the simulated programme


@dataclass(frozen=True)
class History:
    """A home with a history that ends at `ends_at`, and the file of the hour after it."""

    home: Path
    events: int
    learners: int
    active: int
    ends_at: datetime
    last_hour: Path | None

    @property
    def settings(self) -> Settings:
        return load_settings(self.home)


def write_history(home: Path, events: int, learners: int, active: int) -> History:
    """Simulate `events` events of `learners`, of whom `active` are active in the hour after.

    They lie as close together as in the simulated programme, so that most learners are at work: in
    a programme that everybody has left, an hour would be about alerts of silence.
    """
    weeks = max(2, round(events / learners / EVENTS_PER_WEEK))
    report = write_bulk(
        home, events, learners=learners, hours=weeks * 168, last_hour_learners=active
    )
    return History(home, events, learners, active, report.ends_at, report.last_hour)


def arrive(history: History, number: int) -> int:
    """Let the hour `number` (1, 2, ...) after the history arrive; the number of its events.

    Every hour is the first one, later and with ids of its own: the same learners are active.
    """
    assert history.last_hour is not None, "the history was written without a further hour"
    table = pq.read_table(history.last_hour)
    shift = pa.scalar((number - 1) * HOUR, pa.duration("us"))
    for index, field in enumerate(table.schema):
        column = table.column(index)
        if pa.types.is_timestamp(field.type):
            table = table.set_column(index, field, pc.add(column, shift))
        elif field.name in ("source_event_id", "session_id"):
            marked = pc.binary_join_element_wise(column, str(number), "/")
            table = table.set_column(index, field, marked)
    path = (
        history.home
        / "events"
        / f"events-{history.ends_at + (number - 1) * HOUR:%Y%m%dT%H}.parquet"
    )
    pq.write_table(table, path)
    until = history.ends_at + number * HOUR
    manifest = json.dumps({"complete_until": until.isoformat()})
    path.with_name(path.name + ".manifest.json").write_text(manifest, encoding="utf-8")
    return int(table.num_rows)
