"""Publishing: the contract, the one transaction, what readers see, and what can go wrong."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from tutorflow.publish import (
    Candidates,
    CheckResult,
    ContractError,
    Run,
    ServingError,
    Verdict,
    check_fit,
    contract_markdown,
    last_committed_tick,
    misfits,
    publish,
    queue,
    read_status,
    read_table,
    record_run,
)
from tutorflow.publish.contract import Column, contract, table
from tutorflow.publish.database import reading, writing
from tutorflow.publish.tables import upsert
from tutorflow.settings import Settings

AS_OF = datetime(2026, 3, 2, 15, tzinfo=UTC)
HOUR = timedelta(hours=1)
PASSED = Verdict([])

# -- databases -------------------------------------------------------------------------------------


def _postgres_programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A PostgreSQL server of our own, behind a socket; yields the URL of a database in it."""
    pytest.importorskip("psycopg", reason="the PostgreSQL driver is not installed")
    programs = _postgres_programs()
    if programs is None:
        pytest.skip("no PostgreSQL server is installed (Debian: apt-get install postgresql)")
    as_owner: list[str] = []
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))  # a socket's path must be short
    if os.geteuid() == 0:  # the server refuses to run as root
        try:
            shutil.chown(folder, "postgres")
        except LookupError:
            pytest.skip("running as root, and there is no user postgres to run the server as")
        as_owner = ["runuser", "-u", "postgres", "--"]

    def call(*command: str | Path) -> None:
        subprocess.run(
            [*as_owner, *map(str, command)], check=True, cwd=folder, stdout=subprocess.DEVNULL
        )

    data = folder / "data"
    call(programs / "initdb", "-D", data, "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync")
    control = [programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log"]
    call(*control, "-o", f"-c listen_addresses= -c fsync=off -k {folder}", "start")
    try:
        yield f"postgresql://tester@/postgres?host={folder}"
    finally:
        call(*control, "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


def alter(url: str, statement: str) -> None:
    """What an administrator would do by hand."""
    engine = sa.create_engine(
        url.replace("postgresql:", "postgresql+psycopg:"),
        poolclass=sa.pool.NullPool,
        isolation_level="AUTOCOMMIT",
    )
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)


@pytest.fixture
def postgres(postgres_server: str, tmp_path: Path) -> Settings:
    """Settings with an empty PostgreSQL database."""
    alter(postgres_server, "drop schema public cascade; create schema public")
    return Settings(home=tmp_path, database_url=postgres_server)


@pytest.fixture
def sqlite(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest) -> Settings:
    """The same test on either database."""
    chosen: Settings = request.getfixturevalue(request.param)
    return chosen


# -- rows ------------------------------------------------------------------------------------------


def value(column: Column, n: int, at: datetime) -> Any:
    if column.values:
        return column.values[n % len(column.values)]
    return {
        "text": f"{column.name} {n} – “é”\t\\N",
        "integer": n + 2**40,
        "real": n + 0.1,
        "boolean": n % 2 == 0,
        "timestamp": at.replace(tzinfo=None) + timedelta(microseconds=n),
        "date": at.date() + timedelta(days=n),
        "json": json.dumps([n, "ä"], ensure_ascii=False),
    }[column.type]


def rows(name: str, count: int, at: datetime = AS_OF, **changes: Any) -> pd.DataFrame:
    """Rows of a published table with something in every column; every second null if it may be."""
    columns = table(name).columns.values()
    frame = {
        column.name: pd.Series(
            [None if column.nullable and n % 2 else value(column, n, at) for n in range(count)],
            dtype=column.dtype,
        )
        for column in columns
    }
    return pd.DataFrame(frame).assign(**changes)


def an_hour(at: datetime = AS_OF, **tables: pd.DataFrame) -> Candidates:
    log = rows("tick_log", 1, at, as_of=pd.Timestamp(at.replace(tzinfo=None)).as_unit("us"))
    return Candidates([at], at, {**tables, "tick_log": log})


def a_run(name: str = "run 1", at: datetime = AS_OF, **changes: Any) -> Run:
    return Run(**{"run_id": name, "state": "running", "started_at": at, **changes})


def queue_of(count: int, at: datetime) -> pd.DataFrame:
    return rows("coach_queue", count, at, as_of=pd.Timestamp(at.replace(tzinfo=None)).as_unit("us"))


# -- the contract ----------------------------------------------------------------------------------


def test_the_contract_describes_every_table_and_column() -> None:
    for spec in contract().values():
        assert spec.grain.startswith("one row per ")
        assert spec.version >= 1
        assert set(spec.key) <= set(spec.columns)
        assert not any(spec.columns[name].nullable for name in spec.key)
        assert set(spec.indexes) <= set(spec.columns)
        assert all(column.description for column in spec.columns.values())


def test_the_contract_reads_as_markdown() -> None:
    text = contract_markdown()
    for spec in contract().values():
        assert f"### `{spec.name}` (version {spec.version})" in text
        for column in spec.columns:
            assert f"| `{column}` |" in text


def test_no_two_tables_share_a_wall_clock_with_decisions() -> None:
    wall_clock = {"started_at", "finished_at", "updated_at", "created_at"}
    assert {s.name for s in contract().values() if wall_clock & set(s.columns)} == {"run_status"}


@pytest.mark.parametrize("name", contract())
def test_rows_of_the_right_shape_fit_their_table(name: str) -> None:
    assert misfits(name, rows(name, 3)) == []
    assert misfits(name, table(name).empty_frame()) == []


def with_column(**changes: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda frame: frame.assign(**changes)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: f.drop(columns="layer"), "column layer is missing"),
        (with_column(extra=1), "column extra is not in the contract"),
        (with_column(owner_role=None), "column owner_role is null in 3 of 3 rows"),
        (with_column(priority="high"), "column priority must be real"),
        (with_column(signal_count=1.5), "column signal_count must be integer"),
        (with_column(layer="weather"), "column layer has ['weather']; allowed: content"),
        (with_column(rules="not json"), "column rules must be json"),
        (with_column(opened_at="2026-03-02"), "column opened_at must be timestamp"),
        (with_column(opened_at=pd.Timestamp(AS_OF)), "column opened_at must be timestamp"),
        (with_column(alert_id="same"), "2 rows repeat a key, such as {'alert_id': 'same'}"),
    ],
)
def test_a_frame_that_does_not_fit_says_where(
    change: Callable[[pd.DataFrame], pd.DataFrame], says: str
) -> None:
    with pytest.raises(ContractError) as caught:
        check_fit("alerts", change(rows("alerts", 3)))
    assert says in str(caught.value)


