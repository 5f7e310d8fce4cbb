"""What arrives lands once, whole, under pseudonyms; what is wrong is said and stops no other."""

import dataclasses
import gzip
import json
import os
import sqlite3
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tutorflow.engine import open_scratch
from tutorflow.errors import InputError, TutorflowError
from tutorflow.privacy.pseudonyms import load_pseudonyms, source_users
from tutorflow.pull import PullAttempt, pull, read_attempts, read_quarantined, source_watermarks
from tutorflow.pull.catalog import open_catalog, read_deliveries
from tutorflow.pull.delivering import Intake, Written
from tutorflow.pull.files import inspect, list_files
from tutorflow.pull.passes import MOST_REASONS
from tutorflow.settings import Settings, Source
from tutorflow.warehouse import open_warehouse, register_landing

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
SHARED_DATA = Path(
    os.environ.get("TUTORFLOW_SHARED_DATA")
    or Path(__file__).resolve().parents[2] / "shared" / "data"
)

needs_shared_data = pytest.mark.skipif(
    not SHARED_DATA.is_dir(), reason=f"the real data are not at {SHARED_DATA}"
)


def event(user: str = "ana", at: str = "2026-03-01T10:00:00Z", **more: object) -> dict[str, Any]:
    return {"user_id": user, "event_type": "response_submitted", "occurred_at": at} | more


