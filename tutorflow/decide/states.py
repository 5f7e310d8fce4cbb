"""Learner states: one label, the same for the AI tutor and the coach, with its history.

Worse labels (stuck, drifting) are entered at once, and so is and ends a pause; any other label is
left for a better one only after it has stood for the dwell time, so that states do not flicker. The
label follows from open alerts and a few facts of the learner's own past.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import duckdb
import pandas as pd

from tutorflow.decide.episodes import Alert
from tutorflow.decide.frames import frame, rows_of
from tutorflow.decide.ticks import OpenState
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


def _know(learners: Collection[str]) -> None:
    """Everybody has been met."""


@dataclass
class StateTracker:
    """Spells, facts and timers of the learners met so far; ``advance`` is called tick by tick."""

    policy: Policy
    spells: dict[Learner, Spell] = field(default_factory=dict)
    facts: dict[Learner, Fact] = field(default_factory=dict)
    timers: dict[Learner, datetime] = field(default_factory=dict)
    changed: dict[tuple[str, str, datetime], Spell] = field(default_factory=dict)
    entered: list[tuple[Learner, Spell]] = field(default_factory=list)  # in the latest tick
    known: set[Learner] = field(default_factory=set)  # whose spell before the window is known
    # reads the spells and facts of learners who are to be judged
    meet: Callable[[Collection[str]], None] = _know

    def remember(self, learner: Learner, spell: Spell) -> None:
        """Take up the spell a learner was in before the window, unless it has been already."""
        if learner not in self.known:
            self.known.add(learner)
            self.spells[learner] = spell

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
        self.entered.clear()
        learners = {self.learn(fact) for fact in facts}
        learners.update(touched)
        learners.update(who for who, at in self.timers.items() if at <= as_of)
        self.meet({learner for learner, _ in learners})
        for learner in sorted(learners):
            self.timers.pop(learner, None)
            out = is_out_of_scope(*learner, as_of)
            if out is not None and not out.startswith("paused"):
                self._leave(learner, as_of)
            else:
                self._judge(learner, as_of, state, out)

    def _judge(self, learner: Learner, as_of: datetime, state: OpenState, out: str | None) -> None:
        # When a pause begins or ends, whoever it concerns is among those touched.
        label, reason, recheck = (
            ("paused", out, None) if out else self._label(learner, as_of, state)
        )
        current = self.spells.get(learner)
        if current is None or label != current.state:
            stays_until = current and current.since + timedelta(
                hours=self.policy.states.dwell_hours
            )
            # A pause is left when it is over, however short it was.
            is_free = label in URGENT or (current is not None and current.state == "paused")
            if stays_until and not is_free and as_of < stays_until:
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
            unresumed = [a for a in standing if not a.has_resumed]
            if unresumed:
                return name, _because(unresumed), None
        if any(a.status != "closed" and not a.is_safety for a in alerts):
            return "recovering", "working again; an alert is still open", None
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
        self.entered.append((learner, spell))

    def _leave(self, learner: Learner, as_of: datetime) -> None:
        spell = self.spells.pop(learner, None)
        if spell is not None:
            spell.until = as_of
            self.changed[(*learner, spell.since)] = spell


def _because(alerts: list[Alert]) -> str:
    return ", ".join(rule for alert in alerts for rule in alert.rules)


# What was known of learners before an instant, without their rows.
STANDING_FACTS = """
    with answered as (
        select
            learner_id, course_id, max(known_at) as known_at,
            max(response_number) as response_count,
            arg_max(accuracy_of_last_20, response_number) as accuracy_of_last_20
        from marts.responses
        where learner_id in (select learner_id from standing_learners) and known_at < $before
        group by all
    ),

    active as (
        select learner_id, course_id, max(first_activity_at) as known_at, count(*) as active_days
        from marts.learner_days
        where learner_id in (select learner_id from standing_learners)
            and if(time_precision = 'day', known_at, first_activity_at) < $before
        group by all
    )

    select
        learner_id, course_id, greatest(answered.known_at, active.known_at) as known_at,
        response_count, accuracy_of_last_20, active_days
    from active
    full join answered using (learner_id, course_id)
    order by 1, 2
"""


def standing_facts(
    warehouse: duckdb.DuckDBPyConnection, learners: list[str], before: datetime
) -> list[Fact]:
    """What is known of the learners just before an instant (naive UTC)."""
    if not learners:
        return []
    warehouse.register("standing_ids", pd.DataFrame({"id": learners}, dtype="str"))
    warehouse.execute(
        "create or replace temp table standing_learners as "
        "select cast(id as uuid) as learner_id from standing_ids"
    )

    def known(value: Any, kind: type) -> Any:
        return None if pd.isna(value) else kind(value)

    return [
        Fact(
            row.known_at.to_pydatetime(),
            row.learner_id,
            row.course_id,
            known(row.response_count, int),
            known(row.accuracy_of_last_20, float),
            known(row.active_days, int),
        )
        for row in rows_of(frame(warehouse, STANDING_FACTS, {"before": before}))
    ]
