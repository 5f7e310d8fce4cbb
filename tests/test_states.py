"""Learner states: one label, entered at once when it is urgent, left only when it has stood."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from builders import COURSE, Fold, days, hours, on, policy, recovery, signal

from tutorflow.decide.states import Fact, StateTracker
from tutorflow.decide.ticks import OpenState

ANA = ("ana", COURSE)
NOON = on(0, "12:00")


def fact(at: datetime, **known: Any) -> Fact:
    return Fact(at, *ANA, **known)


def working(at: datetime = NOON, accuracy: float = 0.7) -> Fact:
    """Enough answers and days to be judged."""
    return fact(at, response_count=40, active_days=6, accuracy_of_last_20=accuracy)


class Programme:
    """Ana's states, judged tick by tick."""

    def __init__(self, *known: Fact) -> None:
        self.tracker = StateTracker(policy())
        self.fold = Fold()
        self.pause: tuple[datetime, datetime, str] | None = None
        for some in known:
            self.tracker.learn(some)

    def tick(self, at: datetime, *facts: Fact, touched: bool = False) -> Programme:
        self.tracker.advance(at, facts, [ANA] if touched else [], self.fold.state, self.outside)
        return self

    def outside(self, learner: str, course: str, at: datetime) -> str | None:
        if self.pause is None or not self.pause[0] <= at < self.pause[1]:
            return None
        return self.pause[2]

    def trouble(self, at: datetime, **which: Any) -> Programme:
        """An alert opens at a tick, and the state follows."""
        self.fold.tick(at, signal(at=at - hours(0.5), **which))
        return self.tick(at, touched=True)

    def recovered(self, at: datetime, **how: Any) -> Programme:
        self.fold.tick(at, recovery(at=at - hours(0.5), **how))
        return self.tick(at, touched=True)

    @property
    def state(self) -> str | None:
        spell = self.tracker.spells.get(ANA)
        return spell.state if spell else None

    @property
    def history(self) -> list[tuple[str, datetime, datetime | None]]:
        spells = sorted(self.tracker.changed.values(), key=lambda spell: spell.since)
        return [(spell.state, spell.since, spell.until) for spell in spells]


@pytest.mark.parametrize(
    ("known", "state"),
    [
        ({}, "not_started"),
        ({"response_count": 0, "active_days": 0}, "not_started"),
        ({"response_count": 3}, "insufficient_data"),
        ({"response_count": 9, "active_days": 2}, "insufficient_data"),
        ({"response_count": 10, "active_days": 1}, "on_track"),
        ({"active_days": 3}, "on_track"),
        ({"response_count": 20, "accuracy_of_last_20": 0.85}, "thriving"),
        ({"response_count": 20, "accuracy_of_last_20": 0.84}, "on_track"),
        ({"response_count": 19, "accuracy_of_last_20": 1.0}, "on_track"),
    ],
)
def test_without_an_alert_the_state_follows_from_the_facts(
    known: dict[str, Any], state: str
) -> None:
    assert Programme().tick(NOON, fact(on(0), **known)).state == state


def test_facts_add_up_over_time() -> None:
    ana = Programme(fact(on(-2), response_count=15), fact(on(-1), active_days=3))
    ana.tick(NOON, fact(on(0), accuracy_of_last_20=0.9, response_count=20))
    assert ana.state == "thriving"
    assert ana.tracker.facts[ANA].active_days == 3


@pytest.mark.parametrize(
    ("rule", "state"),
    [("repeated_misses", "stuck"), ("rapid_guessing", "stuck"), ("inactive", "drifting")],
)
def test_trouble_is_entered_at_once(rule: str, state: str) -> None:
    ana = Programme(working()).tick(NOON, touched=True)
    assert ana.state == "on_track"
    assert ana.trouble(NOON + hours(1), rule=rule).state == state
    assert ana.history[0] == ("on_track", NOON, NOON + hours(1))


def test_content_trouble_comes_before_absence() -> None:
    ana = Programme(working()).trouble(NOON, rule="inactive")
    assert ana.trouble(NOON + hours(1), rule="repeated_misses").state == "stuck"


def test_a_better_state_is_entered_only_after_the_dwell_time() -> None:
    ana = Programme(working()).trouble(NOON)
    ana.recovered(NOON + hours(5))
    assert ana.state == "stuck"
    ana.tick(NOON + hours(23))
    assert ana.state == "stuck"
    ana.tick(NOON + hours(24))
    assert ana.state == "recovering"


def test_recovering_lasts_three_days_and_ends_by_itself() -> None:
    ana = Programme(working()).trouble(NOON).recovered(NOON + days(2))
    assert ana.state == "recovering"
    ana.tick(NOON + days(5) - hours(1))
    assert ana.state == "recovering"
    ana.tick(NOON + days(5))
    assert ana.state == "on_track"


def test_trouble_during_recovery_is_entered_at_once() -> None:
    ana = Programme(working()).trouble(NOON).recovered(NOON + days(2))
    assert ana.trouble(NOON + days(2) + hours(1)).state == "stuck"


def worked(at: datetime) -> dict[str, Any]:
    """A session of real work that was over at an instant, begun an hour before."""
    return {"kind": "worked_session", "subject": None, "since": at - hours(1)}


