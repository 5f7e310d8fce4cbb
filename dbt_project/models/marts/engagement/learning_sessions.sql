with

session_days as (
    select * from {{ ref('int_session_days') }}
),

learners as (
    select * from {{ ref('int_learners_numbered') }}
),

contexts as (
    select * from {{ ref('int_contexts_numbered') }}
),

event_types as (
    select * from {{ ref('event_types') }}
),

-- Without anything the learner did it is no session of theirs.
sessions as (
    select
        learner_number,
        session_start_number,
        {{ value_at_first('first_event_id', 'activity_date') }} as first_event_id,
        {{ value_at_first('first_context_number', 'activity_date') }} as first_context_number,
        min(started_at) as started_at,
        max(ended_at) as ended_at,
        max(closed_at) as closed_at,
        {{ value_at_last('last_event_rank', 'activity_date') }} as last_event_rank,
        max(last_presented_number) as last_presented_number,
        max(last_settled_number) as last_settled_number,
        cast(sum(event_count) as bigint) as event_count,
        cast(sum(response_count) as bigint) as response_count,
        cast(sum(correct_count) as bigint) as correct_count,
        cast(sum(hint_count) as bigint) as hint_count,
        cast(sum(items_presented) as bigint) as items_presented,
        cast(sum(items_abandoned) as bigint) as items_abandoned,
        {{ count_distinct_of_lists('items') }} as item_count,
        sum(active_milliseconds) / 1000.0 as active_seconds
    from session_days
    group by learner_number, session_start_number
    having sum(event_count) > 0
)

select
    {{ hashed_uuid([
        'learners.learner_id', 'contexts.course_id', 'sessions.first_event_id',
    ]) }} as session_id,
    learners.learner_id,
    contexts.course_id,
    contexts.source,
    sessions.started_at,
    sessions.ended_at,
    coalesce(
        sessions.closed_at,
        sessions.ended_at + {{ minutes(constant('session_timeout_minutes')) }}
    ) as known_at,
    sessions.closed_at is not null as is_explicitly_ended,
    sessions.event_count,
    sessions.response_count,
    sessions.correct_count,
    sessions.item_count,
    sessions.hint_count,
    sessions.items_presented,
    sessions.items_abandoned,
    coalesce(
        sessions.last_presented_number > coalesce(sessions.last_settled_number, 0), false
    ) as has_open_item,
    event_types.event_type as last_event_type,
    cast(sessions.active_seconds as double) as active_seconds,
    row_number() over learner_course as session_number,
    lag(sessions.ended_at) over learner_course as previous_ended_at,
    cast(sessions.session_start_number as bigint) as first_event_number
from sessions
inner join learners on sessions.learner_number = learners.learner_number
inner join contexts on sessions.first_context_number = contexts.context_number
left join event_types on sessions.last_event_rank = event_types.event_rank
window learner_course as (
    partition by sessions.learner_number, contexts.course_id
    order by sessions.session_start_number
)
