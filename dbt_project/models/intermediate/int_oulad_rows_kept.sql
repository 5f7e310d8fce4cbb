{{ config(materialized='incremental', incremental_strategy='keep_deliveries') }}

-- Rows of the small tables, kept because those that depend on each other may land in other hours.
with

assessments as (
    select * from {{ ref('stg_oulad__assessments') }}
),

registrations as (
    select * from {{ ref('stg_oulad__registrations') }}
),

submissions as (
    select * from {{ ref('stg_oulad__submissions') }}
),

courses as (
    select * from {{ ref('stg_oulad__courses') }}
)

select
    'assessment' as row_kind,
    source,
    delivery_id,
    delivery_row,
    landed_at,
    course_id,
    start_date,
    cast(null as uuid) as learner_id,
    assessment_id,
    due_day as first_day,
    cast(null as integer) as last_day,
    cast(null as boolean) as is_banked,
    cast(null as double) as score
from assessments
union all
select
    'registration' as row_kind,
    source,
    delivery_id,
    delivery_row,
    landed_at,
    course_id,
    start_date,
    learner_id,
    cast(null as varchar) as assessment_id,
    registration_day as first_day,
    unregistration_day as last_day,
    cast(null as boolean) as is_banked,
    cast(null as double) as score
from registrations
union all
select
    'submission' as row_kind,
    source,
    delivery_id,
    delivery_row,
    landed_at,
    cast(null as varchar) as course_id,
    cast(null as date) as start_date,
    learner_id,
    assessment_id,
    submission_day as first_day,
    cast(null as integer) as last_day,
    is_banked,
    score
from submissions
union all
select
    'course' as row_kind,
    source,
    delivery_id,
    delivery_row,
    landed_at,
    course_id,
    start_date,
    cast(null as uuid) as learner_id,
    cast(null as varchar) as assessment_id,
    0 as first_day,
    day_count as last_day,
    cast(null as boolean) as is_banked,
    cast(null as double) as score
from courses
