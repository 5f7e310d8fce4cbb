"""A window of ticks: what it is decided from, and what each of its ticks is given."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from tutorflow.decide.encounters import Encounters
from tutorflow.decide.episodes import RecoveryEvent, Signal
from tutorflow.decide.frames import Seen, plain_rows
from tutorflow.decide.rule import RULES
from tutorflow.decide.signals import RECOVERY_COLUMNS, SIGNAL_COLUMNS, Findings
from tutorflow.decide.states import Fact
from tutorflow.decide.surroundings import Surroundings
from tutorflow.decide.ticks import OpenState, TickInput, Watermark
from tutorflow.policy import Policy
from tutorflow.publish.inbox import Inbox

WHO = ["learner_id", "course_id"]
FACTS = ["response_number", "accuracy_of_last_20", "active_days"]


@dataclass(frozen=True)
class Span:
    """Which ticks, and whose; times are naive UTC.

    ``first`` is the start of the first tick, ``ends`` are the ends of the ticks; signals are looked
    for from ``start`` on. ``learners``: those with news or a signal that waits, None for all.
    ``late``: those with news from before the span. ``is_first``: no tick was decided before it.
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
    scored: Collection[str] = ()  # who is judged at the end of a day besides, however long silent


@dataclass(frozen=True)
class Window:
    """All that a span is decided from, next to the open state.

    ``watermark`` says how far a rule may look at each of its ticks. ``judges_all``: the states of
    all learners at hand are judged at its first tick, since the roster has changed.
    """

    span: Span
    policy: Policy
    frames: Seen
    found: Findings
    around: Surroundings
    watermark: Watermark
    late_horizon: timedelta
    encounters: Encounters = field(default_factory=Encounters)
    judges_all: bool = False


def tick_inputs(window: Window, state: OpenState) -> list[TickInput]:
    """Give each signal and each recovery to the tick that decides it."""
    found, policy = window.found, window.policy
    ends, first, late = window.span.ends, window.span.first, window.span.late
    inputs = [TickInput(end) for end in ends]
    held = {hold.signal_id for hold in state.holds.values()}
    delayed: dict[str, list[tuple[Signal, int]]] = defaultdict(list)
    outside_pilot: Counter[int] = Counter()
    effective = datetime.combine(policy.effective_from, datetime.min.time())
    unknown = found.signals[~found.signals["signal_id"].isin(list(state.recorded))]
    for values in plain_rows(unknown.loc[unknown["fired_at"] >= effective, SIGNAL_COLUMNS]):
        signal = Signal(*values)
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
                delayed[signal.learner_id].append((signal, decided))
    concerned = {*found.signals["learner_id"], *(key[0] for key in state.alerts)}
    concerned |= {hold.learner_id for hold in state.holds.values()}
    # What happened before the first tick has been heard, but for late events and held signals.
    again = late | {hold.learner_id for hold in state.holds.values()}
    recoveries = found.recoveries
    is_new = (recoveries["at"] >= first) | recoveries["learner_id"].isin(list(again))
    heard = recoveries[is_new & recoveries["learner_id"].isin(list(concerned))]
    for values in plain_rows(heard[RECOVERY_COLUMNS]):
        event = RecoveryEvent(*values)
        inputs[bisect_right(ends, event.at)].recoveries.append(event)
        # A signal that had to wait for its feed hears what happened meanwhile.
        for signal, decided in delayed.get(event.learner_id, ()):
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
    for learner, course, moment in plain_rows(rows[["learner_id", "course_id", "at"]]):
        yield RecoveryEvent("returned", learner, course, None, 1, moment, moment)


# -- signals that wait, or are undone --------------------------------------------------------------


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


# -- what becomes known of learners ----------------------------------------------------------------


def facts_of(frames: Seen, span: Span) -> tuple[list[Fact], list[list[Fact]]]:
    """What was known of learners before the window, and what becomes known at each tick.

    What was before but landed only now (``late`` learners; everybody, if nothing has been decided
    before) counts as news. Of each tick the last word on a learner is enough.
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
    )[["at", *WHO, *FACTS]].sort_values(["at", *WHO], kind="stable")
    rows = last_words(rows[rows["at"] < span.ends[-1]], span.first, span.ends)
    is_before = rows["tick"] == 0
    is_late = rows["learner_id"].isin(list(span.late)) | span.is_first
    prior = list(_facts(rows[is_before & ~is_late]))
    news: list[list[Fact]] = [[] for _ in span.ends]
    fresh = rows[~is_before | is_late]
    for tick, fact in zip(fresh["tick"], _facts(fresh), strict=True):
        news[max(tick - 1, 0)].append(fact)
    return prior, news


def last_words(rows: pd.DataFrame, first: datetime, ends: Sequence[datetime]) -> pd.DataFrame:
    """Of each learner's rows (``at``, WHO, FACTS; in order) of a tick one, with the last known
    values; ``tick`` is 0 before ``first``, else 1, 2, ..."""
    edges = np.array([first, *ends], dtype="datetime64[us]")
    tick = np.searchsorted(edges, rows["at"].to_numpy().astype("datetime64[us]"), side="right")
    last = rows.assign(tick=tick).groupby(["tick", *WHO], as_index=False, sort=False).last()
    return last.sort_values(["tick", "at", *WHO], kind="stable", ignore_index=True)


def _facts(rows: pd.DataFrame) -> Iterator[Fact]:
    for at, learner, course, answers, accuracy, days in plain_rows(rows[["at", *WHO, *FACTS]]):
        yield Fact(at, learner, course, _known(answers, int), _known(accuracy), _known(days, int))


def _known(value: float, kind: type = float) -> Any:
    return None if value != value else kind(value)
