select
    _source as source,
    _delivery_id as delivery_id,
    _row as delivery_row,
    _landed_at as landed_at,
    learner_id,
    id_assessment as assessment_id,
    date_submitted as submission_day,
    coalesce(is_banked, false) as is_banked,
    score
from {{ source('landing', 'oulad_submissions') }} as landed
where {{ is_not_replaced('landed._source', 'landed._delivery_id') }}
