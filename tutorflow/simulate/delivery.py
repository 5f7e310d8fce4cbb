"""Writes a simulated programme to disk: event files, roster, hidden truth, configuration."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tutorflow.simulate.config import SimulationConfig, SimulationError
from tutorflow.simulate.programme import Programme
from tutorflow.simulate.roster import write_roster
from tutorflow.simulate.truth import Truth

SOURCE_NAME = "simulated_tutor"

_CONFIGURATION = """\
# A simulated programme: {learners} learners, {weeks} weeks from {start}, seed {seed}.
# The folder truth/ holds what really happened; no source may point there.
timezone: {timezone}
roster_path: roster
sources:
  - name: {source}
    path: events/*.parquet
    format: canonical
    namespace: programme
    complete_until: manifest
"""


@dataclass(frozen=True)
class SimulationReport:
    """What `simulate` wrote. `files` counts event files; `need_spells` rows of truth/needs."""

    out: Path
    learners: int
    events: int
    files: int
    starts_at: datetime
    ends_at: datetime
    need_spells: int
    stopped: int


def simulate(
    config: SimulationConfig,
    out: Path,
    progress: Callable[[int, int], None] | None = None,
) -> SimulationReport:
    """Play a whole programme and write it to a new or empty folder.

    events/: Parquet files in the canonical input format, one per hour, per day, or a single one. A
    file `events-<YYYYMMDDTHH>.parquet`, named after the UTC hour in which it begins, holds exactly
    the events *received* in it; its `.manifest.json` says until when the source is complete (late
    events come after all the same, as they do in life). roster/: CSV files. truth/: Parquet files
    that no pipeline may read. tutorflow.yml: ready to run. `progress` is called with (hours played,
    hours in all) after each file. Raises `SimulationError` if the folder holds anything.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise SimulationError(f"{out} is not empty; name a new folder")
    programme = Programme(config)
    events_folder = out / "events"
    events_folder.mkdir(parents=True)
    events = files = 0
    for start, end in _periods(config):
        table = programme.advance(end)
        write_events(events_folder, table, start, end)
        events, files = events + table.num_rows, files + 1
        if progress is not None:
            progress((end - config.starts_at) // timedelta(hours=1), config.hours)
    write_roster(programme, out / "roster")
    truth = programme.truth()
    write_truth(truth, out / "truth")
    (out / "tutorflow.yml").write_text(
        _CONFIGURATION.format(
            learners=config.learners,
            weeks=config.weeks,
            start=config.start,
            seed=config.seed,
            timezone=config.timezone,
            source=SOURCE_NAME,
        ),
        encoding="utf-8",
    )
    return SimulationReport(
        out=out,
        learners=config.learners,
        events=events,
        files=files,
        starts_at=config.starts_at,
        ends_at=config.ends_at,
        need_spells=truth.tables["needs"].num_rows,
        stopped=truth.tables["stops"].num_rows,
    )


def _periods(config: SimulationConfig) -> Iterator[tuple[datetime, datetime]]:
    whole = timedelta(hours=config.hours)
    step = {"hour": timedelta(hours=1), "day": timedelta(days=1), "single": whole}[config.delivery]
    start = config.starts_at
    while start < config.ends_at:
        yield start, start + step
        start += step


def write_events(folder: Path, table: pa.Table, start: datetime, end: datetime) -> Path:
    """Write one delivery and its manifest; returns the Parquet file."""
    path = folder / f"events-{start:%Y%m%dT%H}.parquet"
    # Two silent hours must not be the same bytes, or the second would pass for a repetition.
    marked = table.replace_schema_metadata({"delivered_from": start.isoformat()})
    pq.write_table(marked, path)
    manifest = json.dumps({"complete_until": end.isoformat()})
    path.with_name(path.name + ".manifest.json").write_text(manifest + "\n", encoding="utf-8")
    return path


def write_truth(truth: Truth, folder: Path) -> None:
    """Write each truth table as a Parquet file named after it."""
    folder.mkdir(parents=True)
    for name, table in truth.tables.items():
        pq.write_table(table, folder / f"{name}.parquet")
