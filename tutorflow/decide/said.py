"""What people said since the last tick: the inbox, as the fold over time hears it.

Coach tools write rows; `tutorflow.publish.inbox` turns the valid ones into these notes. Each is
heard in the tick in which it was said, or in the first tick after it became known.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

Verdict = Literal["useful", "not_actionable", "incorrectly_flagged", "already_handled"]


@dataclass(frozen=True)
class InboxNote:
    """Something a person said. ``note_id`` is unique; ``at`` is naive UTC; ``by`` says who."""

    note_id: str
    at: datetime
    by: str


@dataclass(frozen=True)
class Acknowledgement(InboxNote):
    """Somebody has seen the alert and takes it on. The first one counts."""

    alert_id: str


@dataclass(frozen=True)
class AlertVerdict(InboxNote):
    """Somebody is done with the alert: it closes as ``closed_by_person``, whatever the verdict."""

    alert_id: str
    verdict: Verdict


@dataclass(frozen=True)
class Override(InboxNote):
    """Somebody gives the alert to another coach, to another tier, or both; None changes nothing."""

    alert_id: str
    reason: str
    coach_id: str | None = None
    alert_tier: int | None = None


@dataclass(frozen=True)
class Intervention(InboxNote):
    """Somebody did something with a learner; ``course_id`` None: about every course.

    While it is recent, no new tier 2 alert is delivered (`already_on_it`). Those of the last days
    are to be passed again in each window (`fatigue.already_on_it_hours` of the policy): hearing
    one twice changes nothing.
    """

    learner_id: str
    course_id: str | None
    kind: str = ""


@dataclass(frozen=True)
class Consent(InboxNote):
    """Consent of a learner, given or taken back; what was written last counts."""

    learner_id: str
    purpose: Literal["nudges"]
    is_granted: bool
