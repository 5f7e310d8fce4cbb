"""Confidence: the skill may be there, the behaviour says the learner does not trust it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tutorflow.decide.rule import (
    Condition,
    Count,
    Deviations,
    OfFive,
    Seconds,
    Share,
    Times,
    rule,
)
from tutorflow.decide.rules.series import REACH, trailing_sum

LEARNER = ["learner_id", "course_id"]


def _last(values: pd.Series, rows: pd.DataFrame, count: int) -> pd.Series:
    """Sum over the learner's last ``count`` answers, none older than ``REACH``."""
    learner = rows.groupby(LEARNER, sort=False).ngroup()
    return trailing_sum(values, rows["known_at"], learner, REACH, last=count)


def _by_row(values: pd.Series | pd.DataFrame, rows: pd.DataFrame) -> pd.Series:
    """Rolling results by learner with the index of the rows, which are sorted by learner."""
    return pd.Series(values.to_numpy().ravel(), index=rows.index)


@rule(
    mart="responses",
    needs=("response_submitted",),
    needs_time_of_day=True,
    one_of=("z_above", "times_own_median"),
)
def slow_responses(
    responses: pd.DataFrame,
    *,
    z_above: Deviations = 2.0,
    times_own_median: Times | None = None,
    items: Count = 3,
    wrong_of_last_5: OfFive = 2,
) -> Condition:
    """Answers far slower than the learner's own pace while answers go wrong.

    The default is z of ln(1 + seconds) against the own last 20 in-session responses, with at
    least two of the last five wrong: 2.0 % of responses. The documents' form, ``items`` in a row
    slower than ``times_own_median`` times the own median of 14 days, flags 27.7 % (METHODS 2).
    """
    rows = responses
    if times_own_median is not None:
        past = rows.groupby(LEARNER, sort=False).rolling(
            REACH, on="known_at", min_periods=10, closed="left"
        )["response_seconds"]
        ratio = rows["response_seconds"] / _by_row(past.median(), rows)
        holds = _last((ratio > times_own_median).fillna(False), rows, items) >= items
        observed, threshold = ratio, times_own_median
        n, window = _by_row(past.count(), rows), "own median of the last 14 days"
    else:
        threshold = z_above
        observed = rows["log_seconds_z"]
        holds = (observed > threshold).fillna(False)
        n = rows["log_seconds_count_of_last_20"]
        window = "own last 20 answers"
    holds &= rows["wrong_of_last_5"] >= wrong_of_last_5
    return Condition(rows, holds, observed, threshold, n, window, evidence=5)


@rule(
    mart="responses",
    needs=("response_submitted",),
    needs_time_of_day=True,
    one_of=("in_a_row", "share_of_last_20"),
)
def rapid_guessing(
    responses: pd.DataFrame,
    *,
    in_a_row: Count | None = None,
    share_of_last_20: Share | None = None,
    at_most_seconds: Seconds = 10,
    of_item_mean: Share = 0.1,
    item_responses: Count = 10,
) -> Condition:
    """Very quick wrong answers: guessing instead of thinking.

    Quick is faster than min(10 s, 10 % of the item's mean time) (NWEA's definition); quick right
    answers carry no signal (METHODS 2). The item's mean is as of the end of the day before, from
    at least ``item_responses`` answers. Only answers of the last 14 days count.
    """
    rows = responses
    limit = np.minimum(at_most_seconds, of_item_mean * rows["item_mean_seconds"])
    known = rows["item_seconds_count"] >= item_responses
    rapid = (~rows["is_correct"] & known & (rows["response_seconds"] < limit)).fillna(False)
    if share_of_last_20 is not None:
        n = _last(pd.Series(1, index=rows.index), rows, 20)
        observed = _last(rapid, rows, 20) / n
        return Condition(
            rows,
            (observed >= share_of_last_20) & (n >= 20),
            observed,
            share_of_last_20,
            n,
            "last 20 answers",
            evidence=20,
        )
    count = in_a_row or 3
    observed = _last(rapid, rows, count)
    return Condition(
        rows,
        observed >= count,
        observed,
        count,
        rows["response_number"].clip(upper=20),
        "answers in a row",
        evidence=count,
    )
