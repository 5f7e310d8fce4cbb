"""Compliance: the learner stops showing up, starting or finishing."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field

from tutorflow.decide.rule import (
    Condition,
    Count,
    Few,
    OfSeven,
    OfTen,
    QuietDays,
    QuietHours,
    RecentDays,
    Seconds,
    Share,
    Times,
    rule,
)
from tutorflow.decide.rules.series import trailing_sum
from tutorflow.decide.rules.spans import newest

ACTIVITY = ("content_viewed", "response_submitted")
# Of appointments, messages and assignments, which are few: how far back "in a row" may reach.
MONTH = pd.Timedelta(days=28)
# A day at least: of the day of the message only its first and last activity are known.
ReplyHours = Annotated[float, Field(ge=24, le=24 * 28)]
GraceHours = Annotated[float, Field(ge=0, le=24 * 7)]
MonthDays = Annotated[float, Field(gt=0, le=28)]
RECENT_OPENINGS, EARLIER_OPENINGS, ENOUGH_OPENINGS = 3, 10, 5


def _constant(value: float, rows: pd.DataFrame) -> pd.Series:
    return pd.Series(value, index=rows.index, dtype="float64")


@rule(
    mart="learning_sessions",
    any_of=("item_presented", "item_abandoned"),
    subject="learner",
    is_absence=True,
    needs_time_of_day=True,
)
def abandonment(sessions: pd.DataFrame, *, times: Count = 2, days: RecentDays = 7) -> Condition:
    """Items or sessions left unfinished again and again.

    A session counts the items abandoned in it, or once if it was left with an item open.
    """
    rows = sessions
    open_item = rows["has_open_item"].astype("int64")
    left = rows["items_abandoned"].where(rows["items_abandoned"] > 0, open_item)
    window = pd.Timedelta(days=days)
    learner = rows["learner_id"] + rows["course_id"]
    observed = trailing_sum(left, rows["known_at"], learner, window)
    count = trailing_sum(pd.Series(1, index=rows.index), rows["known_at"], learner, window)
    return Condition(
        rows,
        # A session that was finished ends the fall, even while older ones are in the window.
        (observed >= times) & (left > 0),
        observed,
        times,
        count,
        f"last {days:g} days",
        evidence=3,
        anchor="session_id",
    )


@rule(
    mart="learning_sessions",
    any_of=ACTIVITY,
    is_absence=True,
    needs_time_of_day=True,
    reach_days=42,
)
def shorter_sessions(
    sessions: pd.DataFrame, *, to_share: Share = 0.6, last: Few = 3, before: OfTen = 10
) -> Condition:
    """Sessions clearly shorter than the learner's own.

    The median active time of the ``last`` sessions against that of the ``before`` sessions before
    them, all of them within six weeks.
    """
    rows, count = sessions, last + before
    learner = rows["learner_id"] + rows["course_id"]
    ones = pd.Series(1, index=rows.index)
    n = trailing_sum(ones, rows["known_at"], learner, pd.Timedelta(days=42), last=count)
    until = np.arange(1, len(rows) + 1)
    seconds = newest(rows["active_seconds"], until - n.to_numpy(dtype="int64"), until, count)
    # NaN where there are fewer sessions.
    lately = pd.Series(np.median(seconds[:, :last], axis=1), index=rows.index)
    usual = pd.Series(np.median(seconds[:, last:], axis=1), index=rows.index)
    observed = lately / usual.where(usual > 0)
    return Condition(
        rows,
        observed <= to_share,
        observed,
        to_share,
        n,
        f"last {last} sessions against the {before} before",
        evidence=last,
        anchor="session_id",
    )


@rule(
    mart="low_scores",
    needs=("assessment_scored",),
    any_of=ACTIVITY,
    subject="item",
    is_absence=True,
)
def silent_after_low_score(
    scores: pd.DataFrame, *, hours: QuietHours = 48, below: Share = 0.5
) -> Condition:
    """No activity after a low score."""
    rows = scores.assign(fired_at=scores["known_at"] + pd.Timedelta(hours=hours))
    quiet = rows["next_activity_at"].isna() | (rows["next_activity_at"] > rows["fired_at"])
    return Condition(
        rows,
        quiet & (rows["score_share"] < below),
        _constant(hours, rows),
        hours,
        _constant(1, rows),
        "hours since the low score",
        by=(),
        subject="item_id",
        fired_at="fired_at",
    )


@rule(mart="calendar", any_of=ACTIVITY, is_absence=True)
def inactive(
    calendar: pd.DataFrame,
    *,
    days: QuietDays = 7,
    below_cohort_percentile: Share | None = 0.2,
    cohort_of_at_least: Count = 20,
) -> Condition:
    """No activity for days, by a learner among the least active of the cohort.

    Activity is the number of active days in the 28 days up to the end of the day before; the
    cohort is everybody seen on the course in those weeks. A cohort smaller than
    ``cohort_of_at_least`` has no percentiles: then the days alone decide.
    """
    rows = calendar.assign(fired_at=calendar["last_activity_at"] + pd.Timedelta(days=days))
    # The row of the day before the deadline: the last whole day that can be compared.
    due_tomorrow = (rows["fired_at"] > rows["known_at"]) & (
        rows["fired_at"] <= rows["next_day_end_at"]
    )
    rows = rows[due_tomorrow]
    holds = rows["next_activity_at"].isna() | (rows["next_activity_at"] > rows["fired_at"])
    if below_cohort_percentile is not None:
        least_active = rows["cohort_share_below"] < below_cohort_percentile
        holds &= least_active | (rows["cohort_size"] < cohort_of_at_least)
    return Condition(
        rows,
        holds,
        _constant(days, rows),
        days,
        rows["active_days_of_last_28"],
        "days without activity",
        by=(),
        fired_at="fired_at",
        anchor="last_active_day_id",
    )


@rule(mart="enrolments", needs=("learner_enrolled",), any_of=ACTIVITY, is_absence=True)
def never_started(enrolments: pd.DataFrame, *, days: QuietDays = 3) -> Condition:
    """Enrolled, the course has begun, and nothing has happened."""
    rows = enrolments.assign(fired_at=enrolments["starts_at"] + pd.Timedelta(days=days))
    first = rows["first_activity_at"]
    return Condition(
        rows,
        first.isna() | (first > rows["fired_at"]),
        _constant(days, rows),
        days,
        _constant(1, rows),
        "days since the start",
        by=(),
        fired_at="fired_at",
        anchor="enrolment_id",
    )


@rule(mart="calendar", any_of=ACTIVITY, is_absence=True)
def activity_drop(
    calendar: pd.DataFrame,
    *,
    to_share: Share = 0.6,
    active_days: OfSeven = 2,
) -> Condition:
    """The last 7 days at a fraction of the four weeks before, each of which was regular."""
    rows = calendar
    steady = rows["min_active_days_of_previous_4_weeks"] >= active_days
    observed = rows["event_count_of_last_7_days"] / rows["mean_event_count_of_previous_4_weeks"]
    return Condition(
        rows,
        (steady & (observed <= to_share)).fillna(False),
        observed,
        to_share,
        rows["event_count_of_previous_4_weeks"],
        "last 7 days against the 4 weeks before",
        anchor="day_id",
    )


@rule(
    mart="assignments",
    needs=("assignment_due", "assignment_submitted"),
    subject="item",
    is_absence=True,
)
def first_assignment_missing(assignments: pd.DataFrame, *, days: QuietDays = 7) -> Condition:
    """The first assignment of the course is still missing days after it was due.

    On OULAD it flags 11.6 % of learners, of whom 90.5 % later withdraw or fail (METHODS 3).
    """
    rows = assignments[assignments["assignment_number"] == 1]
    rows = rows.assign(fired_at=rows["known_at"] + pd.Timedelta(days=days))
    missing = rows["submitted_at"].isna() | (rows["submitted_at"] > rows["fired_at"])
    return Condition(
        rows,
        missing,
        _constant(days, rows),
        days,
        _constant(1, rows),
        "days past due",
        by=(),
        subject="item_id",
        fired_at="fired_at",
    )


@rule(
    mart="appointments",
    needs=("session_scheduled", "session_attended"),
    is_absence=True,
    reach_days=28,
)
def missed_sessions(
    appointments: pd.DataFrame, *, sessions: Count = 2, grace_hours: GraceHours = 1
) -> Condition:
    """Scheduled sessions missed in a row.

    A session that was called off, or moved, before its grace was over does not count. Only the
    last 28 days count.
    """
    rows = appointments
    rows = rows.assign(fired_at=rows["known_at"] + pd.Timedelta(hours=grace_hours))
    rows = rows[~(rows["called_off_at"] <= rows["fired_at"])]
    missed = rows["attended_at"].isna() | (rows["attended_at"] > rows["fired_at"])
    observed = _in_a_row(missed, rows, sessions)
    return Condition(
        rows,
        observed >= sessions,
        observed,
        sessions,
        _in_a_row(pd.Series(True, index=rows.index), rows, 10),
        "scheduled sessions in a row",
        evidence=sessions,
        fired_at="fired_at",
    )


@rule(
    mart="messages",
    needs=("message_sent", "message_replied"),
    is_absence=True,
    reach_days=28,
)
def unanswered_outreach(
    messages: pd.DataFrame,
    *,
    messages_in_a_row: Count = 2,
    hours: ReplyHours = 48,
    activity_counts: bool = True,
    from_ai_tutor: bool = False,
) -> Condition:
    """Messages of a person to which nothing came back.

    With ``activity_counts`` coming back to work is an answer too. The AI tutor's own messages
    count only with ``from_ai_tutor``. Only the last 28 days count.
    """
    rows = messages if from_ai_tutor else messages[messages["actor"] == "coach"]
    rows = rows.assign(fired_at=rows["known_at"] + pd.Timedelta(hours=hours))
    answered = rows["replied_at"] <= rows["fired_at"]
    if activity_counts:
        answered |= rows["next_activity_at"] <= rows["fired_at"]
    observed = _in_a_row(~answered, rows, messages_in_a_row)
    return Condition(
        rows,
        observed >= messages_in_a_row,
        observed,
        messages_in_a_row,
        _in_a_row(pd.Series(True, index=rows.index), rows, 10),
        f"messages in a row, {hours:g} hours each",
        evidence=messages_in_a_row,
        fired_at="fired_at",
    )


@rule(mart="reflections", needs=("reflection_skipped", "check_in"), reach_days=28)
def skipped_reflections(reflections: pd.DataFrame, *, in_a_row: Count = 3) -> Condition:
    """Reflections skipped one after the other; a check-in is one that was not skipped."""
    rows = reflections.assign(fired_at=reflections["known_at"])
    observed = _in_a_row(rows["is_skipped"], rows, in_a_row)
    return Condition(
        rows,
        observed >= in_a_row,
        observed,
        in_a_row,
        _in_a_row(pd.Series(True, index=rows.index), rows, 10),
        "reflections in a row",
        evidence=in_a_row,
    )


@rule(
    mart="opened_sessions",
    needs=("session_started", "response_submitted"),
    is_absence=True,
    needs_time_of_day=True,
)
def opened_not_started(
    opened: pd.DataFrame, *, sessions: Count = 3, days: RecentDays = 14, events_below: Count = 5
) -> Condition:
    """Sessions opened one after the other in which nothing was attempted.

    Nothing attempted: no answer, no hint, nothing handed in, and fewer than ``events_below``
    things done (reading for a while is work).
    """
    rows = opened.assign(fired_at=opened["known_at"])
    idle = (
        (rows["response_count"] == 0)
        & (rows["hint_count"] == 0)
        & ~rows["has_submission"]
        & (rows["event_count"] < events_below)
    )
    window = pd.Timedelta(days=days)
    observed = _in_a_row(idle, rows, sessions, window)
    return Condition(
        rows,
        observed >= sessions,
        observed,
        sessions,
        _in_a_row(pd.Series(True, index=rows.index), rows, 10, window),
        f"sessions opened in a row, last {days:g} days",
        evidence=sessions,
        anchor="session_id",
    )


@rule(
    mart="opened_sessions",
    needs=("session_started", "response_submitted"),
    needs_time_of_day=True,
    reach_days=28,
)
def slow_to_start(
    opened: pd.DataFrame, *, times: Times = 2.0, at_least_seconds: Seconds = 60
) -> Condition:
    """From opening a session to the first answer it takes far longer than usual.

    The median of the last three sessions with an answer against that of the up to ten before (at
    least five), all within 28 days. A median below ``at_least_seconds`` is never slow.
    """
    rows = opened[opened["start_seconds"].notna()].reset_index(drop=True)
    learner = rows["learner_id"] + rows["course_id"]
    seen = trailing_sum(pd.Series(1, index=rows.index), rows["known_at"], learner, MONTH)
    last = np.arange(1, len(rows) + 1)
    first = last - seen.to_numpy(dtype="int64")
    recent, ratio = start_delay(rows["start_seconds"], first, last)
    observed = pd.Series(ratio, index=rows.index)
    return Condition(
        rows,
        (observed >= times) & (recent >= at_least_seconds),
        observed,
        times,
        seen.clip(upper=RECENT_OPENINGS + EARLIER_OPENINGS),
        "last 3 sessions against the 10 before",
        evidence=RECENT_OPENINGS,
        anchor="session_id",
    )


def start_delay(
    seconds: pd.Series, first: np.ndarray, last: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(median seconds to start of the newest three rows of each range, their ratio to before).

    Ranges are half-open positions; NaN where there are too few rows.
    """
    found = pd.DataFrame(newest(seconds, first, last, RECENT_OPENINGS + EARLIER_OPENINGS))
    now, before = found.iloc[:, :RECENT_OPENINGS], found.iloc[:, RECENT_OPENINGS:]
    enough = before.notna().sum(axis=1) >= ENOUGH_OPENINGS
    recent = now.median(axis=1).where(enough)
    usual = before.median(axis=1)
    return recent.to_numpy(), (recent / usual.where(usual > 0)).to_numpy()


