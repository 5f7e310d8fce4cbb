"""Outcome labels: what a learner did in a fixed window after an alert or an intervention.

A span starts when an alert was delivered or a person stepped in, and ends a fixed number of hours
later. What is before looks only before the start, what came of it only between start and end; a
row known at or after the end changes nothing. A label is given once, when the span is over and
the feeds of the course have come that far; late events may revise it, and then the row says so.

Labels: `escalated`, a signal of a higher tier in the same layer (or a safety signal); `resumed`,
enough work, and nothing measured speaks against it; `partial_resume`, came back, but not all of
that; `no_change`, did not come back; `still_open`, not over, or not all events are here.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from tutorflow.decide.frames import frame, rows_of
from tutorflow.policy.model import Outcomes

ACTIVITY = ("content_viewed", "response_submitted")  # the feeds that must have come far enough
SECONDS_CAP = 600  # longer answers say nothing about pace (METHODS 2)
SPAN_COLUMNS = ["span_id", "learner_id", "course_id", "layer", "alert_tier", "starts_at", "ends_at"]
# Columns of the outcome tables that tell what happened, beside the label.
PARTS = (
    "has_returned",
    "has_worked",
    "is_accuracy_recovered",
    "is_latency_normal",
    "attended_next_session",
    "mastery_gain",
    "days_to_recovery",
    "response_count",
    "accuracy",
    "accuracy_before",
    "active_days_before",
)
STILL_OPEN = "still_open"

# course -> up to when all its events are here (naive UTC); None: nobody knows
CompleteUntil = Callable[[str], datetime | None]

SPANS = """
    create or replace temp table outcome_spans as
    select
        span_id, cast(learner_id as uuid) as learner_id, course_id,
        cast(starts_at as timestamp) as starts_at, cast(ends_at as timestamp) as ends_at
    from outcome_spans_text
"""

# What the learner did between start and end; `recovered_at` is when enough work had been done.
DONE = """
    with activities as (
        select
            spans.span_id,
            events.known_at,
            sum(events.event_count) over so_far as activities,
            sum(events.event_count) filter (where events.event_type = 'response_submitted')
                over so_far as responses
        from outcome_spans as spans
        inner join marts.events as events
            on events.learner_id = spans.learner_id
            and events.course_id = spans.course_id
            and events.occurred_at >= spans.starts_at
            and events.known_at >= spans.starts_at
            and events.known_at < spans.ends_at
        where events.is_activity
        window so_far as (
            partition by spans.span_id order by events.known_at, events.event_id
            rows between unbounded preceding and current row
        )
    )

    select
        span_id,
        min(known_at) as returned_at,
        min(known_at) filter (where activities >= $activities or responses >= $responses)
            as recovered_at
    from activities
    group by span_id
"""

ANSWERS = f"""
    select
        spans.span_id,
        answers.known_at >= spans.starts_at as is_after,
        count(*) as responses,
        avg(cast(answers.is_correct as integer)) as accuracy,
        count(answers.response_seconds) as timed,
        avg(ln(1 + least(answers.response_seconds, {SECONDS_CAP}))) as log_seconds,
        stddev_samp(ln(1 + least(answers.response_seconds, {SECONDS_CAP}))) as log_seconds_spread
    from outcome_spans as spans
    inner join marts.responses as answers
        on answers.learner_id = spans.learner_id
        and answers.course_id = spans.course_id
        and answers.known_at >= spans.starts_at - to_days(cast($days as integer))
        and answers.known_at < spans.ends_at
        and (answers.known_at < spans.starts_at or answers.responded_at >= spans.starts_at)
    group by spans.span_id, is_after
"""

ACTIVE_DAYS = """
    select spans.span_id, count(*) as active_days_before
    from outcome_spans as spans
    inner join marts.learner_days as days
        on days.learner_id = spans.learner_id
        and days.course_id = spans.course_id
        and days.known_at >= spans.starts_at - to_days(cast($days as integer))
        and days.known_at < spans.starts_at
    group by spans.span_id
"""

MASTERY = """
    with skills as (
        select
            spans.span_id,
            answers.skill_id,
            arg_max(answers.p_mastery_after, answers.response_number)
                - arg_min(answers.p_mastery_before, answers.response_number) as gain
        from outcome_spans as spans
        inner join marts.responses as answers
            on answers.learner_id = spans.learner_id
            and answers.course_id = spans.course_id
            and answers.responded_at >= spans.starts_at
            and answers.known_at >= spans.starts_at
            and answers.known_at < spans.ends_at
        where answers.is_first_attempt and answers.skill_id is not null
        group by spans.span_id, answers.skill_id
    )

    select span_id, avg(gain) as mastery_gain from skills group by span_id