def write_csv(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


def write_ndjson(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUTORFLOW_KEY", "the key of the tests")
    (tmp_path / "in").mkdir()
    return tmp_path


def settings_of(home: Path, timezone: str = "UTC", **source: Any) -> Settings:
    return Settings(
        home=home,
        timezone=timezone,
        sources=(Source(**{"name": "tutor", "path": "in", "format": "canonical"} | source),),
    )


def in_zone(settings: Settings, timezone: str) -> Settings:
    """The same settings with the zone of the source's naive times declared."""
    source = settings.sources[0].model_copy(update={"timezone": timezone})
    return settings.model_copy(update={"sources": (source,)})


def pull_one(settings: Settings, now: datetime = NOW) -> PullAttempt:
    (attempt,) = pull(settings, now)
    return attempt


def pulled(settings: Settings, now: datetime = NOW) -> PullAttempt:
    attempt = pull_one(settings, now)
    assert attempt.error is None
    return attempt


def landed(settings: Settings, view: str = "canonical_events") -> pd.DataFrame:
    """Everything landed in one table, in order of file and row."""
    register_landing(settings, all_deliveries=True)
    with open_warehouse(settings) as warehouse:
        return (
            warehouse.execute(f"from landing.{view} order by _landed_at, _path, _row")
            .to_arrow_table()
            .to_pandas()
        )


def refusals(settings: Settings) -> list[tuple[int, str]]:
    frame = read_quarantined(settings.catalog_path)
    return list(zip(frame["line"], frame["reason"], strict=True))


def whole_event() -> dict[str, Any]:
    return event(
        source_event_id="e1",
        received_at="2026-03-01T10:00:05Z",
        course_id="algebra",
        module_id="m1",
        item_id="i1",
        skill_id="ratios~~fractions",
        session_id="s1",
        attempt_number=2,
        is_correct=True,
        score=3.5,
        score_max=5,
        response_seconds=12.25,
        hint_level=1,
        hint_level_max=3,
        hints_available=2,
        due_at="2026-03-05T00:00:00+01:00",
        error_type="sign",
        self_report=0.4,
        text_flag="none",
        actor="learner",
        event_count=1,
    )


# What lands


@pytest.mark.parametrize(
    "name", ["a.csv", "a.csv.gz", "a.ndjson", "a.jsonl.gz", "a.json", "a.parquet"]
)
def test_every_file_type_lands_the_same_event(home: Path, name: str) -> None:
    row = whole_event() | {"attributes": {"device": {"kind": "phone"}, "note": "é"}}
    path = home / "in" / name.removesuffix(".gz")
    if ".csv" in name:
        write_csv(path, [row | {"attributes": json.dumps(row["attributes"])}])
    elif name == "a.parquet":
        pq.write_table(pa.Table.from_pylist([row]), path)
    else:
        write_ndjson(path, [row])
    if name.endswith(".gz"):
        (home / "in" / name).write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    settings = settings_of(home)
    attempt = pulled(settings)
    assert (attempt.files, attempt.rows, attempt.quarantined) == (1, 1, 0)
    (found,) = landed(settings).to_dict("records")
    assert found["learner_id"] == load_pseudonyms(settings).of("tutor", "ana")
    assert found["occurred_at"] == datetime(2026, 3, 1, 10)
    assert found["due_at"] == datetime(2026, 3, 4, 23)
    assert (found["score"], found["score_max"], found["response_seconds"]) == (3.5, 5.0, 12.25)
    assert (found["attempt_number"], found["hint_level"], found["event_count"]) == (2, 1, 1)
    assert found["is_correct"] is True
    assert found["skill_id"] == "ratios~~fractions"
    assert json.loads(found["attributes"]) == row["attributes"]
    assert (found["_source"], found["_path"], found["_row"]) == ("tutor", name, 1)
    assert found["_landed_at"] == datetime(2026, 3, 2, 12)
    assert found["_delivery_id"] == attempt.deliveries[0]


def test_parquet_may_carry_its_own_types(home: Path) -> None:
    table = pa.table(
        {
            "user_id": pa.array([17.0, None], pa.float64()),
            "event_type": ["check_in", "check_in"],
            "occurred_at": pa.array([datetime(2026, 3, 1, 10)] * 2, pa.timestamp("ns", "UTC")),
            "is_correct": [True, None],
            "attempt_number": pa.array([3.0, None]),
            "skill_id": pa.array(["a", "b"]).dictionary_encode(),
        }
    )
    pq.write_table(table, home / "in" / "a.parquet")
    settings = settings_of(home)
    pulled(settings)
    (found,) = landed(settings).to_dict("records")
    assert found["learner_id"] == load_pseudonyms(settings).of("tutor", "17")
    assert (found["occurred_at"], found["attempt_number"]) == (datetime(2026, 3, 1, 10), 3)
    assert refusals(settings) == [(2, "user_id: missing")]


def test_user_ids_are_in_the_identity_map_and_nowhere_else(home: Path) -> None:
    write_csv(home / "in" / "a.csv", [event("ana@example.org"), event("  ana@example.org ")])
    settings = settings_of(home)
    attempt = pulled(settings)
    assert attempt.rows == 2
    (learner,) = set(landed(settings)["learner_id"])
    assert source_users(settings.identity_path, [learner]) == {
        learner: [("tutor", "ana@example.org")]
    }
    kept = [
        path
        for path in home.rglob("*")
        if path.is_file() and path.parent != home / "in" and b"ana@example" in path.read_bytes()
    ]
    assert kept == [settings.identity_path]


def test_aliases_join_two_sources_before_anything_lands(home: Path) -> None:
    (home / "roster").mkdir()
    (home / "roster" / "aliases.csv").write_text("namespace,user_id,person_id\na,ana,p1\nb,17,p1\n")
    write_csv(home / "a.csv", [event("ana")])
    write_csv(home / "b.csv", [event("17")])
    sources = [Source(name=n, path=f"{n}.csv", format="canonical") for n in ("a", "b")]
    settings = Settings(home=home, sources=tuple(sources), roster_path=Path("roster"))
    pull(settings, NOW)
    assert landed(settings)["learner_id"].nunique() == 1


def test_whoever_is_on_the_roster_can_be_found_without_events(home: Path) -> None:
    (home / "roster").mkdir()
    (home / "roster" / "learners.csv").write_text("user_id\nana\n")
    settings = Settings(home=home, roster_path=Path("roster"))
    pull(settings, NOW)
    ana = load_pseudonyms(settings).of("programme", "ana")
    assert source_users(settings.identity_path, [ana]) == {ana: [("programme", "ana")]}


def test_what_is_not_given_is_null(home: Path) -> None:
    write_csv(home / "in" / "a.csv", [event(score="", item_id=" ")])
    settings = settings_of(home)
    pulled(settings)
    (found,) = landed(settings).to_dict("records")
    given = {"source_event_id", "learner_id", "event_type", "occurred_at", "event_count"}
    assert {k for k, v in found.items() if not pd.isna(v) and not k.startswith("_")} == given


def test_an_event_without_an_id_gets_one_from_what_it_is(home: Path) -> None:
    one = event(item_id="i1")
    write_csv(home / "in" / "a.csv", [one, one, one | {"item_id": "i2"}, one | {"user_id": "ben"}])
    write_ndjson(home / "in" / "b.ndjson", [one, event(source_event_id="own")])
    settings = settings_of(home)
    pulled(settings)
    ids = landed(settings)["source_event_id"].tolist()
    assert ids[0] == ids[1] == ids[4]
    assert len(set(ids)) == 4 and ids[5] == "own"


def test_further_columns_are_kept_as_attributes(home: Path) -> None:
    write_csv(
        home / "in" / "a.csv",
        [event(device="phone", mood="", attributes='{"device": "tablet"}'), event(device="pc")],
    )
    write_ndjson(home / "in" / "b.ndjson", [event(nested={"a": [1, None]}), event()])
    settings = settings_of(home)
    attempt = pulled(settings)
    found = [None if pd.isna(text) else json.loads(text) for text in landed(settings)["attributes"]]
    assert found == [{"device": "tablet"}, {"device": "pc"}, {"nested": {"a": [1, None]}}, None]
    assert "a.csv: columns kept in attributes: device, mood" in attempt.notes


@pytest.mark.parametrize("column", ["e_mail", "First Name", "username", "gender", "student_id"])
def test_a_column_that_names_or_describes_a_person_is_not_landed(home: Path, column: str) -> None:
    write_csv(home / "in" / "a.csv", [event(**{column: "ana"})])
    settings = settings_of(home)
    attempt = pulled(settings)
    assert landed(settings)["attributes"].isna().all()
    assert attempt.notes == (f"a.csv: columns not landed: {column}",)


# Times


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-03-01T10:00:00Z", "2026-03-01T10:00"),
        ("2026-03-01T10:00Z", "2026-03-01T10:00"),
        ("2026-03-01T10:00:00.123456+02:00", "2026-03-01T08:00:00.123456"),
        ("2026-03-01T10:00+02:00", "2026-03-01T08:00"),
        ("2026-03-01 10:00:00-0330", "2026-03-01T13:30"),
        ("2026-03-01 10:00:00 UTC", "2026-03-01T10:00"),
        ("2026-03-01T10:00:00", "2026-03-01T09:00"),
        ("2026-03-01 10:00", "2026-03-01T09:00"),
        ("2026-03-01", "2026-02-28T23:00"),
        ("2025-07-01T10:00:00", "2025-07-01T08:00"),
        ("2025-03-30T02:30:00", "2025-03-30T01:30"),
    ],
)
def test_offsets_are_respected_and_naive_times_are_the_sources(
    home: Path, text: str, utc: str
) -> None:
    write_csv(home / "in" / "a.csv", [event(at=text)])
    settings = in_zone(settings_of(home), "Europe/Berlin")
    pulled(settings)
    assert landed(settings)["occurred_at"].tolist() == [datetime.fromisoformat(utc)]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_naive_times_without_a_zone_fail_the_file_and_say_what_to_do(
    home: Path, suffix: str
) -> None:
    rows = [event(at="2026-03-01 10:00:00")]
    if suffix == "csv":
        write_csv(home / "in" / "a.csv", rows)
    else:
        table = pa.Table.from_pylist([rows[0] | {"occurred_at": datetime(2026, 3, 1, 10)}])
        pq.write_table(table, home / "in" / "a.parquet")
    settings = settings_of(home)
    line = 2 if suffix == "csv" else 1
    attempt = pull_one(settings)
    assert attempt.error == (
        f"a.{suffix}:{line}: the times in 'occurred_at' have no offset; declare the timezone of"
        " the source 'tutor' in tutorflow.yml"
    )
    assert attempt.rows == 0 and not list(settings.landing.rglob("*.tmp"))
    assert pulled(in_zone(settings, "UTC")).rows == 1


