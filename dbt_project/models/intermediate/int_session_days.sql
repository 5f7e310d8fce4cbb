-- What happened in a session on one day? Sessions and days are both sums of this.
with

events as (
    select * from {{ ref('int_events_sessioned') }}
),

event_types as (
    select * from {{ ref('event_types') }}
),

contexts as (
    select context_number, course_number, item_number from {{ ref('int_contexts_numbered') }}
),

typed as (
    select
        events.*,
        event_types.event_type,
        contexts.course_number,
        contexts.item_number,
        {{ local_date('events.occurred_at') }} as activity_date
    from events
    inner join event_types on events.event_rank = event_types.event_rank
    inner join contexts on events.context_number = contexts.context_number
)

select
    learner_number,
    course_number,
    session_start_number,
    activity_date,
    {{ value_at_first('event_id', 'event_number') }} as first_event_id,
    {{ value_at_first('context_number', 'event_number') }} as first_context_number,
    min(occurred_at) as started_at,
    max(occurred_at) filter (where event_type <> 'session_ended') as ended_at,
    max(occurred_at) filter (where event_type = 'session_ended') as closed_at,
    {{ value_at_last(
        "case when event_type <> 'session_ended' then event_rank end", 'event_number'
    ) }}
        as last_event_rank,
    max(event_number) filter (where event_type = 'item_presented') as last_presented_number,
    max(event_number) filter (
        where event_type in ('response_submitted', 'item_abandoned', 'reflection_skipped')
    ) as last_settled_number,
    min(occurred_at) filter (where is_activity) as first_activity_at,
    max(occurred_at) filter (where is_activity) as last_activity_at,
    count(*) filter (where is_activity) as event_count,
    count(*) filter (where event_type = 'response_submitted') as response_count,
    count(*) filter (where event_type = 'response_submitted' and is_correct) as correct_count,
    count(*) filter (where event_type = 'hint_requested') as hint_count,
    count(*) filter (where event_type = 'item_presented') as items_presented,
    count(*) filter (where event_type = 'item_abandoned') as items_abandoned,
    list(distinct item_number) filter (where event_type = 'response_submitted') as items,
    cast(sum(active_milliseconds) as bigint) as active_milliseconds
from typed
group by learner_number, course_number, session_start_number, activity_date
