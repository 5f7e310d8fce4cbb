"""The hour as a story, told once: the Prefect flow, the command line and the backfill tell it.

    lock -> pull -> build marts -> decide the ticks since the last -> measure -> gate -> publish
    -> snapshot

`call(step, *arguments)` runs one step; the Prefect flow passes a caller that makes it a task.
However a run ends, `run_status` says so.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from flows import steps
from flows.lock import Holder, run_lock
from flows.marts import BuildReport
from tutorflow import publish as publishing
from tutorflow.errors import TutorflowError
from tutorflow.hours import floor_tick, ticks_between
from tutorflow.publish import Candidates, Run, ServingError, Verdict
from tutorflow.publish.publisher import State
from tutorflow.pull import PullAttempt
from tutorflow.settings import Settings

Call = Callable[..., Any]
Plan = Callable[[datetime | None], Sequence[datetime]]

WAIT_SECONDS = 300.0
# Ticks that are decided, checked and committed together: a week of hours.
BATCH_TICKS = 168


def plain(step: Callable[..., Any], *arguments: Any) -> Any:
    """Run a step as what it is: a function."""
    return step(*arguments)


@dataclass
class RunReport:
    """What one run did. `seconds` is per step; `counts` are those of `run_status`."""

    run_id: str
    started_at: datetime
    state: State = "running"
    finished_at: datetime | None = None
    ticks: list[datetime] = field(default_factory=list)
    attempts: list[PullAttempt] = field(default_factory=list)
    build: BuildReport | None = None
    verdict: Verdict | None = None
    counts: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)
    message: str | None = None
    is_dry: bool = False

    @property
    def is_blocked(self) -> bool:
        """The gate held the candidates back; readers keep what they had."""
        return self.state == "blocked"

    def record(self) -> Run:
        """The row of `run_status`."""
        return Run(
            run_id=self.run_id,
            state=self.state,
            started_at=self.started_at,
            finished_at=self.finished_at,
            as_of=self.ticks[-1] if self.ticks else None,
            tick_count=len(self.ticks),
            counts=dict(self.counts),
            durations={step: round(seconds, 3) for step, seconds in self.seconds.items()},
            message=self.message,
        )


def run_hour(
    settings: Settings,
    as_of: datetime | None,
    now: datetime,
    *,
    call: Call = plain,
    accepted: Mapping[str, str] | None = None,
    wait_seconds: float = WAIT_SECONDS,
    on_wait: Callable[[Holder], None] | None = None,
    is_dry: bool = False,
    full_refresh: bool = False,
) -> RunReport:
    """Advance the programme to `as_of` (default: the end of the last whole tick before `now`).

    The first run ever decides that one tick; what lies before it is the backfill's. Raises
    TutorflowError when a step fails; a blocked gate is no error but the report's state. `accepted`
    maps checks to the reason for which a person accepts their failure in this run. A dry run stops
    before publishing; its candidates lie in the home. `full_refresh` builds all marts anew.
    """
    target = last_whole_tick(settings, now) if as_of is None else tick_at(settings, as_of, now)

    def since_the_last(committed: datetime | None) -> Sequence[datetime]:
        if committed is None:
            return [target]
        return ticks_between(committed, target, settings.tick, settings.timezone)

    return run_ticks(
        settings,
        since_the_last,
        now,
        call=call,
        accepted=accepted,
        wait_seconds=wait_seconds,
        on_wait=on_wait,
        is_dry=is_dry,
        full_refresh=full_refresh,
    )


def last_whole_tick(settings: Settings, now: datetime) -> datetime:
    """The end of the last tick that is over at `now`."""
    return floor_tick(now, settings.tick, settings.timezone)


def tick_at(settings: Settings, as_of: datetime, now: datetime) -> datetime:
    """`as_of` floored to the end of a tick. Raises TutorflowError when that has not come yet."""
    last = last_whole_tick(settings, now)
    target = floor_tick(as_of, settings.tick, settings.timezone)
    if target > last:
        raise TutorflowError(
            f"{target:%Y-%m-%d %H:%M} UTC has not come yet: the last whole {settings.tick} ended "
            f"at {last:%Y-%m-%d %H:%M} UTC."
        )
    return target


def run_ticks(
    settings: Settings,
    plan: Plan,
    now: datetime,
    *,
    call: Call = plain,
    accepted: Mapping[str, str] | None = None,
    wait_seconds: float = WAIT_SECONDS,
    on_wait: Callable[[Holder], None] | None = None,
    on_progress: Callable[[int, int, datetime], None] | None = None,
    batch_ticks: int = BATCH_TICKS,
    is_dry: bool = False,
    full_refresh: bool = False,
) -> RunReport:
    """The story. `plan(last committed tick)` names the ticks to decide, once the marts are built.

    `on_progress(ticks done, ticks in all, last tick)` is told after each commit.
    """
    run_id = f"{now:%Y%m%dT%H%M%S.%f}-{os.getpid()}"
    report = RunReport(run_id=run_id, started_at=now, is_dry=is_dry)

    def step(function: Callable[..., Any], *arguments: Any) -> Any:
        with _timed(report, function.__name__):
            return call(function, *arguments)

    with (
        run_lock(settings.lock_path, now, wait_seconds, on_wait),
        _recorded(settings, report),
    ):
        report.attempts = step(steps.pull, settings, now)
        _count_pull(report)
        report.build = step(steps.build_marts, settings, full_refresh)
        if report.build.is_full_refresh:
            report.message = _why_doubtful(step(steps.check_marts, settings))

        ticks = list(plan(publishing.last_committed_tick(settings)))
        for start in range(0, len(ticks), batch_ticks):
            batch = ticks[start : start + batch_ticks]
            decided: Candidates = step(steps.decide, settings, batch, now)
            candidates: Candidates = step(steps.measure, settings, decided, now)
            report.verdict = step(steps.check, settings, candidates, accepted or {})
            if report.verdict.blocked:
                report.state = "blocked"
                report.message = _why_blocked(report.verdict)
                break
            report.ticks += batch
            _count_candidates(report, candidates)
            if is_dry:  # a further batch would need this one committed
                break
            step(steps.publish, settings, candidates, report.verdict, report.record())
            if on_progress is not None:
                on_progress(len(report.ticks), len(ticks), batch[-1])
        if report.ticks and not is_dry:
            step(steps.snapshot, settings, report.ticks[-1])
        if report.state == "running":
            report.state = "published" if report.ticks else "nothing_to_do"
    return report


@contextmanager
def _recorded(settings: Settings, report: RunReport) -> Iterator[None]:
    """Keep `run_status` true: `running` before, how it ended after.

    A process that is killed leaves `running` behind; without a lock holder that reads as killed.
    """
    started = time.perf_counter()
    _record(settings, report)
    try:
        yield
    except BaseException as error:
        report.state = "failed"
        report.message = str(error) or type(error).__name__
        with suppress(ServingError):  # the error that matters is the one under way
            _close(settings, report, started)
        raise
    _close(settings, report, started)


def _close(settings: Settings, report: RunReport, started: float) -> None:
    elapsed = time.perf_counter() - started
    report.seconds["total"] = elapsed
    report.finished_at = report.started_at + timedelta(seconds=elapsed)
    _record(settings, report)


def _record(settings: Settings, report: RunReport) -> None:
    if not report.is_dry:
        publishing.record_run(settings, report.record(), report.verdict)


@contextmanager
def _timed(report: RunReport, name: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        report.seconds[name] = report.seconds.get(name, 0.0) + time.perf_counter() - started


def _why_doubtful(faults: Sequence[str]) -> str | None:
    if not faults:
        return None
    return "Published, but data tests of the marts do not hold: " + "; ".join(faults)


def _why_blocked(verdict: Verdict) -> str:
    checks = "; ".join(f"{result.check_id}: {result.message}" for result in verdict.blocking)
    return (
        f"Not published, readers keep what they had. {checks}. "
        "`tutorflow status` shows the rows. Mend the cause and run again, or accept it once: "
        f'tutorflow run --accept {verdict.blocking[0].check_id} --reason "..."'
    )


def _count_pull(report: RunReport) -> None:
    report.counts["rows_landed"] = sum(attempt.rows for attempt in report.attempts)
    report.counts["rows_quarantined"] = sum(attempt.quarantined for attempt in report.attempts)
    report.counts["sources_failed"] = sum(attempt.error is not None for attempt in report.attempts)


def _count_candidates(report: RunReport, candidates: Candidates) -> None:
    log = candidates.rows("tick_log")
    for column in ("signal_count", "opened_count", "closed_count", "held_count"):
        report.counts[column.removesuffix("_count")] += int(log[column].sum())
    alerts = candidates.rows("alerts")
    opened = alerts[alerts["opened_at"].isin(log["as_of"])]
    for tier, count in opened["alert_tier"].value_counts().items():
        report.counts[f"opened_tier_{tier}"] += int(count)
    held = candidates.rows("suppressions")
    for reason, count in held[held["released_at"].isna()]["reason"].value_counts().items():
        report.counts[f"held_{reason}"] += int(count)