def test_one_naive_time_among_others_costs_one_row(home: Path) -> None:
    write_csv(home / "in" / "a.csv", [event(), event(at="2026-03-01 10:00:00")])
    settings = settings_of(home)
    assert pulled(settings).rows == 1
    assert refusals(settings) == [
        (3, "occurred_at: a time without an offset, and no timezone is declared")
    ]


def test_more_than_an_hour_in_the_future_is_a_wrong_clock(home: Path) -> None:
    write_csv(
        home / "in" / "a.csv", [event(at="2026-03-02T13:00:00Z"), event(at="2026-03-02T13:00:01Z")]
    )
    settings = settings_of(home)
    assert pulled(settings).rows == 1
    assert refusals(settings) == [(3, "occurred_at: more than 1 h in the future")]


def test_what_is_announced_lies_in_the_future_and_moves_no_watermark(home: Path) -> None:
    due = event(at="2026-03-09T00:00:00Z") | {"event_type": "assignment_due"}
    write_csv(home / "in" / "a.csv", [event(at="2026-03-02T09:00:00Z"), due])
    settings = settings_of(home)
    attempt = pulled(settings)
    assert (attempt.rows, attempt.complete_until) == (2, datetime(2026, 3, 2, 9, tzinfo=UTC))


# Rows that are refused


BAD_VALUES: list[tuple[dict[str, Any], str]] = [
    ({"user_id": ""}, "user_id: missing"),
    ({"event_type": None}, "event_type: missing"),
    ({"occurred_at": " "}, "occurred_at: missing"),
    (
        {"occurred_at": "01/03/2026 10:00"},
        "occurred_at: not a timestamp (looks like 99/99/9999 99:99)",
    ),
    ({"occurred_at": "infinity"}, "occurred_at: not a timestamp (looks like aaaaaaaa)"),
    (
        {"received_at": "2026-02-30T10:00:00Z"},
        "received_at: not a timestamp (looks like 9999-99-99a99:99:99a)",
    ),
    ({"score": "3,5"}, "score: not a number (looks like 9,9)"),
    ({"score": "nan"}, "score: not a number (looks like aaa)"),
    ({"attempt_number": "1.5"}, "attempt_number: not a whole number (looks like 9.9)"),
    (
        {"attempt_number": "99999999999"},
        "attempt_number: not a whole number (looks like 99999999999)",
    ),
    ({"is_correct": "maybe"}, "is_correct: not true or false (looks like aaaaa)"),
    ({"attributes": "[1]"}, "attributes: not a JSON object (looks like [9])"),
    ({"attributes": "{"}, "attributes: not a JSON object (looks like {)"),
    (
        {"score": "Zoë", "user_id": ""},
        "user_id: missing; score: not a number (looks like aaa)",
    ),
]


@pytest.mark.parametrize("suffix", ["csv", "ndjson", "parquet"])
def test_a_bad_value_costs_its_row_and_nothing_else(home: Path, suffix: str) -> None:
    more = {"received_at": None, "score": None, "attempt_number": None, "is_correct": None}
    good = event(attributes=None, **more)
    rows = [row for fault, _ in BAD_VALUES for row in (good, good | fault)]
    path = home / "in" / f"a.{suffix}"
    if suffix == "csv":
        write_csv(path, rows)
    elif suffix == "ndjson":
        write_ndjson(path, rows)
    else:
        schema = pa.schema([(name, pa.string()) for name in good])
        pq.write_table(pa.Table.from_pylist(rows, schema), path)
    settings = settings_of(home)
    attempt = pulled(settings)
    assert (attempt.rows, attempt.quarantined) == (len(BAD_VALUES), len(BAD_VALUES))
    header = 1 if suffix == "csv" else 0
    expected = [(2 * i + 2 + header, reason) for i, (_, reason) in enumerate(BAD_VALUES)]
    assert refusals(settings) == expected
    (delivery,) = read_deliveries(settings.catalog_path)
    assert (delivery.rows, delivery.quarantined) == (len(BAD_VALUES), len(BAD_VALUES))


def test_numbers_and_booleans_may_be_written_in_several_ways(home: Path) -> None:
    ways = [("1.0", "TRUE"), ("+2", "0"), ("3.", "yes"), ("4", "F"), ("5.00", "1.0")]
    write_csv(home / "in" / "a.csv", [event(attempt_number=n, is_correct=b) for n, b in ways])
    settings = settings_of(home)
    pulled(settings)
    found = landed(settings)
    assert found["attempt_number"].tolist() == [1, 2, 3, 4, 5]
    assert found["is_correct"].tolist() == [True, False, True, False, True]


HEADER = "user_id,event_type,occurred_at,item_id\n"
GOOD = "ana,check_in,2026-03-01T10:00:00Z,i\n"


@pytest.mark.parametrize(
    ("text", "rows", "refused"),
    [
        (
            HEADER + GOOD + "ana,check_in\n" + GOOD,
            2,
            [(3, "2 values where the header names 4 columns")],
        ),
        (
            HEADER + GOOD + "a,b,c,d,e\n" + GOOD,
            2,
            [(3, "5 values where the header names 4 columns")],
        ),
        (
            HEADER + GOOD + GOOD.replace(",i", ',"i') + GOOD * 3,
            4,
            [(3, "a quote is opened and never closed")],
        ),
        (
            HEADER
            + GOOD
            + GOOD.replace(",i", ',"i')
            + GOOD * 200
            + GOOD.replace(",i", ',i"')
            + GOOD,
            202,
            [
                (3, "a quote is opened and never closed"),
                (204, "a quote is opened and never closed"),
            ],
        ),
        (
            HEADER + GOOD.replace(",i", ',"i" x') + GOOD,
            1,
            [(2, "not readable as CSV: ',' expected after '\"'")],
        ),
        (
            HEADER + GOOD.replace(",i", ',"i\ni"') * 2 + GOOD.replace("2026", "x") + "short\n",
            2,
            [
                (6, "occurred_at: not a timestamp (looks like a-99-99a99:99:99a)"),
                (7, "1 values where the header names 4 columns"),
            ],
        ),
    ],
    ids=["too few", "too many", "open quote", "two stray quotes", "text after quote", "true lines"],
)
def test_a_broken_line_of_csv_costs_that_line(
    home: Path, text: str, rows: int, refused: list[tuple[int, str]]
) -> None:
    (home / "in" / "a.csv").write_text(text)
    settings = settings_of(home)
    attempt = pulled(settings)
    assert (attempt.rows, refusals(settings)) == (rows, refused)