@rule(
    mart="assignments",
    needs=("assignment_due", "assignment_submitted"),
    is_absence=True,
    reach_days=28,
)
def late_work(
    assignments: pd.DataFrame,
    *,
    assignments_late: Count = 2,
    days: MonthDays = 14,
    grace_hours: GraceHours = 0,
) -> Condition:
    """Assignments late or missing when they were due, several within a short time."""
    rows = assignments
    rows = rows.assign(fired_at=rows["known_at"] + pd.Timedelta(hours=grace_hours))
    late = rows["submitted_at"].isna() | (rows["submitted_at"] > rows["fired_at"])
    learner = rows["learner_id"] + rows["course_id"]
    window = pd.Timedelta(days=days)
    observed = trailing_sum(late, rows["fired_at"], learner, window)
    n = trailing_sum(pd.Series(1, index=rows.index), rows["fired_at"], learner, window)
    return Condition(
        rows,
        (observed >= assignments_late) & late,
        observed,
        assignments_late,
        n,
        f"last {days:g} days",
        evidence=n,
        fired_at="fired_at",
    )


def _in_a_row(
    marks: pd.Series, rows: pd.DataFrame, count: int, window: pd.Timedelta = MONTH
) -> pd.Series:
    """How many of the learner's last ``count`` rows within the window are marked."""
    learner = rows["learner_id"] + rows["course_id"]
    return trailing_sum(marks, rows["fired_at"], learner, window, last=count)
