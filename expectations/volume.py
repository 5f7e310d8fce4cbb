"""How many alerts a tick opened, against what is usual, and how many of the learners it flagged."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import duckdb
import numpy as np
import pandas as pd
import sqlalchemy as sa

from tutorflow.hours import previous_tick, to_aware_utc, to_naive_utc
from tutorflow.publish import Candidates, read_table
from tutorflow.settings import Settings

HISTORY = timedelta(days=14)
# So few alerts or learners are never a storm, however quiet it was before.
NEVER_A_STORM = 20
# A storm hits more than this share of the active learners at once.
MANY = 0.25

_GROUPS = {"all": 1, "tier 2 and up": 2}


def opened_per_tick(
    settings: Settings, candidates: Candidates, warehouse: duckdb.DuckDBPyConnection
) -> pd.DataFrame:
    """One row per tick and group of alerts (all, tier 2 and up): opened, usual, times_usual.

    `opened` counts alerts that rest on a signal of the tick itself, so releases from holds do not
    count. `usual` is explained at `_usual`. `times_usual` is null for up to 20 alerts and while
    there are not 14 days of history. `storm` is `times_usual` where alerts that reach
    people also hit over a quarter of the learners active in those days: the evening before a
    deadline is busy, a broken rule or feed hits everybody.
    """
    ticks = naive_ticks(candidates)
    earlier = _log_since(settings, ticks[0] - HISTORY)
    history = pd.DatetimeIndex(sorted({*earlier, *ticks}))
    begins = _first_tick(settings, ticks[0])
    opened, rules = _opened(settings, candidates, ticks)
    before = _opened_before(settings, candidates, history[0])
    rows = []
    for group, lowest_tier in _GROUPS.items():
        past = before[before["opening_tier"] >= lowest_tier]["opened_at"].value_counts()
        counts = past.reindex(history, fill_value=0).to_numpy()
        now = opened[opened["opening_tier"] >= lowest_tier]["opened_at"].value_counts()
        for tick in ticks:
            count = int(now.get(tick, 0))
            usual = _usual(history, counts, tick)
            is_judged = count > NEVER_A_STORM and begins <= tick - HISTORY
            times_usual = count / max(usual, 1) if is_judged else np.nan
            active = _active_learners(warehouse, tick) if is_judged else 0
            rows.append(
                {
                    "as_of": tick,
                    "alerts": group,
                    "opened": count,
                    "usual": usual,
                    "times_usual": times_usual,
                    "active_learners": active,
                    "storm": times_usual if lowest_tier >= 2 and count > MANY * active else np.nan,
                    "commonest_rule": rules.get(tick),
                }
            )
    return pd.DataFrame(rows)


def flagged_per_tick(
    settings: Settings, candidates: Candidates, warehouse: duckdb.DuckDBPyConnection
) -> pd.DataFrame:
    """One row per tick: learners with a new alert of tier 2 and up, and learners active before.

    Active means some activity in the 14 days before the tick. `share` is null for up to 20
    learners, whatever they are a share of.
    """
    alerts = candidates.rows("alerts")
    flagged = alerts[alerts["opening_tier"] >= 2].groupby("opened_at")["learner_id"].nunique()
    rows = []
    for tick in naive_ticks(candidates):
        count = int(flagged.get(tick, 0))
        is_judged = count > NEVER_A_STORM
        active = _active_learners(warehouse, tick) if is_judged else None
        rows.append(
            {
                "as_of": tick,
                "flagged_learners": count,
                "active_learners": active,
                "share": count / max(active, 1) if active is not None else np.nan,
            }
        )
    return pd.DataFrame(rows)


def naive_ticks(candidates: Candidates) -> list[pd.Timestamp]:
    """The ticks of the candidates as frames hold them: naive UTC."""
    return [pd.Timestamp(to_naive_utc(to_aware_utc(tick))) for tick in candidates.ticks]


def _usual(history: pd.DatetimeIndex, counts: np.ndarray, tick: pd.Timestamp) -> float:
    """The largest of three medians over the 14 days before the tick.

    Of the ticks that opened any alert, of those at this hour of the day, and of those at this hour
    of this weekday. One median over all ticks would be 0 in most programmes, and rules that look
    at whole days and weeks fire together at the day's and the week's end.
    """
    is_past = (history < tick) & (history >= tick - HISTORY)
    past, age = counts[is_past], np.asarray(tick - history[is_past])
    return max(
        _median(past[past > 0]),
        _median(past[age % np.timedelta64(1, "D") == np.timedelta64(0)]),
        _median(past[age % np.timedelta64(7, "D") == np.timedelta64(0)]),
    )


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else 0.0


def _opened(
    settings: Settings, candidates: Candidates, ticks: Sequence[pd.Timestamp]
) -> tuple[pd.DataFrame, "pd.Series[str]"]:
    """New alerts that rest on a signal of their own tick, and each tick's commonest rule."""
    alerts = candidates.rows("alerts")[["alert_id", "opened_at", "opening_tier"]]
    evidence = candidates.rows("alert_evidence")[["alert_id", "fired_at", "rule_id"]]
    begins = {tick: _begin(settings, tick) for tick in ticks}
    new = alerts[alerts["opened_at"].isin(ticks)].merge(evidence, on="alert_id")
    new = new[new["fired_at"] >= new["opened_at"].map(begins)]
    rules = new.groupby("opened_at")["rule_id"].agg(lambda fired: fired.mode().iloc[0])
    return new.drop_duplicates("alert_id"), rules


def _begin(settings: Settings, tick: pd.Timestamp) -> datetime:
    as_of = to_aware_utc(tick.to_pydatetime())
    return to_naive_utc(previous_tick(as_of, settings.tick, settings.timezone))


def _opened_before(settings: Settings, candidates: Candidates, since: datetime) -> pd.DataFrame:
    """Alerts opened since then, committed or not: alert_id, opened_at, opening_tier."""
    columns = ["alert_id", "opened_at", "opening_tier"]
    committed = read_table(settings, "alerts", lambda t: t.c.opened_at >= since)
    both = pd.concat([candidates.rows("alerts")[columns], committed[columns]])
    return both.drop_duplicates("alert_id")


def _log_since(settings: Settings, since: datetime) -> list[pd.Timestamp]:
    return list(read_table(settings, "tick_log", lambda t: t.c.as_of >= since)["as_of"])


def _first_tick(settings: Settings, default: pd.Timestamp) -> pd.Timestamp:
    first = read_table(
        settings,
        "tick_log",
        lambda t: t.c.as_of == sa.select(sa.func.min(t.c.as_of)).scalar_subquery(),
    )
    return default if first.empty else min(first["as_of"].iloc[0], default)


def _active_learners(warehouse: duckdb.DuckDBPyConnection, tick: pd.Timestamp) -> int:
    counted = warehouse.execute(
        "select count(distinct learner_id) from marts.learner_days"
        " where last_activity_at >= ? and first_activity_at < ?",
        [tick - HISTORY, tick],
    ).fetchall()
    return int(counted[0][0])