DIALECTS = {
    "crlf": (HEADER + GOOD * 2).replace("\n", "\r\n"),
    "cr": (HEADER + GOOD * 2).replace("\n", "\r"),
    "mixed": HEADER + GOOD.replace("\n", "\r\n") + GOOD,
    "bom": "\ufeff" + HEADER + GOOD * 2,
    "semicolon": (HEADER + GOOD * 2).replace(",", ";"),
    "tab": (HEADER + GOOD * 2).replace(",", "\t"),
    "blanks": "\n" + HEADER.replace(",", " , ") + GOOD + "\n\n" + GOOD.strip(),
    "quoted": HEADER + GOOD.replace("ana", '"ana"').replace(",i", ',"a ""quoted"",\ni"') + GOOD,
    "row names": "," + HEADER + "1," + GOOD + "2," + GOOD,
}


def test_the_dialects_of_csv_are_understood(home: Path) -> None:
    for name, text in DIALECTS.items():
        (home / "in" / f"{name}.csv").write_bytes(text.encode())
    settings = settings_of(home)
    assert pulled(settings).quarantined == 0
    found = landed(settings)
    assert found["learner_id"].nunique() == 1
    assert found["item_id"].str.endswith("i").all()
    assert dict(found["_path"].value_counts()) == {f"{name}.csv": 2 for name in DIALECTS}


def test_a_broken_line_of_ndjson_costs_that_line(home: Path) -> None:
    good = json.dumps(event(score=1.5, item_id=7, attributes={"a": [1.5, None]}))
    broken = ['{"user_id": "ana"', "[1, 2]", "3", "null", "plain", '{"a": 1} {"b": 2}']
    broken.append(r'{"user_id": "\ud800"}')
    lines = [line for one in broken for line in (good, "", one)]
    (home / "in" / "a.ndjson").write_text("\n".join(lines))
    settings = settings_of(home)
    attempt = pulled(settings)
    assert attempt.rows == len(broken)
    assert refusals(settings) == [(3 * n + 3, "not a JSON object") for n in range(len(broken))]
    ((score, item, attributes),) = (
        landed(settings)[["score", "item_id", "attributes"]].drop_duplicates().to_numpy()
    )
    assert (score, item, json.loads(attributes)) == (1.5, "7", {"a": [1.5, None]})


def test_the_careful_reader_lands_what_the_fast_one_does(home: Path) -> None:
    rows = [whole_event() | {"source_event_id": str(i), "device": "pc"} for i in range(50)]
    write_csv(home / "in" / "a.csv", rows)
    write_ndjson(home / "in" / "a.ndjson", rows)
    for name in ("a.csv", "a.ndjson"):
        text = (home / "in" / name).read_text()
        (home / "in" / f"b{name}").write_text(text + "broken\n")
    settings = settings_of(home)
    assert pulled(settings).rows == 200
    found = landed(settings)
    compared = [c for c in found if c not in ("_delivery_id", "_path")]
    by_file = [part[compared].reset_index(drop=True) for _, part in found.groupby("_path")]
    assert len(by_file) == 4
    for other in by_file[1:]:
        pd.testing.assert_frame_equal(by_file[0], other)


def test_a_flood_of_bad_rows_is_counted_whole_and_listed_in_part(home: Path) -> None:
    bad = GOOD.replace("2026", "x") * (MOST_REASONS + 5)
    (home / "in" / "a.csv").write_text(HEADER + GOOD + bad)
    settings = settings_of(home)
    assert pulled(settings).quarantined == MOST_REASONS + 5
    assert len(refusals(settings)) == MOST_REASONS + 1
    assert refusals(settings)[0] == (0, "and 5 more rows")


def test_a_verb_that_nobody_knows_is_landed(home: Path) -> None:
    write_csv(home / "in" / "a.csv", [event() | {"event_type": "juggled"}])
    settings = settings_of(home)
    pulled(settings)
    assert landed(settings)["event_type"].tolist() == ["juggled"]


# Files that are refused

GZIPPED = gzip.compress(os.urandom(50_000).hex().encode())


REFUSED_FILES: list[tuple[str, bytes, str]] = [
    ("a.csv", b"", "a.csv: empty; a CSV file starts with the names of its columns"),
    (
        "a.csv",
        b"User_Id,event_type,occurred_at\n",
        "a.csv: the required column 'user_id' is missing; did you mean 'User_Id'?",
    ),
    (
        "a.csv",
        b"<html><body>Please log in</body></html>",
        "a.csv: the required column 'user_id' is missing (and 2 more)",
    ),
    ("a.csv", (HEADER.strip() + ",item_id\n").encode(), "names the column 'item_id' twice"),
    (
        "a.csv",
        (HEADER + GOOD + GOOD.replace("ana", "Zoë")).encode("latin-1"),
        "a.csv:3: not UTF-8 (byte 0xeb); convert the file",
    ),
    ("a.csv", (HEADER + GOOD).encode("utf-16"), "it is UTF-16 text; save it as UTF-8"),
    ("a.csv", (HEADER + GOOD + "a\0b\n").encode(), "a.csv:3: holds a zero byte"),
    ("a.csv", b"PK\x03\x04rest", "it is a zip archive or spreadsheet"),
    ("a.csv", b"PAR1rest", "it is Parquet; name it *.parquet"),
    ("a.csv.gz", GZIPPED[:-200], "a.csv.gz: truncated gzip: its end is missing; send it again"),
    ("a.csv.gz", GZIPPED[:500] + b"x" + GZIPPED[501:], "a.csv.gz: damaged gzip"),
    (
        "a.ndjson",
        b'[{"user_id": 1},\n{"user_id": 2}]',
        "a JSON array; write one object per line",
    ),
    ("a.json", b'{\n "user_id": 1\n}', "JSON over several lines; write one object per line"),
    ("a.json", b"user_id,a\n", "not JSON; write one object per line"),
    ("a.json", b'{"user_id": 1}\n', "the required column 'event_type' is missing (and 1 more)"),
    ("a.parquet", b"user_id,event_type\n", "declared as parquet, but it is not Parquet"),
    ("a.parquet", b"PAR1" + b"x" * 50, "a.parquet: cut off: the end of the Parquet is missing"),
    ("a.parquet", b"PAR1" + b"x" * 50 + b"PAR1", "a.parquet: damaged Parquet"),
    ("a.parquet", gzip.compress(b"PAR1"), "it is gzip; Parquet is compressed inside"),
]


