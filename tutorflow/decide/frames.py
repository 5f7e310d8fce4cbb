"""What the decision reads: mart rows of the learners in question, as pandas frames.

A window is ``[start, end)``. Frames of rows (contacts, days) hold the learners with newly
landed events and those with an open alert, from ``LOOKBACK`` before the window; the long ones
(responses, steps, sessions) only those of whom anything became known in the window; frames about
silence (calendar, enrolments, assignments, low scores) hold every learner whose deadline can fall
into the window. Nothing with ``known_at`` at or after ``end`` is read, with one exception that
can only silence a signal, never raise one: the time at which a learner came back
(``next_activity_at``) is an event's own time, not a whole day's.

A long window may be read one group of learners at a time: then every frame holds that group alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from tutorflow.decide.contacts import CONTACTS, OPENED_SESSIONS, load_contacts, manual_flags
from tutorflow.decide.score_rows import LEARNERS, ScoreRows, load_answers, load_score_rows

# Two spans of 28 days (re-arming, repeated sessions), 14 of trailing rows, a day at the edge.
LOOKBACK = timedelta(days=71)
CALENDAR_DAYS = 35  # how long the calendar follows a silence

RESPONSE_COLUMNS = """
    event_id, learner_id, course_id, module_id, item_id, skill_id, session_id, responded_at,
    known_at, response_number, opportunity, is_first_attempt, is_correct, is_unaided, hints_used,
    response_seconds, error_type,
    consecutive_wrong, consecutive_correct, consecutive_unaided_correct, longest_correct_run,
    misses_of_last_10, first_tries_of_last_10, unaided_correct_of_last_3,
    wrong_of_last_5, accuracy_of_last_20, accuracy_of_previous_40, log_seconds_z,
    log_seconds_count_of_last_20, hints_in_module, p_mastery_before, p_mastery_after, p_mastery_max
"""

# Of whom anything became known in the window: nothing can fire on the answers of anybody else.
ACTIVE = """
    create or replace temp table decide_active as
    select learner_id
    from decide_learners
    where learner_id in (
            select learner_id from marts.events where known_at >= $start and known_at < $end
        )
        or learner_id in (
            select learner_id from marts.learning_sessions
            where known_at >= $start and known_at < $end
        )
        or cast(learner_id as varchar) in (select unnest($waiting))
"""

# Every event in question, each with the learner's next own action: pauses, and what help led to.
FOLLOWED = """
    create or replace temp table decide_followed as
    with seen as (
        select
            events.*,
            event_types.event_rank,
            events.is_activity or events.event_type = 'session_ended' as is_own
        from marts.events as events
        inner join seeds.event_types as event_types using (event_type)
        where events.learner_id in (select learner_id from decide_active)
            and events.known_at >= $start - $lookback and events.known_at < $end
            and events.time_precision = 'second'
            and (events.is_activity or events.event_type in (
                'item_presented', 'hint_requested', 'explanation_viewed', 'session_ended'
            ))
    )

    select
        event_id, learner_id, course_id, module_id, item_id, skill_id, event_type, event_rank,
        occurred_at, known_at, hint_level, hint_level_max,
        last_value(hints_available ignore nulls) over (
            partition by learner_id, course_id, item_id
            order by occurred_at, event_rank, event_id
            rows between unbounded preceding and current row
        ) as hints_available,
        lead(occurred_at) over next_action as next_action_at,
        coalesce(
            lead(course_id) over next_action = course_id
            and lead(event_type) over next_action not in ('session_started', 'session_ended'),
            false
        ) as goes_on
    from seen
    window next_action as (
        partition by learner_id, is_own order by occurred_at, event_rank, event_id
    )
"""

RESPONSES = f"""
    select {RESPONSE_COLUMNS}, followed.next_action_at, coalesce(followed.goes_on, false) as goes_on
    from marts.responses
    left join (
        select event_id, next_action_at, goes_on from decide_followed
    ) as followed using (event_id)
    where learner_id in (select learner_id from decide_active)
        and known_at >= $start - $lookback and known_at < $end
    order by learner_id, course_id, response_number
