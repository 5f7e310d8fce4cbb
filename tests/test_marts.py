"""Facts about the marts that need several dbt runs; single models are tested beside them."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from tests.marts_support import SKILL_COLUMNS, Event, Marts, answers_by_loop, traced

START = datetime(2026, 3, 26, 20, 0, tzinfo=UTC)  # the clocks of Berlin go forward on the 29th
BATCHES = 4
CLICKS = "code_module,code_presentation,id_student,id_site,date,sum_click"
REGISTRATIONS = "code_module,code_presentation,id_student,date_registration,date_unregistration"
ASSESSMENTS = "code_module,code_presentation,id_assessment,assessment_type,date,weight"
SUBMISSIONS = "id_assessment,id_student,date_submitted,is_banked,score"


def random_history(chance: random.Random, learner: str, length: int) -> list[Event]:
    """Events of one learner with everything that cuts sessions, attempts and opportunities."""
    at = START + timedelta(minutes=chance.randrange(600))
    course, item = "algebra", "item-1"
    events: list[Event] = []
    for number in range(length):
        pause = chance.choice([0, 3, 20, 45, 200, 700, 1795, 1800, 1801, 9000])
        at += timedelta(seconds=pause, milliseconds=chance.choice([0, 0, 250]))
        if chance.random() < 0.05:
            course = chance.choice(["algebra", "geometry"])
        if chance.random() < 0.4:
            item = f"item-{chance.randrange(6)}"
        kind = chance.choices(
            [
                "response_submitted",
                "item_presented",
                "hint_requested",
                "explanation_viewed",
                "item_abandoned",
                "session_started",
                "session_ended",
                "message_sent",
                "content_viewed",
            ],
            [50, 18, 10, 4, 3, 4, 4, 4, 3],
        )[0]
        of_session = kind.startswith("session") or kind == "message_sent"
        event: Event = {
            "source_event_id": f"{learner}-{number}",
            "user_id": learner,
            "event_type": kind,
            "occurred_at": at,
            "course_id": course,
            "module_id": None if of_session else f"module-{len(item) + number // 40}",
            "item_id": None if of_session or chance.random() < 0.03 else item,
            "skill_id": None if of_session else f"skill-{int(item[-1]) // 2}",
            "actor": chance.choice(["learner", "learner", "ai_tutor"]) if of_session else "learner",
        }
        if kind == "response_submitted":
            event["is_correct"] = chance.random() < 0.6
            event["response_seconds"] = chance.choice([-1.0, 3.5, 12.0, 40.25, 599.0, 601.0, None])
            event["attempt_number"] = chance.choice([None, None, 1, 2])
            if chance.random() < 0.2:
                event["skill_id"] = f"{event['skill_id']}~~skill-9"
            if chance.random() < 0.05:
                event["skill_id"] = None
        events.append(event)
    return events


def long_sequence(chance: random.Random, learner: str, length: int) -> list[Event]:
    """Very many answers to one skill, mostly right at first, then mostly wrong, then right."""
    return [
        {
            "source_event_id": f"{learner}-{number}",
            "user_id": learner,
            "event_type": "response_submitted",
            "occurred_at": START + timedelta(seconds=30 * number),
            "course_id": "algebra",
            "item_id": f"item-{number}",
            "skill_id": "skill-1",
            "is_correct": chance.random() < (0.2 if 400 < number < 600 else 0.9),
        }
        for number in range(length)
    ]


def in_batches(chance: random.Random, events: list[Event], count: int) -> list[list[Event]]:
    """Roughly in order of time, but a fifth anywhere, a tenth twice, and each batch shuffled."""
    batches: list[list[Event]] = [[] for _ in range(count)]
    ordered = sorted(events, key=lambda event: event["occurred_at"])
    for position, event in enumerate(ordered):
        batch = position * count // len(ordered)
        if chance.random() < 0.2:
            batch = chance.randrange(count)
        batches[batch].append(event)
        if chance.random() < 0.1:
            batches[chance.randrange(count)].append(event)
    for shuffled in batches:
        chance.shuffle(shuffled)
    return batches


def deliver_course(marts: Marts, batch: int) -> None:
    """The files of the virtual learning environment, each batch a newer version of some."""
    chance = random.Random(batch)
    if batch in (0, 2, 3):
        clicks = [
            f"AAA,2013J,{chance.randrange(3)},{chance.randrange(3)},{chance.randrange(-2, 9)},1"
            for _ in range(60 + 10 * batch)
        ]
        marts.deliver_csv("studentVle.csv", CLICKS, clicks)
    if batch == 0:
        marts.deliver_csv("studentAssessment.csv", SUBMISSIONS, ["7,0,5,0,81", "8,1,-1,1,40"])
    if batch in (1, 3):
        moved = 3 if batch == 1 else 6
        rows = [f"AAA,2013J,7,TMA,{moved},50", "AAA,2013J,8,TMA,20,50", "AAA,2013J,9,Exam,,100"]
        marts.deliver_csv("assessments.csv", ASSESSMENTS, rows)
    if batch in (2, 3):
        left = "" if batch == 2 else "12"
        rows = [f"AAA,2013J,0,-20,{left}", "AAA,2013J,1,,", "AAA,2013J,2,4,"]
        marts.deliver_csv("studentRegistration.csv", REGISTRATIONS, rows)


@pytest.fixture(scope="module")
def shuffled_marts(tmp_path_factory: pytest.TempPathFactory) -> Marts:
    """Marts built batch by batch (kept in the schema `batches`), then once more from nothing."""
    chance = random.Random(7)
    marts = Marts(tmp_path_factory.mktemp("shuffled") / "home", timezone="Europe/Berlin")
    history = [e for n in range(9) for e in random_history(chance, f"learner-{n}", 180)]
    history += long_sequence(chance, "patient", 1_200)
    days = [{**event, "user_id": f"lms-{event['user_id'][-1]}"} for event in history[::5]]
    for batch, events in enumerate(in_batches(chance, history, BATCHES)):
        marts.deliver("tutor", events)
        marts.deliver("lms", in_batches(chance, days, BATCHES)[batch])
        deliver_course(marts, batch)
        marts.build()
    marts.keep("batches")
    marts.build(full_refresh=True)
    return marts


def test_marts_built_from_shuffled_repeated_late_batches_equal_a_full_rebuild(
    shuffled_marts: Marts,
) -> None:
    differences = shuffled_marts.differences("batches")
    assert set(differences) >= {"events", "responses", "item_days", "learner_weeks"}
    assert differences == Counter(dict.fromkeys(differences, 0))


EXACT_COLUMNS = (
    "attempt_number",
    "is_first_attempt",
    "is_unaided",
    "hints_used",
    "hints_in_module",
    "response_seconds",
    "response_number",
    "wrong_of_last_5",
    "log_seconds_count_of_last_20",
)
CLOSE_COLUMNS = (
    "accuracy_of_last_20",
    "accuracy_of_previous_40",
    "log_seconds_mean_of_last_20",
    "log_seconds_stddev_of_last_20",
)


def test_the_running_context_of_an_answer_equals_a_plain_loop(shuffled_marts: Marts) -> None:
    events = shuffled_marts.rows("""
        select events.*, cast(learner_id as varchar) as learner
        from marts.events
        inner join seeds.event_types using (event_type)
        where source = 'tutor' and (events.is_activity or is_in_session)
        order by learner_id, occurred_at, event_rank, event_id
    """)
    for event in events:
        others = (event["other_skill_ids"] or "").split("~~")
        event["skills"] = [skill for skill in [event["skill_id"], *others] if skill]
    expected = {}
    for learner in {event["learner"] for event in events}:
        mine = [event for event in events if event["learner"] == learner]
        if len(mine) < 1_000:
            expected |= answers_by_loop(mine)
    found = {
        row["event_id"]: row
        for row in shuffled_marts.rows("select * from marts.responses")
        if row["event_id"] in expected
    }
    assert set(found) == set(expected)
    assert len(found) > 600
    for event_id, answer in expected.items():
        row = found[event_id]
        exact = {column: answer[column] for column in EXACT_COLUMNS}
        assert {column: row[column] for column in EXACT_COLUMNS} == exact
        close = {column: answer.get(column) for column in (*CLOSE_COLUMNS, *SKILL_COLUMNS)}
        assert {column: row[column] for column in close} == pytest.approx(close, abs=1e-9)


def test_mastery_equals_the_textbook_formula_on_long_sequences(shuffled_marts: Marts) -> None:
    rows = shuffled_marts.rows("""
        select * from marts.response_skills order by learner_id, course_id, skill_id, opportunity
    """)
    sequences: dict[tuple[str, str, str], list[Event]] = {}
    for row in rows:
        key = (str(row["learner_id"]), row["course_id"], row["skill_id"])
        sequences.setdefault(key, []).append(row)
    assert max(map(len, sequences.values())) >= 1_200
    for answers in sequences.values():
        assert [row["opportunity"] for row in answers] == list(range(1, len(answers) + 1))
        path = traced([row["is_correct"] for row in answers])
        for row, (before, after) in zip(answers, path, strict=True):
            assert row["p_mastery_before"] == pytest.approx(before, abs=1e-9)
            assert row["p_mastery_after"] == pytest.approx(after, abs=1e-9)


def test_a_newer_version_of_a_clicks_file_replaces_what_the_older_one_said(
    shuffled_marts: Marts,
) -> None:
    (clicks,) = shuffled_marts.rows("""
        select cast(sum(event_count) as bigint) as clicks, count(distinct delivery_id) as deliveries
        from batches.events
        where source = 'vle' and event_type = 'content_viewed'
    """)
    assert clicks == {"clicks": 90, "deliveries": 1}


def test_a_date_that_moved_leaves_one_due_assignment_per_learner(shuffled_marts: Marts) -> None:
    due = shuffled_marts.rows("""
        select cast(due_at as varchar) as due_at, count(*) as learners
        from batches.events
        where source = 'vle' and event_type = 'assignment_due' and item_id = '7'
        group by due_at
    """)
    assert due == [{"due_at": "2013-10-06 22:00:00", "learners": 3}]
