with

opportunities as (
    select * from {{ ref('int_opportunities_assessed') }}
),

learners as (
    select * from {{ ref('int_learners_numbered') }}
),

skills as (
    select skill_number, course_id, skill_id
    from {{ ref('int_skills_numbered') }}
    group by skill_number, course_id, skill_id
),

days as (
    select
        learner_number,
        skill_number,
        activity_date,
        max(opportunity) as opportunities,
        max(correct_count) as correct_count,
        {{ value_at_last('p_mastery_after', 'opportunity') }} as p_mastery,
        {{ value_at_first('p_mastery_before', 'opportunity') }} as p_mastery_start,
        max(p_mastery_max) as p_mastery_max,
        max(longest_correct_run) as longest_correct_run
    from opportunities
    group by learner_number, skill_number, activity_date
)

select
    learners.learner_id,
    skills.course_id,
    skills.skill_id,
    days.activity_date,
    days.opportunities,
    days.correct_count,
    days.p_mastery,
    days.p_mastery_start,
    days.p_mastery_max,
    days.longest_correct_run,
    {{ day_end('days.activity_date') }} as known_at
from days
inner join learners on days.learner_number = learners.learner_number
inner join skills on days.skill_number = skills.skill_number
