"""Scheduling with Prefect: every hour, one run at a time, none lost."""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.error import URLError

from prefect import Flow, serve
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.schedules import Cron, Schedule
from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings
from prefect.types.entrypoint import EntrypointType

from flows.backfill import backfill
from flows.hourly import hourly
from flows.nightly import nightly
from tutorflow.errors import TutorflowError
from tutorflow.settings import Settings

_SERVER_START_SECONDS = 300

# One at a time; a run that comes too early waits in the queue and then catches up.
_ONE_AT_A_TIME = ConcurrencyLimitConfig(
    limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE
)


def hourly_deployment(settings: Settings, minute: int) -> RunnerDeployment:
    """The hour, at `minute` past each hour in UTC."""
    return _deployment(hourly, "hourly", settings, Cron(f"{minute} * * * *", timezone="UTC"))


def backfill_deployment(settings: Settings) -> RunnerDeployment:
    """The backfill, started by hand from the UI; the run lock keeps it and the hour apart."""
    return _deployment(backfill, "backfill", settings)


def _deployment(
    flow: Flow[..., Any], name: str, settings: Settings, schedule: Schedule | None = None
) -> RunnerDeployment:
    made = flow.to_deployment(
        name=name,
        schedule=schedule,
        parameters={"home": str(settings.home)},
        concurrency_limit=_ONE_AT_A_TIME,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    assert isinstance(made, RunnerDeployment)  # a coroutine only inside an event loop
    return made


def nightly_deployment(settings: Settings) -> RunnerDeployment:
    """The data tests over the whole marts, at half past two in the programme's night."""
    schedule = Cron("30 2 * * *", timezone=settings.timezone)
    return _deployment(nightly, "nightly", settings, schedule)


def serve_hourly(settings: Settings, minute: int, port: int) -> None:
    """Serve the deployments until stopped, on the configured Prefect server or one of its own.

    Raises TutorflowError when no server can be started.
    """
    with _server(port) as url, temporary_settings({PREFECT_API_URL: url}):
        try:
            serve(
                hourly_deployment(settings, minute),
                nightly_deployment(settings),
                backfill_deployment(settings),
                pause_on_shutdown=False,
            )
        except* KeyboardInterrupt:  # alone or among what its tasks raised: it is how one stops it
            pass


@contextmanager
def _server(port: int) -> Iterator[str]:
    """The URL of the Prefect API: the configured one, one that listens, or one started here.

    Prefect's own stand-in server, started per process, has no scheduler, so it would not do.
    """
    configured = get_current_settings().api.url
    if configured:
        yield configured
        return
    url = f"http://127.0.0.1:{port}/api"
    if _answers(url):
        yield url
        return
    arguments = ["server", "start", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect", *arguments],
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PREFECT_SERVER_ANALYTICS_ENABLED": "false"},
    )
    try:
        deadline = time.monotonic() + _SERVER_START_SECONDS
        while not _answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise TutorflowError(
                    f"The Prefect server did not start on port {port}; try another with --port, or "
                    "start one yourself and set PREFECT_API_URL."
                )
            time.sleep(0.3)
        yield url
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as response:
            return bool(response.status == 200)
    except (URLError, OSError):
        return False
