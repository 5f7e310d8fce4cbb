"""Files that are broken, late, empty or missing: nothing is lost, and silence is not invented."""

import gzip
import json
import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pandas as pd
import pytest
from conftest import World
from processes import Ended, tutorflow

from tutorflow.publish import last_committed_tick, read_table
from tutorflow.pull import read_quarantined
from tutorflow.settings import Settings, load_settings

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def csv(header: str, rows: Iterable[str]) -> bytes:
    return "\n".join([header, *rows, ""]).encode()


# --- broken files ---------------------------------------------------------------------------------

HEADER = "source_event_id,user_id,event_type,occurred_at,item_id,is_correct"
ROWS = 12


def answers(at: datetime, item: str = "item") -> list[str]:
    return [
        f"{n},quiz-{n % 3},response_submitted,{at + n * timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ},"
        f"{item}-{n},true"
        for n in range(ROWS)
    ]


def broken(at: datetime) -> dict[str, tuple[str, bytes, bytes]]:
    """Source -> name of its file, what arrives at first, what it should have been."""
    right = csv(HEADER, answers(at))
    umlaut = csv(HEADER, answers(at, "größe"))
    return {
        "cut": ("cut.csv.gz", gzip.compress(right)[:-20], gzip.compress(right)),
        "foreign": ("foreign.csv", umlaut.decode().encode("cp1252"), umlaut),
        "renamed": ("renamed.csv", right.replace(b"user_id", b"pupil"), right),
        "ahead": ("ahead.csv", csv(HEADER, answers(at + DAY)), right),
        "wider": (
            "wider.csv",
            csv(HEADER + ",room", (f"{row},blue" for row in answers(at))),
            csv(HEADER + ",room", (f"{row},blue" for row in answers(at))),
        ),
    }


def declare(settings: Settings, *names: str) -> None:
    with settings.config_path.open("a") as file:
        for name in names:
            file.write(f"  - name: {name}\n    path: {name}\n    format: canonical\n")
            (settings.home / name).mkdir()


def events_by_source(settings: Settings) -> dict[str, int]:
    with duckdb.connect(settings.warehouse_path, read_only=True) as warehouse:
        rows = warehouse.execute("select source, count(*) from marts.events group by source")
        return dict(rows.fetchall())


def test_broken_files_stop_neither_the_other_sources_nor_the_publish(world: World) -> None:
    at = world.now + 20 * HOUR
    world.arrive(at)
    tutor_before = events_by_source(world.settings)["tutor"]
    files = broken(at - HOUR)
    declare(world.settings, *files)
    for name, (file, arrived, _) in files.items():
        (world.settings.home / name / file).write_bytes(arrived)

    ended = tutorflow(world.settings, "run", now=at)
    assert ended.exit_code == 0, ended
    assert "Published 20 ticks" in ended.output
    for said in (
        "cut: cut.csv.gz: truncated gzip: its end is missing; send it again",
        "foreign: foreign.csv:2: not UTF-8 (byte 0xf6)",
        "iconv",
        "renamed: renamed.csv: the required column 'user_id' is missing",
        f"ahead: {ROWS} rows refused; `tutorflow status` says why",
    ):
        assert said in ended.output
    assert "Traceback" not in ended.output
    landed = events_by_source(world.settings)
    assert landed.pop("tutor") > tutor_before
    assert landed == {"wider": ROWS}
    assert list(read_quarantined(world.settings.catalog_path)["line"]) == [*range(2, ROWS + 2)]
    status = tutorflow(world.settings, "status", now=at).output
    for said in (
        "truncated gzip",
        "not UTF-8",
        "'user_id' is missing",
        f"ahead.csv:2: occurred_at: more than 1 h in the future (and {ROWS - 1} rows more)",
    ):
        assert said in status

    for name, (file, _, mended) in files.items():
        (world.settings.home / name / file).write_bytes(mended)
    ended = tutorflow(world.settings, "run", now=at + HOUR)
    assert ended.exit_code == 0, ended
    landed = events_by_source(world.settings)
    del landed["tutor"]
    assert landed == dict.fromkeys(files, ROWS)
    with duckdb.connect(world.settings.warehouse_path, read_only=True) as warehouse:
        kept = warehouse.execute(
            "select distinct attributes from marts.events where source = 'wider'"
        ).fetchall()
    assert [json.loads(text) for (text,) in kept] == [{"room": "blue"}]


