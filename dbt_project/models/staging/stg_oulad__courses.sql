with

landed as (
    select *
    from {{ source('landing', 'oulad_courses') }} as landed
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
    module_presentation_length as day_count
from landed
inner join months on right(code_presentation, 1) = presentation_letter
