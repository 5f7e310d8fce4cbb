"""Ticks end on whole hours or midnights of the programme's zone; instants are aware and in UTC."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutorflow.errors import TutorflowError
from tutorflow.hours import (
    Tick,
    day_end,
    day_start,
    floor_tick,
    local_date,
    next_tick,
    parse_as_of,
    parse_duration,
    parse_instant,
    previous_tick,
    ticks_between,
    to_aware_utc,
    to_naive_utc,
)

BERLIN, KOLKATA, LORD_HOWE = "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_an_hour_tick_ends_at_the_last_whole_hour() -> None:
    assert floor_tick(utc("2026-03-01T10:59:59.9"), "hour") == utc("2026-03-01T10:00")
    assert floor_tick(utc("2026-03-01T10:00"), "hour") == utc("2026-03-01T10:00")


def test_whole_hours_are_those_of_the_programme_zone() -> None:
    assert floor_tick(utc("2026-03-01T10:40"), "hour", KOLKATA) == utc("2026-03-01T10:30")


def test_a_day_tick_ends_at_midnight_of_the_programme_zone() -> None:
    assert floor_tick(utc("2026-03-01T23:30"), "day", BERLIN) == utc("2026-03-01T23:00")
    assert floor_tick(utc("2026-03-01T22:30"), "day", BERLIN) == utc("2026-02-28T23:00")


@pytest.mark.parametrize(
    ("start", "hours"),
    [("2026-03-28T23:00", 23), ("2026-10-24T22:00", 25), ("2026-05-04T22:00", 24)],
)
def test_a_day_tick_has_the_hours_of_its_day(start: str, hours: int) -> None:
    assert next_tick(utc(start), "day", BERLIN) - utc(start) == timedelta(hours=hours)


def test_every_hour_of_the_days_when_the_clock_changes_is_a_tick() -> None:
    ends = ticks_between(utc("2026-10-24T22:00"), utc("2026-10-25T23:00"), "hour", BERLIN)
    assert len(ends) == 25
    assert {after - before for before, after in pairwise(ends)} == {timedelta(hours=1)}


def test_ticks_between_leaves_out_the_last_and_takes_in_as_of() -> None:
    assert ticks_between(utc("2026-03-01T10:00"), utc("2026-03-01T12:00"), "hour") == [
        utc("2026-03-01T11:00"),
        utc("2026-03-01T12:00"),
    ]
    assert ticks_between(utc("2026-03-01T10:00"), utc("2026-03-01T10:59"), "hour") == []
    assert ticks_between(utc("2026-03-01T12:00"), utc("2026-03-01T10:00"), "hour") == []


@given(
    at=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
    tick=st.sampled_from(["hour", "day"]),
    zone=st.sampled_from(["UTC", BERLIN, KOLKATA, LORD_HOWE, "America/Havana", "Asia/Beirut"]),
)
def test_ticks_follow_each_other_without_gap(at: datetime, tick: Tick, zone: str) -> None:
    end = floor_tick(at, tick, zone)
    following = next_tick(end, tick, zone)
    assert end <= at < following or (zone == LORD_HOWE and tick == "hour")
    assert following > end
    assert previous_tick(following, tick, zone) == end
    assert floor_tick(end, tick, zone) == end


def test_the_calendar_day_is_the_zones() -> None:
    assert local_date(utc("2026-03-01T23:30"), BERLIN) == date(2026, 3, 2)
    assert day_start(date(2026, 3, 2), BERLIN) == utc("2026-03-01T23:00")
    assert day_end(utc("2026-03-01T23:30"), BERLIN) == utc("2026-03-02T23:00")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-01T10", "2026-03-01T09:00"),
        ("2026-03-01", "2026-02-28T23:00"),
        ("2026-03-01 10:30", "2026-03-01T09:30"),
        ("2026-03-01T10:30:00+05:30", "2026-03-01T05:00"),
        ("2026-03-01T10:30:00Z", "2026-03-01T10:30"),
    ],
)
def test_an_instant_without_an_offset_is_a_wall_time(text: str, expected: str) -> None:
    assert parse_instant(text, BERLIN) == utc(expected)


def test_as_of_is_floored() -> None:
    assert parse_as_of("2026-03-01T10:59", "hour") == utc("2026-03-01T10:00")
    assert parse_as_of("2026-03-01T10:59", "day") == utc("2026-03-01T00:00")


def test_something_that_is_no_time_says_how_to_write_one() -> None:
    with pytest.raises(TutorflowError, match="'yesterday' is not a time; write it like"):
        parse_instant("yesterday")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7 days", timedelta(days=7)),
        ("72h", timedelta(hours=72)),
        ("1 h", timedelta(hours=1)),
        ("30 min", timedelta(minutes=30)),
        ("2 weeks", timedelta(days=14)),
        ("1.5 hours", timedelta(minutes=90)),
    ],
)
def test_durations_are_written_with_their_unit(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["7", "days", "7 dayz", "-1 h", ""])
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a length of time"):
        parse_duration(text)


def test_naive_and_aware_utc_turn_into_each_other() -> None:
    aware = datetime.fromisoformat("2026-03-01T10:00:00+02:00")
    assert to_naive_utc(aware) == datetime(2026, 3, 1, 8)
    assert to_aware_utc(datetime(2026, 3, 1, 8)) == aware
    with pytest.raises(ValueError, match="has no time zone"):
        to_naive_utc(datetime(2026, 3, 1, 8))
