"""What a coach sees on the terminal."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tutorflow.publish import Candidates, Run, Verdict, publish, queue, render_queue
from tutorflow.publish.contract import table
from tutorflow.settings import Settings

AS_OF = datetime(2026, 3, 2, 15, tzinfo=UTC)  # a Monday
TICK = pd.Timestamp("2026-03-02 15:00").as_unit("us")
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def block(**changes: Any) -> dict[str, Any]:
    """A row of the queue; what is given replaces what it would say by itself."""
    return {
        "queue_position": 1,
        "coach_id": "mira",
        "alert_id": "alert 1",
        "learner_id": "3f9a0000-0000-0000-0000-000000000000",
        "learner_label": "L-3f9a",
        "course_id": "maths",
        "layer": "content",
        "alert_tier": 2,
        "due_at": TICK + HOUR,
        "is_overdue": False,
        "priority": 250.0,
        "confidence": "high",
        "confidence_basis": "3 signals agree, n = 14",
        "what": "4 wrong in a row on ratio tables (opportunities 7-10); mastery 0.41 -> 0.12",
        "why_now": "8 of the 9 answers before were right; it changed at 14:05",
        "tried": "AI: 3 hints, an easier item at 14:09. Coach (12 days ago): worked example",
        "next_action": "one worked example with a picture, then one item unaided (about 5 minutes)",
        "opened_at": TICK - HOUR,
        "last_signal_at": TICK - HOUR,
        "is_first_of_learner": True,
        "as_of": TICK,
        **changes,
    }


def rows(*blocks: dict[str, Any]) -> pd.DataFrame:
    columns = table("coach_queue").columns.values()
    return pd.DataFrame(
        {c.name: pd.Series([one[c.name] for one in blocks], dtype=c.dtype) for c in columns}
    )


def publish_queue(settings: Settings, *blocks: dict[str, Any]) -> None:
    log = pd.DataFrame(
        {
            "as_of": [TICK],
            "tick": "hour",
            "policy_version": "p1",
            "roster_version": pd.Series([None], dtype="str"),
            "watermarks": "{}",
            **dict.fromkeys(("signal_count", "opened_count", "closed_count", "held_count"), 0),
            "outside_pilot_count": 0,
        }
    )
    candidates = Candidates([AS_OF], AS_OF, {"coach_queue": rows(*blocks), "tick_log": log})
    publish(settings, candidates, Verdict([]), Run("run", "running", AS_OF))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def test_one_row_reads_as_a_colleague_would_say_it() -> None:
    assert render_queue(rows(block()), 110).splitlines() == [
        "1 learner needs a person, as of today 15:00 UTC.",
        "",
        "L-3f9a   content   alert tier 2   due today 16:00   "
        "confidence high (3 signals agree, n = 14)",
        "What     4 wrong in a row on ratio tables (opportunities 7-10); mastery 0.41 -> 0.12",
        "Why now  8 of the 9 answers before were right; it changed at 14:05",
        "Tried    AI: 3 hints, an easier item at 14:09. Coach (12 days ago): worked example",
        "Do       one worked example with a picture, then one item unaided (about 5 minutes)",
    ]


def test_a_second_alert_of_the_same_learner_reads_as_such() -> None:
    second = block(alert_id="alert 2", layer="compliance", is_first_of_learner=False)
    text = render_queue(rows(block(), second), 110)
    assert "\nL-3f9a   content" in text
    assert "\nalso:   L-3f9a   compliance" in text
    assert text.count("also:") == 1


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal_and_no_word_is_lost(width: int) -> None:
    text = render_queue(rows(block()), width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert " ".join(text.split()).count("worked example with a picture") == 1


def test_long_sentences_hang_below_their_own_start() -> None:
    lines = render_queue(rows(block()), 60).splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("What"))
    assert lines[start + 1].startswith(" " * 9)
    assert lines[start + 1][9] != " "


def test_times_are_in_the_zone_asked_for() -> None:
    text = render_queue(rows(block()), timezone="Asia/Kolkata")
    assert "as of today 20:30 IST" in text
    assert "due today 21:30" in text


@pytest.mark.parametrize(
    ("due", "words"),
    [
        (TICK + HOUR, "due today 16:00"),
        (TICK + DAY, "due tomorrow 15:00"),
        (TICK + 3 * DAY, "due Thu 5 Mar 15:00"),
        (TICK - DAY, "overdue since yesterday 15:00"),
        (pd.Timestamp("2027-01-04 09:00"), "due Mon 4 Jan 2027 09:00"),
    ],
)
def test_due_times_are_said_the_way_people_say_them(due: pd.Timestamp, words: str) -> None:
    assert f"   {words}   " in render_queue(rows(block(due_at=due)), 120)


def test_what_is_overdue_is_seen_from_now_and_not_from_the_queues_hour() -> None:
    assert "due today 16:00" in render_queue(rows(block()))
    late = render_queue(rows(block()), now=AS_OF + 1.5 * HOUR)
    assert "overdue since today 16:00" in late


def test_a_queue_that_is_hours_old_says_so() -> None:
    text = render_queue(rows(block()), now=AS_OF + 5 * HOUR)
    assert "5 hours ago" in text
    assert "hours ago" not in render_queue(rows(block()), now=AS_OF + HOUR)


def test_several_coaches_get_a_heading_each() -> None:
    two = rows(block(), block(coach_id="noor", alert_id="alert 2", learner_label="L-77aa"))
    lines = render_queue(two).splitlines()
    assert [line for line in lines if line.startswith("Coach")] == ["Coach mira", "Coach noor"]
    assert "Coach" not in render_queue(two[two["coach_id"] == "mira"]).replace("Coach (", "")


def test_without_a_terminal_there_are_no_control_codes() -> None:
    assert "\x1b" not in render_queue(rows(block()))
    assert "\x1b" in render_queue(rows(block()), color=True)


def test_brackets_in_a_sentence_are_shown_as_they_are() -> None:
    text = render_queue(rows(block(what="see [bold]this[/bold] and [7-10]")))
    assert "see [bold]this[/bold] and [7-10]" in text


def test_the_queue_is_read_by_coach_and_place(settings: Settings) -> None:
    publish_queue(
        settings,
        block(alert_id="a", queue_position=3),
        block(alert_id="b", queue_position=2, coach_id="noor"),
        block(alert_id="c", queue_position=1),
    )
    assert list(queue(settings)["alert_id"]) == ["c", "a", "b"]
    assert list(queue(settings, coach="noor")["alert_id"]) == ["b"]


def test_an_empty_queue_says_kindly_of_when_it_is(settings: Settings) -> None:
    publish_queue(settings)
    text = " ".join(render_queue(queue(settings)).split())
    assert text == (
        "The queue is empty as of today 15:00 UTC: nobody is waiting for a person right now."
    )


def test_before_the_first_publish_it_says_what_to_do(settings: Settings) -> None:
    text = render_queue(queue(settings))
    assert "Nothing has been published yet" in text
    assert "tutorflow run" in text
    assert not (settings.home / "serving.sqlite").exists()
