"""What the decision reads about contact: appointments, messages, self-reports, requests.

All of it comes out of one pass over the rare kinds of events (``decide_contacts``). Frames about
something that did *not* happen by a deadline (appointments, messages) hold every learner, since a
deadline can fall into any window; the others hold the learners with news or an open alert. As
elsewhere, what came later can only silence a signal, never raise one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pandas as pd

WHO = ["learner_id", "course_id"]
# How far back a self-report looks for the answer, the assessment or the report before it.
REPORT_REACH = pd.Timedelta(days=14)
ASSESSMENT_REACH = pd.Timedelta(days=7)
BEFORE_REACH = pd.Timedelta(days=28)
REPLY_DAYS = 29  # a little more than the longest time a message may wait for its answer

CONTACTS = """
    create or replace temp table decide_contacts as
    select
        event_id, learner_id, course_id, item_id, skill_id, session_id_of_source as session_id,
        event_type, occurred_at, known_at, due_at, self_report, text_flag, actor,
        case when json_valid(attributes) then attributes end as attributes
    from marts.events
    where known_at < $end and is_wanted(learner_id)
        and (
            event_type = 'session_cancelled'
            or (
                event_type = 'session_scheduled'
                and coalesce(due_at, occurred_at) >= $start - $lookback
            )
            or (
                known_at >= $start - $lookback
                and (
                    event_type in (
                        'session_started', 'session_attended', 'message_sent', 'message_replied',
                        'check_in', 'help_requested', 'reflection_skipped', 'assessment_scored',
                        'assignment_submitted'
                    )
                    or text_flag is not null
                )
            )
        )
"""

# One row per scheduled session. A session that is scheduled again was called off at that moment.
APPOINTMENTS = """
    with scheduled as (
        select
            event_id, learner_id, course_id, session_id,
            coalesce(due_at, occurred_at) as starts_at,
            greatest(known_at, coalesce(due_at, occurred_at)) as known_at,
            lead(occurred_at) over (
                partition by learner_id, course_id, coalesce(session_id, cast(event_id as varchar))
                order by occurred_at, event_id
            ) as moved_at
        from decide_contacts
        where event_type = 'session_scheduled'
    ),

    others as (
        select
            learner_id, course_id, session_id, occurred_at, event_type,
            coalesce(due_at, occurred_at) as about
        from decide_contacts
        where event_type in ('session_attended', 'session_cancelled')
    ),

    what_came as (
        select scheduled.event_id, others.event_type, others.occurred_at
        from scheduled
        inner join others using (learner_id, course_id, session_id)
        union all
        select scheduled.event_id, others.event_type, others.occurred_at
        from scheduled
        inner join others using (learner_id, course_id)
        where scheduled.session_id is null
            and others.about between scheduled.starts_at - interval 12 hour
                and scheduled.starts_at + interval 12 hour
        union all
        select scheduled.event_id, others.event_type, others.occurred_at
        from scheduled
        inner join others using (learner_id, course_id)
        where scheduled.session_id is not null and others.session_id is null
            and others.about between scheduled.starts_at - interval 12 hour
                and scheduled.starts_at + interval 12 hour
    )

    select
        scheduled.event_id, scheduled.learner_id, scheduled.course_id, scheduled.starts_at,
        scheduled.known_at,
        min(what_came.occurred_at) filter (what_came.event_type = 'session_attended')
            as attended_at,
        least(
            min(what_came.occurred_at) filter (what_came.event_type = 'session_cancelled'),
            min(scheduled.moved_at)
        ) as called_off_at
    from scheduled
    left join what_came using (event_id)
    group by all
    order by learner_id, course_id, known_at, event_id
"""

# One row per message to a learner: when the learner wrote back, and when they were next active.
MESSAGES = f"""
    with written as (
        select learner_id, course_id, occurred_at
        from decide_contacts
        where event_type in ('message_replied', 'message_sent') and actor = 'learner'
    ),

    sent as (
        select event_id, learner_id, course_id, actor, known_at
        from decide_contacts
        where event_type = 'message_sent' and actor in ('coach', 'ai_tutor')
    ),

    replied as (
        select sent.*, written.occurred_at as replied_at
        from sent
        asof left join written
            on sent.learner_id = written.learner_id
            and sent.course_id = written.course_id
            and sent.known_at < written.occurred_at
    )

    select
        replied.*,
        min(greatest(days.first_activity_at, replied.known_at)) filter (
            days.first_activity_at is not null  -- greatest would pass over a null
        ) as next_activity_at
    from replied
    left join marts.learner_days as days
        on days.learner_id = replied.learner_id
        and days.course_id = replied.course_id
        and days.last_activity_at > replied.known_at
        and days.first_activity_at < replied.known_at + interval {REPLY_DAYS} day
    group by all
    order by learner_id, course_id, known_at, event_id
