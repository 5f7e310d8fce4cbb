"""Content rules that read runs, help, core skills, cycles and kinds of mistakes."""

from __future__ import annotations

from typing import Any

from builders import Row, answers, minutes, on, response, step
from firing import fired, fired_on, sentences, signals_of


def core(pattern: str, skill: str, at: str, day: float = 0, **same: Any) -> list[Row]:
    return answers(pattern, at=at, day=day, skill=skill, is_core=True, **same)


class TestTwoCoreSkillsMissed:
    def test_two_misses_on_each_of_two_core_skills_fire_tier_2(self) -> None:
        rows = [*core("xx", "fractions", "09:00"), *core("xx", "ratios", "09:10")]
        assert fired("two_core_skills_missed", responses=rows) == [(2, "ana-4")]
        assert signals_of("two_core_skills_missed", responses=rows)[0].subject_id == "ratios"

    def test_a_single_miss_on_the_second_skill_does_not(self) -> None:
        rows = [*core("xx", "fractions", "09:00"), *core("x", "ratios", "09:10")]
        assert fired("two_core_skills_missed", responses=rows) == []

    def test_one_skill_alone_does_not(self) -> None:
        assert fired("two_core_skills_missed", responses=core("xxxxx", "ratios", "09:00")) == []

    def test_a_success_on_a_core_skill_in_between_starts_anew(self) -> None:
        rows = [*core("xxo", "fractions", "09:00"), *core("xx", "ratios", "09:10")]
        assert fired("two_core_skills_missed", responses=rows) == []

    def test_skills_that_are_not_core_do_not_count(self) -> None:
        rows = [*core("xx", "fractions", "09:00"), *answers("xx", at="09:10", skill="trivia")]
        assert fired("two_core_skills_missed", responses=rows) == []

    def test_misses_in_turn_on_both_skills_count_too(self) -> None:
        rows = [
            row
            for n, skill in enumerate(["fractions", "ratios"] * 2)
            for row in core("x", skill, f"09:{n:02}")
        ]
        assert fired("two_core_skills_missed", responses=rows) == [(2, "ana-4")]

    def test_a_third_skill_in_the_same_fall_is_no_new_signal(self) -> None:
        rows = [
            *core("xx", "fractions", "09:00"),
            *core("xx", "ratios", "09:10"),
            *core("xx", "powers", "09:20"),
        ]
        assert fired("two_core_skills_missed", responses=rows) == [(2, "ana-4")]

    def test_misses_a_week_apart_are_not_in_a_row(self) -> None:
        near = [*core("xx", "fractions", "09:02"), *core("xx", "ratios", "09:00", day=7)]
        far = [*core("xx", "fractions", "09:00"), *core("xx", "ratios", "09:00", day=7)]
        assert fired("two_core_skills_missed", responses=near) == [(2, "ana-4")]
        assert fired("two_core_skills_missed", responses=far) == []


class TestTrendReversal:
    def test_three_wrong_after_five_right_fire_tier_1(self) -> None:
        assert fired("trend_reversal", responses=answers("oooooxxx")) == [(1, "ana-8")]

    def test_two_wrong_do_not(self) -> None:
        assert fired("trend_reversal", responses=answers("oooooxx")) == []

    def test_a_run_of_four_is_too_short(self) -> None:
        assert fired("trend_reversal", responses=answers("ooooxxx")) == []

    def test_three_of_four_are_enough_wherever_the_right_one_stands(self) -> None:
        for pattern in ("oooooxoxx", "oooooxxox"):
            assert fired("trend_reversal", responses=answers(pattern)) == [(1, "ana-9")]
        assert fired("trend_reversal", responses=answers("oooooxooxx")) == []

    def test_it_is_counted_on_one_skill(self) -> None:
        rows = [*answers("ooooo"), *answers("xxx", at="09:10", skill="ratios")]
        assert fired("trend_reversal", responses=rows) == []

    def test_a_run_of_two_weeks_ago_is_too_long_ago(self) -> None:
        near = [*answers("ooooo", at="09:03"), *answers("xxx", at="09:00", day=14)]
        far = [*answers("ooooo"), *answers("xxx", at="09:10", day=14)]
        assert fired("trend_reversal", responses=near) == [(1, "ana-8")]
        assert fired("trend_reversal", responses=far) == []


def helped(pattern: str, skill: str = "fractions", kind: str = "hint_requested") -> dict[str, Any]:
    """Items ten minutes apart: ``?`` before a mark is help; x wrong, o right."""
    responses, steps, minute = [], [], 0
    asks = False
    for mark in pattern:
        if mark == "?":
            asks = True
            continue
        item, at = f"item {minute}", f"09:{minute:02}"
        if asks:
            steps.append(step(kind, at=at, item=item, skill=skill))
        responses.append(
            response(
                is_correct=mark == "o",
                at=f"09:{minute + 1:02}",
                item=item,
                skill=skill,
                hints=int(asks),
                p_mastery_after=0.19,
            )
        )
        asks, minute = False, minute + 5
    return {"responses": responses, "steps": steps}


