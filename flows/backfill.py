"""The backfill as a Prefect flow, for those who start it from the UI."""

from datetime import datetime
from pathlib import Path

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from flows.clock import utc_now
from flows.history import run_backfill
from flows.hourly import GateBlocked
from flows.report import as_markdown
from flows.tasks import as_task
from tutorflow.hours import Tick
from tutorflow.settings import load_settings


@flow(name="tutorflow-backfill")
def backfill(
    home: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    every: Tick = "day",
) -> str:
    """Decide the ticks of the past, oldest first; run again to continue. How it ended."""
    logger = get_run_logger()
    report = run_backfill(
        load_settings(Path(home) if home else None),
        start,
        end,
        every,
        utc_now(),
        call=as_task,
        on_wait=lambda who: logger.info("waiting for another run (%s)", who),
        on_progress=lambda done, total, at: logger.info(
            "%s of %s ticks, up to %s", done, total, at
        ),
    )
    create_markdown_artifact(
        markdown=as_markdown(report), key="tutorflow-backfill", description="What this run did"
    )
    if report.state == "blocked":
        raise GateBlocked(report.message or "blocked")
    return report.state
