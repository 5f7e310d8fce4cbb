"""The hour as a Prefect flow: scheduled, retried, timed out, one at a time, and seen in the UI."""

from datetime import datetime
from pathlib import Path

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from flows.clock import utc_now
from flows.hour import run_hour
from flows.report import as_markdown
from flows.tasks import as_task
from tutorflow.errors import TutorflowError
from tutorflow.settings import load_settings


class GateBlocked(TutorflowError):
    """The candidates of this run were not published; the message names the checks."""


@flow(name="tutorflow-hourly", timeout_seconds=3500)
def hourly(home: str | None = None, as_of: datetime | None = None) -> str:
    """Advance the programme in `home` to `as_of` (default: now); the state it ended in.

    A run that waited in the queue decides every tick that passed meanwhile. Raises GateBlocked, so
    that the run shows as failed, when the gate held the tables back.
    """
    settings = load_settings(Path(home) if home else None)
    logger = get_run_logger()
    report = run_hour(
        settings,
        as_of,
        utc_now(),
        call=as_task,
        on_wait=lambda who: logger.info("waiting for another run (%s)", who),
    )
    create_markdown_artifact(
        markdown=as_markdown(report), key="tutorflow-hour", description="What this run did"
    )
    if report.state == "blocked":
        raise GateBlocked(report.message or "blocked")
    return report.state
