"""Build the marts: dbt, in this process, for the learners that new deliveries touch.

dbt is imported only when there is something to build: importing and parsing it costs more than a
quiet hour. (No module may be called `dbt_...`: dbt imports such top-level modules as plugins.)
"""

import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutorflow import warehouse
from tutorflow.errors import TutorflowError
from tutorflow.pull.catalog import read_deliveries

if TYPE_CHECKING:
    from tutorflow.settings import Settings


class BuildFailed(TutorflowError):
    """dbt could not build a model; the message names it. The next run starts from the same rows."""


@dataclass(frozen=True)
class BuildReport:
    """What one build did. `models` holds the seconds each dbt node took, in order of execution."""

    is_skipped: bool
    is_full_refresh: bool
    reason: str
    pending_deliveries: int
    seconds: float
    models: Mapping[str, float] = field(default_factory=dict)


def project_dir() -> Path:
    """The dbt project: beside the packages in the source tree, inside `tutorflow` in a wheel.

    Raises TutorflowError when neither is there.
    """
    packages = Path(__file__).resolve().parent.parent
    for candidate in (packages / "dbt_project", packages / "tutorflow" / "dbt_project"):
        if (candidate / "dbt_project.yml").is_file():
            return candidate
    raise TutorflowError(
        f"The dbt project is missing beside {packages}. The installation is incomplete: install "
        "tutorflow again."
    )


def build_marts(settings: "Settings", full_refresh: bool = False) -> BuildReport:
    """Bring the marts up to date with the landing.

    Rebuilds the learners with new rows; everything, when asked to, when the marts are missing, or
    when a measurement seed, a model or the programme's time zone changed since they were built;
    nothing, when nothing landed. Raises BuildFailed naming the failing model.
    """
    started = time.perf_counter()
    wanted = _fingerprint(settings.timezone)
    reason = _reason_for_full_refresh(settings, wanted, full_refresh)
    warehouse.register_landing(settings, all_deliveries=reason is not None)
    pending, is_work = _work_waiting(settings)
    if reason is None and not is_work:
        if pending:  # deliveries of hours in which nothing happened
            warehouse.finish_build(settings)
        elapsed = time.perf_counter() - started
        return BuildReport(True, False, "nothing new landed", pending, elapsed)

    if reason is None:
        # The views of staging are what the last full refresh made them: they hold no rows.
        models = _invoke(settings, ["run", "--exclude", "staging"])
    else:
        # Forgotten first: a rebuild that is killed half-way must be begun again, not continued.
        _remember(settings, None)
        models = _invoke(
            settings,
            ["build", "--full-refresh", "--resource-type", "seed", "--resource-type", "model"],
        )
    warehouse.finish_build(settings)
    _remember(settings, wanted)
    return BuildReport(
        False,
        reason is not None,
        reason or f"{pending} new deliveries",
        pending,
        time.perf_counter() - started,
        models,
    )


def check_marts(settings: "Settings") -> list[str]:
    """Run the whole-table data tests of the dbt project; what does not hold, one line each.

    They are passes over the whole history, so they run after a full rebuild and nightly.
    """
    outcome = _run(settings, ["test", "--exclude-resource-type", "unit_test"])
    if outcome.result is None:
        raise BuildFailed(_explain(outcome, settings.home / "dbt"))
    return [
        f"{one.node.name}: {' '.join(str(one.message).split())}"
        for one in outcome.result.results
        if one.status in ("fail", "error")
    ]


# --- when everything must be built again ---------------------------------------------------------


def _fingerprint(timezone: str) -> str:
    """Identifies what the rows of the marts depend on besides the events."""
    digest = hashlib.sha256(timezone.encode())
    project = project_dir()
    for folder, pattern in (("models", "*.sql"), ("macros", "*.sql"), ("seeds", "*.csv")):
        for path in sorted((project / folder).rglob(pattern)):
            digest.update(path.relative_to(project).as_posix().encode() + b"\0")
            digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


def _reason_for_full_refresh(settings: "Settings", wanted: str, asked: bool) -> str | None:
    if asked:
        return "asked for"
    if not settings.warehouse_path.exists():
        return "no warehouse yet"
    with warehouse.open_warehouse(settings) as connection:
        _create_fingerprint_table(connection)
        row = connection.execute("select fingerprint from operations.marts_built").fetchone()
    if row is None or row[0] is None:
        return "the marts were never built to the end"
    if row[0] != wanted:
        return "a model, a measurement seed or the programme's time zone changed"
    return None


