"""Facts about the marts that need several dbt runs; single models are tested beside them."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from tests.marts_support import Event, Marts

START = datetime(2026, 3, 26, 20, 0, tzinfo=UTC)  # the clocks of Berlin go forward on the 29th
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
    if batch in (1, 4):
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
    days = [{**event, "user_id": f"lms-{event['user_id'][-1]}"} for event in history[::5]]
    for batch, events in enumerate(in_batches(chance, history, 5)):
        marts.deliver("tutor", events)
        marts.deliver("lms", in_batches(chance, days, 5)[batch])
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
