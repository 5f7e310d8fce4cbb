"""What the runs did, how old the published tables are, and which checks fail."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd
import sqlalchemy as sa

from tutorflow.publish import contract
from tutorflow.publish.database import exists, reading
from tutorflow.publish.publisher import last_tick
from tutorflow.publish.tables import select_rows
from tutorflow.settings import Settings


@dataclass(frozen=True)
class Status:
    """The state of the pipeline as readers of the serving database see it.

    Attributes:
        published_as_of: the hour readers see, aware UTC; None before the first publish.
        age: how long ago that hour ended; None before the first publish.
        runs: `run_status`, the latest run first.
        failing_checks: `gate_results` that do not hold, of the latest run that reached the gate,
            critical ones first; `failed_rows` is JSON.
    """

    published_as_of: datetime | None
    age: timedelta | None
    runs: pd.DataFrame
    failing_checks: pd.DataFrame


def read_status(settings: Settings, now: datetime, run_count: int = 5) -> Status:
    """The status at `now`, with the latest `run_count` runs, all of one instant.

    Raises ServingError when the database is out of reach.
    """
    runs = contract.table("run_status").empty_frame()
    failing = contract.table("gate_results").empty_frame()
    as_of = None
    if exists(settings):
        with reading(settings) as connection:
            runs = _latest_runs(connection, run_count)
            failing = _failing_checks(connection)
            as_of = last_tick(connection)
    return Status(as_of, None if as_of is None else now - as_of, runs, failing)


def _latest_runs(connection: sa.Connection, count: int) -> pd.DataFrame:
    run = contract.metadata().tables["run_status"].c
    latest = sa.select(run.run_id).order_by(run.started_at.desc(), run.run_id).limit(count)
    rows = select_rows(connection, "run_status", lambda table: table.c.run_id.in_(latest))
    return rows.sort_values(["started_at", "run_id"], ascending=False, ignore_index=True)


def _failing_checks(connection: sa.Connection) -> pd.DataFrame:
    run = contract.metadata().tables["run_status"].c
    result = contract.metadata().tables["gate_results"].c
    gated = (
        sa.select(run.run_id)
        .where(sa.exists().where(result.run_id == run.run_id))
        .order_by(run.started_at.desc(), run.run_id)
        .limit(1)
        .scalar_subquery()
    )
    rows = select_rows(
        connection,
        "gate_results",
        lambda table: (table.c.run_id == gated) & ~table.c.is_success,
    )
    return rows.sort_values(["severity", "suite", "check_id"], ignore_index=True)
