{# Which learners and which dates a run rebuilds. The model `events` lists the learners of newly
   landed events in its own transaction, so a run killed after it still rebuilds them next time;
   whoever started the run empties the list when all models are built. A full refresh lists all. #}

{% macro touched_learners() -%}
    {{ return(api.Relation.create(database=target.database, schema='landing', identifier='touched_learners')) }}
{%- endmacro %}

{% macro touched_dates() -%}
    {{ return(api.Relation.create(database=target.database, schema='landing', identifier='touched_dates')) }}
{%- endmacro %}

{% macro landed_deliveries() -%}
    {{ return(api.Relation.create(database=target.database, schema='landing', identifier='deliveries')) }}
{%- endmacro %}

{# Adds the learners of a query (learner_id, earliest_at, latest_at) to the list. #}
{% macro touch_learners(query) -%}
    create or replace temporary table learners_to_touch as
    select learner_id, min(earliest_at) as earliest_at, max(latest_at) as latest_at
    from (
        select learner_id, earliest_at, latest_at from {{ touched_learners() }}
        union all
        {{ query }}
    ) as learners
    group by learner_id;
    delete from {{ touched_learners() }};
    insert into {{ touched_learners() }} (learner_id, earliest_at, latest_at)
    select learner_id, earliest_at, latest_at from learners_to_touch;
{%- endmacro %}

{# Hook of `events`: a full refresh touches every learner. #}
{% macro touch_all_learners() -%}
    {% if not is_incremental() %}
        delete from {{ touched_learners() }};
        insert into {{ touched_learners() }} (learner_id, earliest_at, latest_at)
        select learner_id, min(occurred_at), max(known_at) from {{ this }} group by learner_id;
    {% endif %}
{%- endmacro %}

{# Hooks of `responses`: item_days is a sum over learners, so its dates to rebuild are those on
   which any response of a touched learner came, went or changed. A response depends on nothing
   later than itself: rows before the learner's earliest new event cannot differ. #}
{% macro remember_responses() -%}
    {% if is_incremental() %}
        create or replace temporary table responses_before as {{ touched_responses() }};
    {% endif %}
{%- endmacro %}

{% macro touch_dates() -%}
    {% if is_incremental() %}
        insert into {{ touched_dates() }} (activity_date)
        select {{ local_date('responded_at') }} as activity_date
        from (
            (select * from responses_before except {{ touched_responses() }})
            union all
            ({{ touched_responses() }} except select * from responses_before)
        ) as changed
        group by 1;
    {% else %}
        delete from {{ touched_dates() }};
        insert into {{ touched_dates() }} (activity_date)
        select {{ local_date('responded_at') }} as activity_date from {{ this }} group by 1;
    {% endif %}
{%- endmacro %}

{% macro touched_responses() -%}
    select
        responses.event_id, responses.course_id, responses.item_id, responses.responded_at,
        responses.is_first_attempt, responses.is_correct, responses.hints_used,
        responses.response_seconds
    from {{ this }} as responses
    inner join {{ touched_learners() }} as touched on responses.learner_id = touched.learner_id
    where responses.responded_at >= touched.earliest_at
{%- endmacro %}

{# Hook of `item_days`, in the transaction that rebuilt the dates. #}
{% macro forget_touched_dates() -%}
    delete from {{ touched_dates() }}
{%- endmacro %}

{# Run before all models: the tables above exist; and a mart that is missing although events are
   there would be built from the touched learners alone, so such a run is refused. #}
{% macro prepare_run() -%}
    {% if execute and flags.WHICH in ('run', 'build') %}
        {% do run_query("create schema if not exists landing") %}
        {% do run_query("create table if not exists " ~ touched_dates() ~ " (activity_date date)") %}
        {% if not flags.FULL_REFRESH %}
            {% do refuse_partial_marts() %}
        {% endif %}
    {% endif %}
{%- endmacro %}

{% macro refuse_partial_marts() -%}
    {% set events = adapter.get_relation(target.database, 'marts', 'events') %}
    {% if events is not none %}
        {% set missing = [] %}
        {% for node in graph.nodes.values() %}
            {% if node.resource_type == 'model' and node.schema == 'marts' and node.config.materialized == 'incremental' %}
                {% if adapter.get_relation(node.database, node.schema, node.alias) is none %}
                    {% do missing.append(node.name) %}
                {% endif %}
            {% endif %}
        {% endfor %}
        {% if missing %}
            {% set untouched = run_query(
                "select 1 from " ~ events ~ " where learner_id not in (select learner_id from "
                ~ touched_learners() ~ ") limit 1"
            ) %}
            {% if untouched | length %}
                {% do exceptions.raise_compiler_error(
                    "These marts do not exist yet and can only be built whole: "
                    ~ missing | sort | join(", ") ~ ". Run dbt with --full-refresh."
                ) %}
            {% endif %}
        {% endif %}
    {% endif %}
{%- endmacro %}
