"""Which rows lie before a moment: what the scores and the start delay look back on."""

from __future__ import annotations

import numpy as np
import pandas as pd


def spans(
    rows: pd.DataFrame,
    moments: pd.DataFrame,
    by: list[str],
    at: str,
    moment: str,
    reach: pd.Timedelta,
) -> tuple[np.ndarray, np.ndarray]:
    """For each moment the half-open range of row positions in ``(moment - reach, moment)``.

    The rows of one group must stand together, in order of ``at``; moments may come in any order.
    """
    keys = pd.concat([rows[by], moments[by]], ignore_index=True)
    groups = keys.groupby(by, sort=False).ngroup().to_numpy()
    row_group, moment_group = np.split(groups, [len(rows)])
    until = moments[moment].to_numpy().astype("datetime64[us]")
    since = until - reach.to_timedelta64()
    times = rows[at].to_numpy().astype("datetime64[us]")
    # One sortable key per row: group, then rank of the time (the time itself would overflow).
    instants, rank = np.unique(np.concatenate((times, until, since)), return_inverse=True)
    size = len(instants) + 1
    time_rank, until_rank, since_rank = np.split(rank, [len(times), len(times) + len(until)])
    key = row_group * size + time_rank
    first = np.searchsorted(key, moment_group * size + since_rank, side="right")
    last = np.searchsorted(key, moment_group * size + until_rank, side="left")
    return first, last


def newest(values: pd.Series, first: np.ndarray, last: np.ndarray, count: int) -> np.ndarray:
    """The last ``count`` values of each range, newest first; NaN where there are fewer."""
    if not len(values):
        return np.full((len(last), count), np.nan)
    positions = last[:, None] - 1 - np.arange(count)
    found = values.to_numpy(dtype="float64")[np.maximum(positions, 0)]
    return np.where(positions >= first[:, None], found, np.nan)
