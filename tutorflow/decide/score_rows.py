"""What the scores are computed from, and the ends of days at which they are judged.

In a window that holds the end of a day, everybody who was active in the five weeks before is
judged at it, seen lately or not; in the others the rows of the decision itself are enough.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd

SCORED_DAYS = 35  # for how long a silent learner is still judged at the end of each day

LEARNERS = f"""
    create or replace temp table score_learners as
    select distinct learner_id
    from marts.learner_days
    where first_activity_at < $end
        and first_activity_at >= $start - interval {SCORED_DAYS + 3} day
        and is_wanted(learner_id)
    union
    select learner_id from decide_learners
    union
    select cast(id as uuid) from scored_text
"""

# The last 20 answers before the window, and every answer in it.
ANSWERS = """
    select
        learner_id, course_id, known_at, is_correct, hints_used, log_seconds_z,
        p_mastery_before, p_mastery_after
    from marts.responses
    where learner_id in (select learner_id from {learners})
        and known_at >= $since - $lookback and known_at < $end
    qualify known_at >= $since or row_number() over (
        partition by learner_id, course_id, known_at >= $since order by response_number desc
    ) <= 20
    order by learner_id, course_id, response_number
"""

DAYS = """
    select
        learner_id, course_id, first_activity_at, last_activity_at, known_at, event_count,
        time_precision
    from marts.learner_days
    where learner_id in (select learner_id from score_learners) and first_activity_at < $end
    qualify
        first_activity_at >= $start - $lookback
        or lead(activity_date) over (partition by learner_id, course_id order by activity_date)
            is null
    order by learner_id, course_id, first_activity_at
"""

SESSIONS = """
    select learner_id, course_id, known_at, items_abandoned, has_open_item
    from marts.learning_sessions
    where learner_id in (select learner_id from score_learners)
        and known_at >= $start - interval 17 day and known_at < $end
    order by learner_id, course_id, known_at, session_id
"""

Fetch = Callable[..., pd.DataFrame]


@dataclass(frozen=True)
class ScoreRows:
    """Rows of the learners that may be scored, by learner, course and time.

    ``day_ends`` are the days that end in the window: day_id, known_at (their last instant) and
    previous_at (that of the day before).
    """

    answers: pd.DataFrame
    days: pd.DataFrame
    sessions: pd.DataFrame
    openings: pd.DataFrame
    messages: pd.DataFrame
    day_ends: pd.DataFrame


def load_answers(fetch: Fetch, learners: str, start: datetime, lookback: timedelta) -> pd.DataFrame:
    """The answers that the scores of the learners in a table are computed from."""
    since = start - timedelta(days=2)
    return fetch(ANSWERS.format(learners=learners), lookback=lookback, since=since)


def load_score_rows(
    fetch: Fetch,
    day_ends: pd.DataFrame,
    start: datetime,
    lookback: timedelta,
    opened_sessions: str,
    messages: pd.DataFrame,
) -> ScoreRows:
    """Rows of everybody who is judged at the end of a day in the window (``score_learners``).

    ``opened_sessions`` is the query of that frame, with its ``{learners}`` open.
    """
    return ScoreRows(
        answers=load_answers(fetch, "score_learners", start, lookback),
        days=fetch(DAYS, lookback=lookback),
        sessions=fetch(SESSIONS),
        openings=fetch(opened_sessions.format(learners="score_learners"), lookback=lookback),
        messages=messages,
        day_ends=day_ends,
    )
