"""The demo: a simulated programme, run the way a real one is, in a folder of its own."""

import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from rich.console import Console

from flows.history import run_backfill
from flows.hour import run_hour
from flows.progress import tick_progress
from flows.report import as_line
from tutorflow import publish
from tutorflow.errors import TutorflowError
from tutorflow.settings import CONFIG_NAME, Settings, load_settings
from tutorflow.simulate import Programme, SimulationConfig
from tutorflow.simulate.delivery import write_events
from tutorflow.simulate.roster import write_roster

_MARK = ".tutorflow-demo"
_WEEKS_BEFORE = 4
_FIRST_HOUR, _LAST_HOUR = 8, 18
_QUEUE_ROWS = 5

_CONFIGURATION = """\
# The demo's programme: files of whole days, and of single hours for the last day.
timezone: UTC
roster_path: roster
sources:
  - name: simulated_tutor
    path: events/*.parquet
    format: canonical
    namespace: programme
    complete_until: manifest
"""


def run_demo(folder: Path, learners: int, seed: int, now: datetime, out: Console) -> None:
    """Simulate, backfill day by day, play one day hour by hour, show the queue.

    The last day is the last weekday before `now`, so that `tutorflow status` makes sense after.
    """
    _make_room(folder)
    last_day = _last_weekday(now.date())
    monday = last_day - timedelta(days=last_day.weekday())
    config = SimulationConfig(
        learners=learners,
        weeks=_WEEKS_BEFORE + 1,
        start=monday - timedelta(weeks=_WEEKS_BEFORE),
        seed=seed,
    )
    (folder / CONFIG_NAME).write_text(_CONFIGURATION, encoding="utf-8")
    settings = load_settings(folder)
    programme = Programme(config)
    write_roster(programme, folder / "roster")

    today = datetime.combine(last_day, time(), UTC)
    out.print(f"Simulating {learners} learners from {config.start} to {last_day} (seed {seed}) ...")
    rows = sum(_write(programme, folder, day) for day in _days(config.starts_at, today))
    out.print(f"{rows:,} events. Deciding {(today - config.starts_at).days} days, one by one ...")
    with tick_progress(out) as on_progress:
        report = run_backfill(settings, None, None, "day", today, on_progress=on_progress)
    out.print(as_line(report), soft_wrap=True)

    out.print(f"Now {last_day:%A}, hour by hour ...")
    for hour in range(_FIRST_HOUR, _LAST_HOUR + 1):
        moment = today + timedelta(hours=hour)
        _write(programme, folder, moment)
        out.print(as_line(run_hour(settings, None, moment)), soft_wrap=True)
    _show(settings, moment, out)


def _show(settings: Settings, now: datetime, out: Console) -> None:
    queue = publish.queue(settings)
    rest = len(queue) - _QUEUE_ROWS
    out.print()
    shown = publish.render_queue(
        queue.head(_QUEUE_ROWS),
        width=min(out.width, 120),
        now=now,
        timezone=settings.timezone,
        color=out.is_terminal,
    )
    out.print(shown, markup=False, highlight=False, end="")
    home = settings.home
    if rest > 0:
        out.print(f"\nand {rest} more: tutorflow --home {home} queue", soft_wrap=True)
    out.print(
        f"\nCoach tools read {home / 'serving.sqlite'} (tables coach_queue, alerts, ...); analysts "
        f"read {settings.snapshot_path / 'current'}/*.parquet.\n"
        f"Next: tutorflow --home {home} status",
        soft_wrap=True,
    )


def _days(start: datetime, end: datetime) -> Iterator[datetime]:
    """The ends of the days between two midnights."""
    while start < end:
        start += timedelta(days=1)
        yield start


def _write(programme: Programme, folder: Path, until: datetime) -> int:
    """Deliver what the programme sent up to `until`, as one file; the number of events."""
    (folder / "events").mkdir(exist_ok=True)
    start = programme.advanced_to
    events = programme.advance(until)
    write_events(folder / "events", events, start, until)
    return int(events.num_rows)


def _last_weekday(today: date) -> date:
    day = today - timedelta(days=1)
    while day.weekday() >= 5:
        day -= timedelta(days=1)
    return day


def _make_room(folder: Path) -> None:
    """An empty folder; an earlier demo in it is removed, anything else is left alone."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / _MARK).exists():
            raise TutorflowError(
                f"{folder} is not empty and holds no demo; name another with --folder."
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).touch()
