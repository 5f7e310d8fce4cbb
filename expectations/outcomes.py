"""What was measured, as frames for the checks in outcomes.yml.

A frame holds either the rows to judge or, where the question spans tables, the violations alone.
"""

from collections.abc import Mapping

import pandas as pd

from expectations.texts import joined
from tutorflow.measure.outcomes import PARTS
from tutorflow.publish import Candidates, read_table
from tutorflow.publish.contract import table
from tutorflow.settings import Settings

_IDS_AT_ONCE = 5_000
_OUTCOME_TABLES = ("alert_outcomes", "intervention_outcomes")
_SHARES = {
    "alert_outcomes": ("accuracy", "accuracy_before"),
    "intervention_outcomes": ("accuracy", "accuracy_before"),
    "rule_quality": (
        "verdict_precision",
        "outcome_precision",
        "not_actionable_share",
        "repeat_share",
        "recovered_share",
    ),
    "recovery_curves": ("recovered_share", "low", "high"),
    "missed_learners": ("reach",),
    "hard_item_dropouts": ("wrong_share", "left_share"),
    "outcome_agreement": ("agreed_share",),
}
_INTERVALS = (
    ("rule_quality", "verdict_precision_low", "verdict_precision", "verdict_precision_high"),
    ("rule_quality", "outcome_precision_low", "outcome_precision", "outcome_precision_high"),
    ("recovery_curves", "low", "recovered_share", "high"),
    ("hard_item_dropouts", "left_share_low", "left_share", "left_share_high"),
)
_ROUNDING = 1e-9


def frames(settings: Settings, candidates: Candidates) -> Mapping[str, pd.DataFrame]:
    """The frames of the suite."""
    windows = _windows(candidates)
    return {
        "windows": windows,
        "early_labels": _early(windows),
        "half_labels": _half(candidates),
        "orphans": _orphans(settings, candidates),
        "changed_labels": _changed(settings, candidates),
        "shares": _shares(candidates),
        "torn_intervals": _torn(candidates),
    }


def _windows(candidates: Candidates) -> pd.DataFrame:
    """Every window of these ticks: table, row_id, label, days_to_recovery, window_days, ..."""
    columns = ["label", "window_ends_at", "labelled_at", "revised_at", "days_to_recovery"]
    parts = []
    for name in _OUTCOME_TABLES:
        rows = candidates.rows(name)
        days = rows["window_hours"].astype("float64") / 24
        parts.append(
            rows[columns].assign(
                table=name,
                row_id=_row_ids(name, rows),
                share_of_window=rows["days_to_recovery"].astype("float64") / days,
            )
        )
    return pd.concat(parts, ignore_index=True)


def _row_ids(name: str, rows: pd.DataFrame) -> "pd.Series[str]":
    return joined(rows[list(table(name).key)])


def _early(windows: pd.DataFrame) -> pd.DataFrame:
    """Windows with a label although they were not over at the tick that gave it."""
    final = windows[windows["label"] != "still_open"]
    return final[~(final["labelled_at"] >= final["window_ends_at"])]


def _half(candidates: Candidates) -> pd.DataFrame:
    """Open windows that already tell something, and labelled ones that leave the basics out."""
    basics = ["first_label", "labelled_at", "has_returned", "has_worked", "response_count"]
    parts = [pd.DataFrame(columns=["table", "row_id", "label"])]
    for name in _OUTCOME_TABLES:
        rows = candidates.rows(name)
        is_open = rows["label"] == "still_open"
        tells = rows[[*PARTS, "labelled_at"]].notna().any(axis="columns")
        lacks = rows[basics].isna().any(axis="columns")
        wrong = rows[(is_open & tells) | (~is_open & lacks)]
        parts.append(
            pd.DataFrame({"table": name, "row_id": _row_ids(name, wrong), "label": wrong["label"]})
        )
    return pd.concat(parts, ignore_index=True)


def _orphans(settings: Settings, candidates: Candidates) -> pd.DataFrame:
    """Outcomes of alerts, deliveries or interventions that do not exist."""
    parts = [pd.DataFrame(columns=["table", "refers_to", "missing_id"])]
    for name, column, target in (
        ("exposures", "alert_id", "alerts"),
        ("alert_outcomes", "alert_id", "alerts"),
        ("alert_outcomes", "alert_id", "exposures"),
        ("intervention_outcomes", "alert_id", "alerts"),
        ("intervention_outcomes", "row_id", "inbox_taken"),
    ):
        named = set(candidates.rows(name)[column])
        absent = named - set(candidates.rows(target)[column])
        absent -= _committed(settings, target, column, absent)
        parts.append(
            pd.DataFrame({"table": name, "refers_to": target, "missing_id": sorted(absent)})
        )
    return pd.concat(parts, ignore_index=True)


def _committed(settings: Settings, name: str, column: str, ids: set[str]) -> set[str]:
    wanted, found = sorted(ids), set[str]()
    for begin in range(0, len(wanted), _IDS_AT_ONCE):
        rows = read_table(settings, name, {column: wanted[begin : begin + _IDS_AT_ONCE]})
        found |= set(rows[column])
    return found


def _changed(settings: Settings, candidates: Candidates) -> pd.DataFrame:
    """Final labels that became others without saying that late events were the reason."""
    parts = [pd.DataFrame(columns=["table", "row_id", "was", "label"])]
    for name, column in (("alert_outcomes", "alert_id"), ("intervention_outcomes", "row_id")):
        rows = candidates.rows(name)
        final = rows[(rows["label"] != rows["first_label"]) & rows["first_label"].notna()]
        silent = final[final["revised_at"].isna()]
        parts.append(
            pd.DataFrame(
                {
                    "table": name,
                    "row_id": _row_ids(name, silent),
                    "was": silent["first_label"],
                    "label": silent["label"],
                }
            )
        )
        still_open = rows[rows["label"] == "still_open"]
        stored = read_table(settings, name, {column: sorted(set(still_open[column]))})
        final_before = set(_row_ids(name, stored[stored["label"] != "still_open"]))
        lost = still_open[_row_ids(name, still_open).isin(final_before)]
        parts.append(
            pd.DataFrame(
                {
                    "table": name,
                    "row_id": _row_ids(name, lost),
                    "was": "labelled",
                    "label": lost["label"],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _shares(candidates: Candidates) -> pd.DataFrame:
    """Every share that was measured: table, column, row_id, value."""
    parts = [
        pd.DataFrame(
            {
                "table": name,
                "column": column,
                "row_id": _row_ids(name, candidates.rows(name)),
                "value": candidates.rows(name)[column].astype("float64"),
            }
        )
        for name, columns in _SHARES.items()
        for column in columns
    ]
    return pd.concat(parts, ignore_index=True).dropna(subset="value")


def _torn(candidates: Candidates) -> pd.DataFrame:
    """Intervals that do not hold their own estimate."""
    parts = [pd.DataFrame(columns=["table", "row_id", "low", "estimate", "high"])]
    for name, low, estimate, high in _INTERVALS:
        rows = candidates.rows(name).dropna(subset=[low, estimate, high])
        outside = (rows[estimate] < rows[low] - _ROUNDING) | (
            rows[estimate] > rows[high] + _ROUNDING
        )
        wrong = rows[outside]
        parts.append(
            pd.DataFrame(
                {
                    "table": name,
                    "row_id": _row_ids(name, wrong),
                    "low": wrong[low],
                    "estimate": wrong[estimate],
                    "high": wrong[high],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)
