"""One window of ticks, from marts and open state to candidates.

The hour is a window of one tick, a backfill or a rehearsal one of many; both come through here.
Signals are found in one pass over the window; only the fold over time goes tick by tick.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType
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
from tutorflow.decide.crowds import note_tries
from tutorflow.decide.encounters import Encounters, item_finder, load_encounters
from tutorflow.decide.exposures import exposures_at
from tutorflow.decide.flags import flags
from tutorflow.decide.frames import Frames, frame, load_frames, rows_of
from tutorflow.decide.good_news import Return, good_news, returns, with_returns
from tutorflow.decide.open_state import Opened
from tutorflow.decide.outgoing import Outgoing
from tutorflow.decide.rule import RULES
from tutorflow.decide.signals import Findings, find
from tutorflow.decide.states import Fact, Learner, standing_facts
from tutorflow.decide.surroundings import FAR_PAST, Concerned, Surroundings, surroundings
from tutorflow.policy import Policy, load_policy
from tutorflow.publish import Candidates, last_committed_tick
from tutorflow.publish.inbox import Inbox, open_inbox
from tutorflow.pull import source_watermarks
from tutorflow.roster import Roster, core_skills_of, load_roster
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
    # whose signals wait, of whom the answers are read as well; None: everybody's are read
    waiting: Collection[str] | None = None
    inbox: Inbox = field(default_factory=lambda: Inbox({}, frozenset))  # what people wrote


@dataclass(frozen=True)
class Window:
    """All that a span is decided from, next to the open state.

    ``watermark`` says how far a rule may look at each of its ticks. ``judges_all``: the states of
    all learners at hand are judged at its first tick, since the roster has changed.
    """

    span: Span
    policy: Policy
    frames: Frames
    found: Findings
    around: Surroundings
    watermark: Watermark
    late_horizon: timedelta
    encounters: Encounters = field(default_factory=Encounters)
    judges_all: bool = False


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
            _whose_signals_wait(opened.state),
            open_inbox(settings, ends, lambda ids: _known_learners(warehouse, ids)),
        )
        frames = read_frames(warehouse, settings, roster, span)
        watermark = watermarks(sources, frames.source_courses)
        settling = settling_of(opened.state)
        window = gather(warehouse, settings, policy, roster, span, frames, watermark, settling)
        around = window.around
        opened.use_coaches(around.coaches)
        opened.remember_fired(settings, policy, first, around.is_out_of_scope)
        opened.load_spells(settings, {*(span.learners or ()), *window.found.signals["learner_id"]})
        window = replace(
            meet(warehouse, settings, window, opened.state),
            judges_all=last is not None and opened.roster_version != roster.version,
        )
        _load_concerned(warehouse, settings, window, opened)
        log: list[dict[str, Any]] = []
        moments: dict[tuple[str, str], pd.Timestamp] = {}
        exposures: list[Any] = []
        returned: list[Return] = []
        concerned = {
            *(span.learners or ()),
            *window.found.signals["learner_id"],
            *frames.enrolments["learner_id"],
        }
        told = good_news(frames, policy, start, ends[-1], around.titles, around.is_out_of_scope)
        outgoing = Outgoing(settings, policy, roster, around, opened, first, concerned, told)

        def on_tick(index: int, news: list[Fact], changes: Changes) -> None:
            _note_moments(moments, ends[index], news, opened.state)
            touched = [opened.state.alerts[key] for key in changes.touched]
            exposures.extend(exposures_at(ends[index], touched, policy))
            returned.extend(returns(touched, ends[index]))
            outgoing.hear(ends[index], news, changes)
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
        taken = span.inbox.tables()
        candidates = build_candidates(
            warehouse,
            settings,
            policy,
            ticks,
            opened,
            changes,
            frames,
            around,
            moments,
            log,
            outgoing.not_committed(taken["inbox_taken"]),
        )
        kind = with_returns(told, returned, policy, around.is_out_of_scope)
        heard = {
            "exposures": exposures,
            "good_news": kind,
            **taken,
            **outgoing.tables(warehouse),
        }
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
        core_skills_of(roster),
        flags(settings, span.inbox, span.first, span.ends, span.start),
        span.waiting,
    )


def gather(
    warehouse: duckdb.DuckDBPyConnection,
    settings: Settings,
    policy: Policy,
    roster: Roster,
    span: Span,
    frames: Frames,
    watermark: Watermark,
    settling: Mapping[str, Collection[int]] = MappingProxyType({}),
) -> Window:
    """What a policy finds in the frames, and all else that it decides from.

    ``settling``: see :func:`tutorflow.decide.signals.find`.
    """
    around = surroundings(
        roster, policy, settings.timezone, frames.enrolment_changes, _course_ends(warehouse)
    )
    start, end = pd.Timestamp(span.start), pd.Timestamp(span.ends[-1])
    found = find(frames, policy, start, end, around.titles, settling)
    return Window(span, policy, frames, found, around, watermark, settings.late_horizon)


def meet(
    warehouse: duckdb.DuckDBPyConnection, settings: Settings, window: Window, state: OpenState
) -> Window:
    """The window with its encounters: contacts, appointments, and what many learners met."""
    signals, span, guard = window.found.signals, window.span, window.policy.fatigue.cohort_guard
    learners = {*signals["learner_id"], *(hold.learner_id for hold in state.holds.values())}
    learners |= {key[0] for key, alert in state.alerts.items() if alert.status != "closed"}
    columns = ["course_id", "rule_id", "learner_id"]
    fired = signals[columns].drop_duplicates()
    counts = Counter(zip(fired["course_id"], fired["rule_id"], strict=True))
    counts.update({key: len(who) for key, who in state.fired.items()})
    crowded = {course for (course, _), n in counts.items() if n >= guard.share * guard.learners}
    met = load_encounters(
        warehouse,
        window.policy,
        settings.timezone,
        span.first,
        span.ends,
        learners,
        crowded,
    )
    return replace(window, encounters=met)


def settling_of(state: OpenState) -> dict[str, set[int]]:
    """How many items without its signal open alerts ask for, by rule."""
    asked: dict[str, set[int]] = defaultdict(set)
    for alert in state.alerts.values():
        for evidence in alert.evidence if alert.status != "closed" else ():
            if evidence.recovery is not None and evidence.recovery[0] == "items_without_signal":
                asked[evidence.signal.rule_id].add(evidence.recovery[1])
    return asked


def _load_concerned(
    warehouse: duckdb.DuckDBPyConnection, settings: Settings, window: Window, opened: Opened
) -> None:
    """States and facts of the learners whom the calendar or a timer concerns in the window."""
    span, tracker = window.span, opened.tracker
    concerned = window.around.changing_between(span.first, span.ends[-1])
    if window.judges_all:
        concerned.append((None, None))
    opened.load_spells_of(settings, concerned)
    if span.learners is not None:
        without = sorted({learner for learner, _ in tracker.spells} - set(span.learners))
        for fact in standing_facts(warehouse, without, span.first):
            tracker.learn(fact)


def decide_window(window: Window, opened: Opened, on_tick: OnTick) -> Changes:
    """Move ``opened`` over the ticks of the window, one by one; nothing is read or written."""
    span, around, policy, tracker = window.span, window.around, window.policy, opened.tracker
    inputs = _tick_inputs(window, opened.state)
    prior, facts = _facts(
        window.frames, span.ends, span.first, None if span.is_first else span.late
    )
    facts = [
        [fact for fact in news if around.is_in_pilot(fact.learner_id, fact.course_id, fact.at)]
        for news in facts
    ]
    for fact in prior:
        tracker.learn(fact)
    met = window.encounters
    context = Context(
        around.coach_of,
        around.is_out_of_scope,
        around.core_skills,
        window.late_horizon,
        around.resumes_at,
        around.profile_of,
        around.coach_named,
        met.next_session_at,
        met.last_contact_at,
        met.active_learners,
        item_finder(window.frames.responses),
    )
    note_tries(opened.state.tries, (one for one in met.tries if one.at < span.first))
    changes, since = Changes(), span.first
    for index, tick in enumerate(inputs):
        changes.touched.clear()
        tick.said.extend(span.inbox.take(index, tick.as_of, opened.state.alerts.values()))
        advance_alerts(opened.state, tick, context, policy, window.watermark, changes)
        tracker.advance(
            tick.as_of,
            facts[index],
            [
                *(key[:2] for key in changes.touched),
                *_concerned(around.changing_between(since, tick.as_of), tracker.spells),
                *(tracker.spells if window.judges_all and index == 0 else ()),
            ],
            opened.state,
            around.is_out_of_scope,
        )
        since = tick.as_of
        on_tick(index, facts[index], changes)
    return changes


def _concerned(changing: list[Concerned], known: Collection[Learner]) -> list[Learner]:
    """The learners with a state whom changes of the calendar or of enrolments concern."""
    alone = [(learner, course) for learner, course in changing if learner and course]
    many = {(learner, course) for learner, course in changing if not (learner and course)}
    found = [who for who in alone if who in known]
    if many:
        found += [
            who
            for who in known
            if not many.isdisjoint({(who[0], None), (None, who[1]), (None, None)})
        ]
    return found


def watermarks(sources: pd.DataFrame, source_courses: pd.DataFrame) -> Watermark:
    """How far a rule may look on a course at a tick: never past the tick or a feed it needs.

    A source counts for the courses it declares, else for those it has sent events of; a retired
    source no longer counts, one that never delivered holds back the courses it declares. The
    slowest source that delivers any of the rule's event types counts. None where the sources do
    not deliver all that the rule needs: it sleeps there.
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
            and set(RULES[rule].event_types) & set(row.event_types)
        ]
        if RULES[rule].missing({name for row in feeds for name in row.event_types}):
            return None
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


