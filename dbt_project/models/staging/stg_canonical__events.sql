with

landed_events as (
    select * from {{ source('landing', 'canonical_events') }}
),

sources as (
    select * from {{ source('landing', 'sources') }}
),

crosswalk as (
    select * from {{ ref('event_crosswalk') }} where source_format = 'canonical'
),

timed as (
    select
        landed_events.*,
        crosswalk.event_type as mapped_event_type,
        coalesce(sources.time_precision, 'second') as time_precision,
        case
            when sources.time_precision = 'day'
                then {{ date_in_zone('landed_events.occurred_at', 'sources.timezone') }}
        end as occurred_on
    from landed_events
    left join sources on landed_events._source = sources.source
    left join crosswalk on landed_events.event_type = crosswalk.source_verb
)

select
    {{ hashed_uuid(['_source', 'source_event_id']) }} as event_id,
    _source as source,
    _delivery_id as delivery_id,
    _row as delivery_row,
    learner_id,
    event_type as source_verb,
    mapped_event_type as event_type,
    case
        when time_precision = 'day' then {{ day_start('occurred_on') }} else occurred_at
    end as occurred_at,
    received_at,
    _landed_at as landed_at,
    coalesce(nullif(course_id, ''), 'default') as course_id,
    nullif(module_id, '') as module_id,
    nullif(item_id, '') as item_id,
    {{ first_skill('skill_id') }} as skill_id,
    {{ other_skills('skill_id') }} as other_skill_ids,
    session_id as session_id_of_source,
    attempt_number,
    is_correct,
    score,
    score_max,
    response_seconds,
    hint_level,
    hint_level_max,
    hints_available,
    due_at,
    time_precision,
    error_type,
    self_report,
    text_flag,
    coalesce(actor, 'learner') as actor,
    coalesce(event_count, 1) as event_count,
    attributes
from timed
