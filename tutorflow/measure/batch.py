"""What is measured together: the ticks of one commit, and the tables as they will be."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb
import pandas as pd

from tutorflow.decide.frames import SOURCE_COURSES, frame
from tutorflow.hours import floor_tick, to_aware_utc
from tutorflow.measure.outcomes import CompleteUntil, completeness
from tutorflow.policy import Policy
from tutorflow.publish import Candidates, read_table
from tutorflow.publish.contract import table
from tutorflow.pull import source_watermarks
from tutorflow.settings import Settings


@dataclass(frozen=True)
class Batch:
    """The ticks `ends` (naive UTC, in order) and what was decided; `first` is where they start."""

    settings: Settings
    policy: Policy
    warehouse: duckdb.DuckDBPyConnection
    candidates: Candidates
    first: datetime
    ends: list[datetime]

    def rows(self, name: str, where: Any = None) -> pd.DataFrame:
        """Rows of a published table as they will be: committed ones under those of the batch."""
        committed = read_table(self.settings, name, where)
        fresh = self.candidates.rows(name)
        if committed.empty or fresh.empty:
            return committed if fresh.empty else fresh
        key = list(table(name).key)
        both = pd.concat([committed, fresh], ignore_index=True)
        return both.drop_duplicates(key, keep="last").sort_values(key, ignore_index=True)


def completeness_of(batch: Batch, now: datetime) -> CompleteUntil:
    """Up to when all activity of a course is here, as of ``now``, when this run looks."""
    sources = source_watermarks(batch.settings, now)
    return completeness(sources, frame(batch.warehouse, SOURCE_COURSES))


def day_ends(batch: Batch) -> list[datetime]:
    """The ends of the calendar days (of the programme's zone) among the ticks, naive UTC."""
    zone = batch.settings.timezone
    return [
        end for end in batch.ends if floor_tick(to_aware_utc(end), "day", zone) == to_aware_utc(end)
    ]
