"""Open state out of the serving database, where the last committed tick left it.

Of most of what is open an hour hears nothing. So evidence, states and facts are read when somebody
asks for them; what is known to be needed is read beforehand, many at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from tutorflow.decide.alerts import delivered_today
from tutorflow.decide.crowds import Finding
from tutorflow.decide.episodes import LAYERS, Alert, Evidence, Signal
from tutorflow.decide.frames import rows_of
from tutorflow.decide.said import Consent
from tutorflow.decide.states import Spell, StateTracker
from tutorflow.decide.ticks import Hold, OpenState
from tutorflow.decide.working_time import Coach
from tutorflow.policy.model import Policy
from tutorflow.publish import read_records, read_table
from tutorflow.publish.inbox import accepted
from tutorflow.settings import Settings

MEMORY = timedelta(days=29)  # longest cooldown (28 days) and re-open grace (14 days) allowed
OF_TODAY = timedelta(days=2)  # what was delivered on the day of a tick, in any time zone
IDS_AT_ONCE = 5_000


class StoredEvidence:
    """The evidence of alerts in the serving database."""

    def __init__(self, settings: Settings, policy: Policy) -> None:
        self._settings, self._policy = settings, policy
        self._read: dict[str, list[Evidence]] = {}

    def read(self, alert_ids: Iterable[str]) -> None:
        """Read what these alerts rest on, many at once."""
        wanted = sorted(set(alert_ids) - set(self._read))
        self._read.update({alert_id: [] for alert_id in wanted})
        self._read.update(_evidence_of(self._settings, wanted, self._policy))

    def of(self, alert_id: str) -> list[Evidence]:
        """What an alert rests on."""
        if alert_id not in self._read:
            self.read([alert_id])
        return self._read[alert_id]


class StoredAlert(Alert):
    """An alert of the serving database; its evidence is read when it is first asked for."""

    def __init__(self, row: Mapping[str, Any], stored: StoredEvidence) -> None:
        columns = {name: row[name] for name in _COLUMNS}
        super().__init__(key=(row["learner_id"], row["course_id"], row["layer"]), **columns)
        self._stored: StoredEvidence | None = stored
        # What its evidence says, until more is added to it.
        self.__dict__["last_signal_at"] = row["last_signal_at"]
        for name in ("rules", "subjects"):
            self.__dict__[name] = json.loads(row[name])

    @property
    def evidence(self) -> list[Evidence]:
        """As of any alert."""
        if self._stored is not None:
            self._evidence, self._stored = self._stored.of(self.alert_id), None
        return self._evidence

    @evidence.setter
    def evidence(self, found: list[Evidence]) -> None:
        self._evidence, self._stored = found, None

    @property
    def is_read(self) -> bool:
        """Whether its evidence has been asked for."""
        return self._stored is None


_COLUMNS = [field.name for field in fields(Alert) if field.name not in ("key", "evidence")]


@dataclass
class Opened:
    """The open state at the begin of a window."""

    state: OpenState
    tracker: StateTracker
    last_watermark: datetime | None
    delivered_rows: list[dict[str, Any]] = field(default_factory=list)
    roster_version: str | None = None  # in force at the last committed tick
    stored: StoredEvidence | None = None

    @property
    def with_open_alert(self) -> set[str]:
        """The learners of whom an alert is open."""
        return {key[0] for key, alert in self.state.alerts.items() if alert.status != "closed"}

    def read_evidence(self, learners: Collection[str]) -> None:
        """Read beforehand what the alerts rest on that may change: those of these learners."""
        self.read_evidence_of(
            alert for key, alert in self.state.alerts.items() if key[0] in learners
        )

    def read_evidence_of(self, alerts: Iterable[Alert]) -> None:
        """Read beforehand what these alerts rest on."""
        if self.stored is not None:
            self.stored.read(
                alert.alert_id
                for alert in alerts
                if isinstance(alert, StoredAlert) and not alert.is_read
            )

    def use_coaches(self, coaches: Mapping[str, Coach]) -> None:
        """Count what has been delivered by the coaches' own days."""
        self.state.delivered = delivered_today(self.delivered_rows, coaches)

    def remember_signals(self, settings: Settings, start: datetime) -> None:
        """Know which signals of the window have been decided already."""
        for row in read_records(settings, "signals", lambda t: t.c.fired_at >= start):
            self.state.recorded[row["signal_id"]] = row["recorded_at"]

    def remember_fired(
        self,
        settings: Settings,
        policy: Policy,
        first: datetime,
        is_out_of_scope: Callable[[str, str, datetime], str | None],
    ) -> None:
        """Who fired which rule lately, as far back as the cohort guard looks."""
        since = first - timedelta(hours=policy.fatigue.cohort_guard.hours)
        rows = read_records(
            settings, "signals", lambda t: sa.and_(t.c.fired_at > since, t.c.alert_tier >= 2)
        )
        for signal in map(_signal, rows):
            who, course, at = signal.learner_id, signal.course_id, signal.fired_at
            if not signal.can_flood or is_out_of_scope(who, course, at) is not None:
                continue
            fired = self.state.fired.setdefault((course, signal.rule_id), {})
            fired[who] = max(at, fired.get(who, at))

    def load_spells_of(
        self, settings: Settings, concerned: Iterable[tuple[str | None, str | None]]
    ) -> None:
        """The current states of learners and courses; None stands for every learner or course."""
        wanted = set(concerned)
        learners = sorted({learner for learner, _ in wanted if learner is not None})
        courses = sorted({course for learner, course in wanted if learner is None and course})
        if (None, None) in wanted:
            _add_spells(self.tracker, read_records(settings, "learner_states", {"until": None}))
            return
        self.load_spells(settings, learners)
        if courses:
            where = {"course_id": courses, "until": None}
            _add_spells(self.tracker, read_records(settings, "learner_states", where))

    def load_spells(self, settings: Settings, learners: Iterable[str]) -> None:
        """The current state of the learners that may be judged in this window."""
        ids = sorted(learners)
        for begin in range(0, len(ids), IDS_AT_ONCE):
            some = ids[begin : begin + IDS_AT_ONCE]
            _add_spells(
                self.tracker,
                read_records(settings, "learner_states", {"learner_id": some, "until": None}),
            )


