"""Alerts: the fold over time that turns signals into few, explained, routed alerts.

``advance`` moves the open state by one tick. It is the only place that knows about time passing:
signals open an alert, an open alert absorbs further ones and may rise, it closes on recovery, a
closed one re-opens inside its grace, a cooldown holds the next one back, and a coach's capacity
decides what is delivered now and what waits. Whatever is not shown is in the ledger.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any, Literal, NamedTuple

from tutorflow.decide.said import Acknowledgement as Acknowledgement
from tutorflow.decide.said import AlertVerdict as AlertVerdict
from tutorflow.decide.said import InboxNote as InboxNote
from tutorflow.decide.said import Intervention as Intervention
from tutorflow.decide.said import Override as Override
from tutorflow.decide.working_time import Coach, due_at
from tutorflow.policy.model import Policy

Disposition = Literal["opened", "absorbed", "reopened", "held", "suppressed", "ai_loop"]
Key = tuple[str, str, str]  # learner, course, layer
LAYERS = ("content", "confidence", "compliance", "safety")
EPOCH = datetime(1970, 1, 1)
# rule, course, tick -> how far the rule may look; None: no feed, so the rule sleeps there
Watermark = Callable[[str, str, datetime], datetime | None]


class Signal(NamedTuple):
    """A fired rule (columns of ``signals.SIGNAL_COLUMNS``)."""

    signal_id: str
    rule_id: str
    rule_version: str
    learner_id: str
    course_id: str
    layer: str
    alert_tier: int
    subject_kind: str
    subject_id: str
    anchor_id: str
    fired_at: datetime
    observed: float
    threshold: float
    n: int
    window_text: str
    sentence: str
    evidence_ids: str


class RecoveryEvent(NamedTuple):
    """Something that speaks for the learner (columns of ``signals.RECOVERY_COLUMNS``)."""

    kind: str
    learner_id: str
    course_id: str
    subject_id: str | None
    run: int
    since: datetime
    at: datetime


@dataclass
class Evidence:
    """A signal on an alert, and since when it no longer stands."""

    signal: Signal
    recovered_at: datetime | None = None

    def hear(self, event: RecoveryEvent, policy: Policy) -> None:
        """Take a recovery event into account if it is about this signal and came after it."""
        if self.recovered_at is not None or event.since < self.signal.fired_at:
            return
        if event.at <= self.signal.fired_at or self.signal.rule_id not in policy.rules:
            return
        recovery = policy.recovery_of(self.signal.rule_id)
        if event.kind == recovery.kind and event.run >= recovery.times and self._is_about(event):
            self.recovered_at = event.at

    def _is_about(self, event: RecoveryEvent) -> bool:
        if event.kind == "items_without_signal":
            return event.subject_id == self.signal.rule_id
        if event.kind in ("unaided_correct", "submitted"):
            return event.subject_id == self.signal.subject_id
        return True


@dataclass
class Alert:
    """One episode of trouble of a learner on a course in one layer."""

    alert_id: str
    key: Key
    alert_tier: int
    opening_tier: int
    opened_at: datetime
    policy_version: str
    status: Literal["open", "held", "closed"] = "open"
    coach_id: str | None = None
    owner_role: str = "ai_tutor"
    channel: str = "in_app"
    delivered_at: datetime | None = None
    delivered_to: str | None = None
    delivered_tier: int | None = None
    priority: float = 0.0
    risen_at: datetime | None = None
    due_at: datetime | None = None
    closed_at: datetime | None = None
    close_reason: str | None = None
    reopened_count: int = 0
    evidence: list[Evidence] = field(default_factory=list)

    @cached_property
    def last_signal_at(self) -> datetime:
        """When the newest signal fired (evidence is only ever added through ``add``)."""
        return max(e.signal.fired_at for e in self.evidence)

    def add(self, found: Iterable[Evidence]) -> None:
        """More evidence."""
        self.evidence.extend(found)
        for name in ("last_signal_at", "rules"):
            self.__dict__.pop(name, None)

    @property
    def signals(self) -> list[Signal]:
        """The signals in the order in which they fired, whatever order they became known in."""
        return sorted((e.signal for e in self.evidence), key=lambda s: (s.fired_at, s.signal_id))

    @cached_property
    def rules(self) -> list[str]:
        """The rules that agree, in the order in which they first fired."""
        return list(dict.fromkeys(signal.rule_id for signal in self.signals))

    @property
    def subjects(self) -> list[str]:
        """The skills or items concerned, in the order in which they first came up."""
        return list(dict.fromkeys(s.subject_id for s in self.signals if s.subject_id))

    @property
    def observations(self) -> int:
        """The largest number of observations behind one of the signals."""
        return max(e.signal.n for e in self.evidence)

    def severity(self) -> float:
        """How far the worst signal is past its threshold, relative to it, in 0-1."""
        return max(
            min(abs(e.signal.observed - e.signal.threshold) / max(abs(e.signal.threshold), 1e-9), 1)
            for e in self.evidence
        )

    def rank(self, policy: Policy, core_skills: frozenset[str]) -> float:
        """The priority: tier first, then severity, agreement of rules, and core skills."""
        weights = policy.priority
        relevance = 1.0 if core_skills.intersection(self.subjects) else 0.5
        local = (
            weights.severity * self.severity()
            + weights.agreement * min(len(self.rules), 3) / 3
            + weights.relevance * relevance
        )
        return round(100 * self.alert_tier + 99 * local, 3)

    def confidence(self, policy: Policy) -> tuple[str, str]:
        """(low, medium or high; its basis in words)."""
        rules, n = len(self.rules), self.observations
        basis = f"{rules} signal{'s' if rules > 1 else ''} agree{'' if rules > 1 else 's'}, n = {n}"
        for name in ("high", "medium"):
            band = getattr(policy.confidence, name)
            if rules >= band.rules and n >= band.n:
                return name, basis
        return "low", basis


@dataclass(frozen=True)
class Hold:
    """A row of the suppression ledger."""

    suppression_id: str
    signal_id: str | None
    alert_id: str | None
    learner_id: str
    course_id: str
    rule_id: str | None
    layer: str
    alert_tier: int
    reason: str
    detail: str
    fired_at: datetime | None
    held_at: datetime
    held_until: datetime | None = None
    released_at: datetime | None = None
    release: str | None = None


@dataclass
class OpenState:
    """What the last committed tick left open; ``advance`` moves it on."""

    alerts: dict[Key, Alert] = field(default_factory=dict)
    recorded: dict[str, datetime] = field(default_factory=dict)  # signal -> tick
    holds: dict[str, Hold] = field(default_factory=dict)
    cooling: dict[str, Evidence] = field(default_factory=dict)
    late: dict[str, Signal] = field(default_factory=dict)  # held because their feed is late
    delivered: Counter[tuple[str, date, int]] = field(default_factory=Counter)


class Context(NamedTuple):
    """What the decision knows besides signals."""

    coach_of: Callable[[str, str, str, datetime], Coach]  # learner, course, role, at
    is_out_of_scope: Callable[[str, str, datetime], str | None]  # -> the reason
    core_skills: frozenset[str]
    late_horizon: timedelta


@dataclass(frozen=True)
class TickInput:
    """What is new at one tick.

    ``signals`` are decided now; ``held`` are absence signals whose feed is late; ``unsupported``
    are signals that late events have undone; ``said`` is what people said.
    """

    as_of: datetime
    signals: list[Signal] = field(default_factory=list)
    held: list[Signal] = field(default_factory=list)
    recoveries: list[RecoveryEvent] = field(default_factory=list)
    unsupported: frozenset[str] = frozenset()
    said: list[InboxNote] = field(default_factory=list)


class NoteRequest(NamedTuple):
    """A hand-off note to write, with everything that was true at its tick."""

    at: datetime
    alert_id: str
    key: Key
    alert_tier: int
    confidence: str
    basis: str
    signals: tuple[Signal, ...]
    last_closed: tuple[datetime, str] | None  # an earlier alert of this learner


@dataclass
class Changes:
    """What one or more ticks changed: the rows to publish."""

    alerts: dict[str, Alert] = field(default_factory=dict)
    dispositions: dict[str, tuple[Signal, datetime, Disposition, str | None]] = field(
        default_factory=dict
    )
    holds: dict[str, Hold] = field(default_factory=dict)
    notes: dict[str, NoteRequest] = field(default_factory=dict)
    touched: set[Key] = field(default_factory=set)
    decided: Counter[datetime] = field(default_factory=Counter)  # signals, at their first decision
    opened: Counter[datetime] = field(default_factory=Counter)
    closed: Counter[datetime] = field(default_factory=Counter)


def advance(
    state: OpenState,
    tick: TickInput,
    context: Context,
    policy: Policy,
    watermark: Watermark,
    changes: Changes,
) -> None:
    """Move ``state`` over one tick and note in ``changes`` what became different."""
    step = _Step(state, tick, context, policy, changes)
    step.release_late_feeds(watermark)
    step.hold_late_feeds()
    step.hear_events()
    step.close()
    step.open()
    step.deliver()


class _Step:
    """One tick of :func:`advance`, in the order of its methods."""

    def __init__(
        self,
        state: OpenState,
        tick: TickInput,
        context: Context,
        policy: Policy,
        changes: Changes,
    ) -> None:
        self.state, self.tick, self.context = state, tick, context
        self.policy, self.changes = policy, changes
        self.as_of = tick.as_of
        self.pending: dict[Key, list[Evidence]] = defaultdict(list)
        self.live = frozenset(policy.enabled_rules())
        self.settled: set[str] = set()  # alerts of which evidence was settled in this tick

    # -- feeds ------------------------------------------------------------------------------

    def hold_late_feeds(self) -> None:
        for signal in self.tick.held:
            self.state.late[signal.signal_id] = signal
            if self._is_too_late(signal.fired_at):
                self._give_up(signal)
                continue
            hold = self._hold(signal, "feed_late", "the feed this rule needs has not come this far")
            self.state.holds[hold.suppression_id] = hold

    def release_late_feeds(self, watermark: Watermark) -> None:
        arrived = {signal.signal_id for signal in self.tick.signals}
        for hold in [h for h in self.state.holds.values() if h.reason == "feed_late"]:
            if hold.rule_id is None or hold.fired_at is None:
                continue
            late = self.state.late.get(hold.signal_id or "")
            if hold.signal_id in arrived:
                self._release(hold, "decided")
            elif late is not None and self._is_too_late(hold.fired_at):
                self._release(hold, "too_late")
                self._give_up(late)
            else:
                until = watermark(hold.rule_id, hold.course_id, self.as_of)
                if until is None or until >= hold.fired_at:
                    self._release(hold, "no_longer_supported")

    def _is_too_late(self, fired_at: datetime) -> bool:
        return fired_at < self.as_of - self.context.late_horizon

    def _give_up(self, signal: Signal) -> None:
        self.state.recorded[signal.signal_id] = self.as_of
        self._suppress(signal, "too_late", "known only after the late horizon had passed")

    # -- signals and recoveries, in the order in which they happened ------------------------

    def hear_events(self) -> None:
        events: list[tuple[datetime, int, Any]] = [
            (event.at, 0, event) for event in self.tick.recoveries
        ]
        events += [(signal.fired_at, 1, signal) for signal in self.tick.signals]
        cooling: dict[tuple[str, str], list[Evidence]] = defaultdict(list)
        for evidence in self.state.cooling.values():
            cooling[evidence.signal.learner_id, evidence.signal.course_id].append(evidence)
        for _, _, event in sorted(events, key=lambda e: (e[0], e[1])):
            if isinstance(event, RecoveryEvent):
                self._hear_recovery(event, cooling[event.learner_id, event.course_id])
            else:
                self._hear_signal(event)

    def _hear_recovery(self, event: RecoveryEvent, cooling: Iterable[Evidence]) -> None:
        for layer in LAYERS:
            key = (event.learner_id, event.course_id, layer)
            alert = self.state.alerts.get(key)
            if alert is not None and alert.status != "closed":
                before = sum(e.recovered_at is not None for e in alert.evidence)
                for evidence in alert.evidence:
                    evidence.hear(event, self.policy)
                if sum(e.recovered_at is not None for e in alert.evidence) != before:
                    self.changes.alerts[alert.alert_id] = alert
                    self.settled.add(alert.alert_id)
            for evidence in self.pending.get(key, ()):
                evidence.hear(event, self.policy)
        for evidence in cooling:
            evidence.hear(event, self.policy)

    def _hear_signal(self, signal: Signal) -> None:
        if signal.signal_id in self.state.recorded:
            return
        self.state.recorded[signal.signal_id] = self.as_of
        if self._is_too_late(signal.fired_at):
            self._give_up(signal)
            return
        out = self.context.is_out_of_scope(signal.learner_id, signal.course_id, signal.fired_at)
        if out is not None:
            self._suppress(signal, "out_of_scope", out)
            return
        key = (signal.learner_id, signal.course_id, signal.layer)
        alert = self.state.alerts.get(key)
        if alert is not None and alert.status != "closed":
            self._absorb(alert, signal)
        else:
            self.pending[key].append(Evidence(signal))

    def _absorb(self, alert: Alert, signal: Signal) -> None:
        alert.add([Evidence(signal)])
        self._record(signal, "absorbed", alert)
        if signal.alert_tier > alert.alert_tier:
            was_with_ai = alert.alert_tier == 1
            alert.alert_tier = signal.alert_tier
            alert.risen_at = self.as_of
            self._route(alert)
            if was_with_ai:
                alert.delivered_at = None
            else:
                alert.due_at = self._due(alert)
            self._note(alert)
        self._changed(alert)

    # -- closing ----------------------------------------------------------------------------

    def close(self) -> None:
        for key, alert in self.state.alerts.items():
            if alert.status == "closed":
                continue
            if self.tick.unsupported:
                self._settle_unsupported(alert)
            out = self.context.is_out_of_scope(key[0], key[1], self.as_of)
            if out is not None and out.startswith("withdrawn"):
                self._close(alert, "withdrawn")
                continue
            # Nothing else can close it: evidence that was settled now, or a rule that is gone.
            if alert.alert_id not in self.settled and self.live.issuperset(alert.rules):
                continue
            if self.live.isdisjoint(alert.rules):
                self._close(alert, "rule_retired")
            elif all(e.signal.signal_id in self.tick.unsupported for e in alert.evidence):
                self._close(alert, "no_longer_supported")
            elif all(
                e.recovered_at is not None or e.signal.rule_id not in self.live
                for e in alert.evidence
            ):
                self._close(alert, "recovered")

    def _settle_unsupported(self, alert: Alert) -> None:
        for evidence in alert.evidence:
            undone = evidence.signal.signal_id in self.tick.unsupported
            if undone and evidence.recovered_at is None:
                evidence.recovered_at = self.as_of
                self.settled.add(alert.alert_id)
                self._changed(alert)

    def _close(self, alert: Alert, reason: str) -> None:
        alert.status, alert.closed_at, alert.close_reason = "closed", self.as_of, reason
        for hold in [h for h in self.state.holds.values() if h.alert_id == alert.alert_id]:
            self._release(hold, reason)
        self.changes.closed[self.as_of] += 1
        self._changed(alert)

    # -- opening ----------------------------------------------------------------------------

    def open(self) -> None:
        self._reconsider_cooldowns()
        for key, found in self.pending.items():
            standing = [e for e in found if e.recovered_at is None]
            for evidence in found:
                if evidence.recovered_at is not None:
                    self._suppress(
                        evidence.signal, "already_recovered", "recovered before the tick was over"
                    )
            if standing:
                self._open_or_hold(key, standing)

    def _open_or_hold(self, key: Key, found: list[Evidence]) -> None:
        last = self.state.alerts.get(key)
        tier = max(e.signal.alert_tier for e in found)
        if last is not None and last.closed_at is not None and last.close_reason == "recovered":
            since = self.as_of - last.closed_at
            if since <= timedelta(hours=self.policy.reopen_grace_hours):
                self._reopen(last, found, tier)
                return
            if tier <= last.alert_tier:
                found = self._cool(last, found)
        if found:
            self._open_new(key, found, max(e.signal.alert_tier for e in found))

    def _cool(self, last: Alert, found: list[Evidence]) -> list[Evidence]:
        """Hold back what its rule's cooldown still covers; return the rest."""
        rest = []
        closed_at = last.closed_at or self.as_of
        for evidence in found:
            until = closed_at + timedelta(hours=self.policy.cooldown_of(evidence.signal.rule_id))
            if until <= self.as_of:
                rest.append(evidence)
                continue
            hold = self._hold(
                evidence.signal, "cooldown", "the same trouble was closed a short while ago", until
            )
            self.state.holds[hold.suppression_id] = hold
            self.state.cooling[evidence.signal.signal_id] = evidence
            self._record(evidence.signal, "held", None)
        return rest

    def _reconsider_cooldowns(self) -> None:
        for hold in [h for h in self.state.holds.values() if h.reason == "cooldown"]:
            evidence = self.state.cooling.get(hold.signal_id or "")
            if evidence is None:
                continue
            signal = evidence.signal
            key = (signal.learner_id, signal.course_id, signal.layer)
            alert = self.state.alerts.get(key)
            out = self.context.is_out_of_scope(signal.learner_id, signal.course_id, self.as_of)
            if signal.rule_id not in self.live:
                self._release(hold, "rule_retired")
                self._record(signal, "suppressed", None)
            elif evidence.recovered_at is not None or out is not None:
                self._release(hold, "recovered" if out is None else "out_of_scope")
                self._record(signal, "suppressed", None)
            elif alert is not None and alert.status != "closed":
                self._release(hold, "absorbed")
                self._absorb(alert, signal)
            elif hold.held_until is not None and hold.held_until <= self.as_of:
                self._release(hold, "opened")
                self.pending[key].append(evidence)
            else:
                continue
            del self.state.cooling[signal.signal_id]

    def _reopen(self, alert: Alert, found: list[Evidence], tier: int) -> None:
        alert.status, alert.closed_at, alert.close_reason = "open", None, None
        alert.reopened_count += 1
        if tier > alert.alert_tier:
            if alert.alert_tier == 1:
                alert.delivered_at = None
            alert.alert_tier, alert.risen_at = tier, self.as_of
        alert.add(found)
        self._route(alert)
        alert.due_at = self._due(alert) if alert.delivered_at is not None else None
        for evidence in found:
            self._record(evidence.signal, "reopened", alert)
        self._note(alert)
        self._changed(alert)

    def _open_new(self, key: Key, found: list[Evidence], tier: int) -> None:
        identity = "\x1f".join((*key, self.as_of.isoformat()))
        alert = Alert(
            alert_id=hashlib.sha256(identity.encode()).hexdigest()[:32],
            key=key,
            alert_tier=tier,
            opening_tier=tier,
            opened_at=self.as_of,
            policy_version=self.policy.fingerprint,
            evidence=found,
        )
        self.state.alerts[key] = alert
        self._route(alert)
        for evidence in found:
            self._record(evidence.signal, "ai_loop" if tier == 1 else "opened", alert)
        self.changes.opened[self.as_of] += 1
        self._note(alert)
        self._changed(alert)

    # -- delivery ---------------------------------------------------------------------------

    def deliver(self) -> None:
        """Deliver what a coach can take today, most needed first; the rest is held."""
        waiting = [
            a for a in self.state.alerts.values() if a.status != "closed" and a.delivered_at is None
        ]
        for alert in sorted(waiting, key=queue_key):
            if alert.alert_tier == 1:
                alert.delivered_at, alert.delivered_tier = self.as_of, 1
                self._changed(alert)
                continue
            if self._has_room(alert):
                alert.status, alert.delivered_at = "open", self.as_of
                alert.due_at = self._due(alert)
                coach = self._coach(alert)
                alert.delivered_to, alert.delivered_tier = coach.coach_id, alert.alert_tier
                day = coach.local_date(self.as_of)
                self.state.delivered[coach.coach_id, day, alert.alert_tier] += 1
                for hold in [h for h in self.state.holds.values() if h.alert_id == alert.alert_id]:
                    self._release(hold, "delivered")
                self._changed(alert)
            elif alert.status != "held":
                alert.status = "held"
                self._changed(alert)
                hold = self._hold_for_capacity(alert)
                self.state.holds[hold.suppression_id] = hold

    def _has_room(self, alert: Alert) -> bool:
        if alert.alert_tier == 4:
            return True
        coach = self._coach(alert)
        day = coach.local_date(self.as_of)
        used_2 = self.state.delivered[coach.coach_id, day, 2]
        used_3 = self.state.delivered[coach.coach_id, day, 3]
        if used_2 + used_3 >= coach.capacity_per_day:
            return False
        reserved = int(coach.capacity_per_day * self.policy.capacity.reserved_share_for_tier_3)
        return alert.alert_tier == 3 or used_2 < coach.capacity_per_day - reserved

    # -- small parts ------------------------------------------------------------------------

    def _coach(self, alert: Alert) -> Coach:
        return self.context.coach_of(alert.key[0], alert.key[1], alert.owner_role, self.as_of)

    def _route(self, alert: Alert) -> None:
        route = self.policy.route(alert.key[2], alert.alert_tier)
        alert.owner_role, alert.channel = route.role, route.channel
        alert.coach_id = None if route.role == "ai_tutor" else self._coach(alert).coach_id

    def _due(self, alert: Alert) -> datetime | None:
        due = self.policy.route(alert.key[2], alert.alert_tier).due
        return due_at(due, self.as_of, self._coach(alert))

    def _note(self, alert: Alert) -> None:
        closed = [
            (other.closed_at, other.close_reason or "")
            for layer in LAYERS
            if (other := self.state.alerts.get((*alert.key[:2], layer))) is not None
            and other.closed_at is not None
        ]
        confidence, basis = alert.confidence(self.policy)
        self.changes.notes[alert.alert_id] = NoteRequest(
            self.as_of,
            alert.alert_id,
            alert.key,
            alert.alert_tier,
            confidence,
            basis,
            tuple(
                e.signal
                for e in alert.evidence
                if e.recovered_at is None and e.signal.rule_id in self.live
            ),
            max(closed, default=None),
        )

    def _changed(self, alert: Alert) -> None:
        alert.priority = alert.rank(self.policy, self.context.core_skills)
        self.changes.alerts[alert.alert_id] = alert
        self.changes.touched.add(alert.key)

    def _record(self, signal: Signal, disposition: Disposition, alert: Alert | None) -> None:
        recorded_at = self.state.recorded.setdefault(signal.signal_id, self.as_of)
        if recorded_at == self.as_of and signal.signal_id not in self.changes.dispositions:
            self.changes.decided[self.as_of] += 1
        self.changes.dispositions[signal.signal_id] = (
            signal,
            recorded_at,
            disposition,
            alert.alert_id if alert else None,
        )

    def _suppress(self, signal: Signal, reason: str, detail: str) -> None:
        self._hold(signal, reason, detail, released=True)
        self._record(signal, "suppressed", None)

    def _hold(
        self,
        signal: Signal,
        reason: str,
        detail: str,
        until: datetime | None = None,
        released: bool = False,
    ) -> Hold:
        hold = Hold(
            suppression_id=_digest(signal.signal_id, reason),
            signal_id=signal.signal_id,
            alert_id=None,
            learner_id=signal.learner_id,
            course_id=signal.course_id,
            rule_id=signal.rule_id,
            layer=signal.layer,
            alert_tier=signal.alert_tier,
            reason=reason,
            detail=detail,
            fired_at=signal.fired_at,
            held_at=self.as_of,
            held_until=until,
            released_at=self.as_of if released else None,
            release="not_shown" if released else None,
        )
        self.changes.holds[hold.suppression_id] = hold
        return hold

    def _hold_for_capacity(self, alert: Alert) -> Hold:
        coach = self._coach(alert)
        hold = Hold(
            suppression_id=_digest(alert.alert_id, f"capacity{alert.reopened_count}"),
            signal_id=None,
            alert_id=alert.alert_id,
            learner_id=alert.key[0],
            course_id=alert.key[1],
            rule_id=None,
            layer=alert.key[2],
            alert_tier=alert.alert_tier,
            reason="capacity",
            detail=f"{coach.coach_id} has {coach.capacity_per_day} new alerts a day",
            fired_at=alert.last_signal_at,
            held_at=self.as_of,
        )
        self.changes.holds[hold.suppression_id] = hold
        return hold

    def _release(self, hold: Hold, release: str) -> None:
        released = Hold(**{**hold.__dict__, "released_at": self.as_of, "release": release})
        self.changes.holds[hold.suppression_id] = released
        self.state.holds.pop(hold.suppression_id, None)


def queue_key(alert: Alert) -> tuple[float, float, str]:
    """Sort key of the coach queue: need first, then newest, then the id, so it is reproducible."""
    newest = (EPOCH - alert.last_signal_at).total_seconds()
    return (-alert.priority, newest, alert.alert_id)


def delivered_today(
    rows: Iterable[Mapping[str, Any]], coaches: Mapping[str, Coach]
) -> Counter[tuple[str, date, int]]:
    """Capacity used: delivered alerts by coach, the coach's day and tier."""
    used: Counter[tuple[str, date, int]] = Counter()
    for row in rows:
        coach = coaches.get(row["delivered_to"])
        if coach is not None and row["delivered_tier"] in (2, 3):
            day = coach.local_date(row["delivered_at"])
            used[coach.coach_id, day, row["delivered_tier"]] += 1
    return used


def _digest(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]
