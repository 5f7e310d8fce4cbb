{# One measurement constant (seed measurement_constants) for all skills. #}
{% macro constant(name) -%}
    (
        select constants.value
        from {{ ref('measurement_constants') }} as constants
        where constants.constant = '{{ name }}' and constants.skill_id = '*'
    )
{%- endmacro %}