def test_whole_numbers_in_a_column_with_nulls_are_integers() -> None:
    assert misfits("signals", rows("signals", 3).assign(n=pd.Series([1.0, None, 3.0]))) == []


# -- into the database and out of it ---------------------------------------------------------------


def test_every_table_comes_back_as_it_was_published(settings: Settings) -> None:
    names = [name for name in contract() if name not in ("tick_log", "run_status", "gate_results")]
    tables = {name: rows(name, 5) for name in names}
    publish(settings, an_hour(**tables), PASSED, a_run())
    for name, frame in tables.items():
        expected = frame.sort_values(list(table(name).key), ignore_index=True)
        pd.testing.assert_frame_equal(read_table(settings, name), expected, obj=name)


def test_what_was_never_published_reads_as_empty_with_its_columns(sqlite: Settings) -> None:
    frame = read_table(sqlite, "alerts")
    assert frame.empty
    assert dict(frame.dtypes) == dict(table("alerts").empty_frame().dtypes)
    assert not (sqlite.home / "serving.sqlite").exists()


def test_rows_can_be_chosen_by_value_by_null_and_by_condition(settings: Settings) -> None:
    alerts = rows("alerts", 6)
    publish(settings, an_hour(alerts=alerts), PASSED, a_run())

    def chosen(where: Any) -> set[str]:
        return set(read_table(settings, "alerts", where)["alert_id"])

    def expected(mask: "pd.Series[bool]") -> set[str]:
        return set(alerts["alert_id"][mask])

    assert chosen({"layer": "safety"}) == expected(alerts["layer"] == "safety")
    assert chosen({"status": ["open", "held"]}) == expected(alerts["status"] != "closed")
    assert chosen({"coach_id": None}) == expected(alerts["coach_id"].isna())
    assert chosen({"alert_id": []}) == set()
    later = AS_OF + timedelta(microseconds=3)
    assert chosen(lambda t: t.c.opened_at >= later) == expected(
        alerts["opened_at"] >= later.replace(tzinfo=None)
    )


def test_an_upsert_changes_what_differs_and_leaves_the_rest_alone(settings: Settings) -> None:
    publish(settings, an_hour(alerts=rows("alerts", 5)), PASSED, a_run())
    changed = rows("alerts", 6)
    changed.loc[1, "priority"] = 99.0
    changed.loc[3, "closed_at"] = pd.Timestamp("2026-03-02 14:00")
    written = publish(settings, an_hour(AS_OF, alerts=changed), PASSED, a_run())
    assert written["alerts"] == 3  # two changed, one new
    assert len(read_table(settings, "alerts")) == 6
    assert read_table(settings, "alerts", {"priority": 99.0})["alert_id"].tolist() == [
        changed["alert_id"][1]
    ]


