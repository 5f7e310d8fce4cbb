"""Confidence rules that read pauses, hints, pace and revisions, and sessions getting shorter."""

from __future__ import annotations

from typing import Any

import pytest
from builders import Row, answers, hint, minutes, on, response, session, step
from firing import fired, fired_on, found_by, sentences

from tutorflow.decide.signals import Findings


def hard(at: str, is_correct: bool = False, difficulty: float = 0.8, **same: Any) -> Row:
    return response(at=at, is_correct=is_correct, item_difficulty=difficulty, **same)


def ten_easy(at: str = "08:30") -> list[Row]:
    """What makes the own median: ten answers of difficulty 0.5, a minute apart."""
    return answers("o" * 10, at=at)


class TestIdleAfterHardItem:
    def idle(self, pause: float, **wrong: Any) -> list[tuple[int, Any]]:
        back = response(at="09:00", is_correct=True)
        back["known_at"] = back["responded_at"] = on(0, "09:00") + minutes(pause)
        rows = [*ten_easy(), hard("09:00", **wrong), back]
        return fired_on("idle_after_hard_item", responses=rows)

    def test_five_to_thirty_minutes_after_a_wrong_answer_fire_tier_1_on_coming_back(self) -> None:
        assert self.idle(5) == [(1, on(0, "09:05"))]
        assert self.idle(30) == [(1, on(0, "09:30"))]

    def test_a_shorter_and_a_longer_pause_do_not(self) -> None:
        assert self.idle(4.9) == []
        assert self.idle(30.1) == []

    def test_after_a_right_answer_it_does_not(self) -> None:
        assert self.idle(10, is_correct=True) == []

    def test_an_item_at_the_own_median_is_not_hard(self) -> None:
        assert self.idle(10, difficulty=0.5) == []
        assert self.idle(10, difficulty=0.51) != []

    def test_an_item_with_fewer_than_ten_first_tries_has_no_difficulty(self) -> None:
        assert self.idle(10, item_first_tries=9) == []
        assert self.idle(10, item_first_tries=10) != []

    def test_a_median_needs_ten_answers(self) -> None:
        rows = [*ten_easy()[1:], hard("09:00"), response(at="09:10")]
        assert fired("idle_after_hard_item", responses=rows) == []

    def test_coming_back_in_another_session_is_no_pause(self) -> None:
        rows = [*ten_easy(), hard("09:00"), response(at="09:10", session="s2")]
        assert fired("idle_after_hard_item", responses=rows) == []

    def test_any_action_ends_the_pause(self) -> None:
        rows = [*ten_easy(), hard("09:00"), response(at="09:10")]
        assert fired("idle_after_hard_item", responses=rows) != []
        assert fired("idle_after_hard_item", responses=rows, steps=[hint("09:04")]) == []

    def test_a_learner_who_has_not_come_back_has_not_paused(self) -> None:
        assert fired("idle_after_hard_item", responses=[*ten_easy(), hard("09:00")]) == []


class TestHintDependency:
    """h right after a hint, o right without."""

    def test_hints_on_seven_of_ten_items_fire_tier_1(self) -> None:
        assert fired("hint_dependency", responses=answers("ooohhhhhhh")) == [(1, "ana-10")]

    def test_six_of_ten_do_not(self) -> None:
        assert fired("hint_dependency", responses=answers("oooohhhhhh")) == []

    def test_nine_items_are_too_few(self) -> None:
        assert fired("hint_dependency", responses=answers("hhhhhhhhh")) == []

    def test_further_tries_at_an_item_are_the_same_item(self) -> None:
        items = [
            response(at=f"09:{n:02}", attempt=1 + n % 2, hints=n % 2, item=f"item {n // 2}")
            for n in range(20)
        ]
        assert fired("hint_dependency", responses=items[:-2]) == []
        # every item was hinted; the tenth becomes known with its first try
        assert fired("hint_dependency", responses=items) == [(1, "ana-19")]

    def test_a_second_session_that_shows_it_fires_tier_2(self) -> None:
        rows = [*answers("h" * 10), *answers("hhhh", day=2, session="s2")]
        assert fired("hint_dependency", responses=rows) == [(1, "ana-10")]
        rows = [*answers("h" * 10), *answers("hhhhh", day=2, session="s2")]
        assert fired("hint_dependency", responses=rows) == [(1, "ana-10"), (2, "ana-15")]

    def test_a_second_session_without_hints_does_not(self) -> None:
        rows = [*answers("h" * 10), *answers("ooooo", day=2, session="s2")]
        assert fired("hint_dependency", responses=rows) == [(1, "ana-10")]

    def test_items_of_two_weeks_ago_do_not_count(self) -> None:
        rows = [*answers("h" * 9), *answers("h", day=14, session="s2")]
        assert fired("hint_dependency", responses=rows) == []