"""

# What a learner did on the way: answers, help, revisions and items left, in order.
STEPS = """
    select
        followed.event_id, followed.learner_id, followed.course_id, followed.module_id,
        followed.item_id, followed.skill_id, followed.event_type as step,
        coalesce(responses.session_id, sessions.session_id) as session_id,
        followed.known_at, followed.hint_level, followed.hint_level_max, followed.hints_available,
        responses.event_id is not null as is_answer,
        coalesce(responses.is_first_attempt, false) as is_first_attempt,
        coalesce(responses.is_correct, false) as is_correct,
        coalesce(responses.is_unaided, false) as is_unaided,
        responses.p_mastery_after
    from decide_followed as followed
    left join (
        select
            event_id, session_id, is_first_attempt, is_correct, is_unaided, p_mastery_after
        from marts.responses
        where learner_id in (select learner_id from decide_active)
    ) as responses using (event_id)
    asof left join (
        select learner_id, course_id, session_id, started_at
        from marts.learning_sessions
        where learner_id in (select learner_id from decide_active)
    ) as sessions
        on followed.learner_id = sessions.learner_id
        and followed.course_id = sessions.course_id
        and followed.occurred_at >= sessions.started_at
    where responses.event_id is not null or followed.event_type in (
        'hint_requested', 'explanation_viewed', 'help_requested', 'response_revised',
        'item_abandoned'
    )
    order by
        followed.learner_id, followed.course_id, followed.occurred_at, followed.event_rank,
        followed.event_id
"""

SESSIONS = """
    select
        session_id, learner_id, course_id, started_at, ended_at, known_at, is_explicitly_ended,
        active_seconds,
        response_count, event_count, hint_count, items_abandoned, has_open_item, session_number
    from marts.learning_sessions
    where learner_id in (select learner_id from decide_learners)
        and known_at >= $start - $lookback and known_at < $end
    order by learner_id, course_id, known_at, session_id
"""

ITEMS = """
    select
        course_id, item_id, known_at,
        sum(seconds_sum_ms) over item / 1000.0
            / nullif(sum(seconds_count) over item, 0) as item_mean_seconds,
        cast(sum(seconds_count) over item as bigint) as item_seconds_count,
        1 - sum(first_try_correct_count) over item
            / nullif(sum(first_try_count) over item, 0) as item_difficulty,
        cast(sum(first_try_count) over item as bigint) as item_first_tries
    from marts.item_days
    where (course_id, item_id) in (select (course_id, item_id) from decide_items)
        and known_at < $end
    window item as (
        partition by course_id, item_id order by activity_date
        rows between unbounded preceding and current row
    )
    order by known_at, course_id, item_id
"""

# One row per learner, course and calendar day from the first activity to 35 days after the last.
CALENDAR = f"""
    with days as (
        select
            *,
            lead(first_activity_at) over (
                partition by learner_id, course_id order by activity_date
            ) as next_activity_at
        from marts.learner_days
        where activity_date > cast($first_day as date) - {2 * CALENDAR_DAYS}
            and activity_date <= cast($last_day as date) + 2
    ),

    calendar as (
        select unnest(range(cast($first_day as date), cast($last_day as date) + 1, interval 1 day))
            ::date as calendar_date
    ),

    spans as (
        select
            days.learner_id,
            days.course_id,
            calendar.calendar_date,
            max(days.last_activity_at) as last_activity_at,
            max(days.activity_date) as last_active_date,
            arg_max_null(days.next_activity_at, days.activity_date) as next_activity_at,
            count(*) filter (days.activity_date > calendar.calendar_date - 28)
                as active_days_of_last_28,
            count(*) filter (days.activity_date > calendar.calendar_date - 7)
                as active_days_of_last_7,
            coalesce(sum(days.event_count) filter (
                days.activity_date > calendar.calendar_date - 7
            ), 0) as event_count_of_last_7_days,
            coalesce(sum(days.event_count) filter (
                days.activity_date <= calendar.calendar_date - 7
            ), 0) as event_count_of_previous_4_weeks,
            least(
                count(*) filter (days.activity_date between
                    calendar.calendar_date - 13 and calendar.calendar_date - 7),
                count(*) filter (days.activity_date between
                    calendar.calendar_date - 20 and calendar.calendar_date - 14),
                count(*) filter (days.activity_date between
                    calendar.calendar_date - 27 and calendar.calendar_date - 21),
                count(*) filter (days.activity_date between
                    calendar.calendar_date - 34 and calendar.calendar_date - 28)
            ) as min_active_days_of_previous_4_weeks
        from calendar
        inner join days
            on days.activity_date <= calendar.calendar_date
            and days.activity_date > calendar.calendar_date - {CALENDAR_DAYS}
        group by all
    )

    select
        learner_id,
        course_id,
        calendar_date,
        last_activity_at,
        next_activity_at,
        active_days_of_last_7,
        active_days_of_last_28,
        cast(event_count_of_last_7_days as bigint) as event_count_of_last_7_days,
        cast(event_count_of_previous_4_weeks as bigint) as event_count_of_previous_4_weeks,
        event_count_of_previous_4_weeks / 4.0 as mean_event_count_of_previous_4_weeks,
        min_active_days_of_previous_4_weeks,
        percent_rank() over cohort as cohort_share_below,
        count(*) over (partition by course_id, calendar_date) as cohort_size,
        cast(calendar_date as varchar) as day_id,
        cast(last_active_date as varchar) as last_active_day_id
    from spans
    window cohort as (partition by course_id, calendar_date order by active_days_of_last_28)
    order by learner_id, course_id, calendar_date
