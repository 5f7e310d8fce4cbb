"""A pilot: outside of it nothing is decided for learners, and what was left out is counted."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from builders import COURSE, FAR_FUTURE, days, frames, on, policy, signal

from tutorflow.decide.crowds import ItemTry
from tutorflow.decide.encounters import Encounters
from tutorflow.decide.episodes import Signal
from tutorflow.decide.inputs import Span, Window
from tutorflow.decide.open_state import Opened
from tutorflow.decide.signals import RECOVERY_COLUMNS, Findings
from tutorflow.decide.states import StateTracker
from tutorflow.decide.surroundings import Surroundings, surroundings
from tutorflow.decide.ticks import Changes, OpenState
from tutorflow.decide.window import decide_window
from tutorflow.errors import ConfigurationError
from tutorflow.policy import load_policy
from tutorflow.policy.model import Policy, default_policy_path
from tutorflow.roster import load_roster
from tutorflow.settings import Settings

ENDS = [on(0, "10:00"), on(0, "11:00")]
EARLY, LATE = on(0, "09:30"), on(0, "10:30")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def around(home: Path, used: Policy) -> Surroundings:
    """A programme without a roster."""
    changes = pd.DataFrame(columns=["learner_id", "course_id", "event_type", "known_at"])
    return surroundings(load_roster(Settings(home=home)), used, "UTC", changes, {})


def decide(home: Path, used: Policy, *signals: Signal, **more: Any) -> tuple[Opened, Changes]:
    """What two hourly ticks make of these signals."""
    fired = pd.DataFrame(list(signals), columns=list(Signal._fields))
    fired["fired_at"] = fired["fired_at"].astype("datetime64[us]")
    none = pd.DataFrame(columns=RECOVERY_COLUMNS).astype(
        dict.fromkeys(("since", "at"), "datetime64[us]")
    )
    window = Window(
        Span(on(0, "09:00"), ENDS, on(-1), [], set(), False),
        used,
        frames(days=more.pop("days", [])),
        Findings(fired, none, pd.Timestamp(on(-1))),
        around(home, used),
        lambda rule, course, at: min(at, more.get("complete_until", FAR_FUTURE)),
        days(7),
        more.get("encounters", Encounters()),
    )
    opened = Opened(OpenState(), StateTracker(used), None)
    return opened, decide_window(window, opened, lambda *_: None)


def test_outside_the_pilot_nothing_is_decided_but_safety(home: Path) -> None:
    used = policy(pilot={"courses": ["physics"]})
    outside = [signal("ana", at=EARLY), signal("ben", at=LATE), signal("cem", at=on(-1, "12:00"))]
    inside = signal("dua", at=EARLY)._replace(course_id="physics")
    concern = signal("eli", tier=4, at=EARLY, layer="safety")
    opened, changes = decide(home, used, *outside, inside, concern)
    assert {key[0] for key in opened.state.alerts} == {"dua", "eli"}
    assert set(changes.dispositions) == {inside.signal_id, concern.signal_id}
    assert not changes.holds
    # Each is counted in its own hour, and what was before the first of them is not.
    assert changes.outside_pilot == {ENDS[0]: 1, ENDS[1]: 1}


def test_outside_the_pilot_learners_have_no_state(home: Path) -> None:
    worked = {
        "learner_id": "ana",
        "course_id": COURSE,
        "first_activity_at": EARLY,
        "last_activity_at": EARLY,
        "known_at": on(0, "23:59"),
        "event_count": 9,
        "response_count": 9,
        "time_precision": "second",
    }
    opened, _ = decide(home, policy(pilot={"courses": ["physics"]}), days=[worked])
    assert not opened.tracker.changed
    opened, _ = decide(home, policy(), days=[worked])
    assert [who[0] for who in opened.tracker.spells] == ["ana"]


def test_rules_outside_the_pilot_are_off_but_for_safety() -> None:
    used = policy(pilot={"rules": ["inactive"]})
    assert set(used.enabled_rules()) == {"inactive", "safety_concern"}
    assert not set(policy().enabled_rules()) - set(policy().rules)


@pytest.mark.parametrize(
    ("pilot", "told"),
    [
        ("pilot: {rules: [inactve]}", "did you mean 'inactive'"),
        ("pilot: {courses: []}", "at least 1 item"),
        ("pilot: {coaches: [kim]}", "unknown key"),
    ],
)
def test_a_pilot_that_cannot_be_meant_is_an_error(pilot: str, told: str, tmp_path: Path) -> None:
    file = tmp_path / "policy.yml"
    file.write_text(f"{pilot}\n{default_policy_path().read_text()}")
    with pytest.raises(ConfigurationError, match=r"policy\.yml:1: ") as error:
        load_policy(file)
    assert told in str(error.value)


def test_safety_is_decided_even_when_its_feed_is_late(home: Path) -> None:
    concern = signal("ana", "inactive", 4, EARLY, layer="safety")
    silence = signal("ben", "inactive", 2, EARLY)
    opened, changes = decide(home, policy(), concern, silence, complete_until=on(-1))
    assert {key[0] for key in opened.state.alerts} == {"ana"}
    assert [hold.reason for hold in changes.holds.values()] == ["feed_late"]


def test_who_met_an_item_before_the_first_tick_counts_too(home: Path) -> None:
    def tries(at: datetime, start: int) -> list[ItemTry]:
        return [ItemTry(at, COURSE, "q7", f"l{n}", True) for n in range(start, start + 5)]

    met = Encounters(tries=[*tries(on(0, "08:00"), 0), *tries(LATE, 5)])
    _, changes = decide(home, policy(), encounters=met)
    (finding,) = changes.findings.values()
    assert (finding.since, finding.learners_met) == (ENDS[1], 10)
