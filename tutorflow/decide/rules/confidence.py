"""Confidence: the skill may be there, the behaviour says the learner does not trust it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tutorflow.decide.rule import Condition, Count, Seconds, Share, rule
from tutorflow.decide.rules.series import rolling_sum


@rule(mart="responses", needs=("response_submitted",), needs_time_of_day=True)
def slow_responses(
    responses: pd.DataFrame,
    *,
    z_above: float | None = 2.0,
    times_own_median: float | None = None,
    items: Count = 3,
    wrong_of_last_5: int = 2,
) -> Condition:
    """Answers far slower than the learner's own pace while answers go wrong.

    The default is z of ln(1 + seconds) against the own last 20 in-session responses, with at
    least two of the last five wrong: 2.0 % of responses. The documents' form, ``items`` in a row
    slower than ``times_own_median`` times the own median, flags 27.7 % (METHODS 2).
    """
    rows = responses
    by = [rows["learner_id"], rows["course_id"]]
    if times_own_median is not None:
        # Sorted frame: shift(1) before the rolling median keeps the baseline in the past.
        past = rows.groupby(["learner_id", "course_id"], sort=False)["response_seconds"].shift(1)
        median = (
            past.groupby(by, sort=False)
            .rolling(20, min_periods=10)
            .median()
            .droplevel([0, 1])
            .reindex(rows.index)
        )
        ratio = rows["response_seconds"] / median
        slow = (ratio > times_own_median).fillna(False)
        holds = rolling_sum(slow, by, items) >= items
        observed, threshold = ratio, times_own_median
        n, window = pd.Series(20, index=rows.index), "own median of the last 20 answers"
    else:
        threshold = z_above if z_above is not None else 2.0
        observed = rows["log_seconds_z"]
        holds = (observed > threshold).fillna(False)
        n = rows["log_seconds_count_of_last_20"]
        window = "own last 20 answers in session"
    holds &= rows["wrong_of_last_5"] >= wrong_of_last_5
    return Condition(rows, holds, observed, threshold, n, window, evidence=5)


@rule(mart="responses", needs=("response_submitted",), needs_time_of_day=True)
def rapid_guessing(
    responses: pd.DataFrame,
    *,
    in_a_row: Count | None = None,
    share_of_last_20: Share | None = None,
    at_most_seconds: Seconds = 10,
    of_item_mean: Share = 0.1,
    item_responses: Count = 10,
) -> Condition:
    """Wrong and faster than min(10 s, 10 % of the item's mean time) (NWEA's definition).

    The item's mean is as of the end of the day before, from at least ``item_responses`` answers.
    """
    rows = responses
    limit = np.minimum(at_most_seconds, of_item_mean * rows["item_mean_seconds"])
    known = rows["item_seconds_count"] >= item_responses
    rapid = (~rows["is_correct"] & known & (rows["response_seconds"] < limit)).fillna(False)
    by = [rows["learner_id"], rows["course_id"]]
    if share_of_last_20 is not None:
        n = rows["response_number"].clip(upper=20)
        observed = rolling_sum(rapid, by, 20) / n
        return Condition(
            rows,
            (observed >= share_of_last_20) & (n >= 20),
            observed,
            share_of_last_20,
            n,
            "last 20 answers",
            evidence=20,
        )
    count = in_a_row if in_a_row is not None else 3
    observed = rolling_sum(rapid, by, count)
    return Condition(
        rows,
        observed >= count,
        observed,
        count,
        rows["response_number"].clip(upper=20),
        "answers in a row",
        evidence=count,
    )
