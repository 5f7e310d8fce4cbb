"""People and programme: how fast coaches answered, what stands out, and how the courses fare.

Everything about people is followed for a fixed time after it began and then left alone, so that a
week or an alert of long ago never changes. There is no ranking of coaches, on purpose.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pandas as pd

from tutorflow.decide.frames import frame, rows_of
from tutorflow.measure.estimates import share_interval
from tutorflow.policy.model import FollowThrough

Row = dict[str, Any]
Fact = tuple[datetime, datetime | None]  # when a signal joined an alert, and when it was settled
FOLLOWED = timedelta(days=14)  # how long an alert is followed
WEEK = timedelta(days=7)
WEEK_SETTLED = WEEK + FOLLOWED  # after its start no alert of a week is followed any more
RENEWED_WITHIN = timedelta(days=28)
AGAIN = ("acknowledgements", "alert_verdicts", "recommendation_decisions", "interventions")

HEALTH_LAYERS = {
    "accuracy": "learning",
    "mastery_gain": "learning",
    "active_learners": "engagement",
    "returned_share": "engagement",
    "active_minutes": "engagement",
    "assignments_completed_share": "engagement",
    "completed_share": "programme",
    "touchpoints": "programme",
    "renewed_share": "programme",
}

# Of one week from $start; nothing known at or after $until counts.
WEEKLY = {
    "accuracy": """
        select course_id, avg(cast(is_correct as integer)) as value, count(*) as n
        from marts.responses
        where known_at >= $start and known_at < $until
        group by course_id
    """,
    "mastery_gain": """
        select course_id, avg(gain) as value, count(*) as n
        from (
            select
                course_id,
                arg_max(p_mastery_after, response_number)
                    - arg_min(p_mastery_before, response_number) as gain
            from marts.responses
            where known_at >= $start and known_at < $until and is_first_attempt
                and skill_id is not null
            group by learner_id, course_id, skill_id
        )
        group by course_id
    """,
    "active_learners": """
        select course_id, count(distinct learner_id) as value, count(distinct learner_id) as n
        from marts.learner_days
        where known_at >= $start and known_at < $until
        group by course_id
    """,
    "returned_share": """
        with before as (
            select distinct learner_id, course_id
            from marts.learner_days
            where known_at >= $start - interval 7 day and known_at < $start
        ),

        now as (
            select distinct learner_id, course_id
            from marts.learner_days
            where known_at >= $start and known_at < $until
        )

        select before.course_id, avg(cast(now.learner_id is not null as integer)) as value,
            count(*) as n
        from before
        left join now using (learner_id, course_id)
        group by before.course_id
    """,
    "active_minutes": """
        select course_id, sum(active_seconds) / 60.0 / count(distinct learner_id) as value,
            count(distinct learner_id) as n
        from marts.learner_days
        where known_at >= $start and known_at < $until
        group by course_id
    """,
    "assignments_completed_share": """
        with due as (
            select distinct learner_id, course_id, item_id
            from marts.events
            where event_type = 'assignment_due' and known_at >= $start and known_at < $until
        ),

        submitted as (
            select distinct learner_id, course_id, item_id
            from marts.events
            where event_type = 'assignment_submitted' and known_at < $until
        )

        select due.course_id, avg(cast(submitted.item_id is not null as integer)) as value,
            count(*) as n
        from due
        left join submitted using (learner_id, course_id, item_id)
        group by due.course_id
    """,
}

TOUCHES = """
    select course_id, count(*) as touches
    from marts.events
    where known_at >= $start and known_at < $until
        and (
            event_type = 'session_attended'
            or (event_type = 'message_sent' and actor = 'coach')
        )
    group by course_id
