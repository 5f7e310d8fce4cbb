"""Somebody else is at work: another run, a reader, or a process that holds a file."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from conftest import World
from processes import Point, start, tutorflow
from published import published

from tutorflow.publish import last_committed_tick, read_status, read_table
from tutorflow.settings import Settings

HOUR = timedelta(hours=1)

HOLD = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


class Holder:
    """A process with the warehouse open, as an analyst would have it."""

    def __init__(self, settings: Settings) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(settings.warehouse_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "held\n"
        self.pid = self._process.pid

    def leave(self) -> None:
        self._process.communicate()
        assert self._process.returncode == 0


@contextmanager
def unchanged(settings: Settings) -> Iterator[None]:
    """Readers see the same before and after."""
    before = published(settings)
    yield
    for name, frame in published(settings).items():
        assert frame.equals(before[name]), name


def state_of_last_run(world: World) -> tuple[str, str]:
    latest = read_status(world.settings, world.now).runs.iloc[0]
    return latest["state"], latest["message"]


# --- two runs -------------------------------------------------------------------------------------


def test_a_second_run_waits_for_the_first_or_leaves_naming_it(world: World) -> None:
    at = world.now + HOUR
    first = start(world.settings, "run", now=at, hold_at=Point("before", "flows.steps:decide"))
    first.wait_until_there()

    hasty = tutorflow(world.settings, "run", "--wait", "0", now=at)
    assert hasty.exit_code == 2
    assert f"pid {first.pid}, since 2026-01-22 01:00:00 UTC" in hasty.output
    assert "--wait" in hasty.output

    patient = start(world.settings, "run", now=at, hold_at=Point("before", "flows.cli:_tell_wait"))
    patient.wait_until_there()
    patient.let_go()
    first.let_go()
    assert "Published 1 tick" in first.wait().output
    ended = patient.wait()
    assert ended.exit_code == 0
    assert f"Waiting for another run (pid {first.pid}" in ended.output
    assert "Nothing to decide" in ended.output
    assert last_committed_tick(world.settings) == at


# --- the serving database -------------------------------------------------------------------------


def test_a_reader_keeps_its_view_while_a_run_publishes(world: World) -> None:
    at = world.now + 20 * HOUR
    world.arrive(at)
    query = (
        "select (select max(as_of) from tick_log), (select count(*) from signals),"
        " (select group_concat(alert_id || last_signal_at) from alerts)"
    )
    with sqlite3.connect(world.settings.home / "serving.sqlite", isolation_level=None) as reader:
        reader.execute("begin")
        before = reader.execute(query).fetchone()
        assert tutorflow(world.settings, "run", now=at).exit_code == 0
        assert reader.execute(query).fetchone() == before
        reader.execute("commit")
        after = reader.execute(query).fetchone()
    reader.close()
    assert all(new != old for new, old in zip(after, before, strict=True))


def test_a_run_that_may_not_write_names_who_keeps_it_from_writing(world: World) -> None:
    writer = sqlite3.connect(world.settings.home / "serving.sqlite", isolation_level=None)
    writer.execute("begin immediate")
    running = start(
        world.settings,
        "run",
        now=world.now + HOUR,
        seconds={"tutorflow.publish.publisher:writing": 0.5},
    )
    ended = running.wait()
    writer.close()
    assert ended.exit_code == 2
    assert "is locked" in ended.output
    assert f"(pid {os.getpid()})" in ended.output
    assert "Traceback" not in ended.output


# --- the warehouse --------------------------------------------------------------------------------


def test_a_run_waits_for_whoever_holds_the_warehouse(world: World) -> None:
    analyst = Holder(world.settings)
    running = start(
        world.settings,
        "run",
        now=world.now + HOUR,
        hold_at=Point("before", "tutorflow.warehouse:time.sleep"),
    )
    running.wait_until_there()
    analyst.leave()
    running.let_go()
    assert running.wait().exit_code == 0
    assert last_committed_tick(world.settings) == world.now + HOUR


def test_a_run_that_waited_too_long_names_the_holder_and_the_next_catches_up(world: World) -> None:
    world.arrive(world.now + 20 * HOUR)
    analyst = Holder(world.settings)
    with unchanged(world.settings):
        running = start(
            world.settings,
            "run",
            now=world.now + 19 * HOUR,
            seconds={"tutorflow.warehouse:_connect_in_turn": 0.5},
        )
        ended = running.wait()
    assert ended.exit_code == 2
    assert f"process {analyst.pid}" in ended.output
    assert "Traceback" not in ended.output
    state, message = state_of_last_run(world)
    assert state == "failed"
    assert f"process {analyst.pid}" in message

    analyst.leave()
    assert tutorflow(world.settings, "run", now=world.now + 20 * HOUR).exit_code == 0
    ticks = read_table(world.settings, "tick_log")["as_of"]
    naive = world.now.replace(tzinfo=None)
    assert list(ticks[ticks > naive]) == [naive + n * HOUR for n in range(1, 21)]


def test_a_warehouse_taken_while_dbt_works_is_a_message_too(world: World) -> None:
    at = world.now + 20 * HOUR
    world.arrive(at)
    running = start(world.settings, "run", now=at, hold_at=Point("before", "flows.marts:_invoke"))
    running.wait_until_there()
    analyst = Holder(world.settings)
    running.let_go()
    with unchanged(world.settings):
        ended = running.wait()
        analyst.leave()
    assert ended.exit_code == 2
    assert f"PID {analyst.pid}" in ended.output
    assert "Traceback" not in ended.output
