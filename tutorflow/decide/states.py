"""Learner states: one label, the same for the AI tutor and the coach, with its history.

Worse labels (stuck, drifting) are entered at once; a label is left for a better one only after it
has stood for the dwell time, so that states do not flicker. The label follows from open alerts and
a few facts of the learner's own past.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from tutorflow.decide.alerts import Alert, OpenState
from tutorflow.policy.model import Policy

Learner = tuple[str, str]  # learner, course
URGENT = ("stuck", "drifting", "paused")


class Fact(NamedTuple):
    """What is known of a learner on a course from ``at`` on."""

    at: datetime
    learner_id: str
    course_id: str
    response_count: int | None = None
    accuracy_of_last_20: float | None = None
    active_days: int | None = None


@dataclass
class Spell:
    """A stretch in one state."""

    state: str
    since: datetime
    reason: str
    until: datetime | None = None


@dataclass
class StateTracker:
    """Current spells, facts and timers of all learners; ``advance`` is called tick by tick."""

    policy: Policy
    spells: dict[Learner, Spell] = field(default_factory=dict)
    facts: dict[Learner, Fact] = field(default_factory=dict)
    timers: dict[Learner, datetime] = field(default_factory=dict)
    changed: dict[tuple[str, str, datetime], Spell] = field(default_factory=dict)

    def learn(self, fact: Fact) -> Learner:
        """Merge a new fact into what is known; returns whose it is."""
        learner = (fact.learner_id, fact.course_id)
        known = self.facts.get(learner, fact)
        self.facts[learner] = Fact(
            fact.at,
            *learner,
            known.response_count if fact.response_count is None else fact.response_count,
            known.accuracy_of_last_20
            if fact.accuracy_of_last_20 is None
            else fact.accuracy_of_last_20,
            known.active_days if fact.active_days is None else fact.active_days,
        )
        return learner

    def advance(
        self,
        as_of: datetime,
        facts: Iterable[Fact],
        touched: Iterable[Learner],
        state: OpenState,
        is_out_of_scope: Callable[[str, str, datetime], str | None],
    ) -> None:
        """Judge every learner for whom something happened or a timer ran out in this tick."""
        learners = {self.learn(fact) for fact in facts}
        learners.update(touched)
        learners.update(who for who, at in self.timers.items() if at <= as_of)
        for learner in sorted(learners):
            self.timers.pop(learner, None)
            out = is_out_of_scope(*learner, as_of)
            if out is not None and not out.startswith("paused"):
                self._leave(learner, as_of)
            else:
                self._judge(learner, as_of, state, out)

    def _judge(self, learner: Learner, as_of: datetime, state: OpenState, out: str | None) -> None:
        # A pause ends by itself, so it is looked at again at every tick.
        label, reason, recheck = (
            ("paused", out, as_of) if out else self._label(learner, as_of, state)
        )
        current = self.spells.get(learner)
        if current is None or label != current.state:
            stays_until = current and current.since + timedelta(
                hours=self.policy.states.dwell_hours
            )
            if stays_until and label not in URGENT and as_of < stays_until:
                recheck = min(filter(None, (stays_until, recheck)))
            else:
                self._leave(learner, as_of)
                self._enter(learner, Spell(label, as_of, reason or label))
        if recheck is not None:
            self.timers[learner] = recheck

    def _label(
        self, learner: Learner, as_of: datetime, state: OpenState
    ) -> tuple[str, str, datetime | None]:
        """(state, reason, when it may change by itself)."""
        alerts = [
            alert
            for layer in ("content", "confidence", "compliance", "safety")
            if (alert := state.alerts.get((*learner, layer))) is not None
        ]
        for name, layers in (("stuck", ("content", "confidence")), ("drifting", ("compliance",))):
            standing = [a for a in alerts if a.status != "closed" and a.key[2] in layers]
            if standing:
                return name, _because(standing), None
        until = [
            alert.closed_at + timedelta(hours=self.policy.states.recovering_hours)
            for alert in alerts
            if alert.closed_at is not None and alert.close_reason == "recovered"
        ]
        if until and max(until) > as_of:
            return "recovering", "an alert closed by recovery", max(until)
        return (*self._without_alert(learner), None)

    def _without_alert(self, learner: Learner) -> tuple[str, str]:
        rules, fact = self.policy.states, self.facts.get(learner)
        answers = (fact.response_count if fact else None) or 0
        days = (fact.active_days if fact else None) or 0
        if answers == 0 and days == 0:
            return "not_started", "enrolled, no activity yet"
        if answers < rules.enough_responses and days < rules.enough_active_days:
            return "insufficient_data", f"{answers} answers on {days} active days so far"
        accuracy = fact.accuracy_of_last_20 if fact else None
        good = accuracy is not None and accuracy >= rules.thriving.accuracy
        if good and answers >= rules.thriving.responses:
            return "thriving", f"{accuracy:.0%} of the last 20 answers right"
        return "on_track", "working, no alert"

    def _enter(self, learner: Learner, spell: Spell) -> None:
        self.spells[learner] = spell
        self.changed[(*learner, spell.since)] = spell

    def _leave(self, learner: Learner, as_of: datetime) -> None:
        spell = self.spells.pop(learner, None)
        if spell is not None:
            spell.until = as_of
            self.changed[(*learner, spell.since)] = spell


def _because(alerts: list[Alert]) -> str:
    return ", ".join(rule for alert in alerts for rule in alert.rules)
