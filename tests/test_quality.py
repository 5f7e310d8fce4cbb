"""How good each rule is, whom no rule saw, and what a change of a threshold would do."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from builders import COURSE, answers, frames, on, policy
from conftest import World
from measured import ANA, BEN, CLEO, Diary, a_signal, an_exposure, at, put, table_of

from tutorflow.errors import TutorflowError
from tutorflow.measure.estimates import share_interval
from tutorflow.measure.policy_diffs import number_changed, switched_off
from tutorflow.measure.quality import endings, nearest_rules, rule_quality, unannounced
from tutorflow.measure.tuning import Asked, Effect, Trial, asked_for, changed, proposals, steps
from tutorflow.policy import load_policy
from tutorflow.policy.model import Missed
from tutorflow.publish import read_table
from tutorflow.settings import Settings

POLICY = load_policy()
NOW = at(28)


def quality(**frames_: Any) -> Any:
    """Rows of rule_quality by rule; frames not given are empty."""
    evidence = pd.DataFrame(
        frames_.get("evidence", []), columns=["alert_id", "rule_id", "recovered_at"]
    )
    verdicts = pd.DataFrame(frames_.get("verdicts", []), columns=["alert_id", "verdict"])
    missed = pd.DataFrame({"nearest_rule": frames_.get("missed", [])}, dtype="str")
    rows = rule_quality(
        POLICY,
        NOW,
        table_of("signals", frames_.get("signals", [])),
        table_of("exposures", frames_.get("exposures", [])),
        evidence.astype({"recovered_at": "datetime64[us]"}),
        table_of("alert_outcomes", frames_.get("outcomes", [])),
        verdicts,
        missed,
        frames_.get("learner_weeks", 0),
    )
    return {row["rule_id"]: row for row in rows}


def shown(alert_id: str, day: float = 20, learner: str = ANA, *rules: str) -> Any:
    named = json.dumps(list(rules) or ["inactive"])
    return an_exposure(alert_id, learner, exposed_at=at(day), rules=named)


def ended(alert_id: str, label: str, day: float = 20, **columns: Any) -> Any:
    return {
        "alert_id": alert_id, "exposed_at": at(day), "window_hours": 168, "learner_id": ANA,
        "course_id": "maths", "layer": "content", "alert_tier": 2, "window_ends_at": at(day + 7),
        "label": label, "was_contacted": False, **columns,
    }  # fmt: skip


# -- the quality of each rule ----------------------------------------------------------------------


def test_precision_by_verdict_has_wilsons_interval() -> None:
    exposures = [shown(str(n)) for n in range(4)]
    verdicts = list(zip("0123", ("useful", "already_handled", "not_actionable",
                                 "incorrectly_flagged"), strict=True))  # fmt: skip
    row = quality(exposures=exposures, verdicts=verdicts)["inactive"]
    assert (row["verdict_count"], row["verdict_precision"]) == (4, 0.5)
    interval = row["verdict_precision_low"], row["verdict_precision_high"]
    assert interval == share_interval(2, 4)
    assert row["not_actionable_share"] == 0.25


def test_precision_by_outcome_counts_only_whom_nobody_helped() -> None:
    exposures = [shown(str(n)) for n in range(5)]
    row = quality(
        exposures=exposures,
        outcomes=[
            ended("0", "no_change"),
            ended("1", "resumed"),
            ended("2", "resumed", was_contacted=True),
            ended("3", "still_open"),
            ended("4", "escalated"),
            ended("4", "resumed", window_hours=72),
        ],
    )["inactive"]
    assert (row["outcome_count"], row["outcome_precision"]) == (3, pytest.approx(2 / 3))


def test_a_rule_without_verdicts_has_no_precision_rather_than_none() -> None:
    row = quality(exposures=[shown("1")])["inactive"]
    assert (row["verdict_count"], row["verdict_precision"]) == (0, None)


def test_an_alert_counts_for_every_rule_on_it() -> None:
    rows = quality(exposures=[shown("1", 20, ANA, "inactive", "activity_drop")])
    assert [rows[name]["alert_count"] for name in ("inactive", "activity_drop")] == [1, 1]
    assert rows["rapid_guessing"]["alert_count"] == 0  # in the policy, never fired


@pytest.mark.parametrize(("gap", "repeats"), [(7.0, 1), (7.01, 0)])
def test_the_same_trouble_within_seven_days_is_a_repeat(gap: float, repeats: int) -> None:
    twice = [shown("1", 10), shown("2", 10 + gap), shown("3", 10.5, BEN)]
    assert quality(exposures=twice)["inactive"]["repeat_share"] == pytest.approx(repeats / 3)


def test_volume_is_told_per_learner_and_week() -> None:
    row = quality(exposures=[shown("1"), shown("2", learner=BEN)], learner_weeks=8)["inactive"]
    assert row["alerts_per_learner_week"] == 0.25


def test_what_was_delivered_before_the_period_counts_for_repeats_only() -> None:
    days = POLICY.quality.days
    old = shown("old", 28 - days - 1)
    assert quality(exposures=[old])["inactive"]["alert_count"] == 0
    both = quality(exposures=[old, shown("new", 28 - days + 1)])["inactive"]
    assert (both["alert_count"], both["repeat_share"]) == (1, 1.0)


def test_recovered_means_that_all_evidence_of_the_rule_has_settled() -> None:
    evidence = [
        ("1", "inactive", at(22)), ("1", "activity_drop", None),
        ("2", "inactive", at(22)), ("2", "inactive", None),
    ]  # fmt: skip
    rows = quality(exposures=[shown("1"), shown("2")], evidence=evidence)
    assert rows["inactive"]["recovered_share"] == 0.5


def test_a_retired_rule_is_still_judged() -> None:
    signals = [a_signal(rule_id="old_rule", layer="compliance")]
    row = quality(signals=signals, exposures=[shown("1", 20, ANA, "old_rule")])["old_rule"]
    assert (row["rule_version"], row["layer"], row["signal_count"]) == (None, "compliance", 1)


# -- missed learners -------------------------------------------------------------------------------


def found_endings(diary: Diary, ends: Any = None, since: Any = None, until: Any = None,
                  out: Any = None) -> Any:  # fmt: skip
    rows = endings(
        diary.warehouse(),
        ends or {},
        Missed(),
        since or at(0),
        until or at(30),
        out or (lambda learner, course, moment: None),
    )
    return [(row.learner_id, row.ending, row.ended_at) for row in rows.itertuples()]


def test_ten_days_without_an_event_are_a_stop_out_even_if_the_learner_comes_back() -> None:
    diary = Diary().answer(1, 9).answer(11, 9).answer(12, 9, learner=BEN)
    diary.answer(1, 9, learner=BEN)  # ten days and one hour later: gone in between
    diary.answer(11, 10, learner=CLEO).answer(1, 9, learner=CLEO)
    assert found_endings(diary, until=at(20)) == [
        (BEN, "stopped_out", at(11, 9)),
        (CLEO, "stopped_out", at(11, 9)),
    ]


def test_who_is_left_alone_has_not_gone_quiet() -> None:
    diary = Diary().answer(1, 9)
    assert found_endings(diary, out=lambda *_: "paused (pause)") == []


def test_withdrawing_and_not_passing_are_endings() -> None:
    diary = Diary().event("learner_withdrew", 5)
    for learner, score in ((BEN, 30.0), (CLEO, 40.0)):
        diary.event("assessment_scored", 6, learner=learner, score=score, score_max=100.0)
    assert found_endings(diary, {"maths": at(9)}) == [
        (ANA, "withdrew", at(5)),
        (BEN, "not_passed", at(9)),
    ]


def test_an_alert_in_the_fourteen_days_before_means_that_nobody_was_missed() -> None:
    gone = pd.DataFrame(
        [(ANA, COURSE, at(20), "withdrew")],
        columns=["learner_id", "course_id", "ended_at", "ending"],
    )

    def missed(announced: Any) -> int:
        seen = pd.DataFrame([(ANA, COURSE, announced)],
                            columns=["learner_id", "course_id", "announced_at"])  # fmt: skip
        return len(unannounced(gone, seen, Missed()))

    assert missed(at(6)) == 0
    assert missed(at(6) - timedelta(microseconds=1)) == 1
    assert missed(at(20)) == 0
    assert missed(at(20) + timedelta(microseconds=1)) == 1


def gone_on(day: float, learner: str = "ana") -> pd.DataFrame:
    """Somebody of the decision's builders who ended on that day."""
    rows = [(learner, COURSE, on(day), "withdrew")]
    return pd.DataFrame(rows, columns=["learner_id", "course_id", "ended_at", "ending"])


