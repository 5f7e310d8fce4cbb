"""The practice plan: which skill next, how hard, which tasks, and why."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from builders import COURSE, hours, on, policy

from tests.bench.practice import auc, fit, predict
from tutorflow.decide.candidates import fit as fitted
from tutorflow.decide.practice import (
    Curriculum,
    Skill,
    band_of,
    choose,
    plan,
    predicted,
    smoothed_logit,
)
from tutorflow.policy import load_policy
from tutorflow.publish import misfits
from tutorflow.roster import Roster, load_roster
from tutorflow.settings import Settings

POLICY = load_policy()
RULES = POLICY.practice
LADDER = Curriculum(
    {COURSE: ("counting", "adding", "multiplying", "powers")},
    {"adding": ("counting",), "multiplying": ("adding",), "powers": ("multiplying",)},
)


# -- which skill -----------------------------------------------------------------------------------


def practised(**mastery: float) -> dict[str, Skill]:
    """Skills in the order in which they were last practised, with their mastery."""
    return {
        name: Skill(name, 2, 1, p, p, False, True, on(number))
        for number, (name, p) in enumerate(mastery.items())
    }


def chosen(skills: Mapping[str, Skill], course: Curriculum = LADDER) -> tuple[str, str, str]:
    choice = choose(COURSE, skills, course, POLICY, {})
    assert choice is not None
    return choice.skill_id, choice.goal_id, choice.reason


def test_what_is_being_practised_comes_next() -> None:
    assert chosen(practised(counting=0.97, adding=0.4))[:2] == ("adding", "adding")


def test_after_mastery_comes_the_next_skill_of_the_course() -> None:
    skill, goal, reason = chosen(practised(counting=0.97, adding=0.95))
    assert (skill, goal) == ("multiplying", "multiplying")
    assert reason == "adding is mastered; multiplying comes next in the course"


def test_a_prerequisite_that_is_not_mastered_comes_first() -> None:
    skill, goal, reason = chosen(practised(counting=0.97, adding=0.94, multiplying=0.2))
    assert (skill, goal) == ("adding", "multiplying")
    assert reason == "multiplying builds on adding, which is not mastered (mastery 0.94)"


def test_of_several_the_one_furthest_upstream_comes_first() -> None:
    assert chosen(practised(counting=0.4, adding=0.3, multiplying=0.2))[0] == "counting"


def test_a_skill_mastered_once_is_not_called_back_for_one_slip() -> None:
    skills = practised(adding=0.9, counting=0.97, multiplying=0.3)
    slipped = replace(skills["adding"], p_max=0.97)
    assert chosen({**skills, "adding": slipped})[0] == "multiplying"
    forgotten = replace(slipped, p_mastery=RULES.forgotten_below - 0.01)
    assert chosen({**skills, "adding": forgotten})[0] == "adding"


def test_a_prerequisite_never_met_counts_only_when_the_goal_goes_wrong() -> None:
    well = practised(multiplying=0.6)
    assert chosen(well)[0] == "multiplying"
    badly = {"multiplying": replace(well["multiplying"], misses=2, is_last_wrong=True)}
    skill, _, reason = chosen(badly)
    assert skill == "counting"
    assert reason == "multiplying builds on counting, which is new here"


def test_without_a_roster_the_weakest_practised_skill_comes_next() -> None:
    skill, _, reason = chosen(practised(adding=0.4, powers=0.7), Curriculum())
    assert skill == "adding"
    assert reason == "adding is furthest from mastered (0.40)"


@pytest.mark.parametrize("course", [Curriculum(), Curriculum({COURSE: ("adding", "counting")})])
def test_when_all_is_mastered_the_oldest_is_reviewed(course: Curriculum) -> None:
    skill, _, reason = chosen(practised(counting=0.97, adding=0.96), course)
    assert (skill, "longest ago" in reason) == ("counting", True)


def test_nothing_is_planned_for_who_has_done_nothing_on_the_course() -> None:
    elsewhere = {"adding": replace(practised(adding=0.4)["adding"], is_of_course=False)}
    assert choose(COURSE, elsewhere, LADDER, POLICY, {}) is None


def test_upstream_lists_every_prerequisite_furthest_first() -> None:
    assert LADDER.upstream("powers") == ["counting", "adding", "multiplying"]
    assert LADDER.upstream("counting") == []
    diamond = Curriculum({}, {"d": ("b", "c"), "b": ("a",), "c": ("a", "b")})
    assert diamond.upstream("d") == ["a", "b", "c"]


# -- how hard --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "newest_first", "band"),
    [
        ("on_track", [True, False, False], RULES.usual),
        ("on_track", [False, True], RULES.usual),
        ("on_track", [False], RULES.usual),
        ("on_track", [False, False], RULES.after_misses),
        ("thriving", [True], RULES.thriving),
        ("thriving", [False, False, True], RULES.after_misses),
        ("recovering", [True], RULES.recovering),
    ],
)
def test_the_band_follows_the_state_and_the_last_answers(
    state: str, newest_first: list[bool], band: Any
) -> None:
    assert band_of(RULES, state, newest_first)[0] == band


def test_the_shipped_bands_are_those_of_the_method() -> None:
    assert (RULES.usual.low, RULES.usual.aim, RULES.usual.high) == (0.70, 0.80, 0.85)
    assert RULES.recovering.aim == 0.90
    assert (RULES.thriving.low, RULES.thriving.high) == (0.65, 0.75)
    assert RULES.after_misses.low == 0.85


def test_success_is_a_logistic_of_four_inputs() -> None:
    by_hand = -0.820 + 0.879 * 0.5 + 0.256 * math.log(0.8 / 0.2) + 0.514 * math.log(4)
    by_hand += 0.423 * math.log(2)
    (chance,) = predicted(
        RULES, np.array([0.5]), np.array([0.8]), np.array([3]), np.array([1])
    ).tolist()
    assert chance == pytest.approx(1 / (1 + math.exp(-by_hand)))


def test_an_item_is_drawn_to_the_usual_share_by_four_answers() -> None:
    (few,) = smoothed_logit(np.array([1.0]), np.array([1.0]), np.array([0.5]), 4).tolist()
    assert few == pytest.approx(math.log(3 / 2))
    (none,) = smoothed_logit(np.array([0.0]), np.array([0.0]), np.array([0.6]), 4).tolist()
    assert none == pytest.approx(math.log(0.6 / 0.4))


# -- the plan out of the marts ---------------------------------------------------------------------

EASY, MIDDLE, HARD = "easy", "middle", "hard"
NOW = on(3, "12:00")


@pytest.fixture(scope="module")
def warehouse() -> Iterator[duckdb.DuckDBPyConnection]:
    """Marts by hand: one learner practises adding; three tasks of which other learners solved
    nine, seven and one of ten on the first day."""
    connection = duckdb.connect()
    connection.execute("create schema marts; create schema seeds")
    connection.execute(
        "create table seeds.measurement_constants as "
        "select 'bkt_prior' as constant, '*' as skill_id, 0.62 as value"
    )
    connection.execute(
        "create table marts.item_days (course_id varchar, item_id varchar, known_at timestamp, "
        "first_try_count bigint, first_try_correct_count bigint)"
    )
    for item, solved in ((EASY, 9), (MIDDLE, 7), (HARD, 1)):
        last = on(1) - timedelta(microseconds=1)
        connection.execute(
            "insert into marts.item_days values (?, ?, ?, 10, ?)", [COURSE, item, last, solved]
        )
    # What becomes known after the moment must not count.
    connection.execute(
        "insert into marts.item_days values (?, ?, ?, 1000, 0)", [COURSE, EASY, NOW + hours(12)]
    )
    connection.execute(
        "create table marts.response_skills (learner_id uuid, course_id varchar, skill_id varchar, "
        "is_correct boolean, p_mastery_after double, opportunity bigint, known_at timestamp, "
        "responded_at timestamp)"
    )
    connection.execute(
        "create table marts.responses (learner_id uuid, course_id varchar, item_id varchar, "
        "skill_id varchar, is_correct boolean, is_first_attempt boolean, response_number bigint, "
        "known_at timestamp)"
    )
    for number, (is_correct, p, at) in enumerate(
        [(True, 0.7, on(1, "09:00")), (True, 0.8, on(2, "09:00")), (False, 0.1, NOW)], start=1
    ):
        connection.execute(
            "insert into marts.response_skills values (?, ?, 'adding', ?, ?, ?, ?, ?)",
            [ANA, COURSE, is_correct, p, number, at, at],
        )
        connection.execute(
            "insert into marts.responses values (?, ?, 'another', 'adding', ?, true, ?, ?)",
            [ANA, COURSE, is_correct, number, at],
        )
    for item in (EASY, MIDDLE, HARD):
        connection.execute(
            "insert into marts.responses values (?, ?, ?, 'adding', true, true, 1, ?)",
            [BEN, COURSE, item, on(0, "09:00")],
        )
    yield connection
    connection.close()


ANA, BEN = (f"00000000-0000-0000-0000-00000000000{digit}" for digit in "ab")


def no_roster(folder: Path) -> Roster:
    return load_roster(Settings(home=folder))


def planned(
    warehouse: duckdb.DuckDBPyConnection, folder: Path, at: datetime, state: str = "on_track"
) -> pd.Series:
    rows = plan(warehouse, POLICY, no_roster(folder), {(ANA, COURSE): (at, state)}, {})
    assert len(rows) == 1
    assert misfits("practice_plan", fitted("practice_plan", rows)) == []
    return rows.iloc[0]


def test_tasks_nearest_to_the_target_are_suggested_nearest_first(
    warehouse: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    row = planned(warehouse, tmp_path, NOW)
    usual = (17 + 1) / (30 + 2)
    chances = {
        item: float(
            predicted(
                RULES,
                smoothed_logit(np.array([solved]), np.array([10.0]), np.array([usual]), 4),
                np.array([0.8]),
                np.array([2]),
                np.array([0]),
            )[0]
        )
        for item, solved in ((EASY, 9.0), (MIDDLE, 7.0), (HARD, 1.0))
    }
    expected = sorted(chances, key=lambda item: abs(chances[item] - 0.80))
    assert json.loads(row["suggested_items"]) == expected
    assert row["predicted_success"] == pytest.approx(chances[expected[0]], abs=1e-6)
    assert (row["next_skill_id"], row["p_mastery"]) == ("adding", 0.8)


def test_a_thriving_learner_is_given_harder_tasks(
    warehouse: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    usual, thriving = (planned(warehouse, tmp_path, NOW, s) for s in ("recovering", "thriving"))
    assert usual["target_success"] > thriving["target_success"]
    assert usual["predicted_success"] > thriving["predicted_success"]


def test_what_is_not_known_at_the_tick_does_not_count(
    warehouse: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    later = planned(warehouse, tmp_path, NOW + hours(1))
    assert later["p_mastery"] == 0.1
    assert planned(warehouse, tmp_path, NOW)["p_mastery"] == 0.8


def test_tasks_answered_a_moment_ago_are_not_suggested(
    warehouse: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    rows = plan(warehouse, POLICY, no_roster(tmp_path), {(BEN, COURSE): (NOW, "on_track")}, {})
    assert rows.empty  # he answered without a try at a skill
    assert "another" not in json.loads(planned(warehouse, tmp_path, NOW)["suggested_items"])


def test_one_pass_plans_what_each_learner_alone_would_get(
    warehouse: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    early, late = on(1, "10:00"), NOW
    alone = [planned(warehouse, tmp_path, at).to_dict() for at in (early, late)]
    again = [planned(warehouse, tmp_path, at).to_dict() for at in (late, early)]
    assert [alone[0], alone[1]] == [again[1], again[0]]
    assert alone[0]["p_mastery"] == 0.7


def test_an_impossible_band_is_refused() -> None:
    with pytest.raises(ValueError, match="in this order"):
        policy(practice={"usual": {"low": 0.9}})


# -- the fit ---------------------------------------------------------------------------------------


def test_the_fit_finds_the_coefficients_that_made_the_answers() -> None:
    rng = np.random.default_rng(1)
    inputs = np.column_stack([np.ones(20_000), rng.normal(size=(20_000, 2))])
    made_with = np.array([-0.5, 1.2, -0.7])
    right = (rng.random(20_000) < predict(inputs, made_with)).astype(float)
    assert fit(inputs, right) == pytest.approx(made_with, abs=0.06)


def test_auc_counts_pairs() -> None:
    assert auc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0.0, 0.0, 1.0, 1.0])) == 0.75
    assert auc(np.array([0.5, 0.5]), np.array([0.0, 1.0])) == 0.5
