"""Every rule at every level: what fires it, what does not, and where exactly the line is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from builders import (
    Row,
    answers,
    assignment,
    calendar,
    enrolment,
    hours,
    low_score,
    on,
    response,
    session,
)
from firing import fired, fired_on

from tutorflow.decide.rule import RULES
from tutorflow.decide.rules.series import trailing_sum
from tutorflow.policy import load_policy


def test_every_rule_of_the_shipped_policy_is_tested() -> None:
    tests = "".join(file.read_text() for file in Path(__file__).parent.glob("test_*.py"))
    classes = {name.lower() for name in re.findall(r"^class Test(\w+)", tests, flags=re.MULTILINE)}
    named = {rule for rule in RULES if rule.replace("_", "") in classes or f'"{rule}"' in tests}
    assert set(RULES) == named == set(load_policy().rules)


class TestRepeatedMisses:
    """x wrong, o right without help, h right after a hint; mastery is set where it matters."""

    def test_three_misses_among_few_tries_fire_tier_1(self) -> None:
        assert fired("repeated_misses", responses=answers("xhxhx")) == [(1, "ana-5")]

    def test_two_misses_do_not(self) -> None:
        assert fired("repeated_misses", responses=answers("xhxhh")) == []

    def test_three_misses_within_ten_tries_fire_but_not_within_eleven(self) -> None:
        assert fired("repeated_misses", responses=answers("xxhhhhhhhx", p_mastery_after=0.5)) == [
            (1, "ana-10")
        ]
        assert fired("repeated_misses", responses=answers("xxhhhhhhhhx", p_mastery_after=0.5)) == []

    def test_a_correct_answer_without_help_among_the_last_three_is_productive_struggle(
        self,
    ) -> None:
        assert fired("repeated_misses", responses=answers("xoxox")) == []
        assert fired("repeated_misses", responses=answers("xxoxx", p_mastery_after=0.5)) == []

    def test_productive_struggle_ends_when_the_correct_answer_is_four_tries_ago(self) -> None:
        assert fired("repeated_misses", responses=answers("xoxxx", p_mastery_after=0.5)) == [
            (1, "ana-5")
        ]

    def test_a_mastered_skill_fires_nothing(self) -> None:
        assert fired("repeated_misses", responses=answers("xxxx", p_mastery_after=0.95)) == []
        assert fired("repeated_misses", responses=answers("xhxhx", p_mastery_after=0.94)) == [
            (1, "ana-5")
        ]

    def test_four_in_a_row_fire_tier_2_whatever_the_mastery(self) -> None:
        assert fired("repeated_misses", responses=answers("xxxx", p_mastery_after=0.9)) == [
            (1, "ana-3"),
            (2, "ana-4"),
        ]

    def test_three_in_a_row_fire_tier_2_only_below_the_mastery_of_the_level(self) -> None:
        low, at_threshold = (
            answers("xxx", p_mastery_after=0.29),
            answers("xxx", p_mastery_after=0.3),
        )
        assert fired("repeated_misses", responses=low) == [(1, "ana-3"), (2, "ana-3")]
        assert fired("repeated_misses", responses=at_threshold) == [(1, "ana-3")]

    def test_misses_on_different_skills_do_not_add_up(self) -> None:
        rows = [*answers("xx"), *answers("xx", at="09:10", skill="ratios")]
        assert fired("repeated_misses", responses=rows) == []

    def test_later_attempts_at_an_item_do_not_count(self) -> None:
        rows = [*answers("xx"), *answers("xx", at="09:10", attempt=2)]
        assert fired("repeated_misses", responses=rows) == []

    def test_answers_without_a_skill_do_not_count(self) -> None:
        assert fired("repeated_misses", responses=answers("xxxx", skill=None)) == []

    def test_it_fires_once_while_it_holds_and_again_after_it_was_false(self) -> None:
        level = {"alert_tier": 2, "when": {"in_a_row": 4}}
        assert fired("repeated_misses", level, responses=answers("xxxxxxx")) == [(2, "ana-4")]
        assert fired("repeated_misses", level, responses=answers("xxxxxhxxxx")) == [
            (2, "ana-4"),
            (2, "ana-10"),
        ]

    def test_it_rearms_after_28_days_without_an_answer(self) -> None:
        level = {"alert_tier": 2, "when": {"in_a_row": 4}}
        soon = [*answers("xxxx"), *answers("x", day=28, at="09:03")]
        late = [*answers("xxxx"), *answers("x", day=28, at="09:04")]
        assert fired("repeated_misses", level, responses=soon) == [(2, "ana-4")]
        assert fired("repeated_misses", level, responses=late) == [(2, "ana-4"), (2, "ana-5")]


class TestWheelSpinning:
    def test_ten_chances_without_three_right_in_a_row_fire_tier_2(self) -> None:
        assert fired("wheel_spinning", responses=answers("xxoxxoxxox")) == [(2, "ana-10")]

    def test_nine_chances_do_not(self) -> None:
        assert fired("wheel_spinning", responses=answers("xxoxxoxxo")) == []

    def test_three_right_in_a_row_at_any_time_do_not(self) -> None:
        assert fired("wheel_spinning", responses=answers("xoooxxxxxxxx", p_mastery_max=0.5)) == []

    def test_mastery_at_any_time_does_not(self) -> None:
        assert fired("wheel_spinning", responses=answers("xxoxxoxxox", p_mastery_max=0.95)) == []
        assert fired("wheel_spinning", responses=answers("xxoxxoxxox", p_mastery_max=0.94)) != []

    def test_a_later_session_still_without_it_fires_tier_3(self) -> None:
        rows = [*answers("xxoxxoxxox"), *answers("xo", day=1, session="s2")]
        assert fired("wheel_spinning", responses=rows) == [(2, "ana-10"), (3, "ana-11")]

    def test_more_of_the_same_session_does_not_fire_tier_3(self) -> None:
        assert fired("wheel_spinning", responses=answers("xxoxxoxxoxxoxx")) == [(2, "ana-10")]

    def test_a_session_on_another_skill_does_not_fire_tier_3(self) -> None:
        rows = [*answers("xxoxxoxxox"), *answers("xo", day=1, session="s2", skill="ratios")]
        assert fired("wheel_spinning", responses=rows) == [(2, "ana-10")]

    def test_a_session_28_days_later_is_a_new_first_one(self) -> None:
        just = [*answers("xxoxxoxxox"), *answers("x", day=28, at="09:08:59", session="s2")]
        late = [*answers("xxoxxoxxox"), *answers("x", day=28, at="09:09", session="s2")]
        assert (3, "ana-11") in fired("wheel_spinning", responses=just)
        assert (3, "ana-11") not in fired("wheel_spinning", responses=late)


class TestAccuracyDecline:
    def test_twenty_points_below_the_own_forty_before_fire(self) -> None:
        rows = answers("ooooooxooo" * 4 + "ooxoxooxox" * 2)  # 90 % before, 60 % now
        assert fired("accuracy_decline", responses=rows)[0][0] == 2

    def test_exactly_twenty_points_fire_and_one_answer_less_does_not(self) -> None:
        exactly = [response(accuracy_of_previous_40=0.7, accuracy_of_last_20=0.5)]
        less = [response(accuracy_of_previous_40=0.7, accuracy_of_last_20=0.55)]
        assert fired("accuracy_decline", responses=exactly) == [(2, "ana-1")]
        assert fired("accuracy_decline", responses=less) == []

    def test_exactly_twenty_points_fire_at_every_level_of_accuracy(self) -> None:
        rows = [
            response(
                f"learner {right}",
                accuracy_of_previous_40=right / 40,
                accuracy_of_last_20=(right // 2 - 4) / 20,
            )
            for right in range(8, 41, 2)
        ]
        assert len(fired("accuracy_decline", responses=rows)) == len(rows)

    def test_fewer_than_sixty_answers_do_not(self) -> None:
        assert fired("accuracy_decline", responses=answers("o" * 40 + "x" * 19)) == []

    def test_a_rise_does_not(self) -> None:
        assert fired("accuracy_decline", responses=answers("x" * 40 + "o" * 20)) == []


def slow(z: float | None, wrong: int = 2, **columns: Any) -> Row:
    return response(
        log_seconds_z=float("nan") if z is None else z, wrong_of_last_5=wrong, **columns
    )


class TestSlowResponses:
    def test_slow_while_answers_go_wrong_fires_tier_1(self) -> None:
        assert fired("slow_responses", responses=[slow(2.1)]) == [(1, "ana-1")]

    def test_slowness_alone_does_not(self) -> None:
        assert fired("slow_responses", responses=[slow(5.0, wrong=1)]) == []

    def test_exactly_two_deviations_do_not(self) -> None:
        assert fired("slow_responses", responses=[slow(2.0)]) == []

    def test_wrong_answers_alone_do_not(self) -> None:
        assert fired("slow_responses", responses=[slow(0.5, wrong=5), slow(None, wrong=5)]) == []

    def test_ten_timed_answers_must_come_first(self) -> None:
        pace = [25.0, 35.0] * 5
        nine = [response(seconds=s, at=f"09:{n:02}") for n, s in enumerate([*pace[:9], 500.0])]
        ten = [response(seconds=s, at=f"09:{n:02}") for n, s in enumerate([*pace, 500.0])]
        assert fired("slow_responses", responses=nine) == []
        assert fired("slow_responses", responses=ten) == [(1, "ana-11")]

    def test_twice_in_one_session_fires_tier_2(self) -> None:
        rows = [slow(3.0, at="09:00"), slow(0.0, at="09:01"), slow(3.0, at="09:02")]
        assert fired("slow_responses", responses=rows) == [
            (1, "ana-1"),
            (1, "ana-3"),
            (2, "ana-3"),
        ]

    def test_once_in_each_of_two_sessions_does_not_fire_tier_2(self) -> None:
        rows = [
            slow(3.0, at="09:00"),
            slow(0.0, at="09:01"),
            slow(3.0, at="15:00", session="s2"),
        ]
        assert fired("slow_responses", responses=rows) == [(1, "ana-1"), (1, "ana-3")]

    def test_one_long_stretch_counts_once(self) -> None:
        rows = [slow(3.0, at="09:00"), slow(3.0, at="09:01"), slow(3.0, at="09:02")]
        assert fired("slow_responses", responses=rows) == [(1, "ana-1")]

    def test_the_form_with_the_own_median_needs_three_slow_items_in_a_row(self) -> None:
        level = {"alert_tier": 1, "when": {"times_own_median": 2.0, "items": 3}}
        times = [30.0] * 12 + [61.0] * 3
        rows = [response(seconds=s, at=f"09:{n:02}") for n, s in enumerate(times)]
        assert fired("slow_responses", level, responses=rows[:-1]) == []
        assert fired("slow_responses", level, responses=rows) == [(1, "ana-15")]
        exactly = [{**row, "response_seconds": min(row["response_seconds"], 60.0)} for row in rows]
        assert fired("slow_responses", level, responses=exactly) == []


def quick(pattern: str, seconds: float = 2.0, **same: Any) -> list[Row]:
    """``x`` very quick and wrong, ``o`` very quick and right, ``s`` slow and wrong."""
    rows = answers(pattern.replace("s", "x"), **same)
    for mark, row in zip(pattern, rows, strict=True):
        row["response_seconds"] = 40.0 if mark == "s" else seconds
    return rows


class TestRapidGuessing:
    def test_three_quick_wrong_answers_in_a_row_fire_tier_1(self) -> None:
        assert fired("rapid_guessing", responses=quick("xxx")) == [(1, "ana-3")]

    def test_quick_right_answers_do_not(self) -> None:
        assert fired("rapid_guessing", responses=quick("o" * 30)) == []
        assert fired("rapid_guessing", responses=quick("xxoxxo")) == []

    def test_slow_wrong_answers_do_not(self) -> None:
        assert fired("rapid_guessing", responses=quick("xxsxxs")) == []

    def test_quick_is_below_a_tenth_of_the_item_s_mean_time(self) -> None:
        assert fired("rapid_guessing", responses=quick("xxx", seconds=5.9)) != []
        assert fired("rapid_guessing", responses=quick("xxx", seconds=6.0)) == []

    def test_quick_is_never_more_than_ten_seconds(self) -> None:
        long_item = {"item_mean_seconds": 500.0}
        assert fired("rapid_guessing", responses=quick("xxx", seconds=9.9, **long_item)) != []
        assert fired("rapid_guessing", responses=quick("xxx", seconds=10.0, **long_item)) == []

    def test_an_item_with_fewer_than_ten_timed_answers_has_no_mean(self) -> None:
        assert fired("rapid_guessing", responses=quick("xxx", item_seconds_count=9)) == []
        assert fired("rapid_guessing", responses=quick("xxx", item_seconds_count=10)) != []

    def test_an_answer_without_a_time_does_not_count(self) -> None:
        rows = quick("xxx")
        rows[1]["response_seconds"] = None
        assert fired("rapid_guessing", responses=rows) == []

    def test_three_tenths_of_the_last_twenty_fire_tier_1(self) -> None:
        six, five = "oxxooxxooxxooooooooo", "oxxooxxooxoooooooooo"
        assert fired("rapid_guessing", responses=quick(six)) == [(1, "ana-20")]
        assert fired("rapid_guessing", responses=quick(five)) == []

    def test_a_share_needs_twenty_answers(self) -> None:
        assert fired("rapid_guessing", responses=quick("oxxooxxooxxoooooooo")) == []

    def test_a_second_session_fires_tier_2(self) -> None:
        rows = [*quick("xxxo"), *quick("xxxo", day=3, session="s2")]
        assert fired("rapid_guessing", responses=rows) == [
            (1, "ana-3"),
            (1, "ana-7"),
            (2, "ana-7"),
        ]

    def test_a_second_session_of_the_other_form_fires_tier_2(self) -> None:
        often = "oxxooxxooxxooooooooo"
        rows = [*quick(often), *quick("oooooxxx", day=3, session="s2")]
        assert fired("rapid_guessing", responses=rows) == [
            (1, "ana-20"),
            (1, "ana-28"),
            (2, "ana-28"),
        ]
        rows = [*quick("xxx"), *quick(often, day=3, session="s2")]
        assert [s for s in fired("rapid_guessing", responses=rows) if s[0] == 2] == [(2, "ana-20")]

    def test_a_second_session_without_a_quick_answer_does_not_fire_tier_2(self) -> None:
        rows = [*quick("oxxooxxooxxooooooooo"), *quick("oo", day=3, session="s2")]
        assert [s for s in fired("rapid_guessing", responses=rows) if s[0] == 2] == []

    def test_twice_in_one_session_does_not_fire_tier_2(self) -> None:
        assert fired("rapid_guessing", responses=quick("xxxoxxxo")) == [(1, "ana-3"), (1, "ana-7")]

    def test_a_second_session_after_14_days_does_not_fire_tier_2(self) -> None:
        just = [*quick("xxxo"), *quick("xxxo", day=14, at="08:59", session="s2")]
        late = [*quick("xxxo"), *quick("xxxo", day=14, at="09:00", session="s2")]
        assert (2, "ana-7") in fired("rapid_guessing", responses=just)
        assert (2, "ana-7") not in fired("rapid_guessing", responses=late)

    def test_guesses_of_weeks_ago_are_not_in_a_row_with_today_s(self) -> None:
        rows = [*quick("xx"), *quick("x", day=15, session="s2")]
        assert fired("rapid_guessing", responses=rows) == []


class TestAbandonment:
    def test_two_unfinished_sessions_in_a_week_fire_tier_2(self) -> None:
        rows = [session(day=0, abandoned=1), session(day=3, open_item=True)]
        assert fired("abandonment", learning_sessions=rows) == [(2, "ana-0305T0900")]

    def test_one_does_not(self) -> None:
        rows = [session(day=0, abandoned=1), session(day=3)]
        assert fired("abandonment", learning_sessions=rows) == []

    def test_a_third_fires_tier_3(self) -> None:
        rows = [session(day=day, abandoned=1) for day in (0, 2, 4)]
        assert fired("abandonment", learning_sessions=rows) == [
            (2, "ana-0304T0900"),
            (3, "ana-0306T0900"),
        ]

    def test_an_item_left_in_a_session_left_open_counts_once(self) -> None:
        both = session(day=0, abandoned=1, open_item=True)
        assert fired("abandonment", learning_sessions=[both]) == []
        assert fired("abandonment", learning_sessions=[both, session(day=1, abandoned=1)]) == [
            (2, "ana-0303T0900")
        ]

    def test_items_of_one_session_count_each(self) -> None:
        assert fired("abandonment", learning_sessions=[session(abandoned=2)]) == [
            (2, "ana-0302T0900")
        ]

    def test_seven_days_apart_do_not_and_a_minute_less_does(self) -> None:
        apart = [session(day=0, abandoned=1), session(day=7, abandoned=1)]
        nearer = [session(day=0, abandoned=1), session(day=7, at="08:59", abandoned=1)]
        assert fired("abandonment", learning_sessions=apart) == []
        assert fired("abandonment", learning_sessions=nearer) != []

    def test_a_finished_session_rearms_it(self) -> None:
        rows = [session(day=day, abandoned=left) for day, left in ((0, 1), (1, 1), (2, 0), (3, 1))]
        level = {"alert_tier": 2, "when": {"times": 2, "days": 7}}
        assert fired("abandonment", level, learning_sessions=rows) == [
            (2, "ana-0303T0900"),
            (2, "ana-0305T0900"),
        ]

    def test_it_is_known_when_the_session_is_over(self) -> None:
        rows = [session(day=0, abandoned=2, at="09:00", lasts=30)]
        assert fired_on("abandonment", learning_sessions=rows) == [(2, on(0, "10:00"))]


class TestSilentAfterLowScore:
    def test_two_silent_days_fire_tier_1_and_four_tier_3(self) -> None:
        assert fired_on("silent_after_low_score", low_scores=[low_score(score=0.3)]) == [
            (1, on(2, "09:00")),
            (3, on(4, "09:00")),
        ]

    def test_a_learner_who_came_back_does_not(self) -> None:
        rows = [low_score(back=on(1, "15:00"))]
        assert fired("silent_after_low_score", low_scores=rows) == []

    def test_coming_back_at_the_last_moment_is_in_time(self) -> None:
        at_last = [low_score(back=on(2, "09:00"))]
        too_late = [low_score(back=on(2, "09:00:01"))]
        assert fired("silent_after_low_score", low_scores=at_last) == []
        assert fired("silent_after_low_score", low_scores=too_late) == [(1, "ana-quiz 1-scored")]

    def test_half_of_the_points_is_not_low(self) -> None:
        assert fired("silent_after_low_score", low_scores=[low_score(score=0.5)]) == []
        assert fired("silent_after_low_score", low_scores=[low_score(score=0.49)]) != []

    def test_a_missing_score_is_not_low(self) -> None:
        assert fired("silent_after_low_score", low_scores=[low_score(score=float("nan"))]) == []


class TestInactive:
    def test_seven_silent_days_fire_tier_2_and_fourteen_tier_3(self) -> None:
        assert fired_on("inactive", calendar=calendar(active=[0, 1, 2])) == [
            (2, on(9, "10:00")),
            (3, on(16, "10:00")),
        ]

    def test_its_anchor_is_the_last_active_day(self) -> None:
        assert fired("inactive", calendar=calendar(active=[0, 1, 2])) == [
            (2, "2026-03-04"),
            (3, "2026-03-04"),
        ]

    def test_a_source_of_whole_days_counts_from_the_end_of_the_day(self) -> None:
        last = "23:59:59.999999"
        rows = calendar(active=[0, 1, 2], at=last)
        assert fired_on("inactive", calendar=rows) == [(2, on(9, last)), (3, on(16, last))]

    def test_coming_back_at_the_last_moment_is_in_time(self) -> None:
        def back(at: str) -> list[Row]:
            rows = calendar(active=[0, 1, 2], until=9)
            return [{**row, "next_activity_at": on(9, at)} for row in rows]

        assert fired("inactive", calendar=back("10:00")) == []
        assert fired("inactive", calendar=back("10:01")) == [(2, "2026-03-04")]

    def test_a_learner_above_the_cohort_percentile_does_not(self) -> None:
        for share, expected in ((0.19, 2), (0.2, 0), (0.8, 0)):
            rows = calendar(active=[0, 1, 2], cohort_share_below=share)
            assert len(fired("inactive", calendar=rows)) == expected

    def test_a_small_cohort_has_no_percentiles(self) -> None:
        for size, expected in ((19, 2), (20, 0)):
            rows = calendar(active=[0, 1, 2], cohort_share_below=0.8, cohort_size=size)
            assert len(fired("inactive", calendar=rows)) == expected

    def test_it_fires_once_for_each_silence(self) -> None:
        rows = calendar(active=[0, 12, 13])
        assert fired_on("inactive", calendar=rows)[:2] == [
            (2, on(7, "10:00")),
            (2, on(20, "10:00")),
        ]

    def test_a_single_day_of_activity_is_enough_to_fall_silent(self) -> None:
        assert fired_on("inactive", calendar=calendar(active=[0]))[0] == (2, on(7, "10:00"))


class TestNeverStarted:
    def test_three_days_fire_tier_1_and_seven_tier_2(self) -> None:
        assert fired_on("never_started", enrolments=[enrolment(day=1)]) == [(1, on(4)), (2, on(8))]

    def test_a_start_in_time_does_not(self) -> None:
        assert fired("never_started", enrolments=[enrolment(first=on(2, "12:00"))]) == []

    def test_a_start_at_the_last_moment_is_in_time(self) -> None:
        assert fired("never_started", enrolments=[enrolment(first=on(3))]) == []
        assert fired("never_started", enrolments=[enrolment(first=on(3, "00:01"))]) == [
            (1, "enrolled")
        ]


REGULAR = {day: 20 for week in range(4) for day in (7 * week, 7 * week + 2)}  # two days a week


class TestActivityDrop:
    """Four regular weeks (days 0-27), then a week that is judged at the end of day 34."""

    def test_a_week_at_half_of_the_habit_fires_tier_1_at_the_end_of_the_day(self) -> None:
        rows = calendar(active={**REGULAR, 28: 20}, until=34)[-1:]
        assert fired_on("activity_drop", calendar=rows) == [(1, on(34, "23:59:59.999999"))]

    def test_a_week_at_less_than_a_third_fires_tier_2(self) -> None:
        third = calendar(active={**REGULAR, 28: 13}, until=34)[-1:]
        above = calendar(active={**REGULAR, 28: 14}, until=34)[-1:]
        assert (2, "2026-04-05") in fired("activity_drop", calendar=third)
        assert fired("activity_drop", calendar=above) == [(1, "2026-04-05")]

    def test_exactly_six_tenths_fire_and_a_little_more_does_not(self) -> None:
        at_share = calendar(active={**REGULAR, 28: 24}, until=34)[-1:]
        above = calendar(active={**REGULAR, 28: 25}, until=34)[-1:]
        assert fired("activity_drop", calendar=at_share) == [(1, "2026-04-05")]
        assert fired("activity_drop", calendar=above) == []

    def test_a_week_with_a_single_active_day_before_is_no_habit(self) -> None:
        irregular = {day: 20 for day in REGULAR if day != 9}
        rows = calendar(active={**irregular, 28: 5}, until=34)[-1:]
        assert fired("activity_drop", calendar=rows) == []

    def test_a_short_history_is_no_habit(self) -> None:
        rows = calendar(active={7: 20, 9: 20, 14: 20, 16: 20, 21: 20, 23: 20, 28: 5}, until=34)
        assert fired("activity_drop", calendar=rows) == []

    def test_it_fires_once_while_it_holds(self) -> None:
        rows = calendar(active=dict.fromkeys(range(28), 20), until=50)
        assert [tier for tier, _ in fired("activity_drop", calendar=rows)] == [1, 2]


class TestFirstAssignmentMissing:
    def test_seven_days_after_it_was_due_fire_tier_2(self) -> None:
        rows = [assignment(due=3)]
        assert fired_on("first_assignment_missing", assignments=rows) == [(2, on(10))]

    def test_submitted_late_but_within_the_seven_days_does_not(self) -> None:
        assert fired("first_assignment_missing", assignments=[assignment(submitted=on(7))]) == []
        rows = [assignment(submitted=on(7) + hours(1))]
        assert fired("first_assignment_missing", assignments=rows) == [(2, "ana-essay 1-due")]

    def test_submitted_before_it_was_due_does_not(self) -> None:
        rows = [assignment(due=3, submitted=on(1))]
        assert fired("first_assignment_missing", assignments=rows) == []

    def test_only_the_first_assignment_counts(self) -> None:
        rows = [assignment(submitted=on(0)), assignment(due=5, item="essay 2", number=2)]
        assert fired("first_assignment_missing", assignments=rows) == []


@pytest.mark.parametrize("rule", sorted(RULES))
def test_no_rule_fires_on_empty_frames(rule: str) -> None:
    assert fired(rule, responses=[]) == []


def test_learners_do_not_mix() -> None:
    rows = [
        *answers("xx", learner="ana"),
        *answers("xx", learner="ben"),
        *answers("xx", learner="ana", at="10:00", skill="ratios"),
    ]
    assert fired("repeated_misses", responses=rows) == []
    left = [session(learner="ana", abandoned=1), session(learner="ben", abandoned=1)]
    assert fired("abandonment", learning_sessions=left) == []


def test_trailing_sums_count_the_half_open_window_that_ends_at_each_row() -> None:
    at = pd.Series([on(0), on(3), on(7), on(7), on(0), on(6)])
    by = pd.Series(["a", "a", "a", "a", "b", "b"])
    found = trailing_sum(pd.Series(1, index=at.index), at, by, pd.Timedelta(days=7))
    assert found.tolist() == [1, 2, 2, 3, 1, 2]


def test_trailing_sums_survive_many_learners_over_many_years() -> None:
    learners = 200_000
    at = pd.Series([on(-3000), on(-1)] * learners).astype("datetime64[us]")
    by = pd.Series(range(learners)).repeat(2).astype("str").reset_index(drop=True)
    found = trailing_sum(pd.Series(1, index=at.index), at, by, pd.Timedelta(days=3000))
    assert (found.to_numpy().reshape(-1, 2) == [1, 2]).all()


def test_trailing_sums_may_be_limited_to_the_last_rows() -> None:
    at = pd.Series([on(0), on(1), on(2), on(20), on(20), on(20)])
    by = pd.Series(["a", "a", "a", "a", "a", "b"])
    found = trailing_sum(pd.Series(1, index=at.index), at, by, pd.Timedelta(days=14), last=2)
    assert found.tolist() == [1, 2, 2, 1, 2, 1]
