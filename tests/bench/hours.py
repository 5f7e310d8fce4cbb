"""The hour on top of a history: pull, build, decide, gate, publish.

A normal hour: the history before it has been decided long ago, and the tick before it has been
committed. (To decide the whole simulated history at once would flag half of its learners, whose
visits lie on random days; that is no programme, and the gate says so.)
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from expectations.checks import SUITES, checks
from flows.hour import RunReport, run_hour
from tests.bench.homes import HOUR, History, arrive
from tests.bench.measuring import own_cpu_seconds
from tutorflow.settings import Settings
from tutorflow.warehouse import finish_decide

STEPS = ("pull", "build_marts", "decide", "measure", "check", "publish", "snapshot")


@dataclass(frozen=True)
class HourTaken:
    """One hour: seconds per step and in all, what came and what it led to.

    `cpu`: seconds of processor per step. `models`: seconds per dbt model. `failed_checks`: of the
    gate; bulk events are no real programme, so failures are accepted and only told.
    """

    events: int
    seconds: dict[str, float]
    cpu: dict[str, float]
    models: dict[str, float]
    opened: int
    failed_checks: tuple[str, ...]

    @property
    def total(self) -> float:
        """Seconds from taking the run lock to its release."""
        return self.seconds["total"]

    @property
    def overhead(self) -> float:
        """Seconds of the build outside the dbt models."""
        return self.seconds["build_marts"] - sum(self.models.values())


def tick_before(history: History) -> HourTaken:
    """Commit the tick with which the history ends; what lies further back counts as decided."""
    finish_decide(history.settings, history.ends_at)
    return _decided(history.settings, history.ends_at, 0)


def hours_after(history: History, numbers: Sequence[int]) -> list[HourTaken]:
    """Let these hours after the history arrive and run them, one after the other."""
    taken = []
    for number in numbers:
        events = arrive(history, number)
        taken.append(_decided(history.settings, history.ends_at + number * HOUR, events))
    return taken


def cold_run(settings: Settings, as_of: datetime) -> float:
    """Seconds of `tutorflow run` as a process of its own, from its start to its exit."""
    started = time.perf_counter()
    subprocess.run(
        [
            *(sys.executable, "-c", "from flows.cli import app; app()"),
            *("--home", str(settings.home), "run", "--as-of", as_of.isoformat()),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - started


def _decided(settings: Settings, now: datetime, events: int) -> HourTaken:
    cpu: dict[str, float] = {}

    def call(step: Callable[..., Any], *arguments: Any) -> Any:
        before = own_cpu_seconds()
        result = step(*arguments)
        cpu[step.__name__] = own_cpu_seconds() - before
        return result

    report = run_hour(settings, None, now, call=call, accepted=_everything())
    assert report.state == "published", report.message
    return HourTaken(
        events,
        dict(report.seconds),
        cpu,
        dict(report.build.models) if report.build else {},
        int(report.counts["opened"]),
        _failed(report),
    )


def _everything() -> dict[str, str]:
    return {one.check_id: "bench" for suite in SUITES for one in checks(suite)}


def _failed(report: RunReport) -> tuple[str, ...]:
    results = report.verdict.results if report.verdict else []
    return tuple(result.check_id for result in results if not result.is_success)
