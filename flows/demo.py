"""The demo: a simulated programme with simulated coaches, run the way a real one is.

The loop is closed: coaches with limited time read the published queue twice a week, on the last day
every hour, act, and write into the inbox what they did; learners respond by their hidden motivation
and skill; the next tick sees it.
At the end the same programme is played without coaches, so that the loop's effect can be read off.
"""

import hashlib
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from flows.history import run_backfill
from flows.hour import RunReport, run_hour
from flows.report import as_line
from tutorflow import publish
from tutorflow.decide.ticks import HELD_OUT
from tutorflow.errors import TutorflowError
from tutorflow.hours import to_naive_utc
from tutorflow.measure.report import report_page
from tutorflow.privacy.pseudonyms import source_users
from tutorflow.publish import inbox
from tutorflow.settings import CONFIG_NAME, Settings, load_settings
from tutorflow.simulate import Programme, SimulationConfig
from tutorflow.simulate.delivery import write_events
from tutorflow.simulate.roster import write_roster

_MARK = ".tutorflow-demo"
_WEEKS_BEFORE = 4
_FIRST_HOUR, _LAST_HOUR = 9, 17
_QUEUE_ROWS = 5
_COACHING_DAYS = (0, 3)  # Monday and Thursday; the days between are decided, but nobody reads
_CONTACTS_PER_DAY = 8  # of one coach
_AGAIN_AFTER = timedelta(days=7)  # the same alert is taken up again
_WRONG_VERDICTS = 0.1  # share of verdicts that simulated coaches get wrong

# What a coach does about an alert: the simulation's kind of help, and the inbox's word for it.
_HELP = {
    ("content", 2): ("worked_example", "worked_example"),
    ("content", 3): ("worked_example", "worked_example"),
    ("confidence", 2): ("confidence_reset", "confidence_reset"),
    ("confidence", 3): ("confidence_reset", "confidence_reset"),
    ("compliance", 2): ("message", "message"),
    ("compliance", 3): ("live_checkin", "call"),
}
_OTHERWISE = ("live_checkin", "call")

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
    coaches = _Coaches(settings, programme)
    for end in _days(config.starts_at, today):
        if programme.advanced_to.weekday() in _COACHING_DAYS:
            coaches.act(programme.advanced_to, _CONTACTS_PER_DAY)
        _write(programme, folder, end)
        if end.weekday() not in _COACHING_DAYS and end < today:
            continue  # nobody reads before the next coaching day: it is decided then, day by day
        with out.status(f"{end:%A %d %B}: pulling, building, deciding ..."):
            report = run_backfill(settings, None, None, "day", end)
        _say(out, report)
    for hour in range(_FIRST_HOUR, _LAST_HOUR + 1):
        moment = today + timedelta(hours=hour)
        coaches.act(programme.advanced_to, 1)
        with out.status(f"{last_day:%A} {hour}:00 ..."):
            _write(programme, folder, moment)
            report = run_hour(settings, None, moment)
        _say(out, report)
    _show(settings, moment, out)
    report_path = folder / f"report-{last_day:%Y-%m}.html"
    report_path.write_text(report_page(settings, f"{last_day:%Y-%m}"), encoding="utf-8")
    out.print(f"The month's report, to print: {report_path}", soft_wrap=True)
    _compare(programme, coaches, config, moment, out)


def _say(out: Console, report: RunReport) -> None:
    out.print(as_line(report), markup=False, soft_wrap=True)
    if report.is_blocked:
        raise TutorflowError("The demo was held back by its own gate; the reason stands above.")


