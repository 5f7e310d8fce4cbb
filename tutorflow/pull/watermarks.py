"""Up to when each source is complete: silence of a feed is not silence of a learner."""

from __future__ import annotations

import json
import re
import sqlite3
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from tutorflow.errors import InputError, TutorflowError
from tutorflow.hours import day_end, local_date, parse_instant, to_aware_utc, to_naive_utc
from tutorflow.pull.catalog import from_text, last_complete_until, open_catalog
from tutorflow.pull.files import MANIFEST_SUFFIX, SourceFile, captured_end

if TYPE_CHECKING:
    from tutorflow.settings import Settings, Source


def declared_end(source: Source, file: SourceFile, programme_zone: str) -> datetime | None:
    """Up to when a file says the source is complete, in UTC; None if it says nothing.

    Raises InputError if what it says cannot be understood.
    """
    if source.complete_until == "max_event":
        return None
    if source.complete_until == "manifest":
        manifest = file.location.with_name(file.location.name + MANIFEST_SUFFIX)
        if not manifest.exists():
            return None
        said, where = _manifest_end(manifest), f"{file.path}{MANIFEST_SUFFIX}"
    else:
        captured = captured_end(str(source.delivered_pattern), file.path)
        if captured is None:
            return None
        said, where = _spelled_out(captured), file.path
    zone = source.timezone or programme_zone
    try:
        end = parse_instant(said, zone)
    except TutorflowError as error:
        raise InputError(f"{where}: {error}") from None
    if re.fullmatch(r"\d{4}-\d\d-\d\d", said):
        return day_end(end, zone)
    has_offset = end == parse_instant(said, "Pacific/Kiritimati")  # wherever it is read
    if not source.timezone and source.complete_until == "manifest" and not has_offset:
        raise InputError(
            f"{where}: complete_until {said!r} has no offset; write one, or declare the timezone"
            f" of the source {source.name!r} in tutorflow.yml"
        )
    return end


def _manifest_end(manifest: Path) -> str:
    try:
        return str(json.loads(manifest.read_text(encoding="utf-8"))["complete_until"])
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f'{manifest.name}: not a manifest; it should read {{"complete_until": "2026-03-01T10:00'
            ':00Z"}'
        ) from None


def _spelled_out(captured: str) -> str:
    """`20260301`, `2026-03-01_10`, `20260301T1030` in ISO form; anything else as it is."""
    digits = re.sub(r"[-_:T. ]", "", captured)
    if not re.fullmatch(r"\d{8}(\d\d){0,3}", digits):
        return captured
    day = f"{digits[:4]}-{digits[4:6]}-{digits[6:8]}"
    rest = [digits[i : i + 2] for i in range(8, len(digits), 2)]
    return f"{day}T{':'.join(rest)}" if rest else day


def complete_until(
    catalog: sqlite3.Connection, source: Source, now: datetime, programme_zone: str
) -> datetime | None:
    """Up to when the source is complete, judged by all its deliveries at `now`; aware UTC.

    By its last event: the end of that event's day once the day is over, else that event's time.
    Never after `now`.
    """
    column = (
        "max_occurred_at" if source.complete_until == "max_event" else "declared_complete_until"
    )
    last = from_text(
        catalog.execute(
            f"select max({column}) from deliveries where source = ?", [source.name]
        ).fetchone()[0]
    )
    if last is None:
        return None
    end = to_aware_utc(last)
    if source.complete_until == "max_event":
        over = day_end(end, source.timezone or programme_zone)
        end = over if over <= now else end
    return min(end, now)


def source_watermarks(settings: Settings, now: datetime) -> pd.DataFrame:
    """One row per source: `source`, `event_types` (list), `courses` (list or None),
    `complete_until` (naive UTC, NaT = unknown), `is_retired`.

    What the last pull without error found; a source that fails keeps its old watermark.
    """
    with open_catalog(settings.catalog_path) as catalog:
        known = last_complete_until(catalog)
    limit = to_naive_utc(now)
    ends = [known.get(source.name) for source in settings.sources]
    return pd.DataFrame(
        {
            "source": pd.Series([s.name for s in settings.sources], dtype=object),
            "event_types": [list(s.event_types) for s in settings.sources],
            "courses": [None if s.courses is None else list(s.courses) for s in settings.sources],
            "complete_until": pd.Series(
                [pd.NaT if end is None else min(end, limit) for end in ends],
                dtype="datetime64[us]",
            ),
            "is_retired": pd.Series(
                [is_retired(s, settings, now) for s in settings.sources], dtype=bool
            ),
        }
    )


def is_retired(source: Source, settings: Settings, now: datetime) -> bool:
    """Whether nobody waits for the source any more at `now`."""
    zone = source.timezone or settings.timezone
    return source.retired_on is not None and local_date(now, zone) >= source.retired_on
