"""Every number of the month's report, out of the published tables and nothing else.

A number belongs to the month in which its tick, delivery or week lies. Tables that tell of the
latest day only (rule quality, recovery, effects) carry that day along.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import pandas as pd

from tutorflow.errors import TutorflowError
from tutorflow.hours import day_start, to_naive_utc
from tutorflow.measure.estimates import share_interval
from tutorflow.publish import read_table
from tutorflow.settings import Settings

RIGHT = ("useful", "already_handled")
Number = float | int | None


@dataclass(frozen=True)
class Share:
    """A share with its 95 % interval (Wilson)."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Figures:
    """``numbers``: label -> count, median or share, in order; ``tables``: name -> rows."""

    start: datetime
    end: datetime
    numbers: dict[str, dict[str, Number | Share]]
    tables: dict[str, pd.DataFrame]


def month_bounds(month: str, zone: str) -> tuple[datetime, datetime]:
    """The month's first instant and the next one's (naive UTC). Raises TutorflowError."""
    if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", month):
        raise TutorflowError(f"{month!r} is no month; write it like 2026-03")
    year, number = map(int, month.split("-"))
    following = date(year + number // 12, number % 12 + 1, 1)
    first, last = day_start(date(year, number, 1), zone), day_start(following, zone)
    return to_naive_utc(first), to_naive_utc(last)


def figures(settings: Settings, month: str) -> Figures:
    """All numbers of a month. Raises TutorflowError when no tick of it has been decided."""
    start, end = month_bounds(month, settings.timezone)
    reader = _Reader(settings, start, end)
    ticks = reader.of("tick_log", "as_of", until_included=True)
    if ticks.empty:
        raise TutorflowError(
            f"no hour of {month} has been decided; `tutorflow status` shows how far it got."
        )
    numbers = {
        "hours": _hours(reader, ticks),
        "ai": _ai(reader),
        "people": _people(reader),
        "verdicts": _verdicts(reader),
        "outcomes": _outcomes(reader),
        "missed": _missed(reader),
    }
    tables = {
        "states": _states(reader),
        "held": _counted(reader.of("suppressions", "held_at", until_included=True), "reason"),
        "kinds_of_help": _help(reader),
        "rules": _rules(reader),
        "labels": _labels(reader),
        "recovery": _recovery(reader),
        "effects": reader.whole("intervention_effects"),
        "flag_trends": reader.whole("flag_trends"),
        "health": reader.of("programme_health", "week_starts_at"),
        "nearest_rules": _counted(reader.of("missed_learners", "ended_at"), "nearest_rule"),
    }
    return Figures(start, end, numbers, tables)


@dataclass(frozen=True)
class _Reader:
    settings: Settings
    start: datetime
    end: datetime

    def of(self, name: str, column: str, until_included: bool = False) -> pd.DataFrame:
        """Rows of the month by a column: [start, end), or (start, end] for the ends of ticks."""

        def inside(t: Any) -> Any:
            at = t.c[column]
            if until_included:
                return (at > self.start) & (at <= self.end)
            return (at >= self.start) & (at < self.end)

        return read_table(self.settings, name, inside)

    def whole(self, name: str) -> pd.DataFrame:
        return read_table(self.settings, name)

    def said(self, inbox: str) -> list[dict[str, Any]]:
        """What people wrote into an inbox and the month's ticks accepted."""
        rows = self.of("inbox_taken", "taken_at", until_included=True)
        mine = rows[(rows["inbox"] == inbox) & (rows["verdict"] == "accepted")]
        return [json.loads(content) for content in mine["content"]]


# -- numbers ---------------------------------------------------------------------------------------


def _hours(reader: _Reader, ticks: pd.DataFrame) -> dict[str, Number | Share]:
    runs = reader.of("run_status", "as_of", until_included=True)
    states = reader.whole("learner_states")
    known = states[states["since"] <= reader.end]
    return {
        "ticks decided": len(ticks),
        "runs published": int((runs["state"] == "published").sum()),
        "runs held back by the checks": int((runs["state"] == "blocked").sum()),
        "learners known": int(known["learner_id"].nunique()),
    }


def _ai(reader: _Reader) -> dict[str, Number | Share]:
    signals = reader.of("signals", "recorded_at", until_included=True)
    exposures = reader.of("exposures", "exposed_at", until_included=True)
    nudges = reader.of("nudges_outbox", "decided_at", until_included=True)
    by_ai = exposures[exposures["audience"] == "ai_tutor"]
    return {
        "signals seen": len(signals),
        "cases left with the AI tutor": len(by_ai),
        "learners in them": int(by_ai["learner_id"].nunique()),
        "alerts held out for comparison, told to nobody": int(
            (exposures["arm"] == "held_out").sum()
        ),
        "nudges ready to send": int((nudges["status"] == "ready").sum()),
        "nudges held out for comparison": int((nudges["status"] == "held_out").sum()),
        "nudges not sent, with a reason": int((nudges["status"] == "not_sent").sum()),
        "good news": len(reader.of("good_news", "at")),
    }


def _people(reader: _Reader) -> dict[str, Number | Share]:
    exposures = reader.of("exposures", "exposed_at", until_included=True)
    shown = exposures[exposures["audience"] == "coach"]
    answers = reader.of("alert_responses", "exposed_at", until_included=True)
    safety = reader.of("safety_events", "fired_at")
    decisions = [row["decision"] for row in reader.said("recommendation_decisions")]
    contacted = answers["hours_to_contact"].dropna()
    return {
        "alerts to people": len(shown),
        "learners in these": int(shown["learner_id"].nunique()),
        "tier 2, a check-in": int((shown["alert_tier"] == 2).sum()),
        "tier 3, contact the same day": int((shown["alert_tier"] == 3).sum()),
        "tier 4, programme staff": int((shown["alert_tier"] == 4).sum()),
        "contacted": int(answers["contacted_at"].notna().sum()),
        "late": int(answers["is_late"].fillna(False).sum()),
        "median hours to contact": None if contacted.empty else float(contacted.median()),
        "contacts and help logged": len(reader.said("interventions")),
        "recommended steps accepted": decisions.count("accept"),
        "recommended steps edited": decisions.count("edit"),
        "recommended steps rejected": decisions.count("reject"),
        "decisions overruled": len(reader.said("overrides")),
        "learners flagged by people": len(reader.said("manual_flags")),
        "safety concerns": len(safety),
        "of these met in time": int(safety["was_in_time"].fillna(False).sum()),
    }


def _verdicts(reader: _Reader) -> dict[str, Number | Share]:
    given = [row["verdict"] for row in reader.said("alert_verdicts")]
    return {
        "useful": given.count("useful"),
        "already handled": given.count("already_handled"),
        "not actionable": given.count("not_actionable"),
        "incorrectly flagged": given.count("incorrectly_flagged"),
        "right to raise": share(sum(v in RIGHT for v in given), len(given)),
    }


def _outcomes(reader: _Reader) -> dict[str, Number | Share]:
    rows = _of_longest_window(reader)
    final = rows[rows["label"] != "still_open"]
    contacted = final[final["was_contacted"].fillna(False).astype(bool)]
    alone = final[~final["was_contacted"].fillna(False).astype(bool)]
    agreement = reader.whole("outcome_agreement").sort_values("window_hours").tail(1)
    kappa = agreement["kappa"].dropna()
    return {
        "outcomes known": len(final),
        "not known yet": len(rows) - len(final),
        "resumed": _resumed(final),
        "resumed, contacted by a person": _resumed(contacted),
        "resumed, not contacted": _resumed(alone),
        "agreement of coaches' codes beyond chance (kappa)": None
        if kappa.empty
        else float(kappa.iloc[0]),
    }


def _resumed(rows: pd.DataFrame) -> Share | None:
    return share(int((rows["label"] == "resumed").sum()), len(rows))


def _missed(reader: _Reader) -> dict[str, Number | Share]:
    rows = reader.of("missed_learners", "ended_at")
    return {
        "learners with no alert in the 14 days before": len(rows),
        "went quiet": int((rows["ending"] == "stopped_out").sum()),
        "withdrew": int((rows["ending"] == "withdrew").sum()),
        "did not pass": int((rows["ending"] == "not_passed").sum()),
        "a rule had fired and was held": int(rows["held_reason"].notna().sum()),
    }


def share(successes: int, n: int) -> Share | None:
    """The share with its interval; None of nothing."""
    return None if n == 0 else Share(successes / n, *share_interval(successes, n), n)


# -- tables ----------------------------------------------------------------------------------------


def _states(reader: _Reader) -> pd.DataFrame:
    states = reader.whole("learner_states")
    now = states[
        (states["since"] <= reader.end) & (states["until"].isna() | (states["until"] > reader.end))
    ]
    return _counted(now, "state")


def _counted(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Rows by value of a column, most first; an unknown value is `none`."""
    values = rows[column].astype("object").where(rows[column].notna(), "none")
    found = values.value_counts().rename_axis(column).reset_index(name="count")
    return found.sort_values(["count", column], ascending=[False, True], ignore_index=True)


def _help(reader: _Reader) -> pd.DataFrame:
    """Logged help by kind, with what came of it in the longest window."""
    rows = reader.of("intervention_outcomes", "intervened_at")
    if not rows.empty:
        rows = rows[rows["window_hours"] == rows["window_hours"].max()]
    return _by(rows, "kind")


def _labels(reader: _Reader) -> pd.DataFrame:
    return _by(_of_longest_window(reader), "layer")


def _by(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Per value: all, outcomes known, of these resumed, with the share's interval."""
    found = []
    for value, some in rows.groupby(column, sort=True):
        final = some[some["label"] != "still_open"]
        part = _resumed(final)
        found.append(
            {
                column: value,
                "count": len(some),
                "known": len(final),
                "resumed": int((final["label"] == "resumed").sum()),
                "share": None if part is None else part.value,
                "low": None if part is None else part.low,
                "high": None if part is None else part.high,
            }
        )
    columns = [column, "count", "known", "resumed", "share", "low", "high"]
    return pd.DataFrame(found, columns=columns)


def _of_longest_window(reader: _Reader) -> pd.DataFrame:
    """Outcomes of alerts delivered to people in the month."""
    rows = reader.of("alert_outcomes", "exposed_at", until_included=True)
    rows = rows[(rows["alert_tier"] >= 2) & (rows["arm"] == "treated")]
    return rows if rows.empty else rows[rows["window_hours"] == rows["window_hours"].max()]


def _rules(reader: _Reader) -> pd.DataFrame:
    rows = reader.whole("rule_quality")
    return _pick(
        rows[rows["signal_count"] > 0],
        [
            "rule_id",
            "layer",
            "days",
            "signal_count",
            "alert_count",
            "verdict_count",
            "verdict_precision",
            "verdict_precision_low",
            "verdict_precision_high",
            "outcome_count",
            "outcome_precision",
            "outcome_precision_low",
            "outcome_precision_high",
            "as_of",
        ],
    )


def _recovery(reader: _Reader) -> pd.DataFrame:
    rows = reader.whole("recovery_curves")
    mine = rows[rows["group_kind"].isin(("all", "layer"))]
    return mine.sort_values(["group_kind", "group_name", "day"], ignore_index=True)


def _pick(rows: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    return rows[list(columns)].reset_index(drop=True)
