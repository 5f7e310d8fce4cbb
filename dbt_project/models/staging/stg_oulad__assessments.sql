{{ config(
    materialized='incremental',
    incremental_strategy='replace_deliveries',
    unique_key='delivery_id',
) }}

-- Kept, because the files that depend on each other need not land in the same hour.
select
    _source as source,
    _delivery_id as delivery_id,
    _row as delivery_row,
    _landed_at as landed_at,
    code_module || '-' || code_presentation as course_id,
    code_presentation,
    id_assessment as assessment_id,
    assessment_type,
    date as due_day
from {{ source('landing', 'oulad_assessments') }}