def _remember(settings: "Settings", fingerprint: str | None) -> None:
    """One more build; `fingerprint` says of what, None that it is not finished."""
    with warehouse.open_warehouse(settings) as connection:
        _create_fingerprint_table(connection)
        connection.execute(
            "update operations.marts_built set fingerprint = ?, builds = builds + 1", [fingerprint]
        )


def _create_fingerprint_table(connection: Any) -> None:
    connection.execute("create schema if not exists operations")
    connection.execute(
        "create table if not exists operations.marts_built as"
        " select null::text as fingerprint, 0::bigint as builds"
    )


def _work_waiting(settings: "Settings") -> tuple[int, bool]:
    """Pending deliveries, and whether they, or a run that was killed, leave something to build.

    A delivery without rows changes nothing, unless it takes the place of one that had some.
    """
    with warehouse.open_warehouse(settings) as connection:
        pending = {
            delivery_id
            for (delivery_id,) in connection.execute(
                "select delivery_id from landing.deliveries where state = 'pending'"
            ).fetchall()
        }
        touched = connection.execute("select 1 from landing.touched_learners limit 1").fetchone()
    is_news = any(
        delivery.delivery_id in pending and (delivery.rows or delivery.replaces)
        for delivery in read_deliveries(settings.catalog_path)
    )
    return len(pending), is_news or touched is not None


# --- dbt ------------------------------------------------------------------------------------------


# Parsed projects of this process: parsing takes seconds. By project, database name and time zone;
# nothing else of the settings gets into what is parsed.
_MANIFESTS: dict[tuple[str, str, str], Any] = {}


def _invoke(settings: "Settings", arguments: list[str]) -> dict[str, float]:
    """Run one dbt command that must succeed; seconds per node."""
    outcome = _run(settings, arguments)
    if not outcome.success:
        raise BuildFailed(_explain(outcome, settings.home / "dbt"))
    return {r.node.name: float(r.execution_time) for r in outcome.result.results}


def _run(settings: "Settings", arguments: list[str]) -> Any:
    """Run one dbt command; its `dbtRunnerResult`."""
    from dbt.cli.main import dbtRunner

    home = settings.home / "dbt"
    project = str(project_dir())
    options = [
        *("--project-dir", project, "--profiles-dir", project),
        *("--target-path", str(home / "target"), "--log-path", str(home / "logs")),
        *("--quiet", "--no-print", "--no-use-colors", "--log-level", "none"),
        *("--log-level-file", "info", "--no-version-check", "--no-write-json"),
        "--no-send-anonymous-usage-stats",
    ]
    key = (project, settings.warehouse_path.stem, settings.timezone)
    with _environment(settings), _connection_closed_after():
        runner = dbtRunner(manifest=_MANIFESTS.get(key))
        if runner.manifest is None:
            parsed = runner.invoke(["parse", *options])
            if not parsed.success:
                raise BuildFailed(_explain(parsed, home))
            runner.manifest = _MANIFESTS[key] = parsed.result
        return runner.invoke([*arguments, *options])


@contextmanager
def _connection_closed_after() -> Iterator[None]:
    """dbt may keep its connection for the whole command, not for the whole process."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    try:
        yield
    finally:
        DuckDBConnectionManager.close_all_connections()


@contextmanager
def _environment(settings: "Settings") -> Iterator[None]:
    """What profiles.yml and the macros read, set for the duration of one command."""
    wanted = {
        "TUTORFLOW_WAREHOUSE": str(settings.warehouse_path),
        "TUTORFLOW_TIMEZONE": settings.timezone,
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _explain(outcome: Any, home: Path) -> str:
    """One message for whatever went wrong: the node, what the engine said, where the log is."""
    log = f"The log is {home / 'logs' / 'dbt.log'}."
    results = getattr(outcome.result, "results", None) or []
    failures = [r for r in results if str(r.status) in ("error", "fail", "runtime error")]
    if failures:
        first = failures[0]
        said = " ".join(str(first.message or "").split())
        more = f" ({len(failures) - 1} more failed.)" if len(failures) > 1 else ""
        return (
            f"The marts were not built: {first.node.resource_type} {first.node.name} failed: "
            f"{said}{more} What readers see is unchanged. {log}"
        )
    said = " ".join(str(outcome.exception or "dbt gave no reason").split())
    return f"The marts were not built: {said}. What readers see is unchanged. {log}"
