{{ config(materialized='slice') }}

-- The history of the learners that this run rebuilds; nothing after this reads another learner.
select *
from {{ ref('events') }}
{% if not flags.FULL_REFRESH %}
    where learner_id in (select learner_id from {{ touched_learners() }})
{% endif %}
