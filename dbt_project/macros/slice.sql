{# A view on a full refresh, when it shows everything; otherwise a table: what the run reads several
   times is then cut once from the history. #}
{% materialization slice, adapter='duckdb' %}
    {% if flags.FULL_REFRESH %}
        {{ return(materialization_view_default()) }}
    {% else %}
        {{ return(materialization_table_duckdb()) }}
    {% endif %}
{% endmaterialization %}
