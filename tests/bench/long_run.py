"""Three hundred hours in a row in one process, as a service runs them: does anything grow?"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from statistics import mean

from flows.history import run_backfill
from flows.hour import run_hour
from flows.marts import build_marts
from tests.bench.homes import HOUR
from tutorflow.settings import load_settings
from tutorflow.simulate.config import SimulationConfig
from tutorflow.simulate.delivery import write_events
from tutorflow.simulate.programme import Programme

# The first and the last hours that are compared are the same hours of the day, both on weekdays.
COMPARED = 20
HOURS = 12 * 24 + COMPARED
WARM_UP_HOURS = 4
HISTORY = timedelta(days=16)
_START = date(2026, 1, 5)

_CONFIGURATION = """\
timezone: UTC
sources:
  - name: simulated_tutor
    path: events/*.parquet
    format: canonical
    namespace: programme
    complete_until: manifest
"""


@dataclass(frozen=True)
class LongRun:
    """Seconds and events of each hour; sizes of the warehouse, and of one built anew."""

    ends_at: datetime
    seconds: list[float]
    events: list[int]
    warehouse_bytes: int
    fresh_bytes: int

    @property
    def first(self) -> float:
        """Mean seconds of the first hours after the warm-up."""
        return mean(self.seconds[:COMPARED])

    @property
    def last(self) -> float:
        """Mean seconds of the last hours."""
        return mean(self.seconds[-COMPARED:])


def tell(text: str) -> None:
    """Print a line of progress."""
    print(f"\n    {text}", end=" ", flush=True)


def run_hours(
    home: Path, learners: int, hours: int, progress: Callable[[str], None] | None = None
) -> LongRun:
    """Decide 16 simulated days, then hour by hour; `hours` are counted after the warm-up.

    The hour after the last has arrived, but is left to somebody else.
    """
    config = SimulationConfig(learners=learners, weeks=6, start=_START, seed=11)
    programme = Programme(config)
    home.mkdir(parents=True)
    (home / "events").mkdir()
    (home / "tutorflow.yml").write_text(_CONFIGURATION, encoding="utf-8")
    settings = load_settings(home)
    clock = config.starts_at
    while clock < config.starts_at + HISTORY:
        _deliver(programme, home, clock, clock + timedelta(days=1))
        clock += timedelta(days=1)
    assert run_backfill(settings, None, None, "day", clock).state == "published"
    seconds, events = [], []
    for number in range(WARM_UP_HOURS + hours):
        rows = _deliver(programme, home, clock, clock + HOUR)
        clock += HOUR
        report = run_hour(settings, None, clock)
        assert report.state == "published", report.message
        seconds.append(report.seconds["total"])
        events.append(rows)
        if progress is not None and number % 24 == 23:
            progress(f"hour {number + 1}: mean of the last day {mean(seconds[-24:]):.2f} s")
    _deliver(programme, home, clock, clock + HOUR)
    used = settings.warehouse_path.stat().st_size
    return LongRun(
        clock,
        seconds[WARM_UP_HOURS:],
        events[WARM_UP_HOURS:],
        used,
        _fresh_bytes(home),
    )


def _deliver(programme: Programme, home: Path, start: datetime, end: datetime) -> int:
    events = programme.advance(end)
    write_events(home / "events", events, start, end)
    return int(events.num_rows)


def _fresh_bytes(home: Path) -> int:
    """Size of a warehouse built at once from the same landing."""
    fresh = home.with_name(f"{home.name}-fresh")
    fresh.mkdir()
    shutil.copytree(home / "landing", fresh / "landing")
    shutil.copy(home / "tutorflow.yml", fresh)
    settings = load_settings(fresh)
    build_marts(settings)
    size = settings.warehouse_path.stat().st_size
    shutil.rmtree(fresh)
    return size
