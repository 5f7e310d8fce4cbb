"""Signals: where each rule of the policy became true, and what undoes it.

Both are pure functions of the frames and the policy. A rule fires when its condition becomes true
and re-arms when it is false again (or after ``rearm_after_days`` without a new row), so the hour,
a backfill and a rehearsal of a year find the same signals.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import pandas as pd

from tutorflow.decide.frames import LOOKBACK, Frames, rows_of
from tutorflow.decide.ids import content_id
from tutorflow.decide.rule import Condition, Rule
from tutorflow.decide.rules.series import REACH, trailing_sum
from tutorflow.decide.scores import score_days
from tutorflow.policy.model import Level, Policy, RulePolicy, Struggling

SIGNAL_COLUMNS = [
    "signal_id",
    "rule_id",
    "rule_version",
    "learner_id",
    "course_id",
    "layer",
    "alert_tier",
    "subject_kind",
    "subject_id",
    "anchor_id",
    "fired_at",
    "observed",
    "threshold",
    "n",
    "window_text",
    "sentence",
    "evidence_ids",
]
RECOVERY_COLUMNS = ["kind", "learner_id", "course_id", "subject_id", "run", "since", "at"]


@dataclass(frozen=True)
class Findings:
    """``signals`` (SIGNAL_COLUMNS) and ``recoveries`` (RECOVERY_COLUMNS) of a window.

    A recovery counts for signals fired before ``since``; ``subject_id`` is the skill, item or
    rule it speaks about, null for the learner as a whole; ``run`` how often in a row it happened.
    """

    signals: pd.DataFrame
    recoveries: pd.DataFrame
    start: pd.Timestamp


def find(
    frames: Frames,
    policy: Policy,
    start: pd.Timestamp,
    end: pd.Timestamp,
    titles: Mapping[str, str] | None,
    settling: Mapping[str, Collection[int]] = MappingProxyType({}),
) -> Findings:
    """Everything that fired, and everything that recovers, in ``[start, end)``.

    ``titles`` names skills and items for the sentences; ids stand for themselves. None: nobody
    will read it, so words and evidence are left empty. ``settling`` says how many items without a
    rule's signal open alerts ask for beside the policy, by rule.
    """
    signals: list[pd.DataFrame] = []
    recoveries = [
        _unaided_correct(frames),
        *_sessions(frames),
        _submissions(frames),
        *_contacts(frames),
    ]
    rearm = pd.Timedelta(days=policy.rearm_after_days)
    for name, (rule, entry) in policy.enabled_rules().items():
        held: Condition | None = None
        for level in entry.levels:
            condition = evaluate(rule, level, frames, policy)
            fires = _fires(condition, level, rearm)
            inside = (condition.rows[condition.fired_at] >= start) & (
                condition.rows[condition.fired_at] < end
            )
            signals.append(_describe(condition, fires & inside, rule, entry, level, titles))
            held = condition if held is None else _either(held, condition)
        kind = policy.recovery_of(name)
        if held is not None:
            own = {kind.times} if kind.kind == "items_without_signal" else set()
            quiet = sorted(own | set(settling.get(name, ())))
            recoveries += [_quiet_items(held, name, times) for times in quiet]
        if kind.kind == "score_below" and held is not None:
            recoveries.append(_score_below(held, name))
    found = _concat(signals, SIGNAL_COLUMNS).drop_duplicates("signal_id")
    undone = _concat(recoveries, RECOVERY_COLUMNS)
    undone = undone[(undone["at"] >= start) & (undone["at"] < end)]
    return Findings(
        found.sort_values(["fired_at", "signal_id"], ignore_index=True),
        undone.sort_values(["at", "learner_id", "kind"], ignore_index=True),
        start,
    )


def evaluate(rule: Rule, level: Level, frames: Frames, policy: Policy) -> Condition:
    """The rule's condition with this level's parameters, on its mart."""
    # The scores follow from the policy too; of all frames only theirs is made here.
    is_score = rule.mart == "score_days"
    rows = score_days(frames.score_rows, policy) if is_score else getattr(frames, rule.mart)
    condition = rule.function(rows, **policy.numbers_of(rule.name, level))
    if level.alert_tier >= 2 and policy.rules[rule.name].only_while_struggling:
        return _while_struggling(condition, frames.responses, policy.struggling)
    return condition


def _while_struggling(
    condition: Condition, responses: pd.DataFrame, struggling: Struggling
) -> Condition:
    """The condition where the learner has also got most answers wrong for a while.

    Who gets most right is working on something hard, which the AI tutor can carry: streaks of
    misses come to everybody (METHODS 2, productive struggle).
    """
    rows = condition.rows
    columns = ["accuracy_of_last_20", "accuracy_of_previous_40", "response_number"]
    if set(columns) <= set(rows.columns):
        lately = rows[columns]
    elif rows.empty or responses.empty:
        return replace(condition, holds=pd.Series(False, index=rows.index))
    else:
        who = {name: responses[name].dtype for name in ("learner_id", "course_id")}
        is_known = pd.concat([rows[name].isin(responses[name].unique()) for name in who], axis=1)
        asked = rows[is_known.all(axis=1)]
        asked = asked[[*who]].astype(who).assign(at=asked[condition.fired_at], row=asked.index)
        answers = responses[["learner_id", "course_id", "known_at", *columns]]
        lately = (
            pd.merge_asof(
                asked.sort_values("at", kind="stable"),
                answers.sort_values(["known_at", "response_number"], kind="stable"),
                left_on="at",
                right_on="known_at",
                by=["learner_id", "course_id"],
                tolerance=REACH,
            )
            .set_index("row")[columns]
            .reindex(rows.index)
        )
    last_20, before = lately["accuracy_of_last_20"], lately["accuracy_of_previous_40"]
    last_60 = (last_20 + 2 * before.fillna(last_20)) / 3  # with fewer answers: what there is
    is_struggling = (
        (last_20 < struggling.accuracy_below)
        & (last_60 < struggling.accuracy_below)
        & (lately["response_number"] >= struggling.answers)
    )
    return replace(condition, holds=condition.holds.astype(bool) & is_struggling.fillna(False))


def signal_id(
    rule_id: str, learner_id: str, course_id: str, subject_id: str, alert_tier: int, anchor_id: str
) -> str:
    """Content hash: the same fact is the same signal, whoever finds it and when."""
    return content_id(rule_id, learner_id, course_id, subject_id, str(alert_tier), anchor_id)


def _fires(condition: Condition, level: Level, rearm: pd.Timedelta) -> pd.Series:
    holds = condition.holds.astype(bool)
    if not condition.by:
        return holds
    if level.repeated is None:
        return _rising(condition.rows, holds, list(condition.by), condition.fired_at, rearm)
    in_session = [*condition.by, "session_id"]
    starts = _rising(condition.rows, holds, in_session, condition.fired_at, rearm)
    starts &= condition.rows["session_id"].notna()
    if level.repeated.times_in_session is not None:
        keys = [condition.rows[c] for c in in_session]
        nth = starts.astype("int64").groupby(keys, sort=False, dropna=False).cumsum()
        return starts & (nth == level.repeated.times_in_session)
    sessions = level.repeated.sessions or 2
    once = condition.rows[starts].drop_duplicates(in_session)
    once = once.sort_values([*condition.by, condition.fired_at], kind="stable")
    group = once.groupby(list(condition.by), sort=False, dropna=False).ngroup()
    days = pd.Timedelta(days=level.repeated.within_days)
    seen = trailing_sum(pd.Series(1, index=once.index), once[condition.fired_at], group, days)
    before = seen.groupby(group, sort=False).shift(fill_value=0)
    hits = once.index[(seen >= sessions) & (before < sessions)]
    return pd.Series(condition.rows.index.isin(hits), index=condition.rows.index)


def _rising(
    rows: pd.DataFrame, holds: pd.Series, by: list[str], at: str, rearm: pd.Timedelta
) -> pd.Series:
    keys = [rows[c] for c in by]
    before = holds.groupby(keys, sort=False, dropna=False).shift(fill_value=False)
    gap = rows[at] - rows.groupby(by, sort=False, dropna=False)[at].shift()
    return holds & (~before.astype(bool) | (gap > rearm))


def _describe(
    condition: Condition,
    fires: pd.Series,
    rule: Rule,
    entry: RulePolicy,
    level: Level,
    titles: Mapping[str, str] | None,
) -> pd.DataFrame:
    positions = np.flatnonzero(fires.to_numpy())
    rows = condition.rows.iloc[positions]
    if rows.empty:
        return pd.DataFrame(columns=SIGNAL_COLUMNS)
    subject = rows[condition.subject] if condition.subject else pd.Series("", index=rows.index)
    frame = pd.DataFrame(
        {
            "rule_id": rule.name,
            "rule_version": str(entry.version),
            "learner_id": rows["learner_id"].astype("str"),
            "course_id": rows["course_id"].astype("str"),
            "layer": rows[condition.layer].fillna(entry.layer) if condition.layer else entry.layer,
            "alert_tier": level.alert_tier,
            "subject_kind": rule.subject,
            "subject_id": subject.astype("str").fillna(""),
            "anchor_id": rows[condition.anchor].astype("str"),
            "fired_at": rows[condition.fired_at].astype("datetime64[us]"),
            "observed": condition.observed.iloc[positions].astype("float64"),
            "threshold": float(condition.threshold),
            "n": condition.n.iloc[positions].fillna(0).astype("int64"),
            **dict.fromkeys(("window_text", "sentence", "evidence_ids"), ""),
        }
    )
    if titles is not None:
        window = condition.window
        frame["window_text"] = window if isinstance(window, str) else window.iloc[positions]
        frame["evidence_ids"] = [json.dumps(ids) for ids in _evidence(condition, positions)]
        frame["sentence"] = [
            level.sentence.format(
                observed=row.observed,
                threshold=row.threshold,
                n=row.n,
                subject=titles.get(row.subject_id, row.subject_id),
                window=row.window_text,
            )
            for row in rows_of(frame)
        ]
    frame["signal_id"] = [
        signal_id(
            rule.name, row.learner_id, row.course_id, row.subject_id, row.alert_tier, row.anchor_id
        )
        for row in rows_of(frame)
    ]
    return frame[SIGNAL_COLUMNS]


def _evidence(condition: Condition, positions: np.ndarray) -> Iterator[list[str]]:
    """For each fired row the ids of the latest rows of its group, oldest first."""
    anchors = condition.rows[condition.anchor].astype("str").to_numpy()
    if not condition.by or (isinstance(condition.evidence, int) and condition.evidence == 0):
        yield from ([anchors[p]] for p in positions)
        return
    keys = [condition.rows[c] for c in condition.by]
    groups = condition.rows.groupby(keys, sort=False, dropna=False).ngroup().to_numpy()
    order = np.argsort(groups, kind="stable")
    times = condition.rows[condition.fired_at].to_numpy()
    edges = np.searchsorted(groups[order], np.arange(groups.max() + 2))
    for position in positions:
        if isinstance(condition.evidence, int):
            wanted = condition.evidence
        else:
            wanted = int(condition.evidence.iloc[position])
        group = order[edges[groups[position]] : edges[groups[position] + 1]]
        until = int(np.searchsorted(group, position, side="right"))
        # The same rows whatever else was loaded: none older than the look-back of the hour.
        kept = [
            p
            for p in group[max(0, until - wanted) : until]
            if times[p] >= times[position] - np.timedelta64(LOOKBACK)
        ]
        yield [str(anchors[p]) for p in kept]


def _either(one: Condition, other: Condition) -> Condition:
    same = other.holds.reindex(one.holds.index, fill_value=False)
    return Condition(
        one.rows,
        one.holds | same,
        one.observed,
        one.threshold,
        one.n,
        one.window,
        by=one.by,
        items=one.items,
    )


def _quiet_items(held: Condition, rule_id: str, times: int) -> pd.DataFrame:
    """Rows at which the rule's condition has been false for ``times`` items in a row."""
    rows = held.rows
    is_item = pd.Series(True, index=rows.index) if held.items is None else held.items
    learner = [rows["learner_id"], rows["course_id"]]
    spell = held.holds.astype("int64").groupby(learner, sort=False).cumsum()
    counts = ~held.holds & is_item
    quiet = counts.astype("int64").groupby([*learner, spell], sort=False).cumsum()
    at = rows[(quiet == times) & counts]
    return _recoveries("items_without_signal", at, pd.Series(rule_id, index=at.index)).assign(
        run=times
    )


