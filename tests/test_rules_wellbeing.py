"""Self-reports, safety, requests and flags: where each rule fires and where the line is."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pandas as pd
import pytest
from builders import (
    COURSE,
    Fold,
    Row,
    answers,
    frames,
    hours,
    on,
    policy,
    recovery,
    seen_by,
    signal,
)
from contact_rows import check_in, contact, findings_of, fired

from tutorflow.decide.contacts import manual_flags, with_context
from tutorflow.decide.frames import LOOKBACK
from tutorflow.decide.said import Intervention
from tutorflow.decide.signals import find
from tutorflow.policy import load_policy


def low(day: float, report: float = 0.4, mastery: float | None = 0.7, **same: Any) -> Row:
    return check_in(report, day, mastery=mastery, **same)


class TestLowConfidence:
    def test_two_low_reports_on_skills_that_go_well_fire_tier_2(self) -> None:
        assert fired("low_confidence", check_ins=[low(0), low(1)]) == [(2, on(1, "10:00"))]

    def test_one_does_not(self) -> None:
        assert fired("low_confidence", check_ins=[low(0)]) == []

    def test_a_little_more_confidence_does_not(self) -> None:
        assert fired("low_confidence", check_ins=[low(0), low(1, report=0.41)]) == []

    def test_a_skill_that_does_not_go_well_is_another_matter(self) -> None:
        assert fired("low_confidence", check_ins=[low(0), low(1, mastery=0.69)]) == []
        assert fired("low_confidence", check_ins=[low(0), low(1, mastery=None)]) == []

    def test_a_low_mood_is_no_low_confidence(self) -> None:
        assert fired("low_confidence", check_ins=[low(0), low(1, measure="mood")]) == []

    def test_a_better_report_in_between_breaks_the_row_and_closes_it(self) -> None:
        rows = [low(0), low(1), low(2, report=0.6), low(3)]
        assert fired("low_confidence", check_ins=rows) == [(2, on(1, "10:00"))]
        found = findings_of("low_confidence", check_ins=rows).recoveries
        quiet = found[found["kind"] == "items_without_signal"]
        assert on(2, "10:00") in quiet["at"].tolist()

    def test_a_fortnight_apart_is_too_far(self) -> None:
        assert fired("low_confidence", check_ins=[low(0), low(14)]) == []


class TestLowMood:
    def test_three_in_a_row_fire_tier_2(self) -> None:
        rows = [check_in(0.4, day, measure="mood") for day in (0, 2, 4)]
        assert fired("low_mood", check_ins=rows) == [(2, on(4, "10:00"))]

    def test_two_do_not_and_a_better_day_breaks_the_row(self) -> None:
        moods = [0.2, 0.1, 0.41, 0.2, 0.2]
        rows = [check_in(mood, day, measure="mood") for day, mood in enumerate(moods)]
        assert fired("low_mood", check_ins=rows) == []

    def test_reports_of_confidence_do_not_count_and_do_not_break_the_row(self) -> None:
        rows = [check_in(0.1, day, measure="mood") for day in (0, 1, 2)]
        others = [check_in(0.9, day, at="11:00") for day in (0, 1)]
        assert fired("low_mood", check_ins=rows[:2] + others) == []
        assert fired("low_mood", check_ins=rows + others) == [(2, on(2, "10:00"))]


class TestConfidenceDrop:
    def drop(self, report: float, after: datetime) -> list[Row]:
        return [check_in(report, 3, assessed=after, before=0.7)]

    def test_three_tenths_lower_within_72_hours_fire_tier_3(self) -> None:
        assert fired("confidence_drop", check_ins=self.drop(0.4, on(2))) == [(3, on(3, "10:00"))]

    def test_a_little_less_does_not(self) -> None:
        assert fired("confidence_drop", check_ins=self.drop(0.41, on(2))) == []

    def test_exactly_72_hours_are_within_and_a_second_more_is_not(self) -> None:
        assert fired("confidence_drop", check_ins=self.drop(0.2, on(0, "10:00"))) != []
        assert fired("confidence_drop", check_ins=self.drop(0.2, on(0, "09:59:59"))) == []

    def test_without_a_report_before_there_is_no_drop(self) -> None:
        assert fired("confidence_drop", check_ins=[check_in(0.1, 3, assessed=on(2))]) == []

    def test_it_closes_with_a_person_s_contact_not_with_work(self) -> None:
        rows = {"check_ins": self.drop(0.2, on(2)), "human_contacts": [contact(4)]}
        found = findings_of("confidence_drop", **rows).recoveries
        assert found[found["kind"] == "human_contact"]["at"].tolist() == [on(4, "09:00")]
        assert load_policy().recovery_of("confidence_drop").kind == "human_contact"


def context(reports: list[Row], assessed: list[datetime], responses: list[Row]) -> pd.DataFrame:
    assessments = pd.DataFrame(
        {"learner_id": "ana", "course_id": COURSE, "known_at": assessed}
    ).astype({"learner_id": "object", "course_id": "object", "known_at": "datetime64[us]"})
    raw = frames(check_ins=reports).check_ins
    return with_context(raw, frames(responses=responses).responses, assessments)


class TestContextOfAReport:
    def test_mastery_is_that_of_the_skill_practised_last(self) -> None:
        rows = [
            *answers("o", skill="ratios", p_mastery_after=0.9),
            *answers("x", at="09:30", p_mastery_after=0.3),
            *answers("o", at="11:00", p_mastery_after=0.99),
        ]
        assert context([check_in(0.2)], [], rows)["p_mastery"].tolist() == [0.3]

    def test_a_report_that_names_a_skill_is_about_that_one(self) -> None:
        rows = [
            *answers("o", skill="ratios", p_mastery_after=0.9),
            *answers("x", at="09:30", p_mastery_after=0.3),
        ]
        named = {**check_in(0.2), "skill_id": "ratios"}
        assert context([named], [], rows)["p_mastery"].tolist() == [0.9]

    def test_a_skill_of_three_weeks_ago_says_nothing(self) -> None:
        found = context([check_in(0.2, day=21)], [], answers("o"))
        assert found["p_mastery"].isna().all()

    def test_the_report_before_is_the_last_one_before_the_assessment(self) -> None:
        reports = [check_in(0.9, 0), check_in(0.8, 1), check_in(0.5, 3), check_in(0.3, 4)]
        found = context(reports, [on(2)], [])
        assert found["report_before"].tolist()[2:] == [0.8, 0.8]
        assert found["assessed_at"].tolist()[2:] == [on(2), on(2)]
        assert found["report_before"].isna().tolist()[:2] == [True, True]

    def test_mood_and_confidence_are_not_compared(self) -> None:
        reports = [check_in(0.9, 0, measure="mood"), check_in(0.3, 3)]
        assert context(reports, [on(2)], [])["report_before"].isna().all()


def flag(day: float, category: str = "distress") -> Row:
    at = on(day, "20:00")
    return {
        "event_id": f"flag-{day}",
        "learner_id": "ana",
        "course_id": COURSE,
        "category": category,
        "known_at": at,
    }


class TestSafetyConcern:
    def test_every_flag_fires_tier_4_at_once_in_the_layer_safety(self) -> None:
        found = findings_of("safety_concern", safety_flags=[flag(0), flag(1)]).signals
        assert found["fired_at"].tolist() == [on(0, "20:00"), on(1, "20:00")]
        assert set(found["alert_tier"]) == {4}
        assert set(found["layer"]) == {"safety"}

    def test_it_tells_the_category(self) -> None:
        found = findings_of("safety_concern", safety_flags=[flag(0, "self harm")]).signals
        assert found["subject_kind"].tolist() == ["category"]
        assert found["subject_id"].tolist() == ["self harm"]
        assert found["sentence"].iloc[0].endswith("self harm")

    def test_no_flag_no_signal(self) -> None:
        assert fired("safety_concern") == []

    def test_only_a_person_closes_it(self) -> None:
        assert load_policy().recovery_of("safety_concern").kind == "by_person"
        contacts = [contact(1), contact(2, is_session=True)]
        found = findings_of("safety_concern", safety_flags=[flag(0)], human_contacts=contacts)
        assert "by_person" not in set(found.recoveries["kind"])


def request(skill: str | None = "ratios", person: bool = False, day: float = 0) -> Row:
    return {
        "event_id": f"request-{day}",
        "learner_id": "ana",
        "course_id": COURSE,
        "skill_id": skill,
        "layer": "content" if skill else None,
        "known_at": on(day),
        "asks_for_a_person": person,
    }


class TestHelpRequested:
    def test_a_request_fires_tier_2(self) -> None:
        assert fired("help_requested", requests=[request()]) == [(2, on(0))]

    def test_a_request_for_a_person_fires_tier_3_too(self) -> None:
        assert fired("help_requested", requests=[request(person=True)]) == [(2, on(0)), (3, on(0))]

    def test_every_request_counts(self) -> None:
        rows = [request(), request(day=1)]
        assert fired("help_requested", requests=rows) == [(2, on(0)), (2, on(1))]

    def test_on_a_skill_it_is_about_content_and_else_about_confidence(self) -> None:
        rows = [request(), request(skill=None, day=1)]
        found = findings_of("help_requested", requests=rows).signals
        assert found["layer"].tolist() == ["content", "confidence"]
        assert found["subject_id"].tolist() == ["ratios", ""]

    def test_a_person_s_contact_closes_it_also_one_logged_by_hand(self) -> None:
        asked = signal(rule="help_requested", at=on(0, "09:00"), subject="ratios")
        written = recovery("human_contact", at=on(0, "12:00"), subject=None, run=1)
        called = Intervention("i1", on(0, "12:00"), "kim", "ana", COURSE, "call")
        before = Intervention("i0", on(0, "08:00"), "kim", "ana", COURSE, "call")

        def status(**then: Any) -> str:
            fold = Fold().tick(on(0, "10:00"), asked)
            events = [then["event"]] if "event" in then else []
            fold.tick(on(0, "13:00"), *events, said=then.get("said", ()))
            return fold.alert(layer="confidence").status

        assert status(event=written) == "closed"
        assert status(said=[called]) == "closed"
        assert status(said=[before]) == "open"


def written(row: str = "r1", tier: int | None = 2, layer: str | None = None, day: float = 0) -> Row:
    return {
        "row_id": row,
        "learner_id": "ana",
        "course_id": COURSE,
        "layer": layer,
        "alert_tier": tier,
        "reason": "looked sad on the call",
        "at": on(day),
    }


def flagged(*rows: Row) -> list[Row]:
    found = manual_flags(pd.DataFrame(rows), on(-1), on(10), LOOKBACK)
    return [dict(row) for row in found.to_dict("records")]  # type: ignore[misc]


class TestManualFlag:
    def test_a_flag_fires_tier_2_and_one_for_contact_today_tier_3(self) -> None:
        rows = flagged(written(), written("r2", tier=3, day=1))
        assert fired("manual_flag", manual_flags=rows) == [(2, on(0)), (2, on(1)), (3, on(1))]

    def test_its_own_kind_of_difficulty_counts(self) -> None:
        rows = flagged(written(layer="compliance"), written("r2", day=1))
        found = findings_of("manual_flag", manual_flags=rows).signals
        assert found["layer"].tolist() == ["compliance", "confidence"]

    def test_what_the_person_wrote_is_not_repeated(self) -> None:
        found = findings_of("manual_flag", manual_flags=flagged(written())).signals
        assert "sad" not in found.to_csv()

    def test_without_flags_there_is_an_empty_frame(self) -> None:
        assert manual_flags(None, on(0), on(1), LOOKBACK).empty


@pytest.mark.parametrize("rule", ["low_confidence", "low_mood", "confidence_drop"])
def test_every_hour_finds_what_one_long_window_finds(rule: str) -> None:
    reports = [0.3, 0.4, 0.9, 0.2, 0.3, 0.3, 0.8, 0.1, 0.2, 0.4, 0.7, 0.3]
    rows = [
        check_in(report, 5 * day + 2 * shift, mastery=0.8, assessed=on(5 * day), before=0.8,
                 measure=measure)
        for day, report in enumerate(reports)
        for shift, measure in enumerate(("confidence", "mood"))
    ]  # fmt: skip
    whole, used, long = frames(check_ins=rows), policy(only=[rule]), fired(rule, check_ins=rows)
    assert long
    for _, at in long:
        for begin in (at - hours(1), at, at + hours(1)):
            end = begin + hours(1)
            seen = seen_by(whole, begin, end, LOOKBACK)
            found = find(seen, used, pd.Timestamp(begin), pd.Timestamp(end), {}).signals
            assert found["fired_at"].tolist() == [t for _, t in long if begin <= t < end]
