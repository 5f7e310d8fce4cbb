"""The fold over time: few, explained, routed alerts, and a ledger of everything held back."""

from __future__ import annotations

import copy
import random
from collections import Counter
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest
from builders import COURSE, DAY_0, Fold, hours, minutes, on, policy, recovery, signal
from fold_support import commit, restarted
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tutorflow.decide.episodes import Alert, Evidence, RecoveryEvent, Signal, queue_key
from tutorflow.decide.working_time import Coach
from tutorflow.publish import read_table
from tutorflow.settings import load_settings

MONDAY_10 = on(0, "10:00")
NINE_THIRTY = on(0, "09:30")


# -- opening, absorbing, rising --------------------------------------------------------------------


def test_a_signal_opens_an_alert_that_says_why() -> None:
    why = signal(at=NINE_THIRTY)
    fold = Fold().tick(MONDAY_10, why)
    alert = fold.alert()
    assert (alert.status, alert.alert_tier, alert.opened_at) == ("open", 2, MONDAY_10)
    assert [e.signal for e in alert.evidence] == [why]
    assert fold.became(why) == "opened"


def test_it_is_routed_and_due() -> None:
    alert = Fold().tick(MONDAY_10, signal(at=NINE_THIRTY)).alert()
    assert (alert.owner_role, alert.channel, alert.coach_id) == ("tutor", "message", "kim")
    assert (alert.delivered_at, alert.delivered_to) == (MONDAY_10, "kim")
    assert alert.due_at == on(1, "10:00")


def test_the_alert_id_follows_from_learner_course_layer_and_tick() -> None:
    def id_of(at: datetime, why: Signal) -> str:
        return Fold().tick(at, why).alert(why.learner_id, why.layer).alert_id

    first = id_of(MONDAY_10, signal(at=NINE_THIRTY))
    assert id_of(MONDAY_10, signal("ana", "wheel_spinning", tier=3, at=on(0, "09:45"))) == first
    assert id_of(MONDAY_10, signal("ben", at=NINE_THIRTY)) != first
    assert id_of(MONDAY_10, signal(rule="inactive", at=NINE_THIRTY)) != first
    assert id_of(on(0, "11:00"), signal(at=NINE_THIRTY)) != first


def test_tier_1_stays_with_the_ai() -> None:
    why = signal(tier=1, at=NINE_THIRTY)
    alert = Fold().tick(MONDAY_10, why).alert()
    assert (alert.owner_role, alert.coach_id, alert.due_at) == ("ai_tutor", None, None)
    assert alert.delivered_at == MONDAY_10
    assert Fold().tick(MONDAY_10, why).became(why) == "ai_loop"


def test_signals_of_one_tick_and_layer_open_one_alert() -> None:
    first, second = signal(tier=1, at=NINE_THIRTY), signal(tier=3, subject="ratios", at=NINE_THIRTY)
    fold = Fold().tick(MONDAY_10, first, second)
    assert fold.alert().alert_tier == 3
    assert fold.alert().subjects == ["fractions", "ratios"]
    assert fold.changes.opened[MONDAY_10] == 1


def test_each_layer_has_its_own_alert() -> None:
    fold = Fold().tick(MONDAY_10, signal(at=NINE_THIRTY), signal(rule="inactive", at=NINE_THIRTY))
    assert fold.open_keys() == {("ana", COURSE, "content"), ("ana", COURSE, "compliance")}


def test_an_open_alert_absorbs_what_comes_later() -> None:
    later = signal(rule="wheel_spinning", at=on(0, "10:30"))
    fold = Fold().tick(MONDAY_10, signal(at=NINE_THIRTY)).tick(on(0, "11:00"), later)
    assert fold.became(later) == "absorbed"
    assert fold.alert().rules == ["repeated_misses", "wheel_spinning"]
    assert fold.alert().opened_at == MONDAY_10
    assert fold.changes.opened.total() == 1


def test_the_same_signal_counts_once() -> None:
    why = signal(at=NINE_THIRTY)
    fold = Fold().tick(MONDAY_10, why).tick(on(0, "11:00"), why)
    assert len(fold.alert().evidence) == 1


def test_a_higher_tier_raises_an_open_alert_and_is_due_anew() -> None:
    fold = Fold().tick(MONDAY_10, signal(at=NINE_THIRTY))
    fold.tick(on(0, "11:00"), signal(rule="wheel_spinning", tier=3, at=on(0, "10:30")))
    alert = fold.alert()
    assert (alert.opening_tier, alert.alert_tier, alert.risen_at) == (2, 3, on(0, "11:00"))
    assert (alert.channel, alert.due_at) == ("live_session", on(0, "17:00"))
    assert alert.delivered_at == MONDAY_10