def test_publishing_the_same_again_changes_nothing(settings: Settings) -> None:
    candidates = an_hour(alerts=rows("alerts", 4), coach_queue=queue_of(4, AS_OF))
    publish(settings, candidates, PASSED, a_run())
    before = {name: read_table(settings, name) for name in candidates.tables}
    written = publish(settings, candidates, PASSED, a_run())
    assert (written["alerts"], written["tick_log"]) == (0, 0)
    for name, frame in before.items():
        pd.testing.assert_frame_equal(read_table(settings, name), frame)


def test_the_queue_is_replaced_and_everything_else_kept(settings: Settings) -> None:
    publish(
        settings,
        an_hour(alerts=rows("alerts", 3), coach_queue=queue_of(3, AS_OF)),
        PASSED,
        a_run(),
    )
    later = AS_OF + HOUR
    publish(settings, an_hour(later, coach_queue=queue_of(1, later)), PASSED, a_run("run 2"))
    assert len(read_table(settings, "coach_queue")) == 1
    assert len(read_table(settings, "alerts")) == 3
    assert len(read_table(settings, "tick_log")) == 2


def test_unchanged_rows_of_many_learners_cost_no_writes(sqlite: Settings) -> None:
    candidates = an_hour(learner_scores=rows("learner_scores", 10_000, score="stopout_risk"))
    publish(sqlite, candidates, PASSED, a_run())
    assert publish(sqlite, candidates, PASSED, a_run())["learner_scores"] == 0


def test_times_on_postgresql_are_instants_and_json_is_json(postgres: Settings) -> None:
    publish(postgres, an_hour(alerts=rows("alerts", 1)), PASSED, a_run())
    with reading(postgres) as connection:
        connection.exec_driver_sql("set local time zone 'Asia/Tokyo'")
        local, first_rule, kind = connection.exec_driver_sql(
            "select opened_at::text, rules ->> 1, jsonb_typeof(rules) from alerts"
        ).one()
    assert (local, first_rule, kind) == ("2026-03-03 00:00:00+09", "ä", "array")


def test_candidates_can_be_laid_aside_for_inspection(tmp_path: Path) -> None:
    (tmp_path / "old.parquet").write_text("left over")
    an_hour(alerts=rows("alerts", 2)).write(tmp_path)
    assert {path.stem for path in tmp_path.iterdir()} == {"alerts", "tick_log"}
    assert len(pd.read_parquet(tmp_path / "alerts.parquet")) == 2


# -- one transaction -------------------------------------------------------------------------------


def test_a_publish_that_fails_half_way_leaves_the_old_hour(settings: Settings) -> None:
    publish(settings, an_hour(coach_queue=queue_of(3, AS_OF)), PASSED, a_run())
    alter(settings.database_url, "create unique index one_only on learner_states (state)")
    later = AS_OF + HOUR
    two_of_a_kind = rows("learner_states", 2, later, state="stuck")
    with pytest.raises(sa.exc.IntegrityError):
        publish(
            settings,
            an_hour(later, coach_queue=queue_of(1, later), learner_states=two_of_a_kind),
            PASSED,
            a_run("run 2"),
        )
    assert last_committed_tick(settings) == AS_OF
    assert len(read_table(settings, "coach_queue")) == 3
    assert read_table(settings, "run_status", {"run_id": "run 2"}).empty


KILLED_HALF_WAY = """
import os, signal, sys
from tutorflow.publish.contract import table
from tutorflow.publish.database import writing
from tutorflow.publish.tables import replace
from tutorflow.settings import Settings
with writing(Settings(home=sys.argv[1], database_url=sys.argv[2])) as connection:
    replace(connection, "coach_queue", table("coach_queue").empty_frame())
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_publish_that_is_killed_leaves_the_old_hour_and_no_lock(settings: Settings) -> None:
    publish(settings, an_hour(coach_queue=queue_of(3, AS_OF)), PASSED, a_run())
    where = [str(settings.home), settings.database_url]
    killed = subprocess.run([sys.executable, "-c", KILLED_HALF_WAY, *where], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(read_table(settings, "coach_queue")) == 3
    later = AS_OF + HOUR
    publish(settings, an_hour(later, coach_queue=queue_of(1, later)), PASSED, a_run("run 2"))
    assert len(read_table(settings, "coach_queue")) == 1


# A coach tool with the plain driver. It reads until told to stop; an hour is whole when the queue,
# its length and the log agree.
POLLING_READER = """
import json, sys
from pathlib import Path
url, stop = sys.argv[1], Path(sys.argv[2])
if url.startswith("sqlite"):
    import sqlite3
    reader = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
    begin = "begin"