def _whose_signals_wait(state: OpenState) -> set[str]:
    signals = [*(evidence.signal for evidence in state.waiting.values()), *state.late.values()]
    return {signal.learner_id for signal in signals}


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
    outside_pilot: Counter[int] = Counter()
    effective = datetime.combine(policy.effective_from, datetime.min.time())
    unknown = found.signals[~found.signals["signal_id"].isin(list(state.recorded))]
    for row in rows_of(unknown[unknown["fired_at"] >= effective]):
        signal = Signal(**{**row._asdict(), "fired_at": row.fired_at.to_pydatetime()})
        index = bisect_right(ends, signal.fired_at)
        if not signal.is_urgent and not window.around.is_in_pilot(
            signal.learner_id, signal.course_id, signal.fired_at
        ):
            if signal.fired_at >= (ends[index - 1] if index else first):
                outside_pilot[index] += 1
            continue
        if signal.is_urgent or not RULES[signal.rule_id].is_absence:
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
    if window.around.has_pauses:
        for event in _returns(window.frames.days, concerned, again, first):
            if event.at < ends[-1]:
                inputs[bisect_right(ends, event.at)].recoveries.append(event)
    for one in window.encounters.tries:
        if one.at >= first:
            inputs[bisect_right(ends, one.at)].tries.append(one)
    unsupported = _unsupported(found, state, policy, late, first)
    inputs[0] = replace(inputs[0], unsupported=unsupported)
    return [replace(tick, outside_pilot=outside_pilot[index]) for index, tick in enumerate(inputs)]


def _returns(
    days: pd.DataFrame, learners: Collection[str], again: Collection[str], first: datetime
) -> Iterator[RecoveryEvent]:
    """Any activity of these learners: who was silent through a pause has come back."""
    at = days["first_activity_at"].where(days["time_precision"] != "day", days["known_at"])
    is_new = (at >= first) | days["learner_id"].isin(list(again))
    rows = days.assign(at=at)[is_new & days["learner_id"].isin(list(learners))]
    for row in rows_of(rows):
        moment = row.at.to_pydatetime()
        yield RecoveryEvent("returned", row.learner_id, row.course_id, None, 1, moment, moment)


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
    """Signals on alerts or held that late events have undone: fired before, not found any more."""
    if not late:
        return frozenset()
    start = found.start.to_pydatetime()
    ids = set(found.signals["signal_id"])
    waiting = {
        signal_id
        for signal_id, evidence in state.waiting.items()
        if evidence.signal.learner_id in late
        and start <= evidence.signal.fired_at < first
        and signal_id not in ids
    }
    return frozenset(waiting) | frozenset(
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
        "outside_pilot_count": changes.outside_pilot[as_of],
    }