def hints(*times: str, **same: Any) -> list[Row]:
    return [hint(at, **same) for at in times]


SPREAD = ("09:00", "09:20", "09:40", "10:00", "10:20")


class TestHintOveruse:
    def test_five_hints_in_one_module_fire_tier_1(self) -> None:
        assert fired_on("hint_overuse", steps=hints(*SPREAD)) == [(1, on(0, "10:20"))]
        assert sentences("hint_overuse", steps=hints(*SPREAD)) == [
            "5 hints in one module in the last 7 days"
        ]

    def test_four_do_not(self) -> None:
        assert fired("hint_overuse", steps=hints(*SPREAD[:4])) == []

    def test_hints_in_two_modules_are_counted_apart(self) -> None:
        steps = [*hints(*SPREAD[:4]), *hints(SPREAD[4], module="other")]
        assert fired("hint_overuse", steps=steps) == []

    def test_hints_of_a_week_ago_do_not_count(self) -> None:
        near = [*hints("09:30"), *hints(*SPREAD[1:], day=6)]
        far = [*hints("09:00"), *hints(*SPREAD[1:4], "10:20", day=7)]
        assert len(fired("hint_overuse", steps=near)) == 1
        assert fired("hint_overuse", steps=far) == []

    def test_three_hints_within_twelve_minutes_without_a_right_answer_fire_tier_1(self) -> None:
        assert fired_on("hint_overuse", steps=hints("09:00", "09:05", "09:11")) == [
            (1, on(0, "09:11"))
        ]
        assert fired("hint_overuse", steps=hints("09:00", "09:05", "09:12")) == []

    def test_a_right_answer_in_between_is_progress_and_a_wrong_one_is_not(self) -> None:
        steps = hints("09:00", "09:05", "09:11")
        right, wrong = answers("o", at="09:07"), answers("x", at="09:07")
        assert fired("hint_overuse", steps=steps, responses=right) == []
        assert len(fired("hint_overuse", steps=steps, responses=wrong)) == 1

    def test_it_is_over_after_ten_steps_without_a_hint(self) -> None:
        level = {"alert_tier": 1, "when": {"in_module": 5}}
        for unaided, times in ((9, 1), (10, 2)):
            rows = {
                "steps": hints(*SPREAD, "11:30"),
                "responses": answers("x" * unaided, at="11:00"),
            }
            assert len(fired("hint_overuse", level, **rows)) == times

    def test_wrong_answers_between_the_hints_do_not_make_it_new(self) -> None:
        steps = hints("09:00", "09:05", "09:11", "09:14")
        assert len(fired("hint_overuse", steps=steps, responses=answers("x", at="09:12"))) == 1


class TestHelpAvoidance:
    def alone(self, pattern: str, available: float | None = 3, **same: Any) -> list[Row]:
        return answers(pattern, hints_available=available, **same)

    def test_four_wrong_in_a_row_with_hints_at_hand_fire_tier_1(self) -> None:
        assert fired("help_avoidance", responses=self.alone("xxxx")) == [(1, "ana-4")]

    def test_three_do_not(self) -> None:
        assert fired("help_avoidance", responses=self.alone("xxxoxxx")) == []

    def test_where_there_is_no_hint_none_can_be_opened(self) -> None:
        assert fired("help_avoidance", responses=self.alone("xxxx", available=0)) == []
        assert fired("help_avoidance", responses=self.alone("xxxx", available=None)) == []

    @pytest.mark.parametrize("kind", ["hint_requested", "explanation_viewed", "help_requested"])
    def test_any_help_ends_the_row(self, kind: str) -> None:
        helped = [step(kind, at="09:01:30")]
        assert fired("help_avoidance", responses=self.alone("xxxx"), steps=helped) == []

    def test_an_answer_with_help_is_not_alone(self) -> None:
        rows = self.alone("xxxx")
        rows[1] |= {"is_unaided": False, "hints_used": 1}
        assert fired("help_avoidance", responses=rows) == []


