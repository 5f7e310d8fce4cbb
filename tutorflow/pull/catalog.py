"""The catalog of the landing: every attempt, every delivery, every refused row (SQLite).

A file in the landing counts only once its row is in here; the row is written last.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pandas as pd

from tutorflow.hours import to_naive_utc

_SCHEMA = """
create table if not exists pull_attempts (
    attempt_id integer primary key,
    source text not null,
    started_at text not null,
    finished_at text,            -- null: killed before it ended
    files integer not null default 0,
    rows integer not null default 0,
    bytes integer not null default 0,
    quarantined integer not null default 0,
    complete_until text,
    error text,
    notes text not null default '[]',
    deliveries text not null default '[]'
);
create table if not exists deliveries (
    delivery_id text primary key,
    source text not null,
    format text not null,
    table_name text not null,
    file text not null,          -- relative to the landing
    path text not null,          -- relative to the source
    sha256 text not null,
    replaces text,
    rows integer not null,
    quarantined integer not null,
    bytes integer not null,
    landed_at text not null,
    min_occurred_at text,
    max_occurred_at text,
    declared_complete_until text
);
create index if not exists deliveries_by_bytes on deliveries (source, sha256);
create table if not exists quarantined_rows (
    source text not null,
    delivery_id text not null,
    path text not null,
    line integer not null,
    reason text not null
);
create index if not exists quarantined_rows_by_delivery on quarantined_rows (delivery_id);
create table if not exists source_files (
    source text not null,
    path text not null,
    bytes integer not null,
    modified_ns integer not null,
    delivery_id text not null,
    primary key (source, path)
);
"""


@dataclass(frozen=True)
class Delivery:
    """One input file's bytes, landed. Times are naive UTC."""

    delivery_id: str
    source: str
    format: str
    table_name: str
    file: str
    path: str
    sha256: str
    replaces: str | None
    rows: int
    quarantined: int
    bytes: int
    landed_at: datetime
    min_occurred_at: datetime | None
    max_occurred_at: datetime | None
    declared_complete_until: datetime | None


@contextmanager
def open_catalog(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to the catalog, created if absent; each `with connection:` is a transaction."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=60)
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("pragma synchronous = full")
        connection.executescript(_SCHEMA)
        yield connection
    finally:
        connection.close()


def read_deliveries(path: Path) -> list[Delivery]:
    """All deliveries in the order in which they landed; empty if nothing was ever pulled."""
    if not path.exists():
        return []
    with open_catalog(path) as catalog:
        return [
            _delivery(row) for row in catalog.execute("select * from deliveries order by rowid")
        ]


def last_complete_until(catalog: sqlite3.Connection) -> dict[str, datetime | None]:
    """Per source, what its last attempt without error found (naive UTC)."""
    rows = catalog.execute(
        "select source, complete_until from pull_attempts where attempt_id in ("
        " select max(attempt_id) from pull_attempts"
        " where error is null and finished_at is not null group by source)"
    )
    return {row["source"]: from_text(row["complete_until"]) for row in rows}


def read_attempts(path: Path) -> pd.DataFrame:
    """Every pull attempt, the latest first; the columns of `pull_attempts`, times naive UTC.

    `finished_at` is NaT for an attempt that was killed.
    """
    frame = _read(path, "select * from pull_attempts order by attempt_id desc")
    for name in ("started_at", "finished_at", "complete_until"):
        frame[name] = pd.to_datetime(frame[name], format="ISO8601").astype("datetime64[us]")
    for name in ("notes", "deliveries"):
        frame[name] = [json.loads(text) for text in frame[name]]
    return frame


def read_quarantined(path: Path) -> pd.DataFrame:
    """Refused rows: `source`, `delivery_id`, `path`, `line`, `reason`.

    Line 0 stands for the rows of a file beyond those that are listed one by one.
    """
    return _read(path, "select * from quarantined_rows order by source, delivery_id, line")


def read_faults(path: Path, since: datetime) -> pd.DataFrame:
    """What is missing because of faults of the sources: `source`, `said`.

    Files that the last attempt could not read, then rows refused since `since` (naive UTC), by
    file and reason; files that have come again since are left out.
    """
    failed = _read(
        path,
        "select source, error as said from pull_attempts where error is not null and attempt_id in"
        " (select max(attempt_id) from pull_attempts where finished_at is not null group by source)"
        " order by source",
    )
    refused = _read(
        path,
        "select refused.source, refused.path || ':' || min(line) || ': ' || reason || case"
        " when count(*) > 1 then ' (and ' || (count(*) - 1) || ' rows more)' else '' end as said"
        " from quarantined_rows as refused join deliveries using (delivery_id)"
        " where line > 0 and landed_at >= ? and not exists (select 1 from deliveries as later"
        " where later.replaces = deliveries.delivery_id)"
        " group by refused.source, refused.path, reason"
        " order by count(*) desc, refused.source, refused.path, reason",
        [to_text(since)],
    )
    by_line = failed.assign(said=failed["said"].str.split("\n")).explode("said")
    return pd.concat([by_line, refused], ignore_index=True)


def _read(path: Path, query: str, parameters: Sequence[object] = ()) -> pd.DataFrame:
    with open_catalog(path) as catalog:
        cursor = catalog.execute(query, parameters)
        columns = [column[0] for column in cursor.description]
        return pd.DataFrame([tuple(row) for row in cursor], columns=columns)


def _delivery(row: sqlite3.Row) -> Delivery:
    values = dict(row)
    for name in ("landed_at", "min_occurred_at", "max_occurred_at", "declared_complete_until"):
        values[name] = from_text(values[name])
    return Delivery(**values)


def to_text(instant: datetime | None) -> str | None:
    """A naive UTC (or aware) instant as the catalog stores it: ISO 8601 text, naive UTC."""
    if instant is None:
        return None
    naive = instant if instant.tzinfo is None else to_naive_utc(instant)
    return naive.isoformat(sep=" ", timespec="microseconds")


def from_text(text: str | None) -> datetime | None:
    """The naive UTC instant that the catalog's text stands for."""
    return None if text is None else datetime.fromisoformat(text)