def test_a_file_that_cannot_be_read_says_why_and_stops_no_other(home: Path) -> None:
    write_csv(home / "in" / "00.csv", [event()])
    write_csv(home / "in" / "zz.csv", [event("ben")])
    for n, (name, content, _) in enumerate(REFUSED_FILES, 10):
        (home / "in" / f"{n}{name}").write_bytes(content)
    settings = settings_of(home)
    attempt = pull_one(settings)
    assert attempt.error is not None
    errors = attempt.error.splitlines()
    for n, ((name, _, said), error) in enumerate(zip(REFUSED_FILES, errors, strict=True), 10):
        assert error.startswith(f"{n}{name}:") and said in error
    assert (attempt.files, attempt.rows) == (2, 2)
    assert len(landed(settings)) == 2
    again = pull_one(settings)
    assert (again.error, again.files) == (attempt.error, 0)


def test_a_file_mended_is_taken_in(home: Path) -> None:
    path = home / "in" / "a.csv"
    path.write_bytes((HEADER + GOOD.replace("ana", "Zoë")).encode("latin-1"))
    settings = settings_of(home)
    assert pull_one(settings).error
    path.write_text(HEADER + GOOD.replace("ana", "Zoë"))
    assert pulled(settings).rows == 1


def test_gzip_is_known_by_its_content(home: Path) -> None:
    (home / "in" / "a.csv").write_bytes(gzip.compress((HEADER + GOOD).encode()))
    (home / "in" / "b.csv.gz").write_text(HEADER + GOOD.replace("ana", "ben"))
    two = gzip.compress((HEADER + GOOD).encode()) + gzip.compress(GOOD.replace("i", "j").encode())
    (home / "in" / "c.csv.gz").write_bytes(two)
    assert pulled(settings_of(home)).rows == 4


def test_a_file_that_changes_while_it_is_read_is_left_for_the_next_pull(home: Path) -> None:
    path = write_csv(home / "in" / "a.csv", [event()])
    settings = settings_of(home)
    intake, catalog = intake_of(settings)
    with intake.scratch, catalog:
        file = list_files(settings, settings.sources[0]).files[0]
        before = inspect(file)
        write_csv(path, [event(), event("ben")])
        with pytest.raises(InputError, match=r"a\.csv: changed while it was read"):
            intake.write(file, before, None)
    assert pulled(settings).rows == 2


# Where files are found


def test_an_absent_path_is_an_error_and_an_empty_folder_is_none(home: Path) -> None:
    assert pulled(settings_of(home)).files == 0
    for path in ("nowhere", "nowhere/*.csv"):
        error = pull_one(settings_of(home, path=path)).error
        assert error is not None
        assert "nowhere does not exist; check the path of the source 'tutor'" in error
    assert pulled(settings_of(home, path="in/*.csv")).files == 0


def test_a_source_is_a_file_a_folder_or_a_glob(home: Path) -> None:
    (home / "in" / "2026").mkdir()
    write_csv(home / "in" / "a.csv", [event("a")])
    write_csv(home / "in" / "2026" / "b.csv", [event("b")])
    write_csv(home / "in" / "2026" / "c.tsv", [event("c")])
    write_csv(home / "in" / ".hidden.csv", [event("d")])
    (home / "in" / "readme.txt").write_text("not data")
    for name, path, found in [
        ("file", "in/a.csv", ["a.csv"]),
        ("folder", "in", ["2026/b.csv", "2026/c.tsv", "a.csv"]),
        ("glob", "in/*.csv", ["a.csv"]),
        ("deep", "in/**/*.csv", ["2026/b.csv", "a.csv"]),
        ("absolute", str(home / "in" / "20*" / "*"), ["2026/b.csv", "2026/c.tsv"]),
    ]:
        settings = settings_of(home, name=name, path=path)
        attempt = pulled(settings)
        deliveries = read_deliveries(settings.catalog_path)
        assert [d.path for d in deliveries if d.source == name] == found
        assert attempt.files == len(found)
    assert pulled(settings_of(home, name="again")).notes == (
        "readme.txt was left out: not one of .csv, .tsv, .parquet, .ndjson, .jsonl, .json",
    )


def test_the_name_of_a_file_is_only_a_name(home: Path) -> None:
    (home / "in" / "user_id=ben").mkdir()
    for name in ("a[1].csv", "a1.csv", "user_id=ben/it's *.csv"):
        write_csv(home / "in" / name, [event(item_id=name)])
    pq.write_table(pa.Table.from_pylist([event()]), home / "in" / "user_id=ben" / "p?.parquet")
    settings = settings_of(home)
    attempt = pulled(settings)
    assert (attempt.files, attempt.rows, attempt.notes) == (4, 4, ())
    assert landed(settings)["learner_id"].nunique() == 1


def test_a_file_of_unknown_type_can_be_declared(home: Path) -> None:
    write_csv(home / "in" / "events.export", [event()])
    attempt = pull_one(settings_of(home, path="in/events.export"))
    assert attempt.error is not None
    assert "the type of the file is unknown" in attempt.error
    assert pulled(settings_of(home, path="in/events.export", file_type="csv")).rows == 1


