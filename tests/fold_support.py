"""The fold over time against a serving database: commit what it changed, start again from there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from builders import Fold

from tutorflow.decide import candidates, open_state
from tutorflow.decide.crowds import ItemTry, note_tries
from tutorflow.decide.ticks import Changes
from tutorflow.decide.working_time import Coach
from tutorflow.publish import tables
from tutorflow.publish.database import writing
from tutorflow.settings import Settings

TABLES = ("alerts", "alert_evidence", "signals", "suppressions", "item_findings")


def commit(home: Settings, fold: Fold) -> None:
    """Write what the fold changed into the serving database, as a publish does."""
    changes = fold.changes
    rows: dict[str, list[dict[str, Any]]] = {
        "alerts": [candidates._alert_row(a, fold.policy) for a in changes.alerts.values()],
        "alert_evidence": [
            candidates._evidence_row(a, e) for a in changes.alerts.values() for e in a.evidence
        ],
        "signals": [
            {**s._asdict(), "recorded_at": at, "disposition": became, "alert_id": alert_id}
            for s, at, became, alert_id in changes.dispositions.values()
        ],
        "suppressions": [hold.__dict__ for hold in changes.holds.values()],
        "item_findings": [finding.__dict__ for finding in changes.findings.values()],
    }
    with writing(home) as connection:
        for name, some in rows.items():
            tables.upsert(connection, name, candidates.fit(name, some))


def restarted(
    home: Settings,
    fold: Fold,
    at: datetime,
    since: datetime,
    tries: Iterable[ItemTry] = (),
    others: Iterable[Coach] = (),
) -> Fold:
    """A fold that knows of the past what the serving database and the marts know at ``at``.

    ``since``: signals fired from then on may be found again; ``tries``: what the marts know;
    ``others``: the coaches beside the fold's own.
    """
    commit(home, fold)
    opened = open_state.load(home, fold.policy, at)
    opened.use_coaches({coach.coach_id: coach for coach in (fold.coach, *others)})
    opened.remember_signals(home, since)
    opened.remember_fired(home, fold.policy, at, fold._outside)
    note_tries(opened.state.tries, [one for one in tries if one.at < at])
    return replace(fold, state=opened.state, changes=Changes())
