"""Hand-off notes: what a colleague would say in five lines, written from stored columns only."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pandas as pd

from tutorflow.decide.episodes import EPOCH, Signal
from tutorflow.decide.handoff_facts import (
    MEMORY,
    SIMILAR,
    Answer,
    Around,
    Contact,
    NotCommitted,
    lead_of,
    look_around,
)
from tutorflow.decide.names import name_of
from tutorflow.decide.ticks import NoteRequest
from tutorflow.policy.model import Policy
from tutorflow.settings import Settings

ZoneOf = Callable[[NoteRequest], str]  # the time zone of the coach who will read a note
BEFORE = 9  # answers before a change that it is compared with
TELLING = 1.5  # times slower or faster than own pace that is worth a word
TIMED = 2  # answers with a known time that a pace needs
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS = (
    *("Jan", "Feb", "Mar", "Apr", "May", "Jun"),
    *("Jul", "Aug", "Sep", "Oct", "Nov", "Dec"),
)


@dataclass(frozen=True)
class Change:
    """Where the answers on a subject turned: the run that is the matter, and what came before.

    ``rows`` are the first tries it is about, ``at`` the first miss of the run that was going on
    when the signal fired; None where no run was going on. ``is_on_skill``: they are all of the
    skill that the signal is about.
    """

    rows: list[Answer]
    at: datetime | None
    before: list[Answer]
    is_on_skill: bool


def write_notes(
    warehouse: duckdb.DuckDBPyConnection,
    settings: Settings,
    requests: Sequence[NoteRequest],
    policy: Policy,
    titles: Mapping[str, str],
    zone_of: ZoneOf,
    window: NotCommitted = NotCommitted(),  # noqa: B008 - immutable
) -> pd.DataFrame:
    """Rows of ``handoff_notes``, one per request."""
    if not requests:
        return pd.DataFrame()
    grace = timedelta(hours=policy.reopen_grace_hours)
    around = look_around(warehouse, settings, requests, window, grace)
    return pd.DataFrame(
        [
            note(request, around[request.alert_id], policy, titles, zone_of(request))
            for request in requests
        ]
    )


def note(
    request: NoteRequest,
    around: Around,
    policy: Policy,
    titles: Mapping[str, str],
    zone: str,
) -> dict[str, Any]:
    """The parts of one note; times are said in ``zone``, the coach's."""
    lead = lead_of(request.signals)
    entry = policy.rules[lead.rule_id]
    subject = titles.get(lead.subject_id, lead.subject_id) or "the course"
    clock = _Clock(request.at, ZoneInfo(zone))
    change = find_change(lead, around.answers)
    fired = min(signal.fired_at for signal in request.signals)
    changed_at = change.at or _gone_quiet(lead, around) or fired
    changed = _what_changed(change, around, clock)
    return {
        "alert_id": request.alert_id,
        "objective": entry.objective.format(subject=subject),
        "observed_issue": _issue(request.signals, lead, change),
        "what_changed": changed,
        "changed_at": changed_at,
        "severity": f"alert tier {request.alert_tier}, "
        f"confidence {request.confidence} ({request.basis})",
        "was_doing": _was_doing(around, subject, clock),
        "why_now": _why_now(changed, change, clock, fired),
        "ai_tried": _ai_tried(around, change.at, clock),
        "humans_tried": _humans_tried(around, request),
        "next_action": entry.action.format(subject=subject),
        "minutes": entry.minutes,
        "error_pattern": _error_pattern(change, request.signals),
        "similar_cases": _similar_cases(around),
        "draft_message": _draft(request.key[2], subject),
        "written_at": request.at,
    }


