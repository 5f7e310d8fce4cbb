"""The warehouse file: the one place that opens it, and the bookkeeping of what it has taken in.

DuckDB lets one process at a time have the file open, so nobody keeps it open: `open_warehouse`
waits for its turn and closes it again. dbt builds the marts in between.

A delivery is `pending` until a dbt run has built it, `built` until the ticks it affects are
decided, then `decided`. The learners it touches travel the same way, from `touched_learners`
(which dbt fills) to `undecided_learners`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from tutorflow.engine import duckdb_config, one_file
from tutorflow.errors import TutorflowError, WarehouseHeldError
from tutorflow.hours import to_naive_utc
from tutorflow.pull.catalog import Delivery, read_deliveries
from tutorflow.pull.formats import FORMATS
from tutorflow.pull.landing import write_carriers
from tutorflow.settings import Settings

_LANDING_SCHEMA = """
create schema if not exists landing;
create table if not exists landing.deliveries (
    delivery_id varchar, source varchar, format varchar, table_name varchar, file varchar,
    path varchar, replaces varchar, landed_at timestamp, state varchar
);
create table if not exists landing.sources (
    source varchar, format varchar, time_precision varchar, timezone varchar, namespace varchar,
    retired_on date
);
create table if not exists landing.touched_learners (
    learner_id uuid, earliest_at timestamp, latest_at timestamp
);
create table if not exists landing.undecided_learners (
    learner_id uuid, earliest_at timestamp, latest_at timestamp
);
create table if not exists landing.deciding (as_of timestamp);
"""


@contextmanager
def open_warehouse(
    settings: Settings, read_only: bool = False, wait_seconds: float = 60
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to the warehouse in UTC, closed at the end of the `with` block.

    Waits up to `wait_seconds` while another process holds the file, then raises
    WarehouseHeldError naming that process. Raises TutorflowError when there is no warehouse to
    read, when it is damaged, and when disk or memory do not suffice.
    """
    path = settings.warehouse_path
    if read_only and not path.exists():
        raise TutorflowError(f"there is no warehouse at {path} yet; `tutorflow run` builds it")
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = _connect_in_turn(
        path, read_only, duckdb_config(settings.home / "spill"), wait_seconds
    )
    try:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute("set enable_progress_bar = false")
        yield connection
    except (duckdb.IOException, duckdb.FatalException, duckdb.OutOfMemoryException) as error:
        raise TutorflowError(_failure(path, error)) from error
    finally:
        connection.close()


def _connect_in_turn(
    path: Path, read_only: bool, config: Any, wait_seconds: float
) -> duckdb.DuckDBPyConnection:
    give_up_at = time.monotonic() + wait_seconds
    pause = 0.05
    while True:
        try:
            return duckdb.connect(path, read_only=read_only, config=config)
        except duckdb.IOException as error:
            if "Could not set lock" not in str(error):
                raise TutorflowError(_failure(path, error)) from error
            remaining = give_up_at - time.monotonic()
            if remaining <= 0:
                raise WarehouseHeldError(
                    f"the warehouse {path} is held open by {_holder(str(error))}, still after"
                    f" {wait_seconds:g} s; close it there (analysts read the snapshot instead)"
                ) from None
            time.sleep(min(pause, remaining))
            pause = min(pause * 2, 2.0)
        except duckdb.ConnectionException:
            raise WarehouseHeldError(
                f"the warehouse {path} is already open in this very process with another"
                " configuration; close that connection first"
            ) from None


def _failure(path: Path, error: duckdb.Error) -> str:
    said = str(error).split("\n", 1)[0]
    return (
        f"the warehouse {path} cannot be opened or used: {said}. What readers see is unchanged. See"
        " whether the disk is full; if the file is damaged, move it away and run again: it is built"
        " anew from the landing"
    )


