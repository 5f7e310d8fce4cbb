with

opportunities as (
    select * from {{ ref('int_opportunities_assessed') }}
),

attempts as (
    select * from {{ ref('int_responses_attempted') }} where is_first_attempt
),

learners as (
    select * from {{ ref('int_learners_numbered') }}
),

skills as (
    select skill_number, course_id, skill_id
    from {{ ref('int_skills_numbered') }}
    group by skill_number, course_id, skill_id
)

select
    attempts.event_id,
    learners.learner_id,
    skills.course_id,
    skills.skill_id,
    opportunities.is_primary,
    attempts.occurred_at as responded_at,
    attempts.occurred_at as known_at,
    opportunities.opportunity,
    opportunities.is_correct,
    opportunities.p_mastery_before,
    opportunities.p_mastery_after
from opportunities
inner join attempts
    on opportunities.learner_number = attempts.learner_number
    and opportunities.event_number = attempts.event_number
inner join learners on opportunities.learner_number = learners.learner_number
inner join skills on opportunities.skill_number = skills.skill_number
