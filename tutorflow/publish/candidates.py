"""Candidates: what a run decided, before the gate has seen it and before anybody reads it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from tutorflow.publish.contract import table


@dataclass(frozen=True)
class Candidates:
    """The outcome of one or more ticks that are committed together.

    Attributes:
        ticks: every tick decided, in order, aware UTC.
        as_of: the last of them.
        tables: rows to upsert or replace, by published table; a table that is absent is left alone.
        summary: counts for reporting, and what the gate must know beside the tables.
    """

    ticks: Sequence[datetime]
    as_of: datetime
    tables: Mapping[str, pd.DataFrame]
    summary: Mapping[str, Any] = field(default_factory=dict)

    def rows(self, name: str) -> pd.DataFrame:
        """The rows for published table `name`; an empty frame of its columns when it has none."""
        frame = self.tables.get(name)
        return table(name).empty_frame() if frame is None else frame

    def write(self, folder: Path) -> None:
        """Write each table to `<folder>/<table>.parquet`, in place of what lay there before."""
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.parquet"):
            old.unlink()
        for name, frame in self.tables.items():
            frame.to_parquet(folder / f"{name}.parquet", index=False)
