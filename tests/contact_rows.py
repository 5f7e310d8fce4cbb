"""Readable builders for contact, self-reports and requests, and what a rule makes of such rows."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any

import pandas as pd
from builders import COURSE, FAR_FUTURE, FAR_PAST, Row, days, frames, minutes, on, policy

from tutorflow.decide.signals import Findings, find
from tutorflow.policy import Policy


@cache
def _only(rule: str) -> Policy:
    return policy(only=[rule])


def findings_of(rule: str, when: dict[str, Any] | None = None, **rows: list[Row]) -> Findings:
    """What the shipped rule finds, or one tier 2 level of it with the numbers of ``when``."""
    used = _only(rule)
    if when is not None:
        level = {"alert_tier": 2, "sentence": "", "when": when}
        used = policy(only=[rule], rules={rule: {"levels": [level]}})
    return find(frames(**rows), used, pd.Timestamp(FAR_PAST), pd.Timestamp(FAR_FUTURE), {})


def fired(
    rule: str, when: dict[str, Any] | None = None, **rows: list[Row]
) -> list[tuple[int, datetime]]:
    """[(alert tier, when it fired)] of the shipped rule, or with the numbers of ``when``."""
    found = findings_of(rule, when, **rows).signals
    return sorted((s.alert_tier, s.fired_at.to_pydatetime()) for s in found.itertuples())


def appointment(
    day: float,
    attended: datetime | None = None,
    called_off: datetime | None = None,
    at: str = "17:00",
    learner: str = "ana",
) -> Row:
    """A session scheduled for ``day``."""
    return {
        "event_id": f"{learner}-{on(day, at):%m%dT%H%M}",
        "learner_id": learner,
        "course_id": COURSE,
        "starts_at": on(day, at),
        "known_at": on(day, at),
        "attended_at": attended,
        "called_off_at": called_off,
    }


def message(
    day: float,
    replied: datetime | None = None,
    active: datetime | None = None,
    at: str = "09:00",
    actor: str = "coach",
    learner: str = "ana",
) -> Row:
    """A message to the learner; a reply is activity too."""
    return {
        "event_id": f"{learner}-{actor}-{on(day, at):%m%dT%H%M}",
        "learner_id": learner,
        "course_id": COURSE,
        "actor": actor,
        "known_at": on(day, at),
        "replied_at": replied,
        "next_activity_at": min((t for t in (replied, active) if t), default=None),
    }


def opening(
    day: float,
    answers: int = 0,
    seconds: float | None = None,
    at: str = "09:00",
    events: int = 1,
    hints: int = 0,
    handed_in: bool = False,
    learner: str = "ana",
) -> Row:
    """A session the learner opened; ``seconds`` to the first answer (60 if there are answers)."""
    return {
        "session_id": f"{learner}-{on(day, at):%m%dT%H%M}",
        "learner_id": learner,
        "course_id": COURSE,
        "known_at": on(day, at) + minutes(30),
        "event_count": events + answers + hints,
        "hint_count": hints,
        "response_count": answers,
        "has_submission": handed_in,
        "start_seconds": 60.0 if seconds is None and answers else seconds,
    }


def reflection(day: float, is_skipped: bool, at: str = "10:00", learner: str = "ana") -> Row:
    return {
        "event_id": f"{learner}-reflection-{on(day, at):%m%dT%H%M}",
        "learner_id": learner,
        "course_id": COURSE,
        "known_at": on(day, at),
        "is_skipped": is_skipped,
    }


def reflections(pattern: str, learner: str = "ana") -> list[Row]:
    """A day apart: ``s`` skipped, ``c`` a check-in."""
    return [reflection(day, mark == "s", learner=learner) for day, mark in enumerate(pattern)]


def check_in(
    report: float,
    day: float = 0,
    at: str = "10:00",
    measure: str = "confidence",
    mastery: float | None = None,
    assessed: datetime | None = None,
    before: float | None = None,
    learner: str = "ana",
) -> Row:
    """A self-report; ``assessed`` and ``before``: the assessment before it and the report before
    that."""
    return {
        "event_id": f"{learner}-{measure}-{on(day, at):%m%dT%H%M}",
        "learner_id": learner,
        "course_id": COURSE,
        "skill_id": None,
        "measure": measure,
        "known_at": on(day, at),
        "self_report": report,
        "p_mastery": mastery,
        "assessed_at": assessed,
        "report_before": before,
    }


def contact(day: float, at: str = "09:00", is_session: bool = False, learns: bool = False) -> Row:
    """A person wrote (or, ``is_session``, met the learner); ``learns``: it was the learner."""
    return {
        "learner_id": "ana",
        "course_id": COURSE,
        "known_at": on(day, at),
        "is_session": is_session,
        "is_from_learner": is_session or learns,
    }


def day_ends(*numbers: int) -> list[Row]:
    """The ends of these days, at which scores are judged."""
    end = days(1) - pd.Timedelta(microseconds=1).to_pytimedelta()
    return [
        {
            "day_id": f"{on(day):%Y-%m-%d}",
            "known_at": on(day) + end,
            "previous_at": on(day - 1) + end,
        }
        for day in numbers
    ]
