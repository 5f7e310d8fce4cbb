"""One window of ticks, from marts and open state to candidates.

The hour is a window of one tick, a backfill or a rehearsal one of many; both come through here.
Signals are found in one pass over the window; only the fold over time goes tick by tick.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pandas as pd

from tutorflow import hours
from tutorflow.decide import open_state
from tutorflow.decide.alerts import (
    Changes,
    Context,
    OpenState,
    RecoveryEvent,
    Signal,
    TickInput,
    Watermark,
)
from tutorflow.decide.alerts import advance as advance_alerts
from tutorflow.decide.candidates import build_candidates, fit
from tutorflow.decide.exposures import exposures_at
from tutorflow.decide.frames import Frames, frame, load_frames, rows_of
from tutorflow.decide.open_state import Opened
from tutorflow.decide.rule import RULES
from tutorflow.decide.signals import Findings, find
from tutorflow.decide.states import Fact
from tutorflow.decide.surroundings import FAR_PAST, Surroundings, surroundings
from tutorflow.policy import Policy, load_policy
from tutorflow.publish import Candidates, last_committed_tick
from tutorflow.publish.inbox import Inbox, open_inbox
from tutorflow.pull import source_watermarks
from tutorflow.roster import Roster, load_roster
from tutorflow.settings import Settings
from tutorflow.warehouse import open_warehouse

LATEST_LOOK_BACK = timedelta(days=60)  # how far back a late event can still be accounted for
# index of the tick, what became known of learners in it, everything changed up to and with it
OnTick = Callable[[int, list[Fact], Changes], None]


@dataclass(frozen=True)
class Span:
    """Which ticks, and whose; times are naive UTC.

    ``first`` is the start of the first tick, ``ends`` are the ends of the ticks; signals are looked
    for from ``start`` on. ``learners``: those with news or an open alert, None for all. ``late``:
    those with news from before the span; ``is_first``: no tick has been decided before it.
    """

    first: datetime
    ends: list[datetime]
    start: datetime
    learners: list[str] | None
    late: set[str]
    is_first: bool
    inbox: Inbox = field(default_factory=lambda: Inbox({}, frozenset))  # what people wrote


@dataclass(frozen=True)
class Window:
    """All that a span is decided from, next to the open state.

    ``watermark`` says how far a rule may look at each of its ticks.
    """

    span: Span
    policy: Policy
    frames: Frames
    found: Findings
    around: Surroundings
    watermark: Watermark
    late_horizon: timedelta


def advance_window(
    settings: Settings,
    ticks: list[datetime],
    now: datetime,
    progress: Callable[[datetime], None] | None = None,
) -> Candidates:
    """Decide ``ticks`` (aware UTC, in order) and return what to publish; nothing is written.

    ``now`` is when this run looks; sources are complete up to their watermarks as of then.
    """
    policy, roster = load_policy(settings.policy_path), load_roster(settings)
    ends = [hours.to_naive_utc(tick) for tick in ticks]
    first = hours.to_naive_utc(hours.previous_tick(ticks[0], settings.tick, settings.timezone))
    last = last_committed_tick(settings)
    with open_warehouse(settings) as warehouse:
        opened = open_state.load(settings, policy, first)
        undecided = frame(
            warehouse, "select learner_id, earliest_at from landing.undecided_learners"
        )
        sources = source_watermarks(settings, now)
        start = _window_start(first, last, undecided, opened.last_watermark, settings)
        opened.remember_signals(settings, start)
        span = Span(
            first,
            ends,
            start,
            sorted({*undecided["learner_id"], *opened.learners}),
            _late_learners(undecided, first),
            last is None,
            open_inbox(settings, ends, lambda ids: _known_learners(warehouse, ids)),
        )
        frames = read_frames(warehouse, settings, roster, span)
        watermark = watermarks(sources, frames.source_courses)
        window = gather(warehouse, settings, policy, roster, span, frames, watermark)
        around = window.around
        opened.use_coaches(around.coaches)
        opened.load_spells(settings, {*(span.learners or ()), *window.found.signals["learner_id"]})
        log: list[dict[str, Any]] = []
        moments: dict[tuple[str, str], pd.Timestamp] = {}
        exposures: list[Any] = []

        def on_tick(index: int, news: list[Fact], changes: Changes) -> None:
            _note_moments(moments, ends[index], news, opened.state)
            touched = [opened.state.alerts[key] for key in changes.touched]
            exposures.extend(exposures_at(ends[index], touched, policy.fingerprint))
            log.append(
                _log_row(
                    ends[index],
                    settings,
                    policy,
                    roster.version,
                    sources,
                    changes,
                    opened.state,
                )
            )
            if progress is not None:
                progress(ticks[index])

        changes = decide_window(window, opened, on_tick)
        candidates = build_candidates(
            warehouse, settings, policy, ticks, opened, changes, frames, around, moments, log
        )
        heard = {"exposures": exposures, **span.inbox.tables()}
        more = {name: fit(name, rows) for name, rows in heard.items()}
        return replace(candidates, tables={**candidates.tables, **more})


def read_frames(
    warehouse: duckdb.DuckDBPyConnection, settings: Settings, roster: Roster, span: Span
) -> Frames:
    """The mart rows that a span is decided from."""
    return load_frames(
        warehouse,
        span.learners,
        span.start,
        span.ends[-1],
        settings.timezone,
        _starts(roster.enrolments),
        FAR_PAST if span.is_first else span.start - LATEST_LOOK_BACK,
    )


def gather(
    warehouse: duckdb.DuckDBPyConnection,
    settings: Settings,
    policy: Policy,
    roster: Roster,
    span: Span,
    frames: Frames,
    watermark: Watermark,
) -> Window:
    """What a policy finds in the frames, and all else that it decides from."""
    around = surroundings(
        roster, policy, settings.timezone, frames.enrolment_changes, _course_ends(warehouse)
    )
    start, end = pd.Timestamp(span.start), pd.Timestamp(span.ends[-1])
    found = find(frames, policy, start, end, around.titles)
    return Window(span, policy, frames, found, around, watermark, settings.late_horizon)


def decide_window(window: Window, opened: Opened, on_tick: OnTick) -> Changes:
    """Move ``opened`` over the ticks of the window, one by one; nothing is read or written."""
    span, around, policy, tracker = window.span, window.around, window.policy, opened.tracker
    inputs = _tick_inputs(window, opened.state)
    prior, facts = _facts(
        window.frames, span.ends, span.first, None if span.is_first else span.late
    )
    for fact in prior:
        tracker.learn(fact)
    context = Context(
        around.coach_of, around.is_out_of_scope, around.core_skills, window.late_horizon
    )
    changes, since = Changes(), span.first
    for index, tick in enumerate(inputs):
        changes.touched.clear()
        tick.said.extend(span.inbox.take(index, tick.as_of, opened.state.alerts.values()))
        advance_alerts(opened.state, tick, context, policy, window.watermark, changes)
        tracker.advance(
            tick.as_of,
            facts[index],
            [key[:2] for key in changes.touched] + around.pauses_between(since, tick.as_of),
            opened.state,
            around.is_out_of_scope,
        )
        since = tick.as_of
        on_tick(index, facts[index], changes)
    return changes


def watermarks(sources: pd.DataFrame, source_courses: pd.DataFrame) -> Watermark:
    """How far a rule may look on a course at a tick: never past the tick or a feed it needs.

    A source counts for the courses it declares, else for those it has sent events of; a retired
    source no longer counts, one that never delivered holds back the courses it declares. None
    where no source delivers what the rule needs: it sleeps there.
    """
    seen: dict[str, set[str]] = defaultdict(set)
    for row in rows_of(source_courses):
        seen[row.source].add(row.course_id)
    active = [row for row in rows_of(sources) if not row.is_retired]
    cache: dict[tuple[str, str], datetime | None] = {}

    def complete_until(rule: str, course: str) -> datetime | None:
        feeds = [
            row
            for row in active
            if course in (row.courses if row.courses is not None else seen[row.source])
            and set(RULES[rule].needs) & set(row.event_types)
        ]
        times = [
            FAR_PAST if pd.isna(row.complete_until) else row.complete_until.to_pydatetime()
            for row in feeds
        ]
        return min(times) if times else None

    def watermark(rule: str, course: str, as_of: datetime) -> datetime | None:
        if (rule, course) not in cache:
            cache[rule, course] = complete_until(rule, course) if rule in RULES else None
        known = cache[rule, course]
        return None if known is None else min(as_of, known)

    return watermark


def _window_start(
    first: datetime,
    last: datetime | None,
    undecided: pd.DataFrame,
    last_watermark: datetime | None,
    settings: Settings,
) -> datetime:
    """From where signals may be undecided: late events, held feeds, or simply the last tick."""
    if last is None:
        return first - settings.late_horizon
    start = min(first, last_watermark or first)
    if not undecided.empty:
        start = min(start, undecided["earliest_at"].min().to_pydatetime())
    return max(start, first - LATEST_LOOK_BACK)


def _known_learners(warehouse: duckdb.DuckDBPyConnection, ids: Collection[str]) -> set[str]:
    """Which of some pseudonyms have sent any event."""
    known = frame(
        warehouse,
        "select distinct learner_id from marts.events "
        "where cast(learner_id as varchar) in (select unnest($ids))",
        {"ids": sorted(ids)},
    )
    return set(known["learner_id"])


def _late_learners(undecided: pd.DataFrame, first: datetime) -> set[str]:
    return set(undecided.loc[undecided["earliest_at"] < first, "learner_id"])


def _starts(enrolments: pd.DataFrame) -> pd.DataFrame:
    known = enrolments[enrolments["enrolled_at"].notna()]
    return known.rename(columns={"enrolled_at": "starts_at"})


def _course_ends(warehouse: duckdb.DuckDBPyConnection) -> dict[str, datetime]:
    courses = frame(warehouse, "select course_id, ends_at from marts.courses")
    known = courses[courses["ends_at"].notna()]
    return {row.course_id: row.ends_at.to_pydatetime() for row in rows_of(known)}


def _tick_inputs(window: Window, state: OpenState) -> list[TickInput]:
    """Give each signal and each recovery to the tick that decides it."""
    found, policy = window.found, window.policy
    ends, first, late = window.span.ends, window.span.first, window.span.late
    inputs = [TickInput(end) for end in ends]
    held = {hold.signal_id for hold in state.holds.values()}
    delayed: list[tuple[Signal, int]] = []
    effective = datetime.combine(policy.effective_from, datetime.min.time())
    unknown = found.signals[~found.signals["signal_id"].isin(list(state.recorded))]
    for row in rows_of(unknown[unknown["fired_at"] >= effective]):
        signal = Signal(**{**row._asdict(), "fired_at": row.fired_at.to_pydatetime()})
        index = bisect_right(ends, signal.fired_at)
        if not RULES[signal.rule_id].is_absence:
            inputs[index].signals.append(signal)
            continue
        if window.watermark(signal.rule_id, signal.course_id, ends[index]) is None:
            continue  # no source tells of this on the course: the rule sleeps there
        decided = _reached(signal, index, ends, window.watermark)
        if decided != index:
            if signal.signal_id in held:
                state.late[signal.signal_id] = signal
            else:
                inputs[index].held.append(signal)
        if decided is not None:
            inputs[decided].signals.append(signal)
            if decided != index:
                delayed.append((signal, decided))
    concerned = {*found.signals["learner_id"], *(key[0] for key in state.alerts)}
    concerned |= {hold.learner_id for hold in state.holds.values()}
    recoveries = found.recoveries
    # What happened before the first tick has been heard, but for late events and held signals.
    again = late | {hold.learner_id for hold in state.holds.values()}
    is_new = (recoveries["at"] >= first) | recoveries["learner_id"].isin(list(again))
    heard = recoveries[is_new & recoveries["learner_id"].isin(list(concerned))]
    waiting: dict[str, list[tuple[Signal, int]]] = defaultdict(list)
    for signal, decided in delayed:
        waiting[signal.learner_id].append((signal, decided))
    for row in rows_of(heard):
        event = RecoveryEvent(
            row.kind,
            row.learner_id,
            row.course_id,
            None if pd.isna(row.subject_id) else row.subject_id,
            int(row.run),
            row.since.to_pydatetime(),
            row.at.to_pydatetime(),
        )
        inputs[bisect_right(ends, event.at)].recoveries.append(event)
        # A signal that had to wait for its feed hears what happened meanwhile.
        for signal, decided in waiting.get(event.learner_id, ()):
            if signal.fired_at <= event.at < inputs[decided - 1].as_of:
                inputs[decided].recoveries.append(event)
    unsupported = _unsupported(found, state, policy, late, first)
    if unsupported:
        inputs[0] = TickInput(
            inputs[0].as_of, inputs[0].signals, inputs[0].held, inputs[0].recoveries, unsupported
        )
    return inputs


def _reached(signal: Signal, index: int, ends: list[datetime], watermark: Watermark) -> int | None:
    """The first tick, from ``index`` on, at which the feeds have come as far as the signal."""
    for later in range(index, len(ends)):
        until = watermark(signal.rule_id, signal.course_id, ends[later])
        if until is not None and until >= signal.fired_at:
            return later
    return None


def _unsupported(
    found: Findings, state: OpenState, policy: Policy, late: set[str], first: datetime
) -> frozenset[str]:
    """Signals of open alerts that late events have undone: fired before, not found any more."""
    if not late:
        return frozenset()
    start = found.start.to_pydatetime()
    ids = set(found.signals["signal_id"])
    return frozenset(
        evidence.signal.signal_id
        for alert in state.alerts.values()
        if alert.key[0] in late
        and alert.status != "closed"
        and alert.policy_version == policy.fingerprint
        for evidence in alert.evidence
        if start <= evidence.signal.fired_at < first and evidence.signal.signal_id not in ids
    )


def _facts(
    frames: Frames, ends: list[datetime], first: datetime, late: set[str] | None
) -> tuple[list[Fact], list[list[Fact]]]:
    """What was known of learners before the window, and what becomes known at each tick.

    What was before but landed only now (``late`` learners; None: everybody) counts as news.
    """
    days = frames.days
    whole_day = days["time_precision"] == "day"
    rows = pd.concat(
        [
            frames.answer_facts.rename(columns={"known_at": "at"}),
            days.assign(at=days["known_at"].where(whole_day, days["first_activity_at"])),
            frames.enrolments.rename(columns={"starts_at": "at"}),
        ],
        ignore_index=True,
    ).sort_values(["at", "learner_id", "course_id"], kind="stable")
    is_late = True if late is None else rows["learner_id"].isin(list(late))
    rows["is_news"] = (rows["at"] >= first) | is_late
    # Of what was before, the last word on each learner is enough.
    is_before = rows["at"] < first
    last = rows[is_before].groupby(["learner_id", "course_id"], as_index=False).last()
    prior = [_fact(row) for row in rows_of(last[~last["is_news"].astype(bool)])]
    news: list[list[Fact]] = [[] for _ in ends]
    fresh = pd.concat([last[last["is_news"].astype(bool)], rows[~is_before]])
    for row in rows_of(fresh[fresh["at"] < ends[-1]]):
        fact = _fact(row)
        news[bisect_right(ends, fact.at)].append(fact)
    return prior, news


def _fact(row: Any) -> Fact:
    def known(value: Any, kind: type) -> Any:
        return None if pd.isna(value) else kind(value)

    return Fact(
        row.at.to_pydatetime(),
        row.learner_id,
        row.course_id,
        known(row.response_number, int),
        known(row.accuracy_of_last_20, float),
        known(row.active_days, int),
    )


def _note_moments(
    moments: dict[tuple[str, str], pd.Timestamp],
    as_of: datetime,
    facts: list[Fact],
    state: OpenState,
) -> None:
    """A learner's scores are as of the last tick with activity or an open alert."""
    at = pd.Timestamp(as_of)
    for fact in facts:
        moments[fact.learner_id, fact.course_id] = at
    for key, alert in state.alerts.items():
        if alert.status != "closed":
            moments[key[0], key[1]] = at


def _log_row(
    as_of: datetime,
    settings: Settings,
    policy: Policy,
    roster_version: str | None,
    sources: pd.DataFrame,
    changes: Changes,
    state: OpenState,
) -> dict[str, Any]:
    until = {
        row.source: min(row.complete_until.to_pydatetime(), as_of).isoformat()
        for row in rows_of(sources)
        if not pd.isna(row.complete_until) and not row.is_retired
    }
    return {
        "as_of": as_of,
        "tick": settings.tick,
        "policy_version": policy.fingerprint,
        "roster_version": roster_version,
        "watermarks": json.dumps(until, sort_keys=True),
        "signal_count": changes.decided[as_of],
        "opened_count": changes.opened[as_of],
        "closed_count": changes.closed[as_of],
        "held_count": len(state.holds),
    }
