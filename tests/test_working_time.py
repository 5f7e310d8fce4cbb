"""Due times run in the coach's working hours and time zone."""

from __future__ import annotations

from datetime import datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutorflow.decide.working_time import Coach, due_at, next_working_moment, parse_workdays

UTC_COACH = Coach("kim")  # Mon-Fri, 09:00-17:00, UTC
BERLIN = Coach("lea", timezone="Europe/Berlin")
NEW_YORK = Coach("max", timezone="America/New_York")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("due", "given", "expected"),
    [
        # 2026-03-02 is a Monday
        ("same day", "2026-03-02T10:00", "2026-03-02T17:00"),
        ("same day", "2026-03-02T07:00", "2026-03-02T17:00"),
        ("same day", "2026-03-02T16:59", "2026-03-02T17:00"),
        ("same day", "2026-03-02T17:00", "2026-03-03T17:00"),
        ("same day", "2026-03-06T18:00", "2026-03-09T17:00"),  # Friday evening -> Monday
        ("same day", "2026-03-07T12:00", "2026-03-09T17:00"),  # Saturday -> Monday
        ("24 hours", "2026-03-02T10:00", "2026-03-03T10:00"),
        ("24 hours", "2026-03-02T20:00", "2026-03-04T09:00"),  # begins Tuesday 09:00
        ("24 hours", "2026-03-06T10:00", "2026-03-09T09:00"),  # Saturday 10:00 -> Monday
        ("48 hours", "2026-03-05T10:00", "2026-03-09T09:00"),
        ("1 hour", "2026-03-02T10:00", "2026-03-02T11:00"),
        ("1 hour", "2026-03-02T05:00", "2026-03-02T10:00"),
        ("1 hour", "2026-03-02T16:00", "2026-03-02T17:00"),  # the last minute still counts
        ("1 hour", "2026-03-02T16:30", "2026-03-03T09:00"),
        ("1 hour", "2026-03-07T12:00", "2026-03-09T10:00"),
        ("24 hours", "2026-03-02T09:00", "2026-03-03T09:00"),
        ("8 hours", "2026-03-06T09:00", "2026-03-06T17:00"),
    ],
)
def test_due_times_run_in_working_hours(due: str, given: str, expected: str) -> None:
    assert due_at(due, utc(given), UTC_COACH) == utc(expected)


def test_nothing_is_due_of_what_stays_with_the_ai() -> None:
    assert due_at("none", utc("2026-03-02T10:00"), UTC_COACH) is None


@pytest.mark.parametrize(
    ("due", "given", "coach", "expected"),
    [
        # working hours of Berlin are 08-16 UTC in winter, 07-15 in summer (from 29 March 2026)
        ("same day", "2026-03-27T10:00", BERLIN, "2026-03-27T16:00"),
        ("same day", "2026-03-30T10:00", BERLIN, "2026-03-30T15:00"),
        ("same day", "2026-03-27T16:30", BERLIN, "2026-03-30T15:00"),
        ("24 hours", "2026-03-27T10:00", BERLIN, "2026-03-30T07:00"),
        ("24 hours", "2026-10-23T10:00", BERLIN, "2026-10-26T08:00"),
        # 24 hours are 24 hours on the day the clocks change, for somebody who works on Sundays
        ("24 hours", "2026-03-28T11:00", Coach("zoe", timezone="Europe/Berlin",
            workdays=frozenset(range(7))), "2026-03-29T11:00"),
        ("24 hours", "2026-10-24T10:00", Coach("zoe", timezone="Europe/Berlin",
            workdays=frozenset(range(7))), "2026-10-25T10:00"),
        # Monday 01:00 UTC is Sunday evening in New York
        ("same day", "2026-03-02T01:00", NEW_YORK, "2026-03-02T22:00"),
    ],
)  # fmt: skip
def test_due_times_follow_the_coach_s_clock(
    due: str, given: str, coach: Coach, expected: str
) -> None:
    assert due_at(due, utc(given), coach) == utc(expected)


def test_the_coach_s_day_is_the_local_one() -> None:
    assert str(NEW_YORK.local_date(utc("2026-03-02T01:00"))) == "2026-03-01"
    assert str(BERLIN.local_date(utc("2026-03-01T23:30"))) == "2026-03-02"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mon-Fri", {0, 1, 2, 3, 4}),
        ("Mon,Wed,Sat", {0, 2, 5}),
        ("sat - mon", {5, 6, 0}),
        ("Sunday", {6}),
        ("Mon-Tue, Thu-Fri", {0, 1, 3, 4}),
    ],
)
def test_workdays_are_written_as_names(text: str, expected: set[int]) -> None:
    assert parse_workdays(text) == expected


@pytest.mark.parametrize("text", ["", "Mo-Fr", "Mon-Funday", "1-5", "Mon;Fri", "Mon-", "Monkey"])
def test_other_workdays_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="use names such as"):
        parse_workdays(text)


ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]
coaches = st.builds(
    Coach,
    coach_id=st.just("kim"),
    timezone=st.sampled_from(ZONES),
    workdays=st.sets(st.integers(0, 6), min_size=1).map(frozenset),
    start=st.integers(0, 12).map(time),
    end=st.integers(13, 23).map(time),
)
instants = st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1))


@given(coaches, instants, st.sampled_from(["same day", "1 hour", "24 hours", "72 hours"]))
def test_due_times_lie_ahead_and_within_working_hours(coach: Coach, at: datetime, due: str) -> None:
    found = due_at(due, at, coach)
    assert found is not None
    assert found > at
    local = coach.local(found)
    assert local.weekday() in coach.workdays
    assert coach.start <= local.time() <= coach.end
    assert found - at <= timedelta(days=15)


@given(coaches, instants)
def test_a_working_moment_is_its_own_next_one(coach: Coach, at: datetime) -> None:
    first = next_working_moment(coach.local(at), coach)
    assert next_working_moment(first, coach) == first