"""

# Learners of a course that has ended: still there at its end, and enrolled again after it.
ENDED = """
    with learners as (
        select
            learner_id, course_id,
            max(last_activity_at) filter (where known_at <= $ended_at) as last_activity_at
        from marts.learner_days
        where course_id = $course_id
        group by learner_id, course_id
    ),

    left_early as (
        select distinct learner_id
        from marts.events
        where course_id = $course_id and event_type = 'learner_withdrew' and known_at <= $ended_at
    ),

    again as (
        select distinct learner_id
        from marts.events
        where course_id != $course_id and event_type = 'learner_enrolled'
            and known_at > $ended_at - interval 28 day and known_at <= $until
    )

    select
        avg(cast(
            left_early.learner_id is null
            and learners.last_activity_at > $ended_at - interval 14 day
        as integer)) as completed_share,
        avg(cast(again.learner_id is not null as integer)) as renewed_share,
        count(*) as n
    from learners
    left join left_early using (learner_id)
    left join again using (learner_id)
    where learners.last_activity_at is not null
"""

# Wrong answers in sessions that were over by $until, and whether they were the last of theirs.
HARD_ITEMS = """
    with answers as (
        select
            course_id, item_id, is_correct, known_at, session_id,
            lead(session_id) over (
                partition by learner_id, course_id order by response_number
            ) is distinct from session_id as is_last
        from marts.responses
        where known_at > $since and known_at < $until
    ),

    over_by_then as (
        select * from answers where item_id is not null and known_at < $until - interval 2 hour
    ),

    items as (
        select
            course_id,
            item_id,
            count(*) as answer_count,
            avg(cast(not is_correct as integer)) as wrong_share,
            count(*) filter (where not is_correct and session_id is not null) as wrong_count,
            count(*) filter (where not is_correct and session_id is not null and is_last)
                as left_count
        from over_by_then
        group by course_id, item_id
    )

    select
        *,
        sum(left_count) over course / nullif(sum(wrong_count) over course, 0) as usual_left_share,
        wrong_share > median(wrong_share) over course as is_hard
    from items
    window course as (partition by course_id)
    qualify answer_count >= $answers and wrong_count > 0
    order by course_id, item_id