class _Clock:
    """Says instants as somebody in a zone would at the note's tick."""

    def __init__(self, at: datetime, zone: ZoneInfo) -> None:
        self.zone = zone
        self.today = self._local(at).date()

    def _local(self, at: datetime) -> datetime:
        return at.replace(tzinfo=UTC).astimezone(self.zone)

    def is_today(self, at: datetime) -> bool:
        """Is it the day of the note?"""
        return self._local(at).date() == self.today

    def say(self, at: datetime) -> str:
        """'14:05', or with the day if that is another one: 'Mon 2 Mar 14:05'."""
        local = self._local(at)
        if self.is_today(at):
            return f"{local:%H:%M}"
        day = f"{WEEKDAYS[local.weekday()]} {local.day} {MONTHS[local.month - 1]}"
        year = f" {local.year}" if local.year != self.today.year else ""
        return f"{day}{year} {local:%H:%M}"


# -- what changed ----------------------------------------------------------------------------------


def find_change(lead: Signal, answers: Sequence[Answer]) -> Change:
    """The run of misses that was going on when ``lead`` fired, on its skill or on the course."""
    on_skill = lead.subject_kind == "skill" and bool(lead.subject_id)
    tries = [
        answer
        for answer in answers
        if answer.is_first_attempt
        and answer.at <= lead.fired_at
        and (not on_skill or answer.skill_id == lead.subject_id)
    ]
    run: list[Answer] = []
    for answer in reversed(tries):
        if answer.is_correct:
            break
        run.insert(0, answer)
    ids = set(_evidence_ids(lead))
    rows = run if len(run) >= 2 else [answer for answer in tries if answer.event_id in ids]
    begun = run[0].at if len(run) >= 2 else None
    if not rows or (begun is None and not on_skill):
        return Change([], None, [], on_skill)
    start = begun or rows[0].at
    return Change(rows, begun, [answer for answer in answers if answer.at < start], on_skill)


def _evidence_ids(lead: Signal) -> list[str]:
    ids: list[str] = json.loads(lead.evidence_ids)
    return ids


def _gone_quiet(lead: Signal, around: Around) -> datetime | None:
    """When somebody who has gone quiet was last there."""
    return around.last_at if lead.layer == "compliance" else None


def _what_changed(change: Change, around: Around, clock: _Clock) -> str:
    if change.at is not None and len(change.before) >= 3:
        before = change.before[-BEFORE:]
        right = sum(answer.is_correct for answer in before)
        told = f"{right} of the {len(before)} answers before were right"
        return told if _went_well_before(change) else f"not a matter of today: {told}"
    if change.at is not None:
        return "it has been so from the first answers on"
    earlier, recent = around.answers[-13:-4], around.answers[-4:]
    right, now = sum(a.is_correct for a in earlier), sum(a.is_correct for a in recent)
    if len(earlier) >= 3 and change.rows and right * len(recent) > now * len(earlier):
        return (
            f"{right} of the {len(earlier)} answers before were right, "
            f"{now} of the last {len(recent)} are"
        )
    if around.last_at is not None:
        return f"last seen {clock.say(around.last_at)}"
    return "no activity on record yet"


def _why_now(changed: str, change: Change, clock: _Clock, fired: datetime) -> str:
    if change.at is None:
        return f"{changed}; noticed {clock.say(fired)}"
    turned = _turn(change)
    began = "it changed at" if _went_well_before(change) else "the latest misses began at"
    return f"{changed}; {began} {clock.say(change.at)}" + (f", when {turned}" if turned else "")


def _went_well_before(change: Change) -> bool:
    before = change.before[-BEFORE:]
    return 2 * sum(answer.is_correct for answer in before) >= len(before)


def _turn(change: Change) -> str | None:
    """What else was different from then on: the type of the tasks, or the module."""
    kinds = (
        _mostly([a.kind for a in change.before[-BEFORE:]]),
        _mostly([a.kind for a in change.rows]),
    )
    if None not in kinds and kinds[0] != kinds[1]:
        return f"items turned from {_many(kinds[0] or '')} to {_many(kinds[1] or '')}"
    before, now = change.before[-1].module_id if change.before else None, change.rows[0].module_id
    if before is not None and now is not None and before != now:
        return f"the work moved from {name_of({}, before)} to {name_of({}, now)}"
    return None


