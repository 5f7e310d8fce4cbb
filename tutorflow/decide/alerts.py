"""Alerts: the fold over time that turns signals into few, explained, routed alerts.

``advance`` moves the open state by one tick. It is the only place that knows about time passing:
people say something, signals open an alert, an open alert absorbs further ones and may rise, it
closes on recovery, a closed one re-opens inside its grace, a cooldown holds the next one back, and
a coach's capacity decides what is delivered now and what waits. Whatever is not shown is in the
ledger. Safety concerns pass all of this: they are delivered at once and only a person closes them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Any

from tutorflow.decide.agenda import Agenda
from tutorflow.decide.crowds import is_crowd, judge_item, note_tries
from tutorflow.decide.delivery import Delivery
from tutorflow.decide.episodes import (
    LAYERS,
    Alert,
    Evidence,
    Key,
    RecoveryEvent,
    RecoveryRule,
    Signal,
)
from tutorflow.decide.ids import content_id
from tutorflow.decide.ledger import Ledger
from tutorflow.decide.rule import RULES
from tutorflow.decide.said import (
    Acknowledgement,
    AlertVerdict,
    Consent,
    Intervention,
    Override,
)
from tutorflow.decide.ticks import (
    STAFF,
    Changes,
    Context,
    Hold,
    NoteRequest,
    OpenState,
    TickInput,
    Watermark,
)
from tutorflow.decide.working_time import Coach
from tutorflow.policy.model import Policy


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
    step.open_agenda()
    step.hear_people()
    step.release_late_feeds(watermark)
    step.hold_late_feeds()
    step.watch_crowds()
    step.hear_events()
    step.close()
    step.open()
    step.delivery.deliver()
    step.delivery.notice_breaches()


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
        self.ledger = Ledger(state, changes, tick.as_of)
        self.delivery = Delivery(state, context, policy, changes, self.ledger)
        self.pending: dict[Key, list[Evidence]] = defaultdict(list)
        self.notes: dict[Key, list[Evidence]] = defaultdict(list)
        self.live = frozenset(policy.enabled_rules())
        self.signals = [*tick.signals, *(signal for signal in tick.held if signal.is_urgent)]
        self.held = [signal for signal in tick.held if not signal.is_urgent]
        self.settled: set[str] = set()  # alerts of which evidence was settled in this tick
        self.crowds: dict[tuple[str, str], bool] = {}
        changes.outside_pilot[tick.as_of] += tick.outside_pilot

    # -- which alerts -----------------------------------------------------------------------

    def open_agenda(self) -> None:
        """Look at the alerts whose time has come; at the first tick of a window at all."""
        look = self.delivery.looked_at
        if self.tick.leaving is None:
            look.update(self.state.alerts)
            self.state.agenda = Agenda()
            for alert in self.state.alerts.values():
                if alert.status != "closed":
                    self.delivery.watch(alert)
            return
        look.update(self.state.agenda.take(self.as_of))
        for learner, course in self.tick.leaving:
            if learner is not None and course is not None:
                look.update((learner, course, layer) for layer in LAYERS)
            else:
                look.update(
                    key
                    for key in self.state.alerts
                    if learner in (None, key[0]) and course in (None, key[1])
                )

    # -- people -----------------------------------------------------------------------------

    def hear_people(self) -> None:
        if not self.tick.said:
            return
        alerts = {a.alert_id: a for a in self.state.alerts.values() if a.status != "closed"}
        for note in sorted(self.tick.said, key=lambda note: (note.at, note.note_id)):
            if isinstance(note, Intervention):
                who = (note.learner_id, note.course_id)
                self.state.helped[who] = max(note.at, self.state.helped.get(who, note.at))
            elif isinstance(note, Consent):
                self.state.hear_consent(note)
            elif isinstance(note, Acknowledgement | AlertVerdict | Override):
                alert = alerts.get(note.alert_id)
                if alert is not None and alert.status != "closed":
                    self._hear_about(alert, note)

    def _hear_about(self, alert: Alert, note: Acknowledgement | AlertVerdict | Override) -> None:
        if isinstance(note, Override):
            alert.overridden_at, alert.overridden_by = note.at, note.by
            alert.override_reason = note.reason
            alert.override_coach_id = note.coach_id or alert.override_coach_id
            if note.alert_tier is not None:
                alert.override_tier = alert.alert_tier = note.alert_tier
            self.delivery.reassign(alert)
            return
        if alert.acknowledged_at is None:
            alert.acknowledged_at, alert.acknowledged_by = note.at, note.by
            self.delivery.changed(alert)
        if isinstance(note, AlertVerdict):
            self._close(alert, "closed_by_person")

    # -- feeds ------------------------------------------------------------------------------

    def hold_late_feeds(self) -> None:
        for signal in self.held:
            self.state.late[signal.signal_id] = signal
            if self._is_too_late(signal):
                self._give_up(signal)
            else:
                self.ledger.hold_feed(signal, "the feed this rule needs has not come this far")

    def release_late_feeds(self, watermark: Watermark) -> None:
        arrived = {signal.signal_id for signal in self.signals}
        for hold in [h for h in self.state.holds.values() if h.reason == "feed_late"]:
            if hold.rule_id is None or hold.fired_at is None:
                continue
            late = self.state.late.get(hold.signal_id or "")
            if hold.signal_id in arrived:
                self.ledger.release(hold, "decided")
            elif late is not None and self._is_too_late(late):
                self.ledger.release(hold, "too_late")
                self._give_up(late)
            else:
                until = watermark(hold.rule_id, hold.course_id, self.as_of)
                if until is None or until >= hold.fired_at:
                    self.ledger.release(hold, "no_longer_supported")

    def _is_too_late(self, signal: Signal) -> bool:
        is_old = signal.fired_at < self.as_of - self.context.late_horizon
        return is_old and not signal.is_urgent

    def _give_up(self, signal: Signal) -> None:
        self.state.recorded[signal.signal_id] = self.as_of
        self.ledger.suppress(signal, "too_late", "known only after the late horizon had passed")

    # -- what many do at once ---------------------------------------------------------------

    def watch_crowds(self) -> None:
        """Remember who fired what, and find items that seem broken, before anybody is told."""
        for signal in self.signals:
            if not self._counts_in_a_crowd(signal) or signal.signal_id in self.state.recorded:
                continue
            fired = self.state.fired.setdefault((signal.course_id, signal.rule_id), {})
            last = fired.get(signal.learner_id, signal.fired_at)
            fired[signal.learner_id] = max(last, signal.fired_at)
        guard = self.policy.fatigue.item_guard
        touched = note_tries(self.state.tries, self.tick.tries)
        for key in sorted(touched | set(self.state.findings)):
            known = self.state.findings.get(key)
            finding = judge_item(key, self.state.tries.get(key, {}), known, self.as_of, guard)
            if finding is None or finding == known:
                continue
            self.changes.findings[(*key, finding.since)] = finding
            if finding.until is None:
                self.state.findings[key] = finding
            else:
                del self.state.findings[key]

    def _counts_in_a_crowd(self, signal: Signal) -> bool:
        return signal.can_flood and self._scope(signal, signal.fired_at) is None

    def _scope(self, signal: Signal, at: datetime) -> str | None:
        return self.context.is_out_of_scope(signal.learner_id, signal.course_id, at)

    def _guard(self, signal: Signal) -> tuple[str, str, str | None] | None:
        """(reason, in words, item) why a crowd's signal is held; None: it is the learner's own."""
        if not signal.can_flood:
            return None
        if self._is_crowd(signal.course_id, signal.rule_id):
            return (
                "cohort_guard",
                "so many learners of the course at once that it is no signal",
                None,
            )
        if self.state.findings:
            item = self._item_of(signal)
            if item is not None and (signal.course_id, item) in self.state.findings:
                return "item_guard", f"most learners who meet {item} miss it", item
        return None

    def _is_crowd(self, course: str, rule: str) -> bool:
        key = (course, rule)
        if key not in self.crowds:
            guard = self.policy.fatigue.cohort_guard
            fired = self.state.fired.get(key, {})
            since = self.as_of - timedelta(hours=guard.hours)
            for learner in [learner for learner, at in fired.items() if at <= since]:
                del fired[learner]
            may_be = len(fired) >= guard.share * guard.learners
            active = self.context.active_learners(course, self.as_of) if may_be else 0
            self.crowds[key] = may_be and is_crowd(fired, active, self.as_of, guard)
        return self.crowds[key]

    def _item_of(self, signal: Signal) -> str | None:
        if signal.subject_kind == "item":
            return signal.subject_id
        return self.context.item_of(signal.anchor_id)

    # -- signals and recoveries, in the order in which they happened ------------------------

    def hear_events(self) -> None:
        events: list[tuple[datetime, int, Any]] = [
            (event.at, 0, event) for event in [*self.tick.recoveries, *self._people_in_touch()]
        ]
        events += [(signal.fired_at, 1, signal) for signal in self.signals]
        waiting: dict[tuple[str, str], list[Evidence]] = defaultdict(list)
        for evidence in self.state.waiting.values():
            waiting[evidence.signal.learner_id, evidence.signal.course_id].append(evidence)
        paused = {h.signal_id for h in self.state.holds.values() if h.reason == "out_of_scope"}
        for _, _, event in sorted(events, key=lambda e: (e[0], e[1])):
            if isinstance(event, RecoveryEvent):
                who = (event.learner_id, event.course_id)
                self._hear_recovery(event, waiting.get(who, ()), paused)
            else:
                held = self._hear_signal(event)
                if held is not None:
                    waiting[event.learner_id, event.course_id].append(held)
                    paused.add(event.signal_id)

    def _people_in_touch(self) -> Iterator[RecoveryEvent]:
        """What people logged as done with a learner: it settles what waits for a person."""
        for note in self.tick.said:
            if isinstance(note, Intervention) and note.course_id is not None:
                who = (note.learner_id, note.course_id)
                yield RecoveryEvent("human_contact", *who, None, 1, note.at, note.at)

    def _hear_recovery(
        self, event: RecoveryEvent, waiting: Iterable[Evidence], paused: set[str | None]
    ) -> None:
        for evidence in waiting:
            evidence.hear(event)
            # Who comes back is not silent any more, however little was done.
            is_back = event.kind == "returned" and event.at > evidence.signal.fired_at
            if is_back and evidence.signal.signal_id in paused and not evidence.is_settled:
                evidence.recovered_at = event.at
        for layer in LAYERS:
            key = (event.learner_id, event.course_id, layer)
            alert = self.state.alerts.get(key)
            if alert is not None and alert.status != "closed":
                self._hear_about_alert(alert, event)
            for evidence in self.pending.get(key, ()):
                evidence.hear(event)

    def _hear_about_alert(self, alert: Alert, event: RecoveryEvent) -> None:
        settled = [evidence for evidence in alert.evidence if evidence.hear(event)]
        if settled:
            self.changes.alerts[alert.alert_id] = alert
            self.settled.add(alert.alert_id)
            self.delivery.looked_at.add(alert.key)
        is_work = event.kind == "worked_session" and event.since >= alert.last_signal_at
        if is_work and not alert.has_resumed:
            alert.resumed_at = event.at
            self.delivery.changed(alert)

    def _hear_signal(self, signal: Signal) -> Evidence | None:
        """Take a signal; returns its evidence if a pause keeps it back."""
        if signal.signal_id in self.state.recorded:
            return None
        self.state.recorded[signal.signal_id] = self.as_of
        if self._is_too_late(signal):
            self._give_up(signal)
            return None
        evidence = Evidence(signal, recovery=self._recovery_of(signal))
        out = self._scope(signal, signal.fired_at)
        if out is not None and (out == STAFF or not signal.is_urgent):
            if out.startswith("paused") and self._is_silence(signal):
                until = self.context.resumes_at(
                    signal.learner_id, signal.course_id, signal.fired_at
                )
                self.ledger.hold(evidence, "out_of_scope", f"{out}; its clock stands still", until)
                return evidence
            self.ledger.suppress(signal, "out_of_scope", out)
        elif signal.alert_tier == 0:
            self._note_signal(evidence)
        else:
            self._admit(evidence)
        return None

    def _recovery_of(self, signal: Signal) -> RecoveryRule | None:
        if signal.rule_id not in self.policy.rules:
            return None
        recovery = self.policy.recovery_of(signal.rule_id)
        return recovery.kind, recovery.times

    def _is_silence(self, signal: Signal) -> bool:
        rule = RULES.get(signal.rule_id)
        return rule is not None and rule.is_absence and signal.alert_tier > 0

    def _admit(self, evidence: Evidence) -> None:
        """Hold a crowd's signal; else it joins the open alert, or asks for one."""
        signal = evidence.signal
        guard = self._guard(signal)
        if guard is not None:
            reason, detail, item = guard
            self.ledger.hold(evidence, reason, detail, item_id=item)
            return
        key = (signal.learner_id, signal.course_id, signal.layer)
        alert = self.state.alerts.get(key)
        if alert is not None and alert.status != "closed":
            self._absorb(alert, evidence)
        else:
            self.pending[key].append(evidence)

    def _note_signal(self, evidence: Evidence) -> None:
        signal = evidence.signal
        key = (signal.learner_id, signal.course_id, signal.layer)
        alert = self.state.alerts.get(key)
        if alert is not None and alert.status != "closed":
            self._attach(alert, [evidence])
        else:
            self.notes[key].append(evidence)

    def _attach(self, alert: Alert, notes: list[Evidence]) -> None:
        """What was only noted says more about an open alert; it changes nothing else."""
        alert.add(notes)
        for evidence in notes:
            self.ledger.record(evidence.signal, "noted", alert)
        self._note(alert)
        self.changes.alerts[alert.alert_id] = alert

    def _absorb(self, alert: Alert, evidence: Evidence) -> None:
        signal = evidence.signal
        alert.add([evidence])
        self.ledger.record(signal, "absorbed", alert)
        if signal.alert_tier > alert.alert_tier:
            self._raise(alert, signal.alert_tier)
            alert.due_at = self.delivery.due(alert) if alert.delivered_at is not None else None
            self._note(alert)
        self.delivery.changed(alert)

    def _raise(self, alert: Alert, tier: int) -> None:
        if alert.delivered_tier == 1:  # a coach has not seen it yet
            alert.delivered_at = alert.delivered_tier = None
        alert.alert_tier, alert.risen_at = tier, self.as_of
        self.delivery.route(alert)

    # -- closing ----------------------------------------------------------------------------

    def close(self) -> None:
        for alert in self.delivery.alerts():
            if alert.status == "closed" or alert.is_safety:
                continue
            if self.tick.unsupported:
                self._settle_unsupported(alert)
            out = self.context.is_out_of_scope(*alert.key[:2], self.as_of)
            if out is not None and out.startswith("withdrawn") and not alert.is_urgent:
                self._close(alert, "withdrawn")
                continue
            if self._has_faded(alert):
                self._close(alert, "faded")
                continue
            # Nothing else can close it: evidence that was settled now, or a rule that is gone.
            if alert.alert_id not in self.settled and self.live.issuperset(alert.rules):
                continue
            living = [e for e in alert.standing if e.signal.rule_id in self.live]
            if not living:
                self._close(alert, "rule_retired")
            elif all(e.is_settled for e in living):
                has_recovered = any(e.recovered_at is not None for e in alert.standing)
                self._close(alert, "recovered" if has_recovered else "no_longer_supported")

    def _has_faded(self, alert: Alert) -> bool:
        """The learner has worked on since, and for days no rule has fired again.

        Trouble on a skill that was left behind is never made good there; without this its alert
        would stay open for ever.
        """
        days = self.policy.fatigue.fades_after_days
        is_old = self.as_of - alert.last_signal_at >= timedelta(days=days)
        return is_old and alert.has_resumed and not alert.is_urgent

    def _settle_unsupported(self, alert: Alert) -> None:
        for evidence in alert.evidence:
            undone = evidence.signal.signal_id in self.tick.unsupported
            if undone and not evidence.is_settled:
                evidence.undone_at = self.as_of
                self.settled.add(alert.alert_id)
                self.delivery.changed(alert)

    def _close(self, alert: Alert, reason: str) -> None:
        alert.status, alert.closed_at, alert.close_reason = "closed", self.as_of, reason
        for hold in self.ledger.of_alert(alert):
            self.ledger.release(hold, reason)
        self.changes.closed[self.as_of] += 1
        self.delivery.changed(alert)

    # -- opening ----------------------------------------------------------------------------

    def open(self) -> None:
        self._reconsider()
        for key, found in self.pending.items():
            standing = [e for e in found if not e.is_settled]
            for evidence in found:
                if evidence.is_settled:
                    self.ledger.suppress(
                        evidence.signal, "already_recovered", "recovered before the tick was over"
                    )
            if standing:
                self._open_or_hold(key, standing)
        for key, notes in self.notes.items():
            alert = self.state.alerts.get(key)
            if alert is not None and alert.status != "closed":
                self._attach(alert, notes)
            else:
                for evidence in notes:
                    self.ledger.record(evidence.signal, "noted")

    def _open_or_hold(self, key: Key, found: list[Evidence]) -> None:
        last = self.state.alerts.get(key)
        tier = max(e.signal.alert_tier for e in found)
        if last is not None and last.closed_at is not None and not last.is_safety:
            grace = timedelta(hours=self.policy.reopen_grace_hours)
            if last.close_reason == "recovered" and self.as_of - last.closed_at <= grace:
                self._reopen(last, found, tier)
                return
            has_cooldown = last.close_reason in ("recovered", "closed_by_person")
            if has_cooldown and tier <= last.alert_tier:
                found = self._cool(last.closed_at, found)
        if found:
            self._open_new(key, found, max(e.signal.alert_tier for e in found))

    def _cool(self, closed_at: datetime, found: list[Evidence]) -> list[Evidence]:
        """Hold back what its rule's cooldown still covers; return the rest."""
        rest = []
        for evidence in found:
            until = closed_at + timedelta(hours=self.policy.cooldown_of(evidence.signal.rule_id))
            if until <= self.as_of or evidence.signal.is_urgent:
                rest.append(evidence)
            else:
                detail = "the same trouble was closed a short while ago"
                self.ledger.hold(evidence, "cooldown", detail, until)
        return rest

    def _reconsider(self) -> None:
        """Look again at every signal that is held: is it settled, is the reason gone?"""
        for hold in list(self.state.holds.values()):
            evidence = self.state.waiting.get(hold.signal_id or "")
            if evidence is None:
                continue
            gone = self._why_gone(evidence)
            if gone is not None:
                self.ledger.release(hold, gone)
                self.ledger.record(evidence.signal, "suppressed")
            elif self._is_over(hold, evidence.signal):
                self._let_go(hold, evidence)

    def _why_gone(self, evidence: Evidence) -> str | None:
        signal = evidence.signal
        if signal.rule_id not in self.live:
            return "rule_retired"
        if signal.signal_id in self.tick.unsupported:
            return "no_longer_supported"
        if evidence.is_settled:
            return "recovered"
        out = self._scope(signal, self.as_of)
        if out is not None and not (out.startswith("paused") and self._is_silence(signal)):
            return "out_of_scope"
        return None

    def _is_over(self, hold: Hold, signal: Signal) -> bool:
        if self._scope(signal, self.as_of) is not None:
            return False
        if hold.reason in ("cohort_guard", "item_guard"):
            guard = self._guard(signal)
            return guard is None or guard[0] != hold.reason
        if hold.reason == "cooldown" and self._has_open_alert(signal):
            return True
        return hold.held_until is not None and hold.held_until <= self.as_of

    def _has_open_alert(self, signal: Signal) -> bool:
        alert = self.state.alerts.get((signal.learner_id, signal.course_id, signal.layer))
        return alert is not None and alert.status != "closed"

    def _let_go(self, hold: Hold, evidence: Evidence) -> None:
        """The reason is gone: the signal joins or opens an alert, unless a crowd holds it now."""
        signal = evidence.signal
        if self._guard(signal) is not None:
            self.ledger.release(hold, "held_again")
        else:
            self.ledger.release(hold, "absorbed" if self._has_open_alert(signal) else "opened")
        self._admit(evidence)

    def _reopen(self, alert: Alert, found: list[Evidence], tier: int) -> None:
        alert.status, alert.closed_at, alert.close_reason = "open", None, None
        alert.reopened_count += 1
        alert.add(found)
        if tier > alert.alert_tier:
            self._raise(alert, tier)
        else:
            self.delivery.route(alert)
        alert.due_at = self.delivery.due(alert) if alert.delivered_at is not None else None
        for evidence in found:
            self.ledger.record(evidence.signal, "reopened", alert)
        self._note(alert)
        self.delivery.changed(alert)

    def _open_new(self, key: Key, found: list[Evidence], tier: int) -> None:
        alert = Alert(
            alert_id=content_id(*key, self.as_of.isoformat()),
            key=key,
            alert_tier=tier,
            opening_tier=tier,
            opened_at=self.as_of,
            policy_version=self.policy.fingerprint,
            evidence=found,
        )
        self.state.alerts[key] = alert
        self.delivery.route(alert)
        for evidence in found:
            self.ledger.record(evidence.signal, "ai_loop" if tier == 1 else "opened", alert)
        self.changes.opened[self.as_of] += 1
        self._note(alert)
        self.delivery.changed(alert)

    # -- the hand-off note ------------------------------------------------------------------

    def _note(self, alert: Alert) -> None:
        signals = tuple(
            e.signal for e in alert.evidence if not e.is_settled and e.signal.rule_id in self.live
        )
        if all(signal.alert_tier == 0 for signal in signals):
            return  # what stood is settled; the note that was written says more
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
            signals,
            max(closed, default=None),
        )


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
