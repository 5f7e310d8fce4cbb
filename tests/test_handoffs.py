"""Hand-off notes: what changed and when, what was tried and what came of it, in a coach's words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from builders import COURSE, days, hours, on, signal

from expectations.texts import harsh_word
from tutorflow.decide.candidates import fit
from tutorflow.decide.episodes import Alert, Evidence, Signal
from tutorflow.decide.handoff_facts import (
    Answer,
    Around,
    Cases,
    Contact,
    NotCommitted,
    kind_of_task,
    look_around,
)
from tutorflow.decide.handoffs import note, write_notes
from tutorflow.decide.names import name_of
from tutorflow.decide.ticks import NoteRequest
from tutorflow.policy import load_policy
from tutorflow.publish import misfits
from tutorflow.settings import Settings

POLICY = load_policy()
NOW, FIRED, EARLIER = on(0, "14:20"), on(0, "14:08"), on(0, "13:53")


def answers(
    pattern: str,
    at: datetime = EARLIER,
    skill: str = "ratio tables",
    first_opportunity: int | None = 1,
    **columns: Any,
) -> list[Answer]:
    """A minute apart: ``x`` wrong, ``o`` right; opportunities count up."""
    return [
        Answer(
            event_id=f"{skill}-{at:%d%H%M}-{number}",
            at=at + timedelta(minutes=number),
            skill_id=skill,
            module_id=columns.get("module", "module 1"),
            kind=columns.get("kind"),
            opportunity=None if first_opportunity is None else first_opportunity + number,
            is_first_attempt=True,
            is_correct=mark == "o",
            error_type=columns.get("error") if mark == "x" else None,
            log_seconds=columns.get("log_seconds"),
            log_seconds_before=columns.get("usual"),
            p_before=columns.get("p", (0.5, 0.5))[0],
            p_after=columns.get("p", (0.5, 0.5))[1],
        )
        for number, mark in enumerate(pattern)
    ]


def request(
    *signals: Signal, at: datetime = NOW, last_closed: tuple[datetime, str] | None = None
) -> NoteRequest:
    lead = signals or (misses(),)
    return NoteRequest(
        at, "alert", (lead[0].learner_id, COURSE, lead[0].layer), 2, "high",
        "3 signals agree, n = 14", tuple(lead), last_closed,
    )  # fmt: skip


def misses(at: datetime = FIRED, subject: str = "ratio tables", **more: Any) -> Signal:
    found = signal(at=at, subject=subject, **more)
    return found._replace(sentence=f"4 wrong in a row on {subject}")


def written(around: Around, asked: NoteRequest | None = None, zone: str = "UTC") -> dict[str, Any]:
    row = note(asked or request(), around, POLICY, {}, zone)
    assert misfits("handoff_notes", fit("handoff_notes", [row])) == []
    assert [text for text in row.values() if isinstance(text, str) and harsh_word(text)] == []
    return row


BEFORE = answers("oxooooooo", on(0, "13:50"), first_opportunity=-2, kind="picture")
RUN = answers(
    "xxxx", on(0, "14:05"), first_opportunity=7, kind="equation", p=(0.41, 0.12),
    log_seconds=3.8329, usual=3.0,
)  # fmt: skip


def test_the_note_reads_as_a_colleague_would_say_it() -> None:
    around = Around(
        answers=[*BEFORE, *RUN],
        hints=[on(0, "14:06"), on(0, "14:07"), on(0, "14:10"), on(-1, "12:00")],
        difficulty=[(on(0, "14:09"), "easier"), (on(0, "14:15"), "easier")],
        contacts=[Contact(NOW - days(12), "worked example", "back the next day")],
    )
    row = written(around)
    assert row["observed_issue"] == (
        "4 wrong in a row on ratio tables (opportunities 7-10); mastery 0.41 -> 0.12; "
        "2.3 times slower than own pace"
    )
    assert row["why_now"] == (
        "8 of the 9 answers before were right; it changed at 14:05, "
        "when items turned from pictures to equations"
    )
    assert row["ai_tried"] == "AI: 3 hints, easier items at 14:09 and 14:15"
    assert row["humans_tried"] == "Coach (12 days ago): worked example, back the next day"
    assert "one worked example of ratio tables" in row["next_action"]
    assert row["changed_at"] == on(0, "14:05")
    assert row["draft_message"].startswith("[Draft by the system, please edit]")


def test_times_are_those_of_the_coach() -> None:
    row = written(Around(answers=[*BEFORE, *RUN]), zone="Asia/Kolkata")
    assert "it changed at 19:35" in row["why_now"]


def test_another_day_is_named() -> None:
    row = written(Around(answers=[*BEFORE, *RUN]), request(misses(), at=NOW + days(1)))
    assert "it changed at Mon 2 Mar 14:05" in row["why_now"]


# -- what changed ----------------------------------------------------------------------------------


def test_a_run_among_other_skills_is_that_of_the_skill() -> None:
    other = answers("o", on(0, "14:06") + timedelta(seconds=30), skill="fractions")
    mixed = sorted([*BEFORE, *RUN, *other], key=lambda answer: answer.at)
    assert written(Around(answers=mixed))["changed_at"] == on(0, "14:05")


def test_one_miss_is_no_run() -> None:
    row = written(Around(answers=[*BEFORE, *RUN[:1]], last_at=on(0, "14:05")))
    assert "it changed" not in row["why_now"]
    assert row["changed_at"] == misses().fired_at


def test_a_move_to_another_module_is_said() -> None:
    before = answers("oooo", on(0, "13:50"), module="module 1")
    run = answers("xxxx", on(0, "14:05"), module="module 2")
    assert written(Around(answers=[*before, *run]))["why_now"].endswith(
        "when the work moved from module 1 to module 2"
    )


def test_tasks_of_mixed_kinds_have_not_turned() -> None:
    mixed = [a._replace(kind=("picture", "table")[n % 2]) for n, a in enumerate(BEFORE)]
    assert "turned" not in written(Around(answers=[*mixed, *RUN]))["why_now"]


def test_trouble_that_was_always_there_is_not_called_a_change_of_today() -> None:
    before = answers("oxxxoxxxo", on(0, "13:50"))
    row = written(Around(answers=[*before, *RUN]))
    assert row["what_changed"] == "not a matter of today: 3 of the 9 answers before were right"
    assert row["why_now"].endswith("; the latest misses began at 14:05")


def test_what_came_after_the_signal_is_not_told() -> None:
    later = answers("oooo", on(0, "14:12"))
    with_later = written(Around(answers=[*BEFORE, *RUN, *later]))
    assert (
        with_later["observed_issue"] == written(Around(answers=[*BEFORE, *RUN]))["observed_issue"]
    )


@pytest.mark.parametrize(
    ("log_seconds", "said"),
    [(3.0 + 0.41, "1.5 times slower"), (3.0 + 0.40, None), (3.0 - 0.41, "1.5 times quicker")],
)
def test_pace_is_told_from_one_and_a_half_times_on(log_seconds: float, said: str | None) -> None:
    run = [answer._replace(log_seconds=log_seconds) for answer in RUN]
    text = written(Around(answers=[*BEFORE, *run]))["observed_issue"]
    assert (said in text) if said else ("own pace" not in text)


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        (["sign", "sign", "order", "sign"], "the same kind of error in 3 of 4: sign"),
        (["sign", "sign", "order", "units"], "the same kind of error in 2 of 4: sign"),
        (["sign", None, None, None], "no one kind of error stands out"),
    ],
)
def test_a_kind_of_error_that_comes_back_is_named(errors: Sequence[str], said: str) -> None:
    run = [answer._replace(error_type=error) for answer, error in zip(RUN, errors, strict=True)]
    assert written(Around(answers=[*BEFORE, *run]))["error_pattern"] == said


def test_a_noted_pattern_of_errors_is_told_as_it_was_noted() -> None:
    noted = signal(rule="error_pattern", tier=0, at=on(0, "14:08"), subject="ratio tables")
    noted = noted._replace(sentence="the same error 3 times: sign")
    row = written(Around(answers=[*BEFORE, *RUN]), request(misses(), noted))
    assert row["error_pattern"] == "the same error 3 times: sign"


def test_who_has_gone_quiet_is_told_by_the_last_visit() -> None:
    quiet = signal(rule="inactive", at=on(7, "09:00"), subject="")._replace(
        sentence="no activity for 7 days", subject_kind="learner"
    )
    row = written(
        Around(answers=BEFORE, last_at=on(0, "13:58"), last_place="module 1"),
        request(quiet, at=on(7, "10:00")),
    )
    assert row["observed_issue"] == "no activity for 7 days"
    assert row["why_now"] == "last seen Mon 2 Mar 13:58; noticed 09:00"
    assert row["changed_at"] == on(0, "13:58")
    assert row["was_doing"] == "last worked on module 1 (Mon 2 Mar 13:58)"


# -- what was tried --------------------------------------------------------------------------------


def test_only_help_since_the_change_counts() -> None:
    around = Around(answers=[*BEFORE, *RUN], hints=[on(0, "14:04"), on(0, "14:05")])
    assert written(around)["ai_tried"] == "AI: 1 hint"


def test_that_nothing_was_tried_is_said() -> None:
    row = written(Around(answers=[*BEFORE, *RUN]))
    assert row["ai_tried"] == "AI: nothing yet since then"
    assert row["humans_tried"] == "Coach: no contact on record"
    assert written(Around())["ai_tried"] == "AI: nothing on record in the last two weeks"


def test_many_changes_are_summed_up() -> None:
    easier = [(on(0, "14:06") + timedelta(minutes=n), "easier") for n in range(3)]
    around = Around(answers=[*BEFORE, *RUN], difficulty=easier, nudges=[on(0, "14:10")])
    assert written(around)["ai_tried"] == (
        "AI: easier items (3 times, last 14:08), a nudge at 14:10"
    )


def test_an_earlier_alert_is_remembered_for_four_weeks() -> None:
    for age, said in ((days(28), True), (days(28) + hours(1), False)):
        asked = request(last_closed=(NOW - age, "recovered"))
        told = written(Around(), asked)["humans_tried"]
        assert ("an earlier alert closed 28 days ago (recovered)" in told) is said


def test_similar_cases_say_how_they_ended_and_what_helped() -> None:
    around = Around(cases=Cases(4, 3, 2.0, ("worked example", "call", "worked example")))
    assert written(around)["similar_cases"] == (
        "4 similar cases in 90 days, 3 recovered, typically within 2 days; "
        "what people logged most in those: worked example (2 of 3)"
    )


# -- out of the marts and the serving database -----------------------------------------------------

ANA, BEN = (f"00000000-0000-0000-0000-00000000000{digit}" for digit in "ab")


@pytest.fixture(scope="module")
def warehouse() -> Iterator[duckdb.DuckDBPyConnection]:
    """Marts by hand: four right answers on pictures, four wrong ones on equations, then help."""
    connection = duckdb.connect()
    connection.execute("create schema marts")
    connection.execute(
        "create table marts.responses (event_id uuid, learner_id uuid, course_id varchar, "
        "skill_id varchar, item_id varchar, module_id varchar, known_at timestamp, "
        "opportunity bigint, is_first_attempt boolean, is_correct boolean, error_type varchar, "
        "log_seconds double, log_seconds_mean_of_last_20 double, "
        "log_seconds_count_of_last_20 bigint, p_mastery_before double, p_mastery_after double, "
        "response_number bigint)"
    )
    connection.execute(
        "create table marts.events (event_id uuid, learner_id uuid, course_id varchar, "
        "event_type varchar, actor varchar, occurred_at timestamp, known_at timestamp, "
        "skill_id varchar, module_id varchar, item_id varchar, is_activity boolean, "
        "attributes varchar)"
    )
    connection.execute(
        "create table marts.learner_days (learner_id uuid, course_id varchar, activity_date date, "
        "first_activity_at timestamp, last_activity_at timestamp, known_at timestamp)"
    )

    def event(number: int, kind: str, at: datetime, **more: Any) -> None:
        row = {"actor": "ai_tutor", "item_id": None, "attributes": None, **more}
        connection.execute(
            "insert into marts.events values (?, ?, ?, ?, ?, ?, ?, null, 'module 1', ?, ?, ?)",
            [
                f"00000000-0000-0000-0000-{number:012d}", ANA, COURSE, kind, row["actor"], at, at,
                row["item_id"], kind == "hint_requested", row["attributes"],
            ],
        )  # fmt: skip

    for number in range(8):
        at = on(0, "14:01") + timedelta(minutes=number)
        kind = "picture" if number < 4 else "equation"
        shown = json.dumps({"presentation": kind})
        event(100 + number, "item_presented", at, item_id=f"item {number}", attributes=shown)
        connection.execute(
            "insert into marts.responses values (?, ?, ?, 'ratio tables', ?, 'module 1', ?, ?, "
            "true, ?, null, 3.0, 3.0, 12, 0.5, 0.4, ?)",
            [
                f"00000000-0000-0000-0000-{number:012d}", ANA, COURSE, f"item {number}",
                at + timedelta(seconds=30), number + 1, number < 4, number + 1,
            ],
        )  # fmt: skip
    event(201, "hint_requested", on(0, "14:06"), actor="learner")
    event(202, "difficulty_changed", on(0, "14:09"), attributes='{"to": "easier"}')
    event(203, "message_sent", on(-3, "10:00"), actor="coach", attributes='{"purpose": "call_you"}')
    event(204, "hint_requested", NOW, actor="learner")  # known too late
    for day in (-2, 0):
        connection.execute(
            "insert into marts.learner_days values (?, ?, ?, ?, ?, ?)",
            [ANA, COURSE, on(day).date(), on(day, "09:00"), on(day, "15:00"), on(day + 1)],
        )
    yield connection
    connection.close()


def asked(at: datetime = NOW) -> NoteRequest:
    return request(misses(learner=ANA, at=on(0, "14:08:30")), at=at)


def test_what_a_note_needs_is_found_in_the_marts(
    warehouse: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path)
    rows = write_notes(warehouse, settings, [asked()], POLICY, {}, lambda _: "UTC")
    row = rows.iloc[0]
    assert row["observed_issue"].startswith("4 wrong in a row on ratio tables (opportunities 5-8)")
    assert row["why_now"] == (
        "4 of the 4 answers before were right; it changed at 14:05, "
        "when items turned from pictures to equations"
    )
    assert row["ai_tried"] == "AI: 1 hint, an easier item at 14:09"
    assert row["humans_tried"] == "Coach (3 days ago): message (call you), back the next day"


def closed_alert(learner: str, closed_at: datetime) -> Alert:
    return Alert(
        alert_id=f"{learner} {closed_at:%d%H}",
        key=(learner, COURSE, "content"),
        alert_tier=2,
        opening_tier=2,
        opened_at=closed_at - days(1),
        policy_version="p",
        status="closed",
        closed_at=closed_at,
        close_reason="recovered",
        evidence=[Evidence(misses(at=closed_at - days(1), learner=learner))],
    )


def test_a_case_counts_once_it_cannot_reopen(
    warehouse: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    grace, found = days(2), {}
    for age in (grace, grace + timedelta(seconds=1)):
        window = NotCommitted(alerts=[closed_alert(BEN, NOW - age)])
        around = look_around(warehouse, Settings(home=tmp_path), [asked()], window, grace)
        found[age] = around["alert"].cases
    assert list(found.values()) == [Cases(), Cases(1, 1, typical_days=1.0)]


def test_own_cases_and_those_of_another_skill_are_not_similar(
    warehouse: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    other = closed_alert(BEN, NOW - days(9))
    other.evidence = [Evidence(misses(subject="fractions", learner=BEN, at=NOW - days(10)))]
    window = NotCommitted(alerts=[closed_alert(ANA, NOW - days(9)), other])
    around = look_around(warehouse, Settings(home=tmp_path), [asked()], window, days(2))
    assert around["alert"].cases.count == 0


def test_logged_interventions_are_told_from_the_next_tick_on(
    warehouse: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    for taken_at, said in ((NOW - hours(1), True), (NOW, False)):
        taken = {
            "inbox": "interventions", "row_id": "1", "verdict": "accepted", "alert_id": "x",
            "learner_id": ANA, "written_at": pd.Timestamp(on(-1)), "taken_at": taken_at,
            "content": '{"kind": "worked_example", "code": "resumed"}',
        }  # fmt: skip
        rows = write_notes(
            warehouse,
            Settings(home=tmp_path),
            [asked()],
            POLICY,
            {},
            lambda _: "UTC",
            NotCommitted(taken=[taken]),
        )
        told = "Coach (yesterday): worked example, resumed" in rows["humans_tried"].iloc[0]
        assert told is said


def test_nudges_that_were_ready_before_are_told(
    warehouse: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    def nudge(at: datetime, status: str = "ready") -> dict[str, Any]:
        key = f"{at} {status}"
        return {"nudge_row_id": key, "learner_id": ANA, "course_id": COURSE, "status": status,
                "as_of": at}  # fmt: skip

    window = NotCommitted(
        nudges=[nudge(NOW - hours(1)), nudge(NOW), nudge(NOW - hours(2), "held_out")]
    )
    around = look_around(warehouse, Settings(home=tmp_path), [asked()], window, days(2))
    assert around["alert"].nudges == [NOW - hours(1)]


@pytest.mark.parametrize(
    ("attributes", "kind"),
    [
        ('{"presentation": "word-problem"}', "word problem"),
        ('{"item_type": "multiple_choice"}', "multiple choice"),
        ('{"type": "ana@example.org"}', None),
        ('{"type": 3}', None),
        ("not json", None),
        (None, None),
    ],
)
def test_the_kind_of_a_task_is_a_plain_word_or_nothing(
    attributes: str | None, kind: str | None
) -> None:
    assert kind_of_task(attributes) == kind


@pytest.mark.parametrize(
    ("some_id", "name"),
    [
        ("ratio-tables", "Ratio tables"),
        ("unit 3", "unit 3"),
        ("https://example.org/skills/unit-rates/", "unit-rates"),
    ],
)
def test_a_title_goes_before_an_id_and_a_link_is_cut_short(some_id: str, name: str) -> None:
    assert name_of({"ratio-tables": "Ratio tables"}, some_id) == name
