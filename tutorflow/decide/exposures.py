"""Who was shown what and when, or by lot was not: the rows where every outcome window starts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from tutorflow.decide import hold_out
from tutorflow.decide.episodes import Alert
from tutorflow.policy.model import Policy


def exposures_at(as_of: datetime, alerts: Iterable[Alert], policy: Policy) -> list[Any]:
    """Rows of ``exposures``: the alerts of these that the tick ``as_of`` delivered or held out.

    In the order of their ids. An alert is described as it is at that tick. One that later rises
    out of the AI loop, or was held out, is delivered again and gets a second row, for which no lot
    is drawn.
    """
    return [
        _exposure(alert, as_of, policy)
        for alert in sorted(alerts, key=lambda alert: alert.alert_id)
        if as_of in (alert.delivered_at, alert.held_out_at)
    ]


def _exposure(alert: Alert, as_of: datetime, policy: Policy) -> dict[str, Any]:
    learner_id, course_id, layer = alert.key
    is_held_out, is_for_ai = alert.held_out_at == as_of, alert.alert_tier == 1
    is_eligible = is_held_out or hold_out.is_drawn(alert, policy.hold_out)
    return {
        "alert_id": alert.alert_id,
        "exposed_at": as_of,
        "learner_id": learner_id,
        "course_id": course_id,
        "layer": layer,
        "alert_tier": alert.alert_tier,
        "audience": "nobody" if is_held_out else "ai_tutor" if is_for_ai else "coach",
        "arm": "held_out" if is_held_out else "treated",
        "is_eligible": is_eligible,
        "propensity": 1 - policy.hold_out.share if is_eligible else None,
        "coach_id": None if is_held_out or is_for_ai else alert.coach_id,
        "due_at": alert.due_at,
        "rules": json.dumps(alert.rules),
        "priority": alert.priority,
        "policy_version": policy.fingerprint,
    }
