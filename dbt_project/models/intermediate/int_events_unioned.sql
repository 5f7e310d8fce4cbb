{{ config(materialized='view') }}

-- One shape for all sources. A verb without a known event type is counted in unmapped_verbs.
with

canonical as (
    select * from {{ ref('stg_canonical__events') }}
),

cloze as (
    select * from {{ ref('stg_statistics_cloze__trials') }}
),

oulad as (
    select
        event_id, source, delivery_id, delivery_row, learner_id, source_verb, event_type,
        occurred_on, cast(null as date) as due_on, landed_at, course_id, item_id,
        cast(null as double) as score, event_count, 'learner' as actor
    from {{ ref('stg_oulad__clicks') }}
    union all
    select
        event_id, source, delivery_id, delivery_row, learner_id, source_verb, event_type,
        occurred_on, due_on, landed_at, course_id, item_id, score, 1 as event_count, actor
    from {{ ref('int_oulad_coursework_dated') }}
),

-- Where only days are known, an event stands at the start of its day.
oulad_events as (
    select
        event_id,
        source,
        delivery_id,
        delivery_row,
        learner_id,
        source_verb,
        event_type,
        {{ day_start('occurred_on') }} as occurred_at,
        cast(null as timestamp) as received_at,
        landed_at,
        course_id,
        cast(null as varchar) as module_id,
        item_id,
        cast(null as varchar) as skill_id,
        cast(null as varchar) as other_skill_ids,
        cast(null as varchar) as session_id_of_source,
        cast(null as integer) as attempt_number,
        cast(null as boolean) as is_correct,
        score,
        case when score is not null then cast(100 as double) end as score_max,
        cast(null as double) as response_seconds,
        cast(null as integer) as hint_level,
        cast(null as integer) as hint_level_max,
        cast(null as integer) as hints_available,
        {{ day_start('due_on') }} as due_at,
        'day' as time_precision,
        cast(null as varchar) as error_type,
        cast(null as double) as self_report,
        cast(null as varchar) as text_flag,
        actor,
        event_count,
        cast(null as varchar) as attributes
    from oulad
),

unioned as (
    select * from canonical
    union all
    select * from cloze
    union all
    select * from oulad_events
),

event_types as (
    select * from {{ ref('event_types') }}
)

select
    unioned.event_id,
    unioned.source,
    unioned.delivery_id,
    unioned.delivery_row,
    unioned.learner_id,
    unioned.event_type,
    unioned.occurred_at,
    case
        when unioned.time_precision = 'day'
            then {{ day_end(local_date('unioned.occurred_at')) }}
        else unioned.occurred_at
    end as known_at,
    unioned.received_at,
    unioned.landed_at,
    unioned.course_id,
    unioned.module_id,
    unioned.item_id,
    unioned.skill_id,
    unioned.other_skill_ids,
    unioned.session_id_of_source,
    unioned.attempt_number,
    unioned.is_correct,
    unioned.score,
    unioned.score_max,
    unioned.response_seconds,
    unioned.hint_level,
    unioned.hint_level_max,
    unioned.hints_available,
    unioned.due_at,
    unioned.time_precision,
    unioned.error_type,
    unioned.self_report,
    unioned.text_flag,
    unioned.actor,
    coalesce(event_types.is_activity and unioned.actor = 'learner', false) as is_activity,
    unioned.event_count,
    unioned.attributes
from unioned
inner join event_types on unioned.event_type = event_types.event_type
