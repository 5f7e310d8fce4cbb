"""Weekly summaries: written by the tick that closes the week, from what was known then."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any

import duckdb
import pytest
from builders import COURSE, on, signal

from expectations.texts import harsh_word
from tutorflow.decide.candidates import fit
from tutorflow.decide.episodes import Alert, Evidence
from tutorflow.decide.summaries import Week, close_week, summarise, week_closed
from tutorflow.decide.ticks import OpenState
from tutorflow.policy import load_policy
from tutorflow.publish import misfits

POLICY = load_policy()
ANA, BEN = (f"00000000-0000-0000-0000-00000000000{digit}" for digit in "ab")
MONDAY = on(28).date()  # four weeks after day 0
CLOSED = on(35)


@pytest.mark.parametrize(
    ("since", "as_of", "zone", "monday"),
    [
        (on(6, "23:00"), on(7), "UTC", on(0).date()),
        (on(6, "22:00"), on(6, "23:00"), "UTC", None),
        (on(7), on(7, "01:00"), "UTC", None),
        (on(6, "22:00"), on(6, "23:00"), "Europe/Berlin", on(0).date()),
        (on(6), on(7), "UTC", on(0).date()),
    ],
)
def test_the_tick_that_reaches_monday_closes_the_week(
    since: datetime, as_of: datetime, zone: str, monday: date | None
) -> None:
    assert week_closed(since, as_of, zone) == monday


@pytest.fixture(scope="module")
def warehouse() -> Iterator[duckdb.DuckDBPyConnection]:
    """Ana: two active days a week for four weeks, three in the fifth; ben: never there."""
    connection = duckdb.connect()
    connection.execute("create schema marts")
    connection.execute(
        "create table marts.learner_days (learner_id uuid, course_id varchar, activity_date date, "
        "response_count bigint, correct_count bigint, known_at timestamp)"
    )
    connection.execute(
        "create table marts.response_skills (learner_id uuid, skill_id varchar, "
        "p_mastery_before double, p_mastery_after double, opportunity bigint, known_at timestamp)"
    )
    for day in (0, 1, 7, 8, 14, 15, 21, 22, 28, 29, 30, 35):
        correct = 9 if day >= 28 else 6
        connection.execute(
            "insert into marts.learner_days values (?, ?, ?, 10, ?, ?)",
            [ANA, COURSE, on(day).date(), correct, on(day + 1) - timedelta(microseconds=1)],
        )
    for skill, before, after, at in (
        ("fractions", 0.94, 0.96, on(28, "09:00")),
        ("ratios", 0.3, 0.4, on(29, "09:00")),
        ("ratios", 0.4, 0.99, on(35, "09:00")),  # after the week
    ):
        connection.execute(
            "insert into marts.response_skills values (?, ?, ?, ?, 1, ?)",
            [ANA, skill, before, after, at],
        )
    yield connection
    connection.close()


def an_alert(status: str = "open", closed_at: datetime | None = None) -> Alert:
    return Alert(
        alert_id="alert",
        key=(ANA, COURSE, "content"),
        alert_tier=2,
        opening_tier=2,
        opened_at=on(29, "10:00"),
        policy_version="p",
        status=status,  # type: ignore[arg-type]
        closed_at=closed_at,
        close_reason=None if closed_at is None else "recovered",
        evidence=[Evidence(signal(ANA, at=on(29, "09:00")))],
    )


def summarised(
    warehouse: duckdb.DuckDBPyConnection, *alerts: Alert, learners: tuple[str, ...] = (ANA, BEN)
) -> dict[str, dict[str, Any]]:
    state = OpenState({alert.key: alert for alert in alerts})
    week = close_week(MONDAY, CLOSED, "UTC", state, POLICY)
    rows = summarise(
        warehouse, [week], POLICY, {"ratios": "Ratios"}, lambda _: learners, lambda *_: "kim"
    )
    assert misfits("learner_summaries", fit("learner_summaries", rows)) == []
    texts = [row[part] for row in rows for part in ("went_well", "changed", "to_watch")]
    assert [text for text in texts if harsh_word(text)] == []
    return {row["learner_id"]: row for row in rows}


def test_a_summary_says_what_went_well_what_changed_and_what_to_watch(
    warehouse: duckdb.DuckDBPyConnection,
) -> None:
    row = summarised(warehouse, an_alert())[ANA]
    assert (row["iso_week"], row["week_start_date"], row["coach_id"]) == (
        "2026-W14",
        MONDAY,
        "kim",
    )
    assert row["went_well"] == (
        "active on 3 days; 30 answers, 90% right; newly mastered: fractions"
    )
    assert row["changed"] == (
        "active days 3, usually 2.0; right answers 90%, 60% in the four weeks before"
    )
    assert row["to_watch"] == (
        "open since 2026-03-31: repeated misses on one skill (alert tier 2); "
        "furthest from mastered: Ratios (0.40)"
    )
    assert (row["active_days"], row["answers"], row["open_alerts"]) == (3, 30, 1)


def test_what_was_sorted_out_in_the_week_went_well(warehouse: duckdb.DuckDBPyConnection) -> None:
    inside = summarised(warehouse, an_alert("closed", on(30, "10:00")))[ANA]
    assert "repeated misses on one skill: sorted out" in inside["went_well"]
    assert inside["open_alerts"] == 0
    before = summarised(warehouse, an_alert("closed", on(28)))[ANA]
    assert "sorted out" not in before["went_well"]


def test_everybody_on_a_caseload_has_a_summary(warehouse: duckdb.DuckDBPyConnection) -> None:
    row = summarised(warehouse)[BEN]
    assert row["went_well"] == "nothing recorded this week"
    assert row["to_watch"] == "has not started yet"


def test_without_caseloads_those_seen_lately_have_one(
    warehouse: duckdb.DuckDBPyConnection,
) -> None:
    assert set(summarised(warehouse, learners=())) == {ANA}


def test_several_weeks_in_one_pass_are_the_same_as_one_by_one(
    warehouse: duckdb.DuckDBPyConnection,
) -> None:
    weeks = [Week(on(day).date(), on(day), on(day + 7)) for day in (21, 28)]

    def run(*some: Week) -> list[dict[str, Any]]:
        return summarise(warehouse, some, POLICY, {}, lambda _: (ANA, BEN), lambda *_: "kim")

    assert run(*weeks) == [*run(weeks[0]), *run(weeks[1])]
    assert run(weeks[0])[0]["changed"] == "too early to compare with earlier weeks"


def test_a_week_without_activity_is_said_calmly(warehouse: duckdb.DuckDBPyConnection) -> None:
    week = Week(on(42).date(), on(42), on(49))
    (row,) = summarise(warehouse, [week], POLICY, {}, lambda _: (ANA,), lambda *_: "kim")
    assert row["changed"] == "not active this week; last seen 2026-04-06"
    assert row["to_watch"] == "was not there this week"