def nearest(gone: pd.DataFrame, rows: Any, rules: Any, signals: Any = (), holds: Any = ()) -> Any:
    found = nearest_rules(
        gone,
        rows,
        table_of("signals", list(signals)),
        table_of("suppressions", list(holds)),
        rules,
    )
    return found.iloc[0].to_dict()


FOUR_IN_A_ROW = policy(
    only=["repeated_misses"],
    rules={
        "repeated_misses": {
            "levels": [{"alert_tier": 2, "when": {"in_a_row": 4}, "sentence": "{n} wrong"}]
        }
    },
)


def test_the_rule_that_came_closest_is_named_and_how_far_it_came() -> None:
    row = nearest(gone_on(5), frames(responses=answers("oxxx", day=1)), FOUR_IN_A_ROW)
    assert (row["nearest_rule"], row["nearest_tier"]) == ("repeated_misses", 2)
    assert (row["observed"], row["threshold"], row["reach"]) == (3, 4, 0.75)


def test_what_lies_after_the_ending_or_long_before_is_not_near() -> None:
    rows = frames(responses=[*answers("xxx", day=6), *answers("x", day=-9.5)])
    assert pd.isna(nearest(gone_on(5), rows, FOUR_IN_A_ROW)["reach"])


def test_a_signal_that_was_held_back_came_all_the_way() -> None:
    held = a_signal(learner="ana", course_id=COURSE, fired_at=on(1), recorded_at=on(1, "10:00"),
                    alert_id=None)  # fmt: skip
    hold = {
        "suppression_id": "1", "signal_id": "signal", "learner_id": "ana", "course_id": COURSE,
        "layer": "content", "alert_tier": 2, "reason": "cooldown", "detail": "",
        "held_at": on(1, "10:00"),
    }  # fmt: skip
    row = nearest(
        gone_on(5), frames(responses=answers("oxx", day=1)), FOUR_IN_A_ROW, [held], [hold]
    )
    assert (row["nearest_rule"], row["reach"], row["held_reason"]) == (
        "repeated_misses",
        1.0,
        "cooldown",
    )


