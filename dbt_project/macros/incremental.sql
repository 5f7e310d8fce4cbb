{# The incremental strategies. A key whose new rows are none keeps no stale rows: what is deleted
   is listed by the run (touched_learners, touched_dates), not taken from the new rows. #}

{% macro get_incremental_replace_touched_sql(arguments) %}
    {%- set columns = get_quoted_csv(arguments['dest_columns'] | map(attribute='name')) -%}
    {%- set touched = {
        'learner_id': touched_learners(),
        'activity_date': touched_dates(),
    }[arguments['unique_key']] -%}
    delete from {{ arguments['target_relation'] }}
    where {{ arguments['unique_key'] }} in (select {{ arguments['unique_key'] }} from {{ touched }});

    insert into {{ arguments['target_relation'] }} ({{ columns }})
    select {{ columns }} from {{ arguments['temp_relation'] }};
{% endmacro %}

{# Of `events`: the model selects only events that are not there yet; their learners are touched. #}
{% macro get_incremental_append_new_events_sql(arguments) %}
    {%- set columns = get_quoted_csv(arguments['dest_columns'] | map(attribute='name')) -%}
    insert into {{ arguments['target_relation'] }} ({{ columns }})
    select {{ columns }} from {{ arguments['temp_relation'] }};

    {{ touch_learners(
        "select learner_id, min(occurred_at), max(known_at) from "
        ~ arguments['temp_relation'] ~ " group by learner_id"
    ) }}
{% endmacro %}

{# Of staging tables that keep what landed, each delivery until another one replaces it. A delivery
   read again after a killed run replaces itself. #}
{% macro get_incremental_keep_deliveries_sql(arguments) %}
    {%- set columns = get_quoted_csv(arguments['dest_columns'] | map(attribute='name')) -%}
    delete from {{ arguments['target_relation'] }} as kept
    where
        delivery_id in (select delivery_id from {{ arguments['temp_relation'] }})
        or exists (
            select 1
            from {{ landed_deliveries() }} as deliveries
            where deliveries.source = kept.source and deliveries.replaces = kept.delivery_id
        );

    insert into {{ arguments['target_relation'] }} ({{ columns }})
    select {{ columns }} from {{ arguments['temp_relation'] }};
{% endmacro %}

{# Hook of `events` after a full refresh, which inserts without looking for repeats: removes the
   rare ones. The first landed stays, as it does in incremental runs. #}
{% macro delete_repeated_events() -%}
    {% if not is_incremental() %}
        delete from {{ this }}
        where rowid in (
            select row_id
            from (
                select
                    rowid as row_id,
                    row_number() over (
                        partition by event_id order by landed_at, delivery_id, delivery_row
                    ) as landing_number
                from {{ this }}
                where event_id in (
                    select event_id from {{ this }} group by event_id having count(*) > 1
                )
            ) as repeated
            where landing_number > 1
        );
    {% endif %}
{%- endmacro %}