"""

REFLECTIONS = """
    select
        event_id, learner_id, course_id, known_at, event_type = 'reflection_skipped' as is_skipped
    from decide_contacts
    where event_type in ('reflection_skipped', 'check_in') and actor = 'learner'
        and learner_id in (select learner_id from decide_learners)
    order by learner_id, course_id, known_at, event_id
"""

# A self-report that does not say what it measures is one of confidence.
CHECK_INS = """
    select
        event_id, learner_id, course_id, skill_id, known_at, self_report,
        coalesce(lower(json_extract_string(attributes, '$.measure')), 'confidence') as measure
    from decide_contacts
    where event_type = 'check_in' and self_report is not null
        and learner_id in (select learner_id from decide_learners)
    order by learner_id, course_id, known_at, event_id
"""

ASSESSMENTS = """
    select learner_id, course_id, known_at
    from decide_contacts
    where event_type = 'assessment_scored'
        and learner_id in (select learner_id from decide_learners)
    order by known_at, event_id
"""

# The category alone is read. What does not look like the name of one stays unread.
SAFETY_FLAGS = """
    select
        event_id, learner_id, course_id, known_at,
        case
            when regexp_full_match(lower(text_flag), '[a-z0-9_-]{1,40}')
                then replace(lower(text_flag), '_', ' ')
            else 'other'
        end as category
    from decide_contacts
    where coalesce(text_flag, '') <> '' and actor <> 'coach'
        and learner_id in (select learner_id from decide_learners)
    order by learner_id, course_id, known_at, event_id
"""

# Whom the learner asks for is in the attribute `asks_for`; a request on a skill is about content.
REQUESTS = """
    select
        event_id, learner_id, course_id, skill_id, known_at,
        coalesce(
            lower(json_extract_string(attributes, '$.asks_for'))
                in ('person', 'human', 'coach', 'tutor', 'call'),
            false
        ) as asks_for_a_person,
        case when skill_id is not null then 'content' end as layer
    from decide_contacts
    where event_type = 'help_requested' and actor = 'learner'
        and learner_id in (select learner_id from decide_learners)
    order by learner_id, course_id, known_at, event_id
"""

# What speaks for a learner: a person who wrote or met, a learner who wrote back.
HUMAN_CONTACTS = """
    select
        learner_id, course_id, known_at,
        event_type = 'session_attended' as is_session,
        event_type = 'session_attended' or actor = 'learner' as is_from_learner
    from decide_contacts
    where (
            event_type in ('session_attended', 'message_replied')
            or (event_type = 'message_sent' and actor in ('coach', 'learner'))
        )
        and learner_id in (select learner_id from decide_learners)
    order by known_at, event_id
"""

# Sessions the learner opened, how long they took to the first answer, and whether anything was
# tried at all.
OPENED_SESSIONS = """
    with opened as (
        select learner_id, course_id, occurred_at as started_at
        from decide_contacts
        where event_type = 'session_started' and actor = 'learner'
            and learner_id in (select learner_id from {learners})
    ),

    sessions as (
        select sessions.*
        from marts.learning_sessions as sessions
        semi join opened using (learner_id, course_id, started_at)
        where known_at >= $start - $lookback and known_at < $end
    ),

    answered as (
        select session_id, min(responded_at) as first_answer_at
        from marts.responses
        where learner_id in (select learner_id from {learners})
            and known_at >= $start - $lookback - interval 2 day and known_at < $end
        group by session_id
    ),

    handed_in as (
        select distinct sessions.session_id
        from sessions
        inner join decide_contacts as contacts
            on contacts.learner_id = sessions.learner_id
            and contacts.course_id = sessions.course_id
            and contacts.event_type = 'assignment_submitted'
            and contacts.occurred_at between sessions.started_at and sessions.ended_at
    )

    select
        sessions.session_id, sessions.learner_id, sessions.course_id, sessions.known_at,
        sessions.event_count, sessions.hint_count, sessions.response_count,
        sessions.session_id in (select session_id from handed_in) as has_submission,
        date_diff('millisecond', sessions.started_at, answered.first_answer_at) / 1000.0
            as start_seconds
    from sessions
    left join answered using (session_id)
    order by learner_id, course_id, known_at, session_id
