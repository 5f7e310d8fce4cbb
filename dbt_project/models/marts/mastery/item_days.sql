{{ config(
    unique_key='activity_date',
    post_hook="{{ forget_touched_dates() }}",
) }}

with

responses as (
    select *, {{ local_date('responded_at') }} as activity_date
    from {{ ref('responses') }}
    where item_id is not null
)

select
    course_id,
    item_id,
    activity_date,
    count(*) as response_count,
    count(*) filter (where is_first_attempt) as first_try_count,
    count(*) filter (where is_first_attempt and is_correct) as first_try_correct_count,
    cast(coalesce(sum(round(1000 * response_seconds)), 0) as bigint) as seconds_sum_ms,
    count(response_seconds) as seconds_count,
    count(*) filter (where hints_used > 0) as hinted_count,
    {{ day_end('activity_date') }} as known_at
from responses
{% if is_incremental() %}
    where activity_date in (select activity_date from {{ touched_dates() }})
{% endif %}
group by course_id, item_id, activity_date