# Once and only once


def test_the_same_bytes_are_taken_in_once(home: Path) -> None:
    path = write_csv(home / "in" / "a.csv", [event()])
    settings = settings_of(home)
    assert pulled(settings).files == 1
    os.utime(path, (1, 1))
    assert pulled(settings).files == 0
    path.rename(home / "in" / "b.csv")
    (home / "in" / "c.csv").write_bytes((home / "in" / "b.csv").read_bytes())
    assert pulled(settings).files == 0
    assert len(read_deliveries(settings.catalog_path)) == 1


def test_new_bytes_at_a_known_path_replace_the_earlier_delivery(home: Path) -> None:
    path = write_csv(home / "in" / "a.csv", [event()])
    settings = settings_of(home)
    (first,) = pulled(settings).deliveries
    write_csv(path, [event(), event("ben")])
    (second,) = pulled(settings).deliveries
    write_csv(path, [event()])
    (third,) = pulled(settings).deliveries
    replaced = {d.delivery_id: d.replaces for d in read_deliveries(settings.catalog_path)}
    assert replaced == {first: None, second: first, third: second}
    assert len({first, second, third}) == 3


def test_a_copy_that_stays_is_not_replaced(home: Path) -> None:
    path = write_csv(home / "in" / "a.csv", [event()])
    settings = settings_of(home)
    pulled(settings)
    (home / "in" / "b.csv").write_bytes(path.read_bytes())
    pulled(settings)
    write_csv(home / "in" / "b.csv", [event("ben")])
    pulled(settings)
    assert [d.replaces for d in read_deliveries(settings.catalog_path)] == [None, None]


def test_the_same_file_at_two_sources_is_two_deliveries(home: Path) -> None:
    write_csv(home / "in" / "a.csv", [event()])
    sources = [Source(name=n, path="in", format="canonical") for n in ("a", "b")]
    first, second = pull(Settings(home=home, sources=tuple(sources)), NOW)
    assert first.rows == second.rows == 1
    assert first.deliveries != second.deliveries


def intake_of(settings: Settings) -> tuple[Intake, sqlite3.Connection]:
    scratch = duckdb.connect()
    scratch.execute("set TimeZone = 'UTC'")
    intake = Intake(settings, settings.sources[0], load_pseudonyms(settings), scratch, NOW)
    settings.landing.mkdir(parents=True, exist_ok=True)
    return intake, sqlite3.connect(":memory:")


def test_killed_before_the_catalog_the_next_pull_ends_the_same(home: Path) -> None:
    write_csv(home / "in" / "a.csv", [event(), event("ben"), event(at="x")])
    settings = settings_of(home)
    intake, _ = intake_of(settings)
    with intake.scratch:
        file = list_files(settings, settings.sources[0]).files[0]
        written: Written = intake.write(file, inspect(file), None)
    left_behind = settings.landing / written.delivery.file
    assert left_behind.exists()
    left_behind.with_suffix(".tmp").write_bytes(b"half a file")
    assert read_deliveries(settings.catalog_path) == []
    assert landed(settings).empty
    pulled(settings)
    assert read_deliveries(settings.catalog_path) == [written.delivery]
    assert len(landed(settings)) == 2
    assert refusals(settings) == [(4, "occurred_at: not a timestamp (looks like a)")]
    assert [p.name for p in left_behind.parent.iterdir()] == [left_behind.name]


def test_recording_twice_is_recording_once(home: Path) -> None:
    write_csv(home / "in" / "a.csv", [event(), event(at="x")])
    settings = settings_of(home)
    pulled(settings)
    intake, _ = intake_of(settings)
    file = list_files(settings, settings.sources[0]).files[0]
    with intake.scratch, open_catalog(settings.catalog_path) as catalog:
        written = intake.write(file, inspect(file), None)
        intake.record(written, catalog)
    assert len(read_deliveries(settings.catalog_path)) == 1
    assert len(refusals(settings)) == 1


def test_a_killed_attempt_leaves_a_row_without_an_end(home: Path) -> None:
    settings = settings_of(home)
    pulled(settings)
    with open_catalog(settings.catalog_path) as catalog, catalog:
        catalog.execute(
            "insert into pull_attempts (source, started_at) values ('tutor', '2026-03-02')"
        )
    attempts = read_attempts(settings.catalog_path)
    assert attempts["finished_at"].isna().tolist() == [True, False]
    assert source_watermarks(settings, NOW)["complete_until"].isna().all()


def test_every_attempt_leaves_its_outcome(home: Path) -> None:
    write_csv(home / "in" / "a.csv", [event(), event(at="x")])
    (home / "in" / "b.csv").write_text("")
    settings = settings_of(home)
    attempt = pull_one(settings)
    (row,) = read_attempts(settings.catalog_path).to_dict("records")
    for name, value in dataclasses.asdict(attempt).items():
        if isinstance(value, datetime):
            value = value.replace(tzinfo=None)
        if isinstance(value, tuple):
            value = list(value)
        assert row[name] == value or (value is None and pd.isna(row[name])), name
    assert (attempt.files, attempt.rows, attempt.quarantined) == (1, 1, 1)
    assert attempt.error == "b.csv: empty; a CSV file starts with the names of its columns"


def test_a_wrong_key_or_roster_concerns_all_sources(home: Path) -> None:
    with pytest.raises(TutorflowError, match=r"the folder .* does not exist"):
        pull(Settings(home=home, roster_path=Path("nowhere")), NOW)
    with pytest.raises(ValueError, match="has no time zone"):
        pull(Settings(home=home), datetime(2026, 3, 1))


# Up to when a source is complete


def complete_until(settings: Settings, now: datetime = NOW) -> datetime | None:
    return pulled(settings, now).complete_until


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_before_anything_came_nothing_is_known(home: Path) -> None:
    settings = settings_of(home)
    assert complete_until(settings) is None
    (row,) = source_watermarks(settings, NOW).to_dict("records")
    assert pd.isna(row["complete_until"]) and row["is_retired"] is False
    assert source_watermarks(settings, NOW)["complete_until"].dtype == "datetime64[us]"


