"""From published rows to cases: who could have been helped, was or was not, and what came of it.

Everything a case says of the time before comes from columns that were fixed when its window began.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from tutorflow.measure.effects import CASE_COLUMNS

FINAL = ("resumed", "partial_resume", "no_change", "escalated")


def alert_cases(exposures: pd.DataFrame, outcomes: pd.DataFrame) -> pd.DataFrame:
    """Cases of alerts: held out or not (by lot), contacted by a person or not (by choice).

    Arguments are rows of the published tables `exposures` and `alert_outcomes`. Success is the
    label `resumed` in the longest window.
    """
    shown = exposures[["alert_id", "exposed_at", "audience", "propensity", "coach_id"]]
    known = shown.merge(_final(outcomes), on=["alert_id", "exposed_at"])
    known = known[known["layer"] != "safety"]
    tiers = "tier " + known["alert_tier"].astype("str") + " alerts"
    by_lot = _case(known, "held_out", tiers, known["arm"] == "treated")
    by_lot["propensity"] = known["propensity"]
    by_choice = _case(
        known,
        "ai_only_vs_hybrid",
        pd.Series("a person got in touch", index=known.index),
        known["was_contacted"].fillna(False).astype(bool),
    )
    to_people = (known["audience"] == "coach") & (known["arm"] == "treated")
    return together([by_lot[known["propensity"].notna()], by_choice[to_people]])


def help_cases(outcomes: pd.DataFrame, states: pd.DataFrame) -> pd.DataFrame:
    """Cases of help given by people, by its kind and the learner's profile at that moment.

    Arguments are rows of `intervention_outcomes` and `learner_states`.
    """
    final = _final(outcomes)
    final = final[final["layer"] != "safety"].rename(columns={"intervened_at": "exposed_at"})
    with_state = _state_at(final, states)
    cases = _case(
        with_state, "playbook", with_state["kind"], pd.Series(True, index=with_state.index)
    )
    return together([cases.assign(profile=with_state["state"] + " / " + with_state["layer"])])


def nudge_cases(outbox: pd.DataFrame, followed: pd.DataFrame) -> pd.DataFrame:
    """Cases of nudges: said or, by lot, held back for comparison.

    Arguments are rows of `nudges_outbox` and, by `nudge_row_id`, what followed: `is_success`,
    `known_at`, `active_days_before`; `result` names the success. Who could not have been held out
    is in no comparison.
    """
    drawn = outbox[outbox["status"].isin(("ready", "held_out"))].merge(followed, on="nudge_row_id")
    is_treated = drawn["status"] == "ready"
    # A variant's chance is the nudge's, divided by the number of variants.
    variants = drawn.groupby(["nudge_id", "library_version"])["variant"].transform("nunique")
    chance = drawn["propensity"].where(~is_treated, drawn["propensity"] * variants)
    chance = chance.where(is_treated, 1 - chance)
    cases = pd.DataFrame(
        {
            "comparison": "nudge",
            "subject": drawn["nudge_id"],
            "learner_id": drawn["learner_id"],
            "assigned_at": drawn["send_after"],
            "is_treated": is_treated,
            "propensity": chance,
            "outcome": drawn["is_success"].astype("float64"),
            "outcome_name": drawn["result"],
            "known_at": drawn["known_at"],
            "course_id": drawn["course_id"],
            "coach_id": None,
            "layer": None,
            "profile": None,
            "before_active_days": drawn["active_days_before"].astype("float64"),
        }
    )
    return together([cases[(chance > 1e-6) & (chance < 1 - 1e-6)]])


def flags(exposures: pd.DataFrame, outcomes: pd.DataFrame) -> pd.DataFrame:
    """Each delivery of an alert of tier 2 or higher, and what people did within its window."""
    known = exposures[(exposures["alert_tier"] >= 2) & (exposures["layer"] != "safety")].merge(
        _final(outcomes)[["alert_id", "exposed_at", "was_contacted"]],
        on=["alert_id", "exposed_at"],
    )
    contacted = known["was_contacted"].fillna(False).astype(bool)
    group = np.where(contacted, "contacted", "not_contacted")
    group = np.where(known["arm"] == "held_out", "held_out", group)
    flagged = known.rename(columns={"exposed_at": "flagged_at"}).assign(group=group)
    columns = ["learner_id", "course_id", "flagged_at", "group"]
    return flagged.loc[:, columns]


def _final(outcomes: pd.DataFrame) -> pd.DataFrame:
    """The labels of the longest window that are not open any more."""
    if outcomes.empty:
        return outcomes
    longest = outcomes["window_hours"] == outcomes["window_hours"].max()
    final: pd.DataFrame = outcomes[longest & outcomes["label"].isin(FINAL)]
    return final.reset_index(drop=True)


def _case(
    known: pd.DataFrame, comparison: str, subject: pd.Series, is_treated: pd.Series
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "comparison": comparison,
            "subject": subject,
            "learner_id": known["learner_id"],
            "assigned_at": known["exposed_at"],
            "is_treated": is_treated,
            "propensity": np.nan,
            "outcome": (known["label"] == "resumed").astype("float64"),
            "outcome_name": "resumed",
            "known_at": known["labelled_at"],
            "course_id": known["course_id"],
            "coach_id": known["coach_id"],
            "layer": known["layer"],
            "profile": None,
            "before_active_days": known["active_days_before"].astype("float64"),
            "before_accuracy": known["accuracy_before"].astype("float64"),
            "before_alert_tier": known["alert_tier"].astype("float64"),
        },
        index=known.index,
    )


def _state_at(rows: pd.DataFrame, states: pd.DataFrame) -> pd.DataFrame:
    """The rows with the ``state`` that was in force at their ``exposed_at``."""
    spells = states[["learner_id", "course_id", "since", "state"]].sort_values("since")
    met = pd.merge_asof(
        rows.sort_values(["exposed_at", "row_id"]),
        spells,
        left_on="exposed_at",
        right_on="since",
        by=["learner_id", "course_id"],
    )
    return met.assign(state=met["state"].fillna("insufficient_data"))


def together(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """The cases of several kinds, one below the other."""
    filled = [part for part in parts if not part.empty]
    if not filled:
        empty = pd.DataFrame(columns=CASE_COLUMNS)
        return empty.astype({"assigned_at": "datetime64[us]", "known_at": "datetime64[us]"})
    return pd.concat(filled, ignore_index=True)
