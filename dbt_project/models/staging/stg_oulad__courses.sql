{{ config(
    materialized='incremental',
    incremental_strategy='replace_deliveries',
    unique_key='delivery_id',
) }}

-- Kept, because the hour reads only what landed in it.
select
    _source as source,
    _delivery_id as delivery_id,
    _row as delivery_row,
    _landed_at as landed_at,
    code_module || '-' || code_presentation as course_id,
    code_presentation,
    module_presentation_length as day_count
from {{ source('landing', 'oulad_courses') }}
