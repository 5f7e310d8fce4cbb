"""The published tables of effects, out of what is published and the marts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from tutorflow.decide.candidates import fit
from tutorflow.decide.frames import frame, rows_of
from tutorflow.measure.batch import Batch
from tutorflow.measure.cases import alert_cases, flags, help_cases, nudge_cases, together
from tutorflow.measure.daily import as_known
from tutorflow.measure.effects import Term, effects, flag_trend
from tutorflow.policy.nudges import load_nudges
from tutorflow.roster import load_roster

SESSION_KNOWN = timedelta(hours=1)  # after its end, a session is known

ACTIVE_DAYS = """
    select learner_id, course_id, first_activity_at as active_at
    from marts.learner_days
    where known_at < $as_of and learner_id in (
        select cast(learner_id as uuid) from flagged_learners
    )
    order by learner_id, course_id, active_at
"""

# What a learner did in the hours after a nudge was, or would have been, said.
AFTER_NUDGES = """
    with asked as (
        select
            nudge_row_id, cast(learner_id as uuid) as learner_id, course_id, result, send_after,
            ends_at
        from asked_nudges
    )

    select
        asked.nudge_row_id,
        count(*) filter (
            sessions.ended_at > asked.send_after
            and case asked.result
                when 'answered' then sessions.response_count > 0
                when 'finished_session' then
                    sessions.items_abandoned = 0 and not sessions.has_open_item
                else true
            end
        ) > 0 as is_success,
        count(distinct cast(sessions.started_at as date)) filter (
            sessions.ended_at <= asked.send_after
        ) as active_days_before
    from asked
    left join marts.learning_sessions as sessions
        on sessions.learner_id = asked.learner_id
        and sessions.course_id = asked.course_id
        and sessions.started_at > asked.send_after - interval 14 day
        and sessions.started_at <= asked.ends_at
        and sessions.known_at < $as_of
    group by asked.nudge_row_id
"""

COURSE_STARTS = """
    select
        days.course_id,
        coalesce(min(courses.starts_at), min(days.first_activity_at)) as starts_at,
        min(courses.ends_at) as ends_at
    from marts.learner_days as days
    left join marts.courses as courses using (course_id)
    where days.known_at < $as_of
    group by days.course_id
    order by days.course_id
"""


def effect_tables(batch: Batch, as_of: datetime) -> dict[str, pd.DataFrame]:
    """`intervention_effects` and `flag_trends` as of ``as_of`` (naive UTC), the end of a day."""
    exposures = batch.rows("exposures")
    outcomes = as_known(batch.rows("alert_outcomes"), as_of)
    helped = as_known(batch.rows("intervention_outcomes"), as_of)
    cases = together(
        [
            alert_cases(exposures, outcomes),
            _nudges(batch, as_of),
            help_cases(helped, batch.rows("learner_states")),
        ]
    )
    found = flags(exposures, outcomes)
    with _registered(batch, "flagged_learners", found[["learner_id"]].drop_duplicates()):
        active = frame(batch.warehouse, ACTIVE_DAYS, {"as_of": as_of})
    zone = batch.settings.timezone
    return {
        "intervention_effects": fit(
            "intervention_effects", effects(cases, as_of, zone, course_terms(batch, as_of))
        ),
        "flag_trends": fit("flag_trends", flag_trend(found, active, as_of)),
    }


def _nudges(batch: Batch, as_of: datetime) -> pd.DataFrame:
    """Cases of nudges whose time to return is over."""
    library = load_nudges(batch.settings.nudges_path, batch.policy)
    asked = batch.rows("nudges_outbox")
    asked = asked[asked["status"].isin(("ready", "held_out"))]
    judged_by = {name: nudge.measure for name, nudge in library.nudges.items()}
    asked = asked[asked["nudge_id"].isin(list(judged_by))]
    measures = [judged_by[name] for name in asked["nudge_id"]]
    hours = pd.to_timedelta([measure.within_hours for measure in measures], unit="h")
    asked = asked.assign(
        result=pd.Series([measure.result for measure in measures], asked.index, dtype="str"),
        ends_at=asked["send_after"] + pd.Series(hours, asked.index, dtype="timedelta64[us]"),
    )
    asked = asked[asked["ends_at"] + SESSION_KNOWN <= pd.Timestamp(as_of)]
    columns = ["nudge_row_id", "learner_id", "course_id", "result", "send_after", "ends_at"]
    with _registered(batch, "asked_nudges", asked[columns]):
        followed = frame(batch.warehouse, AFTER_NUDGES, {"as_of": as_of})
    over = asked[["nudge_row_id", "ends_at"]].assign(known_at=asked["ends_at"] + SESSION_KNOWN)
    followed = followed.merge(over[["nudge_row_id", "known_at"]], on="nudge_row_id", how="left")
    return nudge_cases(asked, followed)


@contextmanager
def _registered(batch: Batch, name: str, rows: pd.DataFrame) -> Iterator[None]:
    texts = {
        column: "str"
        for column in ("nudge_row_id", "learner_id", "course_id", "result")
        if column in rows
    }
    batch.warehouse.register(name, rows.astype(texts))
    try:
        yield
    finally:
        batch.warehouse.unregister(name)


def course_terms(batch: Batch, as_of: datetime) -> dict[str, Term]:
    """course -> (start, end or None), by the roster, else the courses mart, else first activity."""
    known: dict[str, Term] = {}
    roster = load_roster(batch.settings).courses
    for rows in (frame(batch.warehouse, COURSE_STARTS, {"as_of": as_of}), roster):
        for row in rows_of(rows):
            start, end = known.get(row.course_id, (None, None))
            start = _moment(row.starts_at) or start
            if start is not None:
                known[row.course_id] = (start, _moment(row.ends_at) or end)
    return known


def _moment(value: Any) -> datetime | None:
    if pd.isna(value):
        return None
    moment: datetime = pd.Timestamp(value).to_pydatetime()
    return moment
