{# Values that are no probability; null is allowed. #}
{% test is_probability(model, column_name) %}
    select {{ column_name }}
    from {{ model }}
    where not ({{ column_name }} >= 0 and {{ column_name }} <= 1)
{% endtest %}
