"""Row arithmetic the rules share: trailing sums within a learner."""

from __future__ import annotations

import numpy as np
import pandas as pd


def rolling_sum(values: pd.Series, by: pd.Series | list[pd.Series], rows: int) -> pd.Series:
    """Sum of the last ``rows`` values up to and including each row, within ``by``.

    ``values`` must be sorted within ``by``; fewer rows than asked for sum what there is.
    """
    grouped = values.astype("float64").groupby(by, sort=False)
    total = grouped.cumsum()
    before = total.groupby(by, sort=False).shift(rows)
    return total - before.fillna(0.0)


def trailing_sum(
    values: pd.Series, at: pd.Series, by: pd.Series, window: pd.Timedelta
) -> pd.Series:
    """Sum of the values within the last ``window`` (half-open, ending at each row) within ``by``.

    Rows must be sorted by ``by`` then ``at``.
    """
    groups = by.ne(by.shift()).cumsum().to_numpy()
    times = at.to_numpy().astype("datetime64[us]").astype("int64")
    # One sortable key per row: groups are kept apart by more than any time span.
    span = int(times.max() - times.min()) + window.value // 1000 + 1 if len(times) else 1
    key = groups.astype("int64") * span + (times - (times.min() if len(times) else 0))
    total = np.concatenate(([0.0], np.cumsum(values.to_numpy(dtype="float64"))))
    start = np.searchsorted(key, key - window.value // 1000, side="right")
    first_of_group = np.searchsorted(groups, groups, side="left")
    start = np.maximum(start, first_of_group)
    return pd.Series(total[1:] - total[start], index=values.index)
