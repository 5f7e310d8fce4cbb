"""Two scores, 0-100: struggle and stop-out, each the sum of stored parts.

A part maps the learner's value linearly from ``none`` to ``full`` onto 0-1 and weighs it; the
numbers are frozen in the policy. Parts that cannot be known yet carry no weight: the rest is
scaled up, and with less than half of the weight known there is no score. No demographic input.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from tutorflow.decide.frames import LOOKBACK, Frames
from tutorflow.policy.model import Policy, ScorePart

WHO = ["learner_id", "course_id"]


def score(
    frames: Frames, policy: Policy, moments: Mapping[tuple[str, str], pd.Timestamp]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(rows of ``learner_scores``, rows of ``score_parts``) for learners at their moments.

    ``moments`` maps (learner, course) to the tick at which to judge; only rows known before it
    count.
    """
    wanted = pd.DataFrame(
        [(*who, at) for who, at in moments.items()], columns=[*WHO, "as_of"]
    ).astype({"as_of": "datetime64[us]"})
    values = _values(frames, wanted)
    totals, parts = [], []
    for name, group in policy.scores.by_name().items():
        detail = pd.concat([_part(values, name, part, numbers) for part, numbers in group.items()])
        known = detail["local_value"].notna() * detail["weight"]
        by = [detail[c] for c in WHO]
        known_weight = known.groupby(by).transform("sum")
        detail["contribution"] = (
            (100 * known * detail["local_value"].fillna(0) / known_weight.where(known_weight > 0))
            .fillna(0)
            .round(10)
        )
        learners = detail.assign(known=known).groupby([*WHO, "as_of"], as_index=False)
        total = learners.agg(value=("contribution", "sum"), known=("known", "sum"))
        total = total[total["known"].round(9) >= 0.5].assign(score=name)
        total["value"] = total["value"].round(9).clip(0, 100)
        totals.append(total[[*WHO, "score", "value", "as_of"]])
        parts.append(detail.merge(total[WHO], on=WHO))
    return pd.concat(totals, ignore_index=True), pd.concat(parts, ignore_index=True)


def _part(values: pd.DataFrame, score_name: str, part: str, numbers: ScorePart) -> pd.DataFrame:
    raw = values[part]
    local = ((raw - numbers.none) / (numbers.full - numbers.none)).clip(0, 1)
    return values[[*WHO, "as_of"]].assign(
        score=score_name,
        part=part,
        kind=numbers.kind,
        weight=numbers.weight / 100,
        local_value=local.round(6),
        sentence=["not known yet" if pd.isna(v) else numbers.sentence.format(value=v) for v in raw],
    )


def _values(frames: Frames, wanted: pd.DataFrame) -> pd.DataFrame:
    """One row per wanted learner with the raw value of every part (NaN where unknown)."""
    values = wanted.set_index(WHO, drop=False)
    answers = _before(frames.responses, wanted)
    # what an hourly window has loaded, even if this one has more
    answers = answers[_age(answers, "known_at") <= LOOKBACK.days].groupby(WHO).tail(20)
    by = answers.groupby(WHO)
    enough = by.size() >= 10
    values["errors"] = (1 - by["is_correct"].mean()).where(enough)
    values["hints"] = (answers["hints_used"] > 0).groupby([answers[c] for c in WHO]).mean()
    values["hints"] = values["hints"].where(enough.reindex(values.index, fill_value=False))
    values["pace"] = by["log_seconds_z"].median()
    moved = answers["p_mastery_after"] - answers["p_mastery_before"]
    values["flat_mastery"] = moved.groupby([answers[c] for c in WHO]).sum(min_count=1).where(enough)
    seen = _seen(frames.days, wanted)
    last = seen.groupby(WHO)["seen_at"].max()
    values["recency"] = (values["as_of"] - last.reindex(values.index)).dt.total_seconds() / 86400
    week = seen[_age(seen, "seen_at") < 7].groupby(WHO).size()
    values["attendance"] = week.reindex(values.index).fillna(0.0).clip(upper=7)
    whole = _before(frames.days, wanted)
    age = _age(whole, "known_at")
    earlier = whole[(age >= 7) & (age < 35)].groupby(WHO)
    steady = earlier.size().reindex(values.index).fillna(0) >= 8
    before = earlier["event_count"].sum().reindex(values.index) / 4
    now = whole[age < 7].groupby(WHO)["event_count"].sum().reindex(values.index).fillna(0)
    values["frequency_drop"] = (now / before).where(steady)
    sessions = _before(frames.learning_sessions, wanted)
    fresh = sessions[_age(sessions, "known_at") < 14]
    left = (fresh["items_abandoned"] > 0) | fresh["has_open_item"]
    values["completion"] = left.groupby([fresh[c] for c in WHO]).mean().reindex(values.index)
    return values.reset_index(drop=True)


def _seen(days: pd.DataFrame, wanted: pd.DataFrame) -> pd.DataFrame:
    """When the learners were seen on each day: whole days to their last activity, today's first."""
    joined = days.merge(wanted, on=WHO, how="inner")
    is_whole = joined["known_at"] < joined["as_of"]
    is_today = (joined["time_precision"] == "second") & (
        joined["first_activity_at"] < joined["as_of"]
    )
    seen_at = joined["last_activity_at"].where(is_whole, joined["first_activity_at"])
    return joined.assign(seen_at=seen_at)[is_whole | is_today]


def _age(rows: pd.DataFrame, column: str) -> pd.Series:
    """Days from an instant of each row to the moment of judging."""
    days: pd.Series = (rows["as_of"] - rows[column]).dt.total_seconds() / 86400
    return days


def _before(rows: pd.DataFrame, wanted: pd.DataFrame) -> pd.DataFrame:
    """The rows of the wanted learners that were known at their moment."""
    joined = rows.merge(wanted, on=WHO, how="inner")
    return joined[joined["known_at"] < joined["as_of"]]
