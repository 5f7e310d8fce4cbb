"""Going over past ticks again: the same functions as the hour's, from the marts alone.

A *plan* says which ticks; a *stage* holds all that they are decided from (frames, watermarks as
each tick had them, what people had written by then). The past before the first tick of interest is
gone over with the policy in force, so that the open state there is what it was. Nothing is written.
"""

from __future__ import annotations

import copy
import json
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from multiprocessing import get_context
from typing import Any

import duckdb
import pandas as pd

from tutorflow import hours
from tutorflow.decide.episodes import OF_ITS_RULE, Alert
from tutorflow.decide.exposures import exposures_at
from tutorflow.decide.frames import SOURCE_COURSES, WITHDRAWALS, frame
from tutorflow.decide.inputs import Span, Window
from tutorflow.decide.open_state import Opened
from tutorflow.decide.signals import Findings
from tutorflow.decide.states import Fact, StateTracker
from tutorflow.decide.ticks import Changes, Hold, OpenState, Watermark
from tutorflow.decide.window import LATEST_LOOK_BACK, decide_window, look_around, meet, watermarks
from tutorflow.errors import TutorflowError
from tutorflow.measure.searching import Search, search, stacked
from tutorflow.policy import Policy
from tutorflow.publish import read_table
from tutorflow.publish.inbox import Inbox, said
from tutorflow.pull import source_watermarks
from tutorflow.pull.watermarks import is_retired
from tutorflow.roster import Roster
from tutorflow.settings import Settings
from tutorflow.warehouse import open_warehouse

# Parts of a policy that come after the rules: what the rules find does not depend on them.
AFTER_THE_RULES = frozenset(
    {
        "version",
        "effective_from",
        "reopen_grace_hours",
        "cooldown_hours",
        "capacity",
        "hold_out",
        "routing",
        "priority",
        "confidence",
        "rules",
    }
)
SIGNALS_SIDE_BY_SIDE = 50_000  # so many are worth another process
OF_A_RULE = (OF_ITS_RULE, "score_below")  # recoveries that one rule's rows tell
Progress = Callable[[int, int, datetime], None]  # ticks done, ticks in all, last tick
# What a rehearsed alert and a published one are compared by.
COMPARED = [
    "alert_id",
    "learner_id",
    "course_id",
    "layer",
    "opening_tier",
    "alert_tier",
    "status",
    "coach_id",
    "opened_at",
    "delivered_at",
    "delivered_tier",
    "closed_at",
    "close_reason",
    "reopened_count",
    "signal_count",
    "rules",
]


@dataclass(frozen=True)
class Rehearsed:
    """What one policy did in the rehearsed time.

    ``alerts``: one row per alert opened in it, as it stood at the end (columns COMPARED).
    ``deliveries``: one row per delivery of tier 2 or higher: alert_id, learner_id, course_id,
    layer, alert_tier, coach_id, day (the coach's), rules. ``held``: alerts that waited for room in
    a coach's day: alert_id, coach_id, day. ``noted``: signals by rule.
    """

    policy_version: str
    alerts: pd.DataFrame
    deliveries: pd.DataFrame
    held: pd.DataFrame
    signals: Mapping[str, int]


# -- which ticks -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """The ticks before the rehearsal, those in it, and the log of those that were decided."""

    first: datetime
    before: list[datetime]
    begins: datetime
    ends: list[datetime]
    log: pd.DataFrame
    is_as_decided: bool
    is_last: bool


