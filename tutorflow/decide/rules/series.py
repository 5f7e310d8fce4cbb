"""Row arithmetic the rules share: trailing sums within a learner."""

from __future__ import annotations

import numpy as np
import pandas as pd

# How far back rows "in a row" may reach. Without a bound, what an hourly window sees (the rows of
# ``frames.LOOKBACK``) and what a year in one pass sees would differ.
REACH = pd.Timedelta(days=14)


def trailing_sum(
    values: pd.Series,
    at: pd.Series,
    by: pd.Series,
    window: pd.Timedelta,
    last: int | None = None,
) -> pd.Series:
    """Sum of the values within the last ``window`` (half-open, ending at each row) within ``by``.

    ``last`` further limits the sum to that many rows. Rows must be sorted by ``by`` then ``at``.
    """
    groups = by.ne(by.shift()).cumsum().to_numpy().astype("int64")
    until = at.to_numpy().astype("datetime64[us]")
    since = until - window.to_timedelta64()
    # One sortable key per row: group, then rank of the time (the time itself would overflow).
    instants, rank = np.unique(np.concatenate((until, since)), return_inverse=True)
    until_rank, since_rank = np.split(rank, 2)
    first_key = groups * (len(instants) + 1)
    start = np.searchsorted(first_key + until_rank, first_key + since_rank, side="right")
    if last is not None:
        start = np.maximum(start, np.arange(1, len(values) + 1) - last)
    total = np.concatenate(([0.0], np.cumsum(values.to_numpy(dtype="float64"))))
    return pd.Series(total[1:] - total[start], index=values.index)