# --- nothing happened -----------------------------------------------------------------------------


def test_an_hour_without_events_publishes_its_tick(world: World) -> None:
    for hours, has_file in ((1, False), (2, True)):
        at = world.now + hours * HOUR
        if has_file:  # a header and nothing else
            name = f"events-{at:%Y-%m-%dT%H}.csv"
            (world.settings.home / "events" / name).write_bytes(csv(HEADER, []))
        ended = tutorflow(world.settings, "run", now=at)
        assert "Published 1 tick" in ended.output
        assert last_committed_tick(world.settings) == at
    log = read_table(world.settings, "tick_log").iloc[-2:]
    until = [json.loads(text)["tutor"] for text in log["watermarks"]]
    assert until == ["2026-01-22T00:00:00", "2026-01-22T02:00:00"]


# --- a feed that is late --------------------------------------------------------------------------

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
# Both were last seen on Wednesday; the day files stop with Sunday's; a week's silence would be on
# Wednesday. What Bo did on Tuesday arrives on Thursday, with the other late days.
SEEN = MONDAY + 2 * DAY
LAST_FILE = MONDAY + 6 * DAY
BO_IS_BACK = MONDAY + 8 * DAY


@pytest.fixture
def two_learners(tmp_path: Path) -> Settings:
    """A programme of Ana, who falls silent, and Bo, who does not; decided up to Sunday."""
    (tmp_path / "days").mkdir()
    (tmp_path / "tutorflow.yml").write_text(
        "sources:\n"
        "  - name: tutor\n"
        "    path: days/*.csv\n"
        "    format: canonical\n"
        "    complete_until: delivered\n"
        "    delivered_pattern: '(?P<end>[0-9-]+)[.]csv'\n"
    )
    settings = load_settings(tmp_path)
    for number in range(7):
        day = MONDAY + number * DAY
        deliver_day(settings, day, ("ana", "bo") if day <= SEEN else ())
    ended = tutorflow(settings, "backfill", "--every", "day", now=LAST_FILE + DAY)
    assert ended.exit_code == 0, ended
    return settings


def deliver_day(settings: Settings, day: datetime, active: Iterable[str]) -> None:
    """The file of a day on which these learners answered ten items each, from 10:00."""
    rows = [
        f"{learner}-{day:%d}-{n},{learner},response_submitted,{day:%Y-%m-%d}T10:{n:02}:00Z,i{n},true"
        for learner in active
        for n in range(10)
    ]
    (settings.home / "days" / f"{day:%Y-%m-%d}.csv").write_bytes(csv(HEADER, rows))


def holds_of_silence(settings: Settings) -> pd.DataFrame:
    """The holds of inactive learners, by the name under which the source knows them."""
    held = read_table(settings, "suppressions", {"rule_id": "inactive"})
    return held.set_index(held["learner_id"].map(names(settings)))


def names(settings: Settings) -> dict[str, str]:
    with sqlite3.connect(settings.identity_path) as identities:
        found = identities.execute("select learner_id, source_user_id from identities").fetchall()
    identities.close()
    return dict(found)


def published(ended: Ended) -> bool:
    return ended.exit_code == 0 and "Published" in ended.output


def test_a_late_feed_opens_no_inactivity_alert_until_it_has_arrived(two_learners: Settings) -> None:
    settings = two_learners
    silent_a_week = SEEN + 7 * DAY + 11 * HOUR
    assert published(tutorflow(settings, "run", now=silent_a_week))
    held = holds_of_silence(settings)
    assert sorted(held.index) == ["ana", "bo"]
    assert set(held["reason"]) == {"feed_late"}
    assert held["released_at"].isna().all()

    three_days_late = LAST_FILE + DAY + 3 * DAY
    assert published(tutorflow(settings, "run", now=three_days_late))
    assert read_table(settings, "alerts").empty

    for day in (LAST_FILE + n * DAY for n in (1, 2, 3)):
        deliver_day(settings, day, ("bo",) if day == BO_IS_BACK else ())
    assert published(tutorflow(settings, "run", now=three_days_late + HOUR))
    held = holds_of_silence(settings)
    assert held.loc["bo", "release"] == "no_longer_supported"
    assert held.loc["ana", "release"] == "decided"
    alerts = read_table(settings, "alerts")
    assert list(alerts["learner_id"].map(names(settings))) == ["ana"]
    assert list(read_table(settings, "alert_evidence")["rule_id"]) == ["inactive"]
