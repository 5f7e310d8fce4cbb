"""Compliance: the learner stops showing up, starting or finishing."""

from __future__ import annotations

import pandas as pd

from tutorflow.decide.rule import (
    Condition,
    Count,
    OfSeven,
    QuietDays,
    QuietHours,
    RecentDays,
    Share,
    rule,
)
from tutorflow.decide.rules.series import trailing_sum

ACTIVITY = ("content_viewed", "response_submitted")


def _constant(value: float, rows: pd.DataFrame) -> pd.Series:
    return pd.Series(value, index=rows.index, dtype="float64")


@rule(
    mart="learning_sessions",
    needs=("item_presented", "item_abandoned"),
    subject="learner",
    is_absence=True,
    needs_time_of_day=True,
)
def abandonment(sessions: pd.DataFrame, *, times: Count = 2, days: RecentDays = 7) -> Condition:
    """Items or sessions left unfinished again and again."""
    rows = sessions
    left = rows["items_abandoned"] + rows["has_open_item"].astype("int64")
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


@rule(mart="low_scores", needs=("assessment_scored", *ACTIVITY), subject="item", is_absence=True)
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


@rule(mart="calendar", needs=ACTIVITY, is_absence=True)
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


@rule(mart="enrolments", needs=("learner_enrolled", *ACTIVITY), is_absence=True)
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


@rule(mart="calendar", needs=ACTIVITY, is_absence=True)
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