def _unaided_correct(frames: Frames) -> pd.DataFrame:
    rows = frames.responses
    rows = rows[rows["is_first_attempt"] & (rows["consecutive_unaided_correct"] > 0)]
    run = rows["consecutive_unaided_correct"]
    return _recoveries("unaided_correct", rows, rows["skill_id"]).assign(run=run)


def _sessions(frames: Frames) -> Iterator[pd.DataFrame]:
    """Sessions in which work was done; for whole-day sources the active days."""
    rows = frames.learning_sessions
    worked = rows[(rows["response_count"] > 0) | (rows["event_count"] >= 5)]
    none = pd.Series(None, index=worked.index, dtype="object")
    yield _recoveries("worked_session", worked, none, "started_at")
    finished = worked[(worked["items_abandoned"] == 0) & ~worked["has_open_item"]]
    yield _recoveries("finished_session", finished, none.loc[finished.index], "started_at")
    days = frames.days[frames.days["time_precision"] == "day"]
    none = pd.Series(None, index=days.index, dtype="object")
    for kind in ("worked_session", "finished_session"):
        yield _recoveries(kind, days, none, "first_activity_at")


def _contacts(frames: Frames) -> Iterator[pd.DataFrame]:
    """What people and learners did for each other.

    A session with a person is work, an answer and a contact; whoever is back at work has answered.
    """
    rows = frames.human_contacts
    none = pd.Series(None, index=rows.index, dtype="object")
    sessions = rows[rows["is_session"]]
    yield _recoveries("worked_session", sessions, none.loc[sessions.index])
    people = rows[rows["is_session"] | ~rows["is_from_learner"]]
    yield _recoveries("human_contact", people, none.loc[people.index])
    answers = rows[rows["is_from_learner"]]
    yield _recoveries("answered", answers, none.loc[answers.index])
    for worked in _sessions(frames):
        yield worked[worked["kind"] == "worked_session"].assign(kind="answered")


