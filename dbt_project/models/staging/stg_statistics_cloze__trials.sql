with

trials as (
    select * from {{ source('landing', 'statistics_cloze_trials') }}
),

crosswalk as (
    select * from {{ ref('event_crosswalk') }} where source_format = 'statistics_cloze'
)

select
    {{ hashed_uuid([
        'trials._source', 'trials.learner_id', 'trials.time', 'trials.problem_name',
        'trials.problem_view',
    ]) }} as event_id,
    trials._source as source,
    trials._delivery_id as delivery_id,
    trials._row as delivery_row,
    trials.learner_id,
    trials.outcome as source_verb,
    crosswalk.event_type,
    trials.time as occurred_at,
    cast(null as timestamp) as received_at,
    trials._landed_at as landed_at,
    'default' as course_id,
    trials.level_unitname as module_id,
    coalesce(trials.kc_default, trials.problem_name) as item_id,
    trials.kc_cluster as skill_id,
    cast(null as varchar) as other_skill_ids,
    trials.session_id as session_id_of_source,
    case when crosswalk.event_type = 'response_submitted' then 1 end as attempt_number,
    case
        when crosswalk.event_type = 'response_submitted' then trials.outcome = 'CORRECT'
    end as is_correct,
    cast(null as double) as score,
    cast(null as double) as score_max,
    case
        when crosswalk.event_type = 'response_submitted' then trials.end_latency_ms / 1000.0
    end as response_seconds,
    cast(null as integer) as hint_level,
    cast(null as integer) as hint_level_max,
    cast(null as integer) as hints_available,
    cast(null as timestamp) as due_at,
    'second' as time_precision,
    case
        when crosswalk.event_type = 'response_submitted' and trials.input = '[timeout]'
            then 'timeout'
    end as error_type,
    cast(null as double) as self_report,
    cast(null as varchar) as text_flag,
    'learner' as actor,
    cast(1 as bigint) as event_count,
    cast(null as varchar) as attributes
from trials
left join crosswalk on trials.outcome = crosswalk.source_verb
