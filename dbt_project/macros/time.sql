{# Calendar and lengths of time. Timestamps are UTC without a zone; days are cut in the programme's
   zone. UTC compiles to plain casts: a conversion through the zone database costs seconds on
   30 million rows. #}

{% macro programme_zone() -%}
    {{ return(env_var('TUTORFLOW_TIMEZONE', 'UTC')) }}
{%- endmacro %}

{# The programme's calendar day of a UTC timestamp; `zone` may be another zone's SQL. #}
{% macro local_date(instant) -%}
    {%- if programme_zone() in ('UTC', 'Etc/UTC') -%}
        cast({{ instant }} as date)
    {%- else -%}
        cast(timezone('{{ programme_zone() }}', timezone('UTC', {{ instant }})) as date)
    {%- endif -%}
{%- endmacro %}

{# The calendar day of a UTC timestamp in the zone that a column names; null = the programme's. #}
{% macro date_in_zone(instant, zone) -%}
    cast(
        timezone(coalesce({{ zone }}, '{{ programme_zone() }}'), timezone('UTC', {{ instant }}))
        as date
    )
{%- endmacro %}

{# The first instant of a programme day, as a UTC timestamp. #}
{% macro day_start(day) -%}
    {%- if programme_zone() in ('UTC', 'Etc/UTC') -%}
        cast({{ day }} as timestamp)
    {%- else -%}
        timezone('UTC', timezone('{{ programme_zone() }}', cast({{ day }} as timestamp)))
    {%- endif -%}
{%- endmacro %}

{# The last instant (microsecond) of a programme day: a tick that ends at midnight knows the day. #}
{% macro day_end(day) -%}
    ({{ day_start(day ~ " + interval '1' day") }} - interval '1' microsecond)
{%- endmacro %}

{# The last instant of the ISO week that starts on the day. #}
{% macro week_end(week_start) -%}
    ({{ day_start(week_start ~ " + interval '7' day") }} - interval '1' microsecond)
{%- endmacro %}

{# Whole milliseconds between two timestamps. #}
{% macro milliseconds_between(earlier, later) -%}
    (epoch_ms({{ later }}) - epoch_ms({{ earlier }}))
{%- endmacro %}

{# A length of time given as a number. #}
{% macro minutes(number) -%}
    (interval '1' minute * cast({{ number }} as bigint))
{%- endmacro %}

{% macro milliseconds(number) -%}
    (interval '1' millisecond * cast({{ number }} as bigint))
{%- endmacro %}
