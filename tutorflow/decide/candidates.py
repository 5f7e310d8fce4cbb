"""From what a window changed to the rows to publish."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import duckdb
import pandas as pd

from tutorflow.decide.episodes import Alert, Evidence, queue_order
from tutorflow.decide.frames import Frames
from tutorflow.decide.handoff_facts import NotCommitted
from tutorflow.decide.handoffs import write_notes
from tutorflow.decide.open_state import Opened
from tutorflow.decide.scores import score
from tutorflow.decide.surroundings import Surroundings
from tutorflow.decide.ticks import Changes, OpenState
from tutorflow.policy.model import Policy
from tutorflow.publish import Candidates, read_table
from tutorflow.publish.contract import table
from tutorflow.settings import Settings


def build_candidates(
    warehouse: duckdb.DuckDBPyConnection,
    settings: Settings,
    policy: Policy,
    ticks: list[datetime],
    opened: Opened,
    changes: Changes,
    frames: Frames,
    around: Surroundings,
    moments: Mapping[tuple[str, str], pd.Timestamp],
    log: list[dict[str, Any]],
    not_committed: NotCommitted = NotCommitted(),  # noqa: B008 - immutable
) -> Candidates:
    """The candidate tables of a window; every frame fits its table in the contract."""
    as_of: datetime = log[-1]["as_of"]
    notes = write_notes(
        warehouse,
        settings,
        list(changes.notes.values()),
        policy,
        around.titles,
        lambda note: (
            around.coach_of(
                *note.key[:2], policy.route(note.key[2], note.alert_tier).role, note.at
            ).timezone
        ),
        not_committed._replace(alerts=list(changes.alerts.values())),
    )
    scores, parts = score(frames, policy, moments)
    tables: dict[str, pd.DataFrame | list[dict[str, Any]]] = {
        "alerts": [_alert_row(alert, policy) for alert in changes.alerts.values()],
        "alert_evidence": [
            _evidence_row(alert, evidence)
            for alert in changes.alerts.values()
            for evidence in alert.evidence
        ],
        "signals": [
            {
                **signal._asdict(),
                "recorded_at": recorded_at,
                "disposition": disposition,
                "alert_id": alert_id,
            }
            for signal, recorded_at, disposition, alert_id in changes.dispositions.values()
        ],
        "suppressions": [hold.__dict__ for hold in changes.holds.values()],
        "item_findings": [finding.__dict__ for finding in changes.findings.values()],
        "learner_states": [
            {
                "learner_id": learner_id,
                "course_id": course_id,
                "state": spell.state,
                "since": since,
                "until": spell.until,
                "reason": spell.reason,
            }
            for (learner_id, course_id, since), spell in opened.tracker.changed.items()
        ],
        "handoff_notes": notes,
        "learner_scores": scores,
        "score_parts": parts,
        "coach_queue": _queue(settings, opened, policy, notes, as_of),
        "tick_log": log,
    }
    return Candidates(
        ticks=ticks,
        as_of=ticks[-1],
        tables={name: fit(name, rows) for name, rows in tables.items()},
        summary=_summary(changes, opened.state, around),
    )


def fit(name: str, rows: pd.DataFrame | list[dict[str, Any]]) -> pd.DataFrame:
    """The rows with exactly the contract's columns, in its order and dtypes."""
    columns = table(name).columns
    empty = table(name).empty_frame()
    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(rows)
    if frame.empty:
        return empty
    return pd.DataFrame(
        {column: frame[column].astype(empty[column].dtype) for column in columns}
    ).reset_index(drop=True)


def _alert_row(alert: Alert, policy: Policy) -> dict[str, Any]:
    confidence, basis = alert.confidence(policy)
    learner_id, course_id, layer = alert.key
    return {
        "alert_id": alert.alert_id,
        "learner_id": learner_id,
        "course_id": course_id,
        "layer": layer,
        "alert_tier": alert.alert_tier,
        "opening_tier": alert.opening_tier,
        "status": alert.status,
        "coach_id": alert.coach_id,
        "owner_role": alert.owner_role,
        "channel": alert.channel,
        "contact_id": alert.contact_id,
        "opened_at": alert.opened_at,
        "held_out_at": alert.held_out_at,
        "delivered_at": alert.delivered_at,
        "delivered_to": alert.delivered_to,
        "delivered_tier": alert.delivered_tier,
        "risen_at": alert.risen_at,
        "due_at": alert.due_at,
        "acknowledged_at": alert.acknowledged_at,
        "acknowledged_by": alert.acknowledged_by,
        "breached_at": alert.breached_at,
        "resumed_at": alert.resumed_at,
        "overridden_at": alert.overridden_at,
        "overridden_by": alert.overridden_by,
        "override_reason": alert.override_reason,
        "override_coach_id": alert.override_coach_id,
        "override_tier": alert.override_tier,
        "closed_at": alert.closed_at,
        "close_reason": alert.close_reason,
        "reopened_count": alert.reopened_count,
        "last_signal_at": alert.last_signal_at,
        "signal_count": len(alert.evidence),
        "subjects": json.dumps(alert.subjects),
        "rules": json.dumps(alert.rules),
        "priority": alert.priority,
        "confidence": confidence,
        "confidence_basis": basis,
        "policy_version": alert.policy_version,
    }