class TestRepeatedHelpNoGain:
    def test_help_twice_and_the_next_item_wrong_each_time_fires_tier_3(self) -> None:
        assert fired("repeated_help_no_gain", **helped("?xx?xx")) == [(3, "ana-4")]
        assert fired("repeated_help_no_gain", **helped("?x?xx")) == [(3, "ana-3")]

    def test_help_once_does_not(self) -> None:
        assert fired("repeated_help_no_gain", **helped("?xxxx")) == []

    def test_help_on_the_last_item_has_yet_to_show_its_gain(self) -> None:
        assert fired("repeated_help_no_gain", **helped("?xx?x")) == []

    def test_right_on_the_next_item_is_a_gain(self) -> None:
        assert fired("repeated_help_no_gain", **helped("?xo?xx")) == []
        assert fired("repeated_help_no_gain", **helped("?xx?xo")) == []

    def test_right_without_help_in_between_starts_the_count_anew(self) -> None:
        assert fired("repeated_help_no_gain", **helped("?xxo?xx")) == []

    def test_right_with_help_does_not(self) -> None:
        assert fired("repeated_help_no_gain", **helped("?xx?o?xx")) == [(3, "ana-4")]

    def test_asking_a_person_is_help_and_reading_a_solution_is_not(self) -> None:
        asked = helped("?xx?xx", kind="help_requested")
        shown = helped("?xx?xx", kind="explanation_viewed")
        assert fired("repeated_help_no_gain", **asked) == [(3, "ana-4")]
        assert fired("repeated_help_no_gain", **shown) == []

    def test_a_mastered_skill_fires_nothing(self) -> None:
        rows = helped("?xx?xx")
        for row in rows["responses"]:
            row["p_mastery_after"] = 0.95
        level = {"alert_tier": 3, "when": {"times": 2}}
        assert fired("repeated_help_no_gain", level, **rows) == []
        for row in rows["responses"]:
            row["p_mastery_after"] = 0.94
        assert fired("repeated_help_no_gain", level, **rows) == [(3, "ana-4")]

    def test_the_shipped_level_waits_for_an_estimated_mastery_below_a_fifth(self) -> None:
        rows = helped("?xx?xx")
        rows["responses"][-1]["p_mastery_after"] = 0.2
        assert fired("repeated_help_no_gain", **rows) == []

    def test_a_further_miss_is_no_new_signal(self) -> None:
        assert fired("repeated_help_no_gain", **helped("?xx?xxx?xx")) == [(3, "ana-4")]

    def test_help_on_two_skills_is_not_help_on_one(self) -> None:
        one, other = helped("?xx"), helped("?xx", skill="ratios")
        for row in [*other["responses"], *other["steps"]]:
            row["known_at"] += minutes(30)
        rows = {name: one[name] + other[name] for name in one}
        assert fired("repeated_help_no_gain", **rows) == []


class TestFailedThenAbandoned:
    def left(self, at: str = "09:05", **same: Any) -> Row:
        return step("item_abandoned", at=at, **same)

    def test_two_wrong_tries_and_an_item_left_fire_tier_2(self) -> None:
        rows = {"responses": answers("xx"), "steps": [self.left()]}
        assert fired_on("failed_then_abandoned", **rows) == [(2, on(0, "09:05"))]
        assert sentences("failed_then_abandoned", **rows) == [
            "2 wrong tries on fractions in one session, and an item of it left unfinished"
        ]

    def test_whichever_comes_first(self) -> None:
        rows = {"responses": answers("xx"), "steps": [self.left("08:59")]}
        assert fired("failed_then_abandoned", **rows) == [(2, "ana-2")]

    def test_one_wrong_try_does_not(self) -> None:
        rows = {"responses": answers("x"), "steps": [self.left()]}
        assert fired("failed_then_abandoned", **rows) == []

    def test_nothing_left_does_not(self) -> None:
        assert fired("failed_then_abandoned", responses=answers("xxxx")) == []

    def test_another_session_or_another_skill_does_not(self) -> None:
        for other in ({"session": "s2"}, {"skill": "ratios"}):
            rows = {"responses": answers("xx"), "steps": [self.left(**other)]}
            assert fired("failed_then_abandoned", **rows) == []

    def test_right_without_help_after_the_misses_is_productive_struggle(self) -> None:
        alone = {"responses": answers("xxo"), "steps": [self.left()]}
        with_help = {"responses": answers("xxh"), "steps": [self.left()]}
        assert fired("failed_then_abandoned", **alone) == []
        assert len(fired("failed_then_abandoned", **with_help)) == 1
        level = {
            "alert_tier": 2,
            "when": {"wrong": 2, "ignore_productive_struggle": False},
        }
        assert len(fired("failed_then_abandoned", level, **alone)) == 1

    def test_it_fires_once_a_session(self) -> None:
        rows = {"responses": answers("xxxx"), "steps": [self.left(), self.left("09:06")]}
        assert len(fired("failed_then_abandoned", **rows)) == 1


