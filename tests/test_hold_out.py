"""A share of mild alerts waits by lot, so that there is somebody to compare the others with."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from builders import COURSE, Fold, days, hours, on, policy, recovery, signal
from fold_support import restarted

from tutorflow.decide.candidates import fit
from tutorflow.decide.episodes import EPOCH, Alert, Signal
from tutorflow.decide.exposures import exposures_at
from tutorflow.decide.hold_out import falls_on
from tutorflow.decide.ids import fraction
from tutorflow.decide.nudges import happened
from tutorflow.decide.said import Acknowledgement, AlertVerdict, Override
from tutorflow.decide.states import Spell
from tutorflow.decide.summaries import close_week
from tutorflow.decide.working_time import Coach
from tutorflow.policy.model import HoldOut, Policy
from tutorflow.publish import misfits
from tutorflow.settings import Settings

HALF = policy(hold_out={"share": 0.5})
TENTH = HoldOut(share=0.1)
LEARNERS = [f"learner {number}" for number in range(4000)]
MONDAY_10, NINE_THIRTY = on(0, "10:00"), on(0, "09:30")


def an_alert(
    learner: str, at: datetime = MONDAY_10, layer: str = "content", course: str = COURSE
) -> Alert:
    return Alert("alert", (learner, course, layer), 2, 2, at, "p")


def is_left_out(learner: str, **more: Any) -> bool:
    return falls_on(an_alert(learner, **more), HALF.hold_out)


OUT = next(learner for learner in LEARNERS if is_left_out(learner))
IN = next(learner for learner in LEARNERS if not is_left_out(learner))


def fold(used: Policy = HALF, **more: Any) -> Fold:
    return Fold(policy=used, **more)


def mild(learner: str = OUT, tier: int = 2, at: datetime = NINE_THIRTY, **more: Any) -> Signal:
    return signal(learner, tier=tier, at=at, **more)


def held(tier: int = 2, **more: Any) -> Fold:
    """The alert of somebody whom the lot leaves out on Monday at ten."""
    return fold(**more).tick(MONDAY_10, mild(tier=tier))


# -- the lot ---------------------------------------------------------------------------------------


def test_the_share_of_the_policy_is_left_out() -> None:
    drawn = sum(falls_on(an_alert(learner), TENTH) for learner in LEARNERS)
    assert 340 < drawn < 460  # 400, give or take three standard deviations
    assert not any(falls_on(an_alert(learner), HoldOut(share=0)) for learner in LEARNERS)


def test_alerts_of_one_round_share_the_lot_and_the_next_round_draws_again() -> None:
    first = EPOCH + days(28 * 733)
    for learner in LEARNERS[:100]:
        lots = {
            is_left_out(learner, at=at, layer=layer)
            for at in (first, first + days(13), first + days(28) - hours(1))
            for layer in ("content", "compliance")
        }
        assert len(lots) == 1
    again = [
        falls_on(an_alert(learner, first + days(28)), TENTH)
        for learner in LEARNERS
        if falls_on(an_alert(learner, first), TENTH)
    ]
    assert 0.05 < sum(again) / len(again) < 0.16
    other = [is_left_out(learner, course="physics") for learner in LEARNERS if is_left_out(learner)]
    assert 0.45 < sum(other) / len(other) < 0.55


def test_the_lot_says_nothing_about_that_of_a_nudge() -> None:
    drawn = [learner for learner in LEARNERS if falls_on(an_alert(learner), TENTH)]
    both = [one for one in drawn if fraction("held out", one, "first_step") < 0.1]
    assert 0.05 < len(both) / len(drawn) < 0.16


# -- who waits -------------------------------------------------------------------------------------


@pytest.mark.parametrize("tier", [1, 2])
def test_a_mild_alert_waits_and_the_ledger_says_why_and_until_when(tier: int) -> None:
    waiting = held(tier)
    alert = waiting.alert(OUT)
    assert (alert.status, alert.delivered_at, alert.due_at) == ("held", None, None)
    assert alert.held_out_at == MONDAY_10
    hold = waiting.ledger("held_out", OUT)
    assert (hold.held_until, hold.alert_id) == (on(7, "10:00"), alert.alert_id)
    assert "lot" in hold.detail


def test_whom_the_lot_does_not_leave_out_hears_at_once() -> None:
    assert fold().tick(MONDAY_10, mild(IN)).alert(IN).delivered_at == MONDAY_10


def test_a_share_of_nothing_and_a_tier_that_is_not_named_switch_it_off() -> None:
    assert held(used=policy()).alert(OUT).status == "open"
    only_ai = policy(hold_out={"share": 0.5, "tiers": [1]})
    assert held(used=only_ai).alert(OUT).status == "open"
    assert held(1, used=only_ai).alert(OUT).status == "held"


@pytest.mark.parametrize(
    "urgent",
    [
        mild(tier=3),
        mild(tier=4),
        mild(rule="safety_concern", tier=4),
        mild(rule="safety_concern", tier=2),
        mild(rule="help_requested"),
        mild(rule="help_requested", tier=1),
        mild(rule="manual_flag"),
        mild(rule="manual_flag", layer="content"),
    ],
    ids=lambda s: f"{s.rule_id} {s.alert_tier} {s.layer}",
)
def test_what_is_serious_and_what_somebody_asked_for_never_waits(urgent: Signal) -> None:
    told = fold().tick(MONDAY_10, urgent)
    assert told.alert(OUT, urgent.layer).delivered_at == MONDAY_10
    assert [hold.reason for hold in told.changes.holds.values()] == []


def test_who_waits_for_room_is_drawn_when_there_is_some() -> None:
    full = fold(coach=Coach("kim", capacity_per_day=1))
    full.tick(MONDAY_10, mild(IN, observed=6), mild(observed=3))
    assert full.alert(OUT).held_out_at is None
    assert full.ledger("capacity", OUT).released_at is None
    full.tick(on(1, "10:00"))
    assert full.alert(OUT).held_out_at == on(1, "10:00")
    assert full.ledger("capacity", OUT).release == "held_again_held_out"


def test_who_is_left_out_takes_nobodys_room() -> None:
    full = fold(coach=Coach("kim", capacity_per_day=1))
    full.tick(MONDAY_10, mild(observed=6), mild(IN, observed=3))
    assert full.alert(OUT).status == "held"
    assert full.alert(IN).delivered_at == MONDAY_10


def test_who_is_with_a_person_already_is_drawn_later() -> None:
    known = {"last_contact_at": lambda *_: on(0, "09:00")}
    waiting = fold(known=known).tick(MONDAY_10, mild())
    assert waiting.alert(OUT).held_out_at is None
    waiting.tick(on(2, "09:00"))
    assert waiting.alert(OUT).held_out_at == on(2, "09:00")


# -- until when ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("opens", "rises"), [(2, 3), (1, 3), (1, 2), (2, 4)])
def test_an_alert_that_rises_is_delivered_at_once(opens: int, rises: int) -> None:
    waiting = held(opens)
    waiting.tick(on(0, "12:00"), mild(tier=rises, at=on(0, "11:30"), subject="ratios"))
    alert = waiting.alert(OUT)
    assert (alert.status, alert.delivered_at, alert.delivered_tier) == (
        "open",
        on(0, "12:00"),
        rises,
    )
    assert waiting.ledger("held_out", OUT).release == "delivered"


def test_more_of_the_same_does_not_end_the_wait() -> None:
    waiting = held().tick(on(0, "12:00"), mild(at=on(0, "11:30"), subject="ratios"))
    assert waiting.alert(OUT).status == "held"
    assert waiting.ledger("held_out", OUT).held_until == on(7, "10:00")


def test_a_request_ends_the_wait() -> None:
    waiting = fold().tick(MONDAY_10, mild(rule="slow_responses"))
    asked = mild(rule="help_requested", at=on(0, "11:30"))
    waiting.tick(on(0, "12:00"), asked)
    assert waiting.alert(OUT, "confidence").delivered_at == on(0, "12:00")


def test_a_word_of_a_person_ends_the_wait() -> None:
    for number, make in enumerate(
        [
            lambda alert_id: Acknowledgement("n", on(0, "11:00"), "kim", alert_id),
            lambda alert_id: Override("n", on(0, "11:00"), "kim", alert_id, "I know her", "kim"),
            lambda alert_id: Override(
                "n", on(0, "11:00"), "kim", alert_id, "no need", alert_tier=1
            ),
        ]
    ):
        waiting = held()
        waiting.tick(on(0, "12:00"), said=[make(waiting.alert(OUT).alert_id)])
        assert waiting.alert(OUT).delivered_at == on(0, "12:00"), number


def test_a_verdict_closes_it() -> None:
    waiting = held()
    done = AlertVerdict("n", on(0, "11:00"), "kim", waiting.alert(OUT).alert_id, "already_handled")
    waiting.tick(on(0, "12:00"), said=[done])
    assert waiting.ledger("held_out", OUT).release == "closed_by_person"


def test_after_its_days_it_is_delivered_like_any_other() -> None:
    waiting = held()
    assert waiting.tick(on(7, "09:00")).alert(OUT).status == "held"
    alert = waiting.tick(on(7, "10:00")).alert(OUT)
    assert (alert.status, alert.delivered_at, alert.delivered_to) == (
        "open",
        on(7, "10:00"),
        "kim",
    )
    assert alert.due_at is not None
    assert waiting.ledger("held_out", OUT).release == "delivered"
    assert not waiting.state.holds


def test_what_recovers_meanwhile_closes_and_nobody_was_told() -> None:
    waiting = held().tick(on(1, "10:00"), recovery(learner=OUT, at=on(1, "09:00")))
    alert = waiting.alert(OUT)
    assert (alert.status, alert.close_reason, alert.delivered_at) == ("closed", "recovered", None)
    assert waiting.ledger("held_out", OUT).release == "recovered"


def test_what_re_opens_waits_for_the_rest_of_its_days_only() -> None:
    waiting = held().tick(on(1, "10:00"), recovery(learner=OUT, at=on(1, "09:00")))
    waiting.tick(on(2, "10:00"), mild(at=on(2, "09:00")))
    assert (waiting.alert(OUT).reopened_count, waiting.alert(OUT).status) == (1, "held")
    assert waiting.tick(on(7, "10:00")).alert(OUT).delivered_at == on(7, "10:00")


def test_a_policy_that_holds_nobody_out_any_more_lets_everybody_go() -> None:
    waiting = held()
    waiting.policy = policy()
    assert waiting.tick(on(0, "11:00")).alert(OUT).delivered_at == on(0, "11:00")


def test_a_restart_changes_nothing(tmp_path: Path) -> None:
    home = Settings(home=tmp_path)
    waiting = restarted(home, held(), on(1), MONDAY_10)
    assert waiting.tick(on(1)).alert(OUT).status == "held"
    waiting = restarted(home, waiting, on(7, "09:00"), MONDAY_10)
    assert waiting.tick(on(7, "10:00")).alert(OUT).delivered_at == on(7, "10:00")


# -- who is told in another way --------------------------------------------------------------------


def entered(of: Fold, at: datetime, learner: str = OUT) -> list[str]:
    """What a nudge may answer when somebody is stuck since that tick."""
    stuck = [((learner, COURSE), Spell("stuck", at, ""))]
    return [t.kind for t in happened(at, of.state, sorted(of.changes.touched), stuck)]


def test_the_ai_tutor_hears_of_it_when_it_is_delivered() -> None:
    assert entered(fold().tick(MONDAY_10, mild(IN, 1)), MONDAY_10, IN) == ["rule", "state"]
    waiting = held(1)
    assert entered(waiting, MONDAY_10) == []
    assert entered(waiting.tick(on(7, "10:00")), on(7, "10:00")) == ["rule", "state"]


def test_other_trouble_of_the_learner_is_answered() -> None:
    assert entered(held(1).tick(on(1), mild(tier=3, rule="inactive")), on(1)) == ["state"]


def test_the_weeks_summary_is_silent_about_it() -> None:
    told = close_week(on(0).date(), on(7), "UTC", held().state, HALF)
    assert told.alerts == {}
    assert list(close_week(on(0).date(), on(8), "UTC", held().tick(on(8)).state, HALF).alerts)


# -- the rows it is measured by --------------------------------------------------------------------


def rows(of: Fold, at: datetime) -> list[dict[str, Any]]:
    """The exposures of the tick; each has to fit the published table."""
    found = exposures_at(at, of.state.alerts.values(), of.policy)
    assert misfits("exposures", fit("exposures", found)) == []
    return found


def lot_of(row: dict[str, Any]) -> tuple[Any, ...]:
    return row["arm"], row["audience"], row["is_eligible"], row["propensity"]


@pytest.mark.parametrize(("tier", "audience"), [(1, "ai_tutor"), (2, "coach")])
def test_both_arms_have_a_row_of_the_tick_that_would_deliver(tier: int, audience: str) -> None:
    told = fold(policy(hold_out={"share": 0.4}))
    out = next(one for one in LEARNERS if falls_on(an_alert(one), told.policy.hold_out))
    told.tick(MONDAY_10, mild(IN, tier), mild(out, tier))
    arms = {row["learner_id"]: lot_of(row) for row in rows(told, MONDAY_10)}
    assert arms == {
        IN: ("treated", audience, True, 0.6),
        out: ("held_out", "nobody", True, 0.6),
    }


def test_what_is_delivered_after_its_days_is_no_case_of_the_lot_again() -> None:
    waiting = held().tick(on(7, "10:00"))
    (late,) = rows(waiting, on(7, "10:00"))
    assert lot_of(late) == ("treated", "coach", False, None)
    assert late["coach_id"] == "kim"


def test_what_rises_out_of_the_ai_loop_is_no_case_of_the_lot_again() -> None:
    told = fold().tick(MONDAY_10, mild(IN, 1))
    told.tick(on(0, "12:00"), mild(IN, 2, at=on(0, "11:30"), subject="ratios"))
    (risen,) = rows(told, on(0, "12:00"))
    assert lot_of(risen) == ("treated", "coach", False, None)
    only_people = policy(hold_out={"share": 0.5, "tiers": [2]})
    waiting = held(1, used=only_people)
    waiting.tick(on(0, "12:00"), mild(tier=2, at=on(0, "11:30"), subject="ratios"))
    (drawn,) = rows(waiting, on(0, "12:00"))  # nobody drew a lot for the AI tutor
    assert lot_of(drawn) == ("held_out", "nobody", True, 0.5)


@pytest.mark.parametrize(
    "sure", [mild(IN, 3), mild(IN, rule="manual_flag"), mild(IN, 4, rule="safety_concern")]
)
def test_where_nobody_could_be_held_out_no_lot_is_drawn(sure: Signal) -> None:
    (row,) = rows(fold().tick(MONDAY_10, sure), MONDAY_10)
    assert lot_of(row) == ("treated", "coach", False, None)


def test_without_a_share_no_lot_is_drawn() -> None:
    (row,) = rows(held(used=policy()), MONDAY_10)
    assert lot_of(row) == ("treated", "coach", False, None)
