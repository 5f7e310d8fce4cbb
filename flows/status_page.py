"""What `tutorflow status` shows: is the hour up to date, and if not, what holds it back?"""

import json
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from flows.lock import holder
from tutorflow import publish
from tutorflow.hours import to_aware_utc, to_naive_utc
from tutorflow.pull import read_faults, source_watermarks
from tutorflow.settings import Settings

_ROWS_SHOWN = 3
_FAULTS_SHOWN = 10
_FAULTS_SHOWN_FOR = timedelta(days=7)
_STATE_STYLE = {"published": "green", "blocked": "yellow", "failed": "red"}


def status_page(settings: Settings, now: datetime) -> RenderableType:
    """The page, in the programme's time zone."""
    status = publish.read_status(settings, now)
    running = holder(settings.lock_path)
    zone = ZoneInfo(settings.timezone)
    parts: list[RenderableType | None] = [
        _headline(status, zone),
        None if running is None else Text(f"A run is under way ({running})."),
        Text(),
        _runs(status.runs, zone, is_running=running is not None),
        _sources(settings, now, zone),
        _faults(settings, now),
        _held(settings),
        _gate(status.failing_checks),
    ]
    return Group(*(part for part in parts if part is not None))


def say_age(age: timedelta) -> str:
    """An age as people say it: `5 minutes`, `3 hours`, `2 days`."""
    for unit, length in (("day", 86_400), ("hour", 3_600)):
        count = int(age.total_seconds() // length)
        if count >= 2 or (unit == "hour" and count >= 1):
            return f"{count} {unit}{'s' if count != 1 else ''}"
    minutes = int(age.total_seconds() // 60)
    return f"{minutes} minute{'s' if minutes != 1 else ''}"


def _headline(status: publish.Status, zone: ZoneInfo) -> Text:
    if status.published_as_of is None or status.age is None:
        return Text("Nothing has been published yet: tutorflow run", style="bold")
    return Text(
        f"Readers see {_say(status.published_as_of, zone)}, which ended {say_age(status.age)} ago.",
        style="bold",
    )


def _runs(runs: pd.DataFrame, zone: ZoneInfo, is_running: bool) -> RenderableType | None:
    if runs.empty:
        return None
    table = _table("Last runs", "started", "state", "ticks", "seconds", "what")
    for position, row in enumerate(runs.to_dict("records")):
        state = row["state"]
        if state == "running" and not (is_running and position == 0):
            state = "killed"
        seconds = json.loads(row["durations"]).get("total")
        table.add_row(
            _say(to_aware_utc(row["started_at"]), zone),
            Text(state, style=_STATE_STYLE.get(state, "")),
            str(row["tick_count"]),
            "" if seconds is None else f"{seconds:.1f}",
            _one_line(row["message"]) or _counts(json.loads(row["counts"])),
        )
    return table


def _counts(counts: dict[str, Any]) -> str:
    said = [
        f"{counts[name]:,} {label}"
        for name, label in (
            ("rows_landed", "rows"),
            ("rows_quarantined", "quarantined"),
            ("signal", "signals"),
            ("opened", "opened"),
            ("closed", "closed"),
        )
        if counts.get(name)
    ]
    return ", ".join(said)


def _sources(settings: Settings, now: datetime, zone: ZoneInfo) -> RenderableType:
    table = _table("Sources", "source", "complete until", "behind", "")
    for row in source_watermarks(settings, now).to_dict("records"):
        until = row["complete_until"]
        if pd.isna(until):
            table.add_row(row["source"], "never delivered", "", "")
            continue
        instant = to_aware_utc(until.to_pydatetime())
        note = "retired" if row["is_retired"] else ""
        table.add_row(row["source"], _say(instant, zone), say_age(now - instant), note)
    return table


def _faults(settings: Settings, now: datetime) -> RenderableType | None:
    faults = read_faults(settings.catalog_path, to_naive_utc(now - _FAULTS_SHOWN_FOR))
    faults = faults[faults["source"].isin([source.name for source in settings.sources])]
    if faults.empty:
        return None
    table = _table("Not taken in", "source", "file, line, why")
    for row in faults.head(_FAULTS_SHOWN).to_dict("records"):
        table.add_row(row["source"], Text(row["said"]))
    if len(faults) > _FAULTS_SHOWN:
        table.add_row("", f"and {len(faults) - _FAULTS_SHOWN:,} more")
    return table


def _held(settings: Settings) -> RenderableType | None:
    held = publish.read_table(settings, "suppressions", {"released_at": None})
    if held.empty:
        return None
    table = _table("Held back now", "reason", "count", "learners")
    for reason, rows in held.groupby("reason"):
        table.add_row(str(reason), f"{len(rows):,}", f"{rows['learner_id'].nunique():,}")
    return table


def _gate(failing: pd.DataFrame) -> RenderableType | None:
    if failing.empty:
        return None
    table = _table("Failing checks of the last run that reached the gate", "check", "", "finding")
    for row in failing.to_dict("records"):
        finding = row["message"]
        rows = json.loads(row["failed_rows"])
        for failed in rows[:_ROWS_SHOWN]:
            finding += "\n  " + ", ".join(f"{key}={value}" for key, value in failed.items())
        if row["failed_count"] > _ROWS_SHOWN:
            finding += f"\n  and {row['failed_count'] - _ROWS_SHOWN:,} more rows"
        table.add_row(row["check_id"], row["severity"], finding)
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _one_line(text: object) -> str:
    return " ".join(str(text).split()) if isinstance(text, str) else ""


def _say(instant: datetime, zone: ZoneInfo) -> str:
    return f"{instant.astimezone(zone):%Y-%m-%d %H:%M %Z}"