"""

# The first scheduled session whose hour is over by the end, and whether the learner came to it.
NEXT_SESSION = """
    with scheduled as (
        select spans.*, events.due_at as slot_at
        from outcome_spans as spans
        inner join marts.events as events
            on events.learner_id = spans.learner_id
            and events.course_id = spans.course_id
            and events.due_at >= spans.starts_at
            and events.due_at + interval 1 hour <= spans.ends_at
        where events.event_type = 'session_scheduled'
        qualify row_number() over (
            partition by spans.span_id order by events.due_at, events.event_id
        ) = 1
    )

    select
        scheduled.span_id,
        count(events.event_id) filter (where events.event_type = 'session_attended') > 0
            as attended_next_session,
        count(events.event_id) filter (where events.event_type = 'session_cancelled') > 0
            as was_cancelled
    from scheduled
    left join marts.events as events
        on events.learner_id = scheduled.learner_id
        and events.course_id = scheduled.course_id
        and events.known_at < scheduled.ends_at
        and (
            (events.event_type = 'session_cancelled' and events.due_at = scheduled.slot_at)
            or (
                events.event_type = 'session_attended'
                and events.known_at >= scheduled.starts_at
                and abs(epoch(events.occurred_at) - epoch(scheduled.slot_at)) <= 3600
            )
        )
    group by scheduled.span_id
