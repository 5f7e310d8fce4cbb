{{ config(
    pre_hook="{{ remember_responses() }}",
    post_hook="{{ touch_dates() }}",
) }}

with

attempts as (
    select * from {{ ref('int_responses_attempted') }}
),

opportunities as (
    select * from {{ ref('int_opportunities_assessed') }} where is_primary
),

learners as (
    select * from {{ ref('int_learners_numbered') }}
),

contexts as (
    select * from {{ ref('int_contexts_numbered') }}
),

sessions as (
    select session_id, learner_id, first_event_number
    from {{ ref('learning_sessions') }}
    {% if is_incremental() %}
        where learner_id in (select learner_id from {{ touched_learners() }})
    {% endif %}
),

-- Five decimals, so that sums are exact in any order.
timed as (
    select
        attempts.*,
        contexts.course_number,
        round(ln(1 + attempts.response_seconds), 5) as log_seconds
    from attempts
    inner join contexts on attempts.context_number = contexts.context_number
),

running as (
    select
        *,
        row_number() over learner_course as response_number,
        count(*) filter (where not is_correct) over last_5 as wrong_of_last_5,
        count(*) filter (where is_correct) over last_20 as correct_of_last_20,
        count(*) filter (where is_correct) over previous_40 as correct_of_previous_40,
        count(log_seconds) over before as seconds_count,
        sum(round(100000 * log_seconds)) over before as log_sum,
        sum(round(100000 * log_seconds) * round(100000 * log_seconds)) over before
            as log_square_sum
    from timed
    window
        learner_course as (partition by learner_number, course_number order by event_number),
        last_5 as (
            partition by learner_number, course_number order by event_number
            rows between 4 preceding and current row
        ),
        last_20 as (
            partition by learner_number, course_number order by event_number
            rows between 19 preceding and current row
        ),
        previous_40 as (
            partition by learner_number, course_number order by event_number
            rows between 59 preceding and 20 preceding
        ),
        before as (
            partition by learner_number, course_number order by event_number
            rows between 20 preceding and 1 preceding
        )
),

compared as (
    select
        *,
        log_sum / (100000 * nullif(seconds_count, 0)) as log_mean,
        sqrt(
            (seconds_count * log_square_sum - log_sum * log_sum)
            / nullif(seconds_count * (seconds_count - 1), 0)
        ) / 100000 as log_stddev
    from running
)

select
    compared.event_id,
    learners.learner_id,
    contexts.course_id,
    contexts.module_id,
    contexts.item_id,
    contexts.skill_id,
    sessions.session_id,
    contexts.source,
    compared.occurred_at as responded_at,
    compared.occurred_at as known_at,
    compared.response_number,
    opportunities.opportunity,
    compared.attempt_number,
    compared.is_first_attempt,
    compared.is_correct,
    compared.is_unaided,
    compared.hints_used,
    compared.response_seconds,
    contexts.error_type,
    opportunities.consecutive_wrong,
    opportunities.consecutive_correct,
    opportunities.consecutive_unaided_correct,
    opportunities.longest_correct_run,
    opportunities.misses_of_last_10,
    opportunities.first_tries_of_last_10,
    opportunities.unaided_correct_of_last_3,
    compared.wrong_of_last_5,
    compared.correct_of_last_20 / cast(least(compared.response_number, 20) as double)
        as accuracy_of_last_20,
    case
        when compared.response_number >= 60 then compared.correct_of_previous_40 / 40.0
    end as accuracy_of_previous_40,
    compared.log_mean as log_seconds_mean_of_last_20,
    compared.log_stddev as log_seconds_stddev_of_last_20,
    compared.seconds_count as log_seconds_count_of_last_20,
    compared.log_seconds,
    case
        when compared.seconds_count >= 10
            then (compared.log_seconds - compared.log_mean) / nullif(compared.log_stddev, 0)
    end as log_seconds_z,
    compared.hints_in_module,
    case
        when compared.is_first_attempt then opportunities.p_mastery_before
        else opportunities.p_mastery_after
    end as p_mastery_before,
    opportunities.p_mastery_after,
    opportunities.p_mastery_max
from compared
inner join learners on compared.learner_number = learners.learner_number
inner join contexts on compared.context_number = contexts.context_number
left join opportunities
    on compared.learner_number = opportunities.learner_number
    and compared.first_attempt_number = opportunities.event_number
left join sessions
    on learners.learner_id = sessions.learner_id
    and compared.session_start_number = sessions.first_event_number
