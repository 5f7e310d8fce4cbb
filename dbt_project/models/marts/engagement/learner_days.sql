with

session_days as (
    select * from {{ ref('int_session_days') }} where event_count > 0
),

learners as (
    select * from {{ ref('int_learners_numbered') }}
),

contexts as (
    select * from {{ ref('int_contexts_numbered') }}
),

events_of_days as (
    select * from {{ ref('int_events_touched') }} where time_precision = 'day' and is_activity
),

timed as (
    select
        learners.learner_id,
        contexts.course_id,
        session_days.activity_date,
        'second' as time_precision,
        min(session_days.first_activity_at) as first_activity_at,
        max(session_days.last_activity_at) as last_activity_at,
        sum(session_days.event_count) as event_count,
        count(*) as session_count,
        sum(session_days.active_milliseconds) as active_milliseconds,
        sum(session_days.response_count) as response_count,
        sum(session_days.correct_count) as correct_count,
        sum(session_days.hint_count) as hint_count,
        {{ count_distinct_of_lists('session_days.items') }} as item_count
    from session_days
    inner join learners on session_days.learner_number = learners.learner_number
    inner join contexts on session_days.first_context_number = contexts.context_number
    group by learners.learner_id, contexts.course_id, session_days.activity_date
),

untimed as (
    select
        learner_id,
        course_id,
        {{ local_date('occurred_at') }} as activity_date,
        'day' as time_precision,
        min(occurred_at) as first_activity_at,
        max(known_at) as last_activity_at,
        sum(event_count) as event_count,
        0 as session_count,
        0 as active_milliseconds,
        coalesce(sum(event_count) filter (where event_type = 'response_submitted'), 0)
            as response_count,
        coalesce(
            sum(event_count) filter (where event_type = 'response_submitted' and is_correct), 0
        ) as correct_count,
        coalesce(sum(event_count) filter (where event_type = 'hint_requested'), 0) as hint_count,
        count(distinct item_id) filter (where event_type = 'response_submitted') as item_count
    from events_of_days
    group by learner_id, course_id, {{ local_date('occurred_at') }}
),

days as (
    select * from timed
    union all
    select * from untimed
)

select
    learner_id,
    course_id,
    activity_date,
    min(first_activity_at) as first_activity_at,
    max(last_activity_at) as last_activity_at,
    cast(sum(event_count) as bigint) as event_count,
    cast(sum(session_count) as bigint) as session_count,
    cast(sum(active_milliseconds) / 1000.0 as double) as active_seconds,
    cast(sum(response_count) as bigint) as response_count,
    cast(sum(correct_count) as bigint) as correct_count,
    cast(sum(hint_count) as bigint) as hint_count,
    cast(sum(item_count) as bigint) as item_count,
    max(time_precision) as time_precision,
    {{ day_end('activity_date') }} as known_at
from days
group by learner_id, course_id, activity_date
