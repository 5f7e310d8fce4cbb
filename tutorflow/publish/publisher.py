"""The one transaction that makes a run's decisions visible, and the record of every run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

import pandas as pd
import sqlalchemy as sa

from tutorflow.hours import to_aware_utc, to_naive_utc
from tutorflow.publish import contract, tables
from tutorflow.publish.candidates import Candidates
from tutorflow.publish.database import ServingError, exists, reading, writing
from tutorflow.publish.verdict import CheckResult, Verdict
from tutorflow.settings import Settings

State = Literal["running", "published", "blocked", "failed", "nothing_to_do"]


@dataclass(frozen=True)
class Run:
    """One run of the pipeline, as `run_status` shows it.

    Attributes:
        run_id: unique.
        state: how it ended, `running` while it has not.
        started_at, finished_at: wall clock, aware UTC.
        as_of: last tick it decided.
        published_as_of: tick that readers see after it; None takes over what is committed.
        tick_count: ticks it decided.
        counts: counts of what it did.
        durations: seconds per step.
        message: what went wrong and what to do.
    """

    run_id: str
    state: State
    started_at: datetime
    finished_at: datetime | None = None
    as_of: datetime | None = None
    published_as_of: datetime | None = None
    tick_count: int = 0
    counts: Mapping[str, Any] = field(default_factory=dict)
    durations: Mapping[str, float] = field(default_factory=dict)
    message: str | None = None


def publish(
    settings: Settings, candidates: Candidates, verdict: Verdict, run: Run
) -> dict[str, int]:
    """Make the candidates visible in one transaction; returns rows written per table.

    With them are committed their ticks, the verdict's results and the run as `published`, so a
    process that dies right after leaves a true record. Publishing the same candidates again
    changes nothing. Raises ContractError when a table does not fit, ServingError when the verdict
    blocks, a later tick is committed already, or the database cannot be used.
    """
    if verdict.blocked:
        checks = ", ".join(result.check_id for result in verdict.blocking)
        raise ServingError(f"not published, the gate blocks: {checks}")
    for name, frame in candidates.tables.items():
        contract.check_fit(name, frame)
    _check_ticks(candidates)
    with writing(settings) as connection:
        committed = last_tick(connection)
        if committed is not None and committed > candidates.as_of:
            raise ServingError(
                f"not published: {candidates.as_of:%Y-%m-%d %H:%M} is older than what readers see "
                f"({committed:%Y-%m-%d %H:%M}). Another run was faster; run again from there."
            )
        written = {
            name: _write(connection, name, frame) for name, frame in candidates.tables.items()
        }
        tables.upsert(connection, "mart_counts", _mart_counts(verdict, candidates.as_of))
        _write_run(
            connection,
            replace(
                run,
                state="published",
                as_of=candidates.as_of,
                published_as_of=candidates.as_of,
                tick_count=len(candidates.ticks),
            ),
            verdict,
        )
    return written


def record_run(settings: Settings, run: Run, verdict: Verdict | None = None) -> None:
    """Insert or update the run's row in `run_status`, and its gate results if there are any.

    Raises ServingError when the database cannot be used.
    """
    with writing(settings) as connection:
        _write_run(connection, run, verdict)


def last_committed_tick(settings: Settings) -> datetime | None:
    """The last tick that readers see, aware UTC; None before the first publish."""
    if not exists(settings):
        return None
    with reading(settings) as connection:
        return last_tick(connection)


def last_tick(connection: sa.Connection) -> datetime | None:
    """As `last_committed_tick`, in a transaction that is already open."""
    if not sa.inspect(connection).has_table("tick_log"):
        return None
    column = contract.metadata().tables["tick_log"].c.as_of
    latest: datetime | None = connection.scalar(sa.select(sa.func.max(column)))
    return None if latest is None else to_aware_utc(latest)


def forget_mart_counts(settings: Settings) -> None:
    """Forget how many rows the marts had, so that the gate accepts fewer once.

    For deletions that are meant: an erasure, a retention run, a full rebuild of changed sources.
    """
    with writing(settings) as connection:
        tables.replace(connection, "mart_counts", contract.table("mart_counts").empty_frame())


def _check_ticks(candidates: Candidates) -> None:
    logged = {to_aware_utc(at) for at in candidates.rows("tick_log")["as_of"]}
    ticks = {to_aware_utc(at) for at in candidates.ticks}
    if logged != ticks or not ticks or max(ticks) != to_aware_utc(candidates.as_of):
        raise contract.ContractError(
            f"tick_log has {len(logged)} rows for {len(ticks)} decided ticks up to "
            f"{candidates.as_of}: every tick needs its row, and as_of is the last of them"
        )


def _write(connection: sa.Connection, name: str, frame: pd.DataFrame) -> int:
    if contract.table(name).publish == "replace":
        return tables.replace(connection, name, frame)
    return tables.upsert(connection, name, frame)


def _mart_counts(verdict: Verdict, as_of: datetime) -> pd.DataFrame:
    counts = pd.Series(dict(verdict.mart_counts), dtype="int64")
    return pd.DataFrame(
        {"mart": counts.index.astype("str"), "row_count": counts.to_numpy()}
    ).assign(as_of=pd.Timestamp(to_naive_utc(as_of)).as_unit("us"))


def _write_run(connection: sa.Connection, run: Run, verdict: Verdict | None) -> None:
    if run.published_as_of is None:
        run = replace(run, published_as_of=last_tick(connection))
    row = {
        "run_id": run.run_id,
        "state": run.state,
        "as_of": _naive(run.as_of),
        "published_as_of": _naive(run.published_as_of),
        "started_at": _naive(run.started_at),
        "finished_at": _naive(run.finished_at),
        "tick_count": run.tick_count,
        "counts": _json(dict(run.counts)),
        "durations": _json(dict(run.durations)),
        "message": run.message,
    }
    _upsert_records(connection, "run_status", [row])
    if verdict is not None:
        _write_gate_results(connection, run.run_id, verdict)


def _write_gate_results(connection: sa.Connection, run_id: str, verdict: Verdict) -> None:
    """A run that commits several batches keeps the failure of an earlier one."""
    stored = tables.select_rows(connection, "gate_results", {"run_id": run_id, "is_success": False})
    failed_before = set(stored["check_id"])
    _upsert_records(
        connection,
        "gate_results",
        [
            _gate_row(run_id, verdict, result)
            for result in verdict.results
            if not (result.is_success and result.check_id in failed_before)
        ],
    )


def _gate_row(run_id: str, verdict: Verdict, result: CheckResult) -> dict[str, Any]:
    reason = verdict.accepted.get(result.check_id)
    accepted = f" Accepted: {reason}" if reason and not result.is_success else ""
    return {
        "run_id": run_id,
        "suite": result.suite,
        "check_id": result.check_id,
        "severity": result.severity,
        "is_success": result.is_success,
        "failed_count": result.failed_count,
        "message": result.message + accepted,
        "failed_rows": _json(list(result.failed_rows)),
    }


def _upsert_records(connection: sa.Connection, name: str, records: list[dict[str, Any]]) -> None:
    spec = contract.table(name)
    frame = pd.DataFrame(
        {
            column.name: pd.Series([record[column.name] for record in records], dtype=column.dtype)
            for column in spec.columns.values()
        }
    )
    contract.check_fit(name, frame)
    tables.upsert(connection, name, frame)


def _json(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)


def _naive(instant: datetime | None) -> datetime | None:
    return None if instant is None else to_naive_utc(instant)