@pytest.mark.parametrize(
    ("last", "now", "zone", "expected"),
    [
        ("2026-03-02T09:30:00Z", "2026-03-02T12:00", "UTC", "2026-03-02T09:30"),
        ("2026-03-01T09:30:00Z", "2026-03-02T12:00", "UTC", "2026-03-02T00:00"),
        ("2026-03-01T23:30:00Z", "2026-03-02T12:00", "Europe/Berlin", "2026-03-01T23:30"),
        ("2026-03-01T22:30:00Z", "2026-03-02T12:00", "Europe/Berlin", "2026-03-01T23:00"),
        ("2026-03-02T12:40:00Z", "2026-03-02T12:00", "UTC", "2026-03-02T12:00"),
    ],
)
def test_the_last_event_says_up_to_when_its_day_counts_whole_once_over(
    home: Path, last: str, now: str, zone: str, expected: str
) -> None:
    write_csv(
        home / "in" / "a.csv", [event(), event(at=last), event("", at="2026-03-02T12:59:00Z")]
    )
    assert complete_until(settings_of(home, timezone=zone), utc(now)) == utc(expected)


def test_all_deliveries_count_and_new_knowledge_comes_with_a_pull(home: Path) -> None:
    write_csv(home / "in" / "a.csv", [event(at="2026-03-02T09:00:00Z")])
    write_csv(home / "in" / "b.csv", [event(at="2026-03-01T09:00:00Z")])
    settings = settings_of(home)
    assert complete_until(settings) == utc("2026-03-02T09:00")
    later = utc("2026-03-03T01:00")
    assert source_watermarks(settings, later)["complete_until"].tolist() == [
        datetime(2026, 3, 2, 9)
    ]
    assert complete_until(settings, later) == utc("2026-03-03T00:00")
    earlier = utc("2026-03-02T08:00")
    assert source_watermarks(settings, earlier)["complete_until"].tolist() == [
        datetime(2026, 3, 2, 8)
    ]


def test_a_source_that_fails_keeps_its_old_watermark(home: Path) -> None:
    write_csv(home / "in" / "a.csv", [event(at="2026-03-02T09:00:00Z")])
    settings = settings_of(home)
    pulled(settings)
    write_csv(home / "in" / "b.csv", [event(at="2026-03-02T11:00:00Z")])
    (home / "in" / "c.csv").write_text("")
    attempt = pull_one(settings)
    assert attempt.rows == 1
    assert attempt.complete_until == utc("2026-03-02T09:00")
    assert source_watermarks(settings, NOW)["complete_until"].tolist() == [datetime(2026, 3, 2, 9)]
    (home / "in" / "c.csv").unlink()
    assert complete_until(settings) == utc("2026-03-02T11:00")


def test_a_manifest_says_up_to_when_also_if_it_comes_later(home: Path) -> None:
    write_csv(home / "in" / "a.csv", [event()])
    settings = settings_of(home, complete_until="manifest")
    assert complete_until(settings) is None
    manifest = home / "in" / "a.csv.manifest.json"
    manifest.write_text('{"complete_until": "2026-03-02T11:00:00+01:00"}')
    assert complete_until(settings) == utc("2026-03-02T10:00")
    write_csv(home / "in" / "b.csv", [event("ben")])
    assert complete_until(settings) == utc("2026-03-02T10:00")
    (home / "in" / "b.csv.manifest.json").write_text('{"complete_until": "2026-03-01"}')
    assert complete_until(settings) == utc("2026-03-02T10:00")


def test_an_hour_with_the_same_bytes_as_another_still_says_how_far_it_goes(home: Path) -> None:
    for hour in (10, 11):
        path = home / "in" / f"h{hour}.csv"
        write_csv(path, [event()])
        end = f'{{"complete_until": "2026-03-02T{hour}:00:00Z"}}'
        path.with_name(f"{path.name}.manifest.json").write_text(end)
        settings = settings_of(home, complete_until="manifest")
        assert complete_until(settings) == utc(f"2026-03-02T{hour}:00")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "a.csv.manifest.json: not a manifest; it should read"),
        ('{"complete_until": "soon"}', "a.csv.manifest.json: 'soon' is not a time"),
        (
            '{"complete_until": "2026-03-02T11:00:00"}',
            "has no offset; write one, or declare the timezone of the source 'tutor'",
        ),
    ],
)
def test_a_faulty_manifest_fails_the_attempt_but_the_file_lands(
    home: Path, text: str, said: str
) -> None:
    write_csv(home / "in" / "a.csv", [event()])
    (home / "in" / "a.csv.manifest.json").write_text(text)
    settings = settings_of(home, complete_until="manifest")
    attempt = pull_one(settings)
    assert attempt.error is not None and said in attempt.error
    assert (attempt.rows, attempt.complete_until) == (1, None)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("events-2026-03-02T10.csv", "2026-03-02T10:00"),
        ("events-2026030210.csv", "2026-03-02T10:00"),
        ("events-20260302T103000.csv", "2026-03-02T10:30"),
        ("events-2026-03-01.csv", "2026-03-02T00:00"),
        ("events-20260301.csv", "2026-03-02T00:00"),
        ("events-2026-03-02.csv", "2026-03-02T12:00"),
    ],
)
def test_the_name_of_a_delivery_may_say_up_to_when(home: Path, name: str, expected: str) -> None:
    write_csv(home / "in" / name, [event()])
    settings = settings_of(
        home, complete_until="delivered", delivered_pattern=r"events-(?P<end>[0-9T-]+)\.csv"
    )
    assert complete_until(settings) == utc(expected)


def test_a_retired_source_is_marked_from_that_day_on(home: Path) -> None:
    settings = settings_of(home, retired_on=date(2026, 3, 2), timezone="Europe/Berlin")
    before, after = utc("2026-03-01T22:59"), utc("2026-03-01T23:00")
    assert source_watermarks(settings, before)["is_retired"].tolist() == [False]
    assert source_watermarks(settings, after)["is_retired"].tolist() == [True]


