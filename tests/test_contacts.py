"""What is read of contact, from a few events in a warehouse of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pandas as pd
import pytest
from builders import COURSE, Row, frames, on

from tutorflow.decide.contacts import CONTACTS, load_contacts
from tutorflow.decide.frames import LOOKBACK, LOW_SCORES, frame

ANA = "00000000-0000-0000-0000-00000000000a"
START, END = on(30), on(31)
Load = Callable[..., dict[str, pd.DataFrame]]
Span = tuple[datetime, datetime]  # of the first and the last activity of a day


def event(kind: str, day: float, at: str = "09:00", **columns: Any) -> Row:
    moment = on(day, at)
    return {
        "event_type": kind,
        "occurred_at": moment,
        "known_at": moment,
        "actor": "learner",
        **columns,
    }


COLUMNS = {
    **dict.fromkeys(("item_id", "skill_id", "session_id_of_source", "event_type"), "varchar"),
    **dict.fromkeys(("text_flag", "actor", "attributes"), "varchar"),
    **dict.fromkeys(("occurred_at", "known_at", "due_at"), "timestamp"),
    **dict.fromkeys(("self_report", "score", "score_max"), "double"),
}


@pytest.fixture
def load() -> Iterator[Load]:
    """Loads the frames of day 30 from events (and days and sessions) of one learner."""
    with duckdb.connect() as warehouse:

        def loaded(
            *events: Row, days: Sequence[Span] = (), sessions: Sequence[Row] = ()
        ) -> dict[str, pd.DataFrame]:
            _fill(warehouse, events, days, sessions)
            window = {"start": START, "end": END}
            warehouse.execute("create or replace temp macro is_wanted(id) as true")
            warehouse.execute(CONTACTS, {**window, "lookback": LOOKBACK})

            def fetch(query: str, **more: object) -> pd.DataFrame:
                used = {k: v for k, v in {**window, **more}.items() if f"${k}" in query}
                return frame(warehouse, query, used)

            return {
                **load_contacts(fetch, frames().responses, LOOKBACK),
                "low_scores": fetch(LOW_SCORES),
            }

        yield loaded


def _fill(
    warehouse: duckdb.DuckDBPyConnection,
    events: tuple[Row, ...],
    days: Sequence[Span],
    sessions: Sequence[Row],
) -> None:
    columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    warehouse.execute(
        f"""
        create schema if not exists marts;
        create or replace table marts.events (
            event_id uuid default uuid(), learner_id uuid default '{ANA}',
            course_id varchar default '{COURSE}', {columns}
        );
        create or replace table marts.learner_days (
            learner_id uuid default '{ANA}', course_id varchar default '{COURSE}',
            first_activity_at timestamp, last_activity_at timestamp
        );
        create or replace table marts.learning_sessions (
            session_id varchar, learner_id uuid default '{ANA}',
            course_id varchar default '{COURSE}', started_at timestamp, ended_at timestamp,
            known_at timestamp, event_count bigint, hint_count bigint, response_count bigint
        );
        create or replace table marts.responses (
            session_id varchar, learner_id uuid default '{ANA}', responded_at timestamp,
            known_at timestamp
        );
        create or replace temp table decide_learners as select uuid '{ANA}' as learner_id;
        """
    )
    _insert(warehouse, "marts.events", events)
    for first, last in days:
        row = {"first_activity_at": first, "last_activity_at": last}
        _insert(warehouse, "marts.learner_days", [row])
    for row in sessions:
        answers = row.pop("answers")
        _insert(warehouse, "marts.learning_sessions", [{**row, "response_count": len(answers)}])
        for at in answers:
            made = {"session_id": row["session_id"], "responded_at": at, "known_at": at}
            _insert(warehouse, "marts.responses", [made])


def _insert(warehouse: duckdb.DuckDBPyConnection, into: str, rows: Any) -> None:
    for row in rows:
        marks = ", ".join("?" for _ in row)
        warehouse.execute(
            f"insert into {into} ({', '.join(row)}) values ({marks})", [*row.values()]
        )


# -- appointments ----------------------------------------------------------------------------------


def scheduled(day: float, for_day: float, session: str | None = "s1") -> Row:
    return event(
        "session_scheduled", day, actor="coach", due_at=on(for_day), session_id_of_source=session
    )


def one(found: pd.DataFrame) -> Any:
    (row,) = found.itertuples()
    return row


def test_a_session_is_attended_under_its_own_id(load: Load) -> None:
    came = event("session_attended", 29, "00:04", session_id_of_source="s1")
    other = event("session_attended", 28, "00:04", session_id_of_source="s2")
    row = one(load(scheduled(20, 29), came, other)["appointments"])
    assert row.starts_at == row.known_at == on(29)
    assert row.attended_at == on(29, "00:04")


def test_without_an_id_the_time_tells_which_session_was_attended(load: Load) -> None:
    near, far = event("session_attended", 29, "11:59"), event("session_attended", 29, "12:01")
    assert one(load(scheduled(20, 29, None), near)["appointments"]).attended_at == on(29, "11:59")
    assert pd.isna(one(load(scheduled(20, 29, None), far)["appointments"]).attended_at)


def test_a_session_that_was_cancelled_or_moved_was_called_off_then(load: Load) -> None:
    cancelled = event("session_cancelled", 25, session_id_of_source="s1", due_at=on(29))
    row = one(load(scheduled(20, 29), cancelled)["appointments"])
    assert row.called_off_at == on(25, "09:00")
    moved = load(scheduled(20, 29), scheduled(26, 30))["appointments"]
    assert moved["called_off_at"].tolist()[0] == on(26, "09:00")
    assert pd.isna(moved["called_off_at"].tolist()[1])


def test_a_session_booked_long_ago_is_still_known(load: Load) -> None:
    assert len(load(scheduled(-200, 29))["appointments"]) == 1
    assert load(scheduled(-200, -100))["appointments"].empty


def test_nothing_after_the_window_is_known(load: Load) -> None:
    came = event("session_attended", 31, session_id_of_source="s1")
    assert pd.isna(one(load(scheduled(20, 30), came)["appointments"]).attended_at)
    assert load(scheduled(31, 31))["appointments"].empty


# -- messages --------------------------------------------------------------------------------------


def test_the_next_reply_after_a_message_answers_it(load: Load) -> None:
    sent = event("message_sent", 20, actor="coach")
    replies = [event("message_replied", day) for day in (19, 22, 24)]
    assert one(load(sent, *replies)["messages"]).replied_at == on(22, "09:00")


def test_activity_after_a_message_is_found_and_none_is_none(load: Load) -> None:
    sent = event("message_sent", 20, actor="coach")
    before = (on(19), on(20, "08:00"))
    after = (on(23, "10:00"), on(23, "11:00"))
    assert pd.isna(one(load(sent, days=[before])["messages"]).next_activity_at)
    row = one(load(sent, days=[before, after])["messages"])
    assert row.next_activity_at == on(23, "10:00")


def test_what_the_learner_writes_is_no_message_to_them(load: Load) -> None:
    found = load(event("message_sent", 20))
    assert found["messages"].empty
    assert one(found["human_contacts"]).is_from_learner


def test_who_never_comes_back_after_a_score_has_no_next_activity(load: Load) -> None:
    scored = event("assessment_scored", 20, score=3.0, score_max=10.0, actor="ai_tutor")
    before, after = (on(19), on(20, "08:00")), (on(23, "10:00"), on(23, "11:00"))
    assert pd.isna(one(load(scored, days=[before])["low_scores"]).next_activity_at)
    row = one(load(scored, days=[before, after])["low_scores"])
    assert row.next_activity_at == on(23, "10:00")


# -- self-reports, flags, requests -----------------------------------------------------------------


def test_a_report_says_what_it_measures_else_it_is_confidence(load: Load) -> None:
    found = load(
        event("check_in", 20, self_report=0.4, attributes='{"measure": "Mood"}'),
        event("check_in", 21, self_report=0.5),
        event("check_in", 22, self_report=0.6, attributes="not json"),
        event("check_in", 23),
    )["check_ins"]
    assert found["measure"].tolist() == ["mood", "confidence", "confidence"]
    assert found["self_report"].tolist() == [0.4, 0.5, 0.6]


def test_the_category_of_a_flag_is_read_and_never_its_text(load: Load) -> None:
    flags = ["Self_Harm", "distress", "I do not want to be here any more", None, ""]
    found = load(
        *(event("check_in", day, text_flag=flag) for day, flag in enumerate(flags, start=20)),
        event("message_sent", 25, text_flag="distress", actor="coach"),
    )["safety_flags"]
    assert found["category"].tolist() == ["self harm", "distress", "other"]


def test_a_request_may_ask_for_a_person(load: Load) -> None:
    found = load(
        event("help_requested", 20, skill_id="ratios"),
        event("help_requested", 21, attributes='{"asks_for": "Coach"}'),
    )["requests"]
    assert found["asks_for_a_person"].tolist() == [False, True]
    assert found["layer"].tolist()[0] == "content"
    assert pd.isna(found["layer"].tolist()[1])


def test_reflections_are_skips_and_check_ins(load: Load) -> None:
    found = load(event("reflection_skipped", 20), event("check_in", 21))["reflections"]
    assert found["is_skipped"].tolist() == [True, False]


# -- opened sessions -------------------------------------------------------------------------------


def sat(day: float, answers: list[datetime], session: str = "x") -> Row:
    start = on(day, "09:00")
    end = max([start, *answers]) + timedelta(minutes=5)
    return {
        "session_id": session,
        "started_at": start,
        "ended_at": end,
        "known_at": end + timedelta(minutes=30),
        "event_count": 1 + len(answers),
        "hint_count": 0,
        "answers": answers,
    }


def test_the_start_of_a_session_is_timed_to_its_first_answer(load: Load) -> None:
    answers = [on(29, "09:01:30"), on(29, "09:03")]
    row = one(load(event("session_started", 29), sessions=[sat(29, answers)])["opened_sessions"])
    assert row.start_seconds == 90
    assert row.response_count == 2


def test_a_session_that_nobody_opened_is_none_of_them(load: Load) -> None:
    reply = event("message_replied", 29)
    assert load(reply, sessions=[sat(29, [])])["opened_sessions"].empty


def test_handing_in_during_a_session_is_seen(load: Load) -> None:
    opened = event("session_started", 29)
    during = event("assignment_submitted", 29, "09:02")
    later = event("assignment_submitted", 29, "09:06")
    assert one(load(opened, during, sessions=[sat(29, [])])["opened_sessions"]).has_submission
    assert not one(load(opened, later, sessions=[sat(29, [])])["opened_sessions"]).has_submission
