"""Outcome labels: what a learner did inside the window, and nothing that lies outside it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import World
from measured import ANA, BEN, Diary, a_signal, an_alert, an_exposure, at, put, table_of
from test_publish import sqlite as sqlite

from expectations.gate import check_suite
from expectations.outcomes import frames as suite_frames
from flows.hour import run_hour
from tutorflow.hours import to_aware_utc
from tutorflow.measure.outcomes import (
    PARTS,
    completeness,
    label_spans,
    labelled_at,
    parts_of,
    span_frame,
)
from tutorflow.policy.model import Outcomes
from tutorflow.publish import Candidates, read_table
from tutorflow.settings import Settings, load_settings

POLICY = Outcomes()
START, END = at(0, 9), at(3, 9)  # Monday nine o'clock, 72 hours


def a_span(**columns: Any) -> dict[str, Any]:
    return {
        "span_id": "span",
        "learner_id": ANA,
        "course_id": "maths",
        "layer": "content",
        "alert_tier": 2,
        "starts_at": START,
        "ends_at": END,
        **columns,
    }


def outcome(diary: Diary, *signals: dict[str, Any], **span: Any) -> dict[str, Any]:
    """The label and the parts of one span of 72 hours from Monday at nine."""
    fired = table_of("signals", list(signals))
    spans = span_frame([a_span(**span)])
    (row,) = label_spans(diary.warehouse(), spans, fired, POLICY).to_dict("records")
    return {str(name): None if pd.isna(value) else value for name, value in row.items()}


def label(diary: Diary, *signals: dict[str, Any]) -> str:
    return str(outcome(diary, *signals)["label"])


def a_usual_month() -> Diary:
    """Eight answers on each of four days before, three in four of them right, at 25 to 35 s."""
    diary = Diary()
    for day in (-20, -13, -6, -2):
        diary.answer(day, 9, "ooxo", seconds=25).answer(day, 10, "oxoo", seconds=35)
    return diary


# -- the label -------------------------------------------------------------------------------------


def test_enough_work_at_the_level_of_before_is_resumed() -> None:
    assert label(a_usual_month().answer(1, 9, "ooxo")) == "resumed"


def test_three_answers_are_work_and_two_are_not() -> None:
    assert label(a_usual_month().answer(1, 9, "ooo")) == "resumed"
    assert label(a_usual_month().answer(1, 9, "oo")) == "partial_resume"


def test_five_activities_of_any_kind_are_work_and_four_are_not() -> None:
    diary = a_usual_month()
    for minute in range(4):
        diary.event("content_viewed", 1, 9 + minute / 60)
    assert label(diary) == "partial_resume"
    assert label(diary.event("content_viewed", 1, 10)) == "resumed"


def test_work_well_below_the_own_level_is_a_partial_resume() -> None:
    found = outcome(a_usual_month().answer(1, 9, "xxxxo"))
    assert (found["label"], found["is_accuracy_recovered"]) == ("partial_resume", False)
    assert (found["accuracy"], found["accuracy_before"]) == (0.2, 0.75)


@pytest.mark.parametrize(("right", "recovered"), [(14, True), (13, False)])
def test_accuracy_is_back_within_five_points(right: int, recovered: bool) -> None:
    pattern = "o" * right + "x" * (20 - right)  # 0.75 before; 0.70 is still back, 0.65 is not
    assert outcome(a_usual_month().answer(1, 9, pattern))["is_accuracy_recovered"] is recovered


def test_work_at_a_crawl_is_a_partial_resume() -> None:
    found = outcome(a_usual_month().answer(1, 9, "ooooo", seconds=200))
    assert (found["label"], found["is_latency_normal"]) == ("partial_resume", False)


def test_four_answers_are_too_few_to_judge_accuracy_or_pace() -> None:
    found = outcome(a_usual_month().answer(1, 9, "xxxx", seconds=200))
    assert (found["is_accuracy_recovered"], found["is_latency_normal"]) == (None, None)
    assert found["label"] == "resumed"


def test_nothing_at_all_is_no_change() -> None:
    found = outcome(a_usual_month())
    assert (found["label"], found["has_returned"], found["days_to_recovery"]) == (
        "no_change",
        False,
        None,
    )


def test_a_higher_tier_inside_the_window_is_escalated_whatever_else_happened() -> None:
    worked = a_usual_month().answer(1, 9, "oooo")
    assert label(worked, a_signal(alert_tier=3, fired_at=at(2))) == "escalated"
    assert label(worked, a_signal(alert_tier=2, fired_at=at(2))) == "resumed"
    assert label(worked, a_signal(alert_tier=3, fired_at=END)) == "resumed"
    assert label(worked, a_signal(alert_tier=3, fired_at=at(0, 8))) == "resumed"
    assert label(worked, a_signal(alert_tier=3, fired_at=at(2), layer="compliance")) == "resumed"
    assert label(worked, a_signal(alert_tier=4, fired_at=at(2), layer="safety")) == "escalated"
    assert label(worked, a_signal(alert_tier=3, fired_at=at(2), learner=BEN)) == "resumed"


# -- the parts -------------------------------------------------------------------------------------


def test_recovery_is_dated_by_the_answer_that_made_it_enough() -> None:
    found = outcome(a_usual_month().answer(1, 9, "o").answer(2, 9, "oo"))
    assert found["days_to_recovery"] == pytest.approx(2 + 1 / (24 * 60))


def test_mastery_gain_is_the_mean_over_the_skills_practised() -> None:
    diary = Diary().answer(1, 9, "ooo").answer(1, 10, "x", skill="decimals")
    assert outcome(diary)["mastery_gain"] == pytest.approx((0.3 - 0.1) / 2)


def test_the_next_scheduled_session_counts_and_one_called_off_does_not() -> None:
    def scheduled() -> Diary:
        return Diary().event("session_scheduled", -3, due_at=at(1, 15))

    assert outcome(Diary())["attended_next_session"] is None
    assert outcome(scheduled())["attended_next_session"] is False
    came = scheduled().event("session_attended", 1, 15.1, due_at=at(1, 15))
    assert outcome(came)["attended_next_session"] is True
    off = scheduled().event("session_cancelled", 1, 8, due_at=at(1, 15))
    assert outcome(off)["attended_next_session"] is None
    beyond = Diary().event("session_scheduled", -3, due_at=at(4, 15))
    assert outcome(beyond)["attended_next_session"] is None


# -- nothing leaks ---------------------------------------------------------------------------------


def test_what_happens_after_the_window_changes_nothing() -> None:
    def diary() -> Diary:
        return a_usual_month().answer(1, 9, "oo").event("session_scheduled", -3, due_at=at(1, 15))

    plain = outcome(diary())
    planted = diary().answer(3, 9, "oooooo", seconds=500)  # the first at the very end
    planted.event("session_attended", 3, 10, due_at=at(1, 15))
    planted.event("content_viewed", 5).event("session_scheduled", 3, 9, due_at=at(2, 15))
    planted.events[-1]["due_at"] = at(4, 15)
    assert outcome(planted, a_signal(alert_tier=3, fired_at=END)) == plain


def test_what_lies_before_the_start_is_no_outcome() -> None:
    plain = outcome(Diary())
    before = Diary().answer(0, 8.9, "ooooo").event("content_viewed", 0, 8.5)
    found = outcome(before, a_signal(alert_tier=3, fired_at=at(0, 8.9)))
    of_before = {"accuracy_before", "active_days_before"}
    for name in set(plain) - of_before:
        assert found[name] == plain[name], name


def test_what_lies_in_the_window_is_nothing_of_before() -> None:
    plain, found = outcome(a_usual_month()), outcome(a_usual_month().answer(0, 9, "xxxxxx"))
    for name in ("accuracy_before", "active_days_before"):
        assert found[name] == plain[name]


def test_a_whole_day_that_had_begun_before_the_start_is_no_return() -> None:
    day: Any = {"occurred_at": at(0), "known_at": at(1) - timedelta(microseconds=1)}
    assert label(Diary().event("content_viewed", 0, event_count=30, **day)) == "no_change"
    later: Any = {"occurred_at": at(1), "known_at": at(2) - timedelta(microseconds=1)}
    assert label(Diary().event("content_viewed", 1, event_count=30, **later)) == "resumed"


def test_every_span_gets_its_own_answer() -> None:
    diary = a_usual_month().answer(1, 9, "oooo").answer(1, 9, "o", learner=BEN)
    spans = span_frame([
        a_span(), a_span(span_id="ben", learner_id=BEN),
        a_span(span_id="other course", course_id="art"),
        a_span(span_id="later", starts_at=at(1, 12), ends_at=at(4, 12)),
    ])  # fmt: skip
    found = parts_of(diary.warehouse(), spans, POLICY)
    assert found["span_id"].tolist() == spans["span_id"].tolist()
    assert found["response_count"].tolist() == [4, 1, 0, 0]
    assert found["has_returned"].tolist() == [True, True, False, False]


# -- when a label may be given ---------------------------------------------------------------------

TICKS = [at(3, hour) for hour in (8, 9, 10)]


def test_a_label_waits_for_the_end_of_the_window_and_for_the_feed() -> None:
    assert labelled_at(END, START, TICKS, complete=at(3, 10)) == at(3, 9)
    assert labelled_at(END, START, TICKS, complete=END) == at(3, 9)
    assert labelled_at(END, START, TICKS, complete=at(3, 8.9)) is None
    assert labelled_at(END, START, TICKS, complete=None) is None
    assert labelled_at(at(3, 10.1), START, TICKS, complete=at(4)) is None


def test_what_became_known_late_is_labelled_by_the_tick_that_knows_it() -> None:
    assert labelled_at(END, at(3, 10), TICKS, complete=at(4)) == at(3, 10)


def test_a_course_is_complete_as_far_as_its_slowest_active_source() -> None:
    sources = pd.DataFrame(
        [
            ("fast", ["response_submitted"], None, at(5), False),
            ("slow", ["content_viewed"], None, at(2), False),
            ("mail", ["message_sent"], None, at(1), False),
            ("old", ["response_submitted"], None, at(0), True),
            ("new", ["response_submitted"], ["physics"], pd.NaT, False),
        ],
        columns=["source", "event_types", "courses", "complete_until", "is_retired"],
    )
    seen = [
        ("fast", "maths"), ("slow", "maths"), ("mail", "maths"), ("old", "maths"),
        ("fast", "art"), ("old", "latin"),
    ]  # fmt: skip
    until = completeness(sources, pd.DataFrame(seen, columns=["source", "course_id"]))
    assert until("maths") == at(2)
    assert until("art") == at(5)
    assert until("physics") is None  # it has never delivered
    assert until("latin") == datetime.max  # nothing more will come
    assert until("chess") is None


# -- the suite of the gate -------------------------------------------------------------------------


def a_window(alert_id: str, **columns: Any) -> dict[str, Any]:
    """A row of `alert_outcomes`: resumed on Wednesday, labelled when its window was over."""
    return {
        "alert_id": alert_id, "exposed_at": START, "window_hours": 72, "learner_id": ANA,
        "course_id": "maths", "layer": "content", "alert_tier": 2, "arm": "treated",
        "window_ends_at": END,
        "label": "resumed", "first_label": "resumed", "labelled_at": END, "has_returned": True,
        "has_worked": True, "response_count": 8, "accuracy": 0.8, "days_to_recovery": 2.0,
        "was_contacted": False, **columns,
    }  # fmt: skip


def suite(settings: Settings, *windows: dict[str, Any], **tables: Any) -> dict[str, set[str]]:
    """What fails, by check, with the ids of the failing rows."""
    ids = sorted({str(row["alert_id"]) for row in windows} - {"orphan"})
    rows = {
        "alerts": [an_alert(one) for one in ids],
        "exposures": [an_exposure(one) for one in ids],
        "alert_outcomes": windows,
        **tables,
    }
    now = to_aware_utc(at(4))
    candidates = Candidates([now], now, {name: table_of(name, some) for name, some in rows.items()})
    return {
        result.check_id.removeprefix("outcomes."): {
            str(row.get("row_id") or row.get("missing_id")).split()[0] for row in result.failed_rows
        }
        for result in check_suite("outcomes", suite_frames(settings, candidates))
        if not result.is_success
    }


def test_sound_windows_pass_and_so_does_an_hour_without_any(sqlite: Settings) -> None:
    still_open = {"label": "still_open", **dict.fromkeys(PARTS), "first_label": None,
                  "labelled_at": None}  # fmt: skip
    assert suite(sqlite, a_window("fine"), a_window("open", **still_open)) == {}
    assert suite(sqlite) == {}


def test_each_fault_is_named_by_its_check(sqlite: Settings) -> None:
    committed = [a_window("reopened"), a_window("fine")]
    put(sqlite, {"alert_outcomes": committed})
    unlabelled = {"first_label": None, "labelled_at": None, "label": "still_open"}
    curve = {"group_kind": "all", "group_name": "all", "day": 1.0, "at_risk": 3, "recovered": 1,
             "recovered_share": 0.5, "low": 0.6, "high": 0.9, "as_of": END}  # fmt: skip
    found = suite(
        sqlite,
        a_window("fine"),
        a_window("guessed", labelled_at=END - timedelta(hours=1)),
        a_window("half", has_worked=None),
        a_window("talks", **unlabelled),
        a_window("orphan"),
        a_window("flipped", label="no_change"),
        a_window("revised", label="no_change", revised_at=at(4)),
        a_window("reopened", **unlabelled, **dict.fromkeys(PARTS)),
        a_window("outside", days_to_recovery=3.5),
        a_window("odd", accuracy=1.2),
        recovery_curves=[curve],
    )
    assert found == {
        "no_label_before_the_window_ends": {"guessed"},
        "labels_complete": {"half", "talks"},
        "outcomes_refer": {"orphan"},
        "labels_stay": {"flipped", "reopened"},
        "recovery_inside_the_window": {"outside"},
        "shares_in_range": {"odd"},
        "intervals_hold_their_estimate": {"all"},
    }


# -- in the hour -----------------------------------------------------------------------------------


def outcomes_of(settings: Settings) -> pd.DataFrame:
    return read_table(settings, "alert_outcomes")


def test_every_delivery_has_a_row_per_window_and_labels_come_when_windows_end(world: World) -> None:
    exposures, found = read_table(world.settings, "exposures"), outcomes_of(world.settings)
    assert len(exposures) > 10
    assert len(found) == 2 * len(exposures)
    now = world.now.replace(tzinfo=None)
    is_over = found["window_ends_at"] <= now
    assert (found["label"] == "still_open").tolist() == (~is_over).tolist()
    assert found.loc[~is_over, ["labelled_at", "has_returned", "first_label"]].isna().all(axis=None)
    final = found[is_over]
    assert (final["labelled_at"] >= final["window_ends_at"]).all()
    assert (final["labelled_at"] - final["window_ends_at"] < timedelta(days=1)).all()
    assert len(set(final["label"])) >= 3


@pytest.fixture(scope="module")
def decided(tiny_home: Path) -> Settings:
    """The tiny world as it is, to be read only."""
    return load_settings(tiny_home)


KEY = ["alert_id", "exposed_at"]


def exposures_of(settings: Settings, arm: str) -> pd.DataFrame:
    return read_table(settings, "exposures", {"arm": arm})


def test_who_was_held_out_is_labelled_over_the_same_windows(decided: Settings) -> None:
    both, found = read_table(decided, "exposures"), outcomes_of(decided)
    assert {"held_out", "treated"} == set(both.loc[both["is_eligible"], "arm"])
    compared = found.merge(both[[*KEY, "arm"]], on=KEY, suffixes=("", "_exposed"))
    assert len(compared) == len(found)
    assert (compared["arm"] == compared["arm_exposed"]).all()
    left_out = exposures_of(decided, "held_out")
    assert set(left_out["alert_tier"]) == {1, 2}
    assert left_out["coach_id"].isna().all()
    final = found[(found["arm"] == "held_out") & (found["label"] != "still_open")]
    assert len(final) > 4
    assert not final["was_contacted"].astype(bool).any()


def test_who_was_held_out_is_in_no_count_of_what_somebody_was_told(decided: Settings) -> None:
    told, left_out = (exposures_of(decided, arm) for arm in ("treated", "held_out"))
    asked = read_table(decided, "alert_responses")[KEY]
    assert len(asked) == (told["audience"] == "coach").sum()
    assert asked.merge(left_out, on=KEY).empty
    rules = told["rules"].map(json.loads).explode().value_counts().to_dict()
    quality = read_table(decided, "rule_quality").set_index("rule_id")["alert_count"]
    assert quality[quality > 0].to_dict() == rules
    curve = read_table(decided, "recovery_curves", {"group_kind": "all", "day": 0.0})
    assert curve["at_risk"].tolist() == [len(told)]
    waiting = read_table(decided, "suppressions", {"reason": "held_out", "released_at": None})
    assert len(waiting) > 0
    assert not set(waiting["alert_id"]) & set(read_table(decided, "coach_queue")["alert_id"])


def test_the_lots_are_compared_tier_by_tier(decided: Settings) -> None:
    found = outcomes_of(decided).merge(
        read_table(decided, "exposures")[[*KEY, "propensity"]], on=KEY
    )
    final = found[(found["window_hours"] == 168) & (found["label"] != "still_open")]
    drawn = final[final["propensity"].notna()].sort_values("exposed_at", kind="stable")
    first = drawn.drop_duplicates(["alert_tier", "learner_id"])
    rows = read_table(decided, "intervention_effects", {"comparison": "held_out"})
    whole = rows[rows["segment_kind"] == "all"].set_index("subject")
    for tier in (1, 2):
        arms = first.loc[first["alert_tier"] == tier, "arm"].value_counts()
        row = whole.loc[f"tier {tier} alerts"]
        assert row["treated_count"] == arms.get("treated", 0)
        assert row["control_count"] == arms.get("held_out", 0)
        assert row["is_randomised"]
        assert row["verdict"] == "not_enough_data"


def test_late_events_revise_a_final_label_and_say_so(world: World) -> None:
    found = outcomes_of(world.settings)
    quiet = found[(found["label"] == "no_change") & (found["window_hours"] == 72)]
    assert not quiet.empty
    row = quiet.sort_values("window_ends_at").iloc[-1]
    user, hour = source_user(world, row["learner_id"]), world.now + timedelta(hours=1)
    world.arrive(hour)
    delivery = world.settings.home / "events" / f"events-{hour:%Y-%m-%dT%H}.csv"
    events = pd.read_csv(delivery, dtype="str")
    first = row["exposed_at"] + timedelta(hours=1)
    answer = {
        "user_id": user,
        "event_type": "response_submitted",
        "course_id": row["course_id"],
        "item_id": "item",
        "is_correct": "true",
    }
    late = [
        {
            **answer,
            "source_event_id": f"late-{n}",
            "occurred_at": f"{first + timedelta(minutes=n)}Z",
        }
        for n in range(4)
    ]
    pd.concat([events, pd.DataFrame(late, dtype="str")]).to_csv(delivery, index=False)
    assert run_hour(world.settings, None, hour).state == "published"
    key = ["alert_id", "exposed_at", "window_hours"]
    after = outcomes_of(world.settings).set_index(key).loc[tuple(row[key])]
    assert (after["first_label"], after["label"]) == ("no_change", "resumed")
    assert after["revised_at"] == pd.Timestamp(hour.replace(tzinfo=None))
    others = outcomes_of(world.settings)
    assert set(others.loc[others["revised_at"].notna(), "learner_id"]) == {row["learner_id"]}


def source_user(world: World, learner_id: str) -> str:
    from tutorflow.privacy.pseudonyms import source_users

    ((_, user),) = source_users(world.settings.identity_path, [learner_id])[learner_id]
    return str(user)


def test_the_parts_are_columns_of_both_outcome_tables() -> None:
    for name in ("alert_outcomes", "intervention_outcomes"):
        assert set(PARTS) < set(table_of(name, []).columns)