def test_a_lower_tier_changes_neither_tier_nor_due_time() -> None:
    fold = Fold().tick(MONDAY_10, signal(tier=3, at=NINE_THIRTY))
    before = fold.alert().due_at
    fold.tick(on(0, "11:00"), signal(tier=1, subject="ratios", at=on(0, "10:30")))
    assert (fold.alert().alert_tier, fold.alert().due_at) == (3, before)


def test_an_alert_of_the_ai_that_rises_is_delivered_to_a_coach() -> None:
    fold = Fold().tick(MONDAY_10, signal(tier=1, at=NINE_THIRTY))
    fold.tick(on(0, "11:00"), signal(tier=2, at=on(0, "10:30")))
    alert = fold.alert()
    assert (alert.delivered_at, alert.delivered_tier) == (on(0, "11:00"), 2)
    assert (alert.coach_id, alert.due_at) == ("kim", on(1, "11:00"))


def test_confidence_rests_on_agreeing_rules_and_observations() -> None:
    used = policy()
    alone = Fold().tick(MONDAY_10, signal(n=4, at=NINE_THIRTY)).alert()
    enough = Fold().tick(MONDAY_10, signal(n=5, at=NINE_THIRTY)).alert()
    both = (
        Fold()
        .tick(MONDAY_10, signal(at=NINE_THIRTY), signal(rule="wheel_spinning", at=NINE_THIRTY))
        .alert()
    )
    assert alone.confidence(used) == ("low", "1 signal agrees, n = 4")
    assert enough.confidence(used)[0] == "medium"
    assert both.confidence(used) == ("high", "2 signals agree, n = 10")


# -- closing ---------------------------------------------------------------------------------------


def test_two_unaided_correct_answers_on_the_skill_close_it() -> None:
    fold = Fold().tick(MONDAY_10, signal(at=NINE_THIRTY))
    fold.tick(on(0, "11:00"), recovery(run=1, at=on(0, "10:10")))
    assert fold.alert().status == "open"
    fold.tick(on(0, "12:00"), recovery(run=2, at=on(0, "11:10")))
    alert = fold.alert()
    assert (alert.status, alert.close_reason) == ("closed", "recovered")
    assert alert.closed_at == on(0, "12:00")
    assert alert.evidence[0].recovered_at == on(0, "11:10")
    assert fold.changes.closed[on(0, "12:00")] == 1


@pytest.mark.parametrize(
    "other",
    [
        recovery(subject="ratios", at=on(0, "10:10")),
        recovery(learner="ben", at=on(0, "10:10")),
        recovery(kind="worked_session", subject=None, at=on(0, "10:10")),
        recovery(kind="items_without_signal", subject="repeated_misses", at=on(0, "10:10")),
        recovery(at=on(0, "09:20")),
        recovery(at=NINE_THIRTY),
    ],
    ids=["another skill", "another learner", "a session", "items", "before", "at that instant"],
)
def test_other_good_news_does_not_close_it(other: RecoveryEvent) -> None:
    fold = Fold().tick(MONDAY_10, signal(at=NINE_THIRTY)).tick(on(0, "11:00"), other)
    assert fold.alert().status == "open"


def test_every_signal_must_have_recovered() -> None:
    fold = Fold().tick(MONDAY_10, signal(at=NINE_THIRTY), signal(subject="ratios", at=NINE_THIRTY))
    fold.tick(on(0, "11:00"), recovery(subject="fractions", at=on(0, "10:10")))
    assert fold.alert().status == "open"
    fold.tick(on(0, "12:00"), recovery(subject="ratios", at=on(0, "11:10")))
    assert fold.alert().status == "closed"


def test_a_signal_after_the_recovery_keeps_it_open() -> None:
    fold = Fold().tick(MONDAY_10, signal(at=NINE_THIRTY))
    fold.tick(on(0, "11:00"), recovery(at=on(0, "10:10")), signal(at=on(0, "10:20")))
    assert fold.alert().status == "open"
    assert fold.changes.opened.total() == 1


def test_a_session_begun_before_the_silence_was_noticed_does_not_close_it() -> None:
    back = {"kind": "worked_session", "subject": None, "at": on(0, "10:40")}
    fold = Fold().tick(MONDAY_10, signal(rule="inactive", at=NINE_THIRTY))
    fold.tick(on(0, "11:00"), recovery(since=on(0, "09:20"), **back))
    assert fold.alert(layer="compliance").status == "open"
    fold.tick(on(0, "12:00"), recovery(since=on(0, "10:20"), **{**back, "at": on(0, "11:40")}))
    assert fold.alert(layer="compliance").status == "closed"


