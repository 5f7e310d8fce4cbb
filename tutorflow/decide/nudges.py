"""Nudges: what the AI tutor says by itself, sparsely, and compared with saying nothing.

``Desk.advance`` moves the outbox by one tick: it lets go what has waited, then answers what
happened in the tick. One nudge per learner and local day; a message waits until the quiet hours
are over; a share of learners, by hash, is held out and logged, never one with an alert of tier 3
or 4. Who is opted out, left alone, or with a person about a matter of safety hears nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from tutorflow.decide.episodes import LAYERS, Alert, Key, Signal
from tutorflow.decide.ids import content_id, fraction
from tutorflow.decide.names import name_of
from tutorflow.decide.states import Learner, Spell
from tutorflow.decide.ticks import OpenState
from tutorflow.policy.nudges import Nudge, NudgeLibrary, NudgeVariant, QuietHours, filled
from tutorflow.publish import read_records
from tutorflow.settings import Settings

Row = dict[str, Any]
KINDS = ("rule", "good_news", "state")  # what says most about the moment comes first
MEMORY = timedelta(days=29)  # the longest time after which a nudge may come again, and a day
WAITING = ("waiting_time", "waiting_quiet_hours")
IDS_AT_ONCE = 5_000


class Trigger(NamedTuple):
    """Something in a tick that a nudge may answer."""

    kind: Literal["rule", "good_news", "state"]
    name: str
    learner_id: str
    course_id: str
    subject_id: str = ""
    alert_id: str | None = None


class Circumstances(NamedTuple):
    """What the desk knows of learners besides what happened."""

    takes_nudges: Callable[[str, datetime], bool]
    language_of: Callable[[str, datetime], str | None]
    is_out_of_scope: Callable[[str, str, datetime], str | None]
    titles: Mapping[str, str]
    timezone: str


class _Standing(NamedTuple):
    """Of the alerts that are open in a tick: each learner's highest tier, and whom safety is about;
    and who has taken consent back.

    Whatever the course: somebody whom a person is to call today is one person on all of them.
    """

    tiers: dict[str, int]
    safety: set[str]
    without_consent: set[str]

    @classmethod
    def of(cls, state: OpenState) -> _Standing:
        tiers: dict[str, int] = {}
        safety = set()
        for (learner, _, layer), alert in state.alerts.items():
            if alert.status != "closed":
                tiers[learner] = max(tiers.get(learner, 0), alert.alert_tier)
                if layer == "safety":
                    safety.add(learner)
        taken_back = {who for who, last in state.consents.items() if not last.is_granted}
        return cls(tiers, safety, taken_back)


@dataclass
class Desk:
    """The outbox: rows that wait, what each learner has lately been given, and what changed."""

    library: NudgeLibrary
    around: Circumstances
    policy_version: str
    waiting: dict[str, Row] = field(default_factory=dict)
    given: dict[str, dict[str, Row]] = field(default_factory=lambda: defaultdict(dict))
    changed: dict[str, Row] = field(default_factory=dict)
    remembered: set[str] = field(default_factory=set)  # of whom all that was given lately is known

    @property
    def learners(self) -> set[str]:
        """Whose nudge waits: their state has to be known."""
        return {row["learner_id"] for row in self.waiting.values()}

    def load(self, settings: Settings, first: datetime) -> None:
        """Take up what was waiting at ``first``, the start of the first tick to decide."""
        for row in read_records(settings, "nudges_outbox", {"status": list(WAITING)}):
            self.waiting[row["nudge_row_id"]] = row
            self.given[row["learner_id"]][row["nudge_row_id"]] = row

    def remember(self, settings: Settings, learners: Iterable[str], first: datetime) -> None:
        """Know what learners were given lately, before they are answered first in a window."""
        ids = sorted(set(learners) - self.remembered)
        self.remembered.update(ids)
        for begin in range(0, len(ids), IDS_AT_ONCE):
            some = ids[begin : begin + IDS_AT_ONCE]
            rows = read_records(
                settings,
                "nudges_outbox",
                lambda t, some=some: t.c.learner_id.in_(some) & (t.c.send_after >= first - MEMORY),
            )
            for row in rows:
                self.given[row["learner_id"]].setdefault(row["nudge_row_id"], row)

    def advance(
        self,
        as_of: datetime,
        triggers: Iterable[Trigger],
        state: OpenState,
        spells: Mapping[Learner, Spell],
    ) -> None:
        """Move the outbox over the tick that ends at ``as_of``."""
        due = [row for row in self.waiting.values() if row["send_after"] <= as_of]
        asked = [
            (trigger, answer)
            for trigger in _one_each(triggers)
            if (answer := self.library.answer(trigger.kind, trigger.name)) is not None
        ]
        if not due and not asked:
            return
        standing = _Standing.of(state)
        for row in sorted(due, key=lambda r: r["nudge_row_id"]):
            self._let_go(row, as_of, state, spells, standing)
        for trigger, (nudge_id, nudge) in asked:
            self._answer(trigger, nudge_id, nudge, as_of, standing)

    def _let_go(
        self,
        row: Row,
        as_of: datetime,
        state: OpenState,
        spells: Mapping[Learner, Spell],
        standing: _Standing,
    ) -> None:
        why_not = self._why_not(row["learner_id"], row["course_id"], as_of, standing)
        if why_not is None and not _still_stands(row, state, spells):
            why_not = "no longer needed: what it answered is over"
        status = "ready" if why_not is None else "not_sent"
        settled = {**row, "status": status, "reason": why_not, "as_of": as_of}
        del self.waiting[row["nudge_row_id"]]
        self._keep(settled)

    def _answer(
        self,
        trigger: Trigger,
        nudge_id: str,
        nudge: Nudge,
        as_of: datetime,
        standing: _Standing,
    ) -> None:
        learner = trigger.learner_id
        name = pick(list(nudge.variants), learner, nudge_id)
        variant = nudge.variants[name]
        send_after, waits = send_time(as_of, nudge, variant, self.library.quiet_hours, self._zone)
        why_not = self._why_not(learner, trigger.course_id, as_of, standing)
        why_not = why_not or self._too_soon(learner, nudge_id, send_after)
        share = self.library.share_held_out(nudge, trigger.kind, trigger.name)
        if standing.tiers.get(learner, 0) >= 3:
            share = 0.0
        is_held_out = fraction("held out", learner, nudge_id) < share
        status = waits or "ready"
        if is_held_out:
            status = "held_out"
        if why_not is not None:
            status = "not_sent"
        chance = share if is_held_out else (1 - share) / len(nudge.variants)
        language = self._language(learner, variant, as_of)
        values = {
            "subject": self._subject(trigger, language),
            "minutes": variant.minutes,
        }
        row: Row = {
            "nudge_row_id": content_id(learner, trigger.course_id, nudge_id, as_of.isoformat()),
            "nudge_id": nudge_id,
            "learner_id": learner,
            "course_id": trigger.course_id,
            "trigger_kind": trigger.kind,
            "trigger_name": trigger.name,
            "alert_id": trigger.alert_id,
            "owner_role": nudge.owner,
            "channel": nudge.channel,
            "variant": name,
            "language": language,
            "text": filled(variant.text, language, values),
            "step": filled(variant.step, language, values),
            "minutes": variant.minutes,
            "send_after": send_after,
            "expires_at": send_after + timedelta(hours=nudge.expires_hours),
            "status": status,
            "reason": why_not,
            "propensity": round(chance, 6),
            "policy_version": self.policy_version,
            "library_version": self.library.fingerprint,
            "decided_at": as_of,
            "as_of": as_of,
        }
        if status in WAITING:
            self.waiting[row["nudge_row_id"]] = row
        self._keep(row)

    @property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self.around.timezone)

    def _why_not(
        self, learner: str, course: str, as_of: datetime, standing: _Standing
    ) -> str | None:
        """Why this learner hears nothing now; None: may."""
        if learner in standing.without_consent or not self.around.takes_nudges(learner, as_of):
            return "opted out"
        out = self.around.is_out_of_scope(learner, course, as_of)
        if out is not None:
            return f"left alone: {out}"
        if learner in standing.safety:
            return "a person is with the learner about a matter of safety"
        return None

    def _too_soon(self, learner: str, nudge_id: str, send_after: datetime) -> str | None:
        lately = [row for row in self.given[learner].values() if row["status"] != "not_sent"]
        day = _local_date(send_after, self._zone)
        if any(_local_date(row["send_after"], self._zone) == day for row in lately):
            return "one a day: the learner has one that day"
        again = timedelta(days=self.library.again_after_days)
        same = [row["send_after"] for row in lately if row["nudge_id"] == nudge_id]
        if same and send_after - max(same) < again:
            return f"said within the last {self.library.again_after_days:g} days"
        return None

    def _language(self, learner: str, variant: NudgeVariant, as_of: datetime) -> str:
        own = self.around.language_of(learner, as_of)
        return own if own in variant.text else self.library.language

    def _subject(self, trigger: Trigger, language: str) -> str:
        title = name_of(self.around.titles, trigger.subject_id)
        return title or self.library.no_subject[language]

    def _keep(self, row: Row) -> None:
        self.given[row["learner_id"]][row["nudge_row_id"]] = row
        self.changed[row["nudge_row_id"]] = row


def happened(
    as_of: datetime,
    state: OpenState,
    touched: Iterable[Key],
    entered: Iterable[tuple[Learner, Spell]],
    good_news: Iterable[Trigger] = (),
) -> list[Trigger]:
    """What in this tick a nudge may answer: tier-1 alerts delivered, states entered, good news.

    A state is not answered where all that is open of the learner is held out by lot: who is
    compared with others is not told in another way.
    """
    held_out = state.held_out()
    found = list(good_news)
    for key in touched:
        alert = state.alerts.get(key)
        if alert is not None and alert.delivered_tier == 1 and alert.delivered_at == as_of:
            lead = max(alert.signals, key=lambda s: (s.alert_tier, s.fired_at, s.signal_id))
            found.append(Trigger("rule", lead.rule_id, *key[:2], _name_of(lead), alert.alert_id))
    for learner, spell in entered:
        standing = _standing(learner, state)
        if standing and held_out.issuperset(alert.alert_id for alert in standing):
            continue
        subject, alert_id = _behind(standing)
        found.append(Trigger("state", spell.state, *learner, subject, alert_id))
    return found


def send_time(
    as_of: datetime, nudge: Nudge, variant: NudgeVariant, quiet: QuietHours, zone: ZoneInfo
) -> tuple[datetime, str | None]:
    """(naive UTC instant from which it may be sent, what it waits for: a status; None: nothing)."""
    local = as_of.replace(tzinfo=UTC).astimezone(zone)
    waits = None
    if variant.at != "now":
        wanted = time.fromisoformat(variant.at)
        day = local.date() if local.time() <= wanted else local.date() + timedelta(days=1)
        at = datetime.combine(day, wanted, zone)
        if at > local:
            local, waits = at, "waiting_time"
    if nudge.channel in quiet.channels and _is_quiet(local.time(), quiet):
        day = local.date() if local.time() < quiet.end else local.date() + timedelta(days=1)
        local, waits = datetime.combine(day, quiet.end, zone), "waiting_quiet_hours"
    return (local.astimezone(UTC).replace(tzinfo=None), waits) if waits else (as_of, None)


def pick(variants: list[str], learner: str, nudge_id: str) -> str:
    """The learner's variant of a nudge: equally likely, always the same."""
    return variants[int(fraction("variant", learner, nudge_id) * len(variants))]


