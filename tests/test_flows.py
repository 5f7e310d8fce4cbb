"""The hour end to end on the tiny world: plain, through Prefect, blocked, failed, killed."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import duckdb
import pytest
from conftest import World

from flows import marts, steps
from flows.history import run_backfill
from flows.hour import plain, run_hour
from flows.lock import RunLocked, run_lock
from flows.marts import BuildFailed, build_marts, project_dir
from flows.snapshots import current_snapshot, take_snapshot
from flows.status_page import status_page
from tutorflow import publish
from tutorflow.errors import TutorflowError
from tutorflow.publish import CheckResult, Verdict, last_committed_tick, read_status

HOUR = timedelta(hours=1)


def instead_of(step: Callable[..., Any], act: Callable[..., Any]) -> Callable[..., Any]:
    """A caller that runs every step as it is, except one."""

    def call(wanted: Callable[..., Any], *arguments: Any) -> Any:
        return act(*arguments) if wanted is step else plain(wanted, *arguments)

    return call


def refuse(*_: Any) -> Verdict:
    found = CheckResult("candidates", "candidates.made_up", "critical", False, 3, "3 rows are odd")
    return Verdict([found])


def break_down(*_: Any) -> None:
    raise TutorflowError("the engine stalled; wind it up")


# --- one hour -------------------------------------------------------------------------------------


def test_an_hour_is_published_and_recorded(world: World) -> None:
    at = world.now + 9 * HOUR
    world.arrive(at)
    report = run_hour(world.settings, None, at)
    assert report.state == "published"
    assert report.ticks == [world.now + n * HOUR for n in range(1, 10)]
    assert report.build is not None and not report.build.is_full_refresh
    assert last_committed_tick(world.settings) == at
    latest = read_status(world.settings, at).runs.iloc[0]
    assert (latest["state"], latest["tick_count"]) == ("published", 9)


def test_an_hour_without_news_does_not_start_dbt(world: World) -> None:
    report = run_hour(world.settings, None, world.now + HOUR)
    assert report.build is not None and report.build.is_skipped
    assert report.state == "published"


def test_a_tick_that_has_not_come_is_refused(world: World) -> None:
    with pytest.raises(TutorflowError, match="has not come yet"):
        run_hour(world.settings, world.now + HOUR, world.now)


def test_a_dry_run_changes_nothing_that_readers_see(world: World) -> None:
    before = read_status(world.settings, world.now)
    report = run_hour(world.settings, None, world.now + HOUR, is_dry=True)
    assert report.ticks == [world.now + HOUR]
    after = read_status(world.settings, world.now)
    assert after.published_as_of == before.published_as_of
    assert after.runs.equals(before.runs)


# --- what can go wrong ----------------------------------------------------------------------------


def test_a_blocked_hour_is_not_committed_and_is_decided_again(world: World) -> None:
    at = world.now + HOUR
    report = run_hour(world.settings, None, at, call=instead_of(steps.check, refuse))
    assert report.is_blocked
    assert "candidates.made_up" in (report.message or "")
    assert last_committed_tick(world.settings) == world.now
    status = read_status(world.settings, at)
    assert status.runs.iloc[0]["state"] == "blocked"
    assert list(status.failing_checks["check_id"]) == ["candidates.made_up"]
    again = run_hour(world.settings, None, at + HOUR)
    assert again.ticks == [at, at + HOUR]


def test_a_person_can_accept_a_failing_check_once(world: World) -> None:
    accepted = {"candidates.made_up": "known and harmless"}

    def refuse_but_accept(*_: Any) -> Verdict:
        return Verdict(refuse().results, accepted=accepted)

    at = world.now + HOUR
    call = instead_of(steps.check, refuse_but_accept)
    assert run_hour(world.settings, None, at, call=call, accepted=accepted).state == "published"
    kept = publish.read_table(world.settings, "gate_results", {"check_id": "candidates.made_up"})
    assert "known and harmless" in kept["message"].iloc[0]


def test_a_failed_step_is_recorded_and_the_next_run_catches_up(world: World) -> None:
    at = world.now + HOUR
    with pytest.raises(TutorflowError, match="wind it up"):
        run_hour(world.settings, None, at, call=instead_of(steps.decide, break_down))
    latest = read_status(world.settings, at).runs.iloc[0]
    assert latest["state"] == "failed"
    assert "wind it up" in latest["message"]
    assert run_hour(world.settings, None, at).ticks == [at]


KILLED_WHEN_PUBLISHING = """
import os, sys
from datetime import datetime
from pathlib import Path
from flows import steps
from flows.hour import plain, run_hour
from tutorflow.settings import load_settings

def call(step, *arguments):
    if step is steps.publish:
        os._exit(137)
    return plain(step, *arguments)