def test_items_without_the_signal_close_the_rule_they_speak_of() -> None:
    quiet = {"kind": "items_without_signal", "run": 5, "at": on(0, "10:10")}
    fold = Fold().tick(MONDAY_10, signal(rule="rapid_guessing", at=NINE_THIRTY))
    fold.tick(on(0, "11:00"), recovery(subject="slow_responses", **quiet))
    assert fold.alert(layer="confidence").status == "open"
    fold.tick(on(0, "12:00"), recovery(subject="rapid_guessing", **{**quiet, "at": on(0, "11:10")}))
    assert fold.alert(layer="confidence").status == "closed"


def test_trouble_and_recovery_within_one_tick_open_nothing() -> None:
    why = signal(at=NINE_THIRTY)
    fold = Fold().tick(MONDAY_10, why, recovery(at=on(0, "09:50")))
    assert not fold.state.alerts
    assert fold.became(why) == "suppressed"
    assert fold.ledger("already_recovered").released_at == MONDAY_10


def test_evidence_undone_by_late_events_closes_it() -> None:
    why = signal(at=NINE_THIRTY)
    fold = Fold().tick(MONDAY_10, why).tick(on(0, "11:00"), unsupported=[why])
    assert fold.alert().close_reason == "no_longer_supported"


def test_evidence_undone_earlier_counts_as_settled() -> None:
    one, other = signal(at=NINE_THIRTY), signal(subject="ratios", at=NINE_THIRTY)
    fold = Fold().tick(MONDAY_10, one, other).tick(on(0, "11:00"), unsupported=[one])
    assert fold.alert().status == "open"
    fold.tick(on(0, "12:00"), recovery(subject="ratios", at=on(0, "11:10")))
    assert fold.alert().close_reason == "recovered"


def test_evidence_undone_bit_by_bit_has_not_recovered() -> None:
    one, other = signal(at=NINE_THIRTY), signal(subject="ratios", at=NINE_THIRTY)
    fold = Fold().tick(MONDAY_10, one, other)
    fold.tick(on(0, "11:00"), unsupported=[one]).tick(on(0, "12:00"), unsupported=[other])
    assert fold.alert().close_reason == "no_longer_supported"
    assert [e.undone_at for e in fold.alert().evidence] == [on(0, "11:00"), on(0, "12:00")]
    assert [e.recovered_at for e in fold.alert().evidence] == [None, None]


def test_an_open_alert_keeps_the_recovery_it_opened_with() -> None:
    fold = Fold().tick(MONDAY_10, signal(at=NINE_THIRTY))
    fold.policy = policy(recovery={"content": {"unaided_correct": 5}})
    fold.tick(on(0, "11:00"), signal(subject="ratios", at=on(0, "10:30")))
    fold.tick(on(0, "12:00"), recovery(run=2, at=on(0, "11:10")))
    first, second = fold.alert().evidence
    assert first.recovered_at == on(0, "11:10")
    fold.tick(on(0, "13:00"), recovery(subject="ratios", run=4, at=on(0, "12:10")))
    assert second.recovered_at is None
    fold.tick(on(0, "14:00"), recovery(subject="ratios", run=5, at=on(0, "13:10")))
    assert fold.alert().close_reason == "recovered"


def test_a_removed_rule_closes_its_alerts() -> None:
    fold = Fold().tick(MONDAY_10, signal(at=NINE_THIRTY))
    fold.policy = policy(rules={"repeated_misses": None})
    assert fold.tick(on(0, "11:00")).alert().close_reason == "rule_retired"


def test_a_disabled_rule_closes_its_alerts_too() -> None:
    fold = Fold().tick(MONDAY_10, signal(at=NINE_THIRTY))
    fold.policy = policy(rules={"repeated_misses": {"enabled": False}})
    assert fold.tick(on(0, "11:00")).alert().close_reason == "rule_retired"


def test_a_removed_rule_does_not_keep_an_alert_open() -> None:
    fold = Fold().tick(
        MONDAY_10, signal(at=NINE_THIRTY), signal(rule="wheel_spinning", at=NINE_THIRTY)
    )
    fold.policy = policy(rules={"repeated_misses": None})
    assert fold.tick(on(0, "11:00")).alert().status == "open"
    fold.tick(on(0, "12:00"), recovery(at=on(0, "11:10")))
    assert fold.alert().close_reason == "recovered"


