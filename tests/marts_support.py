"""Homes with sources of every format, files that arrive in them, and marts built from those."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from flows.marts import build_marts
from tutorflow.pull import pull
from tutorflow.settings import Settings, load_settings
from tutorflow.warehouse import open_warehouse

NOW = datetime(2027, 1, 1, tzinfo=UTC)

CONFIGURATION = """
timezone: {timezone}
sources:
  - {{name: tutor, path: tutor, format: canonical}}
  - {{name: lms, path: lms, format: canonical, time_precision: day, timezone: Europe/Berlin}}
  - {{name: vle, path: vle, format: oulad, timezone: Europe/London}}
"""

_TIME = pa.timestamp("us", tz="UTC")
_TYPES = {
    "occurred_at": _TIME,
    "due_at": _TIME,
    "attempt_number": pa.int32(),
    "is_correct": pa.bool_(),
    "score": pa.float64(),
    "score_max": pa.float64(),
    "response_seconds": pa.float64(),
    "event_count": pa.int64(),
}

Event = dict[str, Any]


@dataclass
class Marts:
    """A home whose files arrive delivery by delivery. `build` lands them and runs dbt."""

    home: Path
    timezone: str = "UTC"
    files: int = field(default=0, init=False)
    builds: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        for source in ("tutor", "lms", "vle"):
            (self.home / source).mkdir(parents=True)
        text = CONFIGURATION.format(timezone=self.timezone)
        (self.home / "tutorflow.yml").write_text(text)

    @property
    def settings(self) -> Settings:
        return load_settings(self.home)

    def deliver(self, source: str, events: list[Event]) -> None:
        """Canonical events in one further file of the source."""
        self.files += 1
        names = list(dict.fromkeys(name for event in events for name in event))
        columns = {
            name: pa.array([event.get(name) for event in events], _TYPES.get(name, pa.string()))
            for name in names
        }
        pq.write_table(pa.table(columns), self.home / source / f"{self.files:03}.parquet")

    def deliver_csv(self, name: str, header: str, rows: list[str]) -> None:
        """An OULAD file; a name that was there before is a new version of it."""
        (self.home / "vle" / name).write_text("\n".join([header, *rows]) + "\n")

    def build(self, full_refresh: bool = False) -> None:
        """Land what is new and bring the marts up to date, or build them all anew."""
        self.builds += 1
        now = NOW + timedelta(hours=self.builds)
        errors = [attempt.error for attempt in pull(self.settings, now) if attempt.error]
        assert not errors, errors
        build_marts(self.settings, full_refresh=full_refresh)

    def query(self, sql: str) -> pd.DataFrame:
        with open_warehouse(self.settings) as warehouse:
            frame: pd.DataFrame = warehouse.execute(sql).to_arrow_table().to_pandas()
        return frame

    def keep(self, schema: str) -> None:
        """Put the marts as they are now aside in a schema."""
        with open_warehouse(self.settings) as warehouse:
            warehouse.execute(f"create schema {schema}")
            for mart in _marts(warehouse):
                warehouse.execute(f"create table {schema}.{mart} as from marts.{mart}")

    def differences(self, schema: str) -> dict[str, int]:
        """Per mart the number of rows that are only in the marts or only in the schema."""
        found = {}
        with open_warehouse(self.settings) as warehouse:
            for mart in _marts(warehouse):
                one, other = f"from marts.{mart}", f"from {schema}.{mart}"
                counted = warehouse.execute(
                    f"select count(*) from (({one} except all {other}) union all"
                    f" ({other} except all {one}))"
                ).fetchone()
                assert counted is not None
                found[mart] = int(counted[0])
        return found


def _marts(warehouse: Any) -> list[str]:
    rows = warehouse.execute(
        "select table_name from information_schema.tables where table_schema = 'marts'"
    ).fetchall()
    return sorted(name for (name,) in rows)
