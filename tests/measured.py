"""Rows of published tables and inboxes for tests of what is measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from tutorflow.decide.candidates import fit
from tutorflow.publish import tables
from tutorflow.publish.database import writing
from tutorflow.settings import Settings

MONDAY = datetime(2026, 3, 2)
ANA = "00000000-0000-0000-0000-00000000000a"
BEN = "00000000-0000-0000-0000-00000000000b"
CLEO = "00000000-0000-0000-0000-00000000000c"
Row = dict[str, Any]


def at(day: float, hour: float = 0) -> datetime:
    """An hour of the nth day; day 0 is a Monday."""
    return MONDAY + timedelta(days=day, hours=hour)


def an_alert(alert_id: str = "alert", learner: str = ANA, **columns: Any) -> Row:
    """A row of `alerts`: a coach's alert of tier 2 about content, opened on Monday at nine."""
    return {
        "alert_id": alert_id,
        "learner_id": learner,
        "course_id": "maths",
        "layer": "content",
        "alert_tier": 2,
        "opening_tier": 2,
        "status": "open",
        "coach_id": "kim",
        "owner_role": "tutor",
        "channel": "message",
        "opened_at": at(0, 9),
        "delivered_at": at(0, 9),
        "delivered_to": "kim",
        "delivered_tier": 2,
        "risen_at": None,
        "due_at": at(1, 9),
        "acknowledged_at": None,
        "closed_at": None,
        "close_reason": None,
        "reopened_count": 0,
        "last_signal_at": at(0, 8.5),
        "signal_count": 1,
        "subjects": "[]",
        "rules": json.dumps(["repeated_misses"]),
        "priority": 200.0,
        "confidence": "medium",
        "confidence_basis": "1 signal agrees, n = 9",
        "policy_version": "test",
        **columns,
    }


def an_exposure(alert_id: str = "alert", learner: str = ANA, **columns: Any) -> Row:
    """A row of `exposures`: that alert, delivered on Monday at nine."""
    return {
        "alert_id": alert_id,
        "exposed_at": at(0, 9),
        "learner_id": learner,
        "course_id": "maths",
        "layer": "content",
        "alert_tier": 2,
        "audience": "coach",
        "arm": "treated",
        "is_eligible": True,
        "coach_id": "kim",
        "due_at": at(1, 9),
        "rules": json.dumps(["repeated_misses"]),
        "priority": 200.0,
        "policy_version": "test",
        **columns,
    }


def a_signal(signal_id: str = "signal", learner: str = ANA, **columns: Any) -> Row:
    """A row of `signals`: four wrong in a row, half an hour before that alert opened."""
    return {
        "signal_id": signal_id,
        "rule_id": "repeated_misses",
        "rule_version": "1",
        "learner_id": learner,
        "course_id": "maths",
        "layer": "content",
        "alert_tier": 2,
        "subject_kind": "skill",
        "subject_id": "fractions",
        "anchor_id": "event",
        "fired_at": at(0, 8.5),
        "recorded_at": at(0, 9),
        "observed": 4.0,
        "threshold": 4.0,
        "n": 9,
        "window_text": "the last answers",
        "sentence": "4 wrong in a row on fractions",
        "evidence_ids": "[]",
        "disposition": "opened",
        "alert_id": "alert",
        **columns,
    }


def table_of(name: str, rows: Sequence[Row] | pd.DataFrame) -> pd.DataFrame:
    """The rows as the published table has them; columns that are not given are null."""
    frame = pd.DataFrame(rows)
    missing = [column for column in fit(name, []).columns if column not in frame]
    return fit(name, frame.assign(**dict.fromkeys(missing)) if len(frame) else frame)


def put(settings: Settings, published: Mapping[str, Sequence[Row]]) -> None:
    """Write rows straight into the serving database."""
    with writing(settings) as connection:
        for name, rows in published.items():
            tables.upsert(connection, name, table_of(name, rows))
