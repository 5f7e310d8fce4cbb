"""Hand-off notes: what a colleague would say in five lines, written from stored columns only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import duckdb
import pandas as pd

from tutorflow.decide.alerts import EPOCH, NoteRequest, Signal
from tutorflow.decide.frames import frame
from tutorflow.policy.model import Policy

MEMORY = timedelta(days=28)  # earlier alerts that a note still mentions

# What the AI tutor did, and how the learner was doing, in the week before each note.
BEFORE_THE_NOTE = """
    with asked as (
        select alert_id, cast(learner_id as uuid) as learner_id, course_id, fired_at, written_at
        from asked_notes
    ),

    done as (
        select
            asked.alert_id,
            count(*) filter (events.event_type = 'hint_requested') as hints,
            count(*) filter (events.event_type = 'explanation_viewed') as explanations,
            count(*) filter (events.event_type = 'difficulty_changed') as difficulty_changes,
            max(events.occurred_at) filter (events.event_type = 'difficulty_changed')
                as difficulty_changed_at,
            count(*) filter (events.event_type = 'message_sent' and events.actor = 'ai_tutor')
                as messages,
            count(*) filter (events.event_type = 'message_sent' and events.actor = 'coach')
                as coach_messages,
            max(events.occurred_at) filter (
                events.event_type = 'message_sent' and events.actor = 'coach'
            ) as coach_message_at,
            arg_max(coalesce(events.module_id, events.item_id), events.occurred_at) filter (
                events.is_activity
            ) as last_place,
            max(events.occurred_at) filter (events.is_activity) as last_activity_at
        from asked
        inner join marts.events as events
            on events.learner_id = asked.learner_id
            and events.course_id = asked.course_id
            and events.known_at < asked.written_at
            and events.occurred_at >= asked.written_at - interval 14 day
        group by asked.alert_id
    ),

    answers as (
        select
            asked.alert_id,
            responses.is_correct,
            responses.known_at,
            row_number() over (
                partition by asked.alert_id
                order by responses.known_at desc, responses.response_number desc
            ) as back
        from asked
        inner join marts.responses as responses
            on responses.learner_id = asked.learner_id
            and responses.course_id = asked.course_id
            and responses.known_at <= asked.fired_at
            and responses.known_at < asked.written_at
    ),

    accuracy as (
        select
            alert_id,
            count(*) filter (back <= 4) as recent_answers,
            count(*) filter (back <= 4 and is_correct) as recent_right,
            count(*) filter (back between 5 and 13) as earlier_answers,
            count(*) filter (back between 5 and 13 and is_correct) as earlier_right
        from answers
        where back <= 13
        group by alert_id
    )

    select asked.alert_id, done.* exclude (alert_id), accuracy.* exclude (alert_id)
    from asked
    left join done using (alert_id)
    left join accuracy using (alert_id)
