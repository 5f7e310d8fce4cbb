"""Who was shown what and when: the rows from which every outcome window starts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from tutorflow.decide.alerts import Alert


def exposures_at(as_of: datetime, alerts: Iterable[Alert], policy_version: str) -> list[Any]:
    """Rows of ``exposures``: the alerts of these that the tick ``as_of`` delivered, by id.

    The alert is described as it is at that tick; an alert that later rises out of the AI loop is
    delivered again and gets a second row.
    """
    return [
        _exposure(alert, policy_version)
        for alert in sorted(alerts, key=lambda alert: alert.alert_id)
        if alert.delivered_at == as_of
    ]


def _exposure(alert: Alert, policy_version: str) -> dict[str, Any]:
    learner_id, course_id, layer = alert.key
    is_for_ai = alert.alert_tier == 1
    return {
        "alert_id": alert.alert_id,
        "exposed_at": alert.delivered_at,
        "learner_id": learner_id,
        "course_id": course_id,
        "layer": layer,
        "alert_tier": alert.alert_tier,
        "audience": "ai_tutor" if is_for_ai else "coach",
        "arm": "treated",
        "is_eligible": alert.alert_tier <= 2 and layer != "safety",
        "coach_id": None if is_for_ai else alert.coach_id,
        "due_at": alert.due_at,
        "rules": json.dumps(alert.rules),
        "priority": alert.priority,
        "policy_version": policy_version,
    }
