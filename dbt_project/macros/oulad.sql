{# The calendar day of an OULAD day number, which counts from the start of a presentation such as
   2013J: the first of the month that its letter stands for. #}
{% macro oulad_day(presentation, start_month, day_number) -%}
    cast(
        make_date(cast(left({{ presentation }}, 4) as integer), {{ start_month }}, 1)
        + interval '1' day * {{ day_number }}
        as date
    )
{%- endmacro %}

{# Whether a row's delivery is still the last one of its path. #}
{% macro is_not_replaced(source_name, delivery_id) -%}
    not exists (
        select 1
        from {{ source('landing', 'deliveries') }} as deliveries
        where deliveries.source = {{ source_name }} and deliveries.replaces = {{ delivery_id }}
    )
{%- endmacro %}

{# Hook of `events`, before new events are added: takes out the events of deliveries that a pending
   one replaces, and what changed assessment dates no longer support. Their learners are touched. #}
{% macro delete_superseded_events() -%}
    {% if is_incremental() %}
        create or replace temporary table superseded_events as
        select event_id, learner_id, occurred_at, known_at
        from {{ this }} as events
        where exists (
            select 1
            from {{ landed_deliveries() }} as deliveries
            where
                deliveries.format = 'oulad'
                and deliveries.state = 'pending'
                and deliveries.source = events.source
                and deliveries.replaces = events.delivery_id
        );

        insert into superseded_events
        select event_id, learner_id, occurred_at, known_at
        from {{ this }} as events
        where
            event_type in ('assignment_due', 'assignment_submitted', 'assessment_scored')
            and source in (
                select deliveries.source
                from {{ landed_deliveries() }} as deliveries
                where
                    deliveries.format = 'oulad'
                    and deliveries.table_name = 'assessments'
                    and deliveries.state = 'pending'
                    and deliveries.replaces is not null
            )
            and event_id not in (select event_id from superseded_events)
            and event_id not in (select event_id from {{ ref('int_oulad_coursework_dated') }});

        delete from {{ this }} where event_id in (select event_id from superseded_events);

        {{ touch_learners(
            "select learner_id, min(occurred_at), max(known_at) from superseded_events group by learner_id"
        ) }}
    {% endif %}
{%- endmacro %}
