"""Ticks and instants. A tick is one whole hour or one whole day; `as_of` is its end.

Every function takes its instants as arguments; nothing here reads a clock. Instants are aware and
in UTC unless the name says `naive`; hours and days are cut in the programme's time zone, so in a
zone of +05:30 an hour tick ends at half past in UTC, and a day tick may last 23 or 25 hours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from tutorflow.errors import TutorflowError

Tick = Literal["hour", "day"]

_UNITS = {
    "s": "seconds",
    "second": "seconds",
    "min": "minutes",
    "minute": "minutes",
    "h": "hours",
    "hour": "hours",
    "d": "days",
    "day": "days",
    "w": "weeks",
    "week": "weeks",
}


def to_naive_utc(instant: datetime) -> datetime:
    """The instant as the warehouse stores it: UTC without a zone. Raises on a naive argument."""
    _demand_aware(instant)
    return instant.astimezone(UTC).replace(tzinfo=None)


def to_aware_utc(naive: datetime) -> datetime:
    """A naive UTC instant from the warehouse or a frame, as an aware one."""
    if naive.tzinfo is not None:
        return naive.astimezone(UTC)
    return naive.replace(tzinfo=UTC)


def local_date(instant: datetime, timezone: str) -> date:
    """The calendar day on which the instant falls in the zone."""
    _demand_aware(instant)
    return instant.astimezone(ZoneInfo(timezone)).date()


def day_start(day: date, timezone: str) -> datetime:
    """The first instant of the calendar day in the zone, in UTC."""
    return datetime.combine(day, time(), ZoneInfo(timezone)).astimezone(UTC)


def day_end(instant: datetime, timezone: str) -> datetime:
    """The end of the day on which the instant falls in the zone (the next midnight), in UTC."""
    return day_start(local_date(instant, timezone) + timedelta(days=1), timezone)


def floor_tick(instant: datetime, tick: Tick, timezone: str = "UTC") -> datetime:
    """The last end of a tick at or before the instant, in UTC."""
    _demand_aware(instant)
    if tick == "day":
        return day_start(local_date(instant, timezone), timezone)
    offset = instant.astimezone(ZoneInfo(timezone)).utcoffset() or timedelta()
    local = instant.astimezone(UTC) + offset
    return local.replace(minute=0, second=0, microsecond=0) - offset


def next_tick(as_of: datetime, tick: Tick, timezone: str = "UTC") -> datetime:
    """The end of the tick after the one that ends at `as_of` (which need not be a tick's end)."""
    if tick == "day":
        return day_end(as_of, timezone)
    after = floor_tick(as_of + timedelta(hours=1), tick, timezone)
    # a zone that moves its clock by half an hour has one long or one short tick then
    return after if after > as_of else floor_tick(as_of + timedelta(hours=2), tick, timezone)


def previous_tick(as_of: datetime, tick: Tick, timezone: str = "UTC") -> datetime:
    """The last end of a tick before `as_of`: the start of the tick that ends there."""
    return floor_tick(as_of - timedelta(microseconds=1), tick, timezone)


def ticks_between(
    last: datetime, as_of: datetime, tick: Tick, timezone: str = "UTC"
) -> list[datetime]:
    """The ends of all ticks in (last, as_of], in order; empty if there is none."""
    return list(_ticks(last, as_of, tick, timezone))


def _ticks(last: datetime, as_of: datetime, tick: Tick, timezone: str) -> Iterator[datetime]:
    following = next_tick(last, tick, timezone)
    while following <= as_of:
        yield following
        following = next_tick(following, tick, timezone)


def parse_instant(text: str, timezone: str = "UTC") -> datetime:
    """An ISO 8601 instant in UTC; without an offset it is a wall time in the zone.

    `2026-03-01`, `2026-03-01T10`, `2026-03-01 10:30` and `2026-03-01T10:30:00+01:00` all do.
    Raises TutorflowError for anything else.
    """
    try:
        parsed = datetime.fromisoformat(text.strip())
    except ValueError:
        raise TutorflowError(
            f"{text!r} is not a time; write it like 2026-03-01T10 or 2026-03-01T10:00:00+01:00"
        ) from None
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=ZoneInfo(timezone))
    return parsed.astimezone(UTC)


def parse_as_of(text: str, tick: Tick, timezone: str = "UTC") -> datetime:
    """An instant given on the command line, floored to the end of a tick."""
    return floor_tick(parse_instant(text, timezone), tick, timezone)


def parse_duration(text: str) -> timedelta:
    """A length of time written like `7 days`, `72 h`, `30 min`; raises ValueError otherwise."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", text)
    unit = match and (_UNITS.get(match[2]) or _UNITS.get(match[2].removesuffix("s")))
    if not match or not unit:
        raise ValueError(f"{text!r} is not a length of time; write it like 7 days, 72 h or 30 min")
    return timedelta(**{unit: float(match[1])})


def _demand_aware(instant: datetime) -> None:
    if instant.tzinfo is None:
        raise ValueError(f"{instant!r} has no time zone; give an aware UTC instant")