def _holder(message: str) -> str:
    found = re.search(r"PID (\d+)", message)
    if not found:
        return "another process"
    pid = found[1]
    named = re.search(r"held in (.+?) \(PID", message)
    name = named[1] if named else "a process"
    try:
        command = Path("/proc", pid, "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        command = ""
    return f"{name} (process {pid}{': ' + command[:200] if command else ''})"


def register_landing(settings: Settings, all_deliveries: bool = False) -> int:
    """Tell the warehouse what has landed; the number of deliveries that its views now show.

    New deliveries become `pending`. The views `landing.<format>_<table>` show the pending
    deliveries, or, for a full rebuild, all of them; with none they are empty but typed.
    """
    write_carriers(settings.landing)
    landed = read_deliveries(settings.catalog_path)
    with open_warehouse(settings) as warehouse, transaction(warehouse):
        warehouse.execute(_LANDING_SCHEMA)
        known = warehouse.execute("select delivery_id, state from landing.deliveries").fetchall()
        state = dict(known)
        new = [delivery for delivery in landed if delivery.delivery_id not in state]
        _insert(warehouse, "landing.deliveries", [(*_row(d), "pending") for d in new])
        _register_sources(warehouse, settings)
        shown = [
            d for d in landed if all_deliveries or state.get(d.delivery_id) in (None, "pending")
        ]
        for format_ in FORMATS.values():
            for table in format_.tables:
                files = [
                    d.file for d in shown if (d.format, d.table_name) == (format_.name, table.name)
                ]
                carrier = f"_empty/{format_.name}/{table.name}.parquet"
                paths = [one_file(settings.landing / file) for file in (carrier, *files)]
                warehouse.execute(
                    f"create or replace view landing.{format_.name}_{table.name} as"
                    f" select * from read_parquet([{', '.join(paths)}],"
                    " union_by_name = true)"
                )
    return len(shown)


def _row(delivery: Delivery) -> tuple[Any, ...]:
    return (
        delivery.delivery_id,
        delivery.source,
        delivery.format,
        delivery.table_name,
        delivery.file,
        delivery.path,
        delivery.replaces,
        delivery.landed_at,
    )


def _register_sources(warehouse: duckdb.DuckDBPyConnection, settings: Settings) -> None:
    warehouse.execute("delete from landing.sources")
    rows = [
        (
            s.name,
            s.format,
            s.time_precision,
            s.timezone or settings.timezone,
            s.namespace,
            s.retired_on,
        )
        for s in settings.sources
    ]
    _insert(warehouse, "landing.sources", rows)


def finish_build(settings: Settings) -> None:
    """After a dbt run that succeeded: what was pending is built, its learners are undecided."""
    with open_warehouse(settings) as warehouse, transaction(warehouse):
        warehouse.execute("update landing.deliveries set state = 'built' where state = 'pending'")
        warehouse.execute("""
            create or replace temp table merged_learners as
            select learner_id, min(earliest_at) as earliest_at, max(latest_at) as latest_at
            from (
                from landing.undecided_learners
                union all
                from landing.touched_learners
            )
            group by learner_id
        """)
        warehouse.execute("delete from landing.undecided_learners")
        warehouse.execute("insert into landing.undecided_learners from merged_learners")
        warehouse.execute("delete from landing.touched_learners")
        warehouse.execute("drop table merged_learners")


def begin_decide(settings: Settings, as_of: datetime) -> None:
    """Before a tick is committed: note which, for `settle`, should this process end right after."""
    with open_warehouse(settings) as warehouse, transaction(warehouse):
        warehouse.execute("delete from landing.deciding")
        warehouse.execute("insert into landing.deciding values (?)", [to_naive_utc(as_of)])


def finish_decide(settings: Settings, as_of: datetime) -> None:
    """After a committed tick: what was built is decided, learners decided up to `as_of` are done.

    A learner stays undecided while rows reach to within an hour of `as_of` or beyond it, from
    `as_of` on.
    """
    with open_warehouse(settings) as warehouse, transaction(warehouse):
        _mark_decided(warehouse, to_naive_utc(as_of))


def settle(settings: Settings, committed: datetime | None) -> None:
    """Before anything is built: finish what a process that was killed after its commit did not.

    `committed` is the last committed tick.
    """
    if not settings.warehouse_path.exists():
        return
    with open_warehouse(settings) as warehouse, transaction(warehouse):
        warehouse.execute(_LANDING_SCHEMA)
        begun = warehouse.execute("select as_of from landing.deciding").fetchone()
        if begun and committed is not None and begun[0] <= to_naive_utc(committed):
            _mark_decided(warehouse, begun[0])
        warehouse.execute("delete from landing.deciding")


def _mark_decided(warehouse: duckdb.DuckDBPyConnection, as_of: datetime) -> None:
    warehouse.execute("update landing.deliveries set state = 'decided' where state = 'built'")
    warehouse.execute(
        "delete from landing.undecided_learners where latest_at + interval 1 hour < ?", [as_of]
    )
    warehouse.execute(
        "update landing.undecided_learners set earliest_at = ? where earliest_at < ?",
        [as_of, as_of],
    )
    warehouse.execute("delete from landing.deciding")


@contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """All of the block or, if it raises, nothing of it."""
    connection.begin()
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


def _insert(warehouse: duckdb.DuckDBPyConnection, table: str, rows: list[tuple[Any, ...]]) -> None:
    if rows:
        marks = ", ".join("?" * len(rows[0]))
        warehouse.executemany(f"insert into {table} values ({marks})", rows)
