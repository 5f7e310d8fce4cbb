-- Where do a learner's sessions start? Each is named by the number of its first event.
with

events as (
    select * from {{ ref('int_events_touched') }} where time_precision = 'second'
),

event_types as (
    select * from {{ ref('event_types') }}
),

learners as (
    select * from {{ ref('int_learners_numbered') }}
),

contexts as (
    select * from {{ ref('int_contexts_numbered') }}
),

in_session as (
    select
        learners.learner_number,
        contexts.context_number,
        contexts.course_number,
        event_types.event_rank,
        event_types.event_type = 'session_started' as opens_session,
        event_types.event_type = 'session_ended' as closes_session,
        events.is_activity,
        events.event_id,
        events.occurred_at,
        coalesce(events.is_correct, events.score >= events.score_max) as is_correct,
        cast(events.attempt_number as smallint) as attempt_number,
        events.response_seconds
    from events
    inner join event_types on events.event_type = event_types.event_type
    inner join learners on events.learner_id = learners.learner_id
    inner join contexts
        on events.source = contexts.source
        and events.course_id = contexts.course_id
        and events.module_id is not distinct from contexts.module_id
        and events.item_id is not distinct from contexts.item_id
        and events.skill_id is not distinct from contexts.skill_id
        and events.other_skill_ids is not distinct from contexts.other_skill_ids
        and events.error_type is not distinct from contexts.error_type
    where events.is_activity or event_types.is_in_session
),

preceded as (
    select
        *,
        cast(row_number() over learner as integer) as event_number,
        lag(occurred_at) over learner as previous_at,
        lag(course_number) over learner as previous_course_number,
        lag(closes_session) over learner as follows_session_end
    from in_session
    window learner as (
        partition by learner_number order by occurred_at, event_rank, event_id
    )
),

cut as (
    select
        *,
        previous_at is null
        or occurred_at > previous_at + {{ minutes(constant('session_timeout_minutes')) }}
        or course_number <> previous_course_number
        or opens_session
        or follows_session_end as starts_session
    from preceded
),

sessioned as (
    select
        *,
        {{ last_known('case when starts_session then event_number end') }} over learner_so_far
            as session_start_number,
        {{ last_known('case when starts_session then previous_at end') }} over learner_so_far
            as previous_session_ended_at
    from cut
    window learner_so_far as (
        partition by learner_number order by event_number
        rows between unbounded preceding and current row
    )
)

select
    learner_number,
    event_number,
    session_start_number,
    context_number,
    event_rank,
    is_activity,
    event_id,
    occurred_at,
    cast(
        case
            when starts_session then 0
            else least(
                {{ milliseconds_between('previous_at', 'occurred_at') }},
                1000 * {{ constant('max_response_seconds') }}
            )
        end as integer
    ) as active_milliseconds,
    is_correct,
    attempt_number,
    case
        when
            response_seconds between 0 and {{ constant('max_response_seconds') }}
            and (
                previous_session_ended_at is null
                or occurred_at
                - {{ milliseconds('floor(1000 * response_seconds)') }} >= previous_session_ended_at
            )
            then response_seconds
    end as response_seconds
from sessioned
