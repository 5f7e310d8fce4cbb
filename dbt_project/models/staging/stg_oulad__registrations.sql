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
    code_module || '-' || code_presentation as course_id,
    code_presentation,
    date_registration as registration_day,
    date_unregistration as unregistration_day
from {{ source('landing', 'oulad_registrations') }}
