"""Content: the learner is not ready for the next step."""

from __future__ import annotations

import pandas as pd

from tutorflow.decide.rule import Condition, Count, OfTen, Points, Share, rule

SKILL = ("learner_id", "course_id", "skill_id")


def _first_tries(responses: pd.DataFrame) -> pd.DataFrame:
    return responses[responses["is_first_attempt"] & responses["skill_id"].notna()]


@rule(
    mart="responses",
    needs=("response_submitted",),
    subject="skill",
    one_of=("misses", "in_a_row"),
)
def repeated_misses(
    responses: pd.DataFrame,
    *,
    misses: OfTen | None = None,
    in_a_row: Count | None = None,
    mastery_below: Share | None = None,
    mastered_at: Share = 0.95,
    ignore_productive_struggle: bool = True,
) -> Condition:
    """Wrong first tries on one skill that is not mastered.

    ``misses`` counts the last 10 first tries, ``in_a_row`` the current run. Misses that were
    followed by an unaided correct answer within three tries are productive struggle and do not
    count for ``misses`` (METHODS 2). Precision on ASSISTments09: 3 misses .61, 4 in a row .77.
    """
    rows = _first_tries(responses)
    holds = rows["p_mastery_after"] < (mastered_at if mastery_below is None else mastery_below)
    if in_a_row is not None:
        observed, threshold = rows["consecutive_wrong"], in_a_row
        holds &= observed >= in_a_row
        n, window = rows["opportunity"].clip(upper=10), "first tries in a row"
        evidence: int | pd.Series = in_a_row
    else:
        threshold = misses or 3
        observed = rows["misses_of_last_10"]
        holds &= observed >= threshold
        if ignore_productive_struggle:
            holds &= rows["unaided_correct_of_last_3"] == 0
        n, window = rows["first_tries_of_last_10"], "last 10 first tries"
        evidence = rows["first_tries_of_last_10"]
    return Condition(
        rows, holds, observed, threshold, n, window, by=SKILL, evidence=evidence, subject="skill_id"
    )


@rule(mart="responses", needs=("response_submitted",), subject="skill")
def wheel_spinning(
    responses: pd.DataFrame,
    *,
    opportunities: Count = 10,
    correct_in_a_row: Count = 3,
    mastered_at: Share = 0.95,
) -> Condition:
    """Many opportunities on a skill without ever getting it (Beck & Gong 2013)."""
    rows = _first_tries(responses)
    holds = (
        (rows["opportunity"] >= opportunities)
        & (rows["longest_correct_run"] < correct_in_a_row)
        & (rows["p_mastery_max"] < mastered_at)
    )
    return Condition(
        rows,
        holds,
        rows["opportunity"],
        opportunities,
        rows["opportunity"],
        "all opportunities on the skill",
        by=SKILL,
        evidence=10,
        subject="skill_id",
    )


@rule(mart="responses", needs=("response_submitted",))
def accuracy_decline(responses: pd.DataFrame, *, points: Points = 20) -> Condition:
    """The last 20 answers are clearly worse than the own 40 before, in percentage points."""
    rows = responses
    # rounded: 0.7 - 0.5 is a hair below 0.2
    lost = rows["accuracy_of_previous_40"] - rows["accuracy_of_last_20"]
    observed = (100 * lost).round(7)
    return Condition(
        rows,
        (observed >= points).fillna(False),
        observed,
        points,
        pd.Series(60, index=rows.index),
        "last 20 answers against the 40 before",
        evidence=20,
    )
