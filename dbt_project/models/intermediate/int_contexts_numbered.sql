-- What an event can be about: one row for each combination of these texts that occurs.
with

contexts as (
    select source, course_id, module_id, item_id, skill_id, other_skill_ids, error_type
    from {{ ref('int_events_touched') }}
    where time_precision = 'second'
    group by source, course_id, module_id, item_id, skill_id, other_skill_ids, error_type
)

select
    cast(row_number() over () as integer) as context_number,
    cast(dense_rank() over (order by course_id) as integer) as course_number,
    cast(dense_rank() over (order by course_id, module_id nulls last) as integer) as module_number,
    case
        when item_id is not null
            then cast(dense_rank() over (order by course_id, item_id nulls last) as integer)
    end as item_number,
    source,
    course_id,
    module_id,
    item_id,
    skill_id,
    other_skill_ids,
    error_type
from contexts
