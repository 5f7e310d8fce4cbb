select
    source,
    delivery_id,
    format,
    table_name,
    replaces,
    state
from {{ source('landing', 'deliveries') }}
