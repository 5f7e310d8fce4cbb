"""What landed since the last committed tick, as frames for the checks in landed_events.yml."""

from math import ceil

import duckdb
import pandas as pd

from tutorflow.pull.catalog import open_catalog, read_deliveries
from tutorflow.pull.formats import EVENT_TYPES, PLANNED_EVENT_TYPES
from tutorflow.settings import Settings

MAX_EVENTS = 800_000
# Shares of fewer rows than this say nothing.
MIN_ROWS_FOR_A_SHARE = 20

_DELIVERIES_OF_THIS_HOUR = "landing.deliveries where state in ('pending', 'built')"

_EVENTS = f"""
select
    event_id,
    events.source,
    deliveries.path,
    learner_id,
    event_type,
    occurred_at,
    known_at,
    received_at,
    events.landed_at,
    course_id,
    score,
    score_max,
    score / nullif(score_max, 0) as score_share,
    response_seconds,
    case
        when event_type not in {PLANNED_EVENT_TYPES}
            then date_diff('second', events.landed_at, occurred_at) / 3600.0
    end as hours_after_landing,
    case
        when event_type not in {PLANNED_EVENT_TYPES} and time_precision = 'second'
            then date_diff('second', received_at, occurred_at) / 60.0
    end as minutes_after_receipt,
    date_diff('day', occurred_at, events.landed_at) / 365.25 as years_before_landing
from marts.events as events
inner join (select delivery_id, path from {_DELIVERIES_OF_THIS_HOUR}) as deliveries
    on events.delivery_id = deliveries.delivery_id
"""

_REPEATED_EVENTS = f"""
select event_id, count(*) as copies, min(source) as source, min(occurred_at) as first_occurred_at
from marts.events
where event_id in (
    select event_id
    from marts.events
    where delivery_id in (select delivery_id from {_DELIVERIES_OF_THIS_HOUR})
)
group by event_id
having count(*) > 1
order by event_id
"""

_UNMAPPED_VERBS = f"""
select
    source,
    source_verb,
    cast(sum(row_count) as bigint) as row_count,
    min(first_occurred_at) as first_occurred_at
from marts.unmapped_verbs
where delivery_id in (select delivery_id from {_DELIVERIES_OF_THIS_HOUR})
group by source, source_verb
order by row_count desc, source, source_verb
"""


def frames(
    settings: Settings, warehouse: duckdb.DuckDBPyConnection, max_events: int = MAX_EVENTS
) -> dict[str, pd.DataFrame]:
    """The frames of the suite.

    Of more than `max_events` new events an even share by hash is looked at, and the frame's note
    says which; whether an event is in the mart twice is always looked up for all of them.
    """
    events = _events(warehouse, max_events)
    deliveries = _deliveries(settings, warehouse)
    return {
        "events": events,
        "impossible_values": _impossible_values(events),
        "repeated_events": _fetch(warehouse, _REPEATED_EVENTS),
        "unmapped_verbs": _unmapped_verbs(warehouse),
        "deliveries": deliveries,
        "all_deliveries": _all_deliveries(deliveries),
    }


def _events(warehouse: duckdb.DuckDBPyConnection, max_events: int) -> pd.DataFrame:
    landed = warehouse.sql(f"select count(*) from ({_EVENTS})").fetchall()[0][0]
    one_in = ceil(landed / max_events) or 1
    kept = f"where hash(event_id) % {one_in} = 0" if one_in > 1 else ""
    events = _fetch(warehouse, f"{_EVENTS} {kept}")
    events.attrs["event_types"] = list(EVENT_TYPES)
    if one_in > 1:
        events.attrs["note"] = f" (1 in {one_in} of {landed} new events)"
    return events


def _impossible_values(events: pd.DataFrame) -> pd.DataFrame:
    """One row per source and kind of value; `share` is null where there are too few of them."""
    faults = {
        "score below zero": (events["score"], events["score"] < 0),
        "score above its maximum": (events["score_share"], events["score_share"] > 1),
        "response time below zero": (events["response_seconds"], events["response_seconds"] < 0),
    }
    counted = [
        pd.DataFrame({"source": events["source"], "rows": values.notna(), "faulty": faulty})
        .groupby("source", as_index=False)[["rows", "faulty"]]
        .sum()
        .assign(fault=fault)
        for fault, (values, faulty) in faults.items()
    ]
    found = pd.concat(counted, ignore_index=True)
    return found.assign(share=_share(found["faulty"], found["rows"]))


def _unmapped_verbs(warehouse: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    built = warehouse.execute(
        "select 1 from information_schema.tables"
        " where table_schema = 'marts' and table_name = 'unmapped_verbs'"
    ).fetchall()
    return _fetch(warehouse, _UNMAPPED_VERBS) if built else pd.DataFrame()


def _deliveries(settings: Settings, warehouse: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """One row per delivery of this hour: rows landed, rows quarantined, the commonest reason."""
    hour = warehouse.sql(f"select delivery_id from {_DELIVERIES_OF_THIS_HOUR}").fetchall()
    ids = {delivery_id for (delivery_id,) in hour}
    found = [d for d in read_deliveries(settings.catalog_path) if d.delivery_id in ids]
    reasons = _commonest_reasons(settings, [d.delivery_id for d in found if d.quarantined])
    frame = pd.DataFrame(
        {
            "source": [d.source for d in found],
            "path": [d.path for d in found],
            "delivery_id": [d.delivery_id for d in found],
            "rows": pd.Series([d.rows for d in found], dtype="int64"),
            "quarantined": pd.Series([d.quarantined for d in found], dtype="int64"),
            "commonest_reason": [reasons.get(d.delivery_id) for d in found],
        }
    )
    total = frame["rows"] + frame["quarantined"]
    return frame.assign(quarantined_share=(frame["quarantined"] / total).where(total > 0))


def _commonest_reasons(settings: Settings, delivery_ids: list[str]) -> dict[str, str]:
    reasons = {}
    if delivery_ids:
        with open_catalog(settings.catalog_path) as catalog:
            for delivery_id in delivery_ids:
                row = catalog.execute(
                    "select reason from quarantined_rows where delivery_id = ?"
                    " group by reason order by count(*) desc, reason limit 1",
                    [delivery_id],
                ).fetchone()
                if row:
                    reasons[delivery_id] = row[0]
    return reasons


def _all_deliveries(deliveries: pd.DataFrame) -> pd.DataFrame:
    """One row: the hour's deliveries together."""
    total = deliveries[["rows", "quarantined"]].sum().to_frame().T
    rows = total["rows"] + total["quarantined"]
    return total.assign(quarantined_share=_share(total["quarantined"], rows))


def _share(part: "pd.Series[int]", whole: "pd.Series[int]") -> "pd.Series[float]":
    return (part / whole).where(whole >= MIN_ROWS_FOR_A_SHARE)


def _fetch(warehouse: duckdb.DuckDBPyConnection, query: str) -> pd.DataFrame:
    """The result through Arrow, which hands uuid over as text."""
    frame: pd.DataFrame = warehouse.execute(query).to_arrow_table().to_pandas()
    return frame
