"""A run that is killed at any instant and started again ends as if it had not been killed."""

import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest
from conftest import TINY_NOW, World
from processes import Point, start_flow, tutorflow
from published import differences

from flows.snapshots import current_snapshot
from tutorflow.publish import last_committed_tick, read_table
from tutorflow.settings import Settings, load_settings

HOUR = timedelta(hours=1)
AT = TINY_NOW + 20 * HOUR  # the end of the hours that the run decides, one by one

MODEL = "dbt.task.run:ModelRunner.execute"
STATEMENT = "dbt.adapters.sql.connections:SQLConnectionManager.add_query"

In = Callable[[Path], World]


def run(world: World, kill_at: Point | None = None, hours: int = 0) -> None:
    """Run as cron would; killed at the point, or to a good end."""
    ended = tutorflow(
        world.settings, "run", now=AT + hours * HOUR, kill_at=kill_at, TUTORFLOW_SNAPSHOT="hour"
    )
    assert ended.is_killed if kill_at else ended.exit_code == 0, ended


@pytest.fixture(scope="module")
def here(tiny_home: Path) -> In:
    """Puts a copy of a home where all worlds lie."""

    def put(home: Path) -> World:
        at = tiny_home.with_name("home")
        shutil.rmtree(at, ignore_errors=True)
        shutil.copytree(home, at, symlinks=True)
        return World(load_settings(at), TINY_NOW)

    return put


@pytest.fixture(scope="module")
def undisturbed(tiny_home: Path, here: In) -> Iterator[dict[int, Settings]]:
    """Homes in which nothing was killed: after the run, and after another one an hour later."""
    world = here(tiny_home)
    world.arrive(AT)
    ends = {}
    for hours in (0, 1):
        run(world, hours=hours)
        kept = tiny_home.with_name(f"undisturbed-{hours}")
        shutil.copytree(world.settings.home, kept, symlinks=True)
        ends[hours] = load_settings(kept)
    yield ends
    shutil.rmtree(world.settings.home, ignore_errors=True)


@pytest.fixture(scope="module")
def built(tiny_home: Path, here: In, undisturbed: dict[int, Settings]) -> Path:
    """A home that was killed between building the marts and deciding."""
    world = here(tiny_home)
    world.arrive(AT)
    run(world, kill_at=Point("after", "flows.steps:build_marts"))
    return world.settings.home.rename(tiny_home.with_name("built"))


def marts_differ(one: Settings, other: Settings) -> list[str]:
    """The marts that do not hold the same rows in two homes, numbers to six decimals."""
    with duckdb.connect() as connection:
        for name, settings in (("one", one), ("other", other)):
            connection.execute(f"attach '{settings.warehouse_path}' as {name} (read_only)")
        columns = connection.execute(
            "select table_name,"
            " list(if(data_type = 'DOUBLE', format('round({}, 6)', column_name), column_name))"
            " from duckdb_columns() where schema_name = 'marts' and database_name = 'one'"
            # a view says nothing that its tables do not
            " and table_name in (select table_name from duckdb_tables())"
            " group by table_name"
        ).fetchall()
        return [
            mart
            for mart, names in columns
            for left, right in (("one", "other"), ("other", "one"))
            if connection.execute(
                f"select {', '.join(names)} from {left}.marts.{mart} except all"
                f" select {', '.join(names)} from {right}.marts.{mart} limit 1"
            ).fetchone()
        ]


def assert_as_if_undisturbed(world: World, undisturbed: Settings) -> None:
    assert differences(world.settings, undisturbed) == []
    assert marts_differ(world.settings, undisturbed) == []
    assert last_committed_tick(world.settings) == last_committed_tick(undisturbed)


def test_the_run_that_is_killed_below_has_something_to_lose(
    undisturbed: dict[int, Settings],
) -> None:
    signals = read_table(undisturbed[0], "signals")
    decided = signals[signals["recorded_at"] > TINY_NOW.replace(tzinfo=None)]
    assert set(decided["disposition"]) >= {"absorbed", "ai_loop"}


# --- in every step --------------------------------------------------------------------------------

# Each line is one home: its runs are killed one after the other, further on each time.
IN_PULL_AND_BUILD = {
    "pull": [
        Point("before", "flows.steps:pull"),
        Point("after", "tutorflow.pull.delivering:put_in_place"),
        Point("before", "tutorflow.pull.delivering:remember_file", nth=2),
        Point("after", "flows.steps:pull"),
        Point("after", "tutorflow.warehouse:register_landing"),
    ],
    "the transaction of events, and right after it": [
        Point("after", STATEMENT, r"(?s)insert into [^\n]*\"events\".*touched_learners"),
        Point("after", MODEL, "^events$"),
    ],
    "the transaction of a mart": [
        Point("after", STATEMENT, r"(?s)delete from [^\n]*\"responses\""),
    ],
    "between responses and what sums them up": [
        Point("before", MODEL, "^item_days$"),
    ],
    "after the last model, and while that is noted": [
        Point("before", "tutorflow.warehouse:finish_build"),
        Point("before", "flows.marts:_remember"),
    ],
}

