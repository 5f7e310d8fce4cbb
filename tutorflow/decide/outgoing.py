"""What goes out besides alerts: nudges, the practice plan, weekly summaries.

One object per window: it hears every tick after the alerts and states have moved, and in the end
has the rows to publish.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import duckdb
import pandas as pd

from tutorflow.decide.frames import rows_of
from tutorflow.decide.good_news import returns
from tutorflow.decide.handoff_facts import NotCommitted
from tutorflow.decide.nudges import Circumstances, Desk, Trigger, happened
from tutorflow.decide.open_state import Opened
from tutorflow.decide.practice import plan
from tutorflow.decide.states import Fact, Learner
from tutorflow.decide.summaries import Week, close_week, summarise, week_closed
from tutorflow.decide.surroundings import Surroundings
from tutorflow.decide.ticks import Changes
from tutorflow.policy.model import Policy
from tutorflow.policy.nudges import load_nudges
from tutorflow.roster import Roster
from tutorflow.settings import Settings

Rows = pd.DataFrame | list[dict[str, Any]]


class Outgoing:
    """Hears the ticks of one window; ``tables`` are its rows."""

    def __init__(
        self,
        settings: Settings,
        policy: Policy,
        roster: Roster,
        around: Surroundings,
        opened: Opened,
        first: datetime,
        news: pd.DataFrame,
    ) -> None:
        """``first`` is the begin of the window's first tick.

        ``news`` are the rows of ``good_news`` that marts alone tell of; returns are heard of
        tick by tick.
        """
        self._settings, self._policy, self._roster = settings, policy, roster
        self._around, self._opened, self._since = around, opened, first
        self._first = first
        self._weeks: list[Week] = []
        self._news = [row for row in rows_of(news) if row.at >= first]
        self._told = 0
        self._moments: dict[Learner, tuple[datetime, str]] = {}
        self.desk = Desk(
            load_nudges(settings.nudges_path, policy),
            Circumstances(
                around.takes_nudges,
                around.language_of,
                around.is_out_of_scope,
                around.titles,
                settings.timezone,
            ),
            policy.fingerprint,
        )
        self.desk.load(settings, first)
        opened.load_spells(settings, self.desk.learners)

    def hear(self, as_of: datetime, news: Iterable[Fact], changes: Changes) -> None:
        """Take in the tick that ends at ``as_of``."""
        state, tracker = self._opened.state, self._opened.tracker
        kind = self._good_news(as_of, changes)
        triggers = happened(as_of, state, changes.touched, tracker.entered, kind)
        self.desk.remember(self._settings, {one.learner_id for one in triggers}, self._first)
        self.desk.advance(as_of, triggers, state, tracker.spells)
        for fact in news:
            if fact.response_count is not None or fact.active_days is not None:
                spell = tracker.spells.get((fact.learner_id, fact.course_id))
                label = "" if spell is None else spell.state
                self._moments[fact.learner_id, fact.course_id] = as_of, label
        monday = week_closed(self._since, as_of, self._settings.timezone)
        if monday is not None:
            zone = self._settings.timezone
            self._weeks.append(close_week(monday, as_of, zone, state, self._policy))
        self._since = as_of

    def _good_news(self, as_of: datetime, changes: Changes) -> list[Trigger]:
        """The good news of this tick."""
        touched = [self._opened.state.alerts[key] for key in changes.touched]
        found = [
            Trigger("good_news", "returned", one.learner_id, one.course_id)
            for one in returns(touched, as_of)
        ]
        while self._told < len(self._news) and self._news[self._told].at < as_of:
            row = self._news[self._told]
            subject = row.subject if row.kind == "mastered_after_struggle" else ""
            found.append(Trigger("good_news", row.kind, row.learner_id, row.course_id, subject))
            self._told += 1
        return found

    def not_committed(self, taken: Iterable[Mapping[str, Any]]) -> NotCommitted:
        """What hand-off notes are to know of this window, with its rows of ``inbox_taken``."""
        return NotCommitted(nudges=list(self.desk.changed.values()), taken=list(taken))

    def tables(self, warehouse: duckdb.DuckDBPyConnection) -> Mapping[str, Rows]:
        """The rows of the window, by published table."""
        around, policy = self._around, self._policy
        return {
            "nudges_outbox": list(self.desk.changed.values()),
            "practice_plan": plan(warehouse, policy, self._roster, self._moments, around.titles),
            "learner_summaries": summarise(
                warehouse,
                self._weeks,
                policy,
                around.titles,
                around.on_caseload,
                lambda learner, at: around.coach_of(learner, "", "coach", at).coach_id,
            ),
        }
