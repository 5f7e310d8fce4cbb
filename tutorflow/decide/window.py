"""One window of ticks, from marts and open state to candidates.

The hour is a window of one tick, a backfill or a rehearsal one of many; both come through here.
Signals are found in one pass over the window; only the fold over time goes tick by tick.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import duckdb
import pandas as pd

from tutorflow import hours
from tutorflow.decide import open_state
from tutorflow.decide.alerts import advance as advance_alerts
from tutorflow.decide.candidates import build_candidates, fit
from tutorflow.decide.crowds import note_tries
from tutorflow.decide.encounters import item_finder, load_encounters
from tutorflow.decide.exposures import exposures_at
from tutorflow.decide.flags import flags
from tutorflow.decide.frames import Frames, frame, load_frames, rows_of
from tutorflow.decide.good_news import Return, good_news, returns, with_returns
from tutorflow.decide.inputs import Span, Window, facts_of, tick_inputs
from tutorflow.decide.open_state import Opened
from tutorflow.decide.outgoing import Outgoing
from tutorflow.decide.rule import RULES
from tutorflow.decide.signals import find
from tutorflow.decide.states import Fact, Learner, standing_facts
from tutorflow.decide.surroundings import FAR_PAST, Concerned, Surroundings, surroundings
from tutorflow.decide.ticks import Changes, Context, OpenState, Watermark
from tutorflow.policy import Policy, load_policy
from tutorflow.publish import Candidates, last_committed_tick
from tutorflow.publish.inbox import open_inbox
from tutorflow.pull import source_watermarks
from tutorflow.roster import Roster, core_skills_of, load_roster
from tutorflow.settings import Settings
from tutorflow.warehouse import open_warehouse

LATEST_LOOK_BACK = timedelta(days=60)  # how far back a late event can still be accounted for
# index of the tick, what became known of learners in it, everything changed up to and with it
OnTick = Callable[[int, list[Fact], Changes], None]


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
        troubled = opened.with_open_alert
        waiting = {hold.learner_id for hold in opened.state.holds.values() if hold.signal_id}
        span = Span(
            first,
            ends,
            start,
            sorted({*undecided["learner_id"], *waiting}),
            _late_learners(undecided, first),
            last is None,
            _whose_signals_wait(opened.state),
            open_inbox(settings, ends, lambda ids: _known_learners(warehouse, ids)),
            troubled,
        )
        opened.read_evidence(set(span.learners or ()))
        frames = read_frames(warehouse, settings, roster, span)
        watermark = watermarks(sources, frames.source_courses)
        settling = settling_of(opened.state, set(span.learners or ()))
        window = gather(warehouse, settings, policy, roster, span, frames, watermark, settling)
        around = window.around
        opened.use_coaches(around.coaches)
        opened.remember_fired(settings, policy, first, around.is_out_of_scope)
        opened.read_evidence(set(window.found.signals["learner_id"]))
        window = replace(
            meet(warehouse, settings, window, opened.state),
            judges_all=last is not None and opened.roster_version != roster.version,
        )
        _load_concerned(settings, window, opened)
        opened.tracker.meet = _meeting(warehouse, settings, span, opened)
        log: list[dict[str, Any]] = []
        moments: dict[tuple[str, str], pd.Timestamp] = {}
        zone = settings.timezone
        exposures: list[Any] = []
        returned: list[Return] = []
        told = good_news(frames, policy, start, ends[-1], around.titles, around.is_out_of_scope)
        outgoing = Outgoing(settings, policy, roster, around, opened, first, told)

        def on_tick(index: int, news: list[Fact], changes: Changes) -> None:
            since = ends[index - 1] if index else first
            days = [hours.local_date(hours.to_aware_utc(at), zone) for at in (since, ends[index])]
            _note_moments(moments, ends[index], news, opened.state, days[0] < days[1])
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
    warehouse: duckdb.DuckDBPyConnection,
    settings: Settings,
    roster: Roster,
    span: Span,
    calendar: pd.DataFrame | None = None,
) -> Frames:
    """The mart rows that a span is decided from; ``calendar`` as for ``load_frames``."""
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
        calendar,
        span.scored,
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
    around = look_around(warehouse, settings, policy, roster, frames.enrolment_changes)
    start, end = pd.Timestamp(span.start), pd.Timestamp(span.ends[-1])
    found = find(frames, policy, start, end, around.titles, settling)
    return Window(span, policy, frames, found, around, watermark, settings.late_horizon)


def look_around(
    warehouse: duckdb.DuckDBPyConnection,
    settings: Settings,
    policy: Policy,
    roster: Roster,
    enrolment_changes: pd.DataFrame,
) -> Surroundings:
    """What the policy knows besides events."""
    ends = _course_ends(warehouse)
    return surroundings(roster, policy, settings.timezone, enrolment_changes, ends)


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


def settling_of(state: OpenState, learners: Collection[str]) -> dict[str, set[int]]:
    """How many items without its signal open alerts of the learners ask for, by rule."""
    asked: dict[str, set[int]] = defaultdict(set)
    for key, alert in state.alerts.items():
        for evidence in alert.evidence if alert.status != "closed" and key[0] in learners else ():
            if evidence.recovery is not None and evidence.recovery[0] == "items_without_signal":
                asked[evidence.signal.rule_id].add(evidence.recovery[1])
    return asked


def _load_concerned(settings: Settings, window: Window, opened: Opened) -> None:
    """States of the learners whom the calendar concerns in the window."""
    span = window.span
    concerned = window.around.changing_between(span.first, span.ends[-1])
    if window.judges_all:
        concerned.append((None, None))
    opened.load_spells_of(settings, concerned)


def _meeting(
    warehouse: duckdb.DuckDBPyConnection, settings: Settings, span: Span, opened: Opened
) -> Callable[[Collection[str]], None]:
    """How the state tracker learns of those it is to judge, once each."""
    tracker, met = opened.tracker, set[str]()
    has_rows = set(span.learners or ())

    def meet(learners: Collection[str]) -> None:
        strangers = sorted(set(learners) - met)
        met.update(strangers)
        opened.load_spells(settings, strangers)
        without = [learner for learner in strangers if learner not in has_rows]
        for fact in standing_facts(warehouse, without, span.first):
            news = tracker.facts.pop((fact.learner_id, fact.course_id), None)
            tracker.learn(fact)
            if news is not None:
                tracker.learn(news)

    return meet


def decide_window(window: Window, opened: Opened, on_tick: OnTick) -> Changes:
    """Move ``opened`` over the ticks of the window, one by one; nothing is read or written."""
    span, around, policy, tracker = window.span, window.around, window.policy, opened.tracker
    met = window.encounters
    inputs = tick_inputs(window, opened.state)
    prior, facts = facts_of(window.frames, span)
    facts = [
        [fact for fact in news if around.is_in_pilot(fact.learner_id, fact.course_id, fact.at)]
        for news in facts
    ]
    for fact in prior:
        tracker.learn(fact)
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
        leaving = around.leaving_between(since, tick.as_of) if index else None
        tick = replace(tick, leaving=leaving)
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


class Feed(NamedTuple):
    """A source that is not retired: the courses it sends events of, which, and up to when all."""

    courses: frozenset[str]
    event_types: frozenset[str]
    complete_until: datetime


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
    feeds = [
        Feed(
            frozenset(seen[row.source] if row.courses is None else row.courses),
            frozenset(row.event_types),
            FAR_PAST if pd.isna(row.complete_until) else row.complete_until.to_pydatetime(),
        )
        for row in rows_of(sources)
        if not row.is_retired
    ]
    return partial(_watermark, feeds, {})  # a partial: it may go to another process


def _watermark(
    feeds: list[Feed],
    known: dict[tuple[str, str], datetime | None],
    rule: str,
    course: str,
    as_of: datetime,
) -> datetime | None:
    if (rule, course) not in known:
        known[rule, course] = _complete_until(feeds, rule, course) if rule in RULES else None
    until = known[rule, course]
    return None if until is None else min(as_of, until)


def _complete_until(feeds: list[Feed], rule: str, course: str) -> datetime | None:
    needed = [
        feed
        for feed in feeds
        if course in feed.courses and not feed.event_types.isdisjoint(RULES[rule].event_types)
    ]
    if RULES[rule].missing({name for feed in needed for name in feed.event_types}):
        return None
    return min((feed.complete_until for feed in needed), default=None)


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


def _note_moments(
    moments: dict[tuple[str, str], pd.Timestamp],
    as_of: datetime,
    facts: list[Fact],
    state: OpenState,
    is_day_over: bool,
) -> None:
    """Scores are as of the last tick with activity, or, with an open alert, of a day's end."""
    at = pd.Timestamp(as_of)
    for fact in facts:
        moments[fact.learner_id, fact.course_id] = at
    for key, alert in state.alerts.items() if is_day_over else ():
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