# -- proposals -------------------------------------------------------------------------------------


def judged(**columns: Any) -> pd.DataFrame:
    """A row of rule_quality; shares that are not given are null."""
    row = {"rule_id": "repeated_misses", "layer": "content", "days": 84, "as_of": NOW}
    counts = dict.fromkeys(
        ("signal_count", "alert_count", "verdict_count", "outcome_count", "missed_count"), 0
    )
    return table_of("rule_quality", [{**row, **counts, **columns}])


def by_verdict(right: int, n: int, **columns: Any) -> pd.DataFrame:
    low, high = share_interval(right, n)
    return judged(verdict_count=n, verdict_precision=right / n, verdict_precision_low=low,
                  verdict_precision_high=high,
                  **{"not_actionable_share": 0.0, **columns})  # fmt: skip


def test_a_rule_asks_for_a_change_only_when_the_whole_interval_is_below_the_line() -> None:
    limits = POLICY.quality.tuning
    asked = asked_for(by_verdict(7, 20), limits)["repeated_misses"]
    assert (asked.is_stricter, asked.reason) == (True, "Coaches found 35% of 20 alerts right.")
    assert share_interval(8, 20)[1] > limits.precision  # the interval reaches it
    assert asked_for(by_verdict(8, 20), limits) == {}
    assert asked_for(by_verdict(0, 19), limits) == {}  # too few to judge