def load(settings: Settings, policy: Policy, first: datetime) -> Opened:
    """What is open at ``first`` (naive UTC), the start of the first tick to decide."""
    stored = StoredEvidence(settings, policy)
    alerts = read_records(
        settings,
        "alerts",
        lambda t: sa.or_(t.c.status != "closed", t.c.closed_at >= first - MEMORY),
    )
    alerts.sort(key=lambda row: row["opened_at"])
    last = {(row["learner_id"], row["course_id"], row["layer"]): row for row in alerts}
    state = OpenState()
    for key, row in last.items():
        state.alerts[key] = StoredAlert(row, stored)
    for row in read_records(settings, "suppressions", {"released_at": None}):
        hold = Hold(**row)
        state.holds[hold.suppression_id] = hold
    _load_waiting(settings, state, policy)
    _load_consents(settings, state)
    for row in read_records(settings, "item_findings", {"until": None}):
        finding = Finding(**row)
        state.findings[finding.course_id, finding.item_id] = finding
    tracker = StateTracker(policy)
    dwell = timedelta(hours=policy.states.dwell_hours)
    spells = read_records(
        settings,
        "learner_states",
        lambda t: sa.and_(
            t.c.until.is_(None),
            sa.or_(t.c.since > first - dwell, t.c.state == "recovering"),
        ),
    )
    _add_spells(tracker, spells)
    for who, spell in tracker.spells.items():
        tracker.timers[who] = spell.since + dwell
        if spell.state == "recovering":
            tracker.timers[who] = max(first, _recovering_until(state, who, policy, spell))
    live = policy.enabled_rules().keys()  # an alert of a rule that is gone is about to close
    stored.read(
        alert.alert_id
        for alert in state.alerts.values()
        if alert.status != "closed" and not live >= set(alert.rules)
    )
    watermark, roster_version = _last_tick(settings)
    return Opened(
        state,
        tracker,
        watermark,
        read_records(settings, "alerts", lambda t: t.c.delivered_at > first - OF_TODAY),
        roster_version,
        stored,
    )