class TestHintNotUsed:
    def test_two_hints_without_a_try_within_half_an_hour_fire_tier_1(self) -> None:
        steps = [hint("09:00", item="a"), hint("10:00", item="b")]
        assert fired_on("hint_not_used", steps=steps) == [(1, on(0, "10:30"))]

    def test_one_does_not(self) -> None:
        assert fired("hint_not_used", steps=[hint("09:00")]) == []

    @pytest.mark.parametrize(("at", "count"), [("10:30", 0), ("10:31", 1)])
    def test_an_answer_at_the_last_moment_is_in_time(self, at: str, count: int) -> None:
        steps = [hint("09:00", item="a"), hint("10:00", item="b")]
        tried = [response(at=at, item="b")]
        assert len(fired("hint_not_used", steps=steps, responses=tried)) == count

    def test_an_answer_to_another_item_is_no_use_of_the_hint(self) -> None:
        steps = [hint("09:00", item="a"), hint("10:00", item="b")]
        other = [response(at="10:05", item="c")]
        assert len(fired("hint_not_used", steps=steps, responses=other)) == 1

    def test_a_revision_and_a_further_hint_are_uses(self) -> None:
        revised = [hint("09:00", item="a"), hint("10:00", item="b")]
        revised.append(step("response_revised", at="10:05", item="b"))
        assert fired("hint_not_used", steps=revised) == []
        chain = [hint("09:00", 1), hint("09:01", 2), hint("09:02", 3)]
        assert fired("hint_not_used", steps=chain) == []

    def test_a_week_apart_they_do_not(self) -> None:
        near = [hint("09:00", item="a"), hint("08:59", item="b", day=7)]
        far = [hint("09:00", item="a"), hint("09:00", item="b", day=7)]
        assert len(fired("hint_not_used", steps=near)) == 1
        assert fired("hint_not_used", steps=far) == []


def timed(*seconds: float, wrong: int = 5, start: str = "08:00") -> list[Row]:
    """Answers a minute apart; the last ``wrong`` are wrong."""
    marks = "o" * (len(seconds) - wrong) + "x" * wrong
    rows = answers(marks, at=start)
    for row, taken in zip(rows, seconds, strict=True):
        row["response_seconds"] = taken
    return rows


HABIT = [20.0, 40.0] * 10  # ln(1 + s): mean 3.38, deviation .34


class TestPacingDrift:
    def test_ten_answers_far_slower_than_the_own_pace_fire_tier_1(self) -> None:
        found = fired("pacing_drift", responses=timed(*HABIT, *[60.0] * 10))
        assert found == [(1, "ana-30")]

    def test_ten_answers_far_faster_do_too(self) -> None:
        rows = timed(*HABIT, *[14.0] * 10)
        assert fired("pacing_drift", responses=rows) == [(1, "ana-30")]
        assert sentences("pacing_drift", responses=rows)[0].startswith("clearly faster")

    def test_the_usual_pace_does_not(self) -> None:
        assert fired("pacing_drift", responses=timed(*HABIT, *HABIT[:10])) == []

    def test_a_baseline_needs_twenty_answers(self) -> None:
        assert fired("pacing_drift", responses=timed(*HABIT[1:], *[60.0] * 10)) == []

    def test_it_takes_one_standard_deviation(self) -> None:
        # e^(3.3763 + 1.0 * 0.3433) - 1 is 40.2
        assert fired("pacing_drift", responses=timed(*HABIT, *[40.0] * 10)) == []
        assert fired("pacing_drift", responses=timed(*HABIT, *[40.5] * 10)) == [(1, "ana-30")]

    def test_while_answers_go_well_pace_is_left_alone(self) -> None:
        slow = [60.0] * 10
        assert fired("pacing_drift", responses=timed(*HABIT, *slow, wrong=1)) == []
        assert fired("pacing_drift", responses=timed(*HABIT, *slow, wrong=2)) == [(1, "ana-30")]

    def test_answers_without_a_time_do_not_count(self) -> None:
        rows = timed(*HABIT, *[60.0] * 10)
        rows[-1]["response_seconds"] = None
        assert fired("pacing_drift", responses=rows) == []

    def test_an_even_pace_has_no_deviation_to_compare_with(self) -> None:
        assert fired("pacing_drift", responses=timed(*[30.0] * 20, *[60.0] * 10)) == []


def revised(*times: str, **same: Any) -> list[Row]:
    return [step("response_revised", at=at, **same) for at in times]


class TestRevisionLoop:
    FOUR = ("09:00", "09:01", "09:02", "09:03")

    def test_four_revisions_without_an_answer_fire_tier_1(self) -> None:
        assert fired_on("revision_loop", steps=revised(*self.FOUR)) == [(1, on(0, "09:03"))]

    def test_three_do_not(self) -> None:
        assert fired("revision_loop", steps=revised(*self.FOUR[:3])) == []

    def test_handing_in_starts_the_count_anew(self) -> None:
        rows = {"steps": revised(*self.FOUR), "responses": answers("x", at="09:01:30")}
        assert fired("revision_loop", **rows) == []

    def test_revisions_of_two_items_or_in_two_sessions_are_counted_apart(self) -> None:
        for other in ({"item": "other"}, {"session": "s2"}):
            steps = [*revised(*self.FOUR[:3]), *revised(self.FOUR[3], **other)]
            assert fired("revision_loop", steps=steps) == []

    def test_a_fifth_revision_is_no_new_signal(self) -> None:
        assert len(fired("revision_loop", steps=revised(*self.FOUR, "09:04"))) == 1

    def test_revisions_are_no_items_on_the_way_to_recovery(self) -> None:
        steps = [*revised(*self.FOUR), *revised("09:11", "09:13", "09:15")]
        four, five = answers("oooo", at="09:10"), answers("ooooo", at="09:10")
        assert recovered("revision_loop", steps=steps, responses=four) == []
        assert recovered("revision_loop", steps=steps, responses=five) == [on(0, "09:14")]