"""


# -- how fast people answered ----------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """What people wrote, as taken: a row per thing said, with alert_id, at, taken_at, inbox."""

    rows: pd.DataFrame

    def by_alert(self) -> Mapping[str, list[Any]]:
        """The rows of each alert, in order of time."""
        ordered = self.rows.sort_values(["at", "row_id"])
        return {str(alert): list(rows_of(rows)) for alert, rows in ordered.groupby("alert_id")}


def alert_responses(
    exposures: pd.DataFrame, evidence: pd.DataFrame, said: Said, as_of: datetime
) -> pd.DataFrame:
    """Rows of `alert_responses`, with `handled_at`, `settled_at` and `horizon` for what follows.

    `exposures` are deliveries to coaches; `evidence` (alert_id, recorded_at, recovered_at) that of
    their alerts. Each is followed up to `as_of`, for FOLLOWED at most: what came later, or became
    known later, does not count.
    """
    by_alert = said.by_alert()
    facts: dict[str, list[Fact]] = defaultdict(list)
    for row in rows_of(evidence[["alert_id", "recorded_at", "recovered_at"]]):
        back = None if pd.isna(row.recovered_at) else row.recovered_at
        facts[row.alert_id].append((row.recorded_at, back))
    rows = [
        _response(row, by_alert.get(row.alert_id, []), facts.get(row.alert_id, []), as_of)
        for row in rows_of(exposures)
    ]
    columns = [*_RESPONSE_COLUMNS, "handled_at", "settled_at", "horizon", "course_id", "layer"]
    found = pd.DataFrame(rows, columns=columns)
    times = [name for name in columns if name.endswith("_at") or name == "horizon"]
    return found.astype(dict.fromkeys(times, "datetime64[us]"))


_RESPONSE_COLUMNS = (
    *("alert_id", "exposed_at", "coach_id", "learner_id", "alert_tier", "due_at"),
    *("acknowledged_at", "contacted_at", "hours_to_response", "hours_to_contact", "is_late"),
)


def _response(row: Any, said: Sequence[Any], evidence: Sequence[Fact], as_of: datetime) -> Row:
    horizon = min(as_of, row.exposed_at + FOLLOWED)
    heard = [one for one in said if one.at >= row.exposed_at and one.taken_at <= horizon]
    first = {name: _first(heard, name) for name in AGAIN}
    contacted, answered = first["interventions"], _earliest(first.values())
    handled = _earliest([contacted, first["alert_verdicts"]])
    settled = _settled_at(evidence, horizon)
    return {
        **{name: getattr(row, name) for name in _RESPONSE_COLUMNS[:6]},
        "acknowledged_at": first["acknowledgements"],
        "contacted_at": contacted,
        "hours_to_response": _hours(row.exposed_at, answered),
        "hours_to_contact": _hours(row.exposed_at, contacted),
        "is_late": _is_late(row.due_at, handled, settled, horizon),
        "handled_at": handled,
        "settled_at": settled,
        "horizon": horizon,
        "course_id": row.course_id,
        "layer": row.layer,
    }


def _first(heard: Sequence[Any], inbox: str) -> datetime | None:
    return next((one.at for one in heard if one.inbox == inbox), None)


def _earliest(times: Any) -> datetime | None:
    return min((time for time in times if time is not None), default=None)


def _hours(start: datetime, end: datetime | None) -> float | None:
    return None if end is None else (end - start).total_seconds() / 3600


def _settled_at(evidence: Sequence[Fact], horizon: datetime) -> datetime | None:
    """When the last of what the alert rested on no longer stood; None: something still does."""
    latest = None
    for recorded_at, back in evidence:
        if recorded_at > horizon:
            continue
        if back is None or back > horizon:
            return None
        latest = back if latest is None else max(latest, back)
    return latest


def _is_late(
    due: Any, handled: datetime | None, settled: datetime | None, horizon: datetime
) -> bool | None:
    """Late contact; None where it is not due yet, or the trouble was over before it was."""
    if pd.isna(due):
        return None
    if handled is not None:
        return bool(handled > due)
    if horizon <= due or (settled is not None and settled <= due):
        return None
    return True


# -- coaches, by week and by exception -------------------------------------------------------------


def coach_workload(
    responses: pd.DataFrame,
    interventions: pd.DataFrame,
    weeks: Sequence[datetime],
    as_of: datetime,
) -> list[Row]:
    """Rows of `coach_workload` for the weeks that start at `weeks` (naive UTC)."""
    found = []
    for start in weeks:
        end, until = start + WEEK, min(as_of, start + WEEK_SETTLED)
        asked = responses[(responses["exposed_at"] >= start) & (responses["exposed_at"] < end)]
        done = interventions[
            (interventions["at"] >= start)
            & (interventions["at"] < end)
            & (interventions["taken_at"] <= until)
        ]
        for coach in sorted({*asked["coach_id"].dropna(), *done["coach_id"].dropna()}):
            found.append(
                _workload(
                    coach,
                    start,
                    asked[asked["coach_id"] == coach],
                    done[done["coach_id"] == coach],
                    until,
                )
            )
    return found


def _workload(
    coach: str, start: datetime, asked: pd.DataFrame, done: pd.DataFrame, until: datetime
) -> Row:
    return {
        "coach_id": coach,
        "week_starts_at": start,
        "delivered_count": len(asked),
        "tier_3_4_count": int((asked["alert_tier"] >= 3).sum()),
        "acknowledged_count": int(asked["acknowledged_at"].notna().sum()),
        "contacted_count": int(asked["contacted_at"].notna().sum()),
        "late_count": int(asked["is_late"].fillna(False).astype(bool).sum()),
        "intervention_count": len(done),
        "learner_count": int(done["learner_id"].nunique()),
        "median_hours_to_response": asked["hours_to_response"].astype("float64").median(),
        "median_hours_to_contact": asked["hours_to_contact"].astype("float64").median(),
        "as_of": until,
    }


def coach_exceptions(
    responses: pd.DataFrame, interventions: pd.DataFrame, policy: FollowThrough, as_of: datetime
) -> list[Row]:
    """Rows of `coach_exceptions`: only what is worth a look, of the time alerts are followed."""
    recent = responses[responses["exposed_at"] > as_of - FOLLOWED]
    waiting = recent[recent["handled_at"].isna() & recent["settled_at"].isna()]
    found = [_late(row) for row in rows_of(waiting) if row.is_late is True]
    patience = timedelta(hours=policy.after_acknowledgement_hours)
    for row in rows_of(waiting):
        if pd.notna(row.acknowledged_at) and row.acknowledged_at + patience <= as_of:
            found.append(_no_follow_through(row))
    week = interventions[
        (interventions["at"] > as_of - WEEK)
        & (interventions["at"] <= as_of)
        & (interventions["taken_at"] <= as_of)
    ]
    for _, rows in week.groupby("learner_id", sort=True):
        if len(rows) >= policy.messages_in_7_days:
            found.append(_over_messaging(rows))
    for _, rows in recent.groupby("learner_id", sort=True):
        if len(rows) >= policy.alerts_without_contact and rows["handled_at"].isna().all():
            found.append(_under_messaging(rows))
    unique = {(row["kind"], row["alert_id"]): {**row, "as_of": as_of} for row in found}
    return [unique[key] for key in sorted(unique)]


def _late(row: Any) -> Row:
    return _exception("late", row, row.due_at, f"contact was due {row.due_at:%d %b %H:%M} UTC")


def _no_follow_through(row: Any) -> Row:
    seen = f"{row.acknowledged_at:%d %b %H:%M} UTC"
    return _exception(
        "no_follow_through", row, row.acknowledged_at, f"seen {seen}, nothing logged since"
    )


def _over_messaging(rows: pd.DataFrame) -> Row:
    last = rows.sort_values(["at", "row_id"]).iloc[-1]
    return _exception(
        "over_messaging", last, rows["at"].min(), f"{len(rows)} contacts in 7 days, maybe too many"
    )


def _under_messaging(rows: pd.DataFrame) -> Row:
    last = rows.sort_values(["exposed_at", "alert_id"]).iloc[-1]
    return _exception(
        "under_messaging",
        last,
        rows["exposed_at"].min(),
        f"{len(rows)} alerts in {FOLLOWED.days} days and no contact logged",
    )


def _exception(kind: str, row: Any, since: datetime, sentence: str) -> Row:
    return {
        "kind": kind,
        "alert_id": row.alert_id,
        "coach_id": row.coach_id,
        "learner_id": row.learner_id,
        "since": since,
        "sentence": sentence,
    }


# -- safety ----------------------------------------------------------------------------------------


def safety_events(
    signals: pd.DataFrame, exposures: pd.DataFrame, said: Said, as_of: datetime
) -> list[Row]:
    """Rows of `safety_events`, one per signal of the layer safety, each followed as alerts are."""
    by_alert = said.by_alert()
    found = []
    for row in rows_of(signals):
        horizon = min(as_of, row.recorded_at + FOLLOWED)
        shown = exposures[
            (exposures["alert_id"] == row.alert_id) & (exposures["exposed_at"] <= horizon)
        ].sort_values("exposed_at")
        heard = [
            one
            for one in by_alert.get(row.alert_id, [])
            if one.at >= row.fired_at and one.taken_at <= horizon
        ]
        contacted = _first(heard, "interventions")
        due = None if shown.empty else shown["due_at"].iloc[0]
        found.append(
            {
                "signal_id": row.signal_id,
                "alert_id": row.alert_id,
                "learner_id": row.learner_id,
                "course_id": row.course_id,
                "fired_at": row.fired_at,
                "delivered_at": None if shown.empty else shown["exposed_at"].iloc[0],
                "due_at": due,
                "acknowledged_at": _first(heard, "acknowledgements"),
                "contacted_at": contacted,
                "was_in_time": _in_time(due, contacted, horizon),
            }
        )
    return found


def _in_time(due: Any, contacted: datetime | None, horizon: datetime) -> bool | None:
    if pd.isna(due) or (contacted is None and horizon <= due):
        return None
    return contacted is not None and bool(contacted <= due)


# -- courses ---------------------------------------------------------------------------------------


def programme_health(
    warehouse: duckdb.DuckDBPyConnection,
    weeks: Sequence[datetime],
    course_ends: Mapping[str, datetime],
    interventions: pd.DataFrame,
    as_of: datetime,
) -> list[Row]:
    """Rows of `programme_health` for the weeks that start at `weeks` (naive UTC).

    `touchpoints` are sessions attended, messages of coaches and logged interventions per active
    learner; `completed_share` and `renewed_share` stand in the week in which the course ended, or
    in which RENEWED_WITHIN after that was over.
    """
    found: list[Row] = []
    for start in weeks:
        until = min(as_of, start + WEEK)
        span = {"start": start, "until": until}
        measured = {name: frame(warehouse, query, span) for name, query in WEEKLY.items()}
        measured["touchpoints"] = _touchpoints(
            frame(warehouse, TOUCHES, span), measured["active_learners"], interventions, span
        )
        for name, rows in measured.items():
            found += [
                _health(row.course_id, start, name, row.value, row.n, until)
                for row in rows_of(rows)
            ]
        for course, ended_at in sorted(course_ends.items()):
            found += _at_the_end(warehouse, course, ended_at, start, until)
    return found


def _touchpoints(
    touches: pd.DataFrame, active: pd.DataFrame, interventions: pd.DataFrame, span: Row
) -> pd.DataFrame:
    logged = interventions[
        (interventions["at"] >= span["start"])
        & (interventions["at"] < span["until"])
        & (interventions["taken_at"] <= span["until"])
    ]
    counts = touches.set_index("course_id")["touches"].add(
        logged.groupby("course_id").size(), fill_value=0
    )
    rows = active[active["n"] > 0]
    made = rows["course_id"].map(counts).fillna(0).astype("float64")
    return pd.DataFrame({"course_id": rows["course_id"], "value": made / rows["n"], "n": rows["n"]})


def _at_the_end(
    warehouse: duckdb.DuckDBPyConnection,
    course: str,
    ended_at: datetime,
    start: datetime,
    until: datetime,
) -> list[Row]:
    found = []
    for name, moment in (
        ("completed_share", ended_at),
        ("renewed_share", ended_at + RENEWED_WITHIN),
    ):
        if start < moment <= until:
            asked = {"course_id": course, "ended_at": ended_at, "until": moment}
            row = frame(warehouse, ENDED, asked).iloc[0]
            if row["n"]:
                found.append(_health(course, start, name, row[name], row["n"], until))
    return found


def _health(course: str, start: datetime, measure: str, value: Any, n: Any, until: datetime) -> Row:
    return {
        "course_id": course,
        "week_starts_at": start,
        "measure": measure,
        "health_layer": HEALTH_LAYERS[measure],
        "value": None if pd.isna(value) else float(value),
        "n": int(n),
        "as_of": until,
    }


def hard_item_dropouts(
    warehouse: duckdb.DuckDBPyConnection, answers_per_item: int, days: int, as_of: datetime
) -> list[Row]:
    """Rows of `hard_item_dropouts` over the `days` before `as_of`."""
    asked = {"since": as_of - timedelta(days=days), "until": as_of, "answers": answers_per_item}
    rows: list[Row] = []
    for row in frame(warehouse, HARD_ITEMS, asked).to_dict("records"):
        low, high = share_interval(int(row["left_count"]), int(row["wrong_count"]))
        rows.append(
            {
                **{str(name): value for name, value in row.items()},
                "left_share": row["left_count"] / row["wrong_count"],
                "left_share_low": low,
                "left_share_high": high,
                "as_of": as_of,
            }
        )
    return rows