def test_what_coaches_cannot_act_on_asks_for_less_and_missed_learners_for_more() -> None:
    limits = POLICY.quality.tuning
    found = asked_for(by_verdict(20, 20, not_actionable_share=0.31), limits)
    assert found["repeated_misses"].is_stricter
    assert asked_for(by_verdict(20, 20, not_actionable_share=0.3), limits) == {}
    assert not asked_for(judged(missed_count=5), limits)["repeated_misses"].is_stricter
    assert asked_for(judged(missed_count=4), limits) == {}


def test_the_rule_that_is_surest_to_be_wrong_comes_first() -> None:
    rows = [
        by_verdict(7, 20, rule_id="a_few_and_bad"),
        by_verdict(40, 100, rule_id="many_and_not_so_bad"),
        by_verdict(30, 100, rule_id="many_and_bad"),
        judged(missed_count=5, rule_id="a_blind_one"),
    ]
    order = list(asked_for(pd.concat(rows), POLICY.quality.tuning))
    assert order == ["many_and_bad", "many_and_not_so_bad", "a_few_and_bad", "a_blind_one"]


def test_steps_go_one_up_and_one_down_within_the_bounds_of_the_rule() -> None:
    rules = policy(
        only=["repeated_misses"],
        rules={
            "repeated_misses": {
                "levels": [
                    {"alert_tier": 2, "when": {"in_a_row": 1}, "sentence": "x"},
                    {"alert_tier": 2, "when": {"in_a_row": 3, "mastery_below": 0.3},
                     "sentence": "x"},
                ]
            }
        },
    )  # fmt: skip
    assert list(steps(rules, "repeated_misses")) == [
        (("repeated_misses", 0, "in_a_row"), 2),
        (("repeated_misses", 1, "in_a_row"), 2),
        (("repeated_misses", 1, "in_a_row"), 4),
        (("repeated_misses", 1, "mastery_below"), 0.27),
        (("repeated_misses", 1, "mastery_below"), 0.33),
    ]


