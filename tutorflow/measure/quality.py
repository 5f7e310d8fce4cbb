"""How good each rule is, and whom no rule saw.

Both look at what was known at the end of a day (`as_of`): rows that became known later are left
out, so a backfill says of a day what the hours said. Precision is told twice, apart: by the
verdicts of coaches, and by outcomes, where nobody stepped in and trouble that went away by itself
counts as a false alarm.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pandas as pd

from tutorflow.decide.frames import Frames, frame, rows_of
from tutorflow.decide.rule import RULES, Condition
from tutorflow.decide.signals import evaluate
from tutorflow.measure.estimates import share_interval
from tutorflow.policy.model import Missed, Policy

Row = dict[str, Any]
# learner, course, instant -> why the learner is left alone then; None: is not
OutOfScope = Callable[[str, str, datetime], str | None]
RIGHT = ("useful", "already_handled")
REAL_TROUBLE = ("partial_resume", "no_change", "escalated")

# Learners who went quiet, withdrew, or ended a course below the line, in ($since, $until].
ENDINGS = """
    with days as (
        select
            learner_id, course_id, last_activity_at,
            lead(first_activity_at) over (
                partition by learner_id, course_id order by activity_date
            ) as next_activity_at
        from marts.learner_days
        where known_at > $since - $quiet - interval 2 day
    ),

    quiet as (
        select learner_id, course_id, last_activity_at + $quiet as ended_at
        from days
        where next_activity_at is null or next_activity_at > last_activity_at + $quiet
    ),

    scores as (
        select
            events.learner_id, events.course_id, ends.ends_at as ended_at,
            avg(events.score / events.score_max) as mean_score
        from measured_course_ends as ends
        inner join marts.events as events
            on events.course_id = ends.course_id and events.known_at <= ends.ends_at
        where
            events.event_type = 'assessment_scored'
            and events.score is not null and events.score_max > 0
            and ends.ends_at > $since and ends.ends_at <= $until
        group by all
    ),

    endings as (
        select learner_id, course_id, ended_at, 'stopped_out' as ending from quiet
        union
        select learner_id, course_id, known_at, 'withdrew'
        from marts.events
        where event_type = 'learner_withdrew'
        union
        select learner_id, course_id, ended_at, 'not_passed'
        from scores
        where mean_score < $not_passed_below
    )

    select learner_id, course_id, ended_at, ending
    from endings
    where ended_at > $since and ended_at <= $until
    order by ended_at, learner_id, course_id, ending
