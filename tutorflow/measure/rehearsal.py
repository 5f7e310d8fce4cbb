"""Rehearsal: what another policy would have done over the past weeks, from the marts alone.

Both policies, the one in force and the candidate, go over the same ticks
(:mod:`tutorflow.measure.replay`). The policy in force must give again what was published; what
differs because events arrived late is told apart.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from tutorflow import hours
from tutorflow.measure.estimates import share_interval
from tutorflow.measure.replay import (
    COMPARED,
    Plan,
    Progress,
    Rehearsed,
    late_learners,
    make_plan,
    open_before,
    play_all,
    set_stage,
)
from tutorflow.policy import Policy, load_policy
from tutorflow.publish import read_table
from tutorflow.publish.inbox import accepted
from tutorflow.roster import Roster, load_roster
from tutorflow.settings import Settings
from tutorflow.warehouse import open_warehouse

SAME_CASE = timedelta(hours=48)  # an alert within this time of a published one is about the same
RIGHT = ("useful", "already_handled")


@dataclass(frozen=True)
class Difference:
    """A published alert that the policy in force does not give again, or the other way round."""

    alert_id: str
    learner_id: str
    opened_at: datetime
    what: str
    why: str


@dataclass(frozen=True)
class Precision:
    """Of the alerts that were also published: how many are known to have been right."""

    alerts: int
    judged: int
    right: int
    followed: int
    needed: int

    def shares(self) -> dict[str, tuple[float, float, float, int] | None]:
        """name -> (share, low, high, n) of verdicts and of outcomes; None: nothing is known."""
        return {
            "verdicts": _share(self.right, self.judged),
            "outcomes": _share(self.needed, self.followed),
        }


@dataclass(frozen=True)
class Rehearsal:
    """A rehearsal of ``ticks`` ticks from ``start`` to ``end`` (naive UTC).

    ``differences``: where the policy in force, gone over again, differs from what was published;
    empty when ticks were cut anew. ``notes``: what a reader must know besides. ``gained`` and
    ``lost``: learners with an alert of tier 2 or higher under one policy alone: learner_id,
    course_id, layer, rules.
    """

    start: datetime
    end: datetime
    ticks: int
    capacity: Mapping[str, int]
    in_force: Rehearsed
    candidate: Rehearsed | None
    gained: pd.DataFrame
    lost: pd.DataFrame
    precision: Mapping[str, Precision]
    differences: list[Difference] = field(default_factory=list)
    is_as_decided: bool = True
    notes: list[str] = field(default_factory=list)


def rehearse(
    settings: Settings,
    candidate: Policy | None,
    start: datetime,
    end: datetime,
    every: hours.Tick | None = None,
    progress: Progress | None = None,
) -> Rehearsal:
    """Go over the ticks in (start, end] (aware UTC) with the policy in force and the candidate.

    ``every``: cut the time anew instead of taking the ticks that were decided. Raises
    TutorflowError when there is no tick.
    """
    plan = make_plan(settings, hours.to_naive_utc(start), hours.to_naive_utc(end), every)
    in_force, roster = load_policy(settings.policy_path), load_roster(settings)
    policies = [in_force]
    if candidate is not None:
        early = min(candidate.effective_from, plan.begins.date())
        policies.append(candidate.model_copy(update={"effective_from": early}))
    with open_warehouse(settings, read_only=True) as warehouse:
        stage = set_stage(warehouse, settings, policies, roster, plan)
        opened = open_before(stage, progress)
        mine, *others = play_all(stage, opened, progress)
        theirs = others[0] if others else None
        late = late_learners(warehouse, settings, plan) if plan.is_as_decided else set()
    published = read_table(settings, "alerts")
    shown = theirs or mine
    return Rehearsal(
        start=plan.begins,
        end=plan.ends[-1],
        ticks=len(plan.ends),
        capacity={
            name: coach.capacity_per_day for name, coach in stage.windows[0].around.coaches.items()
        },
        in_force=mine,
        candidate=theirs,
        gained=_only(shown, mine),
        lost=_only(mine, shown),
        precision=_precision(settings, published, mine, theirs),
        differences=_differences(mine, published, plan, late) if plan.is_as_decided else [],
        is_as_decided=plan.is_as_decided,
        notes=_notes(plan, in_force, roster),
    )


# -- beside what was published ---------------------------------------------------------------------


def _differences(
    mine: Rehearsed, published: pd.DataFrame, plan: Plan, late: set[str]
) -> list[Difference]:
    """Alerts of the rehearsed time that were published otherwise, and why."""
    inside = (published["opened_at"] > plan.begins) & (published["opened_at"] <= plan.ends[-1])
    # What happened to an alert after the rehearsal is no difference.
    columns = COMPARED if plan.is_last else COMPARED[:5]
    was = _by_id(published[inside], columns)
    now = _by_id(mine.alerts, columns)
    strays = {
        row["coach_id"]
        for row in [*was.values(), *now.values()]
        if row.get("coach_id") is not None and row["learner_id"] in late
    }
    found = []
    for alert_id in sorted({*was, *now}):
        one, other = was.get(alert_id), now.get(alert_id)
        if one == other:
            continue
        row = one or other or {}
        if one is None or other is None:
            what = "not published" if one is None else "published, not given again"
        else:
            what = "other " + ", ".join(name for name in columns if one[name] != other[name])
        coach = row.get("coach_id")
        found.append(
            Difference(
                alert_id,
                row["learner_id"],
                _opened(mine.alerts, published, alert_id),
                what,
                _why(row["learner_id"], coach, late, strays, plan),
            )
        )
    return found


def _why(learner_id: str, coach: str | None, late: set[str], strays: set[str], plan: Plan) -> str:
    if learner_id in late:
        return "events of this learner landed after their tick was decided"
    if plan.log["policy_version"].nunique() > 1:
        return "another policy was in force"
    if coach is not None and coach in strays:
        return "the coach's day was filled otherwise, because of late events of somebody else"
    return "unexplained"


def _by_id(alerts: pd.DataFrame, columns: list[str]) -> dict[str, dict[str, Any]]:
    rows = alerts[columns].astype("object")
    plain = rows.where(rows.notna(), None)
    return {row["alert_id"]: {k: _plain(v) for k, v in row.items()} for row in _records(plain)}


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    records: list[Any] = rows.to_dict("records")
    return records


def _plain(value: Any) -> Any:
    if isinstance(value, pd.Timestamp):
        return value.to_pydatetime()
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _opened(mine: pd.DataFrame, published: pd.DataFrame, alert_id: str) -> datetime:
    both = pd.concat([published[["alert_id", "opened_at"]], mine[["alert_id", "opened_at"]]])
    at: datetime = both.loc[both["alert_id"] == alert_id, "opened_at"].iloc[0].to_pydatetime()
    return at


def _only(one: Rehearsed, other: Rehearsed) -> pd.DataFrame:
    """Learners to whom the one policy alone sends a person, and the rules behind it."""
    keys = ["learner_id", "course_id", "layer"]
    known = {tuple(row) for row in other.deliveries[keys].itertuples(index=False)}
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in _records(one.deliveries):
        who = tuple(row[name] for name in keys)
        if who not in known:
            rules = rows.setdefault(who, {**{k: row[k] for k in keys}, "rules": []})["rules"]
            rules += [rule for rule in json.loads(row["rules"]) if rule not in rules]
    return pd.DataFrame([rows[who] for who in sorted(rows)], columns=[*keys, "rules"])


# -- were they right? ------------------------------------------------------------------------------


def _precision(
    settings: Settings, published: pd.DataFrame, mine: Rehearsed, theirs: Rehearsed | None
) -> dict[str, Precision]:
    given = accepted(read_table(settings, "inbox_taken"), "alert_verdicts")
    verdicts = dict(zip(given["alert_id"], given["verdict"], strict=True))  # the last one counts
    outcomes = read_table(settings, "alert_outcomes")
    final = outcomes[
        (outcomes["label"] != "still_open")
        & ~outcomes["was_contacted"].fillna(False)
        & (outcomes["arm"] == "treated")
    ]
    # Where no person stepped in: was the learner in need, or back by themselves?
    final = final.sort_values(["window_hours", "exposed_at"]).drop_duplicates(
        "alert_id", keep="last"
    )
    needed = dict(zip(final["alert_id"], final["label"] != "resumed", strict=True))
    both = {"in_force": mine} | ({"candidate": theirs} if theirs is not None else {})
    return {name: _known(one, published, verdicts, needed) for name, one in both.items()}


def _known(
    one: Rehearsed, published: pd.DataFrame, verdicts: Mapping[str, str], needed: Mapping[str, bool]
) -> Precision:
    cases = published_cases(one.deliveries, published)
    judged = [verdicts[case] for case in cases if case in verdicts]
    followed = [needed[case] for case in cases if case in needed]
    return Precision(
        alerts=len(set(one.deliveries["alert_id"])),
        judged=len(judged),
        right=sum(verdict in RIGHT for verdict in judged),
        followed=len(followed),
        needed=sum(followed),
    )


def published_cases(deliveries: pd.DataFrame, published: pd.DataFrame) -> list[str]:
    """The published alerts that rehearsed ones are about: same learner, course, layer and time."""
    shown = published[published["delivered_at"].notna()]
    by_key: dict[tuple[str, str, str], list[tuple[datetime, str]]] = defaultdict(list)
    for row in _records(shown[["learner_id", "course_id", "layer", "opened_at", "alert_id"]]):
        key = (row["learner_id"], row["course_id"], row["layer"])
        by_key[key].append((row["opened_at"].to_pydatetime(), row["alert_id"]))
    found: set[str] = set()
    for row in _records(deliveries.drop_duplicates("alert_id")):
        near = [
            (abs(at - row["delivered_at"]), alert_id)
            for at, alert_id in by_key[row["learner_id"], row["course_id"], row["layer"]]
        ]
        same = [alert_id for _, alert_id in near if alert_id == row["alert_id"]]
        close = min((pair for pair in near if pair[0] <= SAME_CASE), default=None)
        if same:
            found.add(same[0])
        elif close is not None:
            found.add(close[1])
    return sorted(found)


def _share(successes: int, n: int) -> tuple[float, float, float, int] | None:
    return None if n == 0 else (successes / n, *share_interval(successes, n), n)


def _notes(plan: Plan, policy: Policy, roster: Roster) -> list[str]:
    """What makes the past different from what is at hand today."""
    if not plan.is_as_decided:
        return ["The time was cut anew: feeds count as complete as they are known to be today."]
    inside = plan.log[plan.log["as_of"].isin(plan.ends)]
    other_policy = int((inside["policy_version"] != policy.fingerprint).sum())
    other_roster = int((inside["roster_version"].fillna("") != (roster.version or "")).sum())
    notes = []
    if other_policy:
        notes.append(f"{other_policy} of {len(inside)} ticks were decided with another policy.")
    if other_roster:
        notes.append(
            f"{other_roster} of {len(inside)} ticks were decided with another roster; today's "
            "rows and their dates are used here."
        )
    return notes