def practice(days_and_mastery: list[tuple[float, float]]) -> list[Row]:
    """Single first tries; the mastery after each is that before the next."""
    rows, before = [], days_and_mastery[0][1]
    for day, mastery in days_and_mastery:
        rows.append(response(day=day, p_mastery_before=before, p_mastery_after=mastery))
        before = mastery
    return rows


class TestFlatMastery:
    FLAT = tuple((day, 0.4) for day in (0.5, 1, 2, 3, 4, 8, 9, 10, 11, 12))

    def test_ten_chances_in_two_flat_weeks_fire_tier_1(self) -> None:
        assert fired("flat_mastery", responses=practice(list(self.FLAT))) == [(1, "ana-10")]

    def test_nine_chances_do_not(self) -> None:
        assert fired("flat_mastery", responses=practice(list(self.FLAT[:-1]))) == []

    def test_all_in_one_week_is_one_cycle(self) -> None:
        rows = practice([(0.1 * n, 0.4) for n in range(12)])
        assert fired("flat_mastery", responses=rows) == []

    def test_a_gain_in_either_week_is_progress(self) -> None:
        early = [(day, 0.3 if day < 4 else 0.4) for day, _ in self.FLAT]
        late = [(day, 0.4 if day < 12 else 0.5) for day, _ in self.FLAT]
        assert fired("flat_mastery", responses=practice(early)) == []
        assert fired("flat_mastery", responses=practice(late)) == []

    def test_a_gain_of_five_points_is_one_and_four_are_not(self) -> None:
        four = [(day, 0.5 if day < 12 else 0.54) for day, _ in self.FLAT]
        five = [(day, 0.5 if day < 12 else 0.5625) for day, _ in self.FLAT]
        assert fired("flat_mastery", responses=practice(four)) == [(1, "ana-10")]
        assert fired("flat_mastery", responses=practice(five)) == []

    def test_a_mastered_skill_may_stay_where_it_is(self) -> None:
        rows = practice([(day, 0.95) for day, _ in self.FLAT])
        assert fired("flat_mastery", responses=rows) == []


def mistakes(*kinds: str | None, day: float = 0, **same: Any) -> list[Row]:
    return [
        response(error_type=kind, at=f"09:{n:02}", day=day, **same) for n, kind in enumerate(kinds)
    ]


class TestErrorPattern:
    def test_three_mistakes_of_one_kind_are_noted(self) -> None:
        rows = mistakes("syntax", "syntax", "syntax")
        assert fired("error_pattern", responses=rows) == [(0, "ana-3")]
        assert sentences("error_pattern", responses=rows) == [
            "3 of 3 mistakes on fractions are of one kind: syntax"
        ]

    def test_two_are_not(self) -> None:
        assert fired("error_pattern", responses=mistakes("syntax", "syntax", "logic")) == []

    def test_mistakes_of_unknown_kind_do_not_count(self) -> None:
        assert fired("error_pattern", responses=mistakes("syntax", None, "syntax")) == []
        rows = mistakes("syntax", None, None, None, None, "syntax", "syntax")
        assert fired("error_pattern", responses=rows) == [(0, "ana-7")]

    def test_half_of_the_mistakes_of_known_kind_are_enough_and_fewer_are_not(self) -> None:
        half = mistakes("logic", "units", "signs", "syntax", "syntax", "syntax")
        less = mistakes("logic", "units", "signs", "logic", "syntax", "syntax", "syntax")
        assert fired("error_pattern", responses=half) == [(0, "ana-6")]
        assert fired("error_pattern", responses=less) == []

    def test_further_tries_at_one_item_count_once(self) -> None:
        rows = [*mistakes("syntax"), *mistakes("syntax", "syntax", day=1, attempt=2)]
        assert fired("error_pattern", responses=rows) == []

    def test_the_skills_are_counted_apart(self) -> None:
        rows = [*mistakes("syntax", "syntax"), *mistakes("syntax", day=1, skill="loops")]
        assert fired("error_pattern", responses=rows) == []

    def test_two_weeks_are_seen(self) -> None:
        near = [*mistakes("syntax", "syntax"), *mistakes("syntax", day=13.9)]
        far = [*mistakes("syntax", "syntax"), *mistakes("syntax", day=14.1)]
        assert fired("error_pattern", responses=near) == [(0, "ana-3")]
        assert fired("error_pattern", responses=far) == []
