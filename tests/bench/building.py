"""The full build, from landed files to marts, against one plain window pass over the same rows."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime

import duckdb

from flows.marts import build_marts
from tests.bench.homes import History
from tutorflow.engine import duckdb_config, literal
from tutorflow.pull import pull
from tutorflow.warehouse import open_warehouse

# What every row of a window pass costs: the row before and a running sum, with the row's columns.
_WINDOW_PASS = """
create table window_pass as
select
    *,
    lag(occurred_at) over so_far as previous_at,
    sum(event_count) over so_far as events_so_far
from warehouse.marts.events
window so_far as (partition by learner_id order by occurred_at, event_id)
"""


@dataclass(frozen=True)
class Landed:
    """What a pull of the whole history took."""

    rows: int
    seconds: float


@dataclass(frozen=True)
class Built:
    """What a full build took and left; `models` are the seconds of each dbt node."""

    events: int
    seconds: float
    models: dict[str, float]
    warehouse_bytes: int


def land(history: History, now: datetime) -> Landed:
    """Pull the home's whole history into its landing."""
    started = time.perf_counter()
    attempts = pull(history.settings, now)
    errors = [attempt.error for attempt in attempts if attempt.error]
    assert not errors, errors
    return Landed(sum(attempt.rows for attempt in attempts), time.perf_counter() - started)


def full_build(history: History) -> Built:
    """Build all marts from everything landed, as the first run in a home does."""
    settings = history.settings
    report = build_marts(settings, full_refresh=True)
    with open_warehouse(settings, read_only=True) as warehouse:
        (count,) = warehouse.execute("select count(*) from marts.events").fetchall()[0]
    size = settings.warehouse_path.stat().st_size
    return Built(int(count), report.seconds, dict(report.models), size)


def window_pass(history: History) -> float:
    """Seconds of one window pass over the events of the warehouse, written to a file of its own."""
    settings = history.settings
    target = settings.home / "window_pass.duckdb"
    config = duckdb_config(settings.home / "spill")
    with duckdb.connect(target, config=config | {"storage_compatibility_version": "latest"}) as own:
        own.execute("set preserve_insertion_order = false")
        own.execute("set enable_progress_bar = false")
        own.execute(f"attach {literal(str(settings.warehouse_path))} as warehouse (read_only)")
        started = time.perf_counter()
        own.execute(_WINDOW_PASS)
        own.execute("checkpoint")
        elapsed = time.perf_counter() - started
    target.unlink()
    return elapsed
