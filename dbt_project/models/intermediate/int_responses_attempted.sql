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
visits as (
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
        event_types.event_type = 'response_submitted' as is_response
    from events
    inner join event_types on events.event_rank = event_types.event_rank
    inner join contexts on events.context_number = contexts.context_number
    where
        event_types.event_type = 'item_presented'
        or (event_types.event_type = 'response_submitted' and events.is_correct is not null)
),

preceded as (
    select
        *,
        {{ last_known('case when not is_response then event_number end') }} over item_before
            as presented_number,
        {{ last_known('case when is_response then event_number end') }} over item_before
            as answered_number,
        count(*) filter (where is_response) over item_before as responses_before
    from visits
    window item_before as (
        partition by learner_number, item_number order by event_number
        rows between unbounded preceding and 1 preceding
    )
),

-- Attempts are counted anew after a presentation and in another session.
responses as (
    select
        *,
        greatest(coalesce(presented_number, 0), coalesce(answered_number, 0)) as visited_number,
        answered_number is null
        or answered_number < coalesce(presented_number, 0)
        or answered_number < session_start_number as starts_over
    from preceded
    where is_response
),

counted as (
    select
        *,
        coalesce(attempt_number = 1, starts_over) as is_first_attempt,
        {{ last_known('case when starts_over then responses_before end') }} over item_so_far
            as responses_before_start,
        {{ last_known(
            'case when coalesce(attempt_number = 1, starts_over) then event_number end'
        ) }} over item_so_far as first_attempt_number
    from responses
    window item_so_far as (
        partition by learner_number, item_number order by event_number
        rows between unbounded preceding and current row
    )
),

helps as (
    select
        events.learner_number,
        events.event_number,
        contexts.item_number,
        contexts.module_number,
        event_types.event_type = 'hint_requested' as is_hint
    from events
    inner join event_types on events.event_rank = event_types.event_rank
    inner join contexts on events.context_number = contexts.context_number
    where event_types.event_type in ('hint_requested', 'explanation_viewed')
),

helps_of_items as (
    select
        learner_number,
        item_number,
        list(event_number) as helps,
        list(event_number) filter (where is_hint) as hints
    from helps
    group by learner_number, item_number
),

hints_of_modules as (
    select
        learner_number,
        module_number,
        list(event_number) as hints
    from helps
    where is_hint
    group by learner_number, module_number
)

select
    counted.learner_number,
    counted.event_number,
    counted.first_attempt_number,
    counted.session_start_number,
    counted.context_number,
    counted.event_id,
    counted.occurred_at,
    cast(
        coalesce(
            counted.attempt_number,
            counted.responses_before - counted.responses_before_start + 1
        ) as integer
    ) as attempt_number,
    counted.is_first_attempt,
    counted.is_correct,
    {{ count_between(
        'helps_of_items.helps', 'counted.visited_number', 'counted.event_number'
    ) }} = 0
        as is_unaided,
    {{ count_between('helps_of_items.hints', 'counted.visited_number', 'counted.event_number') }}
        as hints_used,
    {{ count_between('hints_of_modules.hints', '0', 'counted.event_number') }} as hints_in_module,
    counted.response_seconds
from counted
left join helps_of_items
    on counted.learner_number = helps_of_items.learner_number
    and counted.item_number = helps_of_items.item_number
left join hints_of_modules
    on counted.learner_number = hints_of_modules.learner_number
    and counted.module_number = hints_of_modules.module_number