def make_plan(settings: Settings, start: datetime, end: datetime, every: hours.Tick | None) -> Plan:
    """The decided ticks in (start, end], naive UTC; or, with ``every``, new ones.

    Raises TutorflowError when there is none.
    """
    log = read_table(settings, "tick_log").sort_values("as_of", ignore_index=True)
    if every is not None:
        zone = settings.timezone
        begins = hours.floor_tick(hours.to_aware_utc(start), every, zone)
        ticks = hours.ticks_between(begins, hours.to_aware_utc(end), every, zone)
        if not ticks:
            raise TutorflowError(f"no whole {every} lies between {start} and {end}.")
        naive = hours.to_naive_utc(begins)
        ends = [hours.to_naive_utc(tick) for tick in ticks]
        return Plan(naive, [], naive, ends, log, is_as_decided=False, is_last=False)
    decided = [at.to_pydatetime() for at in log["as_of"]]
    before = [at for at in decided if at <= start]
    ends = [at for at in decided if start < at <= end]
    if not ends:
        span = f"from {decided[0]} to {decided[-1]}" if decided else "none at all"
        raise TutorflowError(
            f"no tick between {start} and {end} has been decided ({span}). Decide them with "
            "`tutorflow backfill`, or give --every to cut the time anew."
        )
    length = str(log["tick"].iloc[0])
    tick: hours.Tick = "day" if length == "day" else "hour"
    first = hours.previous_tick(hours.to_aware_utc(decided[0]), tick, settings.timezone)
    naive_first = hours.to_naive_utc(first)
    begins = before[-1] if before else naive_first
    return Plan(naive_first, before, begins, ends, log, True, is_last=ends[-1] == decided[-1])


# -- what the ticks are decided from ---------------------------------------------------------------


@dataclass(frozen=True)
class Stage:
    """What the policies are given: a window over all ticks for each, the one in force first.

    Without a ``warehouse`` it may go to another process, which opens its own.
    """

    warehouse: duckdb.DuckDBPyConnection | None
    settings: Settings
    plan: Plan
    windows: list[Window]
    said: Mapping[datetime, list[Any]]
    learners: set[str]


def set_stage(
    warehouse: duckdb.DuckDBPyConnection,
    settings: Settings,
    policies: Sequence[Policy],
    roster: Roster,
    plan: Plan,
) -> Stage:
    """All that the policies, of which the first is in force, decide the ticks from."""
    ends = [*plan.before, *plan.ends]
    learners = set(frame(warehouse, "select distinct learner_id from marts.events")["learner_id"])
    span = _span(plan.first, ends, plan.first - settings.late_horizon, learners, is_first=True)
    own = {index: _own_rules(policies[0], other) for index, other in enumerate(policies) if index}
    searches = _searches(policies[0], [one for one in own.values() if one.rules], plan)
    found = search(warehouse, settings, roster, span, searches)
    source_courses = frame(warehouse, SOURCE_COURSES)
    if plan.is_as_decided:
        watermark = logged_watermarks(settings, plan.log, source_courses)
    else:
        sources = source_watermarks(settings, hours.to_aware_utc(ends[-1]))
        watermark = watermarks(sources, source_courses)
    changes = frame(warehouse, WITHDRAWALS, {"end": ends[-1]})
    known, *fresh = found.findings
    general = replace(
        known,
        signals=known.signals[:0],
        recoveries=known.recoveries[~known.recoveries["kind"].isin(OF_A_RULE)],
    )
    more = iter(fresh)
    findings = [
        known,
        *(
            _joined(
                known,
                next(more) if one.rules else general,
                same_rules(policies[0], policies[index]),
            )
            for index, one in own.items()
        ),
    ]
    windows = [
        Window(
            span,
            policy,
            found.seen,
            found_by,
            look_around(warehouse, settings, policy, roster, changes),
            watermark,
            settings.late_horizon,
        )
        for policy, found_by in zip(policies, findings, strict=True)
    ]
    return Stage(warehouse, settings, plan, windows, _heard(settings, ends), learners)


def _own_rules(in_force: Policy, other: Policy) -> Policy:
    """The policy with the rules alone that may find something else than under the one in force."""
    same = same_rules(in_force, other)
    rules = {name: rule for name, rule in other.rules.items() if rule.enabled and name not in same}
    return other.model_copy(update={"rules": rules})


