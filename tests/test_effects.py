"""Honest comparisons: intervals that cover, looks that do not fool, words that do not overclaim."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tutorflow.measure import effects as measure
from tutorflow.measure.cases import alert_cases, flags, help_cases, nudge_cases
from tutorflow.measure.effects import Standards, effects, flag_trend, term_at
from tutorflow.measure.estimates import (
    Estimate,
    always_valid_margin,
    always_valid_p,
    cuped,
    difference_in_means,
    false_discovery,
    lin,
    looks,
    needed_per_arm,
    overlap_weighted,
    propensity,
    share_interval,
    student_p,
    student_quantile,
)
from tutorflow.publish import misfits, read_table
from tutorflow.settings import load_settings

MONDAY = datetime(2026, 3, 2)
SEEDS, LEARNERS, DAYS = 200, 1400, 28


# -- simulated trials ------------------------------------------------------------------------------


def trial(seed: int, effect: float, learners: int = LEARNERS, share: float = 0.5) -> Any:
    """(outcome, is_treated, covariates, look): returns of learners who differ in a known habit.

    A learner's chance to return is 0.3 + 0.4 x habit, plus ``effect`` if treated.
    """
    draw = np.random.default_rng([seed, learners])
    habit = draw.random(learners)
    is_treated = draw.random(learners) < share
    chance = 0.3 + 0.4 * habit + effect * is_treated
    outcome = (draw.random(learners) < chance).astype(float)
    noisy = habit + 0.1 * draw.standard_normal(learners)
    look = np.sort(draw.integers(0, DAYS, learners))
    return outcome, is_treated, noisy[:, None], look


def at_most(probability: float) -> int:
    """How often something of that probability happens in SEEDS tries, but for one time in 1,000."""
    return int(SEEDS * probability + 3.1 * math.sqrt(SEEDS * probability * (1 - probability)))


ESTIMATORS = {
    "plain": lambda y, t, x: difference_in_means(y, t),
    "cuped": cuped,
    "lin": lin,
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("effect", [0.0, 0.052])
@pytest.mark.parametrize("share", [0.5, 0.9], ids=["even", "hold-out of a tenth"])
def test_intervals_cover_at_their_nominal_rate(name: str, effect: float, share: float) -> None:
    missed = 0
    for seed in range(SEEDS):
        outcome, is_treated, covariates, _ = trial(seed, effect, share=share)
        low, high = ESTIMATORS[name](outcome, is_treated, covariates).interval(0.95)
        missed += not low <= effect <= high
    assert missed <= at_most(0.05)
    assert SEEDS - missed <= at_most(0.95)  # nor are they wider than they say


@pytest.fixture(scope="module")
def watched() -> dict[float, Any]:
    """effect -> (adjusted effect, variance) of every trial at each of 28 daily looks."""
    found = {}
    for effect in (0.0, 0.052, 0.1):
        each = [
            looks(*trial(seed, effect)[:3], trial(seed, effect)[3], DAYS, 30)
            for seed in range(SEEDS)
        ]
        found[effect] = (np.array([e for e, _ in each]), np.array([v for _, v in each]))
    return found


def test_a_useless_nudge_watched_daily_is_called_useful_no_oftener_than_stated(
    watched: dict[float, Any],
) -> None:
    p = always_valid_p(*watched[0.0], expected=0.052)
    assert (p[:, -1] <= 0.05).sum() <= at_most(0.05)


def test_the_same_looks_at_a_plain_p_value_would_fool(watched: dict[float, Any]) -> None:
    effect, variance = watched[0.0]
    seen = np.abs(effect) > 1.96 * np.sqrt(variance)
    assert seen.any(axis=1).mean() > 0.12


def test_intervals_for_daily_looks_hold_at_all_looks_at_once(watched: dict[float, Any]) -> None:
    effect, variance = watched[0.052]
    margin = np.array(
        [
            [always_valid_margin(v, 0.95, 0.052) if np.isfinite(v) else np.inf for v in row]
            for row in variance
        ]
    )
    missed = (np.abs(effect - 0.052) > margin).any(axis=1).sum()
    assert missed <= at_most(0.05)


def test_a_planted_effect_is_found(watched: dict[float, Any]) -> None:
    p = always_valid_p(*watched[0.1], expected=0.052)
    assert (p[:, -1] <= 0.05).mean() > 0.75


def test_the_last_look_is_the_regression_on_everything() -> None:
    outcome, is_treated, covariates, look = trial(1, 0.052)
    effect, variance = looks(outcome, is_treated, covariates, look, DAYS, 30)
    whole = lin(outcome, is_treated, covariates)
    assert effect[-1] == pytest.approx(whole.effect, abs=1e-12)
    assert math.sqrt(variance[-1]) == pytest.approx(whole.std_error, rel=0.01)


def test_nothing_is_seen_before_both_groups_are_large_enough() -> None:
    outcome, is_treated, covariates, look = trial(1, 0.052, share=0.9)
    _, variance = looks(outcome, is_treated, covariates, look, DAYS, 30)
    controls = np.cumsum(np.bincount(look[~is_treated], minlength=DAYS))
    assert np.isinf(variance[controls < 30]).all()
    assert np.isfinite(variance[controls >= 30]).all()


# -- estimates against hand-made numbers -----------------------------------------------------------


def test_the_error_of_a_difference_is_the_textbook_one() -> None:
    one, other = np.array([1.0, 3.0, 5.0, 7.0]), np.array([2.0, 2.0, 8.0])
    found = difference_in_means(np.concatenate([one, other]), np.array([True] * 4 + [False] * 3))
    assert found.effect == pytest.approx(0.0)
    assert found.std_error == pytest.approx(math.sqrt(one.var(ddof=1) / 4 + other.var(ddof=1) / 3))


def test_without_a_covariate_that_varies_there_is_nothing_to_adjust() -> None:
    outcome, is_treated = np.array([0.0, 1.0, 1.0, 1.0]), np.array([False, False, True, True])
    plain = difference_in_means(outcome, is_treated)
    assert lin(outcome, is_treated, np.empty((4, 0))) == plain


def test_adjustment_narrows_what_the_covariate_explains() -> None:
    draw = np.random.default_rng(1)
    before = draw.standard_normal(2000)
    is_treated = draw.random(2000) < 0.5
    outcome = before + 0.2 * is_treated + 0.3 * draw.standard_normal(2000)
    plain = difference_in_means(outcome, is_treated)
    for adjusted in (
        cuped(outcome, is_treated, before[:, None]),
        lin(outcome, is_treated, before[:, None]),
    ):
        assert adjusted.std_error < 0.35 * plain.std_error
        assert adjusted.effect == pytest.approx(0.2, abs=4 * adjusted.std_error)


def test_unequal_chances_are_weighed_out() -> None:
    draw = np.random.default_rng(2)
    keen = draw.random(20_000) < 0.5
    chance = np.where(keen, 0.9, 0.5)  # keen learners are treated oftener
    is_treated = draw.random(20_000) < chance
    outcome = keen * 1.0 + 0.1 * is_treated
    weight = np.where(is_treated, 1 / chance, 1 / (1 - chance))
    assert difference_in_means(outcome, is_treated).effect > 0.3
    assert difference_in_means(outcome, is_treated, weight).effect == pytest.approx(0.1, abs=0.03)


def test_overlap_weights_make_chosen_groups_alike() -> None:
    draw = np.random.default_rng(3)
    low = draw.standard_normal(4000)  # those who are low are contacted and would be low anyway
    is_contacted = draw.random(4000) < 1 / (1 + np.exp(low))
    outcome = 0.5 + 0.1 * low + 0.05 * is_contacted + 0.1 * draw.standard_normal(4000)
    assert difference_in_means(outcome, is_contacted).effect < 0
    alike = overlap_weighted(outcome, is_contacted, low[:, None])
    assert alike.estimate.effect == pytest.approx(0.05, abs=4 * alike.estimate.std_error)
    assert alike.before > 0.5
    assert alike.after == pytest.approx(0, abs=1e-4)
    assert alike.effective_n < 4000


def test_propensity_finds_the_chances() -> None:
    draw = np.random.default_rng(4)
    x = draw.standard_normal(20_000)
    chance = 1 / (1 + np.exp(-(0.5 + x)))
    found = propensity(draw.random(20_000) < chance, x[:, None])
    assert np.abs(found - chance).max() < 0.03


@pytest.mark.parametrize(
    ("t", "degrees", "p"), [(2.042, 30, 0.05), (2.750, 30, 0.01), (1.96, 1e6, 0.05)]
)
def test_students_t_is_that_of_the_tables(t: float, degrees: float, p: float) -> None:
    assert student_p(t, degrees) == pytest.approx(p, abs=2e-4)
    assert student_quantile(p, degrees) == pytest.approx(t, abs=2e-3)


def test_five_points_need_about_fourteen_hundred_learners_an_arm() -> None:
    assert needed_per_arm(0.24, 0.24, 0.052) == pytest.approx(1390, abs=15)


def test_share_intervals_are_wilsons() -> None:
    low, high = share_interval(8, 10)
    assert (low, high) == (pytest.approx(0.490, abs=1e-3), pytest.approx(0.943, abs=1e-3))
    assert share_interval(0, 0) == (0.0, 1.0)


def test_false_discoveries_are_rationed_over_the_family() -> None:
    p = np.array([0.001, 0.02, 0.04, 0.6])
    stands, level = false_discovery(p, 0.05)
    assert stands.tolist() == [True, True, False, False]  # 0.04 > 3 x 0.05 / 4
    assert level == pytest.approx(1 - 0.05 * 2 / 4)
    nobody, strict = false_discovery(np.array([0.02, 0.5, 0.5]), 0.05)
    assert not nobody.any()
    assert strict == pytest.approx(1 - 0.05 / 3)


def test_the_margin_and_the_p_value_for_daily_looks_say_the_same() -> None:
    variance, expected = 0.02**2, 0.052
    margin = always_valid_margin(variance, 0.95, expected)
    for effect, significant in ((margin * 1.001, True), (margin * 0.999, False)):
        p = always_valid_p(np.array([effect]), np.array([variance]), expected)
        assert (p[0] <= 0.05) == significant


# -- the published rows ----------------------------------------------------------------------------


def cases(
    count: int = 600,
    effect: float = 0.3,
    comparison: str = "held_out",
    subject: str = "tier 2 alerts",
    seed: int = 5,
    **columns: Any,
) -> pd.DataFrame:
    """Cases of as many learners, half of them treated, over four weeks from MONDAY."""
    draw = np.random.default_rng(seed)
    is_treated = draw.random(count) < 0.5
    assigned = [MONDAY + timedelta(hours=float(h)) for h in draw.uniform(0, 28 * 24, count)]
    frame = pd.DataFrame(
        {
            "comparison": comparison,
            "subject": subject,
            "learner_id": [f"{subject}-{n}" for n in range(count)],
            "assigned_at": pd.Series(assigned, dtype="datetime64[us]"),
            "is_treated": is_treated,
            "propensity": 0.5,
            "outcome": (draw.random(count) < 0.4 + effect * is_treated).astype(float),
            "outcome_name": "resumed",
            "course_id": draw.choice(["maths", "physics"], count),
            "coach_id": draw.choice(["kim", "lee"], count),
            "layer": "content",
            "profile": None,
            "before_active_days": draw.integers(0, 8, count).astype(float),
        }
    )
    frame["known_at"] = frame["assigned_at"].dt.floor("D") + pd.Timedelta(days=8)
    return frame.assign(**columns)


AS_OF = MONDAY + timedelta(days=60)
TERMS = {
    "maths": (MONDAY, MONDAY + timedelta(days=28)),
    "physics": (MONDAY, None),
}


def rows(frame: pd.DataFrame, as_of: datetime = AS_OF, **standards: Any) -> pd.DataFrame:
    return pd.DataFrame(effects(frame, as_of, "UTC", TERMS, Standards(**standards)))


def the_whole(found: pd.DataFrame) -> pd.Series:
    return found[found["segment_kind"] == "all"].iloc[0]


def test_a_real_effect_is_said_to_help_with_its_number() -> None:
    row = the_whole(rows(cases()))
    assert row["verdict"] == "helps"
    assert row["low"] < 0.3 < row["high"]
    assert row["treated_count"] + row["control_count"] == 600
    assert "one more learner for every" in row["sentence"]


def test_harm_is_said_as_well() -> None:
    assert the_whole(rows(cases(effect=-0.3)))["verdict"] == "harms"


def test_too_few_learners_give_no_number() -> None:
    row = the_whole(rows(cases(count=40)))
    assert row["verdict"] == "not_enough_data"
    assert pd.isna(row["effect"])
    assert "Too few" in row["sentence"]


def test_short_of_the_needed_number_the_row_says_how_many_are_needed() -> None:
    row = the_whole(rows(cases(effect=0.0)))
    assert row["verdict"] == "not_enough_data"
    assert 1300 < row["needed_per_arm"] < 1500
    assert f"needs about {row['needed_per_arm']:,} learners per group" in row["sentence"]


def test_with_enough_learners_no_difference_may_be_said() -> None:
    assert the_whole(rows(cases(effect=0.0), expected=0.3))["verdict"] == "no_difference_seen"


def test_only_the_first_case_of_a_learner_counts() -> None:
    first = cases(count=200)
    later = first.assign(
        assigned_at=first["assigned_at"] + pd.Timedelta(days=20), outcome=0.0, is_treated=True
    )
    twice = the_whole(rows(pd.concat([later, first])))
    once = the_whole(rows(first))
    assert twice["treated_count"] == once["treated_count"]
    assert twice["effect"] == once["effect"]


def test_what_is_not_known_yet_does_not_count() -> None:
    frame = cases()
    early = the_whole(rows(frame, as_of=MONDAY + timedelta(days=20)))
    known = (frame["known_at"] <= MONDAY + timedelta(days=20)).sum()
    assert early["treated_count"] + early["control_count"] == known < 600


def test_segments_add_up_and_name_their_numbers() -> None:
    found = rows(cases(comparison="ai_only_vs_hybrid"))
    for kind in ("course", "time_of_day", "coach", "term"):
        part = found[found["segment_kind"] == kind]
        assert (part["treated_count"] + part["control_count"]).sum() == 600, kind
        assert len(part) >= 2
    assert set(found.loc[found["segment_kind"] == "term", "segment"]) == {"early", "late"}
    family = found[found["segment_kind"] != "all"]
    assert set(family["family_size"]) == {len(family[family["effect"].notna()])}


def test_the_middle_of_the_course_parts_early_from_late() -> None:
    term = (MONDAY, MONDAY + timedelta(days=28))
    assert term_at(MONDAY + timedelta(days=13, hours=23), term) == "early"
    assert term_at(MONDAY + timedelta(days=14), term) == "late"
    assert term_at(MONDAY + timedelta(days=28), (MONDAY, None)) == "late"
    assert term_at(MONDAY, None) is None


def test_chosen_groups_are_called_an_association() -> None:
    row = the_whole(rows(cases(comparison="ai_only_vs_hybrid", subject="people", propensity=None)))
    assert row["verdict"] == "goes_with_better"
    assert not row["is_randomised"]
    assert "association only" in row["sentence"]
    assert "improve by themselves" in row["sentence"]


def test_the_playbook_sets_each_kind_against_the_others_of_its_profile() -> None:
    message = cases(count=300, effect=0, comparison="playbook", subject="message", seed=6)
    example = cases(count=300, effect=0, comparison="playbook", subject="worked_example", seed=7)
    call = cases(count=10, effect=0, comparison="playbook", subject="call", seed=8)
    frame = pd.concat([message, example, call]).assign(profile="stuck / content")
    frame.loc[frame["subject"] == "worked_example", "outcome"] = 1.0
    found = rows(frame).set_index("subject")
    assert set(found.index) == {"call", "message", "worked_example"}
    assert found.loc["worked_example", "verdict"] == "goes_with_better"
    assert found.loc["message", "verdict"] == "goes_with_worse"
    assert found.loc["call", "verdict"] == "not_enough_data"
    assert found.loc["call", "treated_count"] == 10
    assert found.loc["call", "control_count"] == 600
    assert found.loc["message", "treated_low"] < 0.4 < found.loc["message", "treated_high"]


def test_among_many_useless_nudges_few_are_called_useful() -> None:
    """Ten useless nudges with all their segments: a family is wrong one time in twenty at most."""
    wrong = fooled = 0
    for seed in range(8):
        frame = pd.concat(
            cases(200, 0.0, "nudge", f"nudge {k}", seed=1000 * seed + k) for k in range(10)
        )
        found = rows(frame, min_per_arm=20)
        wrong += bool(found["verdict"].isin(["helps", "harms"]).any())
        fooled += bool((found["p_value"] < 0.05).any())
    assert wrong <= 2
    assert fooled >= 7  # one plain look at each would find something nearly every time


def test_the_rows_fit_the_contract() -> None:
    from tutorflow.decide.candidates import fit

    found = effects(cases(count=100), AS_OF, "UTC", TERMS)
    assert misfits("intervention_effects", fit("intervention_effects", found)) == []
    assert misfits("flag_trends", fit("flag_trends", flag_trend(*dip(), AS_OF))) == []


# -- from published rows to cases ------------------------------------------------------------------


def published(rows: list[dict[str, Any]], **same: Any) -> pd.DataFrame:
    times = ["exposed_at", "labelled_at", "since", "send_after", "known_at", "intervened_at"]
    frame = pd.DataFrame([{**same, **row} for row in rows])
    return frame.astype({name: "datetime64[us]" for name in times if name in frame})


EXPOSED = {
    "exposed_at": MONDAY,
    "course_id": "maths",
    "layer": "content",
    "alert_tier": 2,
    "audience": "coach",
    "arm": "treated",
    "propensity": 0.9,
    "coach_id": "kim",
}
LABELLED = {
    "exposed_at": MONDAY,
    "window_hours": 168,
    "course_id": "maths",
    "layer": "content",
    "alert_tier": 2,
    "arm": "treated",
    "label": "resumed",
    "labelled_at": MONDAY + timedelta(days=7),
    "was_contacted": True,
    "active_days_before": 3,
    "accuracy_before": 0.5,
}


def alert(alert_id: str, exposed: dict[str, Any], labelled: dict[str, Any]) -> Any:
    """(row of exposures, row of alert_outcomes) of one alert of a learner of that name."""
    names = {"alert_id": alert_id, "learner_id": alert_id}
    same = {k: v for k, v in exposed.items() if k in ("layer", "alert_tier", "arm")}
    return {**EXPOSED, **names, **exposed}, {**LABELLED, **names, **same, **labelled}


def cases_of(*alerts: Any) -> pd.DataFrame:
    exposures, outcomes = zip(*alerts, strict=True)
    return alert_cases(published(list(exposures)), published(list(outcomes)))


def test_an_alert_is_a_case_of_a_lot_and_of_a_choice() -> None:
    found = cases_of(
        alert("ana", {}, {}),
        alert("ben", {"audience": "nobody", "arm": "held_out"}, {"label": "no_change"}),
    ).set_index(["comparison", "learner_id"])
    assert found.loc[("held_out", "ana"), ["is_treated", "outcome"]].tolist() == [True, 1.0]
    assert found.loc[("held_out", "ben"), ["is_treated", "outcome"]].tolist() == [False, 0.0]
    assert found.loc[("ai_only_vs_hybrid", "ana"), "is_treated"]
    assert ("ai_only_vs_hybrid", "ben") not in found.index  # nobody could choose
    assert set(found["subject"]) == {"tier 2 alerts", "a person got in touch"}
    assert set(found.loc["held_out", "propensity"]) == {0.9}


def test_an_alert_nobody_could_hold_out_is_in_no_lot() -> None:
    found = cases_of(alert("ana", {"alert_tier": 3, "propensity": None}, {}))
    assert found["comparison"].tolist() == ["ai_only_vs_hybrid"]


def test_what_was_told_after_the_wait_is_not_counted_as_treated() -> None:
    out, later = {"audience": "nobody", "arm": "held_out"}, MONDAY + timedelta(days=7)
    found = cases_of(
        alert("ana", out, {"label": "no_change"}),
        alert("ana", {"exposed_at": later, "propensity": None}, {"exposed_at": later}),
    )
    lot = found[found["comparison"] == "held_out"]
    assert lot[["is_treated", "outcome"]].to_numpy().tolist() == [[False, 0.0]]
    assert found["comparison"].tolist() == ["held_out", "ai_only_vs_hybrid"]


@pytest.mark.parametrize(("tier", "audience"), [(1, "ai_tutor"), (2, "coach")])
def test_of_a_tenth_held_out_it_is_said_how_many_are_needed(tier: int, audience: str) -> None:
    """A lot of 400 alerts that resume at 60 and 40 %: both tiers are compared by themselves."""
    told = {"alert_tier": tier, "audience": audience}
    left_out = {**told, "audience": "nobody", "arm": "held_out"}
    found = cases_of(
        *(
            alert(f"l{n}", left_out if n % 10 == 0 else told, label_of(n, 5 - (n % 10 == 0)))
            for n in range(400)
        )
    )
    row = the_whole(rows(found[found["comparison"] == "held_out"]))
    assert (row["subject"], row["is_randomised"], row["method"]) == (
        f"tier {tier} alerts",
        True,
        "lin",
    )
    assert (row["treated_count"], row["control_count"]) == (360, 40)
    assert row["verdict"] == "not_enough_data"
    assert "Not enough data yet: needs about" in row["sentence"]
    assert rows(found[:60])["verdict"].tolist()[0] == "not_enough_data"


def label_of(number: int, of_ten: int) -> dict[str, Any]:
    """Of ten numbers in a row (by tens) so many have resumed."""
    return {"label": "resumed" if number // 10 % 10 < of_ten else "no_change"}


def test_safety_is_compared_with_nothing() -> None:
    assert cases_of(alert("ana", {"layer": "safety", "alert_tier": 4}, {})).empty


def test_only_final_labels_of_the_longest_window_count() -> None:
    found = cases_of(
        alert("ana", {}, {"label": "still_open"}),
        alert("ben", {}, {"window_hours": 72}),
        alert("cleo", {}, {}),
    )
    assert set(found["learner_id"]) == {"cleo"}


def test_help_is_told_by_the_state_the_learner_was_in_then() -> None:
    helped = published(
        [
            {"row_id": "1", "learner_id": "ana", "intervened_at": MONDAY + timedelta(hours=1)},
            {"row_id": "2", "learner_id": "ben", "intervened_at": MONDAY},
        ],
        **{k: v for k, v in LABELLED.items() if k not in ("exposed_at", "was_contacted")},
        kind="message",
        coach_id="kim",
    )
    states = published(
        [
            {"state": "stuck", "since": MONDAY},
            {"state": "on_track", "since": MONDAY + timedelta(hours=2)},
        ],
        learner_id="ana",
        course_id="maths",
    )
    found = help_cases(helped, states).set_index("learner_id")["profile"]
    assert found["ana"] == "stuck / content"
    assert found["ben"] == "insufficient_data / content"


def test_a_nudge_is_compared_where_chance_decided() -> None:
    outbox = published(
        [
            {"nudge_row_id": "said", "status": "ready", "propensity": 0.45, "variant": "one"},
            {"nudge_row_id": "too", "status": "ready", "propensity": 0.45, "variant": "two"},
            {"nudge_row_id": "not", "status": "held_out", "propensity": 0.1, "variant": "one"},
            {"nudge_row_id": "sure", "status": "ready", "propensity": 0.5, "variant": "one"},
            {"nudge_row_id": "late", "status": "not_sent", "propensity": 0.45, "variant": "one"},
        ],
        nudge_id="first_step",
        library_version="1",
        course_id="maths",
        send_after=MONDAY,
        result="returned",
    )
    outbox["learner_id"] = outbox["nudge_row_id"]
    followed = published(
        [{"nudge_row_id": row} for row in outbox["nudge_row_id"]],
        is_success=True,
        active_days_before=2,
        known_at=MONDAY + timedelta(days=2),
    )
    found = nudge_cases(outbox, followed).set_index("learner_id")
    assert set(found.index) == {"said", "too", "not"}  # `sure` could not have been held out
    assert found["propensity"].tolist() == pytest.approx([0.9, 0.9, 0.9])
    assert found["is_treated"].tolist() == [True, True, False]


def test_a_flag_says_what_people_did_then() -> None:
    exposures, outcomes = zip(
        alert("ana", {}, {}),
        alert("ben", {}, {"was_contacted": False}),
        alert("cleo", {"arm": "held_out"}, {"was_contacted": False}),
        alert("dora", {"alert_tier": 1}, {}),
        strict=True,
    )
    found = flags(published(list(exposures)), published(list(outcomes)))
    assert dict(zip(found["learner_id"], found["group"], strict=True)) == {
        "ana": "contacted",
        "ben": "not_contacted",
        "cleo": "held_out",
    }


def test_every_day_publishes_what_may_be_said(tiny_home: Path) -> None:
    settings = load_settings(tiny_home)
    found = read_table(settings, "intervention_effects")
    outcomes = read_table(settings, "alert_outcomes")
    final = outcomes[(outcomes["label"] != "still_open") & (outcomes["window_hours"] == 168)]
    seen = final[(final["alert_tier"] >= 2) & (final["layer"] != "safety")]
    row = found[(found["comparison"] == "ai_only_vs_hybrid") & (found["segment_kind"] == "all")]
    counted = row["treated_count"] + row["control_count"]
    assert counted.tolist() == [seen["learner_id"].nunique()]
    assert set(found["verdict"]) == {"not_enough_data"}  # of fourteen learners nothing can be said
    trends = read_table(settings, "flag_trends")
    assert trends.loc[trends["week"] == -1, "learner_count"].sum() == seen["learner_id"].nunique()


# -- what would have happened anyway ---------------------------------------------------------------


def dip() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Forty learners, active four days a week, but one day in the week before their flag."""
    flags = pd.DataFrame(
        {
            "learner_id": [f"l{n}" for n in range(40)],
            "course_id": "maths",
            "flagged_at": pd.Series([MONDAY + timedelta(days=21)] * 40, dtype="datetime64[us]"),
            "group": ["contacted"] * 20 + ["not_contacted"] * 20,
        }
    )
    days = [0, 1, 2, 3, 7, 8, 9, 10, 14, 21, 22, 23, 24, 28, 29, 30, 31]
    active = pd.DataFrame(
        [("maths", f"l{n}", MONDAY + timedelta(days=d, hours=12)) for n in range(40) for d in days],
        columns=["course_id", "learner_id", "active_at"],
    ).astype({"active_at": "datetime64[us]"})
    return flags, active


