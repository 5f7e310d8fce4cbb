"""Row arithmetic the rules share: trailing sums and first values within a learner."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

# How far back rows "in a row" may reach. Without a bound, what an hourly window sees (the rows of
# ``frames.LOOKBACK``) and what a year in one pass sees would differ. A rule that reaches further
# says so (``Rule.reach_days``).
REACH = pd.Timedelta(days=14)
LEARNER = ("learner_id", "course_id")


def trailing_sum(
    values: pd.Series,
    at: pd.Series,
    by: pd.Series,
    window: pd.Timedelta,
    last: int | None = None,
    unit: pd.Series | None = None,
) -> pd.Series:
    """Sum of the values within the last ``window`` (half-open, ending at each row) within ``by``.

    ``last`` further limits the sum to that many rows; with ``unit``, which numbers the rows and
    never falls within ``by``, to the rows of that many numbers. Rows must be sorted by ``by`` then
    ``at``.
    """
    groups = by.ne(by.shift()).cumsum().to_numpy().astype("int64")
    start = _starts(at, groups, window)
    if last is not None and unit is None:
        start = np.maximum(start, np.arange(1, len(values) + 1) - last)
    elif last is not None and unit is not None and len(values):
        number = unit.to_numpy(dtype="int64")
        key = groups * (int(number.max()) + 1) + number
        start = np.maximum(start, np.searchsorted(key, key - last, side="right"))
    total = np.concatenate(([0.0], np.cumsum(values.to_numpy(dtype="float64"))))
    return pd.Series(total[1:] - total[start], index=values.index)


def count_within(
    values: pd.Series,
    rows: pd.DataFrame,
    by: Sequence[str | pd.Series],
    window: pd.Timedelta = REACH,
    last: int | None = None,
) -> pd.Series:
    """``trailing_sum`` of ``values`` by the columns (or series) of ``by``, for rows in order of
    ``known_at`` within each learner, whose groups may be interleaved. An unknown key is a group.
    """
    order, groups = _grouped(rows, by)
    found = trailing_sum(
        values.iloc[order], rows["known_at"].iloc[order], groups.iloc[order], window, last
    )
    return found.reindex(rows.index)


def first_within(
    values: pd.Series,
    rows: pd.DataFrame,
    by: Sequence[str | pd.Series],
    window: pd.Timedelta = REACH,
) -> pd.Series:
    """The earliest of the ``values`` within the last ``window``, as ``count_within`` counts."""
    order, groups = _grouped(rows, by)
    sorted_groups = groups.iloc[order].to_numpy()
    start = _starts(rows["known_at"].iloc[order], sorted_groups, window)
    found = pd.Series(values.iloc[order].to_numpy()[start], index=rows.index[order])
    return found.reindex(rows.index)


def group_numbers(rows: pd.DataFrame, by: Sequence[str | pd.Series]) -> pd.Series:
    """A number per distinct combination of the columns (or series); an unknown key is one too."""
    keys = [rows[key] if isinstance(key, str) else key for key in by]
    return rows.groupby(keys, sort=False, dropna=False).ngroup()


def _grouped(rows: pd.DataFrame, by: Sequence[str | pd.Series]) -> tuple[np.ndarray, pd.Series]:
    """Positions of the rows sorted by group (in each, as they stand), and each row's group."""
    groups = group_numbers(rows, by)
    return np.argsort(groups.to_numpy(), kind="stable"), groups


def _starts(at: pd.Series, groups: np.ndarray, window: pd.Timedelta) -> np.ndarray:
    """Position of each row's first row of the same group within the window; sorted by both."""
    until = at.to_numpy().astype("datetime64[us]")
    since = until - window.to_timedelta64()
    # One sortable key per row: group, then rank of the time (the time itself would overflow).
    instants, rank = np.unique(np.concatenate((until, since)), return_inverse=True)
    until_rank, since_rank = np.split(rank, 2)
    first_key = groups.astype("int64") * (len(instants) + 1)
    return np.searchsorted(first_key + until_rank, first_key + since_rank, side="right")
