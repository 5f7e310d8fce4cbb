"""The demo: a simulated programme, run the way a real one is, in a folder of its own.

Its coaches act: once a week each works through the front of the queue, and the simulated learners
feel it. So the queue that is shown at the end is what a programme in use would see.
"""

import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from rich.console import Console

from flows.history import run_backfill
from flows.hour import RunReport, run_hour
from flows.report import as_line
from tutorflow import publish
from tutorflow.errors import TutorflowError
from tutorflow.privacy.pseudonyms import source_users
from tutorflow.settings import CONFIG_NAME, Settings, load_settings
from tutorflow.simulate import Programme, SimulationConfig
from tutorflow.simulate.delivery import write_events
from tutorflow.simulate.roster import write_roster

_MARK = ".tutorflow-demo"
_WEEKS_BEFORE = 4
_FIRST_HOUR, _LAST_HOUR = 8, 18
_QUEUE_ROWS = 5
_CONTACTS_PER_WEEK = 25  # of one coach

# What a coach does about an alert of each layer, among the kinds of help the simulation knows.
_HELP = {
    "content": "worked_example",
    "confidence": "confidence_reset",
    "compliance": "live_checkin",
    "safety": "family_contact",
}

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
    out.print(f"{learners} simulated learners from {config.start} to {last_day}, seed {seed}.")
    for week, end in enumerate(_week_ends(config.starts_at, today), start=1):
        with out.status(f"Week {week}, a decision per day ..."):
            for day in _days(programme.advanced_to, end):
                _write(programme, folder, day)
            report = run_backfill(settings, None, None, "day", end)
        _say(out, report)
        if end < today:
            _coaches_act(settings, programme, end)

    for hour in range(_FIRST_HOUR, _LAST_HOUR + 1):
        moment = today + timedelta(hours=hour)
        with out.status(f"{last_day:%A} {hour}:00 ..."):
            _write(programme, folder, moment)
            report = run_hour(settings, None, moment)
        _say(out, report)
    _show(settings, moment, out)


def _say(out: Console, report: RunReport) -> None:
    out.print(as_line(report), markup=False, soft_wrap=True)
    if report.is_blocked:
        raise TutorflowError("The demo was held back by its own gate; the reason stands above.")


def _coaches_act(settings: Settings, programme: Programme, at: datetime) -> None:
    """Each coach helps the first learners of the own queue, from nine in the morning."""
    queue = publish.queue(settings)
    front = queue[queue["queue_position"] <= _CONTACTS_PER_WEEK]
    users = source_users(settings.identity_path, front["learner_id"])
    for row in front.to_dict("records"):
        ((_, user),) = users[row["learner_id"]]
        moment = at + timedelta(hours=9, minutes=15 * int(row["queue_position"]))
        programme.intervene(user, _HELP[row["layer"]], moment)


def _show(settings: Settings, now: datetime, out: Console) -> None:
    """The first rows of the queue, and where everything else is."""
    queue = publish.queue(settings)
    headline, _, rows = publish.render_queue(
        queue.head(_QUEUE_ROWS),
        width=min(out.width, 120),
        now=now,
        timezone=settings.timezone,
        color=out.is_terminal,
    ).partition("\n")
    if len(queue) > _QUEUE_ROWS:
        waiting = queue["learner_id"].nunique()
        headline = f"{waiting} learners wait for a person; the first {_QUEUE_ROWS} in the queue:"
    home = settings.home
    out.out(f"\n{headline}\n{rows}", highlight=False)
    if len(queue) > _QUEUE_ROWS:
        out.print(f"All of them: tutorflow --home {home} queue", soft_wrap=True)
    out.print(
        f"\nCoach tools read {home / 'serving.sqlite'} (tables coach_queue, alerts, ...); analysts "
        f"read {settings.snapshot_path / 'current'}/*.parquet.\n"
        f"Next: tutorflow --home {home} status",
        soft_wrap=True,
    )


def _week_ends(start: datetime, end: datetime) -> Iterator[datetime]:
    """The ends of the weeks from `start`, and `end` itself."""
    while start + timedelta(weeks=1) < end:
        start += timedelta(weeks=1)
        yield start
    yield end


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
