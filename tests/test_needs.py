"""What a rule needs of the sources: all of it, where it is not enough to have one thing of some."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest
from builders import COURSE, hours, on

from flows.doctor import examine
from tutorflow.decide.rule import RULES
from tutorflow.decide.window import watermarks
from tutorflow.hours import to_aware_utc
from tutorflow.policy import load_policy
from tutorflow.policy.guide import policy_guide

NOW = on(30)


def source(
    name: str, *event_types: str, until: datetime = NOW, retired: bool = False
) -> dict[str, object]:
    return {
        "source": name,
        "event_types": list(event_types),
        "courses": [COURSE],
        "complete_until": until,
        "is_retired": retired,
    }


def seen_until(rule: str, *sources: dict[str, object]) -> datetime | None:
    """How far a rule may look now."""
    rows = pd.DataFrame(sources).astype({"complete_until": "datetime64[us]"})
    return watermarks(rows, pd.DataFrame(columns=["source", "course_id"]))(rule, COURSE, NOW)


def test_a_rule_sleeps_where_one_of_its_needs_is_not_delivered() -> None:
    assert RULES["hint_not_used"].needs == ("response_submitted", "hint_requested")
    answers, hints = source("a", "response_submitted"), source("b", "hint_requested")
    assert seen_until("hint_not_used", answers) is None
    assert seen_until("hint_not_used", hints) is None
    assert seen_until("hint_not_used", answers, hints) == NOW


def test_of_some_event_types_one_is_enough() -> None:
    assert RULES["inactive"].any_of == ("content_viewed", "response_submitted")
    assert seen_until("inactive", source("a", "content_viewed")) == NOW
    assert seen_until("inactive", source("a", "response_submitted")) == NOW
    assert seen_until("inactive", source("a", "message_sent")) is None


def test_the_slowest_source_that_tells_of_it_counts() -> None:
    late = NOW - hours(5)
    quick = source("a", "response_submitted", "hint_requested")
    slow = source("b", "hint_requested", until=late)
    other = source("c", "message_sent", until=NOW - hours(50))
    assert seen_until("hint_not_used", quick, slow, other) == late
    both = [source("a", "content_viewed"), source("b", "response_submitted", until=late)]
    assert seen_until("inactive", *both) == late


def test_a_retired_source_delivers_nothing_any_more() -> None:
    answers = source("a", "response_submitted")
    hints = source("b", "hint_requested", retired=True)
    assert seen_until("hint_not_used", answers, hints) is None


@pytest.mark.parametrize(
    ("rule", "delivered", "lacking"),
    [
        ("hint_not_used", ("response_submitted",), ["hint_requested"]),
        ("inactive", (), ["content_viewed or response_submitted"]),
        ("inactive", ("content_viewed",), []),
        ("never_started", ("content_viewed",), ["learner_enrolled"]),
    ],
)
def test_what_is_missing_is_named(
    rule: str, delivered: tuple[str, ...], lacking: list[str]
) -> None:
    assert RULES[rule].missing(delivered) == lacking


def asleep(home: Path, event_types: str, roster: str | None = None) -> str:
    """What `tutorflow doctor` says of sleeping rules."""
    text = f"""
sources:
  - name: app
    path: events.csv
    format: canonical
    event_types: [{event_types}]
"""
    if roster is not None:
        (home / "roster").mkdir()
        (home / "roster" / "skills.csv").write_text(roster)
        text += "roster_path: roster\n"
    (home / "tutorflow.yml").write_text(text)
    findings = examine(home, to_aware_utc(NOW))
    return next((f.text for f in findings if f.subject == "rules asleep"), "")


def test_doctor_names_what_each_sleeping_rule_needs(tmp_path: Path) -> None:
    told = asleep(tmp_path, "response_submitted")
    assert "hint_not_used (needs hint_requested)" in told
    assert "two_core_skills_missed (needs core skills in the roster)" in told
    assert "abandonment (needs item_presented or item_abandoned)" in told
    assert "inactive" not in told


def test_a_roster_that_marks_core_skills_wakes_the_rule(tmp_path: Path) -> None:
    told = asleep(tmp_path, "response_submitted", "skill_id,is_core\nfractions,true\n")
    assert "hint_not_used" in told
    assert "two_core_skills_missed" not in told


def test_the_guide_says_the_same() -> None:
    page = policy_guide(load_policy())

    def needs(rule: str) -> str:
        section = page.split(f"`{rule}`)")[1].split("####")[0]
        return next(line for line in section.splitlines() if line.startswith("- **Needs**"))

    assert needs("hint_not_used").startswith("- **Needs** `response_submitted`, `hint_requested`")
    assert "`content_viewed` or `response_submitted`" in needs("inactive")
    assert "core skills in the roster" in needs("two_core_skills_missed")
