"""Weekly learner summaries: what went well, what changed, what to watch.

One per learner on a caseload and ISO week, written by the tick that closes the week, so that a
coach can prepare a check-in in a minute. Learners without a caseload get one if they were seen in
the four weeks before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import duckdb
import pandas as pd

from tutorflow.decide.frames import frame, rows_of
from tutorflow.decide.names import name_of
from tutorflow.decide.ticks import OpenState
from tutorflow.policy.model import Policy

WEEKS_BEFORE = 4
NAMED = 3  # skills or alerts that a summary names

SEEN_LATELY = """
    select distinct learner_id
    from marts.learner_days
    where known_at < $as_of and activity_date >= cast($week as date) - 21
        and activity_date < cast($week as date) + 7
    order by learner_id
"""

ACTIVITY = f"""
    select
        asked.learner_id, asked.week,
        count(distinct days.activity_date) filter (days.activity_date >= asked.week)
            as active_days,
        coalesce(sum(days.response_count) filter (days.activity_date >= asked.week), 0) as answers,
        coalesce(sum(days.correct_count) filter (days.activity_date >= asked.week), 0) as correct,
        count(distinct days.activity_date) filter (
            days.activity_date < asked.week
            and days.activity_date >= asked.week - {7 * WEEKS_BEFORE}
        ) / {WEEKS_BEFORE}.0 as usual_days,
        coalesce(sum(days.response_count) filter (
            days.activity_date < asked.week
            and days.activity_date >= asked.week - {7 * WEEKS_BEFORE}
        ), 0) as answers_before,
        coalesce(sum(days.correct_count) filter (
            days.activity_date < asked.week
            and days.activity_date >= asked.week - {7 * WEEKS_BEFORE}
        ), 0) as correct_before,
        min(days.activity_date) <= asked.week - {7 * WEEKS_BEFORE} as has_history,
        max(days.activity_date) as last_date
    from asked_summaries as asked
    inner join marts.learner_days as days
        on days.learner_id = cast(asked.learner_id as uuid) and days.known_at < asked.as_of
    group by asked.learner_id, asked.week
"""

# Skills practised in the week: mastery before it, and at its end.
SKILLS = """
    select
        asked.learner_id, asked.week, skills.skill_id,
        first(skills.p_mastery_before order by skills.known_at, skills.opportunity)
            as p_before,
        last(skills.p_mastery_after order by skills.known_at, skills.opportunity) as p_after
    from asked_summaries as asked
    inner join marts.response_skills as skills
        on skills.learner_id = cast(asked.learner_id as uuid)
        and skills.known_at < asked.as_of
        and skills.known_at >= asked.begins_at
    group by all
    order by all
