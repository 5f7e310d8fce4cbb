-- The skills of each context, with the parameters of knowledge tracing.
with

contexts as (
    select * from {{ ref('int_contexts_numbered') }}
),

constants as (
    select * from {{ ref('measurement_constants') }}
),

listed as (
    select context_number, course_id, skill_id, skill_id as primary_skill_id
    from contexts
    where skill_id is not null
    union all
    select
        context_number,
        course_id,
        {{ each_skill('other_skill_ids') }} as skill_id,
        skill_id as primary_skill_id
    from contexts
    where other_skill_ids is not null
),

skills as (
    select
        context_number,
        course_id,
        skill_id,
        skill_id = primary_skill_id as is_primary
    from listed
    where skill_id <> ''
    group by context_number, course_id, skill_id, primary_skill_id
)

select
    skills.context_number,
    cast(
        dense_rank() over (order by skills.course_id, skills.skill_id) as integer
    ) as skill_number,
    skills.course_id,
    skills.skill_id,
    skills.is_primary,
    {% for parameter in ['prior', 'learn', 'guess', 'slip', 'forget', 'cap'] %}
        coalesce(
            {{ parameter }}_of_skill.value, {{ constant('bkt_' ~ parameter) }}
        ) as {{ parameter }}{{ ',' if not loop.last }}
    {% endfor %}
from skills
{% for parameter in ['prior', 'learn', 'guess', 'slip', 'forget', 'cap'] %}
    left join constants as {{ parameter }}_of_skill
        on {{ parameter }}_of_skill.constant = 'bkt_{{ parameter }}'
        and {{ parameter }}_of_skill.skill_id = skills.skill_id
{% endfor %}
