"""The programme's clock: hours from the start in UTC, and the learners' local week."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from tutorflow.simulate.config import SimulationConfig

HOUR = 3600.0
DAY = 24 * HOUR
WEEK = 7 * DAY


class Clock:
    """Translates between seconds of the programme (UTC) and local days and hours."""

    def __init__(self, config: SimulationConfig) -> None:
        self._start = config.starts_at
        self._zone = ZoneInfo(config.timezone)
        self.first_day = config.start
        self.hours = config.hours
        self.end = config.hours * HOUR
        local = [self._local(hour) for hour in range(config.hours)]
        self.hour_of_week = [t.weekday() * 24 + t.hour for t in local]

    def _local(self, hour: int) -> datetime:
        return (self._start + timedelta(hours=hour)).astimezone(self._zone)

    def instant(self, second: float) -> datetime:
        """The aware UTC time of a second of the programme."""
        return self._start + timedelta(seconds=second)

    def second(self, instant: datetime) -> float:
        """Second of the programme of an aware instant."""
        return (instant - self._start).total_seconds()

    def weekday(self, day: int) -> int:
        """0 = Monday."""
        return (self.first_day.weekday() + day) % 7

    def at(self, day: int, local_hour: float) -> float:
        """Second of the programme at which it is `local_hour` on a day of the programme."""
        midnight = datetime.combine(self.first_day + timedelta(days=day), time(), self._zone)
        return (midnight.astimezone(UTC) - self._start).total_seconds() + local_hour * HOUR
