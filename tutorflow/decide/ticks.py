"""What the fold over time takes in, carries from tick to tick, and hands on to be published."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Literal, NamedTuple

from tutorflow.decide.agenda import Agenda
from tutorflow.decide.crowds import Finding, ItemKey, ItemTry
from tutorflow.decide.episodes import Alert, Evidence, Key, RecoveryEvent, Signal
from tutorflow.decide.said import Consent, InboxNote
from tutorflow.decide.working_time import Coach
from tutorflow.policy.model import Profile

Disposition = Literal["opened", "absorbed", "reopened", "held", "suppressed", "ai_loop", "noted"]
# rule, course, tick -> how far the rule may look; None: no feed, so the rule sleeps there
Watermark = Callable[[str, str, datetime], datetime | None]
STAFF = "staff account"
HELD_OUT = "held_out"  # the reason of a hold that a lot decided


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
    item_id: str | None = None  # the item that seems broken (item_guard)


@dataclass
class OpenState:
    """What the last committed tick left open; ``advance`` moves it on.

    ``waiting`` is the evidence that open holds of signals keep back, by signal. ``fired`` says who
    fired a rule on a course lately, ``tries`` who met an item lately and when they last missed it;
    both reach back as far as the guards look.
    """

    alerts: dict[Key, Alert] = field(default_factory=dict)
    recorded: dict[str, datetime] = field(default_factory=dict)  # signal -> tick
    holds: dict[str, Hold] = field(default_factory=dict)
    waiting: dict[str, Evidence] = field(default_factory=dict)
    late: dict[str, Signal] = field(default_factory=dict)  # held because their feed is late
    delivered: Counter[tuple[str, date, int]] = field(default_factory=Counter)
    fired: dict[tuple[str, str], dict[str, datetime]] = field(default_factory=dict)
    tries: dict[ItemKey, dict[str, tuple[datetime, datetime | None]]] = field(default_factory=dict)
    findings: dict[ItemKey, Finding] = field(default_factory=dict)
    helped: dict[tuple[str, str | None], datetime] = field(default_factory=dict)
    consents: dict[str, Consent] = field(default_factory=dict)  # to nudges: each learner's last
    agenda: Agenda = field(default_factory=Agenda)

    def hear_consent(self, note: Consent) -> None:
        """Take what a learner consents to, or no longer does, unless more recent is known."""
        known = self.consents.get(note.learner_id, note)
        self.consents[note.learner_id] = max(known, note, key=lambda one: (one.at, one.note_id))

    def held_out(self) -> frozenset[str]:
        """The alerts of which nobody is told at present, by lot."""
        holds = self.holds.values()
        return frozenset(h.alert_id for h in holds if h.alert_id and h.reason == HELD_OUT)


class Context(NamedTuple):
    """What the decision knows besides signals."""

    coach_of: Callable[[str, str, str, datetime], Coach]  # learner, course, role, at
    is_out_of_scope: Callable[[str, str, datetime], str | None]  # -> the reason
    core_skills: frozenset[str]
    late_horizon: timedelta
    # learner, course, instant inside a pause -> when that much of unpaused time will have passed
    resumes_at: Callable[[str, str, datetime], datetime] = lambda learner, course, at: at
    profile_of: Callable[[str, datetime], Profile] = lambda learner, at: Profile()
    coach_named: Callable[[str], Coach | None] = lambda coach_id: None
    # learner, course, at -> the next scheduled session; the last contact with a person
    next_session_at: Callable[[str, str, datetime], datetime | None] = lambda *_: None
    last_contact_at: Callable[[str, str, datetime], datetime | None] = lambda *_: None
    active_learners: Callable[[str, datetime], int] = lambda course, at: 0
    item_of: Callable[[str], str | None] = lambda event_id: None


@dataclass(frozen=True)
class TickInput:
    """What is new at one tick.

    ``signals`` are decided now; ``held`` are absence signals whose feed is late; ``unsupported``
    are signals that late events have undone; ``said`` is what people said; ``tries`` is who met an
    item; ``outside_pilot`` counts signals that the pilot leaves alone. ``leaving`` are the learners
    and courses (None: all) whose enrolment changes; without it every alert is looked at.
    """

    as_of: datetime
    signals: list[Signal] = field(default_factory=list)
    held: list[Signal] = field(default_factory=list)
    recoveries: list[RecoveryEvent] = field(default_factory=list)
    unsupported: frozenset[str] = frozenset()
    said: list[InboxNote] = field(default_factory=list)
    tries: list[ItemTry] = field(default_factory=list)
    outside_pilot: int = 0
    leaving: list[tuple[str | None, str | None]] | None = None


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
    findings: dict[tuple[str, str, datetime], Finding] = field(default_factory=dict)
    touched: set[Key] = field(default_factory=set)
    decided: Counter[datetime] = field(default_factory=Counter)  # signals, at their first decision
    opened: Counter[datetime] = field(default_factory=Counter)
    closed: Counter[datetime] = field(default_factory=Counter)
    outside_pilot: Counter[datetime] = field(default_factory=Counter)
