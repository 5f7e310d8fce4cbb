"""The data tests over the whole marts as a Prefect flow: what is too long for every hour."""

from pathlib import Path

from prefect import flow

from flows.clock import utc_now
from flows.hour import WAIT_SECONDS
from flows.lock import run_lock
from flows.tasks import check_marts
from tutorflow.errors import TutorflowError
from tutorflow.settings import load_settings


class MartsDoubtful(TutorflowError):
    """Data tests of the marts do not hold; the message names them."""


@flow(name="tutorflow-nightly", timeout_seconds=3500)
def nightly(home: str | None = None) -> None:
    """Check the marts in `home`. Raises MartsDoubtful, so that the run shows as failed."""
    settings = load_settings(Path(home) if home else None)
    with run_lock(settings.lock_path, utc_now(), WAIT_SECONDS):
        faults = check_marts(settings)
    if faults:
        raise MartsDoubtful("; ".join(faults))