else:
    import psycopg
    reader = psycopg.connect(url, autocommit=True)
    begin = "begin isolation level repeatable read"
seen, torn, polls = set(), [], 0
print("ready", flush=True)
while not stop.exists():
    reader.execute(begin)
    hours = reader.execute("select as_of, count(*) from coach_queue group by as_of").fetchall()
    ((tick,),) = reader.execute("select max(as_of) from tick_log").fetchall()
    reader.execute("commit")
    polls += 1
    seen.add(str(tick))
    if hours != [(tick, 300)]:
        torn.append([str(tick), str(hours)])
print(json.dumps({"polls": polls, "hours": len(seen), "torn": torn}))
"""


def test_a_reader_sees_whole_hours_only_and_never_an_error(
    settings: Settings, tmp_path: Path
) -> None:
    publish(settings, an_hour(coach_queue=queue_of(300, AS_OF)), PASSED, a_run())
    stop = tmp_path / "stop"
    reader = subprocess.Popen(
        [sys.executable, "-c", POLLING_READER, settings.database_url, str(stop)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert reader.stdout is not None
    assert reader.stdout.readline() == "ready\n"
    for n in range(1, 21):
        at = AS_OF + n * HOUR
        publish(settings, an_hour(at, coach_queue=queue_of(300, at)), PASSED, a_run(f"run {n}"))
    stop.touch()
    out, errors = reader.communicate(timeout=60)
    assert (reader.returncode, errors) == (0, "")
    found = json.loads(out)
    assert found["torn"] == []
    assert found["polls"] >= found["hours"] > 2


def test_a_blocked_verdict_is_not_published(sqlite: Settings) -> None:
    bad = CheckResult("marts", "marts.fresh", "critical", False, 1, "1 learner behind")
    with pytest.raises(ServingError, match=r"the gate blocks: marts\.fresh"):
        publish(sqlite, an_hour(), Verdict([bad]), a_run())
    publish(sqlite, an_hour(), Verdict([bad], {"marts.fresh": "known"}), a_run())
    assert last_committed_tick(sqlite) == AS_OF


def test_an_older_hour_cannot_overwrite_a_later_one(settings: Settings) -> None:
    publish(settings, an_hour(), PASSED, a_run())
    with pytest.raises(ServingError, match="older than what readers see"):
        publish(settings, an_hour(AS_OF - HOUR), PASSED, a_run("run 2"))


def test_every_tick_needs_its_row_in_the_log(sqlite: Settings) -> None:
    one = an_hour()
    with pytest.raises(ContractError, match="tick_log has 1 rows for 2 decided ticks"):
        publish(sqlite, Candidates([AS_OF - HOUR, AS_OF], AS_OF, one.tables), PASSED, a_run())


# -- runs, checks, age -----------------------------------------------------------------------------


def test_publishing_records_the_run_in_the_same_transaction(settings: Settings) -> None:
    publish(settings, an_hour(), PASSED, a_run(counts={"rows": 3}))
    (run,) = read_table(settings, "run_status").to_dict("records")
    assert (run["state"], run["tick_count"]) == ("published", 1)
    assert run["published_as_of"] == pd.Timestamp("2026-03-02 15:00")
    assert json.loads(run["counts"]) == {"rows": 3}


def test_a_run_that_fails_says_so_and_what_readers_still_see(settings: Settings) -> None:
    publish(settings, an_hour(), PASSED, a_run())
    record_run(settings, a_run("run 2", state="failed", message="no space left"))
    (run,) = read_table(settings, "run_status", {"run_id": "run 2"}).to_dict("records")
    assert (run["state"], run["message"]) == ("failed", "no space left")
    assert run["published_as_of"] == pd.Timestamp("2026-03-02 15:00")


def test_the_age_of_what_readers_see_counts_from_the_published_hour(settings: Settings) -> None:
    assert read_status(settings, AS_OF).age is None
    publish(settings, an_hour(), PASSED, a_run())
    status = read_status(settings, AS_OF + 2.5 * HOUR)
    assert (status.published_as_of, status.age) == (AS_OF, 2.5 * HOUR)


def test_the_latest_runs_come_first(settings: Settings) -> None:
    for n in range(7):
        record_run(settings, a_run(f"run {n}", AS_OF + n * HOUR, state="nothing_to_do"))
    status = read_status(settings, AS_OF, run_count=3)
    assert status.runs["run_id"].tolist() == ["run 6", "run 5", "run 4"]


def test_failing_checks_are_those_of_the_latest_run_that_reached_the_gate(
    settings: Settings,
) -> None:
    def result(check: str, severity: Any, is_success: bool = False) -> CheckResult:
        return CheckResult("marts", check, severity, is_success, 1, "words", [{"learner": "a"}])

    first = Verdict([result("marts.old", "critical")])
    second = Verdict(
        [
            result("marts.fine", "critical", True),
            result("marts.odd", "warning"),
            result("marts.bad", "critical"),
        ]
    )
    record_run(settings, a_run("run 1", state="blocked"), first)
    record_run(settings, a_run("run 2", AS_OF + HOUR, state="blocked"), second)
    record_run(settings, a_run("run 3", AS_OF + 2 * HOUR, state="failed"))
    failing = read_status(settings, AS_OF).failing_checks
    assert failing["check_id"].tolist() == ["marts.bad", "marts.odd"]
    assert json.loads(failing["failed_rows"].iloc[0]) == [{"learner": "a"}]


def test_a_run_of_several_batches_keeps_the_warning_of_an_earlier_one(settings: Settings) -> None:
    warning = CheckResult("marts", "marts.odd", "warning", False, 1, "1 odd row")
    fine = CheckResult("marts", "marts.odd", "warning", True, 0, "holds")
    publish(settings, an_hour(), Verdict([warning]), a_run())
    publish(settings, an_hour(AS_OF + HOUR), Verdict([fine]), a_run())
    assert read_status(settings, AS_OF).failing_checks["message"].tolist() == ["1 odd row"]


# -- what can go wrong -----------------------------------------------------------------------------


def test_a_database_made_by_an_older_version_says_what_to_add(settings: Settings) -> None:
    publish(settings, an_hour(), PASSED, a_run())
    alter(settings.database_url, "alter table suppressions drop column fired_at")
    with pytest.raises(ServingError, match="suppressions has no fired_at") as caught:
        publish(settings, an_hour(), PASSED, a_run())
    advice = str(caught.value).split("run again: ")[1].split(";")[0]
    alter(settings.database_url, advice)
    publish(settings, an_hour(), PASSED, a_run())


def test_a_column_that_somebody_added_does_no_harm(settings: Settings) -> None:
    publish(settings, an_hour(), PASSED, a_run())
    alter(settings.database_url, "alter table alerts add column remark text")
    publish(settings, an_hour(alerts=rows("alerts", 2)), PASSED, a_run())
    assert "remark" not in read_table(settings, "alerts")


def test_a_locked_file_names_who_holds_it(sqlite: Settings) -> None:
    publish(sqlite, an_hour(), PASSED, a_run())
    holder = sqlite3.connect(sqlite.home / "serving.sqlite", isolation_level=None)
    holder.execute("begin immediate")
    with pytest.raises(ServingError) as caught, writing(sqlite, wait_seconds=0):
        pass
    assert f"(pid {os.getpid()})" in str(caught.value)
    assert "serving.sqlite is locked" in str(caught.value)
    assert len(read_table(sqlite, "tick_log")) == 1  # readers go on reading
    holder.close()


def test_a_held_postgresql_lock_says_that_somebody_publishes(postgres: Settings) -> None:
    with (
        writing(postgres) as connection,
        pytest.raises(ServingError, match="another run is publishing"),
        writing(postgres, wait_seconds=0.1),
    ):
        upsert(connection, "alerts", rows("alerts", 1))


def test_an_unreachable_server_says_what_to_check_and_hides_the_password(tmp_path: Path) -> None:
    pytest.importorskip("psycopg", reason="the PostgreSQL driver is not installed")
    url = f"postgresql://coach:secret@/tutoring?host={tmp_path}"
    with pytest.raises(ServingError) as caught:
        last_committed_tick(Settings(home=tmp_path, database_url=url))
    message = str(caught.value)
    assert "cannot reach the serving database" in message
    assert "TUTORFLOW_DATABASE_URL" in message
    assert "secret" not in message


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nonsense", "is not a URL"),
        ("mysql://localhost/x", "it is SQLite or PostgreSQL"),
        ("sqlite://", "has no file"),
    ],
)
def test_a_url_that_cannot_serve_says_so(tmp_path: Path, url: str, says: str) -> None:
    with pytest.raises(ServingError, match=says):
        publish(Settings(home=tmp_path, database_url=url), an_hour(), PASSED, a_run())


def test_a_file_that_is_no_database_says_so(sqlite: Settings) -> None:
    (sqlite.home / "serving.sqlite").write_bytes(b"not a database " * 100)
    with pytest.raises(ServingError, match="cannot use the serving database"):
        queue(sqlite)
