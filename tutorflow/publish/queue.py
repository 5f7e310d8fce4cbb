"""The coach queue: read it, and show it on a terminal."""

from collections.abc import Hashable, Mapping
from datetime import datetime, timedelta
from io import StringIO
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from tutorflow.hours import to_aware_utc
from tutorflow.publish import contract
from tutorflow.publish.database import exists, reading
from tutorflow.publish.publisher import last_tick
from tutorflow.publish.tables import select_rows
from tutorflow.settings import Settings

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)
_STALE_AFTER = timedelta(hours=2)
_PARTS = {"What": "what", "Why now": "why_now", "Tried": "tried", "Do": "next_action"}


def queue(settings: Settings, coach: str | None = None) -> pd.DataFrame:
    """The coach queue as published, by coach and place; of one coach if named.

    Columns and dtypes are the contract's. `attrs` holds `as_of`, the last committed tick (aware
    UTC, None before the first publish), of the same instant as the rows.
    """
    frame = contract.table("coach_queue").empty_frame()
    as_of = None
    if exists(settings):
        with reading(settings) as connection:
            frame = select_rows(connection, "coach_queue", {"coach_id": coach} if coach else None)
            as_of = last_tick(connection)
    frame = frame.sort_values(["coach_id", "queue_position"], ignore_index=True)
    frame.attrs["as_of"] = as_of
    return frame


def render_queue(
    frame: pd.DataFrame,
    width: int = 100,
    *,
    now: datetime | None = None,
    timezone: str = "UTC",
    color: bool = False,
) -> str:
    """The queue as text of at most `width` columns, one block per row.

    Times are in `timezone`; `today` and `overdue` are as seen at `now` (default: the queue's own
    hour). Without `color` the text holds no control codes, as for a file or a pipe.
    """
    as_of: datetime | None = frame.attrs.get("as_of")
    if as_of is None and not frame.empty:
        as_of = to_aware_utc(frame["as_of"].iloc[0])
    clock = _Clock(now or as_of, ZoneInfo(timezone))
    blocks: list[RenderableType] = [Text(_headline(frame, as_of, clock))]
    shows_coach = frame["coach_id"].nunique() > 1
    coach = None
    for row in frame.to_dict("records"):
        if shows_coach and row["coach_id"] != coach:
            coach = row["coach_id"]
            blocks.append(Text(f"\nCoach {coach}", style="bold underline"))
        blocks += [Text(), _block(row, clock)]
    return _printed(Group(*blocks), width, color)


class _Clock:
    """Says instants the way a person would at `now`, in one time zone."""

    def __init__(self, now: datetime | None, zone: ZoneInfo) -> None:
        self.now = now
        self.zone = zone

    def say(self, instant: datetime) -> str:
        local = instant.astimezone(self.zone)
        clock_time = f"{local:%H:%M}"
        if self.now is None:
            return f"{local:%Y-%m-%d} {clock_time}"
        today = self.now.astimezone(self.zone).date()
        named = {0: "today", 1: "tomorrow", -1: "yesterday"}.get((local.date() - today).days)
        if named is None:
            named = f"{_DAYS[local.weekday()]} {local.day} {_MONTHS[local.month - 1]}"
            if local.year != today.year:
                named += f" {local.year}"
        return f"{named} {clock_time}"

    def has_passed(self, instant: datetime) -> bool:
        return self.now is not None and instant < self.now


def _headline(frame: pd.DataFrame, as_of: datetime | None, clock: _Clock) -> str:
    if as_of is None:
        return (
            "Nothing has been published yet. The first run fills the queue: tutorflow run "
            "(tutorflow status shows how far it got)."
        )
    seen = f"as of {clock.say(as_of)} {as_of.astimezone(clock.zone):%Z}"
    if clock.now is not None and clock.now - as_of > _STALE_AFTER:
        hours = (clock.now - as_of) // timedelta(hours=1)
        seen += f", {hours} hours ago (tutorflow status shows why)"
    if frame.empty:
        return f"The queue is empty {seen}: nobody is waiting for a person right now."
    learners = frame["learner_id"].nunique()
    who = "1 learner needs" if learners == 1 else f"{learners} learners need"
    return f"{who} a person, {seen}."


def _block(row: Mapping[Hashable, Any], clock: _Clock) -> RenderableType:
    due = to_aware_utc(row["due_at"])
    is_overdue = clock.has_passed(due)
    is_first = pd.isna(row["is_first_of_learner"]) or bool(row["is_first_of_learner"])
    header = Text("   ").join(
        [
            *([] if is_first else [Text("also:")]),
            Text(row["learner_label"], style="bold"),
            Text(row["layer"]),
            Text(f"alert tier {row['alert_tier']}"),
            Text(
                f"{'overdue since' if is_overdue else 'due'} {clock.say(due)}",
                style="bold red" if is_overdue else "",
            ),
            Text(f"confidence {row['confidence']} ({row['confidence_basis']})"),
        ]
    )
    body = Table.grid(padding=(0, 1, 0, 0))
    body.add_column(width=8, style="cyan", no_wrap=True)
    body.add_column(overflow="fold")
    for label, column in _PARTS.items():
        body.add_row(Text(label), Text(row[column]))
    return Group(header, body)


def _printed(content: RenderableType, width: int, color: bool) -> str:
    console = Console(
        file=StringIO(),
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        legacy_windows=False,
        highlight=False,
    )
    with console.capture() as captured:
        console.print(content)
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"
