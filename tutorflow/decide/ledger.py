"""The ledger: what is held back and why, when it is released, and what became of each signal."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import datetime

from tutorflow.decide.episodes import Alert, Evidence, Signal
from tutorflow.decide.ids import content_id
from tutorflow.decide.ticks import Changes, Disposition, Hold, OpenState


class Ledger:
    """Writes the ledger of one tick into the open state and the changes."""

    def __init__(self, state: OpenState, changes: Changes, as_of: datetime) -> None:
        self.state, self.changes, self.as_of = state, changes, as_of
        self._of_alert: dict[str, set[str]] = defaultdict(set)
        for hold in state.holds.values():
            if hold.alert_id is not None:
                self._of_alert[hold.alert_id].add(hold.suppression_id)

    def record(self, signal: Signal, disposition: Disposition, alert: Alert | None = None) -> None:
        """What became of a signal, so far."""
        recorded_at = self.state.recorded.setdefault(signal.signal_id, self.as_of)
        if recorded_at == self.as_of and signal.signal_id not in self.changes.dispositions:
            self.changes.decided[self.as_of] += 1
        self.changes.dispositions[signal.signal_id] = (
            signal,
            recorded_at,
            disposition,
            alert.alert_id if alert else None,
        )

    def suppress(self, signal: Signal, reason: str, detail: str) -> None:
        """Never shown; the row is held and released at once."""
        row = self._signal_row(signal, reason, detail)
        self._write(replace(row, released_at=self.as_of, release="not_shown"))
        self.record(signal, "suppressed")

    def hold_feed(self, signal: Signal, detail: str) -> None:
        """Not even decided: its feed is late."""
        self._keep(self._signal_row(signal, "feed_late", detail))

    def hold(
        self,
        evidence: Evidence,
        reason: str,
        detail: str,
        until: datetime | None = None,
        item_id: str | None = None,
    ) -> None:
        """Keep a signal back; ``reconsider`` it each tick."""
        row = self._signal_row(evidence.signal, reason, detail)
        self._keep(replace(row, held_until=until, item_id=item_id))
        self.state.waiting[evidence.signal.signal_id] = evidence
        self.record(evidence.signal, "held")

    def hold_alert(self, alert: Alert, reason: str, detail: str, until: datetime | None) -> None:
        """Keep a whole alert from its coach; the row goes on while the reason stays the same."""
        for hold in self.of_alert(alert):
            if hold.reason == reason:
                if hold.held_until != until:
                    self._keep(replace(hold, held_until=until, detail=detail))
                return
            self.release(hold, f"held_again_{reason}")
        self._keep(
            Hold(
                suppression_id=content_id(alert.alert_id, reason, self.as_of.isoformat()),
                signal_id=None,
                alert_id=alert.alert_id,
                learner_id=alert.key[0],
                course_id=alert.key[1],
                rule_id=None,
                layer=alert.key[2],
                alert_tier=alert.alert_tier,
                reason=reason,
                detail=detail,
                fired_at=alert.last_signal_at,
                held_at=self.as_of,
                held_until=until,
            )
        )

    def of_alert(self, alert: Alert) -> list[Hold]:
        """The open holds of an alert."""
        held = self.state.holds
        return [held[one] for one in sorted(self._of_alert[alert.alert_id]) if one in held]

    def release(self, hold: Hold, release: str) -> None:
        """End a hold and say what became of it."""
        self.changes.holds[hold.suppression_id] = replace(
            hold, released_at=self.as_of, release=release
        )
        self.state.holds.pop(hold.suppression_id, None)
        if hold.signal_id is not None:
            self.state.waiting.pop(hold.signal_id, None)

    def _signal_row(self, signal: Signal, reason: str, detail: str) -> Hold:
        return Hold(
            suppression_id=content_id(signal.signal_id, reason),
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
        )

    def _keep(self, hold: Hold) -> None:
        self.state.holds[hold.suppression_id] = hold
        if hold.alert_id is not None:
            self._of_alert[hold.alert_id].add(hold.suppression_id)
        self._write(hold)

    def _write(self, hold: Hold) -> None:
        self.changes.holds[hold.suppression_id] = hold