def _recovering_until(state: OpenState, who: tuple[str, str], policy: Policy, spell: Spell) -> Any:
    lasts = timedelta(hours=policy.states.recovering_hours)
    alerts = [state.alerts.get((*who, layer)) for layer in LAYERS]
    closed = [
        alert.closed_at + lasts
        for alert in alerts
        if alert and alert.closed_at is not None and alert.close_reason == "recovered"
    ]
    return max(closed, default=spell.since + lasts)


def _evidence_of(
    settings: Settings, alert_ids: Iterable[str], policy: Policy
) -> dict[str, list[Evidence]]:
    ids = sorted(alert_ids)
    found: dict[str, list[Evidence]] = {}
    for begin in range(0, len(ids), IDS_AT_ONCE):
        some = ids[begin : begin + IDS_AT_ONCE]
        evidence = read_records(settings, "alert_evidence", {"alert_id": some})
        evidence.sort(key=lambda row: (row["fired_at"], row["signal_id"]))
        signals = _signals(settings, [row["signal_id"] for row in evidence])
        for row in evidence:
            signal = signals[row["signal_id"]]
            recovery = _recovery(row, signal, policy)
            found.setdefault(row["alert_id"], []).append(
                Evidence(signal, row["recovered_at"], row["undone_at"], recovery)
            )
    return found


def _recovery(row: Mapping[str, Any], signal: Signal, policy: Policy) -> tuple[str, int] | None:
    """What settles the evidence: as when it joined, not as a later policy has it."""
    if row["recovery_kind"] is not None:
        return row["recovery_kind"], int(row["recovery_times"])
    return _recovery_now(signal, policy)


def _recovery_now(signal: Signal, policy: Policy) -> tuple[str, int] | None:
    if signal.rule_id not in policy.rules:
        return None
    recovery = policy.recovery_of(signal.rule_id)
    return recovery.kind, recovery.times


def _signals(settings: Settings, signal_ids: Iterable[str]) -> dict[str, Signal]:
    return {row["signal_id"]: _signal(row) for row in _signal_rows(settings, signal_ids)}


def _signal(row: Mapping[str, Any]) -> Signal:
    return Signal(**{name: row[name] for name in Signal._fields})


def _signal_rows(settings: Settings, signal_ids: Iterable[str]) -> Iterator[dict[str, Any]]:
    ids = sorted(set(signal_ids))
    for begin in range(0, len(ids), IDS_AT_ONCE):
        some = ids[begin : begin + IDS_AT_ONCE]
        yield from read_records(settings, "signals", {"signal_id": some})


def _load_waiting(settings: Settings, state: OpenState, policy: Policy) -> None:
    """The evidence of the signals that are held, and when each of them was decided first."""
    held = [h.signal_id for h in state.holds.values() if h.signal_id and h.reason != "feed_late"]
    for row in _signal_rows(settings, held):
        signal = _signal(row)
        state.waiting[signal.signal_id] = Evidence(signal, recovery=_recovery_now(signal, policy))
        state.recorded[signal.signal_id] = row["recorded_at"]


def _load_consents(settings: Settings, state: OpenState) -> None:
    taken = read_table(settings, "inbox_taken", {"inbox": "consent_changes"})
    for row in rows_of(accepted(taken, "consent_changes")):
        at = row.at.to_pydatetime()
        state.hear_consent(
            Consent(row.row_id, at, row.who, row.learner_id, row.purpose, row.is_granted)
        )


def _add_spells(tracker: StateTracker, rows: Iterable[Mapping[str, Any]]) -> None:
    for row in rows:
        tracker.remember(
            (row["learner_id"], row["course_id"]), Spell(row["state"], row["since"], row["reason"])
        )


def _last_tick(settings: Settings) -> tuple[datetime | None, str | None]:
    """(how far all sources were complete, roster in force) at the last committed tick."""
    log = read_records(
        settings,
        "tick_log",
        lambda t: t.c.as_of == sa.select(sa.func.max(t.c.as_of)).scalar_subquery(),
    )
    if not log:
        return None, None
    (row,) = log
    times = [datetime.fromisoformat(text) for text in json.loads(row["watermarks"]).values()]
    return (min(times) if times else None), row["roster_version"]