def test_a_learner_who_withdraws_needs_nobody_any_more() -> None:
    left = (on(0, "10:30"), on(99), "withdrawn on 2026-03-02")
    fold = Fold(outside={"ana": [left]}).tick(MONDAY_10, signal(at=NINE_THIRTY))
    assert fold.tick(on(0, "11:00")).alert().close_reason == "withdrawn"


def test_a_pause_keeps_an_open_alert() -> None:
    away = (on(0, "10:30"), on(7), "paused (holiday)")
    fold = Fold(outside={"ana": [away]}).tick(MONDAY_10, signal(at=NINE_THIRTY))
    assert fold.tick(on(0, "11:00")).alert().status == "open"


# -- closed and again ------------------------------------------------------------------------------


def recovered_at_noon(**opened: object) -> Fold:
    """An alert of ana on fractions that closed on Monday at 12:00."""
    fold = Fold(policy=policy(cooldown_hours={"content": 96}))
    fold.tick(MONDAY_10, signal(at=NINE_THIRTY, **opened))  # type: ignore[arg-type]
    fold.tick(on(0, "12:00"), recovery(at=on(0, "11:10")))
    assert fold.alert().status == "closed"
    return fold


def test_within_the_grace_the_same_alert_reopens() -> None:
    fold = recovered_at_noon()
    again = signal(at=on(2, "11:30"))
    before = fold.alert().alert_id
    fold.tick(on(2, "12:00"), again)  # 48 hours to the minute
    alert = fold.alert()
    assert (alert.alert_id, alert.status, alert.reopened_count) == (before, "open", 1)
    assert (alert.closed_at, alert.close_reason) == (None, None)
    assert alert.due_at == on(3, "12:00")
    assert fold.became(again) == "reopened"


def test_it_may_reopen_at_a_higher_tier() -> None:
    fold = recovered_at_noon().tick(on(1, "12:00"), signal(tier=3, at=on(1, "11:30")))
    assert (fold.alert().alert_tier, fold.alert().risen_at) == (3, on(1, "12:00"))
    assert fold.alert().due_at == on(1, "17:00")


def test_after_the_grace_the_cooldown_holds_the_same_trouble_back() -> None:
    fold = recovered_at_noon()
    again = signal(at=on(2, "12:30"))
    fold.tick(on(2, "13:00"), again)
    assert fold.alert().status == "closed"
    assert fold.became(again) == "held"
    hold = fold.ledger("cooldown")
    assert (hold.held_at, hold.held_until) == (on(2, "13:00"), on(4, "12:00"))
    assert (hold.signal_id, hold.released_at) == (again.signal_id, None)


def test_a_cooldown_that_has_run_out_opens_a_new_episode() -> None:
    fold = recovered_at_noon()
    again = signal(at=on(2, "12:30"))
    first = fold.alert().alert_id
    fold.tick(on(2, "13:00"), again).tick(on(4, "11:00"))
    assert not fold.open_keys()
    fold.tick(on(4, "12:00"))
    assert fold.alert().alert_id != first
    assert fold.became(again) == "opened"
    assert fold.ledger("cooldown").release == "opened"
    assert not fold.state.holds


def test_trouble_that_recovers_during_the_cooldown_opens_nothing() -> None:
    fold = recovered_at_noon()
    again = signal(at=on(2, "12:30"))
    fold.tick(on(2, "13:00"), again).tick(on(3), recovery(at=on(2, "20:00"))).tick(on(5))
    assert not fold.open_keys()
    assert fold.ledger("cooldown").release == "recovered"
    assert fold.became(again) == "suppressed"


def test_a_higher_tier_breaks_the_cooldown_and_takes_the_held_with_it() -> None:
    fold = recovered_at_noon()
    mild, severe = signal(at=on(2, "12:30")), signal(tier=3, at=on(2, "13:30"))
    fold.tick(on(2, "13:00"), mild).tick(on(2, "14:00"), severe)
    assert fold.became(severe) == "opened"
    fold.tick(on(2, "15:00"))
    assert fold.became(mild) == "absorbed"
    assert fold.ledger("cooldown").release == "absorbed"
    assert len(fold.alert().evidence) == 2


def test_the_cooldown_is_that_of_the_rule_that_fired() -> None:
    quick = policy(rules={"wheel_spinning": {"cooldown_hours": 50}}, cooldown_hours={"content": 96})
    fold = recovered_at_noon()
    fold.policy = quick
    fold.tick(on(2, "14:00"), signal(rule="wheel_spinning", at=on(2, "13:30")))
    assert fold.open_keys()


