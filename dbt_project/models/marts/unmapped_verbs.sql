{{ config(incremental_strategy='delete+insert', unique_key='delivery_id') }}

with

canonical as (
    select source, delivery_id, landed_at, source_verb, occurred_at
    from {{ ref('stg_canonical__events') }}
    where event_type is null
),

cloze as (
    select source, delivery_id, landed_at, source_verb, occurred_at
    from {{ ref('stg_statistics_cloze__trials') }}
    where event_type is null
),

unmapped as (
    select * from canonical
    union all
    select * from cloze
)

select
    source,
    delivery_id,
    coalesce(source_verb, '') as source_verb,
    count(*) as row_count,
    min(occurred_at) as first_occurred_at,
    max(occurred_at) as last_occurred_at,
    max(landed_at) as known_at
from unmapped
group by source, delivery_id, coalesce(source_verb, '')
