{{ config(
    materialized='incremental',
    incremental_strategy='replace_deliveries',
    unique_key='delivery_id',
) }}

select
    _source as source,
    _delivery_id as delivery_id,
    _row as delivery_row,
    _landed_at as landed_at,
    learner_id,
    id_assessment as assessment_id,
    date_submitted as submission_day,
    coalesce(is_banked, false) as is_banked,
    score
from {{ source('landing', 'oulad_submissions') }}
