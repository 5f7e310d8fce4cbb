"""Rows of published tables, and diaries that become marts, for tests of what is measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

import duckdb
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
        "propensity": 0.9,
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


# -- marts -----------------------------------------------------------------------------------------

_MARTS = {
    "events": """event_id varchar, source varchar, learner_id uuid, course_id varchar,
        event_type varchar, item_id varchar, occurred_at timestamp, known_at timestamp,
        due_at timestamp, is_activity boolean, event_count bigint, actor varchar, score double,
        score_max double""",
    "responses": """event_id varchar, learner_id uuid, course_id varchar, item_id varchar,
        skill_id varchar, session_id varchar, response_number bigint, responded_at timestamp,
        known_at timestamp, is_first_attempt boolean, is_correct boolean, response_seconds double,
        p_mastery_before double, p_mastery_after double""",
    "learner_days": """learner_id uuid, course_id varchar, activity_date date,
        first_activity_at timestamp, last_activity_at timestamp, known_at timestamp,
        active_seconds double, event_count bigint""",
}


@dataclass
class Diary:
    """What learners did, as the marts tell it: answers, other events, and the days they make."""

    answers: list[Row] = field(default_factory=list)
    events: list[Row] = field(default_factory=list)

    def answer(
        self,
        day: float,
        hour: float,
        pattern: str = "o",
        learner: str = ANA,
        seconds: float | None = 30,
        skill: str = "fractions",
        item: str = "item",
        session: str = "session",
        course: str = "maths",
    ) -> Diary:
        """Answers a minute apart, `o` right and `x` wrong; each moves p_mastery by 0.1."""
        for number, mark in enumerate(pattern):
            moment = at(day, hour) + timedelta(minutes=number)
            before = 0.5 + 0.1 * sum(
                1 if row["is_correct"] else -1
                for row in self.answers
                if row["learner_id"] == learner and row["skill_id"] == skill
            )
            self.answers.append(
                {
                    "event_id": f"answer-{len(self.answers)}",
                    "learner_id": learner,
                    "course_id": course,
                    "item_id": item,
                    "skill_id": skill,
                    "session_id": session,
                    "responded_at": moment,
                    "known_at": moment,
                    "is_first_attempt": True,
                    "is_correct": mark == "o",
                    "response_seconds": seconds,
                    "p_mastery_before": before,
                    "p_mastery_after": before + (0.1 if mark == "o" else -0.1),
                }
            )
            self._event("response_submitted", moment, learner, course, is_activity=True)
        return self

    def event(
        self,
        event_type: str,
        day: float,
        hour: float = 0,
        learner: str = ANA,
        course: str = "maths",
        **columns: Any,
    ) -> Diary:
        """Any other event; `is_activity` unless said otherwise where a learner reads or watches."""
        is_activity = columns.pop("is_activity", event_type == "content_viewed")
        self._event(event_type, at(day, hour), learner, course, is_activity, **columns)
        return self

    def _event(
        self,
        event_type: str,
        moment: datetime,
        learner: str,
        course: str,
        is_activity: bool,
        **columns: Any,
    ) -> None:
        self.events.append(
            {
                "event_id": f"event-{len(self.events):05}",
                "source": "tutor",
                "learner_id": learner,
                "course_id": course,
                "event_type": event_type,
                "item_id": None,
                "occurred_at": moment,
                "known_at": moment,
                "due_at": None,
                "is_activity": is_activity,
                "event_count": 1,
                "actor": "learner",
                "score": None,
                "score_max": None,
                **columns,
            }
        )

    def warehouse(self) -> duckdb.DuckDBPyConnection:
        """The marts of all this, in memory."""
        connection = duckdb.connect()
        connection.execute("create schema marts")
        numbered = sorted(self.answers, key=lambda row: (row["learner_id"], row["known_at"]))
        rows = {
            "events": self.events,
            "responses": [{**row, "response_number": n} for n, row in enumerate(numbered, 1)],
            "learner_days": self._days(),
        }
        for name, columns in _MARTS.items():
            connection.execute(f"create table marts.{name} ({columns})")
            if rows[name]:
                frame = pd.DataFrame(rows[name])
                connection.register("given", frame)
                connection.execute(f"insert into marts.{name} by name select * from given")
                connection.unregister("given")
        return connection

    def _days(self) -> list[Row]:
        days: dict[tuple[str, str, date], list[datetime]] = {}
        for row in self.events:
            if row["is_activity"]:
                key = (row["learner_id"], row["course_id"], row["occurred_at"].date())
                days.setdefault(key, []).append(row["occurred_at"])
        return [
            {
                "learner_id": learner,
                "course_id": course,
                "activity_date": day,
                "first_activity_at": min(moments),
                "last_activity_at": max(moments),
                "known_at": datetime.combine(day, time.max),
                "active_seconds": 60.0 * len(moments),
                "event_count": len(moments),
            }
            for (learner, course, day), moments in days.items()
        ]
