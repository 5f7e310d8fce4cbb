-- Sums, not events: a delivery that replaces an earlier one of its path replaces its rows.
with

clicks as (
    select *
    from {{ source('landing', 'oulad_clicks') }} as landed
    where {{ is_not_replaced('landed._source', 'landed._delivery_id') }}
),

months as (
    select * from {{ ref('oulad_presentation_months') }}
),

crosswalk as (
    select * from {{ ref('event_crosswalk') }}
    where source_format = 'oulad' and source_verb = 'clicks'
),

daily as (
    select
        _source as source,
        _delivery_id as delivery_id,
        _path as path,
        learner_id,
        code_module,
        code_presentation,
        id_site,
        date as day_number,
        min(_row) as delivery_row,
        min(_landed_at) as landed_at,
        cast(sum(sum_click) as bigint) as click_count
    from clicks
    group by
        _source, _delivery_id, _path, learner_id, code_module, code_presentation, id_site, date
)

select
    {{ hashed_uuid([
        'daily.source', "'clicks'", 'daily.path', 'daily.learner_id', 'daily.code_module',
        'daily.code_presentation', 'daily.id_site', 'daily.day_number',
    ]) }} as event_id,
    daily.source,
    daily.delivery_id,
    daily.delivery_row,
    daily.learner_id,
    crosswalk.source_verb,
    crosswalk.event_type,
    {{ oulad_day('daily.code_presentation', 'months.start_month', 'daily.day_number') }}
        as occurred_on,
    daily.landed_at,
    daily.code_module || '-' || daily.code_presentation as course_id,
    daily.id_site as item_id,
    daily.click_count as event_count
from daily
inner join months on right(daily.code_presentation, 1) = months.presentation_letter
cross join crosswalk
