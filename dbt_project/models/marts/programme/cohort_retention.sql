{{ config(materialized='view') }}

with

learner_weeks as (
    select * from {{ ref('learner_weeks') }}
),

starts as (
    select
        learner_id,
        course_id,
        min(week_start_date) as cohort_start_date
    from learner_weeks
    group by learner_id, course_id
),

cohorts as (
    select
        course_id,
        cohort_start_date,
        count(*) as learner_count
    from starts
    group by course_id, cohort_start_date
),

active_weeks as (
    select
        learner_weeks.course_id,
        starts.cohort_start_date,
        learner_weeks.week_start_date,
        lag(learner_weeks.week_start_date) over (
            partition by learner_weeks.learner_id, learner_weeks.course_id
            order by learner_weeks.week_start_date
        ) as previous_week_start_date
    from learner_weeks
    inner join starts
        on
            learner_weeks.learner_id = starts.learner_id
            and learner_weeks.course_id = starts.course_id
),

cohort_weeks as (
    select
        course_id,
        cohort_start_date,
        week_start_date,
        count(*) as active_count,
        count(*) filter (
            where previous_week_start_date + interval '7' day >= week_start_date
        ) as returned_count
    from active_weeks
    group by course_id, cohort_start_date, week_start_date
),

course_weeks as (
    select distinct
        course_id,
        week_start_date
    from learner_weeks
),

every_week as (
    select
        cohorts.course_id,
        cohorts.cohort_start_date,
        course_weeks.week_start_date,
        cohorts.learner_count,
        coalesce(now.active_count, 0) as active_count,
        coalesce(now.returned_count, 0) as returned_count,
        coalesce(before.active_count, 0) as active_count_of_last_week
    from cohorts
    inner join course_weeks
        on
            cohorts.course_id = course_weeks.course_id
            and cohorts.cohort_start_date <= course_weeks.week_start_date
    left join cohort_weeks as now
        on
            cohorts.course_id = now.course_id
            and cohorts.cohort_start_date = now.cohort_start_date
            and course_weeks.week_start_date = now.week_start_date
    left join cohort_weeks as before
        on
            cohorts.course_id = before.course_id
            and cohorts.cohort_start_date = before.cohort_start_date
            and course_weeks.week_start_date - interval '7' day = before.week_start_date
)

select
    course_id,
    cohort_start_date,
    week_start_date,
    cast(
        {{ milliseconds_between('cohort_start_date', 'week_start_date') }} / (7 * 86400000)
        as bigint
    ) as week_number,
    learner_count,
    active_count,
    active_count_of_last_week,
    returned_count,
    active_count + active_count_of_last_week - returned_count as surviving_count,
    {{ week_end('week_start_date') }} as known_at
from every_week