def _searches(in_force: Policy, others: Sequence[Policy], plan: Plan) -> list[Search]:
    """A search with the policy in force, and one with each of the others."""
    # What its alerts ask for that are open when the others begin.
    settling = {
        name: [recovery.times]
        for name in in_force.rules
        if plan.before and (recovery := in_force.recovery_of(name)).kind == OF_ITS_RULE
    }
    return [Search(in_force, {}), *(Search(other, settling) for other in others)]


def _span(
    first: datetime,
    ends: list[datetime],
    start: datetime,
    late: set[str],
    is_first: bool,
    inbox: Inbox | None = None,
) -> Span:
    span = Span(first, ends, start, None, late, is_first)
    return span if inbox is None else replace(span, inbox=inbox)


def logged_watermarks(
    settings: Settings, log: pd.DataFrame, source_courses: pd.DataFrame
) -> Watermark:
    """How far a rule could look at each tick of the log, by what the log says of the sources."""
    texts = {
        at.to_pydatetime(): text for at, text in zip(log["as_of"], log["watermarks"], strict=True)
    }
    return partial(_logged_watermark, settings, texts, source_courses, {})


def _logged_watermark(
    settings: Settings,
    texts: Mapping[datetime, str],
    source_courses: pd.DataFrame,
    built: dict[datetime, Watermark],
    rule: str,
    course: str,
    as_of: datetime,
) -> datetime | None:
    if as_of not in built:
        sources = _sources_at(settings, as_of, json.loads(texts[as_of]))
        built[as_of] = watermarks(sources, source_courses)
    return built[as_of](rule, course, as_of)


def _sources_at(settings: Settings, as_of: datetime, until: Mapping[str, str]) -> pd.DataFrame:
    """As `source_watermarks`, of a tick of the past."""
    now = hours.to_aware_utc(as_of)
    return pd.DataFrame(
        {
            "source": [s.name for s in settings.sources],
            "event_types": [list(s.event_types) for s in settings.sources],
            "courses": [None if s.courses is None else list(s.courses) for s in settings.sources],
            "complete_until": pd.Series(
                [
                    pd.Timestamp(until[s.name]) if s.name in until else pd.NaT
                    for s in settings.sources
                ],
                dtype="datetime64[us]",
            ),
            "is_retired": [
                s.name not in until and is_retired(s, settings, now) for s in settings.sources
            ],
        }
    )


def _heard(settings: Settings, ends: list[datetime]) -> dict[datetime, list[Any]]:
    """What people said, by the tick that hears it."""
    rows = read_table(settings, "inbox_taken", {"verdict": "accepted"})
    heard: dict[datetime, list[Any]] = defaultdict(list)
    for row in rows.sort_values(["written_at", "inbox", "row_id"]).to_dict("records"):
        content = json.loads(row["content"])
        at = content.get("at")
        content["at"] = None if at is None else datetime.fromisoformat(at)
        note = said(row["inbox"], row["row_id"], content)
        index = bisect_left(ends, row["taken_at"].to_pydatetime())
        if note is not None and index < len(ends):
            heard[ends[index]].append(note)
    return heard


@dataclass
class _Replayed(Inbox):
    """The inbox as the ticks found it."""

    heard: Mapping[datetime, list[Any]] = field(default_factory=dict)

    def take(self, index: int, as_of: datetime, alerts: Iterable[Any]) -> list[Any]:
        return list(self.heard.get(as_of, ()))


# -- going over the ticks --------------------------------------------------------------------------


def open_before(stage: Stage, progress: Progress | None) -> Opened:
    """What was open when the plan's own ticks begin: the one in force over all ticks before."""
    in_force = stage.windows[0]
    opened = Opened(OpenState(), StateTracker(in_force.policy), None)
    if stage.plan.before:
        ends = stage.plan.before
        span = _span(
            stage.plan.first,
            ends,
            stage.plan.first - stage.settings.late_horizon,
            stage.learners,
            True,
            _Replayed({}, frozenset, heard=stage.said),
        )
        window = _window(stage, in_force, span, opened.state)
        decide_window(window, opened, _teller(ends, progress))
    return opened