def _evidence_row(alert: Alert, evidence: Evidence) -> dict[str, Any]:
    signal = evidence.signal
    return {
        "alert_id": alert.alert_id,
        "recovered_at": evidence.recovered_at,
        "undone_at": evidence.undone_at,
        "recovery_kind": evidence.recovery[0] if evidence.recovery else None,
        "recovery_times": evidence.recovery[1] if evidence.recovery else None,
        **{
            name: value
            for name, value in signal._asdict().items()
            if name in table("alert_evidence").columns
        },
    }


def _queue(
    settings: Settings, opened: Opened, policy: Policy, notes: pd.DataFrame, as_of: datetime
) -> list[dict[str, Any]]:
    """Open, delivered alerts of tier 2 and up, most needed first."""
    shown = [
        alert
        for alert in opened.state.alerts.values()
        if alert.status == "open" and alert.alert_tier >= 2 and alert.delivered_at is not None
    ]
    opened.read_evidence_of(shown)
    written: list[Any] = notes.to_dict("records")
    words = {row["alert_id"]: row for row in written}
    missing = [alert.alert_id for alert in shown if alert.alert_id not in words]
    if missing:
        stored: list[Any] = read_table(settings, "handoff_notes", {"alert_id": missing}).to_dict(
            "records"
        )
        words.update({row["alert_id"]: row for row in stored})
    rows = []
    listed: set[tuple[str | None, str]] = set()
    for position, alert in enumerate(queue_order(shown), start=1):
        who = (alert.coach_id, alert.key[0])
        row = _queue_row(position, alert, words[alert.alert_id], policy, as_of)
        rows.append({**row, "is_first_of_learner": who not in listed})
        listed.add(who)
    return rows


def _queue_row(
    position: int, alert: Alert, note: Mapping[str, Any], policy: Policy, as_of: datetime
) -> dict[str, Any]:
    confidence, basis = alert.confidence(policy)
    return {
        "queue_position": position,
        "coach_id": alert.coach_id,
        "alert_id": alert.alert_id,
        "learner_id": alert.key[0],
        "learner_label": f"L-{alert.key[0][:4]}",
        "course_id": alert.key[1],
        "layer": alert.key[2],
        "alert_tier": alert.alert_tier,
        "due_at": alert.due_at,
        "is_overdue": alert.due_at is not None and alert.due_at < as_of,
        "priority": alert.priority,
        "confidence": confidence,
        "confidence_basis": basis,
        "what": note["observed_issue"],
        "why_now": note["why_now"],
        "tried": f"{note['ai_tried']}. {note['humans_tried']}",
        "next_action": f"{note['next_action']} (about {note['minutes']} minutes)",
        "opened_at": alert.opened_at,
        "last_signal_at": alert.last_signal_at,
        "as_of": as_of,
    }


def _summary(changes: Changes, state: OpenState, around: Surroundings) -> dict[str, Any]:
    """Counts for reporting, and the capacity the gate checks against."""
    opened = [a for a in changes.alerts.values() if a.status != "closed"]
    return {
        "signals": len(changes.dispositions),
        "opened": sum(changes.opened.values()),
        "closed": sum(changes.closed.values()),
        "open_by_tier": dict(sorted(Counter(a.alert_tier for a in opened).items())),
        "open_alerts": sum(a.status != "closed" for a in state.alerts.values()),
        "held_by_reason": dict(sorted(Counter(h.reason for h in state.holds.values()).items())),
        "capacity": {name: coach.capacity_per_day for name, coach in around.coaches.items()},
        "coach_timezone": {name: coach.timezone for name, coach in around.coaches.items()},
    }