def test_a_retired_source_may_be_gone(home: Path) -> None:
    settings = settings_of(home, path="gone", retired_on=date(2026, 3, 2))
    assert pull_one(settings, utc("2026-03-01T10:00")).error is not None
    assert len(pulled(settings).notes) == 1


def test_watermarks_say_what_the_sources_deliver(home: Path) -> None:
    settings = settings_of(home, event_types=("check_in",), courses=("algebra",))
    (row,) = source_watermarks(settings, NOW).to_dict("records")
    assert (row["source"], row["event_types"], row["courses"]) == (
        "tutor",
        ["check_in"],
        ["algebra"],
    )


# The other formats


def write_oulad(folder: Path, **tables: str) -> None:
    for name, text in tables.items():
        (folder / f"{name}.csv").write_text(text)


CLICKS = "code_module,code_presentation,id_student,id_site,date,sum_click\n"


def test_days_of_a_presentation_are_days_of_the_calendar(home: Path) -> None:
    write_oulad(
        home / "in",
        studentVle=CLICKS + "AAA,2013J,1,9,-10,4\nAAA,2013J,1,9,3,1\nAAA,2013J,1,9,3,1\n",
        studentAssessment="id_assessment,id_student,date_submitted,is_banked,score\n5,1,900,0,?\n",
        studentInfo="id_student,gender\n1,F\n",
        notes="a,b\n1,2\n",
    )
    settings = in_zone(settings_of(home, format="oulad"), "Europe/London")
    attempt = pulled(settings)
    assert attempt.rows == 4
    assert attempt.complete_until == utc("2013-10-04T23:00")
    assert attempt.notes == (
        "notes.csv was left out: no table of oulad has this name",
        "studentInfo.csv was left out: oulad never reads it",
    )
    clicks = landed(settings, "oulad_clicks")
    assert clicks["date"].tolist() == [-10, 3, 3]
    assert clicks["sum_click"].sum() == 6
    (submission,) = landed(settings, "oulad_submissions").to_dict("records")
    assert submission["is_banked"] is False and pd.isna(submission["score"])


def test_a_presentation_or_day_that_cannot_be_is_quarantined(home: Path) -> None:
    write_oulad(
        home / "in",
        studentVle=CLICKS + "AAA,2013X,1,9,0,4\nAAA,2013B,1,9,2147483647,1\nAAA,2026B,1,9,40,1\n",
    )
    settings = settings_of(home, format="oulad")
    assert pulled(settings).rows == 0
    assert refusals(settings) == [
        (2, "code_presentation: not a value like 2013J (looks like 9999a)"),
        (3, "date: not a value like -10 (looks like 9999999999)"),
        (4, "date: more than 1 h in the future"),
    ]


def test_a_misnamed_file_of_a_format_with_many_is_an_error(home: Path) -> None:
    write_oulad(home / "in", studentVles=CLICKS)
    attempt = pull_one(settings_of(home, format="oulad", path="in/studentVles.csv"))
    assert attempt.error == (
        "studentVles.csv: no table of oulad has this name; did you mean 'studentVle'?"
    )


def test_cloze_times_are_the_sources_and_minus_one_is_no_latency(home: Path) -> None:
    write_csv(
        home / "in" / "a.csv",
        [
            {
                "Anon.Student.Id": "Stu_1",
                "Time": "2015-11-02 19:49:38",
                "Problem.Start.Time": "2015-11-02 19:49:06",
                "Level..Unitname.": "Statistics Practice",
                "Problem.Name": "p",
                "Outcome": "STUDY",
                "KC..Cluster.": "15 mean",
                "CF..Start.Latency.": -1,
                "CF..End.Latency.": 12005,
                "CF..Response.Time.": 1446515390344.0,
            }
        ],
    )
    settings = settings_of(home, format="statistics_cloze")
    settings = in_zone(settings, "America/Chicago")
    attempt = pulled(settings)
    assert attempt.complete_until == utc("2015-11-03T06:00")
    (trial,) = landed(settings, "statistics_cloze_trials").to_dict("records")
    assert trial["time"] == datetime(2015, 11, 3, 1, 49, 38)
    assert pd.isna(trial["start_latency_ms"]) and trial["end_latency_ms"] == 12005
    assert trial["response_time_ms"] == 1446515390344


@needs_shared_data
def test_the_real_sets_land_whole(home: Path) -> None:
    oulad = Source(name="oulad", path=str(SHARED_DATA / "oulad"), format="oulad")
    cloze = Source(
        name="cloze",
        path=str(SHARED_DATA / "statistics_cloze" / "*.csv.gz"),
        format="statistics_cloze",
        timezone="America/Chicago",
    )
    settings = Settings(home=home, timezone="Europe/London", sources=(oulad, cloze))
    first, second = pull(settings, NOW)
    assert first.error is None and second.error is None
    assert first.quarantined == second.quarantined == 0
    rows = {d.table_name: d.rows for d in read_deliveries(settings.catalog_path)}
    assert rows == {
        "clicks": 753_564,
        "submissions": 14_405,
        "registrations": 2_515,
        "assessments": 24,
        "courses": 3,
        "resources": 728,
        "trials": 58_316,
    }
    assert first.complete_until == utc("2015-06-27T23:00")
    assert second.complete_until == utc("2015-12-08T06:00")
    register_landing(settings)
    with open_warehouse(settings) as warehouse:
        assert warehouse.execute(
            "select sum(sum_click), count(distinct learner_id) from landing.oulad_clicks"
        ).fetchone() == (2_594_563, 2_239)
        assert warehouse.execute(
            "select count(distinct learner_id), count(*) filter (outcome = 'STUDY'),"
            " count(*) filter (input = '[timeout]') from landing.statistics_cloze_trials"
        ).fetchone() == (478, 3_194, 8_811)
    assert [a.files for a in pull(settings, NOW + timedelta(hours=1))] == [0, 0]


def test_scratch_work_leaves_nothing_behind(tmp_path: Path) -> None:
    with open_scratch(tmp_path / "spill") as scratch:
        assert scratch.execute("select 1").fetchone() == (1,)
    assert list((tmp_path / "spill").iterdir()) == []
