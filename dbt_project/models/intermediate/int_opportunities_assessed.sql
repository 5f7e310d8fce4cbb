-- What does each first attempt at a skill say about mastery, and what was the run of answers?
with

responses as (
    select * from {{ ref('int_responses_attempted') }} where is_first_attempt
),

skills as (
    select * from {{ ref('int_skills_numbered') }}
),

parameters as (
    select
        skill_number,
        any_value(prior) as prior,
        any_value(learn) as learn,
        any_value(guess) as guess,
        any_value(slip) as slip,
        any_value(forget) as forget,
        any_value(cap) as cap
    from skills
    group by skill_number
),

sequences as (
    select
        responses.learner_number,
        skills.skill_number,
        {{ list_of_rows({
            'event_number': 'responses.event_number',
            'is_correct': 'responses.is_correct',
            'is_unaided': 'responses.is_unaided',
            'is_primary': 'skills.is_primary',
            'activity_date': local_date('responses.occurred_at'),
        }) }} as answers
    from responses
    inner join skills on responses.context_number = skills.context_number
    group by responses.learner_number, skills.skill_number
),

traced as (
    select
        sequences.*,
        {{ mastery_odds(
            'list_transform(sequences.answers, lambda answer: answer.is_correct)',
            'parameters.prior', 'parameters.learn', 'parameters.guess', 'parameters.slip',
            'parameters.forget', 'parameters.cap'
        ) }} as odds
    from sequences
    inner join parameters on sequences.skill_number = parameters.skill_number
),

opportunities as (
    select
        learner_number,
        skill_number,
        unnest(answers, recursive := true), -- noqa: AL03
        unnest(range(1, len(answers) + 1)) as opportunity,
        unnest(odds[:-2]) as odds_before,
        unnest(odds[2:]) as odds_after
    from traced
),

assessed as (
    select
        *,
        {{ probability('odds_before') }} as p_mastery_before,
        {{ probability('odds_after') }} as p_mastery_after
    from opportunities
),

running as (
    select
        *,
        {{ last_known('case when is_correct then opportunity end') }} over so_far
            as last_correct,
        {{ last_known('case when not is_correct then opportunity end') }} over so_far
            as last_wrong,
        {{ last_known('case when not (is_correct and is_unaided) then opportunity end') }}
            over so_far as last_not_unaided_correct,
        count(*) filter (where is_correct) over so_far as correct_count,
        count(*) filter (where not is_correct) over last_10 as misses_of_last_10,
        count(*) filter (where is_correct and is_unaided) over last_3
            as unaided_correct_of_last_3,
        max(p_mastery_after) over so_far as p_mastery_max
    from assessed
    window
        so_far as (
            partition by learner_number, skill_number order by opportunity
            rows between unbounded preceding and current row
        ),
        last_10 as (
            partition by learner_number, skill_number order by opportunity
            rows between 9 preceding and current row
        ),
        last_3 as (
            partition by learner_number, skill_number order by opportunity
            rows between 2 preceding and current row
        )
)

select
    learner_number,
    event_number,
    skill_number,
    is_primary,
    is_correct,
    activity_date,
    cast(opportunity as integer) as opportunity,
    cast(correct_count as integer) as correct_count,
    cast(opportunity - coalesce(last_correct, 0) as integer) as consecutive_wrong,
    cast(opportunity - coalesce(last_wrong, 0) as integer) as consecutive_correct,
    cast(opportunity - coalesce(last_not_unaided_correct, 0) as integer)
        as consecutive_unaided_correct,
    cast(
        max(opportunity - coalesce(last_wrong, 0)) over (
            partition by learner_number, skill_number order by opportunity
            rows between unbounded preceding and current row
        ) as integer
    ) as longest_correct_run,
    cast(misses_of_last_10 as integer) as misses_of_last_10,
    cast(least(opportunity, 10) as integer) as first_tries_of_last_10,
    cast(unaided_correct_of_last_3 as integer) as unaided_correct_of_last_3,
    p_mastery_before,
    p_mastery_after,
    p_mastery_max
from running