"""


# -- the quality of each rule ----------------------------------------------------------------------


def rule_quality(
    policy: Policy,
    as_of: datetime,
    signals: pd.DataFrame,
    exposures: pd.DataFrame,
    evidence: pd.DataFrame,
    outcomes: pd.DataFrame,
    verdicts: pd.DataFrame,
    missed: pd.DataFrame,
    learner_weeks: int,
) -> list[Row]:
    """Rows of `rule_quality`, one per rule that fired or that the policy has, by name.

    Frames hold what was known at `as_of`: `signals` and `exposures` of the period, `exposures` also
    of the days before it that a repeat can refer to; `evidence` (alert_id, rule_id, recovered_at)
    and `outcomes` of those exposures; `verdicts` (alert_id, verdict), the last one of each alert.
    """
    since = as_of - timedelta(days=policy.quality.days)
    by_rule = _by_rule(exposures)
    by_rule["is_repeat"] = _repeats(by_rule, policy.quality.repeat_within_days)
    by_rule = by_rule[by_rule["exposed_at"] > since]
    judged = by_rule.drop_duplicates(["alert_id", "rule_id"]).merge(verdicts, on="alert_id")
    left_alone = outcomes[
        (outcomes["window_hours"] == policy.outcomes.windows_hours[-1])
        & ~outcomes["was_contacted"].fillna(True).astype(bool)
        & (outcomes["label"] != "still_open")
    ]
    ended = by_rule.merge(left_alone[["alert_id", "exposed_at", "label"]])
    told = evidence.assign(is_back=evidence["recovered_at"].notna())
    back = told.groupby(["alert_id", "rule_id"])["is_back"].all().reset_index()
    settled = by_rule.drop_duplicates(["alert_id", "rule_id"]).merge(back)
    names = sorted({*policy.enabled_rules(), *signals["rule_id"], *by_rule["rule_id"]})
    layers = dict(zip(signals["rule_id"], signals["layer"], strict=True))
    return [
        _quality_of(
            name,
            policy,
            as_of,
            layers.get(name),
            int((signals["rule_id"] == name).sum()),
            by_rule[by_rule["rule_id"] == name],
            judged.loc[judged["rule_id"] == name, "verdict"],
            ended.loc[ended["rule_id"] == name, "label"],
            settled.loc[settled["rule_id"] == name, "is_back"],
            int((missed["nearest_rule"] == name).sum()),
            learner_weeks,
        )
        for name in names
    ]


def _quality_of(
    name: str,
    policy: Policy,
    as_of: datetime,
    layer: str | None,
    signal_count: int,
    exposures: pd.DataFrame,
    verdicts: pd.Series,
    labels: pd.Series,
    recovered: pd.Series,
    missed_count: int,
    learner_weeks: int,
) -> Row:
    entry = policy.rules.get(name)
    by_verdict = _precision("verdict_precision", int(verdicts.isin(RIGHT).sum()), len(verdicts))
    by_outcome = _precision("outcome_precision", int(labels.isin(REAL_TROUBLE).sum()), len(labels))
    return {
        "rule_id": name,
        "rule_version": None if entry is None else str(entry.version),
        "layer": entry.layer if entry is not None else layer or "content",
        "days": policy.quality.days,
        "signal_count": signal_count,
        "alert_count": len(exposures),
        "alerts_per_learner_week": _share(len(exposures), learner_weeks),
        "verdict_count": len(verdicts),
        **by_verdict,
        "not_actionable_share": _share(int((verdicts == "not_actionable").sum()), len(verdicts)),
        "outcome_count": len(labels),
        **by_outcome,
        "repeat_share": _share(int(exposures["is_repeat"].sum()), len(exposures)),
        "recovered_share": _share(int(recovered.sum()), len(recovered)),
        "missed_count": missed_count,
        "as_of": as_of,
    }


def _by_rule(exposures: pd.DataFrame) -> pd.DataFrame:
    """One row per delivery and rule on it."""
    rows = exposures.assign(rule_id=exposures["rules"].map(json.loads))
    return rows.explode("rule_id", ignore_index=True).dropna(subset="rule_id")


def _repeats(by_rule: pd.DataFrame, within_days: float) -> pd.Series:
    """Whether the learner had an alert of the rule on the course within so many days before."""
    who = ["learner_id", "course_id", "rule_id"]
    ordered = by_rule.sort_values([*who, "exposed_at", "alert_id"], kind="stable")
    gap = ordered["exposed_at"] - ordered.groupby(who)["exposed_at"].shift()
    return (gap <= pd.Timedelta(days=within_days)).reindex(by_rule.index)


def _precision(name: str, right: int, n: int) -> Row:
    low, high = share_interval(right, n) if n else (None, None)
    return {name: _share(right, n), f"{name}_low": low, f"{name}_high": high}


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


# -- missed learners -------------------------------------------------------------------------------


def endings(
    warehouse: duckdb.DuckDBPyConnection,
    course_ends: Mapping[str, datetime],
    policy: Missed,
    since: datetime,
    until: datetime,
    is_out_of_scope: OutOfScope,
) -> pd.DataFrame:
    """Endings in (since, until]: learner_id, course_id, ended_at, ending; in order of time.

    Who is left alone on purpose (paused, withdrawn, the course over) has not gone quiet.
    """
    courses = pd.DataFrame(
        {"course_id": list(course_ends), "ends_at": list(course_ends.values())}
    ).astype({"course_id": "str", "ends_at": "datetime64[us]"})
    warehouse.register("measured_course_ends", courses)
    found = frame(
        warehouse,
        ENDINGS,
        {
            "since": since,
            "until": until,
            "quiet": timedelta(days=policy.quiet_days),
            "not_passed_below": policy.not_passed_below,
        },
    )
    warehouse.unregister("measured_course_ends")
    stays = [
        row.ending != "stopped_out"
        or is_out_of_scope(row.learner_id, row.course_id, row.ended_at.to_pydatetime()) is None
        for row in rows_of(found)
    ]
    return found[pd.Series(stays, index=found.index, dtype=bool)].reset_index(drop=True)


def unannounced(ended: pd.DataFrame, announced: pd.DataFrame, policy: Missed) -> pd.DataFrame:
    """The endings that no alert preceded; of one learner and course the first only.

    `announced`: learner_id, course_id, announced_at of deliveries and of evidence on alerts.
    """
    both = ended.reset_index().merge(announced, on=["learner_id", "course_id"])
    reach = pd.Timedelta(days=policy.alert_within_days)
    before = both["announced_at"] <= both["ended_at"]
    warned = both[before & (both["announced_at"] >= both["ended_at"] - reach)]
    alone = ended[~ended.index.isin(warned["index"])]
    return alone.drop_duplicates(["learner_id", "course_id"]).reset_index(drop=True)


def nearest_rules(
    missed: pd.DataFrame,
    frames: Frames,
    signals: pd.DataFrame,
    holds: pd.DataFrame,
    policy: Policy,
) -> pd.DataFrame:
    """The missed with the rule that came closest in the days before, and how far it came.

    `signals` are those of these learners that opened nothing, `holds` their ledger rows.
    """
    columns = ["nearest_rule", "nearest_tier", "observed", "threshold", "reach", "held_reason"]
    reach = timedelta(days=policy.quality.missed.alert_within_days)
    found: list[Row] = [dict.fromkeys(columns) for _ in range(len(missed))]
    who = ["learner_id", "course_id"]
    whose = missed[[*who, "ended_at"]].assign(position=range(len(missed)))
    for name, (rule, entry) in policy.enabled_rules().items():
        for level in entry.levels:
            near = whose.merge(_near_rows(evaluate(rule, level, frames, policy), name), on=who)
            before = near[
                (near["at"] > near["ended_at"] - reach) & (near["at"] <= near["ended_at"])
            ]
            best = before.loc[before.groupby("position")["reach"].idxmax()]
            for row in rows_of(best[["position", "observed", "threshold", "reach"]]):
                if row.reach > (found[row.position]["reach"] or 0.0):
                    found[row.position] |= {
                        "nearest_rule": name,
                        "nearest_tier": level.alert_tier,
                        "observed": row.observed,
                        "threshold": row.threshold,
                        "reach": row.reach,
                    }
    for position, row in enumerate(rows_of(missed)):
        found[position] |= _held(row, signals, holds, reach)
    return pd.concat(
        [missed.reset_index(drop=True), pd.DataFrame(found, columns=columns)], axis="columns"
    )


def _near_rows(condition: Condition, name: str) -> pd.DataFrame:
    """The rows at which a rule did not hold, with how much of the way it came."""
    rows, at = condition.rows, condition.rows[condition.fired_at]
    apart = ~condition.holds.astype(bool) & condition.observed.notna()
    if RULES[name].is_absence and "next_activity_at" in rows:
        # A silence that ended before the deadline was none.
        apart &= rows["next_activity_at"].isna() | (rows["next_activity_at"] > at)
    observed = condition.observed[apart].astype("float64")
    threshold = float(condition.threshold)
    if fires_below(condition, name):
        way = threshold / observed.where(observed > 0)
    else:
        way = observed / threshold if threshold else observed * 0.0
    return pd.DataFrame(
        {
            "learner_id": rows.loc[apart, "learner_id"],
            "course_id": rows.loc[apart, "course_id"],
            "at": at[apart],
            "observed": observed,
            "threshold": threshold,
            "reach": way.clip(0.0, 1.0).fillna(0.0),
        }
    )


def fires_below(condition: Condition, name: str) -> bool:
    """Whether a rule fires when its value falls to the threshold, rather than rises to it."""
    values = condition.observed[condition.holds.astype(bool)].dropna()
    if len(values):
        return bool((values <= condition.threshold).all() and values.min() < condition.threshold)
    asked = RULES[name].parameters.json_schema()["properties"]
    return any(parameter.startswith(("to_", "below")) for parameter in asked)


def _held(row: Any, signals: pd.DataFrame, holds: pd.DataFrame, reach: timedelta) -> Row:
    """A signal that did fire but opened nothing comes nearer than any that did not."""
    own = signals[
        (signals["learner_id"] == row.learner_id)
        & (signals["course_id"] == row.course_id)
        & (signals["recorded_at"] > row.ended_at - reach)
        & (signals["recorded_at"] <= row.ended_at)
    ]
    if own.empty:
        return {}
    last = own.sort_values(["fired_at", "signal_id"]).iloc[-1]
    ledger = holds[(holds["signal_id"] == last["signal_id"]) & (holds["held_at"] <= row.ended_at)]
    reason = ledger.sort_values("held_at")["reason"].tail(1)
    return {
        "nearest_rule": last["rule_id"],
        "nearest_tier": int(last["alert_tier"]),
        "observed": last["observed"],
        "threshold": last["threshold"],
        "reach": 1.0,
        "held_reason": "noted only" if reason.empty else reason.iloc[0],
    }