def _mostly(values: Sequence[str | None]) -> str | None:
    """What two thirds of the values are; None: nothing is."""
    if not values:
        return None
    value, count = Counter(values).most_common(1)[0]
    return value if 3 * count >= 2 * len(values) else None


def _many(kind: str) -> str:
    return kind if kind.endswith("s") else f"{kind}s"


# -- what was seen ---------------------------------------------------------------------------------


def _issue(signals: Sequence[Signal], lead: Signal, change: Change) -> str:
    """The newest word of each rule on each subject, most serious first, three at most."""
    newest = {(s.rule_id, s.subject_id): s for s in sorted(signals, key=lambda s: s.fired_at)}
    newest[lead.rule_id, lead.subject_id] = lead
    ranked = sorted(
        newest.values(),
        key=lambda s: (s is not lead, -s.alert_tier, EPOCH - s.fired_at, s.signal_id),
    )
    told = [lead.sentence]
    if change.is_on_skill:
        told = [lead.sentence + _opportunities(change)]
        told += filter(None, (_mastery(change), _pace(change), _repeated_error(change)))
    told += [signal.sentence for signal in ranked[1:3]]
    more = len(ranked) - 3
    return "; ".join(told) + (f"; and {more} more" if more > 0 else "")


def _opportunities(change: Change) -> str:
    numbers = [a.opportunity for a in change.rows if a.opportunity is not None]
    if not numbers:
        return ""
    first, last = min(numbers), max(numbers)
    return f" (opportunity {first})" if first == last else f" (opportunities {first}-{last})"


def _mastery(change: Change) -> str | None:
    if not change.rows:
        return None
    before, after = change.rows[0].p_before, change.rows[-1].p_after
    if before is None or after is None:
        return None
    return f"mastery {before:.2f} -> {after:.2f}"


def _pace(change: Change) -> str | None:
    """How much slower or quicker than the own pace before the change."""
    usual = change.rows[0].log_seconds_before if change.rows else None
    timed = [a.log_seconds for a in change.rows if a.log_seconds is not None]
    if usual is None or len(timed) < TIMED:
        return None
    times = math.exp(sum(timed) / len(timed) - usual)
    if times >= TELLING:
        return f"{times:.1f} times slower than own pace"
    if times <= 1 / TELLING:
        return f"{1 / times:.1f} times quicker than own pace"
    return None


def _repeated_error(change: Change) -> str | None:
    """The kind of error that at least two, and at least half, of the misses show."""
    missed = [a.error_type for a in change.rows if not a.is_correct]
    types = Counter(filter(None, missed))
    if not types:
        return None
    name, count = max(types.items(), key=lambda found: (found[1], found[0]))
    if count < 2 or 2 * count < len(missed):
        return None
    how_many = "both" if count == len(missed) == 2 else f"{count} of {len(missed)}"
    return f"the same kind of error in {how_many}: {name.replace('-', ' ').replace('_', ' ')}"


def _error_pattern(change: Change, signals: Sequence[Signal]) -> str:
    """What the rule about errors noted last, else what the run itself shows."""
    noted = [signal for signal in signals if signal.rule_id == "error_pattern"]
    if noted:
        return max(noted, key=lambda signal: (signal.fired_at, signal.signal_id)).sentence
    return _repeated_error(change) or "no one kind of error stands out"


def _was_doing(around: Around, subject: str, clock: _Clock) -> str:
    if around.last_at is None:
        return f"nothing yet; the matter is {subject}"
    place = f"last worked on {name_of({}, around.last_place)}" if around.last_place else "last seen"
    return f"{place} ({clock.say(around.last_at)})"


# -- what was tried --------------------------------------------------------------------------------