"""


def span_frame(rows: Sequence[Mapping[str, Any]] | pd.DataFrame) -> pd.DataFrame:
    """Spans with the columns of SPAN_COLUMNS, their times in microseconds."""
    spans = pd.DataFrame(rows, columns=SPAN_COLUMNS)
    return spans.astype({"starts_at": "datetime64[us]", "ends_at": "datetime64[us]"})


def label_spans(
    warehouse: duckdb.DuckDBPyConnection,
    spans: pd.DataFrame,
    signals: pd.DataFrame,
    policy: Outcomes,
) -> pd.DataFrame:
    """One row per span (SPAN_COLUMNS) with `span_id`, `label` and the columns of PARTS.

    All spans are over. `signals` are those on record when the label is given (learner_id,
    course_id, layer, alert_tier, fired_at).
    """
    if spans.empty:
        return pd.DataFrame(columns=["span_id", "label", *PARTS])
    parts = parts_of(warehouse, spans, policy)
    parts["label"] = labels(parts, escalated(spans, signals))
    return parts[["span_id", "label", *PARTS]]


def parts_of(
    warehouse: duckdb.DuckDBPyConnection, spans: pd.DataFrame, policy: Outcomes
) -> pd.DataFrame:
    """One row per span, in the order of the spans: `span_id` and the columns of PARTS."""
    _register(warehouse, spans)
    days = {"days": policy.baseline_days}
    worked = {"activities": policy.worked.activities, "responses": policy.worked.responses}
    answers = frame(warehouse, ANSWERS, days)
    found = (
        spans[["span_id", "starts_at"]]
        .merge(frame(warehouse, DONE, worked), on="span_id", how="left")
        .merge(_side(answers, is_after=True, suffix=""), on="span_id", how="left")
        .merge(_side(answers, is_after=False, suffix="_before"), on="span_id", how="left")
        .merge(frame(warehouse, ACTIVE_DAYS, days), on="span_id", how="left")
        .merge(frame(warehouse, MASTERY), on="span_id", how="left")
        .merge(_sessions(frame(warehouse, NEXT_SESSION)), on="span_id", how="left")
    )
    recovered_after = found["recovered_at"] - found["starts_at"]
    return pd.DataFrame(
        {
            "span_id": found["span_id"],
            "has_returned": found["returned_at"].notna().astype("boolean"),
            "has_worked": found["recovered_at"].notna().astype("boolean"),
            "is_accuracy_recovered": _accuracy_recovered(found, policy),
            "is_latency_normal": _latency_normal(found, policy),
            "attended_next_session": found["attended_next_session"].astype("boolean"),
            "mastery_gain": found["mastery_gain"].astype("float64"),
            "days_to_recovery": recovered_after.dt.total_seconds() / 86_400,
            "response_count": found["responses"].fillna(0).astype("Int64"),
            "accuracy": found["accuracy"].astype("float64"),
            "accuracy_before": found["accuracy_before"].astype("float64"),
            "active_days_before": found["active_days_before"].fillna(0).astype("Int64"),
        }
    )


def _register(warehouse: duckdb.DuckDBPyConnection, spans: pd.DataFrame) -> None:
    text = {"span_id": "str", "learner_id": "str", "course_id": "str"}
    columns = ["span_id", "learner_id", "course_id", "starts_at", "ends_at"]
    warehouse.register("outcome_spans_text", spans[columns].astype(text))
    warehouse.execute(SPANS)
    warehouse.unregister("outcome_spans_text")


def _side(answers: pd.DataFrame, is_after: bool, suffix: str) -> pd.DataFrame:
    side = answers[answers["is_after"] == is_after].drop(columns="is_after")
    return side.rename(columns={name: f"{name}{suffix}" for name in side if name != "span_id"})


def _sessions(found: pd.DataFrame) -> pd.DataFrame:
    """A session that was called off is none that could be attended."""
    held = found[found["attended_next_session"] | ~found["was_cancelled"]]
    return held[["span_id", "attended_next_session"]]


def _accuracy_recovered(found: pd.DataFrame, policy: Outcomes) -> pd.Series:
    enough = policy.accuracy.responses
    known = (found["responses"] >= enough) & (found["responses_before"] >= enough)
    points = 100 * (found["accuracy_before"] - found["accuracy"])
    back = points <= policy.accuracy.within_points + 1e-9
    return back.astype("boolean").where(known)


def _latency_normal(found: pd.DataFrame, policy: Outcomes) -> pd.Series:
    enough = policy.latency.responses
    spread = found["log_seconds_spread_before"]
    known = (found["timed"] >= enough) & (found["timed_before"] >= enough) & (spread > 0)
    z = (found["log_seconds"] - found["log_seconds_before"]) / spread.where(spread > 0)
    return (z.abs() <= policy.latency.z_below).astype("boolean").where(known)


def labels(parts: pd.DataFrame, is_escalated: pd.Series) -> pd.Series:
    """The label of each row of PARTS; what could not be measured speaks neither way."""
    held_up = parts["is_accuracy_recovered"].fillna(True) & parts["is_latency_normal"].fillna(True)
    chosen = np.select(
        [
            is_escalated.to_numpy(dtype=bool),
            (parts["has_worked"] & held_up).to_numpy(dtype=bool),
            parts["has_returned"].to_numpy(dtype=bool),
        ],
        ["escalated", "resumed", "partial_resume"],
        default="no_change",
    )
    return pd.Series(chosen, index=parts.index, dtype="str")


def escalated(spans: pd.DataFrame, signals: pd.DataFrame) -> pd.Series:
    """Whether a higher tier of the same layer, or anything of safety, fired inside the span."""
    both = spans.merge(signals, on=["learner_id", "course_id"], suffixes=("", "_fired"))
    inside = (both["fired_at"] >= both["starts_at"]) & (both["fired_at"] < both["ends_at"])
    higher = both["alert_tier_fired"] > both["alert_tier"]
    alike = (both["layer_fired"] == both["layer"]) | (both["layer_fired"] == "safety")
    return spans["span_id"].isin(both.loc[inside & higher & alike, "span_id"])


# -- when a label may be given ---------------------------------------------------------------------


def labelled_at(
    ends_at: datetime, known_at: datetime, ticks: Sequence[datetime], complete: datetime | None
) -> datetime | None:
    """The first of `ticks` that may label a span known since `known_at`; None: none of them.

    Never before the span's end, never while events of it may still be on their way.
    """
    if complete is None or complete < ends_at:
        return None
    position = bisect_left(ticks, max(ends_at, known_at))
    return ticks[position] if position < len(ticks) else None


def completeness(sources: pd.DataFrame, source_courses: pd.DataFrame) -> CompleteUntil:
    """Up to when all activity of a course is here: the slowest of its active sources.

    Where every source is retired, nothing more will come.
    `sources` as `tutorflow.pull.source_watermarks` returns them.
    """
    seen: dict[str, set[str]] = defaultdict(set)
    for row in rows_of(source_courses):
        seen[row.source].add(row.course_id)
    feeds = [row for row in rows_of(sources) if set(ACTIVITY) & set(row.event_types)]
    cache: dict[str, datetime | None] = {}

    def until(course: str) -> datetime | None:
        mine = [
            row
            for row in feeds
            if course in (row.courses if row.courses is not None else seen[row.source])
        ]
        ends = [row.complete_until for row in mine if not row.is_retired]
        if not mine or any(pd.isna(end) for end in ends):
            return None
        return min((end.to_pydatetime() for end in ends), default=datetime.max)

    def complete_until(course: str) -> datetime | None:
        if course not in cache:
            cache[course] = until(course)
        return cache[course]

    return complete_until


def hours_after(start: datetime, hours: int) -> datetime:
    """The end of a window of so many hours."""
    return start + timedelta(hours=hours)