def play_all(stage: Stage, opened: Opened, progress: Progress | None) -> list[Rehearsed]:
    """What each policy of the stage did, from the same open state on; long ones side by side."""
    first, *others = stage.windows
    if not others:
        return [play(stage, first, opened, progress)]
    if len(first.found.signals) < SIGNALS_SIDE_BY_SIDE:
        return [play(stage, one, copy.deepcopy(opened), progress) for one in stage.windows]
    bare = replace(stage, warehouse=None, windows=[])
    with ProcessPoolExecutor(len(others), mp_context=get_context("spawn")) as processes:
        apart = [processes.submit(_play_apart, bare, one, opened) for one in others]
        mine = play(stage, first, copy.deepcopy(opened), progress)
        return [mine, *(one.result() for one in apart)]


def _play_apart(stage: Stage, whole: Window, opened: Opened) -> Rehearsed:
    with open_warehouse(stage.settings, read_only=True) as warehouse:
        return play(replace(stage, warehouse=warehouse), whole, opened, None)


def play(stage: Stage, whole: Window, opened: Opened, progress: Progress | None) -> Rehearsed:
    """Move the open state over the rehearsed ticks and collect what happened.

    ``whole`` is one of the windows of the stage.
    """
    plan, policy = stage.plan, whole.policy
    start = _start(stage)
    span = _span(
        plan.begins,
        plan.ends,
        start,
        set() if plan.before else stage.learners,
        not plan.before,
        _Replayed({}, frozenset, heard=stage.said),
    )
    window = _window(stage, whole, span, opened.state)
    opened.tracker.policy = policy
    deliveries: list[dict[str, Any]] = []
    tell = _teller(plan.ends, progress)

    def on_tick(index: int, news: list[Fact], changes: Changes) -> None:
        touched = [opened.state.alerts[key] for key in changes.touched]
        deliveries.extend(exposures_at(plan.ends[index], touched, policy))
        tell(index, news, changes)

    changes = decide_window(window, opened, on_tick)
    opened_here = [a for a in changes.alerts.values() if a.opened_at > plan.begins]
    everyone = {**changes.alerts, **{a.alert_id: a for a in opened.state.alerts.values()}}
    return Rehearsed(
        policy.fingerprint,
        _frame([_alert_row(alert) for alert in opened_here], COMPARED),
        _delivered(deliveries, window),
        _held(changes.holds.values(), everyone, window),
        Counter(signal.rule_id for signal, *_ in changes.dispositions.values()),
    )


def _window(stage: Stage, whole: Window, span: Span, state: OpenState) -> Window:
    """The part of a window over all ticks that lies in the span."""
    assert stage.warehouse is not None
    window = replace(whole, span=span, found=_cut(whole.found, span.start, span.ends[-1]))
    return meet(stage.warehouse, stage.settings, window, state)


def same_rules(one: Policy, other: Policy) -> set[str]:
    """The enabled rules that find the same under both policies."""
    if any(
        getattr(one, name) != getattr(other, name)
        for name in type(one).model_fields
        if name not in AFTER_THE_RULES
    ):
        return set()
    mine, theirs = one.enabled_rules(), other.enabled_rules()
    return {name for name in mine if name in theirs and mine[name][1] == theirs[name][1]}


def _joined(known: Findings, fresh: Findings, same: set[str]) -> Findings:
    """What is known of the rules of ``same``, and what was found anew of all others."""
    of_rules = known.recoveries[
        known.recoveries["kind"].isin(OF_A_RULE) & known.recoveries["subject_id"].isin(list(same))
    ]
    signals = [known.signals[known.signals["rule_id"].isin(list(same))], fresh.signals]
    recoveries = [of_rules, fresh.recoveries]
    return Findings(
        stacked(signals).sort_values(["fired_at", "signal_id"], ignore_index=True),
        stacked(recoveries).sort_values(["at", "learner_id", "kind"], ignore_index=True),
        fresh.start,
    )


