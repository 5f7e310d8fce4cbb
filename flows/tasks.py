"""The steps of the hour as Prefect tasks: what to retry, and how long each may take."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext
from prefect.tasks import exponential_backoff

from flows import steps
from tutorflow.errors import TutorflowError
from tutorflow.pull import PullAttempt
from tutorflow.settings import Settings

PULL_RETRIES = 2

# Frames go from step to step in memory: nothing is hashed for a cache, nothing is written down.
_PLAIN: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}


class SourcesFailed(TutorflowError):
    """A source could not be read; raised only to be tried again."""


@task(
    name="pull",
    retries=PULL_RETRIES,
    retry_delay_seconds=exponential_backoff(backoff_factor=5),
    retry_jitter_factor=0.5,
    timeout_seconds=900,
    **_PLAIN,
)
def pull(settings: Settings, now: datetime) -> list[PullAttempt]:
    """Pull, and again after 5 and 10 seconds while a source fails; then go on without it."""
    attempts = steps.pull(settings, now)
    failed = [attempt for attempt in attempts if attempt.error]
    context = TaskRunContext.get()
    if failed and context is not None and context.task_run.run_count <= PULL_RETRIES:
        raise SourcesFailed("; ".join(f"{a.source}: {a.error}" for a in failed))
    return attempts


build_marts = task(name="build marts", timeout_seconds=3000, **_PLAIN)(steps.build_marts)
check_marts = task(name="check marts", timeout_seconds=3000, **_PLAIN)(steps.check_marts)
decide = task(name="decide", timeout_seconds=1200, **_PLAIN)(steps.decide)
measure = task(name="measure", timeout_seconds=1200, **_PLAIN)(steps.measure)
check = task(name="check", timeout_seconds=600, **_PLAIN)(steps.check)
publish = task(name="publish", timeout_seconds=600, retries=1, retry_delay_seconds=5, **_PLAIN)(
    steps.publish
)
snapshot = task(name="snapshot", timeout_seconds=1200, **_PLAIN)(steps.snapshot)

_TASKS: dict[Callable[..., Any], Callable[..., Any]] = {
    steps.pull: pull,
    steps.build_marts: build_marts,
    steps.check_marts: check_marts,
    steps.decide: decide,
    steps.measure: measure,
    steps.check: check,
    steps.publish: publish,
    steps.snapshot: snapshot,
}


def as_task(step: Callable[..., Any], *args: Any) -> Any:
    """Run one step of the hour as its task, in this process."""
    return _TASKS[step](*args)