@dataclass
class _Coaches:
    """Simulated coaches: each works through the front of the own queue, and logs it."""

    settings: Settings
    programme: Programme
    taken_up: dict[str, datetime] = field(default_factory=dict)
    contacts: Counter[str] = field(default_factory=Counter)

    def act(self, at: datetime, contacts: int) -> None:
        """As many contacts each, a quarter of an hour apart, from `at` or nine in the morning."""
        queue = publish.queue(self.settings)
        if queue.empty:
            return
        needs = self._needs(at)
        start = at + timedelta(hours=9) if at.hour == 0 else at
        for _, mine in queue.groupby("coach_id"):
            rows: list[Any] = mine.to_dict("records")
            waiting = [row for row in rows if self._is_due(row, at)]
            for n, row in enumerate(waiting[:contacts]):
                self._help(row, start + timedelta(minutes=15 * n), needs)

    def _is_due(self, row: dict[str, Any], at: datetime) -> bool:
        before = self.taken_up.get(row["alert_id"])
        return before is None or at - before > _AGAIN_AFTER

    def _help(self, row: dict[str, Any], at: datetime, needs: set[str]) -> None:
        alert, learner = row["alert_id"], row["learner_id"]
        ((_, user),) = source_users(self.settings.identity_path, [learner])[learner]
        help_, kind = _HELP.get((row["layer"], int(row["alert_tier"])), _OTHERWISE)
        self.programme.intervene(user, help_, at)
        self.contacts[kind] += 1
        when = to_naive_utc(at)
        logged = {"alert_id": alert, "coach_id": row["coach_id"], "written_at": when}
        inbox.write(self.settings, "acknowledgements", **logged)
        inbox.write(self.settings, "interventions", kind=kind, code="too_early", **logged)
        is_needed = (user in needs) != (_chance(alert) < _WRONG_VERDICTS)
        if alert not in self.taken_up and not is_needed:  # a person sees at once that all is well
            inbox.write(self.settings, "alert_verdicts", verdict="not_actionable", **logged)
        elif alert in self.taken_up:
            inbox.write(self.settings, "alert_verdicts", verdict="useful", **logged)
        self.taken_up[alert] = at

    def _needs(self, at: datetime) -> set[str]:
        """Users who need help now, which a person finds out by talking to them."""
        needs = self.programme.truth().tables["needs"].to_pandas()
        is_on = needs["ended_at"].isna() | (needs["ended_at"] > pd.Timestamp(at))
        return set(needs.loc[is_on, "user_id"])


def _chance(text: str) -> float:
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32


def _compare(
    programme: Programme,
    coaches: _Coaches,
    config: SimulationConfig,
    until: datetime,
    out: Console,
) -> None:
    """What the loop changed: the same seed without anybody acting."""
    alone = Programme(config)
    alone.advance(until)
    made = ", ".join(
        f"{n} x {kind.replace('_', ' ')}" for kind, n in coaches.contacts.most_common()
    )
    out.print(f"\nThe coaches made {sum(coaches.contacts.values())} contacts ({made}).")
    out.print("The same programme with and without them, by its hidden truth:")
    rows = [("with coaches", *_outcome(programme)), ("without", *_outcome(alone))]
    out.print(f"{'':14}{'stopped':>9}{'days in need':>14}{'mean mark':>11}", highlight=False)
    for name, stopped, days, mark in rows:
        out.print(f"{name:14}{stopped:9,}{days:14,.0f}{mark:11.1f}", highlight=False)


def _outcome(programme: Programme) -> tuple[int, float, float]:
    """(learners who stopped, days of need, mean expected mark of a final exam)."""
    tables = programme.truth().tables
    needs = tables["needs"].to_pandas()
    until = needs["ended_at"].fillna(pd.Timestamp(programme.advanced_to))
    days = (until - needs["started_at"]).dt.total_seconds().clip(lower=0).sum() / 86400
    marks = tables["results"].to_pandas()["final_mark"]
    return tables["stops"].num_rows, float(days), float(marks.mean())


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
    held_out = {"reason": HELD_OUT, "released_at": None}
    left_out = publish.read_table(settings, "suppressions", held_out)["alert_tier"]
    if len(left_out):
        out.print(
            "Drawn by lot and told to nobody for some days, to see whether alerts help: "
            f"{(left_out == 1).sum()} for the AI tutor, {(left_out == 2).sum()} for coaches.",
            soft_wrap=True,
        )
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