def _ai_tried(around: Around, since: datetime | None, clock: _Clock) -> str:
    def later(times: Sequence[datetime]) -> list[datetime]:
        return [at for at in times if since is None or at >= since]

    tried = []
    for times, one, many in (
        (later(around.hints), "1 hint", "{} hints"),
        (later(around.explanations), "1 explanation", "{} explanations"),
    ):
        if times:
            tried.append(one if len(times) == 1 else many.format(len(times)))
    for to, one, many in (
        ("easier", "an easier item", "easier items"),
        ("other", "another difficulty", "another difficulty"),
    ):
        times = later([at for at, changed_to in around.difficulty if changed_to == to])
        if times:
            tried.append(f"{one if len(times) == 1 else many} {_times(times, clock)}")
    for times, word in ((later(around.messages), "message"), (later(around.nudges), "nudge")):
        if times:
            last = clock.say(times[-1])
            tried.append(
                f"a {word} at {last}" if len(times) == 1 else f"{len(times)} {word}s, last {last}"
            )
    if tried:
        return "AI: " + ", ".join(tried)
    return "AI: nothing yet since then" if since else "AI: nothing on record in the last two weeks"


def _times(times: Sequence[datetime], clock: _Clock) -> str:
    """'at 14:09 and 14:15'; of more than two the last one."""
    if len(times) > 2:
        return f"({len(times)} times, last {clock.say(times[-1])})"
    said = [clock.say(at) for at in times]
    if len(said) == 1:
        return f"at {said[0]}"
    if clock.is_today(times[1]) and not clock.is_today(times[0]):
        return f"at {said[0]} and today {said[1]}"
    return f"at {said[0]} and {said[1]}"


def _humans_tried(around: Around, request: NoteRequest) -> str:
    said = [_contact(contact, request.at) for contact in around.contacts[-2:]]
    more = len(around.contacts) - 2
    if more > 0:
        said.append(f"and {more} earlier")
    if request.last_closed is not None and request.at - request.last_closed[0] <= MEMORY:
        when, reason = request.last_closed
        said.append(f"an earlier alert closed {_ago(request.at - when)} ({_ended(reason)})")
    return "; ".join(said) if said else "Coach: no contact on record"


def _contact(contact: Contact, at: datetime) -> str:
    told = f"Coach ({_ago(at - contact.at)}): {contact.what}"
    return f"{told}, {contact.came_of_it}" if contact.came_of_it else told


def _ago(past: timedelta) -> str:
    days = past.days
    return "today" if days <= 0 else "yesterday" if days == 1 else f"{days} days ago"


def _ended(reason: str) -> str:
    return reason.replace("_", " ")


def _similar_cases(around: Around) -> str:
    cases = around.cases
    if not cases.count:
        return f"no similar case of another learner in the last {SIMILAR.days} days"
    count = "1 similar case" if cases.count == 1 else f"{cases.count} similar cases"
    told = f"{count} in {SIMILAR.days} days, {cases.recovered} recovered"
    if cases.typical_days is not None:
        told += f", typically within {_days(cases.typical_days)}"
    helped = Counter(cases.help)
    if helped:
        kind, times = max(helped.items(), key=lambda found: (found[1], found[0]))
        told += f"; what people logged most in those: {kind} ({times} of {cases.recovered})"
    return told


def _days(days: float) -> str:
    if days < 1:
        hours = max(round(24 * days), 1)
        return f"{hours} hour{'' if hours == 1 else 's'}"
    return f"{days:.0f} day{'' if round(days) == 1 else 's'}"


def _draft(layer: str, subject: str) -> str:
    opening = {
        "content": f"I saw you put real work into {subject}. The next step is a tricky one for "
        "many people. Shall we do one example together and see what clicks?",
        "confidence": "I saw you stay with some hard items. Let us take one together at your own "
        "pace; you choose which.",
        "compliance": "It has been a little while, and I wanted to say hello. If it helps, there "
        "is one small task of five minutes waiting. Is anything getting in the way?",
        "safety": "I read your message and I am glad you wrote it. I would like to talk today.",
    }[layer]
    return f"[Draft by the system, please edit] {opening}"