def test_an_alert_that_did_not_recover_leaves_no_cooldown() -> None:
    why = signal(at=NINE_THIRTY)
    fold = Fold().tick(MONDAY_10, why).tick(on(0, "11:00"), unsupported=[why])
    first = fold.alert().alert_id
    fold.tick(on(0, "12:00"), signal(at=on(0, "11:30")))
    assert fold.alert().alert_id != first
    assert fold.alert().status == "open"


# -- capacity --------------------------------------------------------------------------------------


def crowd(count: int, tier: int = 2, at: datetime = NINE_THIRTY, **same: object) -> list[Signal]:
    return [signal(learner=f"l{n:02}-{tier}", tier=tier, at=at, **same) for n in range(count)]  # type: ignore[arg-type]


def delivered(fold: Fold, at: datetime) -> Counter[int]:
    return Counter(a.alert_tier for a in fold.state.alerts.values() if a.delivered_at == at)


def test_a_coach_gets_eight_new_alerts_a_day_a_quarter_of_them_reserved_for_tier_3() -> None:
    fold = Fold().tick(MONDAY_10, *crowd(20))
    assert delivered(fold, MONDAY_10) == {2: 6}
    fold.tick(on(0, "11:00"), *crowd(5, tier=3, at=on(0, "10:30")))
    assert delivered(fold, on(0, "11:00")) == {3: 2}
    assert sum(a.status == "held" for a in fold.state.alerts.values()) == 17


def test_tier_3_may_take_the_whole_day() -> None:
    fold = Fold().tick(MONDAY_10, *crowd(20, tier=3), *crowd(5))
    assert delivered(fold, MONDAY_10) == {3: 8}


def test_tier_1_takes_no_capacity() -> None:
    fold = Fold().tick(MONDAY_10, *crowd(20, tier=1), *crowd(6))
    assert delivered(fold, MONDAY_10) == {1: 20, 2: 6}


def test_tier_4_is_never_held_for_capacity() -> None:
    fold = Fold().tick(MONDAY_10, *crowd(20, tier=3), *crowd(9, tier=4))
    assert delivered(fold, MONDAY_10) == {3: 8, 4: 9}


def test_the_most_needed_are_delivered_first() -> None:
    mild, severe = crowd(10), crowd(2, tier=3)
    fold = Fold(coach=Coach("kim", capacity_per_day=4)).tick(MONDAY_10, *mild, *severe)
    assert delivered(fold, MONDAY_10) == {3: 2, 2: 2}


def test_what_is_held_is_in_the_ledger_and_delivered_the_next_day() -> None:
    fold = Fold(coach=Coach("kim", capacity_per_day=1)).tick(MONDAY_10, *crowd(2))
    (held,) = [a for a in fold.state.alerts.values() if a.status == "held"]
    assert (held.delivered_at, held.due_at) == (None, None)
    hold = fold.ledger("capacity", held.key[0])
    assert (hold.alert_id, hold.released_at) == (held.alert_id, None)
    fold.tick(on(0, "23:00"))
    assert held.status == "held"
    fold.tick(on(1))
    assert (held.status, held.delivered_at, held.due_at) == ("open", on(1), on(2, "09:00"))
    assert fold.ledger("capacity", held.key[0]).release == "delivered"
    assert not fold.state.holds


def test_a_day_is_the_coach_s_own() -> None:
    coach = Coach("kim", capacity_per_day=1, timezone="America/New_York")
    fold = Fold(coach=coach).tick(MONDAY_10, *crowd(2)).tick(on(1, "04:00"))
    assert delivered(fold, on(1, "04:00")) == {}
    assert delivered(fold.tick(on(1, "05:00")), on(1, "05:00")) == {2: 1}


def test_a_delivered_alert_is_never_displaced() -> None:
    fold = Fold(coach=Coach("kim", capacity_per_day=1)).tick(MONDAY_10, *crowd(1))
    fold.tick(on(0, "11:00"), *crowd(1, tier=3, at=on(0, "10:30")))
    assert fold.alert("l00-2").status == "open"
    assert fold.alert("l00-3").status == "held"


def test_a_held_alert_that_recovers_is_never_shown() -> None:
    fold = Fold(coach=Coach("kim", capacity_per_day=1)).tick(MONDAY_10, *crowd(2))
    (held,) = [a for a in fold.state.alerts.values() if a.status == "held"]
    fold.tick(on(0, "11:00"), recovery(learner=held.key[0], at=on(0, "10:30")))
    assert (held.status, held.delivered_at) == ("closed", None)
    assert fold.ledger("capacity", held.key[0]).release == "recovered"