"""

# Flags that people raise: the accepted rows of the inbox `manual_flags`, as they are handed in.
MANUAL_FLAG_COLUMNS = {
    **dict.fromkeys(("row_id", "learner_id", "course_id", "layer"), "object"),
    "asks_for_contact_today": "bool",
    "known_at": "datetime64[us]",
}

Fetch = Callable[..., pd.DataFrame]


def load_contacts(
    fetch: Fetch, responses: pd.DataFrame, lookback: timedelta
) -> dict[str, pd.DataFrame]:
    """The frames of this module by their names in :class:`tutorflow.decide.frames.Frames`.

    ``fetch`` runs a query with the window's parameters; ``decide_contacts`` and
    ``decide_learners`` exist.
    """
    return {
        "appointments": fetch(APPOINTMENTS),
        "messages": fetch(MESSAGES),
        "reflections": fetch(REFLECTIONS),
        "check_ins": with_context(fetch(CHECK_INS), responses, fetch(ASSESSMENTS)),
        "safety_flags": fetch(SAFETY_FLAGS),
        "requests": fetch(REQUESTS),
        "human_contacts": fetch(HUMAN_CONTACTS),
        "opened_sessions": fetch(
            OPENED_SESSIONS.format(learners="decide_learners"), lookback=lookback
        ),
    }


def manual_flags(
    accepted: pd.DataFrame | None, start: datetime, end: datetime, lookback: timedelta
) -> pd.DataFrame:
    """The flags of the window out of the accepted rows of the inbox (None: there are none).

    Of ``accepted`` are used row_id, learner_id, course_id, layer, alert_tier and at (naive UTC).
    """
    if accepted is None or accepted.empty:
        return pd.DataFrame(columns=list(MANUAL_FLAG_COLUMNS)).astype(MANUAL_FLAG_COLUMNS)
    rows = accepted.assign(
        asks_for_contact_today=accepted["alert_tier"].fillna(2).astype("int64") >= 3,
        known_at=accepted["at"],
    )[list(MANUAL_FLAG_COLUMNS)].astype(MANUAL_FLAG_COLUMNS)
    inside = (rows["known_at"] >= start - lookback) & (rows["known_at"] < end)
    return (
        rows[inside]
        .sort_values(["learner_id", "course_id", "known_at", "row_id"])
        .reset_index(drop=True)
    )


def with_context(
    check_ins: pd.DataFrame, responses: pd.DataFrame, assessments: pd.DataFrame
) -> pd.DataFrame:
    """Self-reports with what was known beside them, each from its own past only.

    ``p_mastery``     of the skill named, else of the skill practised last (14 days at most)
    ``assessed_at``   the latest assessment before it (7 days at most)
    ``report_before`` the last report of the same kind before that assessment (28 days at most)
    """
    rows = check_ins.reset_index(drop=True).assign(row=range(len(check_ins)))
    of_them = responses["learner_id"].isin(rows["learner_id"].unique())
    answers = responses[of_them & responses["p_mastery_after"].notna()]
    answers = answers.sort_values(["known_at", "response_number"], kind="stable")
    named, unnamed = rows[rows["skill_id"].notna()], rows[rows["skill_id"].isna()]
    mastery = pd.concat(
        [
            _latest(named, answers, [*WHO, "skill_id"], "p_mastery_after"),
            _latest(unnamed, answers, WHO, "p_mastery_after"),
        ]
    )
    rows["p_mastery"] = mastery.reindex(rows.index).astype("float64")
    assessed = assessments.assign(assessed_at=assessments["known_at"])
    rows["assessed_at"] = _latest(rows, assessed, WHO, "assessed_at", ASSESSMENT_REACH).astype(
        "datetime64[us]"
    )
    after = rows[rows["assessed_at"].notna()].drop(columns="known_at")
    after = after.rename(columns={"assessed_at": "known_at"})
    before = rows.sort_values(["known_at", "event_id"], kind="stable")
    earlier = _latest(after, before, [*WHO, "measure"], "self_report", BEFORE_REACH, is_strict=True)
    rows["report_before"] = earlier.reindex(rows.index).astype("float64")
    return rows.drop(columns="row")


def _latest(
    rows: pd.DataFrame,
    past: pd.DataFrame,
    by: list[str],
    column: str,
    reach: pd.Timedelta = REPORT_REACH,
    is_strict: bool = False,
) -> pd.Series:
    """For each row the newest ``column`` of its past, no older than ``reach``; NaN without one."""
    if rows.empty or past.empty:
        return pd.Series(index=rows.index, dtype=past[column].dtype)
    found = pd.merge_asof(
        rows[["row", "known_at", *by]].sort_values("known_at", kind="stable"),
        past[["known_at", *by, column]].sort_values("known_at", kind="stable"),
        on="known_at",
        by=by,
        tolerance=reach,
        allow_exact_matches=not is_strict,
    )
    return found.set_index("row")[column]
