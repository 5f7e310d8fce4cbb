"""Showing up, starting, handing in, answering: where each rule fires and where the line is."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from builders import (
    Row,
    assignment,
    days,
    frames,
    hours,
    minutes,
    on,
    policy,
    seen_by,
    session,
)
from contact_rows import (
    appointment,
    contact,
    findings_of,
    fired,
    message,
    opening,
    reflection,
    reflections,
)

from tutorflow.decide.frames import LOOKBACK
from tutorflow.decide.rule import RULES
from tutorflow.decide.signals import find


class TestMissedSessions:
    def test_two_in_a_row_fire_tier_2_and_three_tier_3(self) -> None:
        rows = [appointment(day) for day in (0, 7, 14)]
        assert fired("missed_sessions", appointments=rows) == [
            (2, on(7, "18:00")),
            (3, on(14, "18:00")),
        ]

    def test_one_does_not(self) -> None:
        assert fired("missed_sessions", appointments=[appointment(0)]) == []

    def test_a_session_attended_in_between_breaks_the_row(self) -> None:
        rows = [appointment(0), appointment(7, attended=on(7, "17:02")), appointment(14)]
        assert fired("missed_sessions", appointments=rows) == []

    def test_coming_within_the_hour_of_grace_is_coming(self) -> None:
        def rows(came: str) -> list[Row]:
            return [appointment(0), appointment(7, attended=on(7, came))]

        assert fired("missed_sessions", appointments=rows("18:00")) == []
        assert fired("missed_sessions", appointments=rows("18:00:01")) == [(2, on(7, "18:00"))]

    def test_a_cancelled_session_neither_counts_nor_breaks_the_row(self) -> None:
        rows = [appointment(0), appointment(7, called_off=on(6, "12:00"))]
        assert fired("missed_sessions", appointments=rows) == []
        assert fired("missed_sessions", appointments=[*rows, appointment(14)]) == [
            (2, on(14, "18:00"))
        ]

    def test_calling_off_afterwards_is_too_late(self) -> None:
        rows = [appointment(0), appointment(7, called_off=on(7, "19:00"))]
        assert fired("missed_sessions", appointments=rows) == [(2, on(7, "18:00"))]

    def test_sessions_four_weeks_apart_are_not_in_a_row(self) -> None:
        assert fired("missed_sessions", appointments=[appointment(0), appointment(28)]) == []
        nearer = [appointment(0), appointment(28, at="16:59")]
        assert fired("missed_sessions", appointments=nearer) == [(2, on(28, "17:59"))]

    def test_it_waits_for_a_late_feed(self) -> None:
        rule = RULES["missed_sessions"]
        assert rule.is_absence
        assert set(rule.needs) == {"session_scheduled", "session_attended"}


class TestUnansweredOutreach:
    def test_two_messages_without_an_answer_fire_after_the_second_s_48_hours(self) -> None:
        rows = [message(0), message(3)]
        assert fired("unanswered_outreach", messages=rows) == [(2, on(5, "09:00"))]

    def test_one_does_not(self) -> None:
        assert fired("unanswered_outreach", messages=[message(0)]) == []

    def test_an_answer_within_48_hours_counts(self) -> None:
        in_time = [message(0), message(3, replied=on(5, "09:00"))]
        too_late = [message(0), message(3, replied=on(5, "09:01"))]
        assert fired("unanswered_outreach", messages=in_time) == []
        assert fired("unanswered_outreach", messages=too_late) == [(2, on(5, "09:00"))]

    def test_coming_back_to_work_is_an_answer_unless_the_policy_says_otherwise(self) -> None:
        rows = [message(0), message(3, active=on(4, "12:00"))]
        assert fired("unanswered_outreach", messages=rows) == []
        assert fired("unanswered_outreach", {"activity_counts": False}, messages=rows) == [
            (2, on(5, "09:00"))
        ]

    def test_messages_of_the_ai_tutor_count_only_if_the_policy_says_so(self) -> None:
        rows = [message(0, actor="ai_tutor"), message(3, actor="ai_tutor")]
        assert fired("unanswered_outreach", messages=rows) == []
        assert fired("unanswered_outreach", {"from_ai_tutor": True}, messages=rows) != []

    def test_it_closes_when_the_learner_answers_or_works(self) -> None:
        found = findings_of(
            "unanswered_outreach",
            messages=[message(0), message(3)],
            human_contacts=[contact(6, learns=True), contact(7)],
            learning_sessions=[session(day=8)],
        ).recoveries
        answered = found[found["kind"] == "answered"]
        assert answered["at"].tolist() == [on(6, "09:00"), on(8, "10:00")]


class TestSkippedReflections:
    def test_three_in_a_row_fire(self) -> None:
        assert fired("skipped_reflections", reflections=reflections("sss")) == [(2, on(2, "10:00"))]

    def test_two_do_not(self) -> None:
        assert fired("skipped_reflections", reflections=reflections("ss")) == []

    def test_a_check_in_breaks_the_row(self) -> None:
        assert fired("skipped_reflections", reflections=reflections("sscss")) == []

    def test_it_fires_once_while_it_holds(self) -> None:
        assert len(fired("skipped_reflections", reflections=reflections("ssssscsss"))) == 2

    def test_reflections_of_other_learners_do_not_add_up(self) -> None:
        rows = [*reflections("ss"), *reflections("s", learner="ben")]
        assert fired("skipped_reflections", reflections=rows) == []

    def test_four_weeks_is_the_limit(self) -> None:
        late = [reflection(day, is_skipped=True) for day in (0, 14, 28)]
        assert fired("skipped_reflections", reflections=late) == []


class TestOpenedNotStarted:
    def test_three_sessions_without_an_attempt_fire_tier_1_when_the_third_is_over(self) -> None:
        rows = [opening(day) for day in (0, 1, 2)]
        assert fired("opened_not_started", opened_sessions=rows) == [(1, on(2, "09:30"))]

    def test_two_do_not(self) -> None:
        assert fired("opened_not_started", opened_sessions=[opening(0), opening(1)]) == []

    @pytest.mark.parametrize("tried", [{"answers": 1}, {"hints": 1}, {"handed_in": True}])
    def test_any_attempt_breaks_the_row(self, tried: dict[str, Any]) -> None:
        rows = [opening(0), opening(1, **tried), opening(2), opening(3)]
        assert fired("opened_not_started", opened_sessions=rows) == []

    def test_reading_for_a_while_is_work(self) -> None:
        def rows(events: int) -> list[Row]:
            return [opening(day, events=events) for day in (0, 1, 2)]

        assert fired("opened_not_started", opened_sessions=rows(5)) == []
        assert fired("opened_not_started", opened_sessions=rows(4)) != []

    def test_a_fortnight_is_the_limit(self) -> None:
        apart = [opening(day) for day in (0, 7, 14)]
        nearer = [opening(0), opening(7), opening(14, at="08:59")]
        assert fired("opened_not_started", opened_sessions=apart) == []
        assert fired("opened_not_started", opened_sessions=nearer) != []


def openings(*seconds: float) -> list[Row]:
    return [opening(day, answers=5, seconds=s) for day, s in enumerate(seconds)]


class TestSlowToStart:
    def test_two_of_three_starts_of_twice_the_usual_time_fire_tier_1(self) -> None:
        rows = openings(*[50] * 10, 100, 100, 100)
        assert fired("slow_to_start", opened_sessions=rows) == [(1, on(11, "09:30"))]

    def test_a_little_less_than_twice_does_not(self) -> None:
        assert fired("slow_to_start", opened_sessions=openings(*[50] * 10, 99, 99, 99)) == []

    def test_one_long_start_does_not(self) -> None:
        assert fired("slow_to_start", opened_sessions=openings(*[50] * 10, 50, 900, 50)) == []

    def test_less_than_a_minute_is_never_slow(self) -> None:
        assert fired("slow_to_start", opened_sessions=openings(*[20] * 10, 59, 59, 59)) == []
        assert fired("slow_to_start", opened_sessions=openings(*[20] * 10, 60, 60, 60)) != []

    def test_five_sessions_must_come_before(self) -> None:
        assert fired("slow_to_start", opened_sessions=openings(*[50] * 4, 200, 200, 200)) == []
        assert fired("slow_to_start", opened_sessions=openings(*[50] * 5, 200, 200, 200)) != []

    def test_sessions_without_an_answer_have_no_start(self) -> None:
        rows = openings(*[50] * 10, 100)
        assert fired("slow_to_start", opened_sessions=[*rows, opening(11), opening(12)]) == []


class TestLateWork:
    def test_two_within_a_fortnight_fire_tier_1(self) -> None:
        rows = [assignment(due=day, item=f"essay {day}") for day in (0, 7)]
        assert fired("late_work", assignments=rows) == [(1, on(7))]

    def test_a_fourth_within_four_weeks_fires_tier_2(self) -> None:
        rows = [assignment(due=day, item=f"essay {day}") for day in (0, 7, 14, 21)]
        assert fired("late_work", assignments=rows[:3]) == [(1, on(7))]
        assert (2, on(21)) in fired("late_work", assignments=rows)

    def test_handed_in_when_due_is_in_time_and_a_moment_later_is_late(self) -> None:
        in_time = [assignment(due=0), assignment(due=7, submitted=on(7), item="essay 2")]
        late = [assignment(due=0), assignment(due=7, submitted=on(7) + minutes(1), item="essay 2")]
        assert fired("late_work", assignments=in_time) == []
        assert fired("late_work", assignments=late) == [(1, on(7))]

    def test_grace_is_added_to_the_due_time(self) -> None:
        rows = [assignment(due=0), assignment(due=7, submitted=on(8), item="essay 2")]
        when = {"assignments_late": 2, "days": 14, "grace_hours": 24}
        assert fired("late_work", when, assignments=rows) == []
        assert fired("late_work", {**when, "grace_hours": 23}, assignments=rows) == [
            (2, on(7, "23:00"))
        ]

    def test_a_fortnight_apart_is_too_far(self) -> None:
        rows = [assignment(due=day, item=f"essay {day}") for day in (0, 14)]
        assert fired("late_work", assignments=rows) == []


def test_a_session_with_a_person_is_a_session_of_work() -> None:
    found = findings_of("missed_sessions", human_contacts=[contact(3, is_session=True)]).recoveries
    assert {"worked_session", "human_contact", "answered"} == set(found["kind"])


def busy_weeks() -> dict[str, list[Row]]:
    """Nine weeks of a learner, with ups and downs in everything these rules look at."""
    busy = [day for day in range(60) if day % 9 <= 5]
    return {
        "appointments": [
            appointment(day, attended=on(day, "17:05") if day % 21 == 0 else None)
            for day in range(0, 63, 7)
        ],
        "messages": [
            message(day, replied=on(day, "12:00") if day == 20 else None) for day in range(0, 60, 5)
        ],
        "reflections": reflections("sscsssscssss" * 5),
        "opened_sessions": [
            *(opening(day, answers=4, seconds=40 + 9 * (day % 20)) for day in busy),
            *(opening(day) for day in range(60) if day not in busy),
        ],
        "assignments": [assignment(due=day, item=f"essay {day}") for day in range(0, 60, 6)],
    }


@pytest.mark.parametrize(
    "rule",
    [
        *("missed_sessions", "unanswered_outreach", "skipped_reflections"),
        *("opened_not_started", "slow_to_start", "late_work"),
    ],
)
def test_every_hour_finds_what_one_long_window_finds(rule: str) -> None:
    rows = busy_weeks()
    whole, used, long = frames(**rows), policy(only=[rule]), fired(rule, **rows)
    assert long
    for _, at in long:
        hour = at.replace(minute=0, second=0, microsecond=0)
        for begin in (hour - hours(1), hour, hour + days(1)):
            end = begin + hours(1)
            seen = seen_by(whole, begin, end, LOOKBACK)
            found = find(seen, used, pd.Timestamp(begin), pd.Timestamp(end), {}).signals
            assert sorted(zip(found["alert_tier"], found["fired_at"], strict=True)) == [
                (tier, other) for tier, other in long if begin <= other < end
            ]