def test_the_dip_before_a_flag_and_the_rise_without_contact_are_shown() -> None:
    found = pd.DataFrame(flag_trend(*dip(), AS_OF)).set_index(["group", "week"])
    alone = found.loc["not_contacted"]["active_days"]
    assert alone[-3] == alone[-2] == 4
    assert alone[-1] == 1
    assert alone[0] == 4
    assert found.loc[("not_contacted", 0), "learner_count"] == 20


def test_a_week_counts_once_it_is_over() -> None:
    flags, active = dip()
    just_before = MONDAY + timedelta(days=28) - timedelta(microseconds=1)
    weeks = pd.DataFrame(flag_trend(flags, active, just_before))["week"]
    assert weeks.max() == -1
    over = pd.DataFrame(flag_trend(flags, active, MONDAY + timedelta(days=28)))["week"]
    assert over.max() == 0


def test_every_kind_of_comparison_is_known_to_the_contract() -> None:
    from tutorflow.publish.contract import table

    columns = table("intervention_effects").columns
    assert set(measure.BY_LOT) < set(columns["comparison"].values)
    assert set(measure.SEGMENTS) < set(columns["segment_kind"].values)
    assert set(measure.FLAG_GROUPS) == set(table("flag_trends").columns["group"].values)


def test_an_estimate_without_spread_is_certain() -> None:
    assert Estimate(0.1, 0.0, 10).p_value == 0
    assert Estimate(0.0, 0.0, 10).p_value == 1