"""


class Standing(NamedTuple):
    """An alert as the week closed: its title, tier, opening, and whether it closed well in it."""

    title: str
    alert_tier: int
    opened_at: datetime
    is_recovered: bool


@dataclass
class Week:
    """A week that a tick closes; ``begins_at`` and ``as_of`` (the tick) are naive UTC."""

    monday: date
    begins_at: datetime
    as_of: datetime
    alerts: dict[str, list[Standing]] = field(default_factory=lambda: defaultdict(list))


def week_closed(since: datetime, as_of: datetime, zone: str) -> date | None:
    """The Monday of the ISO week (in ``zone``) that ends in ``(since, as_of]``; None: none does."""
    local = as_of.replace(tzinfo=UTC).astimezone(ZoneInfo(zone))
    monday = local.date() - timedelta(days=local.weekday())
    return monday - timedelta(days=7) if since < _midnight(monday, zone) <= as_of else None


def close_week(monday: date, as_of: datetime, zone: str, state: OpenState, policy: Policy) -> Week:
    """The week with the alerts as they stand while the tick closes it.

    Alerts that are held out by lot are left out: nobody is to be told of them.
    """
    week = Week(monday, _midnight(monday, zone), as_of)
    held_out = state.held_out()
    for (learner, _, _), alert in sorted(state.alerts.items()):
        recovered = (
            alert.close_reason == "recovered"
            and alert.closed_at is not None
            and alert.closed_at > week.begins_at
        )
        if (alert.status != "closed" or recovered) and alert.alert_id not in held_out:
            entry = policy.rules.get(alert.rules[0]) if alert.rules else None
            title = alert.key[2] if entry is None else entry.title
            week.alerts[learner].append(
                Standing(title, alert.alert_tier, alert.opened_at, recovered)
            )
    return week


def summarise(
    warehouse: duckdb.DuckDBPyConnection,
    weeks: Sequence[Week],
    policy: Policy,
    titles: Mapping[str, str],
    learners_of: Callable[[datetime], Sequence[str]],
    coach_of: Callable[[str, datetime], str],
) -> list[dict[str, Any]]:
    """Rows of ``learner_summaries`` for the weeks.

    ``learners_of`` gives who is on a caseload at an instant (nobody: no caseloads are known).
    """
    asked = []
    for week in weeks:
        learners = list(learners_of(week.as_of))
        if not learners:
            seen = frame(warehouse, SEEN_LATELY, {"as_of": week.as_of, "week": week.monday})
            learners = list(seen["learner_id"])
        asked += [(learner, week) for learner in sorted(learners)]
    if not asked:
        return []
    warehouse.register(
        "asked_summaries_text",
        pd.DataFrame(
            [(who, str(week.monday), week.begins_at, week.as_of) for who, week in asked],
            columns=["learner_id", "week", "begins_at", "as_of"],
        ).astype({"begins_at": "datetime64[us]", "as_of": "datetime64[us]"}),
    )
    warehouse.execute(
        "create or replace temp view asked_summaries as "
        "select * replace (cast(week as date) as week) from asked_summaries_text"
    )
    activity = {(r.learner_id, _day(r.week)): r for r in rows_of(frame(warehouse, ACTIVITY))}
    skills: dict[tuple[str, date], list[Any]] = defaultdict(list)
    for row in rows_of(frame(warehouse, SKILLS)):
        skills[row.learner_id, _day(row.week)].append(row)
    warehouse.execute("drop view asked_summaries")
    warehouse.unregister("asked_summaries_text")
    return [
        _row(
            learner,
            week,
            activity.get((learner, week.monday)),
            skills.get((learner, week.monday), []),
            policy,
            titles,
            coach_of(learner, week.as_of),
        )
        for learner, week in asked
    ]


def _row(
    learner: str,
    week: Week,
    seen: Any | None,
    skills: Sequence[Any],
    policy: Policy,
    titles: Mapping[str, str],
    coach_id: str,
) -> dict[str, Any]:
    alerts = week.alerts.get(learner, [])
    year, number, _ = week.monday.isocalendar()
    return {
        "learner_id": learner,
        "iso_week": f"{year}-W{number:02d}",
        "week_start_date": week.monday,
        "coach_id": coach_id,
        "active_days": 0 if seen is None else int(seen.active_days),
        "answers": 0 if seen is None else int(seen.answers),
        "open_alerts": sum(not alert.is_recovered for alert in alerts),
        "went_well": _went_well(seen, skills, alerts, policy, titles),
        "changed": _changed(seen),
        "to_watch": _to_watch(seen, skills, alerts, policy, titles),
        "as_of": week.as_of,
    }


def _went_well(
    seen: Any | None,
    skills: Sequence[Any],
    alerts: Sequence[Standing],
    policy: Policy,
    titles: Mapping[str, str],
) -> str:
    said = []
    if seen is not None and seen.active_days:
        days = int(seen.active_days)
        said.append(f"active on {days} day{'' if days == 1 else 's'}")
        if seen.answers:
            said.append(f"{int(seen.answers)} answers, {seen.correct / seen.answers:.0%} right")
    line = policy.mastered_at
    mastered = [s.skill_id for s in skills if s.p_before < line <= s.p_after]
    if mastered:
        said.append(f"newly mastered: {_names(mastered, titles)}")
    said += [f"{alert.title.lower()}: sorted out" for alert in alerts if alert.is_recovered][:NAMED]
    return "; ".join(said) if said else "nothing recorded this week"


def _changed(seen: Any | None) -> str:
    if seen is None:
        return "not seen yet"
    if not seen.active_days:
        return f"not active this week; last seen {seen.last_date:%Y-%m-%d}"
    if not seen.has_history:
        return "too early to compare with earlier weeks"
    said = [f"active days {int(seen.active_days)}, usually {seen.usual_days:.1f}"]
    if seen.answers >= 10 and seen.answers_before >= 10:
        now, before = seen.correct / seen.answers, seen.correct_before / seen.answers_before
        said.append(f"right answers {now:.0%}, {before:.0%} in the four weeks before")
    return "; ".join(said)


def _to_watch(
    seen: Any | None,
    skills: Sequence[Any],
    alerts: Sequence[Standing],
    policy: Policy,
    titles: Mapping[str, str],
) -> str:
    standing = sorted(
        (alert for alert in alerts if not alert.is_recovered),
        key=lambda alert: (-alert.alert_tier, alert.opened_at, alert.title),
    )
    said = [
        f"open since {alert.opened_at:%Y-%m-%d}: {alert.title.lower()} "
        f"(alert tier {alert.alert_tier})"
        for alert in standing[:NAMED]
    ]
    weak = [s for s in skills if s.p_after < policy.mastered_at]
    if weak:
        far = min(weak, key=lambda s: (s.p_after, s.skill_id))
        name = name_of(titles, far.skill_id)
        said.append(f"furthest from mastered: {name} ({far.p_after:.2f})")
    if seen is None:
        said.append("has not started yet")
    elif not seen.active_days:
        said.append("was not there this week")
    return "; ".join(said) if said else "nothing stands out"


def _names(skill_ids: Sequence[str], titles: Mapping[str, str]) -> str:
    names = [name_of(titles, skill) for skill in skill_ids]
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def _day(value: Any) -> date:
    return pd.Timestamp(value).date()


def _midnight(day: date, zone: str) -> datetime:
    """The start of a local day, as naive UTC."""
    local = datetime.combine(day, time(), ZoneInfo(zone))
    return local.astimezone(UTC).replace(tzinfo=None)
