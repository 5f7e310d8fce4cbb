"""What a simulated programme is made of: the parameters and their limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, get_args
from zoneinfo import ZoneInfo

from tutorflow.errors import TutorflowError
from tutorflow.simulate.interventions import DEFAULT_EFFECTS, Effect

Delivery = Literal["hour", "day", "single"]


class SimulationError(TutorflowError):
    """A simulation was asked for something it cannot do; the message says what to change."""


@dataclass(frozen=True)
class SimulationConfig:
    """A programme to simulate.

    learners: 1 to 100,000. weeks: 1 to 104. start: first day (a Monday keeps course weeks and ISO
    weeks together, but any day works). seed: the same seed and parameters give the same programme.
    delivery: how `simulate` cuts the event files. timezone: where the learners live; it shapes the
    hours they work at and when work is due (events themselves are in UTC). late_share: share of
    events received minutes to hours after they happened. coaches: number of coaches, None = one
    per 60 learners. effects: what each kind of human help does.
    """

    learners: int = 300
    weeks: int = 6
    start: date = date(2026, 1, 5)
    seed: int = 1
    delivery: Delivery = "hour"
    timezone: str = "UTC"
    late_share: float = 0.02
    coaches: int | None = None
    effects: Mapping[str, Effect] = field(default_factory=lambda: dict(DEFAULT_EFFECTS), hash=False)

    def __post_init__(self) -> None:
        _require_whole("learners", self.learners, 1, 100_000)
        _require_whole("weeks", self.weeks, 1, 104)
        _require_whole("seed", self.seed, 0, 2**63 - 1)
        if self.coaches is not None:
            _require_whole("coaches", self.coaches, 1, 10_000)
        if not isinstance(self.start, date) or isinstance(self.start, datetime):
            raise SimulationError(f"start must be a date such as 2026-01-05, not {self.start!r}")
        if self.delivery not in get_args(Delivery):
            allowed = ", ".join(get_args(Delivery))
            raise SimulationError(f"delivery must be one of {allowed}, not {self.delivery!r}")
        if not 0.0 <= self.late_share <= 0.5:
            raise SimulationError(f"late_share must lie between 0 and 0.5, not {self.late_share}")
        try:
            ZoneInfo(self.timezone)
        except (KeyError, ValueError, OSError) as error:
            raise SimulationError(
                f"timezone {self.timezone!r} is not known; use an IANA name such as Europe/Berlin"
            ) from error

    @property
    def starts_at(self) -> datetime:
        """First instant of the programme: local midnight of its first day (aware, UTC)."""
        return datetime.combine(self.start, time(), ZoneInfo(self.timezone)).astimezone(UTC)

    @property
    def ends_at(self) -> datetime:
        """Instant at which the programme is over (aware, UTC): nothing happens at or after it."""
        return self.starts_at + timedelta(weeks=self.weeks)

    @property
    def hours(self) -> int:
        """Length of the programme in hours."""
        return self.weeks * 7 * 24

    @property
    def coach_count(self) -> int:
        """Number of coaches."""
        return self.coaches if self.coaches is not None else -(-self.learners // 60)


def _require_whole(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise SimulationError(f"{name} must be a whole number from {low} to {high}, not {value!r}")