def test_each_coach_has_their_own_capacity() -> None:
    coaches = {"l00-2": Coach("kim", capacity_per_day=1), "l01-2": Coach("lea", capacity_per_day=1)}
    fold = Fold(coach_of=lambda learner, *_: coaches[learner]).tick(MONDAY_10, *crowd(2))
    assert delivered(fold, MONDAY_10) == {2: 2}
    assert {a.delivered_to for a in fold.state.alerts.values()} == {"kim", "lea"}


# -- what is not decided now -----------------------------------------------------------------------


def test_a_signal_that_comes_to_light_after_a_week_is_too_late() -> None:
    late, just = signal(at=on(0, "09:59")), signal(learner="ben", at=MONDAY_10)
    fold = Fold().tick(on(7, "10:00"), late, just)
    assert fold.became(late) == "suppressed"
    assert fold.ledger("too_late").detail
    assert fold.became(just) == "opened"


@pytest.mark.parametrize("reason", ["staff account", "paused (holiday)", "withdrawn on 2026-03-01"])
def test_who_is_left_alone_gets_no_alert(reason: str) -> None:
    why = signal(at=NINE_THIRTY)
    fold = Fold(outside={"ana": [(on(0), on(9), reason)]}).tick(MONDAY_10, why)
    assert not fold.state.alerts
    assert fold.ledger("out_of_scope").detail == reason
    assert fold.became(why) == "suppressed"


def test_a_late_feed_opens_no_inactivity_alert() -> None:
    silent = signal(rule="inactive", at=NINE_THIRTY)
    fold = Fold(complete_until=on(0, "09:00")).tick(MONDAY_10, held=[silent])
    assert not fold.state.alerts
    assert fold.ledger("feed_late").released_at is None


def test_when_the_feed_comes_the_held_signal_is_decided() -> None:
    silent = signal(rule="inactive", at=NINE_THIRTY)
    fold = Fold(complete_until=on(0, "09:00")).tick(MONDAY_10, held=[silent]).tick(on(0, "11:00"))
    fold.complete_until = on(0, "12:00")
    fold.tick(on(0, "12:00"), silent)
    assert fold.became(silent) == "opened"
    hold = fold.ledger("feed_late")
    assert (hold.held_at, hold.released_at, hold.release) == (
        MONDAY_10,
        on(0, "12:00"),
        "decided",
    )


def test_when_the_feed_shows_activity_the_held_signal_goes() -> None:
    silent = signal(rule="inactive", at=NINE_THIRTY)
    fold = Fold(complete_until=on(0, "09:00")).tick(MONDAY_10, held=[silent])
    fold.complete_until = on(0, "12:00")
    fold.tick(on(0, "12:00"))
    assert fold.ledger("feed_late").release == "no_longer_supported"
    assert not fold.state.alerts
    assert not fold.state.holds


def test_a_feed_that_stays_away_for_a_week_gives_the_signal_up_once() -> None:
    silent = signal(rule="inactive", at=NINE_THIRTY)
    fold = Fold(complete_until=on(0, "09:00")).tick(MONDAY_10, held=[silent])
    fold.tick(on(7, "09:00"))
    assert fold.ledger("feed_late").released_at is None
    fold.tick(on(7, "10:00"))
    assert fold.ledger("feed_late").release == "too_late"
    assert fold.became(silent) == "suppressed"
    fold.complete_until = on(9)
    fold.tick(on(8), silent)
    assert fold.became(silent) == "suppressed"
    assert not fold.state.alerts


# -- whatever happens ------------------------------------------------------------------------------

RULES = ["repeated_misses", "wheel_spinning", "rapid_guessing", "inactive", "abandonment"]
KINDS = ["unaided_correct", "items_without_signal", "worked_session", "finished_session"]
LEARNERS = ["ana", "ben", "cem", "dua", "eli", "fay"]

Stream = list[Signal | RecoveryEvent]


def random_stream(chance: random.Random) -> Stream:
    """Two weeks of signals and recoveries of six learners, many of them on a few busy days."""
    events: Stream = []
    seen = set()
    busy = [chance.randrange(14) for _ in range(5)]
    for _ in range(chance.randint(1, 120)):
        at = DAY_0 + minutes(15 * chance.randrange(24 * 4)) + hours(24 * chance.choice(busy))
        who = chance.choice(LEARNERS)
        if chance.random() < 0.5:
            rule = chance.choice(RULES)
            tier = chance.choice([1, 2, 2, 2, 3, 3, 4])
            some = signal(who, rule, tier, at, chance.choice(["fractions", "ratios"]))
            if some.signal_id not in seen:
                seen.add(some.signal_id)
                events.append(some)
        else:
            kind = chance.choice(KINDS)
            about = {"unaided_correct": ["fractions", "ratios"], "items_without_signal": RULES}
            subject = chance.choice(about.get(kind, [None]))
            events.append(recovery(kind, who, at, subject, chance.randint(1, 5), at - minutes(20)))
    return events


