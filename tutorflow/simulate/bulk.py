"""Millions of simulated events for benchmarks, in the canonical input format, in seconds.

A small programme is simulated once; its visits (runs of a learner's events without a gap of half
an hour) are then dealt out to any number of made-up learners, in their order and near their time of
day, on random days of the wanted span. What happens inside a visit is therefore as in the
simulation (of ten events about four are responses and three presentations, then hints, edits,
explanations), and a learner's skills come in course order; what is lost is what happens between
visits (motivation, weekly rhythm, deadlines). Good for measuring speed, not decisions. All names
say that the data are simulated.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tutorflow.simulate.config import SimulationConfig, SimulationError
from tutorflow.simulate.eventlog import SCHEMA
from tutorflow.simulate.programme import Programme

SOURCE_NAME = "simulated_bulk"
GAP_SECONDS = 1800
EVENTS_PER_FILE = 1_000_000
_BASE = SimulationConfig(learners=160, weeks=4, late_share=0.0)
_REPLACED = ("source_event_id", "user_id", "occurred_at", "received_at", "due_at", "session_id")
_TIME = pa.timestamp("us", tz="UTC")
_SECOND, _HOUR, _DAY = 1_000_000, 3_600_000_000, 86_400_000_000
_NEVER = np.iinfo(np.int64).min
Integers = NDArray[np.int64]

_CONFIGURATION = """\
# {events} simulated events of {learners} learners for benchmarks; see tutorflow/simulate/bulk.py.
timezone: UTC
sources:
  - name: {source}
    path: events/*.parquet
    format: canonical
    namespace: programme
    complete_until: manifest
"""


@dataclass(frozen=True)
class BulkReport:
    """What `write_bulk` wrote. `last_hour` is the file of the hour after the history, or None."""

    out: Path
    events: int
    learners: int
    files: int
    starts_at: datetime
    ends_at: datetime
    last_hour: Path | None
    last_hour_events: int


@dataclass(frozen=True)
class _Visits:
    """The small programme cut into visits; visit v is rows first[v] .. first[v] + length[v] - 1."""

    table: pa.Table
    occurred: Integers
    delay: Integers
    due: Integers
    has_session: NDArray[np.bool_]
    first: Integers
    length: Integers
    of_learner: tuple[Integers, ...]
    openings_of_learner: tuple[Integers, ...]


def write_bulk(
    out: Path,
    events: int,
    *,
    learners: int | None = None,
    events_per_learner: int = 500,
    hours: int = 16 * 168,
    start: date = date(2026, 1, 5),
    seed: int = 1,
    last_hour_learners: int = 0,
) -> BulkReport:
    """Write `events` simulated events of the `hours` from `start` (UTC) to a new folder.

    learners: how many share them evenly; None = events / events_per_learner. events/: Parquet files
    of about a million events, each with a manifest. later/: if last_hour_learners > 0, one file
    with the hour after the history, in which exactly that many learners are active; move it and
    its manifest into events/ to let the hour arrive. tutorflow.yml: ready to run. Raises
    `SimulationError` on sizes that do not fit each other or if the folder holds anything.
    """
    count = learners if learners is not None else max(1, events // events_per_learner)
    _check(out, events, count, hours, last_hour_learners)
    visits = _visits(seed)
    starts_at = datetime.combine(start, time(), UTC)
    ends_at = starts_at + timedelta(hours=hours)
    start_us = int(starts_at.timestamp()) * _SECOND
    (out / "events").mkdir(parents=True)
    per_learner = -(-events // count)
    per_file = max(1, EVENTS_PER_FILE // per_learner)
    files = 0
    for first in range(0, count, per_file):
        numbers = np.arange(first, min(first + per_file, count))
        left = events - first * per_learner
        table = _history(visits, numbers, per_learner, start_us, hours, seed).slice(0, max(0, left))
        files += 1
        _write(table, out / "events" / f"events-simulated-{files:04d}.parquet", ends_at)
    last_hour, last_hour_events = None, 0
    if last_hour_learners:
        table = _hour(visits, count, last_hour_learners, start_us + hours * _HOUR, seed)
        last_hour = out / "later" / f"events-{ends_at:%Y%m%dT%H}.parquet"
        last_hour.parent.mkdir()
        _write(table, last_hour, ends_at + timedelta(hours=1))
        last_hour_events = table.num_rows
    (out / "tutorflow.yml").write_text(
        _CONFIGURATION.format(events=events, learners=count, source=SOURCE_NAME), encoding="utf-8"
    )
    return BulkReport(out, events, count, files, starts_at, ends_at, last_hour, last_hour_events)


def _check(out: Path, events: int, learners: int, hours: int, active: int) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SimulationError(f"{out} is not empty; name a new folder")
    if not 1 <= learners <= events:
        raise SimulationError(
            f"{learners} learners cannot share {events} events; at least one each"
        )
    if hours < 24:
        raise SimulationError(f"hours must be at least 24, not {hours}")
    if not 0 <= active <= learners:
        raise SimulationError(f"{active} learners cannot be active in an hour of {learners}")


@lru_cache(maxsize=1)
def _visits(seed: int) -> _Visits:
    table = Programme(_BASE, seed).advance(_BASE.ends_at)
    once = pa.array(["learner_enrolled", "learner_withdrew"])
    table = table.filter(pc.invert(pc.is_in(table["event_type"], once)))
    keys = ("user_id", "occurred_at", "source_event_id")
    table = table.sort_by([(key, "ascending") for key in keys]).combine_chunks()
    occurred = table["occurred_at"].cast(pa.int64()).to_numpy()
    learner = table["user_id"].combine_chunks().dictionary_encode().indices.to_numpy()
    is_first = np.ones(len(occurred), dtype=np.bool_)
    is_first[1:] = (learner[1:] != learner[:-1]) | (np.diff(occurred) > GAP_SECONDS * _SECOND)
    first = np.flatnonzero(is_first)
    owner = learner[first]
    is_opening = pc.equal(table["event_type"], "session_started").to_numpy()[first]
    busy = [k for k in np.unique(owner) if (is_opening & (owner == k)).any()]
    return _Visits(
        table=_encode(table),
        occurred=occurred,
        delay=table["received_at"].cast(pa.int64()).to_numpy() - occurred,
        due=table["due_at"].cast(pa.int64()).fill_null(_NEVER).to_numpy(),
        has_session=table["session_id"].is_valid().to_numpy(),
        first=first,
        length=np.diff(np.append(first, len(occurred))),
        of_learner=tuple(np.flatnonzero(owner == k) for k in busy),
        openings_of_learner=tuple(np.flatnonzero(is_opening & (owner == k)) for k in busy),
    )


def _encode(table: pa.Table) -> pa.Table:
    """The columns that are copied as they are, the texts among them as dictionaries."""
    kept = table.select([field.name for field in SCHEMA if field.name not in _REPLACED])
    columns = [
        column.dictionary_encode() if pa.types.is_string(column.type) else column
        for column in (kept[name].combine_chunks() for name in kept.column_names)
    ]
    return pa.table(columns, names=kept.column_names)


def _history(
    visits: _Visits, numbers: Integers, per_learner: int, start_us: int, hours: int, seed: int
) -> pa.Table:
    """`per_learner` events for each of the learners, visit after visit on sorted random days."""
    rng = np.random.default_rng([seed, int(numbers[0])])
    chosen, lengths, owners = _deal(visits, numbers, per_learner)
    position = np.sort(owners + rng.random(len(owners))) - owners
    first_event = visits.occurred[visits.first[chosen]]
    time_of_day = first_event % _DAY + rng.integers(-2 * _HOUR, 2 * _HOUR, len(chosen))
    day = (position * (hours // 24)).astype(np.int64)
    begins = start_us + day * _DAY + np.clip(time_of_day, 0, _DAY - _HOUR)
    last_event = visits.occurred[visits.first[chosen] + lengths - 1]
    latest = start_us + hours * _HOUR - _SECOND - (last_event - first_event)
    begins = np.maximum(np.minimum(begins, latest), start_us)
    return _table(visits, chosen, lengths, numbers[owners], begins, "")


def _deal(
    visits: _Visits, numbers: Integers, per_learner: int
) -> tuple[Integers, Integers, Integers]:
    """(visit, its length, position of its learner in `numbers`): each learner gets the visits of
    one simulated learner, over again if they run out, the last one cut short."""
    chosen, lengths = [], []
    for number in numbers.tolist():
        own = visits.of_learner[number % len(visits.of_learner)]
        size = visits.length[own]
        rounds = -(-per_learner // int(size.sum()))
        own, size = np.tile(own, rounds), np.tile(size, rounds)
        before = np.cumsum(size) - size
        is_needed = before < per_learner
        chosen.append(own[is_needed])
        lengths.append(np.minimum(size[is_needed], per_learner - before[is_needed]))
    owners = np.repeat(np.arange(len(numbers)), [len(own) for own in chosen])
    return np.concatenate(chosen), np.concatenate(lengths), owners


def _hour(visits: _Visits, learners: int, active: int, start_us: int, seed: int) -> pa.Table:
    """One visit each of `active` learners, begun and cut within the hour."""
    rng = np.random.default_rng([seed, learners, active])
    numbers = np.sort(rng.choice(learners, active, replace=False))
    kinds = len(visits.openings_of_learner)
    chosen = np.array([rng.choice(visits.openings_of_learner[n % kinds]) for n in numbers.tolist()])
    begins = start_us + rng.integers(0, 40 * 60 * _SECOND, active)
    table = _table(visits, chosen, visits.length[chosen], numbers, begins, "next-")
    ends_at = pa.scalar(start_us + _HOUR, pa.int64()).cast(_TIME)
    return table.filter(pc.less(table["occurred_at"], ends_at))


def _table(
    visits: _Visits,
    chosen: Integers,
    lengths: Integers,
    learners: Integers,
    begins: Integers,
    mark: str,
) -> pa.Table:
    """The events of the chosen visits, moved to where they begin; ids count within the learner."""
    before = np.cumsum(lengths) - lengths
    rows = np.repeat(visits.first[chosen] - before, lengths) + np.arange(int(lengths.sum()))
    shift = np.repeat(begins - visits.occurred[visits.first[chosen]], lengths)
    occurred = visits.occurred[rows] + shift
    due = visits.due[rows]
    visit = np.repeat(np.arange(len(chosen)), lengths)
    names = [f"simulated-{number + 1:07d}" for number in learners.tolist()]
    users = pa.DictionaryArray.from_arrays(visit, names).cast(pa.string())
    numbers = pa.array(np.arange(len(rows))).cast(pa.string())
    sessions = [f"{name}-{mark}{k:07d}" for k, name in enumerate(names)]
    replaced = {
        "source_event_id": pc.binary_join_element_wise(users, numbers, f"-{mark}"),
        "user_id": users.dictionary_encode(),
        "occurred_at": pa.array(occurred).cast(_TIME),
        "received_at": pa.array(occurred + visits.delay[rows]).cast(_TIME),
        "due_at": pa.array(due + shift, mask=due == _NEVER).cast(_TIME),
        "session_id": pa.DictionaryArray.from_arrays(
            pa.array(visit, mask=~visits.has_session[rows]), sessions
        ),
    }
    copied = visits.table.take(pa.array(rows))
    columns = [replaced[name] if name in replaced else copied[name] for name in SCHEMA.names]
    return pa.table(columns, names=SCHEMA.names)


def _write(table: pa.Table, path: Path, complete_until: datetime) -> None:
    # Readers are to see the plain canonical columns, not how they were encoded here.
    pq.write_table(table.cast(SCHEMA), path)
    manifest = json.dumps({"complete_until": complete_until.isoformat()})
    path.with_name(path.name + ".manifest.json").write_text(manifest + "\n", encoding="utf-8")
