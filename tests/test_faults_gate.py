"""What blocks a publish, and what lets it go on: the gate, and a model that cannot be built."""

import json
from datetime import datetime, timedelta

import duckdb
from conftest import World
from processes import Ended, Point, tutorflow
from test_faults_stores import unchanged

from tutorflow.publish import last_committed_tick, read_status, read_table

HOUR = timedelta(hours=1)
REFUSED = "landed_events.most_rows_landed"


def deliver(world: World, at: datetime, readable: int, unreadable: int) -> None:
    """The file of the hour that ends at `at`: so many rows, and so many without a proper time."""
    rows = [
        f"{at:%dT%H}-{n},quiz-{n % 5},response_submitted,{time},fractions-{n},true"
        for n, time in enumerate(
            [f"{at - HOUR:%Y-%m-%dT%H}:00:{n:02}Z" for n in range(readable)]
            + ["yesterday evening"] * unreadable
        )
    ]
    header = "source_event_id,user_id,event_type,occurred_at,item_id,is_correct"
    path = world.settings.home / "events" / f"events-{at:%Y-%m-%dT%H}.csv"
    path.write_text("\n".join([header, *rows, ""]))


def assert_blocked(ended: Ended, world: World, check: str) -> None:
    assert ended.exit_code == 3
    assert check in ended.output
    assert f"--accept {check}" in ended.output
    assert "Traceback" not in ended.output
    status = read_status(world.settings, world.now)
    assert status.runs.iloc[0]["state"] == "blocked"
    assert check in status.runs.iloc[0]["message"]
    failing = status.failing_checks.set_index("check_id").loc[check]
    assert failing["failed_count"] > 0
    assert json.loads(failing["failed_rows"])


def test_an_hour_of_unreadable_rows_is_held_back_until_it_is_sent_again(world: World) -> None:
    at = world.now + HOUR
    deliver(world, at, readable=10, unreadable=20)
    with unchanged(world.settings):
        assert_blocked(tutorflow(world.settings, "run", now=at), world, REFUSED)

    deliver(world, at, readable=30, unreadable=0)
    assert tutorflow(world.settings, "run", now=at + HOUR).exit_code == 0
    ticks = read_table(world.settings, "tick_log")["as_of"]
    assert list(ticks[-2:]) == [(at + n * HOUR).replace(tzinfo=None) for n in (0, 1)]
    with duckdb.connect(world.settings.warehouse_path, read_only=True) as warehouse:
        landed = warehouse.execute(
            "select count(*) from marts.events where item_id like 'fractions-%'"
            " and occurred_at >= ?",
            [world.now.replace(tzinfo=None)],
        ).fetchone()
    assert landed == (30,)


def test_a_person_may_accept_a_check_once(world: World) -> None:
    first, second = world.now + HOUR, world.now + 2 * HOUR
    deliver(world, first, readable=10, unreadable=20)
    accepting = ("--accept", REFUSED, "--reason", "the vendor knows and sends it again")
    accepted = tutorflow(world.settings, "run", *accepting, now=first)
    assert accepted.exit_code == 0, accepted
    assert last_committed_tick(world.settings) == first
    result = read_table(world.settings, "gate_results", {"check_id": REFUSED}).iloc[-1]
    assert not result["is_success"]
    assert "the vendor knows" in result["message"]

    deliver(world, second, readable=10, unreadable=20)
    assert_blocked(tutorflow(world.settings, "run", now=second), world, REFUSED)
    assert last_committed_tick(world.settings) == first


def test_a_corrupt_mart_is_not_published_and_a_rebuild_puts_it_right(world: World) -> None:
    at = world.now + 20 * HOUR
    world.arrive(at)
    killed = Point("after", "flows.steps:build_marts")
    assert tutorflow(world.settings, "run", now=at, kill_at=killed).is_killed
    with duckdb.connect(world.settings.warehouse_path) as warehouse:
        warehouse.execute(
            "update marts.responses set p_mastery_after = 1.7 where responded_at >= ?",
            [world.now.replace(tzinfo=None)],
        )
    check = "marts.probabilities_in_range"
    with unchanged(world.settings):
        assert_blocked(tutorflow(world.settings, "run", now=at), world, check)
    mended = tutorflow(world.settings, "run", "--full-refresh", now=at)
    assert mended.exit_code == 0, mended
    assert last_committed_tick(world.settings) == at


def test_a_model_that_fails_is_named_and_nothing_is_published(world: World) -> None:
    at = world.now + 20 * HOUR
    world.arrive(at)
    with duckdb.connect(world.settings.warehouse_path) as warehouse:
        warehouse.execute("alter table marts.responses drop column hints_in_module")
    with unchanged(world.settings):
        ended = tutorflow(world.settings, "run", now=at)
    assert ended.exit_code == 2
    assert "model responses failed" in ended.output
    assert "Traceback" not in ended.output
    assert read_status(world.settings, at).runs.iloc[0]["state"] == "failed"
    assert tutorflow(world.settings, "run", "--full-refresh", now=at).exit_code == 0
    assert last_committed_tick(world.settings) == at