streams = st.integers(0, 2**32).map(lambda seed: random_stream(random.Random(seed)))


def at_of(event: Signal | RecoveryEvent) -> datetime:
    return event.fired_at if isinstance(event, Signal) else event.at


def by_tick(events: Stream) -> list[tuple[datetime, Stream]]:
    """Sixteen days in ticks of six hours, each with the events of ``[as_of - 6 h, as_of)``."""
    ticks = [DAY_0 + hours(6 * n) for n in range(1, 65)]
    return [(end, [e for e in events if end - hours(6) <= at_of(e) < end]) for end in ticks]


SMALL = policy(
    reopen_grace_hours=12,
    cooldown_hours={"content": 120, "confidence": 120, "compliance": 120},
    capacity={"reserved_share_for_tier_3": 0.4},
)


def small_programme() -> Fold:
    """One coach for three new alerts a day (two of tier 2); one learner pauses, one leaves."""
    return Fold(
        policy=SMALL,
        coach=Coach("kim", capacity_per_day=3),
        outside={
            "eli": [(on(3), on(6), "paused (holiday)")],
            "fay": [(on(8), on(99), "withdrawn")],
        },
    )


def run(events: Stream) -> Fold:
    fold = small_programme()
    for end, some in by_tick(events):
        fold.tick(end, *some)
        check_invariants(fold, end)
    return fold


def check_invariants(fold: Fold, now: datetime) -> None:
    alerts = fold.changes.alerts.values()
    still_open = Counter(a.key for a in alerts if a.status != "closed")
    assert all(count == 1 for count in still_open.values()), "two open alerts for one layer"
    assert all(a.evidence for a in alerts), "an alert without evidence"
    assert all((a.status == "closed") == (a.closed_at is not None) for a in alerts)
    assert all((a.delivered_at is None) == (a.status == "held") for a in alerts if not a.closed_at)
    took = [a for a in alerts if a.delivered_at is not None and a.delivered_tier in (2, 3)]
    a_day = Counter(fold.coach.local_date(a.delivered_at or now) for a in took)
    of_tier_2 = Counter(
        fold.coach.local_date(a.delivered_at or now) for a in took if a.delivered_tier == 2
    )
    assert all(count <= 3 for count in a_day.values()), "capacity exceeded"
    assert all(count <= 2 for count in of_tier_2.values()), "nothing left for tier 3"
    held = {h.alert_id for h in fold.state.holds.values() if h.reason == "capacity"}
    assert held == {a.alert_id for a in alerts if a.status == "held"}
    assert all(h.released_at is None for h in fold.state.holds.values())
    assert all(a.opened_at <= now for a in alerts)


