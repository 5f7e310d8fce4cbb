"""What the warehouse is asked about steps: order, sessions, hints at hand, the next action."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

import duckdb
import pandas as pd
import pytest
from builders import COURSE, on

from tutorflow.decide.frames import FOLLOWED, LOOKBACK, STEPS, frame

ANA, BEN = UUID(int=1), UUID(int=2)
MORNING, NOON = UUID(int=11), UUID(int=12)
TYPES = {
    "session_started": 10,
    "item_presented": 20,
    "hint_requested": 30,
    "response_revised": 40,
    "response_submitted": 50,
    "item_abandoned": 55,
    "content_viewed": 60,
    "session_ended": 99,
}


class Warehouse:
    """Events as they land in the marts, with the sessions and answers that go with them."""

    def __init__(self) -> None:
        self.connection = duckdb.connect()
        self.count = 0
        self.connection.execute("""
            create schema marts; create schema seeds;
            create table seeds.event_types (event_type text, event_rank smallint);
            create table decide_learners (learner_id uuid);
            create table marts.events (
                event_id uuid, learner_id uuid, course_id text, module_id text, item_id text,
                skill_id text, event_type text, occurred_at timestamp, known_at timestamp,
                hint_level integer, hint_level_max integer, hints_available integer,
                time_precision text, is_activity boolean
            );
            create table marts.responses (
                event_id uuid, session_id uuid, is_first_attempt boolean, is_correct boolean,
                is_unaided boolean, p_mastery_after double
            );
            create table marts.learning_sessions (
                session_id uuid, learner_id uuid, course_id text, started_at timestamp
            );
        """)
        self.connection.executemany("insert into seeds.event_types values (?, ?)", TYPES.items())
        self.connection.executemany("insert into decide_learners values (?)", [[ANA], [BEN]])
        self.connection.execute("create view decide_active as from decide_learners")
        self.connection.executemany(
            "insert into marts.learning_sessions values (?, ?, ?, ?)",
            [[MORNING, ANA, COURSE, on(0, "09:00")], [NOON, ANA, COURSE, on(0, "12:00")]],
        )

    def happen(
        self,
        kind: str,
        at: str,
        learner: UUID = ANA,
        course: str = COURSE,
        item: str | None = "item",
        available: int | None = None,
    ) -> None:
        self.count += 1
        event = UUID(int=100 + self.count)
        own = kind != "item_presented" and kind != "session_ended"
        self.connection.execute(
            "insert into marts.events values "
            "(?, ?, ?, 'm', ?, 'fractions', ?, ?, ?, 1, 3, ?, 'second', ?)",
            [event, learner, course, item, kind, on(0, at), on(0, at), available, own],
        )
        if kind == "response_submitted":
            self.connection.execute(
                "insert into marts.responses values (?, ?, true, false, true, 0.4)",
                [event, MORNING if at < "12" else NOON],
            )

    def ask(self, end: datetime) -> tuple[pd.DataFrame, pd.DataFrame]:
        """(steps, every event with its next action) of a window that ends then."""
        window = {"start": on(0), "end": end, "lookback": LOOKBACK}
        self.connection.execute(FOLLOWED, window)
        followed = frame(
            self.connection, "select * from decide_followed order by occurred_at, event_rank"
        )
        return frame(self.connection, STEPS), followed


@pytest.fixture
def warehouse() -> Iterator[Warehouse]:
    made = Warehouse()
    yield made
    made.connection.close()


def test_steps_of_one_instant_stand_in_the_order_of_a_try(warehouse: Warehouse) -> None:
    for kind in ("item_abandoned", "response_submitted", "response_revised", "hint_requested"):
        warehouse.happen(kind, "09:05")
    steps, _ = warehouse.ask(on(1))
    order = ["hint_requested", "response_revised", "response_submitted", "item_abandoned"]
    assert steps["step"].tolist() == order
    assert steps["is_answer"].tolist() == [False, False, True, False]


def test_presentations_and_sessions_are_no_steps(warehouse: Warehouse) -> None:
    for kind in ("session_started", "item_presented", "content_viewed", "session_ended"):
        warehouse.happen(kind, "09:00")
    assert warehouse.ask(on(1))[0].empty


def test_a_step_is_in_the_session_that_began_last(warehouse: Warehouse) -> None:
    for at in ("08:59", "09:00", "11:59", "12:00"):
        warehouse.happen("hint_requested", at)
    warehouse.happen("hint_requested", "13:00", learner=BEN)
    sessions = warehouse.ask(on(1))[0]["session_id"].fillna("")
    assert sessions.tolist() == ["", str(MORNING), str(MORNING), str(NOON), ""]


def test_the_presentation_says_how_many_hints_an_answer_had_at_hand(warehouse: Warehouse) -> None:
    warehouse.happen("item_presented", "09:01", available=3)
    warehouse.happen("response_submitted", "09:02")
    warehouse.happen("hint_requested", "09:03", available=2)
    warehouse.happen("response_submitted", "09:04")
    warehouse.happen("response_submitted", "09:05", item="other")
    found = warehouse.ask(on(1))[0]["hints_available"]
    assert found.fillna(-1).tolist() == [3, 2, 2, -1]


def next_of_first(warehouse: Warehouse, end: datetime) -> tuple[datetime | None, bool]:
    """(when the learner next acted after the first event, is that still the same work)."""
    first = warehouse.ask(end)[1].iloc[0]
    at = None if pd.isna(first["next_action_at"]) else first["next_action_at"].to_pydatetime()
    return at, bool(first["goes_on"])


def test_the_next_action_is_the_learner_s_own(warehouse: Warehouse) -> None:
    warehouse.happen("response_submitted", "09:01")
    warehouse.happen("item_presented", "09:02")
    warehouse.happen("content_viewed", "09:03", learner=BEN)
    warehouse.happen("content_viewed", "09:10")
    assert next_of_first(warehouse, on(1)) == (on(0, "09:10"), True)


@pytest.mark.parametrize("kind", ["session_started", "session_ended"])
def test_a_session_that_ends_or_begins_is_no_going_on(warehouse: Warehouse, kind: str) -> None:
    warehouse.happen("response_submitted", "09:01")
    warehouse.happen(kind, "09:10")
    assert next_of_first(warehouse, on(1)) == (on(0, "09:10"), False)


def test_another_course_is_no_going_on(warehouse: Warehouse) -> None:
    warehouse.happen("response_submitted", "09:01")
    warehouse.happen("hint_requested", "09:10", course="physics")
    assert next_of_first(warehouse, on(1)) == (on(0, "09:10"), False)


def test_what_comes_after_the_window_is_not_known_yet(warehouse: Warehouse) -> None:
    warehouse.happen("response_submitted", "09:01")
    warehouse.happen("hint_requested", "09:10")
    assert next_of_first(warehouse, on(0, "09:10")) == (None, False)