"""


def write_notes(
    warehouse: duckdb.DuckDBPyConnection,
    requests: Sequence[NoteRequest],
    policy: Policy,
    titles: Mapping[str, str],
) -> pd.DataFrame:
    """Rows of ``handoff_notes``, one per request."""
    if not requests:
        return pd.DataFrame()
    asked = pd.DataFrame(
        [
            {
                "alert_id": request.alert_id,
                "learner_id": request.key[0],
                "course_id": request.key[1],
                "fired_at": max(signal.fired_at for signal in request.signals),
                "written_at": request.at,
            }
            for request in requests
        ]
    )
    warehouse.register("asked_notes", asked)
    before: list[Any] = frame(warehouse, BEFORE_THE_NOTE).to_dict("records")
    warehouse.unregister("asked_notes")
    history = {row["alert_id"]: row for row in before}
    return pd.DataFrame(
        [_note(request, history.get(request.alert_id, {}), policy, titles) for request in requests]
    )


def _note(
    request: NoteRequest,
    history: Mapping[str, Any],
    policy: Policy,
    titles: Mapping[str, str],
) -> dict[str, Any]:
    lead = max(request.signals, key=lambda s: (s.alert_tier, s.fired_at, s.signal_id))
    entry = policy.rules[lead.rule_id]
    subject = titles.get(lead.subject_id, lead.subject_id) or "the course"
    changed_at = min(signal.fired_at for signal in request.signals)
    changed = _what_changed(history)
    return {
        "alert_id": request.alert_id,
        "objective": entry.objective.format(subject=subject),
        "observed_issue": _issue(request.signals),
        "what_changed": changed,
        "changed_at": changed_at,
        "severity": f"alert tier {request.alert_tier}, "
        f"confidence {request.confidence} ({request.basis})",
        "was_doing": _was_doing(history, subject),
        "why_now": f"{changed}; noticed {changed_at:%d %b %H:%M} UTC",
        "ai_tried": _ai_tried(history),
        "humans_tried": _humans_tried(history, request),
        "next_action": entry.action.format(subject=subject),
        "minutes": entry.minutes,
        "draft_message": _draft(request.key[2], subject),
        "written_at": request.at,
    }


def _issue(signals: Sequence[Signal]) -> str:
    """The newest word of each rule on each subject, most serious first, three at most."""
    newest = {(s.rule_id, s.subject_id): s for s in sorted(signals, key=lambda s: s.fired_at)}
    ranked = sorted(newest.values(), key=lambda s: (-s.alert_tier, EPOCH - s.fired_at, s.signal_id))
    told = "; ".join(signal.sentence for signal in ranked[:3])
    more = len(ranked) - 3
    return told if more <= 0 else f"{told}; and {more} more"


def _count(history: Mapping[str, Any], name: str) -> int:
    value = history.get(name)
    return 0 if value is None or pd.isna(value) else int(value)


def _what_changed(history: Mapping[str, Any]) -> str:
    earlier, right = _count(history, "earlier_answers"), _count(history, "earlier_right")
    recent, now = _count(history, "recent_answers"), _count(history, "recent_right")
    if earlier >= 3 and recent >= 2:
        return f"{right} of the {earlier} answers before were right, {now} of the last {recent} are"
    last = history.get("last_activity_at")
    if last is not None and not pd.isna(last):
        return f"last seen {last:%d %b %H:%M} UTC"
    return "no activity in the two weeks before"


def _was_doing(history: Mapping[str, Any], subject: str) -> str:
    place = history.get("last_place")
    if place is None or pd.isna(place):
        return f"nothing in the last two weeks; the matter is {subject}"
    return f"last worked on {place}"


def _ai_tried(history: Mapping[str, Any]) -> str:
    tried = []
    for name, one, many in (
        ("hints", "1 hint", "{} hints"),
        ("explanations", "1 explanation", "{} explanations"),
        ("messages", "1 message", "{} messages"),
    ):
        count = _count(history, name)
        if count:
            tried.append(one if count == 1 else many.format(count))
    changes = _count(history, "difficulty_changes")
    if changes:
        tried.append(f"difficulty changed {'once' if changes == 1 else f'{changes} times'}")
    return "AI: " + (", ".join(tried) if tried else "nothing on record in the last two weeks")


def _humans_tried(history: Mapping[str, Any], request: NoteRequest) -> str:
    said = []
    messages = _count(history, "coach_messages")
    if messages:
        days = (request.at - history["coach_message_at"]).days
        said.append(f"{messages} coach message{'s' if messages > 1 else ''}, last {_ago(days)}")
    if request.last_closed is not None and request.at - request.last_closed[0] <= MEMORY:
        when, reason = request.last_closed
        days = (request.at - when).days
        said.append(f"an earlier alert closed {_ago(days)} ({reason.replace('_', ' ')})")
    return "People: " + ("; ".join(said) if said else "no contact on record")


def _ago(days: int) -> str:
    return "today" if days == 0 else "yesterday" if days == 1 else f"{days} days ago"


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
