{{ config(materialized='view') }}

-- What the small tables say together: who joined and left, what was due, handed in and marked.
with

crosswalk as (
    select * from {{ ref('event_crosswalk') }} where source_format = 'oulad'
),

-- An hour without new rows of these tables has nothing to say about them.
sources_with_news as (
    select source
    from {{ ref('stg_landing__deliveries') }}
    where
        format = 'oulad' and table_name <> 'clicks'
        {% if not flags.FULL_REFRESH %}
            and state = 'pending'
        {% endif %}
    group by source
),

kept as (
    select rows_kept.*
    from {{ ref('int_oulad_rows_kept') }} as rows_kept
    inner join sources_with_news on rows_kept.source = sources_with_news.source
),

registrations as (
    select * from kept where row_kind = 'registration'
),

assessments as (
    select * from kept where row_kind = 'assessment'
),

submissions as (
    select * from kept where row_kind = 'submission'
),

enrolled as (
    select
        source,
        delivery_id,
        delivery_row,
        landed_at,
        learner_id,
        course_id,
        'registration' as source_verb,
        start_date,
        coalesce(first_day, 0) as day_number,
        0 as due_day,
        cast(null as varchar) as item_id,
        cast(null as double) as score,
        cast(null as varchar) as actor
    from registrations
),

withdrew as (
    select
        source,
        delivery_id,
        delivery_row,
        landed_at,
        learner_id,
        course_id,
        'unregistration' as source_verb,
        start_date,
        last_day as day_number,
        cast(null as integer) as due_day,
        cast(null as varchar) as item_id,
        cast(null as double) as score,
        'learner' as actor
    from registrations
    where last_day is not null
),

-- Due for those who had joined by that day and had not left before it.
due as (
    select
        registrations.source,
        registrations.delivery_id,
        registrations.delivery_row,
        registrations.landed_at,
        registrations.learner_id,
        registrations.course_id,
        'due date' as source_verb,
        registrations.start_date,
        assessments.first_day as day_number,
        assessments.first_day as due_day,
        assessments.assessment_id as item_id,
        cast(null as double) as score,
        'ai_tutor' as actor
    from registrations
    inner join assessments
        on registrations.source = assessments.source
        and registrations.course_id = assessments.course_id
    where
        assessments.first_day is not null
        and coalesce(registrations.first_day, assessments.first_day) <= assessments.first_day
        and coalesce(registrations.last_day, assessments.first_day) >= assessments.first_day
),

-- A banked submission was carried over from an earlier presentation: nobody acted here.
submitted as (
    select
        submissions.source,
        submissions.delivery_id,
        submissions.delivery_row,
        submissions.landed_at,
        submissions.learner_id,
        assessments.course_id,
        'submission' as source_verb,
        assessments.start_date,
        submissions.first_day as day_number,
        assessments.first_day as due_day,
        submissions.assessment_id as item_id,
        cast(null as double) as score,
        case when not submissions.is_banked then 'learner' end as actor
    from submissions
    inner join assessments
        on submissions.source = assessments.source
        and submissions.assessment_id = assessments.assessment_id
    where submissions.first_day is not null
),

scored as (
    select
        submissions.source,
        submissions.delivery_id,
        submissions.delivery_row,
        submissions.landed_at,
        submissions.learner_id,
        assessments.course_id,
        'score' as source_verb,
        assessments.start_date,
        submissions.first_day as day_number,
        cast(null as integer) as due_day,
        submissions.assessment_id as item_id,
        submissions.score,
        cast(null as varchar) as actor
    from submissions
    inner join assessments
        on submissions.source = assessments.source
        and submissions.assessment_id = assessments.assessment_id
    where submissions.first_day is not null and submissions.score is not null
),

unioned as (
    select * from enrolled
    union all
    select * from withdrew
    union all
    select * from due
    union all
    select * from submitted
    union all
    select * from scored
)

select
    {{ hashed_uuid([
        'unioned.source', 'unioned.source_verb', 'unioned.learner_id', 'unioned.course_id',
        "coalesce(unioned.item_id, '')", 'unioned.day_number', 'coalesce(unioned.due_day, -9999)',
        'coalesce(unioned.score, -1)',
    ]) }} as event_id,
    unioned.source,
    unioned.delivery_id,
    unioned.delivery_row,
    unioned.landed_at,
    unioned.learner_id,
    unioned.course_id,
    unioned.source_verb,
    crosswalk.event_type,
    cast(unioned.start_date + interval '1' day * unioned.day_number as date) as occurred_on,
    cast(unioned.start_date + interval '1' day * unioned.due_day as date) as due_on,
    unioned.item_id,
    unioned.score,
    unioned.actor
from unioned
inner join crosswalk on unioned.source_verb = crosswalk.source_verb
