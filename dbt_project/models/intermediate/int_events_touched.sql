{{ config(materialized='slice') }}

-- The history of the learners that this run rebuilds; nothing after this reads another learner.
select
    event_id,
    source,
    learner_id,
    event_type,
    occurred_at,
    known_at,
    course_id,
    module_id,
    item_id,
    skill_id,
    other_skill_ids,
    attempt_number,
    is_correct,
    score,
    score_max,
    response_seconds,
    time_precision,
    error_type,
    is_activity,
    event_count
from {{ ref('events') }}
{% if not flags.FULL_REFRESH %}
    where learner_id in (select learner_id from {{ touched_learners() }})
{% endif %}