"""

ENROLMENTS = """
    with enrolled as (
        select
            learner_id, course_id,
            min(greatest(occurred_at, coalesce(due_at, occurred_at))) as starts_at
        from marts.events
        where event_type = 'learner_enrolled' and known_at < $end
        group by all
        union
        select learner_id, course_id, starts_at from roster_enrolments
    ),

    starts as (
        select learner_id, course_id, min(starts_at) as starts_at
        from enrolled
        group by all
    ),

    first_days as (
        select learner_id, course_id, min(first_activity_at) as first_activity_at
        from marts.learner_days
        group by all
    )

    select
        starts.learner_id, starts.course_id, starts.starts_at,
        starts.starts_at as known_at, first_days.first_activity_at,
        'enrolled' as enrolment_id
    from starts
    left join first_days using (learner_id, course_id)
    where starts.starts_at < $end and starts.starts_at >= $enrolled_since
        and is_wanted(starts.learner_id)
    order by 1, 2
"""

ASSIGNMENTS = """
    with submitted as (
        select learner_id, course_id, item_id, min(known_at) as submitted_at
        from marts.events
        where event_type = 'assignment_submitted'
        group by all
    )

    select
        due.event_id, due.learner_id, due.course_id, due.item_id, due.occurred_at as due_at,
        due.known_at, submitted.submitted_at,
        row_number() over (
            partition by due.learner_id, due.course_id order by due.occurred_at, due.item_id
        ) as assignment_number
    from marts.events as due
    left join submitted using (learner_id, course_id, item_id)
    where due.event_type = 'assignment_due' and due.known_at < $end and is_wanted(due.learner_id)
    qualify due.known_at >= $start - $lookback
    order by learner_id, course_id, due_at, item_id
"""

LOW_SCORES = f"""
    with scores as (
        select
            event_id, learner_id, course_id, item_id, known_at,
            score / nullif(score_max, 0) as score_share
        from marts.events
        where event_type = 'assessment_scored' and score is not null
            and known_at >= $start - interval {CALENDAR_DAYS} day and known_at < $end
            and is_wanted(learner_id)
    )

    select
        scores.*,
        min(greatest(days.first_activity_at, scores.known_at)) filter (
            days.first_activity_at is not null  -- greatest would pass over a null
        ) as next_activity_at
    from scores
    left join marts.learner_days as days
        on days.learner_id = scores.learner_id
        and days.course_id = scores.course_id
        and days.last_activity_at > scores.known_at
    group by all
    order by learner_id, course_id, known_at, event_id
"""

DAYS = """
    select
        learner_id, course_id, first_activity_at, last_activity_at, known_at, event_count,
        response_count, time_precision,
        count(*) over (
            partition by learner_id, course_id order by activity_date
            rows between unbounded preceding and current row
        ) as active_days
    from marts.learner_days
    where learner_id in (select learner_id from decide_learners) and first_activity_at < $end
    qualify
        first_activity_at >= $start - interval 36 day
        or lead(activity_date) over (partition by learner_id, course_id order by activity_date)
            is null
    order by learner_id, course_id, activity_date
