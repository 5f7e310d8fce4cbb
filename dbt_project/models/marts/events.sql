-- depends_on: {{ ref('int_oulad_coursework_dated') }}
{{ config(
    incremental_strategy='append_new_events',
    unique_key=none,
    pre_hook="{{ delete_superseded_events() }}",
    post_hook=["{{ delete_repeated_events() }}", "{{ touch_all_learners() }}"],
) }}

select
    event_id,
    source,
    delivery_id,
    delivery_row,
    learner_id,
    event_type,
    occurred_at,
    known_at,
    received_at,
    landed_at,
    course_id,
    module_id,
    item_id,
    skill_id,
    other_skill_ids,
    session_id_of_source,
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
    actor,
    is_activity,
    event_count,
    attributes
from {{ ref('int_events_unioned') }} as landed
{% if is_incremental() %}
    where not exists (select 1 from {{ this }} as known where known.event_id = landed.event_id)
    qualify
        row_number() over (
            partition by event_id order by landed_at, delivery_id, delivery_row
        ) = 1
{% endif %}
