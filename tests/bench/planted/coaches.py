"""Simulated coaches: they read the published queue, help, and write down what they did."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from tutorflow import publish
from tutorflow.hours import to_naive_utc
from tutorflow.privacy.pseudonyms import source_users
from tutorflow.publish import inbox
from tutorflow.settings import Settings
from tutorflow.simulate import Programme

RULE = "trend_reversal"  # the harmful one
COACHING, NEEDLESS = "coaching", "needless_call"  # the simulation's kinds of help
WRONG_VERDICTS = 0.1
AT_WORK = timedelta(hours=9)


@dataclass(frozen=True)
class Contact:
    """Help that a coach gave: the learner's user id, the simulation's kind of help, when."""

    user: str
    kind: str
    at: datetime


@dataclass
class Coaches:
    """Simulated coaches: whatever stands in a queue and is new to them is answered, and logged."""

    settings: Settings
    programme: Programme
    contacts: list[Contact] = field(default_factory=list)
    answered: set[tuple[str, int]] = field(default_factory=set)

    def act(self, at: datetime) -> None:
        """What the coaches do on the day that begins at `at`."""
        queue = publish.queue(self.settings)
        rows = [row for row in queue.to_dict("records") if _name(row) not in self.answered]
        if not rows:
            return
        users = source_users(self.settings.identity_path, {row["learner_id"] for row in rows})
        rules = _rules_on(self.settings, [row["alert_id"] for row in rows])
        needs = needs_at(self.programme, at)
        for row in rows:
            ((_, user),) = users[row["learner_id"]]
            is_needless = rules.get(row["alert_id"]) == {RULE}
            kind = NEEDLESS if is_needless else COACHING
            self._help(row, user, kind, at + AT_WORK, user in needs)
            self.answered.add(_name(row))

    def _help(self, row: Any, user: str, kind: str, at: datetime, is_needed: bool) -> None:
        self.programme.intervene(user, kind, at)
        self.contacts.append(Contact(user, kind, at))
        alert = row["alert_id"]
        logged = {"alert_id": alert, "coach_id": row["coach_id"], "written_at": to_naive_utc(at)}
        is_right = is_needed != (chance(alert) < WRONG_VERDICTS)
        verdict = "useful" if is_right else "incorrectly_flagged"
        inbox.write(self.settings, "interventions", kind="live_session", code="too_early", **logged)
        inbox.write(self.settings, "alert_verdicts", verdict=verdict, **logged)


def _name(row: Any) -> tuple[str, int]:
    return row["alert_id"], int(row["alert_tier"])


def _rules_on(settings: Settings, alerts: list[str]) -> dict[str, set[str]]:
    """alert -> the rules that ask for a person on it."""
    signals = publish.read_table(settings, "signals", {"alert_id": alerts})
    strong = signals[signals["alert_tier"] >= 2]
    return strong.groupby("alert_id")["rule_id"].agg(set).to_dict()


def needs_at(programme: Programme, at: datetime) -> set[str]:
    """Users who need help at an instant, by the hidden truth."""
    needs = programme.truth().tables["needs"].to_pandas()
    is_on = needs["ended_at"].isna() | (needs["ended_at"] > pd.Timestamp(at))
    return set(needs.loc[is_on, "user_id"])


def chance(text: str) -> float:
    """A number in [0, 1) that belongs to the text."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 2**32
