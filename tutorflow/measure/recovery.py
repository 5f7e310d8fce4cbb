"""Time from alert to work again, with those still followed counted as far as they go."""

from __future__ import annotations

from datetime import datetime
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tutorflow.decide.frames import rows_of
from tutorflow.measure.outcomes import CompleteUntil

Floats = NDArray[np.float64]
STEP_DAYS = 0.5


def kaplan_meier(days: Floats, is_event: NDArray[np.bool_], level: float = 0.95) -> pd.DataFrame:
    """The share without the event over time, by Kaplan and Meier (1958).

    `days` until the event or, where `is_event` is false, until the end of following. One row per
    distinct time of an event: day, at_risk, events, survival, low, high. The band is Greenwood's
    (1926) on the log(-log) scale, which keeps it inside 0-1 (Kalbfleisch and Prentice 1980).
    """
    times = np.unique(days[is_event])
    at_risk = np.array([(days >= time).sum() for time in times], dtype=np.int64)
    events = np.array([((days == time) & is_event).sum() for time in times], dtype=np.int64)
    survival = np.cumprod(1 - events / np.maximum(at_risk, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.cumsum(events / (at_risk * (at_risk - events)))  # Greenwood's sum
        log_survival = np.log(survival)
        reach = NormalDist().inv_cdf(0.5 + level / 2) * np.sqrt(spread) / np.abs(log_survival)
        low, high = survival ** np.exp(reach), survival ** np.exp(-reach)
    is_known = (survival > 0) & (survival < 1)
    return pd.DataFrame(
        {
            "day": times,
            "at_risk": at_risk,
            "events": events,
            "survival": survival,
            "low": np.where(is_known, low, 0.0),
            # Nobody left without the event says nothing new about how high it might be.
            "high": pd.Series(np.where(is_known, high, np.nan)).ffill().fillna(1.0),
        }
    )


def at_days(curve: pd.DataFrame, days: Floats) -> pd.DataFrame:
    """The curve read off at given days: survival, low, high; before the first event all are 1."""
    position = np.searchsorted(curve["day"].to_numpy(), days, side="right") - 1
    start = pd.DataFrame({"survival": [1.0], "low": [1.0], "high": [1.0]})
    steps = pd.concat([start, curve[["survival", "low", "high"]]], ignore_index=True)
    return steps.iloc[position + 1].reset_index(drop=True).assign(day=days)


def followed(
    outcomes: pd.DataFrame, as_of: datetime, complete_until: CompleteUntil
) -> pd.DataFrame:
    """How long each delivery was followed: layer, alert_tier, days, is_event.

    `outcomes` are the rows of the longest window. One that is not final yet is followed as far as
    the feeds of its course had come, without an event: what is not labelled is not known.
    """
    rows = outcomes.reset_index(drop=True)
    is_event = rows["days_to_recovery"].notna()
    until = [
        min(as_of, complete_until(row.course_id) or row.exposed_at, row.window_ends_at)
        if row.label == "still_open"
        else row.window_ends_at
        for row in rows_of(rows)
    ]
    ends = pd.Series(until, index=rows.index, dtype="datetime64[us]")
    seen = (ends - rows["exposed_at"]).dt.total_seconds() / 86_400
    days = rows["days_to_recovery"].where(is_event, seen).astype("float64").clip(lower=0.0)
    return pd.DataFrame(
        {
            "layer": rows["layer"],
            "alert_tier": rows["alert_tier"].astype("str"),
            "days": days,
            "is_event": is_event,
        }
    )


def recovery_curves(follows: pd.DataFrame, horizon_days: float, as_of: datetime) -> list[Any]:
    """Rows of `recovery_curves` for all alerts, each layer and each tier, in half-day steps."""
    groups = [("all", "all", follows)]
    for kind in ("layer", "alert_tier"):
        groups += [(kind, str(name), rows) for name, rows in follows.groupby(kind, sort=True)]
    return [
        row
        for kind, name, rows in groups
        if len(rows)
        for row in _curve_rows(kind, name, rows, horizon_days, as_of)
    ]


def _curve_rows(
    kind: str, name: str, rows: pd.DataFrame, horizon_days: float, as_of: datetime
) -> list[Any]:
    days = rows["days"].to_numpy(dtype=np.float64)
    is_event = rows["is_event"].to_numpy(dtype=bool)
    last = min(horizon_days, float(days.max()))
    steps = np.arange(0.0, last + 1e-9, STEP_DAYS)
    read = at_days(kaplan_meier(days, is_event), steps)
    return [
        {
            "group_kind": kind,
            "group_name": name,
            "day": float(step),
            "at_risk": int((days >= step).sum()),
            "recovered": int((is_event & (days <= step)).sum()),
            "recovered_share": 1 - point.survival,
            "low": 1 - point.high,
            "high": 1 - point.low,
            "as_of": as_of,
        }
        for step, point in zip(steps, rows_of(read), strict=True)
    ]


def cohen_kappa(one: pd.Series, other: pd.Series) -> tuple[int, float | None, float | None]:
    """(n, share agreed, kappa) of two codings of the same cases, by Cohen (1960).

    Kappa is None without cases, and where both use one and the same word for all of them.
    """
    n = len(one)
    if n == 0:
        return 0, None, None
    agreed = float((one.to_numpy() == other.to_numpy()).mean())
    words = set(one) | set(other)
    chance = sum(float((one == word).mean()) * float((other == word).mean()) for word in words)
    return n, agreed, None if chance >= 1 else (agreed - chance) / (1 - chance)


def agreement(outcomes: pd.DataFrame, as_of: datetime) -> list[Any]:
    """Rows of `outcome_agreement`: final labels beside the codes of those who stepped in."""
    both = outcomes[(outcomes["label"] != "still_open") & (outcomes["coach_code"] != "too_early")]
    found = []
    for window, rows in both.groupby("window_hours", sort=True):
        n, agreed, kappa = cohen_kappa(rows["label"], rows["coach_code"])
        found.append(
            {
                "window_hours": window,
                "compared_count": n,
                "agreed_share": agreed,
                "kappa": kappa,
                "as_of": as_of,
            }
        )
    return found