FEW = examples(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@FEW
@given(streams)
def test_every_signal_ends_in_exactly_one_way_or_waits_in_the_ledger(events: Stream) -> None:
    fold = run(events)
    signals = {e.signal_id: e for e in events if isinstance(e, Signal)}
    became = {s: (d[2], d[3]) for s, d in fold.changes.dispositions.items()}
    assert set(became) == set(signals)
    evidence = Counter(
        (e.signal.signal_id, a.alert_id) for a in fold.changes.alerts.values() for e in a.evidence
    )
    assert set(evidence.values()) <= {1}
    on_alerts = dict(evidence.keys())
    waiting = {h.signal_id for h in fold.state.holds.values() if h.reason == "cooldown"}
    for signal_id, (disposition, alert_id) in became.items():
        if disposition in ("opened", "absorbed", "reopened", "ai_loop"):
            assert on_alerts[signal_id] == alert_id
        else:
            assert alert_id is None
            assert signal_id not in on_alerts
            assert (disposition == "held") == (signal_id in waiting)
    suppressed = {h.signal_id for h in fold.changes.holds.values() if h.released_at and h.signal_id}
    assert {s for s, (d, _) in became.items() if d == "suppressed"} <= suppressed


def outcome(fold: Fold) -> dict[str, object]:
    """Everything that would be published."""
    changes = fold.changes
    return {
        "alerts": {
            a.alert_id: (
                a.key,
                a.alert_tier,
                a.status,
                a.opened_at,
                a.delivered_at,
                a.delivered_tier,
                a.due_at,
                a.closed_at,
                a.close_reason,
                a.reopened_count,
                a.risen_at,
                a.priority,
                {e.signal.signal_id: e.recovered_at for e in a.evidence},
            )
            for a in changes.alerts.values()
        },
        "signals": {s: (d[1], d[2], d[3]) for s, d in changes.dispositions.items()},
        "holds": changes.holds,
        "opened": +changes.opened,
        "closed": +changes.closed,
    }


@FEW
@given(streams, st.randoms(use_true_random=False))
def test_the_order_of_the_input_changes_nothing(events: Stream, chance: random.Random) -> None:
    shuffled = chance.sample(events, len(events))
    one, other = run(events), run(shuffled)
    assert outcome(one) == outcome(other)
    queue = [a.alert_id for a in sorted(one.state.alerts.values(), key=queue_key)]
    assert queue == [a.alert_id for a in sorted(other.state.alerts.values(), key=queue_key)]


@FEW
@given(streams, st.integers(1, 60))
def test_carrying_the_state_over_equals_running_in_one_go(events: Stream, cut: int) -> None:
    """The second run starts from a copy of the state, with empty changes, as after a restart."""
    whole = run(events)
    ticks = by_tick(events)
    first = small_programme()
    for end, some in ticks[:cut]:
        first.tick(end, *some)
    second = replace(small_programme(), state=copy.deepcopy(first.state))
    for end, some in ticks[cut:]:
        second.tick(end, *some)
    joined = {
        name: {**before, **after} if isinstance(before, dict) else after  # type: ignore[dict-item]
        for (name, before), after in zip(
            outcome(first).items(), outcome(second).values(), strict=True
        )
    }
    expected = outcome(whole)
    for name in ("alerts", "signals", "holds"):
        assert joined[name] == expected[name]


@pytest.mark.parametrize("seed", [52])
def test_a_restart_out_of_the_serving_database_changes_nothing(seed: int, tmp_path: Path) -> None:
    events = random_stream(random.Random(seed))
    homes = []
    for restart_every in (None, 7):
        folder = tmp_path / str(restart_every)
        folder.mkdir()
        (folder / "tutorflow.yml").write_text("sources: []\n")
        homes.append(load_settings(folder))
        fold = small_programme()
        for number, (end, some) in enumerate(by_tick(events)):
            if restart_every and number % restart_every == 0:
                fold = restarted(homes[-1], fold, end - hours(6), DAY_0)
            fold.tick(end, *some)
        commit(homes[-1], fold)
    for name in ("alerts", "alert_evidence", "signals", "suppressions"):
        one, other = (read_table(home, name) for home in homes)
        assert len(one) > 0
        pd.testing.assert_frame_equal(one, other)


def test_the_queue_does_not_depend_on_the_machine_s_time_zone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import time

    def order() -> list[str]:
        fold = Fold()
        # 02:30 does not exist on that day in Berlin
        fold.tick(datetime(2026, 3, 29, 4), signal("ana", at=datetime(2026, 3, 29, 2, 30)))
        fold.tick(datetime(2026, 3, 29, 5), signal("ben", at=datetime(2026, 3, 29, 3)))
        queue: list[Alert] = sorted(fold.state.alerts.values(), key=queue_key)
        return [alert.key[0] for alert in queue]

    found = []
    for zone in ("UTC", "Europe/Berlin"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        found.append(order())
    monkeypatch.undo()
    time.tzset()
    assert found == [["ben", "ana"], ["ben", "ana"]]


@given(st.permutations(range(5)))
def test_evidence_that_comes_later_counts_as_if_it_had_always_been_there(order: list[int]) -> None:
    kinds = [
        ("repeated_misses", 2, "fractions"),
        ("hint_overuse", 0, "fractions"),
        ("repeated_misses", 2, "ratios"),
        ("inactive", 3, ""),
        ("hint_overuse", 1, "decimals"),
    ]
    found = [
        Evidence(signal(rule=rule, tier=tier, subject=subject, at=DAY_0 + hours(n), observed=n))
        for n, (rule, tier, subject) in enumerate(kinds)
    ]
    names = ("last_signal_at", "standing", "signals", "rules", "subjects", "severity")
    first = 0 if found[order[0]].is_note else order[0]
    grown = Alert("a", ("ana", COURSE, "content"), 2, 2, DAY_0, "p", evidence=[found[first]])
    for place in order:
        said = [getattr(grown, name) for name in names]
        assert all(said[1:3])
        if place != first:
            grown.add([found[place]])
    whole = replace(grown, evidence=list(grown.evidence))
    assert len(whole.evidence) == len(found)
    for name in names:
        assert getattr(grown, name) == getattr(whole, name), name