def _one_each(triggers: Iterable[Trigger]) -> list[Trigger]:
    """The most telling trigger of each learner and course, in a reproducible order."""
    best: dict[Learner, Trigger] = {}
    for trigger in sorted(
        triggers, key=lambda t: (t.learner_id, t.course_id, KINDS.index(t.kind), *t[1:5])
    ):
        best.setdefault((trigger.learner_id, trigger.course_id), trigger)
    return list(best.values())


def _standing(learner: Learner, state: OpenState) -> list[Alert]:
    """The alerts of a learner on a course that are not closed."""
    alerts = (state.alerts.get((*learner, layer)) for layer in LAYERS)
    return [alert for alert in alerts if alert is not None and alert.status != "closed"]


def _behind(standing: list[Alert]) -> tuple[str, str | None]:
    """(subject, alert id) of the most serious of a learner's open alerts on a course."""
    if not standing:
        return "", None
    worst = max(standing, key=lambda alert: (alert.alert_tier, alert.alert_id))
    named = (subject for signal in worst.signals if (subject := _name_of(signal)))
    return next(named, ""), worst.alert_id


def _name_of(signal: Signal) -> str:
    """The skill or task a signal is about; what has no name of its own is left out."""
    return signal.subject_id if signal.subject_kind in ("skill", "item") else ""


def _still_stands(row: Row, state: OpenState, spells: Mapping[Learner, Spell]) -> bool:
    """Is what a waiting nudge answers still the case?"""
    who = (row["learner_id"], row["course_id"])
    if row["trigger_kind"] == "state":
        spell = spells.get(who)
        return spell is not None and spell.state == row["trigger_name"]
    if row["trigger_kind"] == "rule":
        alerts = (state.alerts.get((*who, layer)) for layer in LAYERS)
        return any(a and a.alert_id == row["alert_id"] and a.status != "closed" for a in alerts)
    return True


def _is_quiet(at: time, quiet: QuietHours) -> bool:
    if quiet.start < quiet.end:
        return quiet.start <= at < quiet.end
    return at >= quiet.start or at < quiet.end


def _local_date(at: datetime, zone: ZoneInfo) -> date:
    return at.replace(tzinfo=UTC).astimezone(zone).date()