def recovered(rule: str, **rows: list[Row]) -> list[Any]:
    found: Findings = found_by(rule, **rows)
    mine = found.recoveries[found.recoveries["kind"] == "items_without_signal"]
    return [row.at for row in mine.itertuples() if row.subject_id == rule]


def shown(pattern: str, bottom: int = 3) -> dict[str, list[Row]]:
    """Items two minutes apart: b right after the last hint, e right after an explanation, h right
    after a hint, o right alone, x wrong alone."""
    responses: list[Row] = []
    steps: list[Row] = []
    for n, mark in enumerate(pattern):
        item, at = f"item {n}", f"09:{2 * n:02}"
        if mark in "bh":
            steps.append(hint(at, level=bottom if mark == "b" else 1, item=item))
        if mark == "e":
            steps.append(step("explanation_viewed", at=at, item=item))
        is_helped = mark in "beh"
        responses.append(
            response(
                is_correct=mark != "x",
                at=f"09:{2 * n + 1:02}",
                item=item,
                hints=int(is_helped),
            )
        )
    return {"responses": responses, "steps": steps}


class TestAnswerDependency:
    def test_right_only_after_the_answer_was_shown_fires_tier_2(self) -> None:
        assert fired("answer_dependency", **shown("bxbxbxxxxx")) == [(2, "ana-10")]

    def test_explanations_show_the_answer_too(self) -> None:
        assert fired("answer_dependency", **shown("exexexxxxx")) == [(2, "ana-10")]

    def test_one_right_answer_of_their_own_is_enough_to_say_no(self) -> None:
        assert fired("answer_dependency", **shown("bxbxbxxxxo")) == []
        assert fired("answer_dependency", **shown("bxbxbxxxxh")) == []

    def test_two_answers_shown_are_too_few(self) -> None:
        assert fired("answer_dependency", **shown("bxbxxxxxxx")) == []

    def test_two_misses_without_help_are_too_few(self) -> None:
        assert fired("answer_dependency", **shown("bbbbbbbbxx")) == []
        assert fired("answer_dependency", **shown("bbbbbbbxxx")) == [(2, "ana-10")]

    def test_nine_answers_are_too_few(self) -> None:
        assert fired("answer_dependency", **shown("bxbxbxxxx")) == []

    def test_a_hint_that_is_not_the_last_shows_no_answer(self) -> None:
        assert fired("answer_dependency", **shown("bxbxbxxxxx", bottom=2)) == []


def sessions(*lasting: float, days_apart: float = 1) -> list[Row]:
    return [session(day=days_apart * n, lasts=minutes) for n, minutes in enumerate(lasting)]


class TestShorterSessions:
    def test_three_sessions_at_six_tenths_of_the_habit_fire_tier_1(self) -> None:
        rows = sessions(*[30] * 10, 18, 18, 18)
        assert fired("shorter_sessions", learning_sessions=rows) == [(1, "ana-0314T0900")]

    def test_a_little_longer_does_not(self) -> None:
        assert fired("shorter_sessions", learning_sessions=sessions(*[30] * 10, 19, 19, 19)) == []

    def test_medians_are_compared(self) -> None:
        one_long = sessions(*[30] * 10, 10, 60, 10)
        two_long = sessions(*[30] * 10, 10, 60, 60)
        assert len(fired("shorter_sessions", learning_sessions=one_long)) == 1
        assert fired("shorter_sessions", learning_sessions=two_long) == []

    def test_twelve_sessions_are_too_few(self) -> None:
        assert fired("shorter_sessions", learning_sessions=sessions(*[30] * 9, 18, 18, 18)) == []

    def test_thirteen_sessions_must_lie_within_six_weeks(self) -> None:
        near = sessions(*[30] * 10, 18, 18, 18, days_apart=3.49)
        far = sessions(*[30] * 10, 18, 18, 18, days_apart=3.51)
        assert len(fired("shorter_sessions", learning_sessions=near)) == 1
        assert fired("shorter_sessions", learning_sessions=far) == []
