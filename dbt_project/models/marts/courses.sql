{{ config(materialized='table') }}

with

courses as (
    select kept.*
    from {{ ref('stg_oulad__courses') }} as kept
    where {{ is_not_replaced('kept.source', 'kept.delivery_id') }}
),

months as (
    select * from {{ ref('oulad_presentation_months') }}
),

dated as (
    select
        courses.course_id,
        {{ oulad_day('courses.code_presentation', 'months.start_month', '0') }} as start_date,
        {{ oulad_day('courses.code_presentation', 'months.start_month', 'courses.day_count') }}
            as end_date
    from courses
    inner join months on right(courses.code_presentation, 1) = months.presentation_letter
)

select
    course_id,
    {{ day_start('min(start_date)') }} as starts_at,
    {{ day_start('max(end_date)') }} as ends_at,
    {{ day_start('min(start_date)') }} as known_at
from dated
group by course_id
