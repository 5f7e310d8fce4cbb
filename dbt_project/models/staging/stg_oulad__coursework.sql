-- What the small tables say together: who joined and left, what was due, handed in and marked.
with

crosswalk as (
    select * from {{ ref('event_crosswalk') }} where source_format = 'oulad'
),

months as (
    select * from {{ ref('oulad_presentation_months') }}
),

-- An hour without new rows of these tables has nothing to say about them.
sources_to_read as (
    select source
    from {{ source('landing', 'deliveries') }}
    where
        format = 'oulad' and table_name in ('assessments', 'registrations', 'submissions')
        {% if not flags.FULL_REFRESH %} and state = 'pending' {% endif %}
    group by source
),

registrations as (
    select
        kept.*,
        {{ oulad_day('kept.code_presentation', 'months.start_month', '0') }} as start_date
    from {{ ref('stg_oulad__registrations') }} as kept
    inner join sources_to_read on kept.source = sources_to_read.source
    inner join months on right(kept.code_presentation, 1) = months.presentation_letter
    where {{ is_not_replaced('kept.source', 'kept.delivery_id') }}
),

assessments as (
    select
        kept.*,
        {{ oulad_day('kept.code_presentation', 'months.start_month', '0') }} as start_date
    from {{ ref('stg_oulad__assessments') }} as kept
    inner join sources_to_read on kept.source = sources_to_read.source
    inner join months on right(kept.code_presentation, 1) = months.presentation_letter
    where {{ is_not_replaced('kept.source', 'kept.delivery_id') }}
),

submissions as (
    select kept.*
    from {{ ref('stg_oulad__submissions') }} as kept
    inner join sources_to_read on kept.source = sources_to_read.source
    where {{ is_not_replaced('kept.source', 'kept.delivery_id') }}
),

enrolled as (
    select
        source, delivery_id, delivery_row, landed_at, learner_id, course_id,
        'registration' as source_verb,
        start_date,
        coalesce(registration_day, 0) as day_number,
        cast(null as varchar) as item_id,
        0 as due_day,
        cast(null as double) as score,
        cast(null as varchar) as actor
    from registrations
),

withdrew as (
    select
        source, delivery_id, delivery_row, landed_at, learner_id, course_id,
        'unregistration' as source_verb,
        start_date,
        unregistration_day as day_number,
        cast(null as varchar) as item_id,
        cast(null as integer) as due_day,
        cast(null as double) as score,
        'learner' as actor
    from registrations
    where unregistration_day is not null
),

due as (
    select
        registrations.source, registrations.delivery_id, registrations.delivery_row,
        registrations.landed_at, registrations.learner_id, registrations.course_id,
        'due date' as source_verb,
        registrations.start_date,
        assessments.due_day as day_number,
        assessments.assessment_id as item_id,
        assessments.due_day,
        cast(null as double) as score,
        'ai_tutor' as actor
    from registrations
    inner join assessments
        on registrations.source = assessments.source
        and registrations.course_id = assessments.course_id
    where
        assessments.due_day is not null
        and coalesce(registrations.registration_day, assessments.due_day) <= assessments.due_day
        and coalesce(registrations.unregistration_day, assessments.due_day) >= assessments.due_day
),

-- A banked submission was carried over from an earlier presentation: nobody acted here.
submitted as (
    select
        submissions.source, submissions.delivery_id, submissions.delivery_row,
        submissions.landed_at, submissions.learner_id, assessments.course_id,
        'submission' as source_verb,
        assessments.start_date,
        submissions.submission_day as day_number,
        submissions.assessment_id as item_id,
        assessments.due_day,
        submissions.score,
        case when not submissions.is_banked then 'learner' end as actor
    from submissions
    inner join assessments
        on submissions.source = assessments.source
        and submissions.assessment_id = assessments.assessment_id
    where submissions.submission_day is not null
),

scored as (
    select
        source, delivery_id, delivery_row, landed_at, learner_id, course_id,
        'score' as source_verb,
        start_date,
        day_number,
        item_id,
        cast(null as integer) as due_day,
        score,
        cast(null as varchar) as actor
    from submitted
    where score is not null
),

unioned as (
    select * from enrolled
    union all
    select * from withdrew
    union all
    select * from due
    union all
    select * replace (cast(null as double) as score) from submitted
    union all
    select * from scored
)

select
    {{ hashed_uuid([
        'unioned.source', 'unioned.source_verb', 'unioned.learner_id', 'unioned.course_id',
        "coalesce(unioned.item_id, '')", 'unioned.day_number', "coalesce(unioned.due_day, -9999)",
        "coalesce(unioned.score, -1)",
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