IN_DECIDE_AND_LATER = {
    "decide and the gate": [
        Point("after", "tutorflow.decide.window:advance_alerts", nth=5),
        Point("before", "tutorflow.publish:Candidates.write"),
        Point("before", "flows.steps:check"),
        Point("after", "flows.steps:check"),
    ],
    "publish, before and inside the transaction": [
        Point("before", "tutorflow.publish:publish"),
        Point("after", "tutorflow.publish.tables:upsert", "^alerts$"),
        Point("after", "tutorflow.publish.publisher:_write_gate_results"),
    ],
}


@pytest.mark.parametrize("points", IN_PULL_AND_BUILD.values(), ids=IN_PULL_AND_BUILD.keys())
def test_killed_in_pull_or_build(
    points: list[Point], tiny_home: Path, here: In, undisturbed: dict[int, Settings]
) -> None:
    world = here(tiny_home)
    world.arrive(AT)
    for point in points:
        run(world, kill_at=point)
        assert last_committed_tick(world.settings) == TINY_NOW
    run(world)
    assert_as_if_undisturbed(world, undisturbed[0])
    assert left_behind(world.settings) == []


@pytest.mark.parametrize("points", IN_DECIDE_AND_LATER.values(), ids=IN_DECIDE_AND_LATER.keys())
def test_killed_before_the_commit(
    points: list[Point], built: Path, here: In, undisturbed: dict[int, Settings]
) -> None:
    world = here(built)
    for point in points:
        run(world, kill_at=point)
        assert last_committed_tick(world.settings) == TINY_NOW
    run(world)
    assert_as_if_undisturbed(world, undisturbed[0])


@pytest.mark.parametrize(
    "point",
    [
        Point("after", "tutorflow.publish:publish"),
        Point("before", "flows.snapshots:_point_at"),
    ],
    ids=str,
)
def test_killed_after_the_commit(
    point: Point, built: Path, here: In, undisturbed: dict[int, Settings]
) -> None:
    world = here(built)
    run(world, kill_at=point)
    assert differences(world.settings, undisturbed[0]) == []
    run(world, hours=1)
    assert_as_if_undisturbed(world, undisturbed[1])
    assert left_behind(world.settings) == []
    snapshot, expected = current_snapshot(world.settings), current_snapshot(undisturbed[1])
    assert snapshot is not None and expected is not None
    assert sorted(p.name for p in snapshot.iterdir()) == sorted(p.name for p in expected.iterdir())


def test_killed_in_the_prefect_flow(
    built: Path, here: In, undisturbed: dict[int, Settings], prefect_server: None
) -> None:
    world = here(built)
    in_publish = Point("after", "tutorflow.publish.tables:upsert", "^alerts$")
    assert start_flow(world.settings, now=AT, kill_at=in_publish).wait().is_killed
    assert last_committed_tick(world.settings) == TINY_NOW
    ended = start_flow(world.settings, now=AT).wait()
    assert (ended.exit_code, ended.output.split()[-1]) == (0, "published")
    assert_as_if_undisturbed(world, undisturbed[0])


def test_killed_between_the_batches_of_a_backfill(
    built: Path, here: In, undisturbed: dict[int, Settings]
) -> None:
    world = here(built)
    backfill = ("backfill", "--every", "hour", "--batch", "8")
    second_batch = Point("before", "flows.steps:decide", nth=2)
    assert tutorflow(world.settings, *backfill, now=AT, kill_at=second_batch).is_killed
    assert last_committed_tick(world.settings) == TINY_NOW + 8 * HOUR
    assert tutorflow(world.settings, *backfill, now=AT).exit_code == 0
    assert_as_if_undisturbed(world, undisturbed[0])


def test_a_damaged_warehouse_is_built_again_from_the_landing_although_killed(
    tiny_home: Path, here: In, undisturbed: dict[int, Settings]
) -> None:
    world = here(tiny_home)
    world.arrive(AT)
    world.settings.warehouse_path.write_bytes(b"no database")
    damaged = tutorflow(world.settings, "run", now=AT)
    assert damaged.exit_code == 2
    assert "move it away" in damaged.output
    world.settings.warehouse_path.unlink()
    run(world, kill_at=Point("after", MODEL, "^events$"))
    run(world)
    assert marts_differ(world.settings, undisturbed[0]) == []
    # Of whom everything was built again everything counts as news: their scores and plans are
    # looked at anew, and what speaks for them is heard again. No alert becomes another by it.
    differ = {found.split(":")[0] for found in differences(world.settings, undisturbed[0])}
    assert differ <= {"learner_scores", "score_parts", "practice_plan", "alert_evidence"}


def left_behind(settings: Settings) -> list[str]:
    """Files of killed runs that nobody will ever read or remove."""
    found = [
        *settings.snapshot_path.glob(".partial-*"),
        *settings.landing.rglob("*.tmp"),
        *(settings.home / "spill").iterdir(),
    ]
    return [path.name for path in found]
