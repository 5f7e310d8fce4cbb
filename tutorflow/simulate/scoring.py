"""How well the alerts of a simulated programme met the hidden truth, beside three baselines.

A *need* is a spell of the hidden state (`diary` defines needs); an alert meets it while it lasts,
and from a day before it is written down, because it is written at the end of its first day. One
need is told of once: *precision* is the share of alerts that are the first to meet a need, *recall*
the share of needs that an alert meets. *In need* is the share of alerts that meet any need, told of
before or not: whoever names the same people every week does well by that alone. A *repeat* is an
alert of a learner, of the same layer, within 7 days of the one before. Volume is alerts per
learner-week.

An alert of tier 2 that was held out by lot was kept from coaches on purpose. It is counted apart,
also when it was delivered later, and the needs that it came with count in no share of needs found.

The baselines, judged by the same measure:

raw rules            every signal of tier 2 or higher is an alert: no grouping, cooldown, capacity
days since activity  each day as many learners as the policy alerted that day, those away longest
random               each day as many learners, drawn by lot

The last two alert no learner twice within 7 days.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from tutorflow.decide.frames import frame
from tutorflow.errors import TutorflowError
from tutorflow.privacy.pseudonyms import load_pseudonyms
from tutorflow.publish import read_table
from tutorflow.settings import Settings
from tutorflow.warehouse import open_warehouse

EARLY = pd.Timedelta(days=1)
REPEAT = pd.Timedelta(days=7)
COLUMNS = ["learner_id", "layer", "at"]


@dataclass(frozen=True)
class Figures:
    """What one way of alerting achieved; shares in 0-1, NaN where nothing is to be counted.

    ``right_layer`` is the share of alerts that come while their learner has a need of that very
    kind; ``closed_by_recovery`` the share of the closed alerts.
    """

    name: str
    alerts: int
    per_learner_week: float
    precision: float
    in_need: float
    right_layer: float
    recall: float
    repeats: float
    closed_by_recovery: float


@dataclass(frozen=True)
class Truth:
    """Needs (learner_id, kind, started_at, ended_at), learners (learner_id, from, until)."""

    needs: pd.DataFrame
    learners: pd.DataFrame
    starts_at: pd.Timestamp
    ends_at: pd.Timestamp

    @property
    def learner_weeks(self) -> float:
        """How long the learners were enrolled, in weeks, added up."""
        spans = self.learners["until"] - self.learners["from"]
        return float(spans.dt.total_seconds().sum()) / (7 * 86400)


def score_programme(settings: Settings, truth_folder: Path) -> list[Figures]:
    """The figures of the published alerts of tier 2 and higher, and of the baselines.

    Raises TutorflowError where the home holds no simulated truth or nothing is published.
    """
    if not (truth_folder / "needs.parquet").exists():
        raise TutorflowError(f"{truth_folder} holds no truth to compare with.")
    alerts = read_table(settings, "alerts", lambda t: t.c.delivered_tier >= 2)
    left_out = read_table(settings, "exposures", {"arm": "held_out", "alert_tier": 2})
    alerts = alerts[~alerts["alert_id"].isin(left_out["alert_id"])]
    log = read_table(settings, "tick_log")
    if log.empty:
        raise TutorflowError("Nothing is published yet: run `tutorflow backfill` first.")
    days = _active_days(settings)
    truth = _read_truth(settings, truth_folder, log["as_of"].min(), log["as_of"].max())
    ours = alerts.rename(columns={"delivered_at": "at"})
    left_out = left_out.rename(columns={"exposed_at": "at"})
    kept_back = set(_met(left_out[COLUMNS], truth)["need"])
    closed = alerts["close_reason"].dropna()
    signals = read_table(settings, "signals", lambda t: t.c.alert_tier >= 2)
    raw = signals.rename(columns={"fired_at": "at"})
    volume = ours["at"].dt.floor("D").value_counts().sort_index()
    away = _pick(volume, truth, days, None)
    drawn = _pick(volume, truth, days, np.random.default_rng(0))
    return [
        _figures("tutorflow", ours, truth, float((closed == "recovered").mean()), kept_back),
        replace(_figures("held out by lot", left_out, truth), recall=float("nan")),
        _figures("raw rules", raw, truth, kept_back=kept_back),
        _figures("days since activity", away, truth, kept_back=kept_back),
        _figures("random", drawn, truth, kept_back=kept_back),
    ]


def _met(alerts: pd.DataFrame, truth: Truth) -> pd.DataFrame:
    """Which alert (`alert`, its position) came while which need (`need`, as well) lasted."""
    needs = truth.needs.rename_axis("need").reset_index()
    both = alerts.rename_axis("alert").reset_index().merge(needs, on="learner_id")
    return both[(both["at"] >= both["started_at"] - EARLY) & (both["at"] < both["ended_at"])]


def _figures(
    name: str,
    alerts: pd.DataFrame,
    truth: Truth,
    closed_by_recovery: float = float("nan"),
    kept_back: Collection[int] = (),
) -> Figures:
    """``kept_back``: the needs that were there to be found only by chance."""
    alerts = alerts[COLUMNS].sort_values("at", ignore_index=True)
    met = _met(alerts, truth)
    findable = set(truth.needs.index).difference(kept_back)
    gap = alerts.groupby(["learner_id", "layer"], dropna=False)["at"].diff()
    count = len(alerts)
    of_kind = met[met["kind"] == met["layer"]]
    has_layer = alerts["layer"].notna().any()
    return Figures(
        name,
        count,
        count / truth.learner_weeks,
        met.groupby("need")["alert"].min().nunique() / count if count else float("nan"),
        met["alert"].nunique() / count if count else float("nan"),
        of_kind["alert"].nunique() / count if count and has_layer else float("nan"),
        len(findable.intersection(met["need"])) / len(findable) if findable else float("nan"),
        float((gap <= REPEAT).sum()) / count if count else float("nan"),
        closed_by_recovery,
    )


def _pick(
    volume: pd.Series, truth: Truth, days: pd.DataFrame, lot: np.random.Generator | None
) -> pd.DataFrame:
    """As many learners a day as ``volume`` says: by lot, or else those away longest."""
    alerted: dict[str, pd.Timestamp] = {}
    rows = []
    for day, wanted in volume.items():
        at = pd.Timestamp(str(day)) + pd.Timedelta(hours=12)
        here = truth.learners[(truth.learners["from"] <= at) & (truth.learners["until"] > at)]
        seen = days[days["last_activity_at"] < at].groupby("learner_id")["last_activity_at"].max()
        since = seen.reindex(here["learner_id"]).fillna(here.set_index("learner_id")["from"])
        order = (
            since.sort_values(kind="stable").index
            if lot is None
            else here["learner_id"].sample(frac=1, random_state=lot)
        )
        free = [who for who in order if who not in alerted or at - alerted[who] > REPEAT]
        for who in free[: int(wanted)]:
            alerted[who] = at
            rows.append((who, None, at))
    return pd.DataFrame(rows, columns=COLUMNS)


def _read_truth(settings: Settings, folder: Path, first: pd.Timestamp, last: pd.Timestamp) -> Truth:
    pseudonyms = load_pseudonyms(settings)
    (namespace,) = {source.namespace for source in settings.sources}

    def read(name: str) -> pd.DataFrame:
        frame: pd.DataFrame = pq.read_table(folder / f"{name}.parquet").to_pandas()
        frame["learner_id"] = [pseudonyms.of(namespace, user) for user in frame["user_id"]]
        for column in frame.columns[frame.columns.str.endswith("_at")]:
            frame[column] = frame[column].dt.tz_convert("UTC").dt.tz_localize(None)
        return frame

    needs, learners, stops = read("needs"), read("learners"), read("stops")
    ended = needs["ended_at"].fillna(last)
    needs["ended_at"] = ended.where(ended < last, last)
    needs = needs[needs["started_at"] < last].reset_index(drop=True)
    left = stops.groupby("learner_id")["stopped_at"].min() + timedelta(days=14)
    learners["from"] = learners["enrolled_at"].where(learners["enrolled_at"] > first, first)
    until = pd.to_datetime(learners["learner_id"].map(left.to_dict())).fillna(last)
    learners["until"] = until.where(until < last, last)
    return Truth(needs, learners[learners["from"] < learners["until"]], first, last)


def _active_days(settings: Settings) -> pd.DataFrame:
    with open_warehouse(settings, read_only=True) as warehouse:
        return frame(warehouse, "select learner_id, last_activity_at from marts.learner_days")


def as_lines(figures: list[Figures]) -> Iterator[str]:
    """A table for the terminal, a line per way of alerting and one for what was held out."""
    yield (
        f"{'':20} {'alerts':>7} {'per learner-week':>17} {'precision':>10} {'recall':>7} "
        f"{'in need':>8} {'right layer':>12} {'repeats in 7 d':>15} {'closed by recovery':>19}"
    )
    for of in figures:
        yield (
            f"{of.name:20} {of.alerts:7,} {of.per_learner_week:17.2f} {_share(of.precision):>10} "
            f"{_share(of.recall):>7} {_share(of.in_need):>8} {_share(of.right_layer):>12} "
            f"{_share(of.repeats):>15} {_share(of.closed_by_recovery):>19}"
        )


def _share(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.0%}"
