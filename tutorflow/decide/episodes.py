"""An alert: one episode of trouble of a learner on a course in one layer, with its evidence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Literal, NamedTuple

from tutorflow.policy.model import Policy

Key = tuple[str, str, str]  # learner, course, layer
LAYERS = ("content", "confidence", "compliance", "safety")
EPOCH = datetime(1970, 1, 1)
# What has to happen how often in a row before a signal no longer stands, such as
# ("unaided_correct", 2).
RecoveryRule = tuple[str, int]
# Recoveries that speak about one skill or item, and the one that speaks about one rule.
OF_A_SUBJECT = ("unaided_correct", "submitted")
OF_ITS_RULE = "items_without_signal"


class Signal(NamedTuple):
    """A fired rule (columns of ``signals.SIGNAL_COLUMNS``); tier 0 is only noted."""

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

    @property
    def is_urgent(self) -> bool:
        """Never held, capped, cooled, too late or out of scope (but for staff accounts)."""
        return self.layer == "safety" or self.alert_tier == 4

    @property
    def can_flood(self) -> bool:
        """Asks for a person's time, and may wait: the guards look at such signals only."""
        return self.alert_tier >= 2 and not self.is_urgent


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
    """A signal on an alert, what would settle it, and since when it no longer stands.

    ``recovery`` is the rule in force when the signal joined; a later policy does not change it.
    ``undone_at``: late events have shown that it never was so.
    """

    signal: Signal
    recovered_at: datetime | None = None
    undone_at: datetime | None = None
    recovery: RecoveryRule | None = None

    @property
    def is_settled(self) -> bool:
        """It no longer stands."""
        return self.recovered_at is not None or self.undone_at is not None

    @property
    def is_note(self) -> bool:
        """It says something about the trouble but is none by itself."""
        return self.signal.alert_tier == 0

    @property
    def severity(self) -> float:
        """How far the signal is past its threshold, relative to it, in 0-1."""
        observed, threshold = self.signal.observed, self.signal.threshold
        return min(abs(observed - threshold) / max(abs(threshold), 1e-9), 1)

    def hear(self, event: RecoveryEvent) -> bool:
        """Take a recovery event into account if it is about this signal and came after it.

        Returns whether that settled it.
        """
        if self.recovery is None or event.kind != self.recovery[0] or self.is_settled:
            return False
        fired_at, times = self.signal.fired_at, self.recovery[1]
        if event.run < times or event.since < fired_at or event.at <= fired_at:
            return False
        if self._is_about(event):
            self.recovered_at = event.at
        return self.is_settled

    def _is_about(self, event: RecoveryEvent) -> bool:
        if event.kind == OF_ITS_RULE:
            return event.subject_id == self.signal.rule_id
        if event.kind in OF_A_SUBJECT:
            return event.subject_id == self.signal.subject_id
        return True


@dataclass
class Alert:
    """One episode of trouble of a learner on a course in one layer.

    What is said of its trouble (rules, severity, confidence, order) rests on its signals; notes
    are evidence that says more about them.
    """

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
    contact_id: str | None = None
    held_out_at: datetime | None = None
    delivered_at: datetime | None = None
    delivered_to: str | None = None
    delivered_tier: int | None = None
    priority: float = 0.0
    risen_at: datetime | None = None
    due_at: datetime | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    breached_at: datetime | None = None
    resumed_at: datetime | None = None
    overridden_at: datetime | None = None
    overridden_by: str | None = None
    override_reason: str | None = None
    override_coach_id: str | None = None
    override_tier: int | None = None
    closed_at: datetime | None = None
    close_reason: str | None = None
    reopened_count: int = 0
    evidence: list[Evidence] = field(default_factory=list)

    @property
    def is_safety(self) -> bool:
        """Closed by a person only."""
        return self.key[2] == "safety"

    @property
    def is_urgent(self) -> bool:
        """Delivered at once, whatever a coach's capacity."""
        return self.is_safety or self.alert_tier == 4

    @property
    def has_resumed(self) -> bool:
        """The learner has begun to work again since the newest signal."""
        return self.resumed_at is not None and self.resumed_at > self.last_signal_at

    @cached_property
    def last_signal_at(self) -> datetime:
        """When the newest signal fired (evidence is only ever added through ``add``)."""
        return max(e.signal.fired_at for e in self.standing)

    @cached_property
    def standing(self) -> list[Evidence]:
        """The evidence but for what is only noted; an alert always has some."""
        return [e for e in self.evidence if not e.is_note]

    def add(self, found: Iterable[Evidence]) -> None:
        """More evidence; what is said of the trouble follows from it anew."""
        more = list(found)
        self.evidence.extend(more)
        new = [e for e in more if not e.is_note]
        if not new:
            return
        known: dict[str, Any] = self.__dict__
        signals, severity = known.get("signals"), known.get("severity")
        for name in ("standing", "last_signal_at", "signals", "rules", "subjects", "severity"):
            known.pop(name, None)
        if severity is not None:
            known["severity"] = max(severity, *(e.severity for e in new))
        later = sorted((e.signal for e in new), key=_when)
        if signals and _when(signals[-1]) <= _when(later[0]):  # most become known in order
            known["signals"] = [*signals, *later]
            known["last_signal_at"] = later[-1].fired_at

    @cached_property
    def signals(self) -> list[Signal]:
        """The signals in the order in which they fired, whatever order they became known in."""
        return sorted((e.signal for e in self.standing), key=_when)

    @cached_property
    def rules(self) -> list[str]:
        """The rules that agree, in the order in which they first fired."""
        return list(dict.fromkeys(signal.rule_id for signal in self.signals))

    @cached_property
    def subjects(self) -> list[str]:
        """The skills or items concerned, in the order in which they first came up."""
        return list(dict.fromkeys(s.subject_id for s in self.signals if s.subject_id))

    @property
    def observations(self) -> int:
        """The largest number of observations behind one of the signals."""
        return max(e.signal.n for e in self.standing)

    @cached_property
    def severity(self) -> float:
        """How far the worst signal is past its threshold, relative to it, in 0-1."""
        return max(e.severity for e in self.standing)

    def rank(self, policy: Policy, core_skills: frozenset[str]) -> float:
        """The priority: tier first, then severity, agreement of rules, and core skills."""
        weights = policy.priority
        relevance = 1.0 if core_skills.intersection(self.subjects) else 0.5
        local = (
            weights.severity * self.severity
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


def _when(signal: Signal) -> tuple[datetime, str]:
    return signal.fired_at, signal.signal_id


def queue_key(alert: Alert) -> tuple[float, float, str]:
    """Sort key of need: priority first, then newest, then the id, so that it is reproducible."""
    newest = (EPOCH - alert.last_signal_at).total_seconds()
    return (-alert.priority, newest, alert.alert_id)


def queue_order(alerts: Iterable[Alert]) -> list[Alert]:
    """The coach queue: alerts of one learner stand together, where the most needed one stands."""
    ranked = sorted(alerts, key=queue_key)
    first: dict[str, int] = {}
    for place, alert in enumerate(ranked):
        first.setdefault(alert.key[0], place)
    return sorted(ranked, key=lambda alert: first[alert.key[0]])
