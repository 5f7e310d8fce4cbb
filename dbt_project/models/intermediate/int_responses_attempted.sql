-- Which try at the item is a response, and was there help since the item was presented?
with

events as (
    select * from {{ ref('int_events_sessioned') }}
),

event_types as (
    select * from {{ ref('event_types') }}
),

contexts as (
    select * from {{ ref('int_contexts_numbered') }}
),

-- A response without an item is an item of its own.
item_events as (
    select
        events.learner_number,
        events.event_number,
        events.session_start_number,
        events.context_number,
        events.event_id,
        events.occurred_at,
        events.is_correct,
        events.attempt_number,
        events.response_seconds,
        contexts.module_number,
        coalesce(contexts.item_number, -events.event_number) as item_number,
        event_types.event_type = 'item_presented' as is_presentation,
        event_types.event_type = 'hint_requested' as is_hint,
        event_types.event_type in ('hint_requested', 'explanation_viewed') as is_help,
        event_types.event_type = 'response_submitted' as is_response
    from events
    inner join event_types on events.event_rank = event_types.event_rank
    inner join contexts on events.context_number = contexts.context_number
    where
        event_types.event_type in ('item_presented', 'hint_requested', 'explanation_viewed')
        or (event_types.event_type = 'response_submitted' and events.is_correct is not null)
),

helped as (
    select
        *,
        count(*) filter (where is_hint) over module_so_far as hints_in_module,
        count(*) filter (where is_hint) over item_so_far as hints_on_item,
        count(*) filter (where is_help) over item_so_far as helps_on_item
    from item_events
    window
        module_so_far as (
            partition by learner_number, module_number order by event_number
            rows between unbounded preceding and current row
        ),
        item_so_far as (
            partition by learner_number, item_number order by event_number
            rows between unbounded preceding and current row
        )
),

-- Presentations and responses alone: help counts from the one before.
visited as (
    select
        *,
        hints_on_item - coalesce(lag(hints_on_item) over item, 0) as hints_used,
        helps_on_item - coalesce(lag(helps_on_item) over item, 0) = 0 as is_unaided,
        coalesce(lag(is_presentation) over item, true)
        or lag(session_start_number) over item <> session_start_number as starts_over,
        count(*) filter (where is_response) over item as responses_on_item
    from helped
    where is_presentation or is_response
    window item as (partition by learner_number, item_number order by event_number)
),

counted as (
    select
        *,
        coalesce(attempt_number = 1, starts_over) as is_first_attempt,
        max(case when starts_over then responses_on_item end) over item_so_far as starts_over_at
    from visited
    where is_response
    window item_so_far as (
        partition by learner_number, item_number order by event_number
        rows between unbounded preceding and current row
    )
)

select
    learner_number,
    event_number,
    max(case when is_first_attempt then event_number end) over (
        partition by learner_number, item_number order by event_number
        rows between unbounded preceding and current row
    ) as first_attempt_number,
    session_start_number,
    context_number,
    event_id,
    occurred_at,
    cast(
        coalesce(attempt_number, responses_on_item - starts_over_at + 1) as integer
    ) as attempt_number,
    is_first_attempt,
    is_correct,
    is_unaided,
    cast(hints_used as integer) as hints_used,
    cast(hints_in_module as integer) as hints_in_module,
    response_seconds
from counted