run_hour(load_settings(Path(sys.argv[1])), None, datetime.fromisoformat(sys.argv[2]), call=call)
"""


def test_a_killed_run_shows_as_killed_and_the_next_run_catches_up(world: World) -> None:
    from rich.console import Console

    at = world.now + HOUR
    command = [sys.executable, "-c", KILLED_WHEN_PUBLISHING, str(world.settings.home)]
    root = Path(__file__).resolve().parent.parent
    killed = subprocess.run([*command, at.isoformat()], cwd=root, check=False)
    assert killed.returncode == 137
    console = Console(width=120, record=True, file=StringIO())
    console.print(status_page(world.settings, at))
    assert "killed" in console.export_text()
    assert run_hour(world.settings, None, at).ticks == [at]


def test_a_second_run_is_told_who_works(world: World) -> None:
    with (
        run_lock(world.settings.lock_path, world.now, wait_seconds=0),
        pytest.raises(RunLocked, match=f"pid {os.getpid()}"),
    ):
        run_hour(world.settings, None, world.now + HOUR, wait_seconds=0)


# --- marts ----------------------------------------------------------------------------------------


def test_another_time_zone_rebuilds_everything(world: World) -> None:
    settings = world.settings.model_copy(update={"timezone": "Asia/Tokyo"})
    report = build_marts(settings)
    assert report.is_full_refresh
    assert "time zone" in report.reason


def test_a_model_that_fails_is_named_in_one_message(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "dbt_project"
    shutil.copytree(project_dir(), broken, ignore=shutil.ignore_patterns("target", "logs"))
    model = next((broken / "models" / "staging").rglob("*.sql"))
    model.write_text("select no_such_column from (select 1 as one) as nothing")
    monkeypatch.setattr(marts, "project_dir", lambda: broken)
    with pytest.raises(BuildFailed, match=rf"{model.stem} failed: .*no_such_column"):
        build_marts(world.settings)
    monkeypatch.undo()
    assert build_marts(world.settings).is_full_refresh


# --- backfill and snapshot ------------------------------------------------------------------------


def test_a_backfill_continues_where_it_stopped(world: World) -> None:
    seen: list[int] = []

    def stop_after_the_first(done: int, total: int, at: object) -> None:
        seen.append(total)
        raise KeyboardInterrupt

    end = world.now + 4 * HOUR
    with pytest.raises(KeyboardInterrupt):
        run_backfill(
            world.settings,
            None,
            end,
            "hour",
            end,
            batch_ticks=2,
            on_progress=stop_after_the_first,
        )
    report = run_backfill(world.settings, None, end, "hour", end)
    assert seen == [4]
    assert report.ticks == [world.now + 3 * HOUR, world.now + 4 * HOUR]


def test_analysts_read_the_snapshot_while_the_warehouse_is_open(world: World) -> None:
    folder = current_snapshot(world.settings)
    assert folder is not None
    with duckdb.connect(world.settings.warehouse_path) as writer:
        (held,) = writer.execute("select count(*) from marts.events").fetchone() or (None,)
        (seen,) = duckdb.sql(f"select count(*) from '{folder}/events.parquet'").fetchone() or (0,)
    assert seen == held > 0


def test_the_last_two_snapshots_are_kept_and_swapped_whole(world: World) -> None:
    for days in (1, 2):
        take_snapshot(world.settings, world.now + timedelta(days=days), force=True)
    folder = world.settings.snapshot_path
    kept = sorted(path.name for path in folder.iterdir() if not path.is_symlink())
    assert kept == ["2026-01-23T0000Z", "2026-01-24T0000Z"]
    assert (folder / "current").resolve().name == kept[-1]


# --- Prefect --------------------------------------------------------------------------------------


def test_the_hour_runs_through_prefect(world: World, prefect_server: None) -> None:
    from prefect.artifacts import Artifact

    from flows.hourly import hourly

    at = world.now + 2 * HOUR
    world.arrive(at)
    assert hourly(home=str(world.settings.home), as_of=at) == "published"
    assert last_committed_tick(world.settings) == at
    artifact = Artifact.get("tutorflow-hour")
    assert artifact is not None
    for heading in ("# published", "## Sources", "## Gate", "## Durations"):
        assert heading in str(artifact.data)  # type: ignore[union-attr]


def test_the_deployment_runs_hourly_and_one_at_a_time(world: World) -> None:
    from flows.deploy import hourly_deployment

    deployment = hourly_deployment(world.settings, minute=5)
    (schedule,) = deployment.schedules or []
    assert schedule.schedule.cron == "5 * * * *"  # type: ignore[union-attr]
    assert deployment.concurrency_limit == 1
    options = deployment.concurrency_options
    assert options is not None and options.collision_strategy == "ENQUEUE"
    assert deployment.parameters == {"home": str(world.settings.home)}