"""

# The last answer before the window and every answer in it.
ANSWER_FACTS = """
    select learner_id, course_id, known_at, response_number, accuracy_of_last_20
    from marts.responses
    where learner_id in (select learner_id from decide_learners) and known_at < $end
    qualify coalesce(
        lead(known_at) over (partition by learner_id, course_id order by response_number), $end
    ) >= $start
    order by known_at, event_id
"""

SUBMISSIONS = """
    select learner_id, course_id, item_id, known_at
    from marts.events
    where event_type = 'assignment_submitted' and known_at >= $start and known_at < $end
        and learner_id in (select learner_id from decide_learners)
    order by known_at, event_id
"""

WITHDRAWALS = """
    select learner_id, course_id, event_type, known_at
    from marts.events
    where event_type in ('learner_withdrew', 'learner_enrolled') and known_at < $end
    order by known_at, event_id
"""

SOURCE_COURSES = "select distinct source, course_id from marts.events"


@dataclass(frozen=True)
class Seen:
    """What the ticks themselves need of the frames of a window."""

    responses: pd.DataFrame
    days: pd.DataFrame
    answer_facts: pd.DataFrame
    enrolments: pd.DataFrame


@dataclass(frozen=True)
class Frames(Seen):
    """The frames of one window; columns as in the queries above."""

    steps: pd.DataFrame
    learning_sessions: pd.DataFrame
    calendar: pd.DataFrame
    assignments: pd.DataFrame
    low_scores: pd.DataFrame
    submissions: pd.DataFrame
    enrolment_changes: pd.DataFrame
    source_courses: pd.DataFrame
    # contact and self-reports: tutorflow.decide.contacts
    appointments: pd.DataFrame
    messages: pd.DataFrame
    reflections: pd.DataFrame
    check_ins: pd.DataFrame
    safety_flags: pd.DataFrame
    requests: pd.DataFrame
    human_contacts: pd.DataFrame
    opened_sessions: pd.DataFrame
    manual_flags: pd.DataFrame
    # what the scores are computed from: tutorflow.decide.score_rows
    score_rows: ScoreRows


def load_frames(
    warehouse: duckdb.DuckDBPyConnection,
    learners: list[str] | None,
    start: datetime,
    end: datetime,
    zone: str,
    roster_enrolments: pd.DataFrame,
    enrolled_since: datetime,
    core_skills: Collection[str] = (),
    flags: pd.DataFrame | None = None,
    waiting: Collection[str] | None = None,
    calendar: pd.DataFrame | None = None,
    also_scored: Collection[str] = (),
) -> Frames:
    """Frames for the window ``[start, end)`` (naive UTC).

    ``learners`` are those whose rows changed or who have a signal that waits; None means all. Of
    enrolments only those that started at or after ``enrolled_since`` are read. ``core_skills``
    are the skills the roster marks, ``flags`` the accepted rows of the inbox `manual_flags`.
    Responses, steps and sessions are of the learners of whom anything became known in the window
    and of those with a signal that is ``waiting``; None: of all ``learners``. With a ``calendar``
    (of everybody: :func:`load_calendar`) every frame holds the ``learners`` alone.
    ``also_scored``: of whom the rows behind the scores are read as well where a day ends.
    """
    _register(warehouse, learners, roster_enrolments, is_group=calendar is not None)
    window = {"start": start, "end": end}

    def fetch(query: str, **more: object) -> pd.DataFrame:
        used = {k: v for k, v in {**window, **more}.items() if f"${k}" in query}
        return frame(warehouse, query, used)

    if waiting is None:
        warehouse.execute("create or replace temp table decide_active as from decide_learners")
    else:
        warehouse.execute(ACTIVE, {**window, "waiting": sorted(waiting)})
    warehouse.execute(FOLLOWED, {**window, "lookback": LOOKBACK})
    responses = fetch(RESPONSES, lookback=LOOKBACK)
    responses["is_core"] = responses["skill_id"].isin(list(core_skills))
    warehouse.register(
        "decide_items", responses[["course_id", "item_id"]].drop_duplicates().dropna()
    )
    first_day, last_day = _days(start, end, zone)
    warehouse.execute(CONTACTS, {**window, "lookback": LOOKBACK})
    contacts = load_contacts(fetch, responses, LOOKBACK)
    contacts["manual_flags"] = manual_flags(flags, start, end, LOOKBACK)
    if calendar is not None:
        contacts["manual_flags"] = _of(contacts["manual_flags"], learners or ())
    sessions, days = fetch(SESSIONS, lookback=LOOKBACK), fetch(DAYS)
    ends = day_ends(first_day, last_day, start, end, zone)
    if ends.empty:  # then the learners at hand are all that is needed
        answers = load_answers(fetch, "decide_learners", start, LOOKBACK)
        scored = ScoreRows(
            answers, days, sessions, contacts["opened_sessions"], contacts["messages"], ends
        )
    else:
        warehouse.register("scored_text", pd.DataFrame({"id": sorted(also_scored)}, dtype="str"))
        warehouse.execute(LEARNERS, window)
        scored = load_score_rows(
            fetch, ends, start, LOOKBACK, OPENED_SESSIONS, contacts["messages"]
        )
    if waiting is not None:  # the scores are made of everybody's, signals are not
        active = list(frame(warehouse, "select learner_id from decide_active")["learner_id"])
        sessions = _of(sessions, active)
        contacts["opened_sessions"] = _of(contacts["opened_sessions"], active)
    return Frames(
        responses=in_codes(_with_item_means(responses, fetch(ITEMS))),
        steps=in_codes(fetch(STEPS)),
        learning_sessions=sessions,
        calendar=load_calendar(warehouse, start, end, zone)
        if calendar is None
        else _of(calendar, learners or ()),
        enrolments=fetch(ENROLMENTS, enrolled_since=enrolled_since),
        assignments=fetch(ASSIGNMENTS, lookback=LOOKBACK),
        low_scores=fetch(LOW_SCORES),
        days=days,
        answer_facts=fetch(ANSWER_FACTS),
        submissions=fetch(SUBMISSIONS),
        enrolment_changes=fetch(WITHDRAWALS),
        source_courses=fetch(SOURCE_COURSES),
        score_rows=scored,
        **contacts,
    )


def load_calendar(
    warehouse: duckdb.DuckDBPyConnection, start: datetime, end: datetime, zone: str
) -> pd.DataFrame:
    """The calendar of everybody: its cohorts are whole, whoever it is used for."""
    first_day, last_day = _days(start, end, zone)
    days = frame(warehouse, CALENDAR, {"first_day": first_day, "last_day": last_day})
    return _with_day_ends(days, pd.Timestamp(end), zone)


def _of(rows: pd.DataFrame, learners: Collection[str]) -> pd.DataFrame:
    return rows[rows["learner_id"].isin(learners)].reset_index(drop=True)


def frame(
    warehouse: duckdb.DuckDBPyConnection, query: str, parameters: object = None
) -> pd.DataFrame:
    """Query result through Arrow: uuid as text, timestamps in microseconds."""
    table = warehouse.execute(query, parameters).to_arrow_table()
    result: pd.DataFrame = table.to_pandas()
    return result


def in_codes(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with their texts as categories: to choose rows and to group them is much faster."""
    texts = [name for name in rows if isinstance(rows[name].dtype, pd.StringDtype)]
    return rows.astype(dict.fromkeys(texts, "category"))


