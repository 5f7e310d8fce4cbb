"""Row arithmetic the rules share: what lies behind each row within a learner."""

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
) -> pd.Series:
    """Sum of the values within the last ``window`` (half-open, ending at each row) within ``by``.

    ``last`` further limits the sum to that many rows. Rows must be sorted by ``by`` then ``at``.
    """
    groups = by.ne(by.shift()).cumsum().to_numpy().astype("int64")
    start = _starts(at, groups, window)
    if last is not None:
        start = np.maximum(start, np.arange(1, len(values) + 1) - last)
    total = np.concatenate(([0.0], np.cumsum(values.to_numpy(dtype="float64"))))
    return pd.Series(total[1:] - total[start], index=values.index)


class Trail:
    """What each row has behind it within its group: for several sums over the same rows.

    ``by`` are columns (or series) of ``rows``, whose groups may be interleaved; an unknown key is
    a group. Within each group the rows stand in order of ``known_at``. Behind a row lies what is
    at most ``window`` old (half-open), with the row itself.
    """

    def __init__(
        self,
        rows: pd.DataFrame,
        by: Sequence[str | pd.Series] = LEARNER,
        window: pd.Timedelta = REACH,
    ) -> None:
        groups = group_numbers(rows, by).to_numpy()
        self._order = np.argsort(groups, kind="stable")
        self._groups = groups[self._order].astype("int64")
        self._start = _starts(rows["known_at"].iloc[self._order], self._groups, window)
        self._index = rows.index

    def sum(
        self, values: pd.Series, last: int | None = None, unit: pd.Series | None = None
    ) -> pd.Series:
        """Sum of the values, of at most the ``last`` rows; with ``unit``, which numbers the rows
        and never falls within a group, of the rows of so many numbers."""
        start = self._start
        if last is not None and unit is None:
            start = np.maximum(start, np.arange(1, len(start) + 1) - last)
        elif last is not None and unit is not None and len(start):
            number = unit.to_numpy(dtype="int64")[self._order]
            key = self._groups * (int(number.max()) + 1) + number
            start = np.maximum(start, np.searchsorted(key, key - last, side="right"))
        known = values.to_numpy(dtype="float64")[self._order]
        total = np.concatenate(([0.0], np.cumsum(known)))
        return self._in_place(total[1:] - total[start])

    def count(self, last: int | None = None, unit: pd.Series | None = None) -> pd.Series:
        """How many rows lie behind."""
        return self.sum(pd.Series(1, index=self._index), last, unit)

    def first(self, values: pd.Series) -> pd.Series:
        """The earliest value."""
        return self._in_place(values.to_numpy(dtype="float64")[self._order][self._start])

    def _in_place(self, found: np.ndarray) -> pd.Series:
        result = np.empty(len(found))
        result[self._order] = found
        return pd.Series(result, index=self._index)


def count_within(
    values: pd.Series,
    rows: pd.DataFrame,
    by: Sequence[str | pd.Series],
    window: pd.Timedelta = REACH,
    last: int | None = None,
) -> pd.Series:
    """Sum of the values behind each row within its group (see ``Trail``)."""
    return Trail(rows, by, window).sum(values, last)


def running_sum(values: pd.Series, by: pd.Series) -> pd.Series:
    """Sum of the values so far within groups given as numbers."""
    return values.astype("int64").groupby(by, sort=False).cumsum()


def group_numbers(rows: pd.DataFrame, by: Sequence[str | pd.Series]) -> pd.Series:
    """A number per distinct combination of the columns (or series); an unknown key is one too."""
    keys = [rows[key] if isinstance(key, str) else key for key in by]
    return rows.groupby(keys, sort=False, dropna=False).ngroup()


def _starts(at: pd.Series, groups: np.ndarray, window: pd.Timedelta) -> np.ndarray:
    """Position of each row's first row of the same group within the window; sorted by both."""
    until = at.to_numpy().astype("datetime64[us]").astype("int64")
    if not len(until):
        return np.zeros(0, dtype="int64")
    reach = window // pd.Timedelta(microseconds=1)
    until = until - until.min() + reach
    since = until - reach
    width = int(until.max()) + 1
    if (int(groups.max()) + 1) * width >= np.iinfo("int64").max:  # then the order of times will do
        _, rank = np.unique(np.concatenate((until, since)), return_inverse=True)
        until, since = np.split(rank, 2)
        width = int(rank.max()) + 1
    first_key = groups.astype("int64") * width
    found: np.ndarray = np.searchsorted(first_key + until, first_key + since, side="right")
    return found
