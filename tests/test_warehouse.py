"""One opener, one at a time; deliveries and learners go pending, built, decided."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tutorflow.errors import TutorflowError, WarehouseHeldError
from tutorflow.pull import pull
from tutorflow.pull.formats import FORMATS
from tutorflow.settings import Settings, Source
from tutorflow.warehouse import finish_build, finish_decide, open_warehouse, register_landing

NOW = datetime(2026, 3, 2, tzinfo=UTC)
ANA, BEN, CAT = (f"00000000-0000-0000-0000-00000000000{n}" for n in (1, 2, 3))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    source = Source(name="tutor", path="events", format="canonical")
    (tmp_path / "events").mkdir()
    return Settings(home=tmp_path, sources=(source,))


def deliver(settings: Settings, name: str, *users: str) -> None:
    lines = [f"{user},check_in,2026-03-01T10:00:00Z" for user in users]
    text = "\n".join(["user_id,event_type,occurred_at", *lines])
    (settings.home / "events" / f"{name}.csv").write_text(text + "\n")
    (attempt,) = pull(settings, NOW)
    assert attempt.error is None


def ask(settings: Settings, query: str) -> list[tuple[Any, ...]]:
    with open_warehouse(settings) as warehouse:
        return warehouse.execute(query).fetchall()


def events(settings: Settings) -> int:
    ((count,),) = ask(settings, "select count(*) from landing.canonical_events")
    return int(count)


def states(settings: Settings) -> list[str]:
    return [s for (s,) in ask(settings, "select state from landing.deliveries order by landed_at")]


@contextmanager
def held_by_another_process(settings: Settings) -> Iterator[int]:
    script = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print(flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(settings.warehouse_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield process.pid
    finally:
        process.communicate(b"\n")


def test_every_table_has_a_typed_view_before_anything_landed(settings: Settings) -> None:
    assert register_landing(settings) == 0
    for format_ in FORMATS.values():
        for table in format_.tables:
            described = ask(settings, f"describe landing.{format_.name}_{table.name}")
            assert {name: type_.lower() for name, type_, *_ in described} == table.landed_types
    assert events(settings) == 0


def test_the_views_show_what_is_pending(settings: Settings) -> None:
    deliver(settings, "a", "ana", "ben")
    assert register_landing(settings) == 1
    assert (events(settings), states(settings)) == (2, ["pending"])
    finish_build(settings)
    assert states(settings) == ["built"]
    deliver(settings, "b", "cat")
    assert register_landing(settings) == 1
    assert events(settings) == 1


def test_a_full_rebuild_sees_every_delivery(settings: Settings) -> None:
    deliver(settings, "a", "ana")
    register_landing(settings)
    finish_build(settings)
    finish_decide(settings, NOW)
    assert register_landing(settings, all_deliveries=True) == 1
    assert (events(settings), states(settings)) == (1, ["decided"])


def test_registering_again_after_a_killed_build_changes_nothing(settings: Settings) -> None:
    deliver(settings, "a", "ana")
    register_landing(settings)
    register_landing(settings)
    assert (events(settings), states(settings)) == (1, ["pending"])


def test_the_sources_in_force_are_known_to_the_warehouse(settings: Settings) -> None:
    register_landing(settings)
    assert ask(settings, "from landing.sources") == [
        ("tutor", "canonical", "second", "UTC", "tutor", None)
    ]


def touch(settings: Settings, learner: str, earliest: str, latest: str) -> None:
    ask(
        settings,
        "insert into landing.touched_learners values"
        f" ('{learner}', timestamp '{earliest}', timestamp '{latest}')",
    )


def undecided(settings: Settings) -> list[tuple[Any, ...]]:
    return ask(
        settings,
        "select right(learner_id::varchar, 1)::int, strftime(earliest_at, '%d %H'),"
        " strftime(latest_at, '%d %H') from landing.undecided_learners order by 1",
    )


def test_touched_learners_become_undecided_with_the_widest_span(settings: Settings) -> None:
    register_landing(settings)
    touch(settings, ANA, "2026-03-01 10:00", "2026-03-01 11:00")
    touch(settings, BEN, "2026-03-01 10:00", "2026-03-01 11:00")
    finish_build(settings)
    touch(settings, ANA, "2026-03-01 08:00", "2026-03-01 12:00")
    finish_build(settings)
    assert undecided(settings) == [(1, "01 08", "01 12"), (2, "01 10", "01 11")]
    assert ask(settings, "select count(*) from landing.touched_learners") == [(0,)]


def test_a_learner_is_decided_an_hour_after_the_last_row(settings: Settings) -> None:
    register_landing(settings)
    touch(settings, ANA, "2026-03-01 08:00", "2026-03-01 09:59")
    touch(settings, BEN, "2026-03-01 08:00", "2026-03-01 10:00")
    touch(settings, CAT, "2026-03-01 12:00", "2026-03-01 13:00")
    finish_build(settings)
    finish_decide(settings, datetime(2026, 3, 1, 11, tzinfo=UTC))
    assert undecided(settings) == [(2, "01 11", "01 10"), (3, "01 12", "01 13")]


def test_who_holds_the_warehouse_is_named(settings: Settings) -> None:
    register_landing(settings)
    with (
        held_by_another_process(settings) as pid,
        pytest.raises(WarehouseHeldError, match=rf"process {pid}: .*python.* -c"),
        open_warehouse(settings, wait_seconds=0),
    ):
        pass
    assert events(settings) == 0


def test_this_process_holding_the_warehouse_is_said_so(settings: Settings) -> None:
    with (
        open_warehouse(settings),
        pytest.raises(WarehouseHeldError, match="in this very process"),
        open_warehouse(settings, read_only=True),
    ):
        pass


def test_reading_a_warehouse_that_is_not_there_says_what_builds_it(settings: Settings) -> None:
    with (
        pytest.raises(TutorflowError, match=r"no warehouse at .*`tutorflow run` builds it"),
        open_warehouse(settings, read_only=True),
    ):
        pass


def test_a_file_that_is_no_warehouse_is_refused(settings: Settings) -> None:
    settings.warehouse_path.write_bytes(b"not a database, but long enough to look like one" * 100)
    with (
        pytest.raises(TutorflowError, match="cannot be opened"),
        open_warehouse(settings, wait_seconds=0),
    ):
        pass


def test_memory_and_threads_come_from_the_environment(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUTORFLOW_MEMORY_LIMIT", "300MB")
    monkeypatch.setenv("TUTORFLOW_THREADS", "1")
    ((limit, threads),) = ask(
        settings, "select current_setting('memory_limit'), current_setting('threads')"
    )
    assert (limit, threads) == ("286.1 MiB", 1)