def test_who_works_again_while_an_alert_is_open_is_recovering() -> None:
    ana = Programme(working()).trouble(NOON)
    ana.recovered(NOON + days(1), **worked(NOON + days(1)))
    assert ana.fold.alert().status == "open"
    assert ana.state == "recovering"
    assert ana.history[-1][1] == NOON + days(1)


def test_a_session_begun_before_the_trouble_is_no_resumption() -> None:
    ana = Programme(working()).trouble(NOON)
    ana.recovered(NOON + days(1), kind="worked_session", subject=None, since=NOON - hours(1))
    assert ana.state == "stuck"


def test_new_trouble_after_resuming_is_stuck_again_at_once() -> None:
    ana = Programme(working()).trouble(NOON)
    ana.recovered(NOON + days(1), **worked(NOON + days(1)))
    assert ana.trouble(NOON + days(1) + hours(2), subject="ratios").state == "stuck"


def test_an_alert_closed_for_another_reason_is_no_recovery() -> None:
    ana = Programme(working())
    why = signal(at=NOON - hours(1))
    ana.fold.tick(NOON, why)
    ana.tick(NOON, touched=True)
    ana.fold.tick(NOON + days(2), unsupported=[why])
    assert ana.tick(NOON + days(2), touched=True).state == "on_track"


def test_a_state_that_does_not_change_keeps_its_beginning() -> None:
    ana = Programme(working()).tick(NOON, touched=True).tick(NOON + days(3), working(on(3)))
    assert ana.history == [("on_track", NOON, None)]


def test_states_do_not_flicker() -> None:
    ana = Programme(working(accuracy=0.84)).tick(NOON, touched=True)
    for hour in range(1, 24):
        ana.tick(NOON + hours(hour), working(NOON, accuracy=0.85 if hour % 2 else 0.84))
    assert [state for state, _, _ in ana.history] == ["on_track"]


def test_a_better_state_waits_for_the_dwell_time_without_further_events() -> None:
    ana = Programme(working(accuracy=0.7)).tick(NOON, touched=True)
    ana.tick(NOON + hours(1), working(NOON, accuracy=0.9))
    assert ana.state == "on_track"
    ana.tick(NOON + hours(24))
    assert ana.state == "thriving"


def test_a_pause_is_entered_and_left_at_once_when_the_calendar_says_so() -> None:
    ana = Programme(working()).tick(NOON, touched=True)
    ana.pause = (NOON, NOON + days(7), "paused (holiday)")
    ana.tick(NOON + hours(1), touched=True)
    assert ana.state == "paused"
    ana.tick(NOON + days(6), touched=True)
    assert ana.state == "paused"
    ana.tick(NOON + days(7), touched=True)
    assert ana.state == "on_track"


def test_a_short_pause_is_left_when_it_is_over() -> None:
    ana = Programme(working()).tick(NOON, touched=True)
    ana.pause = (NOON, NOON + hours(3), "paused (excused)")
    ana.tick(NOON + hours(1), touched=True)
    assert ana.tick(NOON + hours(3), touched=True).state == "on_track"


def test_trouble_is_not_told_of_a_learner_on_pause() -> None:
    ana = Programme(working()).trouble(NOON)
    ana.pause = (NOON, NOON + days(7), "paused (holiday)")
    assert ana.tick(NOON + hours(1), touched=True).state == "paused"
    assert ana.tick(NOON + days(7), touched=True).state == "stuck"


@pytest.mark.parametrize("reason", ["withdrawn on 2026-03-01", "staff account"])
def test_who_left_has_no_state_any_more(reason: str) -> None:
    ana = Programme(working()).tick(NOON, touched=True)
    ana.pause = (NOON, NOON + days(99), reason)
    ana.tick(NOON + hours(1), touched=True)
    assert ana.state is None
    assert ana.history == [("on_track", NOON, NOON + hours(1))]


def test_nobody_is_judged_who_was_not_touched() -> None:
    tracker = StateTracker(policy())
    tracker.advance(NOON, [], [], OpenState(), lambda *_: None)
    assert not tracker.spells
    assert not tracker.changed


def test_spells_follow_each_other_without_gap_or_overlap() -> None:
    ana = Programme().tick(NOON, fact(NOON))
    steps: list[Callable[[datetime], object]] = [
        lambda at: ana.tick(at, fact(at, response_count=5, active_days=1)),
        lambda at: ana.tick(at, working(at)),
        lambda at: ana.trouble(at),
        lambda at: ana.recovered(at),
        lambda at: ana.trouble(at, rule="inactive", subject=""),
        lambda at: ana.recovered(at, kind="worked_session", subject=None),
        lambda at: ana.tick(at),
        lambda at: ana.tick(at),
    ]
    for number, step in enumerate(steps, start=1):
        step(NOON + days(2 * number))
    states, begins, ends = zip(*ana.history, strict=True)
    assert states == (
        "not_started",
        "insufficient_data",
        "on_track",
        "stuck",
        "recovering",
        "drifting",
        "recovering",
        "on_track",
    )
    assert ends[:-1] == begins[1:]
    assert ends[-1] is None