def _start(stage: Stage) -> datetime:
    """From where signals may be undecided when the rehearsal begins."""
    plan = stage.plan
    if not plan.before:
        return plan.begins - stage.settings.late_horizon
    text = plan.log.loc[plan.log["as_of"] == pd.Timestamp(plan.begins), "watermarks"].iloc[0]
    until = [datetime.fromisoformat(at) for at in json.loads(text).values()]
    return max(min([plan.begins, *until]), plan.begins - LATEST_LOOK_BACK)


def _cut(found: Findings, start: datetime, end: datetime) -> Findings:
    signals, recoveries = found.signals, found.recoveries
    return replace(
        found,
        signals=signals[(signals["fired_at"] >= start) & (signals["fired_at"] < end)],
        recoveries=recoveries[(recoveries["at"] >= start) & (recoveries["at"] < end)],
    )


def _teller(
    ends: list[datetime], progress: Progress | None
) -> Callable[[int, list[Fact], Changes], None]:
    def tell(index: int, news: list[Fact], changes: Changes) -> None:
        if progress is not None:
            progress(index + 1, len(ends), ends[index])

    return tell


def _alert_row(alert: Alert) -> dict[str, Any]:
    row = {name: getattr(alert, name, None) for name in COMPARED}
    learner_id, course_id, layer = alert.key
    return row | {
        "learner_id": learner_id,
        "course_id": course_id,
        "layer": layer,
        "signal_count": len(alert.evidence),
        "rules": json.dumps(alert.rules),
    }


def _delivered(rows: list[dict[str, Any]], window: Window) -> pd.DataFrame:
    columns = [
        "alert_id",
        "learner_id",
        "course_id",
        "layer",
        "alert_tier",
        "coach_id",
        "delivered_at",
        "day",
        "rules",
    ]
    shown = [row for row in rows if row["audience"] == "coach"]
    return _frame(
        [
            {
                **row,
                "delivered_at": row["exposed_at"],
                "day": _day(window, row["coach_id"], row["exposed_at"]),
            }
            for row in shown
        ],
        columns,
    )


def _held(holds: Iterable[Hold], alerts: Mapping[str, Alert], window: Window) -> pd.DataFrame:
    rows = [
        {
            "alert_id": alert.alert_id,
            "coach_id": alert.coach_id,
            "day": _day(window, alert.coach_id, hold.held_at),
        }
        for hold in holds
        if hold.reason == "capacity"
        and (alert := alerts.get(hold.alert_id or "")) is not None
        and hold.held_at > window.span.first
    ]
    return _frame(rows, ["alert_id", "coach_id", "day"])


def _day(window: Window, coach_id: str | None, at: datetime) -> Any:
    coach = window.around.coaches.get(coach_id or "", window.around.default_coach)
    return coach.local_date(at)


def _frame(rows: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=columns)


def late_learners(warehouse: duckdb.DuckDBPyConnection, settings: Settings, plan: Plan) -> set[str]:
    """Learners of whom an event landed after the run that decided its tick had looked."""
    runs = read_table(settings, "run_status", {"state": "published"})
    runs = runs[runs["as_of"].notna()].sort_values(["as_of", "started_at"])
    looked = runs.drop_duplicates("as_of")
    ends = [at.to_pydatetime() for at in looked["as_of"]]
    ticks = plan.log[["as_of"]].copy()
    positions = [
        bisect_right(ends, at.to_pydatetime() - timedelta(microseconds=1)) for at in ticks["as_of"]
    ]
    started = list(looked["started_at"])
    ticks["looked_at"] = pd.Series(
        [started[p] if p < len(started) else pd.NaT for p in positions], dtype="datetime64[us]"
    )
    warehouse.register("rehearsed_ticks", ticks)
    rows = frame(
        warehouse,
        """
        select distinct events.learner_id
        from marts.events as events
        asof join rehearsed_ticks as ticks on events.known_at < ticks.as_of
        where events.landed_at > ticks.looked_at and events.known_at < $until
        """,
        {"until": plan.ends[-1]},
    )
    warehouse.unregister("rehearsed_ticks")
    return set(rows["learner_id"])
