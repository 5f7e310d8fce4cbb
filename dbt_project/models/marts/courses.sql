{{ config(materialized='table') }}

with

courses as (
    select
        course_id,
        start_date,
        cast(start_date + interval '1' day * last_day as date) as end_date
    from {{ ref('int_oulad_rows_kept') }}
    where row_kind = 'course'
)

select
    course_id,
    {{ day_start('min(start_date)') }} as starts_at,
    {{ day_start('max(end_date)') }} as ends_at,
    {{ day_start('min(start_date)') }} as known_at
from courses
group by course_id
