"""The marts as this hour left them, as frames for the checks in marts.yml.

The marts of the learners concerned may be millions of rows. DuckDB sums them up to one row per
mart and learner, and the expectations judge those.
"""

from dataclasses import dataclass
from math import ceil

import duckdb
import pandas as pd

from tutorflow.publish import read_table
from tutorflow.settings import Settings

# Rows of `events` of the learners looked at; beyond that, an even share of the learners.
MAX_ROWS = 5_000_000
# A mart of any size may lose this many rows: two sessions become one when a late event joins them.
NEGLIGIBLE_ROWS = 20


@dataclass(frozen=True)
class _Mart:
    key: tuple[str, ...]
    probabilities: tuple[str, ...] = ()
    counts: tuple[str, ...] = ()


_MARTS = {
    "events": _Mart(("event_id",), counts=("event_count",)),
    "learning_sessions": _Mart(("session_id",), counts=("event_count", "active_seconds")),
    "learner_days": _Mart(("course_id", "activity_date"), counts=("event_count", "active_seconds")),
    "learner_weeks": _Mart(
        ("course_id", "week_start_date"), counts=("event_count", "active_seconds")
    ),
    "responses": _Mart(
        ("event_id",),
        probabilities=("p_mastery_before", "p_mastery_after", "p_mastery_max"),
        counts=("hints_used",),
    ),
    "response_skills": _Mart(
        ("event_id", "skill_id"), probabilities=("p_mastery_before", "p_mastery_after")
    ),
    "learner_skill_mastery": _Mart(
        ("course_id", "skill_id", "known_at"),
        probabilities=("p_mastery", "p_mastery_start", "p_mastery_max"),
        counts=("opportunities", "correct_count"),
    ),
}

_UNBUILT = """
select source, path, delivery_id, landed_at
from landing.deliveries
where state = 'pending'
order by landed_at
"""

_LEARNERS_BEHIND = """
with last_events as (
    select learner_id, max(occurred_at) as last_event_at
    from marts.events
    where is_activity and learner_id in (select learner_id from looked_at)
    group by learner_id
),

last_days as (
    select learner_id, max(last_activity_at) as last_day_at
    from marts.learner_days
    where learner_id in (select learner_id from looked_at)
    group by learner_id
)

select last_events.learner_id, last_event_at, last_day_at
from last_events
left join last_days on last_events.learner_id = last_days.learner_id
where last_day_at is null or last_event_at > last_day_at
order by last_events.learner_id
"""


def frames(
    settings: Settings, warehouse: duckdb.DuckDBPyConnection, max_rows: int = MAX_ROWS
) -> dict[str, pd.DataFrame]:
    """The frames of the suite. Marts that are not built yet are left out."""
    present = _marts_present(warehouse)
    note = _look_at(warehouse, max_rows)
    summaries = [
        _fetch(warehouse, _summary(name, mart)) for name, mart in _MARTS.items() if name in present
    ]
    learners = pd.concat(summaries, ignore_index=True) if summaries else pd.DataFrame()
    learners.attrs["note"] = note
    behind = _fetch(warehouse, _LEARNERS_BEHIND) if "learner_days" in present else pd.DataFrame()
    return {
        "unbuilt": _fetch(warehouse, _UNBUILT),
        "learners_behind": behind,
        "learners_in_marts": learners,
        "row_counts": _row_counts(settings, warehouse, present),
    }


def _marts_present(warehouse: duckdb.DuckDBPyConnection) -> list[str]:
    rows = warehouse.execute(
        "select table_name from information_schema.tables"
        " where table_schema = 'marts' and table_type = 'BASE TABLE' order by table_name"
    ).fetchall()
    return [name for (name,) in rows]


def _look_at(warehouse: duckdb.DuckDBPyConnection, max_rows: int) -> str:
    """Note the learners concerned in `looked_at`; returns a note when it is not all of them."""
    warehouse.execute(
        "create or replace temporary table looked_at as"
        " select distinct learner_id from landing.undecided_learners"
    )
    counts = warehouse.execute(
        "select count(*), (select count(*) from looked_at) from marts.events"
        " where learner_id in (select learner_id from looked_at)"
    ).fetchall()
    rows, learners = counts[0]
    one_in = ceil(rows / max_rows) or 1
    if one_in == 1:
        return ""
    warehouse.execute(f"delete from looked_at where hash(learner_id) % {one_in} != 0")
    return f" (1 in {one_in} of {learners} learners)"


def _summary(name: str, mart: _Mart) -> str:
    low, high = _extreme("min", mart.probabilities), _extreme("max", mart.probabilities)
    return f"""
        select
            '{name}' as mart,
            learner_id,
            count(*) as row_count,
            count(*) - count(distinct row({", ".join(mart.key)})) as repeated_keys,
            count(*) filter (known_at is null) as rows_without_known_at,
            {low} as lowest_probability,
            {high} as highest_probability,
            greatest({high} - 1, 0 - {low}) as probability_excess,
            cast({_extreme("min", mart.counts)} as double) as lowest_count
        from marts.{name}
        where learner_id in (select learner_id from looked_at)
        group by learner_id
        order by learner_id
    """


def _extreme(function: str, columns: tuple[str, ...]) -> str:
    over_columns = {"min": "least", "max": "greatest"}[function]
    if not columns:
        return "cast(null as double)"
    return f"{over_columns}({', '.join(f'{function}({column})' for column in columns)})"


def _row_counts(
    settings: Settings, warehouse: duckdb.DuckDBPyConnection, present: list[str]
) -> pd.DataFrame:
    """One row per mart, now and at the last publish; `lost_share` is null where it is trifling."""
    now = pd.DataFrame(
        {
            "mart": pd.Series(present, dtype="str"),
            "row_count": pd.Series(
                [
                    warehouse.sql(f"select count(*) from marts.{m}").fetchall()[0][0]
                    for m in present
                ],
                dtype="int64",
            ),
        }
    )
    before = read_table(settings, "mart_counts")[["mart", "row_count"]]
    counts = now.merge(
        before.rename(columns={"row_count": "committed_count"}), on="mart", how="outer"
    )
    counts = counts.assign(row_count=counts["row_count"].fillna(0).astype("int64"))
    lost = (counts["committed_count"] - counts["row_count"]).clip(lower=0)
    share = (lost / counts["committed_count"]).where(lost > NEGLIGIBLE_ROWS)
    return counts.assign(lost_rows=lost, lost_share=share)


def _fetch(warehouse: duckdb.DuckDBPyConnection, query: str) -> pd.DataFrame:
    frame: pd.DataFrame = warehouse.execute(query).to_arrow_table().to_pandas()
    return frame
