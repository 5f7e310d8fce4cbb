with

landed as (
    select *
    from {{ source('landing', 'oulad_registrations') }} as landed
    where {{ is_not_replaced('landed._source', 'landed._delivery_id') }}
),

months as (
    select * from {{ ref('oulad_presentation_months') }}
)

select
    _source as source,
    _delivery_id as delivery_id,
    _row as delivery_row,
    _landed_at as landed_at,
    code_module || '-' || code_presentation as course_id,
    {{ oulad_day('code_presentation', 'start_month', '0') }} as start_date,
    learner_id,
    date_registration as registration_day,
    date_unregistration as unregistration_day
from landed
inner join months on right(code_presentation, 1) = presentation_letter