def rows_of(rows: pd.DataFrame) -> Iterator[Any]:
    """The rows as named tuples (their fields are as untyped as the frame's columns)."""
    return rows.itertuples(index=False)


def plain_rows(rows: pd.DataFrame) -> Iterator[tuple[Any, ...]]:
    """The rows as tuples of plain Python values; None where a text or a time is missing.

    Ten times as fast as :func:`rows_of`; equal texts are one object.
    """
    return zip(*(_plain_values(rows[name]) for name in rows), strict=True)


def _plain_values(column: pd.Series) -> list[Any]:
    if column.dtype.kind == "M":
        moments: list[Any] = column.to_numpy().astype("datetime64[us]").tolist()
        return moments
    if column.dtype.kind in "biuf":
        return column.tolist()
    numbers, values = pd.factorize(column)
    known = [*np.asarray(values, dtype="object").tolist(), None]
    return [known[number] for number in numbers.tolist()]


def day_end(dates: pd.Series, zone: str) -> pd.Series:
    """The last instant (a microsecond before midnight) of local days, as naive UTC."""
    midnight = pd.to_datetime(dates) + pd.Timedelta(days=1)
    utc = midnight.dt.tz_localize(zone, ambiguous=True, nonexistent="shift_forward")
    naive = utc.dt.tz_convert("UTC").dt.tz_localize(None)
    return (naive - pd.Timedelta(microseconds=1)).astype("datetime64[us]")


