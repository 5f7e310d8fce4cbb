"""Fit the predicted success of the practice plan on real answers, and say how well it ranks them.

    python -m tests.bench.practice

Reads the statistics cloze trials in place, builds the marts of a temporary home from them, and fits
the logistic of ``tutorflow.decide.practice`` by iteratively re-weighted least squares. Inputs are
what the plan has at run time: the item's smoothed log-odds by the end of the day before, the BKT
log-odds before the answer, and the learner's right and wrong first tries on the skill so far. The
AUC is out of sample: five folds of whole learners. The coefficients printed are of all learners;
they are copied into the policy by hand and never refitted at run time.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from flows.marts import build_marts
from tutorflow.decide.frames import frame
from tutorflow.decide.practice import smoothed_logit
from tutorflow.policy import load_policy
from tutorflow.pull import pull
from tutorflow.settings import Settings, load_settings
from tutorflow.warehouse import open_warehouse

SHARED = Path(os.environ.get("TUTORFLOW_SHARED_DATA", Path(__file__).parents[3] / "shared/data"))
NOW = datetime(2026, 1, 1, tzinfo=UTC)
FOLDS = 5
RIDGE = 1e-6  # keeps the normal equations solvable; of no effect on so many answers
NAMES = ("intercept", "item", "mastery", "wins", "misses")

ANSWERS = """
    with tries as (
        select
            skills.learner_id, skills.course_id, skills.is_correct, skills.p_mastery_before,
            responses.item_id, skills.known_at,
            count(*) filter (skills.is_correct) over before as wins,
            count(*) filter (not skills.is_correct) over before as misses
        from marts.response_skills as skills
        inner join marts.responses as responses using (event_id)
        where skills.is_primary
        window before as (
            partition by skills.learner_id, skills.course_id, skills.skill_id
            order by skills.opportunity rows between unbounded preceding and 1 preceding
        )
    ),

    items as (
        select
            course_id, item_id, known_at as item_known_at,
            cast(sum(first_try_count) over item as double) as tries,
            cast(sum(first_try_correct_count) over item as double) as solved
        from marts.item_days
        window item as (partition by course_id, item_id order by known_at)
    ),

    course_days as (
        select
            course_id, known_at,
            sum(first_try_count) as tries, sum(first_try_correct_count) as solved
        from marts.item_days
        group by all
    ),

    courses as (
        select
            course_id, known_at as course_known_at,
            cast(sum(tries) over course as double) as course_tries,
            cast(sum(solved) over course as double) as course_solved
        from course_days
        window course as (partition by course_id order by known_at)
    )

    select
        tries.*, coalesce(items.tries, 0) as item_tries, coalesce(items.solved, 0) as item_solved,
        coalesce(courses.course_tries, 0) as course_tries,
        coalesce(courses.course_solved, 0) as course_solved
    from tries
    asof left join items
        on tries.course_id = items.course_id and tries.item_id = items.item_id
        and tries.known_at > items.item_known_at
    asof left join courses
        on tries.course_id = courses.course_id and tries.known_at > courses.course_known_at
    order by tries.learner_id, tries.known_at, tries.item_id
"""


def main() -> None:
    """Fit, and print the coefficients and how well they rank answers of learners left out."""
    with tempfile.TemporaryDirectory(prefix="tutorflow-practice-") as folder:
        settings = cloze_home(Path(folder))
        with open_warehouse(settings, read_only=True) as warehouse:
            answers = frame(warehouse, ANSWERS)
    inputs, right = design(answers, load_policy().practice.prior_weight)
    fold = np.array(
        [int(hashlib.sha256(who.encode()).hexdigest(), 16) % FOLDS for who in answers["learner_id"]]
    )
    chance = np.zeros(len(right))
    for left_out in range(FOLDS):
        weights = fit(inputs[fold != left_out], right[fold != left_out])
        chance[fold == left_out] = predict(inputs[fold == left_out], weights)
    print(f"{len(right):,} first tries of {answers['learner_id'].nunique()} learners")
    print(f"AUC of learners left out: {auc(chance, right):.4f}")
    print(f"Brier score: {np.mean((chance - right) ** 2):.4f}, right: {right.mean():.3f}")
    weights = fit(inputs, right)
    print(", ".join(f"{name}: {w:.3f}" for name, w in zip(NAMES, weights, strict=True)))


def cloze_home(folder: Path) -> Settings:
    """A home with the marts of the statistics cloze trials."""
    (folder / "tutorflow.yml").write_text(
        "sources:\n"
        "  - name: cloze\n"
        f"    path: {SHARED}/statistics_cloze/largerawsample.csv.gz\n"
        "    format: statistics_cloze\n"
        "    timezone: UTC\n"
    )
    settings = load_settings(folder)
    pull(settings, NOW)
    build_marts(settings)
    return settings


def design(answers: pd.DataFrame, prior_weight: float) -> tuple[np.ndarray, np.ndarray]:
    """(a row of inputs per answer, 1.0 where it was right)."""
    usual = (answers["course_solved"] + 1) / (answers["course_tries"] + 2)
    mastery = answers["p_mastery_before"].to_numpy()
    columns = (
        np.ones(len(answers)),
        smoothed_logit(
            answers["item_solved"].to_numpy(),
            answers["item_tries"].to_numpy(),
            usual.to_numpy(),
            prior_weight,
        ),
        np.log(mastery / (1 - mastery)),
        np.log1p(answers["wins"].to_numpy()),
        np.log1p(answers["misses"].to_numpy()),
    )
    return np.column_stack(columns), answers["is_correct"].to_numpy(dtype="float64")


def fit(inputs: np.ndarray, right: np.ndarray, steps: int = 50) -> np.ndarray:
    """Coefficients of a logistic regression by iteratively re-weighted least squares."""
    weights = np.zeros(inputs.shape[1])
    for _ in range(steps):
        chance = predict(inputs, weights)
        spread = (chance * (1 - chance))[:, None] * inputs
        slope = inputs.T @ (right - chance) - RIDGE * weights
        move = np.linalg.solve(inputs.T @ spread + RIDGE * np.eye(inputs.shape[1]), slope)
        weights = weights + move
        if np.abs(move).max() < 1e-10:
            break
    return weights


def predict(inputs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Chance of a right answer per row."""
    chance: np.ndarray = 1 / (1 + np.exp(-inputs @ weights))
    return chance


def auc(chance: np.ndarray, right: np.ndarray) -> float:
    """Chance that a right answer was given a higher one than a wrong answer; ties count half."""
    ranks = pd.Series(chance).rank().to_numpy()
    positive = right == 1
    count = positive.sum()
    above = ranks[positive].sum() - count * (count + 1) / 2
    return float(above / (count * (len(right) - count)))


if __name__ == "__main__":
    main()