def test_the_diff_changes_one_number_of_the_file_and_nothing_else(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    diff = number_changed(settings, ("inactive", 0, "days"), 8)
    changed_lines = [line for line in diff.splitlines() if line[:1] in "+-" and line[1:2] == " "]
    removed, added = changed_lines
    assert removed[1:].replace("days: 7", "days: 8") == added[1:]
    assert "@@" in diff


@pytest.mark.parametrize(
    ("entry", "added"),
    [
        ("  inactive:\n    title: Away\n", ["    enabled: false"]),
        (
            "  inactive:\n    title: Away\n    enabled: true # since May\n",
            ["    enabled: false # since May"],
        ),
        ("  inactive: {title: Away}\n", ["  inactive: {enabled: false, title: Away}"]),
    ],
)
def test_a_rule_is_switched_off_however_its_entry_is_written(
    tmp_path: Path, entry: str, added: list[str]
) -> None:
    path = tmp_path / "policy.yml"
    path.write_text(f"rules:\n{entry}")
    diff = switched_off(Settings(home=tmp_path, policy_path=path), "inactive")
    lines = [line[1:] for line in diff.splitlines() if line[:1] == "+" and line[:3] != "+++"]
    assert lines == added


def two_learners() -> Trial:
    """Three in a row: twice Ana misses three and goes on, once Ben misses five and leaves."""
    played = [
        (ANA, 1, "xxxo"),
        (ANA, 2, "ooo"),
        (ANA, 8, "xxxo"),
        (ANA, 9, "ooo"),
        (BEN, 1, "xxxxx"),
    ]
    diary, rows = Diary(), []
    for learner, day, pattern in played:
        diary.answer(day, 9, pattern, learner=learner, course=COURSE)
        rows += answers(pattern, day=day, learner=learner)
    three = {"alert_tier": 1, "when": {"in_a_row": 3}, "sentence": "x"}
    rules = policy(only=["repeated_misses"], rules={"repeated_misses": {"levels": [three]}})
    missed = table_of("missed_learners", [])
    return Trial(diary.warehouse(), frames(responses=rows), rules, missed, at(0), at(28))


def test_a_stricter_step_is_tried_on_what_really_happened() -> None:
    trial = two_learners()
    assert trial.effect(trial.policy, "repeated_misses") == Effect(3, 3, 1, 0)
    stricter = changed(trial.policy, ("repeated_misses", 0, "in_a_row"), 4)
    assert trial.effect(stricter, "repeated_misses") == Effect(1, 1, 1, 0)
    assert trial.policy.rules["repeated_misses"].levels[0].when == {"in_a_row": 3}


def test_missed_learners_count_as_reached_in_the_days_before_they_ended() -> None:
    ends = [{"learner_id": BEN, "course_id": COURSE, "ended_at": at(15, 9), "ending": "withdrew"}]
    trial = replace(two_learners(), missed=table_of("missed_learners", [{**ends[0], "as_of": NOW}]))
    assert trial.effect(trial.policy, "repeated_misses").missed_reached == 1
    later = trial.missed.assign(ended_at=pd.Timestamp(at(15, 9.1)))
    assert replace(trial, missed=later).effect(trial.policy, "repeated_misses").missed_reached == 0


def test_a_rule_that_no_step_improves_is_to_be_switched_off(tmp_path: Path) -> None:
    """Whoever the rule finds goes on by themselves, three in a row or four or five."""
    diary, rows = Diary(), []
    for day in (1, 8):
        for later in range(2):
            diary.answer(day + later, 9, "xxxxxx" if later == 0 else "ooo", course=COURSE)
        rows += answers("xxxxxx", day=day, learner=ANA)
    three = {"alert_tier": 2, "when": {"in_a_row": 3}, "sentence": "x"}
    rules = policy(only=["repeated_misses"], rules={"repeated_misses": {"levels": [three]}})
    missed = table_of("missed_learners", [])
    trial = Trial(diary.warehouse(), frames(responses=rows), rules, missed, at(0), at(28))
    settings, why = Settings(home=tmp_path), "Coaches found 12% of 40 alerts right."
    wrong = trial.best(settings, "repeated_misses", Asked(True, why, right_at_most=0.26))
    assert wrong is not None
    assert (wrong.parameter, wrong.after.signals) == ("enabled", 0)
    assert wrong.as_text().startswith(f"repeated_misses: switch it off. {why}")
    assert "+    enabled: false" in wrong.diff
    # Left nothing to do, but not found wrong; or a learner asked by it: it stays.
    assert trial.best(settings, "repeated_misses", Asked(True, why)) is None


def test_asking_for_help_and_safety_are_never_to_be_switched_off(tmp_path: Path) -> None:
    rules = policy(only=["help_requested", "safety_concern"])
    missed = table_of("missed_learners", [])
    trial = Trial(Diary().warehouse(), frames(), rules, missed, at(0), at(28))
    asked = Asked(True, "Coaches found 12% of 40 alerts right.", right_at_most=0.26)
    for name in rules.rules:
        assert trial.best(Settings(home=tmp_path), name, asked) is None


def test_before_anything_is_decided_there_is_nothing_to_tune(tmp_path: Path) -> None:
    with pytest.raises(TutorflowError, match="nothing has been decided yet"):
        proposals(Settings(home=tmp_path))


def test_a_rule_that_cries_wolf_gets_a_proposal_and_the_policy_stays(world: World) -> None:
    assert proposals(world.settings) == []
    row = read_table(world.settings, "rule_quality", {"rule_id": "repeated_misses"}).iloc[0]
    low, high = share_interval(5, 40)
    bad: Any = row.to_dict() | {
        "verdict_count": 40, "verdict_precision": 5 / 40, "verdict_precision_low": low,
        "verdict_precision_high": high, "not_actionable_share": 0.5,
    }  # fmt: skip
    put(world.settings, {"rule_quality": [bad]})
    (proposal,) = proposals(world.settings)
    assert proposal.rule == "repeated_misses"
    assert proposal.after.signals < proposal.before.signals
    assert "Coaches found 12% of 40 alerts right." in proposal.as_text()
    assert load_policy() == POLICY