def day_ends(
    first_day: str, last_day: str, start: datetime, end: datetime, zone: str
) -> pd.DataFrame:
    """The local days that end in the window: day_id, known_at, previous_at (of the day before)."""
    dates = pd.Series(pd.date_range(first_day, last_day))
    ends = pd.DataFrame(
        {
            "day_id": dates.dt.strftime("%Y-%m-%d"),
            "known_at": day_end(dates, zone),
            "previous_at": day_end(dates - pd.Timedelta(days=1), zone),
        }
    )
    return ends[(ends["known_at"] >= start) & (ends["known_at"] < end)].reset_index(drop=True)


def _register(
    warehouse: duckdb.DuckDBPyConnection,
    learners: list[str] | None,
    roster_enrolments: pd.DataFrame,
    is_group: bool,
) -> None:
    if learners is None:
        warehouse.execute(
            "create or replace temp table decide_learners as "
            "select distinct learner_id from marts.learner_days"
        )
    else:
        warehouse.register("decide_learners_text", pd.DataFrame({"id": learners}, dtype="str"))
        warehouse.execute(
            "create or replace temp table decide_learners as "
            "select distinct cast(id as uuid) as learner_id from decide_learners_text"
        )
    wanted = "id in (select learner_id from decide_learners)" if is_group else "true"
    warehouse.execute(f"create or replace temp macro is_wanted(id) as {wanted}")
    enrolments = roster_enrolments[["learner_id", "course_id", "starts_at"]]
    warehouse.register(
        "roster_enrolments_text",
        enrolments.astype({"learner_id": "str", "course_id": "str", "starts_at": "datetime64[us]"}),
    )
    warehouse.execute(
        "create or replace temp view roster_enrolments as select "
        "cast(learner_id as uuid) as learner_id, course_id, starts_at from roster_enrolments_text"
    )


def _days(start: datetime, end: datetime, zone: str) -> tuple[str, str]:
    """The local days whose end, or whose next day, can matter for a window."""
    local = pd.DatetimeIndex([start, end]).tz_localize("UTC").tz_convert(zone)
    return (
        str((local[0] - pd.Timedelta(days=2)).date()),
        str((local[1] - pd.Timedelta(microseconds=1)).date()),
    )


def _with_day_ends(calendar: pd.DataFrame, end: pd.Timestamp, zone: str) -> pd.DataFrame:
    dates = pd.to_datetime(calendar["calendar_date"])
    calendar["known_at"] = day_end(dates, zone)
    calendar["next_day_end_at"] = day_end(dates + pd.Timedelta(days=1), zone)
    return calendar[calendar["known_at"] < end].reset_index(drop=True)


def _with_item_means(responses: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """Join each response with its item's time and difficulty as of the end of the day before."""
    if responses.empty or items.empty:
        return responses.assign(
            item_mean_seconds=float("nan"),
            item_seconds_count=0,
            item_difficulty=float("nan"),
            item_first_tries=0,
        )
    keyed = responses.assign(row=range(len(responses)), item_id=responses["item_id"].fillna(""))
    joined = pd.merge_asof(
        keyed.sort_values("responded_at"),
        items.rename(columns={"known_at": "item_known_at"}),
        left_on="responded_at",
        right_on="item_known_at",
        by=["course_id", "item_id"],
        allow_exact_matches=False,
    )
    joined = joined.sort_values("row").reset_index(drop=True)
    return joined.drop(columns=["row", "item_known_at"]).assign(
        item_seconds_count=joined["item_seconds_count"].fillna(0),
        item_first_tries=joined["item_first_tries"].fillna(0),
    )
