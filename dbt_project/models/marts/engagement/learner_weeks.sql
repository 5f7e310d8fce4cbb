with

days as (
    select *
    from {{ ref('learner_days') }}
    {% if is_incremental() %}
        where learner_id in (select learner_id from {{ touched_learners() }})
    {% endif %}
),

weeks as (
    select
        learner_id,
        course_id,
        cast(date_trunc('week', activity_date) as date) as week_start_date,
        count(*) as active_days,
        cast(sum(event_count) as bigint) as event_count,
        sum(active_seconds) as active_seconds,
        cast(sum(response_count) as bigint) as response_count,
        cast(sum(correct_count) as bigint) as correct_count,
        cast(sum(item_count) as bigint) as item_count
    from days
    group by learner_id, course_id, cast(date_trunc('week', activity_date) as date)
),

compared as (
    select
        *,
        min(week_start_date) over learner_course <= week_start_date - interval '28' day
            as has_4_weeks_before,
        count(*) over last_4_weeks as weeks_of_last_4,
        coalesce(sum(event_count) over last_4_weeks, 0) as event_count_of_last_4
    from weeks
    window
        learner_course as (
            partition by learner_id, course_id order by week_start_date
            rows between unbounded preceding and current row
        ),
        last_4_weeks as (
            partition by learner_id, course_id order by week_start_date
            range between interval '28' day preceding and interval '7' day preceding
        )
)

select
    learner_id,
    course_id,
    week_start_date,
    active_days,
    event_count,
    active_seconds,
    response_count,
    correct_count,
    item_count,
    case when has_4_weeks_before then weeks_of_last_4 end as active_weeks_of_last_4,
    cast(
        case when has_4_weeks_before then event_count_of_last_4 / 4.0 end as double
    ) as mean_event_count_of_last_4,
    {{ week_end('week_start_date') }} as known_at
from compared