def _score_below(held: Condition, rule_id: str) -> pd.DataFrame:
    """Ends of days at which no score of the learner is over its line."""
    day = ["learner_id", "course_id", "known_at"]
    days = held.rows.groupby(day, as_index=False).agg(is_over=("is_over", "max"))
    below = days[~days["is_over"].astype(bool)]
    return _recoveries("score_below", below, pd.Series(rule_id, index=below.index))


def _submissions(frames: Frames) -> pd.DataFrame:
    return _recoveries("submitted", frames.submissions, frames.submissions["item_id"])


def _recoveries(
    kind: str, rows: pd.DataFrame, subject: pd.Series, since: str = "known_at"
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "kind": kind,
            "learner_id": rows["learner_id"].astype("str"),
            "course_id": rows["course_id"].astype("str"),
            "subject_id": subject.astype("str"),
            "run": 1,
            "since": rows[since].astype("datetime64[us]"),
            "at": rows["known_at"].astype("datetime64[us]"),
        }
    )


def _concat(parts: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    filled = [part for part in parts if not part.empty]
    if not filled:
        empty = pd.DataFrame(columns=columns)
        times = [c for c in ("fired_at", "since", "at") if c in columns]
        return empty.astype(dict.fromkeys(times, "datetime64[us]"))
    return pd.concat(filled, ignore_index=True)
