"""What keeps alerts few, and what passes all of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import duckdb
import pytest
from builders import COURSE, Fold, days, hours, minutes, on, policy, recovery, signal

from tutorflow.decide.crowds import ItemTry
from tutorflow.decide.encounters import Encounters, load_encounters
from tutorflow.decide.episodes import Alert, RecoveryEvent, Signal, queue_order
from tutorflow.decide.said import Acknowledgement, AlertVerdict, Intervention
from tutorflow.decide.working_time import Coach
from tutorflow.policy import load_policy
from tutorflow.publish import render_queue
from tutorflow.publish.contract import table

MONDAY_10, NINE_THIRTY = on(0, "10:00"), on(0, "09:30")
TIGHT = policy(fatigue={"cohort_guard": {"share": 0.25, "learners": 20, "hours": 24}})


def crowd(
    count: int, rule: str = "inactive", tier: int = 2, at: datetime = NINE_THIRTY, start: int = 0
) -> list[Signal]:
    return [signal(f"l{n:02}", rule, tier, at) for n in range(start, start + count)]


def course_of(learners: int, **more: Any) -> Fold:
    """A programme on whose course so many learners are active."""
    known = {"active_learners": lambda course, at: learners}
    return Fold(policy=TIGHT, coach=Coach("kim", capacity_per_day=999), known=known, **more)


def opened(fold: Fold) -> int:
    return sum(alert.status != "closed" for alert in fold.state.alerts.values())


def held(fold: Fold, reason: str) -> int:
    return sum(hold.reason == reason for hold in fold.state.holds.values())


# -- the cohort guard ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fired", "active", "is_held"),
    [(5, 20, True), (4, 20, False), (5, 21, False), (5, 19, False), (10, 40, True)],
    ids=["a quarter", "fewer", "less than a quarter", "too few learners", "a quarter of more"],
)
def test_a_rule_that_a_quarter_of_the_course_fires_is_held(
    fired: int, active: int, is_held: bool
) -> None:
    fold = course_of(active).tick(MONDAY_10, *crowd(fired))
    assert opened(fold) == (0 if is_held else fired)
    assert held(fold, "cohort_guard") == (fired if is_held else 0)


def test_a_crowd_gathers_over_a_day_and_not_over_two() -> None:
    fold = course_of(20).tick(MONDAY_10, *crowd(4))
    assert opened(fold) == 4
    fold.tick(on(1, "09:25"), *crowd(1, at=on(1, "09:15"), start=4))
    assert (opened(fold), held(fold, "cohort_guard")) == (4, 1)
    other = course_of(20).tick(MONDAY_10, *crowd(4))
    other.tick(on(1, "10:00"), *crowd(1, at=on(1, "09:45"), start=4))
    assert opened(other) == 5


def test_other_rules_and_tier_4_pass_the_guard() -> None:
    others = [signal("zoe", "abandonment", 2, NINE_THIRTY), signal("yan", "inactive", 4)]
    fold = course_of(20).tick(MONDAY_10, *crowd(6), *others)
    assert fold.open_keys() == {("zoe", COURSE, "compliance"), ("yan", COURSE, "compliance")}


def test_what_the_ai_tutor_takes_care_of_neither_makes_a_crowd_nor_waits() -> None:
    fold = course_of(20).tick(MONDAY_10, *crowd(19, tier=1), *crowd(1, start=19))
    assert opened(fold) == 20
    both = course_of(20).tick(MONDAY_10, *crowd(5), *crowd(5, tier=1, start=5))
    assert (opened(both), held(both, "cohort_guard")) == (5, 5)


def test_the_same_learner_again_makes_no_crowd() -> None:
    again = [signal("ana", "inactive", 2, NINE_THIRTY + minutes(n)) for n in range(9)]
    assert opened(course_of(20).tick(MONDAY_10, *again)) == 1


def test_when_the_crowd_is_over_what_still_stands_is_opened() -> None:
    signals = crowd(5)
    fold = course_of(20).tick(MONDAY_10, *signals).tick(on(1, "09:00"))
    assert held(fold, "cohort_guard") == 5
    back = recovery("worked_session", "l01", on(1, "09:10"), None)
    fold.tick(on(1, "09:30"), back)  # a day after they fired
    assert (opened(fold), held(fold, "cohort_guard")) == (4, 0)
    assert [fold.became(s) for s in signals] == ["opened", "suppressed", *["opened"] * 3]
    assert fold.ledger("cohort_guard", "l00").release == "opened"
    assert fold.ledger("cohort_guard", "l01").release == "recovered"


def test_a_held_signal_joins_what_has_been_opened_meanwhile() -> None:
    fold = course_of(20).tick(MONDAY_10, *crowd(5))
    fold.tick(on(0, "11:00"), signal("l00", "abandonment", 2, on(0, "10:30")))
    fold.tick(on(1, "10:00"))
    assert fold.ledger("cohort_guard", "l00").release == "absorbed"
    assert fold.alert("l00", "compliance").rules == ["inactive", "abandonment"]


# -- fading ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("worked", "after", "status"),
    [(True, 7.0, "closed"), (True, 6.9, "open"), (False, 20.0, "open")],
    ids=["a week of work", "not yet", "no work since"],
)
def test_trouble_that_was_left_behind_fades(worked: bool, after: float, status: str) -> None:
    fold = Fold().tick(MONDAY_10, signal(at=NINE_THIRTY))
    if worked:
        fold.tick(on(1), recovery("worked_session", "ana", on(0, "15:00"), None))
    fold.tick(NINE_THIRTY + days(after))
    assert fold.alert().status == status
    assert fold.alert().close_reason == ("faded" if status == "closed" else None)


def test_a_new_signal_keeps_an_alert_open() -> None:
    fold = Fold().tick(MONDAY_10, signal(at=NINE_THIRTY))
    fold.tick(on(1), recovery("worked_session", "ana", on(0, "15:00"), None))
    fold.tick(on(5, "10:00"), signal(at=on(5, "09:30"), subject="ratios"))
    assert fold.tick(on(9)).alert().status == "open"


# -- the item guard --------------------------------------------------------------------------------


def tries(missed: int, solved: int, at: datetime = NINE_THIRTY, item: str = "q7") -> list[ItemTry]:
    return [ItemTry(at, COURSE, item, f"l{n:02}", n < missed) for n in range(missed + solved)]


@pytest.mark.parametrize(
    ("missed", "solved", "is_broken"),
    [(8, 2, True), (7, 3, False), (8, 1, False), (10, 0, True), (80, 21, False)],
)
def test_an_item_that_most_learners_miss_is_published(
    missed: int, solved: int, is_broken: bool
) -> None:
    fold = Fold().tick(MONDAY_10, tries=tries(missed, solved))
    assert bool(fold.state.findings) == is_broken
    if is_broken:
        (finding,) = fold.changes.findings.values()
        assert (finding.item_id, finding.since, finding.until) == ("q7", MONDAY_10, None)
        assert (finding.learners_met, finding.learners_concerned) == (missed + solved, missed)
        assert f"{missed} of the {missed + solved} learners" in finding.sentence


def about(item: str, learner: str = "ana") -> Signal:
    return signal(learner, at=NINE_THIRTY)._replace(subject_kind="item", subject_id=item)


def test_signals_about_a_broken_item_wait_until_it_is_mended() -> None:
    why, other = about("q7"), about("q8", "ben")
    fold = Fold().tick(MONDAY_10, why, other, tries=tries(9, 1))
    assert fold.open_keys() == {("ben", COURSE, "content")}
    assert fold.ledger("item_guard").item_id == "q7"
    mended = tries(0, 9, at=on(0, "20:00"))
    fold.tick(
        on(0, "21:00"), tries=[one._replace(learner_id=f"m{one.learner_id}") for one in mended]
    )
    assert fold.became(why) == "opened"
    assert fold.ledger("item_guard").release == "opened"
    (finding,) = fold.changes.findings.values()
    assert finding.until == on(0, "21:00")
    assert not fold.state.findings


def test_an_answer_to_a_broken_item_is_a_signal_about_it() -> None:
    items = {"event 1": "q7", "event 2": "q8"}
    fold = Fold(known={"item_of": items.get})
    one = signal("ana", at=NINE_THIRTY)._replace(anchor_id="event 1")
    other = signal("ben", at=NINE_THIRTY)._replace(anchor_id="event 2")
    fold.tick(MONDAY_10, one, other, tries=tries(9, 1))
    assert fold.open_keys() == {("ben", COURSE, "content")}


def test_a_finding_ends_when_nobody_has_met_the_item_for_a_day() -> None:
    fold = Fold().tick(MONDAY_10, tries=tries(10, 0)).tick(on(1, "09:00"))
    assert fold.state.findings
    fold.tick(on(1, "09:30"))
    assert not fold.state.findings


def test_who_missed_it_first_and_met_it_again_counts_once() -> None:
    again = [one._replace(is_missed=False, at=on(0, "09:40")) for one in tries(10, 0)]
    fold = Fold().tick(MONDAY_10, tries=[*tries(10, 0), *again])
    (finding,) = fold.changes.findings.values()
    assert (finding.learners_met, finding.learners_concerned) == (10, 10)


# -- already on it ---------------------------------------------------------------------------------


def contact(at: datetime, **which: Any) -> Fold:
    """A programme whose coach was in touch with everybody at an instant."""
    return Fold(known={"last_contact_at": lambda learner, course, now: at if at < now else None})


def test_a_new_alert_waits_while_somebody_is_on_it() -> None:
    fold = contact(on(0, "08:00")).tick(MONDAY_10, signal(at=NINE_THIRTY))
    assert fold.alert().status == "held"
    hold = fold.ledger("already_on_it")
    assert (hold.held_until, hold.alert_id) == (on(2, "08:00"), fold.alert().alert_id)
    assert fold.tick(on(2, "07:00")).alert().status == "held"
    fold.tick(on(2, "08:00"))
    assert (fold.alert().status, fold.alert().delivered_at) == ("open", on(2, "08:00"))
    assert fold.ledger("already_on_it").release == "delivered"


@pytest.mark.parametrize("tier", [1, 3, 4])
def test_other_tiers_do_not_wait(tier: int) -> None:
    fold = contact(on(0, "08:00")).tick(MONDAY_10, signal(tier=tier, at=NINE_THIRTY))
    assert fold.alert().delivered_at == MONDAY_10


def test_who_waits_and_rises_is_delivered_at_once() -> None:
    fold = contact(on(0, "08:00")).tick(MONDAY_10, signal(at=NINE_THIRTY))
    fold.tick(on(0, "11:00"), signal(rule="wheel_spinning", tier=3, at=on(0, "10:30")))
    assert (fold.alert().alert_tier, fold.alert().delivered_at) == (3, on(0, "11:00"))


def test_a_contact_of_two_days_ago_is_over() -> None:
    fold = contact(on(-2, "10:00")).tick(MONDAY_10, signal(at=NINE_THIRTY))
    assert fold.alert().status == "open"


@pytest.mark.parametrize(("course", "waits"), [(COURSE, True), (None, True), ("physics", False)])
def test_a_logged_intervention_counts_as_contact(course: str | None, waits: bool) -> None:
    helped = Intervention("n1", on(0, "09:00"), "kim", "ana", course, "worked example")
    fold = Fold().tick(MONDAY_10, signal(at=NINE_THIRTY), signal("ben"), said=[helped])
    assert (fold.alert().status == "held") == waits
    assert fold.alert("ben").status == "open"
    assert fold.tick(on(2, "09:00"), said=[helped]).alert().status == "open"


def test_what_waits_for_a_contact_may_wait_for_capacity_next() -> None:
    fold = contact(on(0, "08:00"))
    fold.coach = Coach("kim", capacity_per_day=1)
    fold.tick(MONDAY_10, signal("ana", at=NINE_THIRTY), signal("ben", at=NINE_THIRTY))
    fold.tick(on(2, "08:00"))
    last = [a for a in fold.state.alerts.values() if a.status == "held"]
    assert len(last) == 1
    assert fold.ledger("already_on_it", last[0].key[0]).release == "held_again_capacity"
    assert fold.ledger("capacity", last[0].key[0]).released_at is None


# -- what is only noted ----------------------------------------------------------------------------


def note(at: datetime, subject: str = "fractions") -> Signal:
    return signal(rule="wheel_spinning", tier=0, at=at, subject=subject, n=99, observed=99)


def test_a_note_alone_opens_nothing() -> None:
    seen = note(NINE_THIRTY)
    fold = Fold().tick(MONDAY_10, seen)
    assert not fold.state.alerts
    assert fold.became(seen) == "noted"
    assert not fold.changes.holds


def test_a_note_is_evidence_on_what_is_open_or_opens() -> None:
    early, late = note(on(0, "09:10")), note(on(0, "10:30"))
    fold = Fold().tick(MONDAY_10, early, signal(at=NINE_THIRTY)).tick(on(0, "11:00"), late)
    assert [fold.became(s) for s in (early, late)] == ["noted", "noted"]
    assert {e.signal.signal_id for e in fold.alert().evidence} >= {early.signal_id, late.signal_id}
    assert late in fold.changes.notes[fold.alert().alert_id].signals


def test_a_note_changes_neither_order_nor_confidence_and_keeps_nothing_open() -> None:
    plain = Fold().tick(MONDAY_10, signal(at=NINE_THIRTY))
    noted = Fold().tick(MONDAY_10, signal(at=NINE_THIRTY), note(on(0, "09:40")))
    one, other = plain.alert(), noted.alert()
    assert (one.priority, one.rules, one.last_signal_at) == (
        other.priority,
        other.rules,
        other.last_signal_at,
    )
    assert one.confidence(plain.policy) == other.confidence(noted.policy)
    noted.tick(on(0, "11:00"), recovery(at=on(0, "10:10")))
    assert noted.alert().close_reason == "recovered"


# -- safety ----------------------------------------------------------------------------------------


def concern(at: datetime = NINE_THIRTY, learner: str = "ana") -> Signal:
    return signal(learner, "repeated_misses", 4, at, layer="safety")


def safety(fold: Fold) -> Alert:
    return fold.alert(layer="safety")


def test_a_safety_concern_is_delivered_at_once_past_every_hold() -> None:
    fold = course_of(20)
    fold.coach = Coach("kim", capacity_per_day=1)
    fold.tick(MONDAY_10, *crowd(30, tier=3), *(concern(learner=f"l{n:02}") for n in range(9)))
    urgent = [a for a in fold.state.alerts.values() if a.is_safety]
    assert {a.delivered_at for a in urgent} == {MONDAY_10}
    assert len(urgent) == 9


@pytest.mark.parametrize("reason", ["paused (holiday)", "withdrawn on 2026-03-01"])
def test_a_safety_concern_of_somebody_who_is_left_alone_opens_and_stays(reason: str) -> None:
    fold = Fold(outside={"ana": [(on(-9), on(99), reason)]}).tick(MONDAY_10, concern())
    assert (
        fold.tick(on(0, "11:00")).tick(on(5)).state.alerts["ana", COURSE, "safety"].status == "open"
    )


def test_a_staff_account_has_no_safety_concern() -> None:
    fold = Fold(outside={"ana": [(on(-9), on(99), "staff account")]}).tick(MONDAY_10, concern())
    assert not fold.state.alerts


def test_a_safety_concern_is_never_too_late_nor_waits_for_a_feed() -> None:
    fold = Fold(complete_until=on(-30)).tick(on(30), concern(), held=[concern(learner="ben")])
    assert {key[0] for key in fold.open_keys()} == {"ana", "ben"}
    assert not fold.changes.holds


@pytest.mark.parametrize(
    "good_news",
    [
        recovery(at=on(0, "10:10"), run=9),
        recovery("worked_session", at=on(0, "10:10"), subject=None),
        recovery("by_person", at=on(0, "10:10"), subject=None),
    ],
)
def test_no_recovery_closes_a_safety_concern(good_news: RecoveryEvent) -> None:
    fold = Fold().tick(MONDAY_10, concern()).tick(on(0, "11:00"), good_news)
    assert safety(fold).status == "open"


def test_neither_late_events_nor_a_removed_rule_close_a_safety_concern() -> None:
    fold = Fold().tick(MONDAY_10, concern()).tick(on(0, "11:00"), unsupported=[concern()])
    fold.policy = policy(rules={"repeated_misses": None})
    assert safety(fold.tick(on(0, "12:00"))).status == "open"


def verdict(of: Alert, at: datetime, how: Any = "already_handled") -> AlertVerdict:
    return AlertVerdict(f"v{at}", at, "lea", of.alert_id, how)


def test_a_person_closes_it_and_the_next_concern_opens_anew() -> None:
    fold = Fold().tick(MONDAY_10, concern())
    first = safety(fold)
    fold.tick(on(0, "11:00"), said=[verdict(first, on(0, "10:40"))])
    assert (first.close_reason, first.acknowledged_by) == ("closed_by_person", "lea")
    fold.tick(on(0, "12:00"), concern(on(0, "11:30")))
    assert safety(fold).alert_id != first.alert_id
    assert safety(fold).delivered_at == on(0, "12:00")


# -- what people said ------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["useful", "not_actionable", "incorrectly_flagged"])
def test_a_verdict_closes_an_alert_and_the_same_trouble_cools_down(how: str) -> None:
    fold = Fold().tick(MONDAY_10, signal(at=NINE_THIRTY))
    alert = fold.alert()
    fold.tick(on(0, "11:00"), said=[verdict(alert, on(0, "10:40"), how)])
    assert (alert.status, alert.close_reason) == ("closed", "closed_by_person")
    again, worse = signal(at=on(0, "11:30")), signal(tier=3, at=on(0, "12:30"))
    fold.tick(on(0, "12:00"), again)
    assert fold.became(again) == "held"
    assert fold.ledger("cooldown").held_until == on(3, "11:00")
    fold.tick(on(0, "13:00"), worse)
    assert fold.became(worse) == "opened"


def test_what_is_said_about_a_closed_alert_changes_nothing() -> None:
    fold = Fold().tick(MONDAY_10, signal(at=NINE_THIRTY))
    alert = fold.alert()
    fold.tick(on(0, "11:00"), recovery(at=on(0, "10:10")))
    taken = Acknowledgement("a", on(0, "11:10"), "kim", alert.alert_id)
    fold.tick(on(0, "12:00"), said=[verdict(alert, on(0, "11:20")), taken])
    assert (alert.close_reason, alert.acknowledged_at) == ("recovered", None)


def test_a_verdict_on_a_held_alert_releases_it() -> None:
    fold = contact(on(0, "08:00")).tick(MONDAY_10, signal(at=NINE_THIRTY))
    fold.tick(on(0, "11:00"), said=[verdict(fold.alert(), on(0, "10:40"))])
    assert fold.ledger("already_on_it").release == "closed_by_person"
    assert not fold.state.holds


# -- a pause stops the clock of a silence ----------------------------------------------------------


def on_holiday(begin: datetime, end: datetime) -> Fold:
    """Everybody's silence stands still between two instants."""
    return Fold(
        outside={"ana": [(begin, end, "paused (holiday)")]},
        known={"resumes_at": lambda learner, course, at: end + (at - begin)},
    )


def test_a_silence_noticed_in_a_pause_is_flagged_when_its_clock_has_run_on() -> None:
    silent = signal(rule="inactive", at=on(4))
    fold = on_holiday(on(2), on(9)).tick(on(4, "01:00"), silent)
    hold = fold.ledger("out_of_scope")
    assert (fold.became(silent), hold.held_until) == ("held", on(11))
    assert not fold.tick(on(10)).open_keys()
    fold.tick(on(11))
    assert fold.became(silent) == "opened"
    assert fold.ledger("out_of_scope").release == "opened"


@pytest.mark.parametrize("back_on", [6, 10])
def test_who_comes_back_before_is_not_flagged(back_on: int) -> None:
    silent = signal(rule="inactive", at=on(4))
    fold = on_holiday(on(2), on(9)).tick(on(4, "01:00"), silent)
    back = recovery("returned", at=on(back_on, "10:00"), subject=None)
    fold.tick(on(back_on, "11:00"), back).tick(on(12))
    assert fold.became(silent) == "suppressed"
    assert fold.ledger("out_of_scope").release == "recovered"


def test_what_somebody_does_in_a_pause_is_nobody_s_business() -> None:
    why = signal(at=on(4))
    fold = on_holiday(on(2), on(9)).tick(on(4, "01:00"), why).tick(on(12))
    assert fold.became(why) == "suppressed"
    assert not fold.state.alerts


def test_who_leaves_during_a_pause_is_not_flagged_after_it() -> None:
    silent = signal(rule="inactive", at=on(4))
    fold = on_holiday(on(2), on(9)).tick(on(4, "01:00"), silent)
    fold.outside = {"ana": [(on(5), on(99), "withdrawn on 2026-03-07")]}
    fold.tick(on(6))
    assert fold.ledger("out_of_scope").release == "out_of_scope"


# -- the queue -------------------------------------------------------------------------------------


def test_alerts_of_one_learner_stand_together_where_the_most_needed_stands() -> None:
    fold = Fold()
    fold.tick(
        MONDAY_10,
        signal("ana", tier=2, at=NINE_THIRTY, observed=3),
        signal("ben", tier=2, at=NINE_THIRTY, observed=6),
        signal("ana", "inactive", 3, NINE_THIRTY),
    )
    order = [(a.key[0], a.key[2]) for a in queue_order(fold.state.alerts.values())]
    assert order == [("ana", "compliance"), ("ana", "content"), ("ben", "content")]
    assert queue_order(reversed(list(fold.state.alerts.values()))) == queue_order(
        fold.state.alerts.values()
    )


def test_an_empty_queue_still_has_its_columns() -> None:
    assert "is_first_of_learner" in table("coach_queue").columns
    assert render_queue(table("coach_queue").empty_frame())


# -- what the guards read --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def marts() -> Iterator[duckdb.DuckDBPyConnection]:
    """Events of two learners, days of thirty and answers of twelve, in a warehouse of their own."""
    uuid = "00000000-0000-0000-0000-0000000000{:02}".format
    connection = duckdb.connect()
    connection.execute("create schema marts")
    connection.execute(
        "create table marts.events (event_id varchar, learner_id uuid, course_id varchar, "
        "event_type varchar, actor varchar, known_at timestamp, occurred_at timestamp, "
        "due_at timestamp, session_id_of_source varchar, item_id varchar)"
    )
    connection.execute(
        "create table marts.learner_days (learner_id uuid, course_id varchar, activity_date date)"
    )
    connection.execute(
        "create table marts.responses (learner_id uuid, course_id varchar, item_id varchar, "
        "known_at timestamp, is_first_attempt boolean, is_correct boolean)"
    )
    events = [
        ("message_sent", "coach", on(0, "08:00"), None, None, None),
        ("message_sent", "ai_tutor", on(0, "09:00"), None, None, None),
        ("session_attended", "learner", on(1, "08:00"), None, "s0", None),
        ("session_scheduled", "coach", on(0, "07:00"), on(1, "15:00"), "s1", None),
        ("session_scheduled", "coach", on(0, "07:00"), on(2, "15:00"), "s2", None),
        ("session_cancelled", "learner", on(1, "10:00"), on(1, "15:00"), "s1", None),
        ("session_scheduled", "coach", on(1, "11:00"), on(3, "15:00"), "s2", None),  # moved
    ]
    for number, (kind, actor, at, due, session, item) in enumerate(events):
        row = (f"e{number}", uuid(1), COURSE, kind, actor, at, at, due, session, item)
        connection.execute("insert into marts.events values (?,?,?,?,?,?,?,?,?,?)", row)
    left = (
        "e9",
        uuid(12),
        COURSE,
        "item_abandoned",
        "learner",
        on(0, "09:00"),
        None,
        None,
        None,
        "q7",
    )
    connection.execute("insert into marts.events values (?,?,?,?,?,?,?,?,?,?)", left)
    for number in range(30):
        row = (uuid(number), COURSE, on(-14 if number < 20 else -15).date())
        connection.execute("insert into marts.learner_days values (?,?,?)", row)
    for number in range(1, 12):
        for item in ("q7", "q8"):
            row = (uuid(number), COURSE, item, on(0, "09:00"), True, item == "q8" or number == 1)
            connection.execute("insert into marts.responses values (?,?,?,?,?,?)", row)
    for number in range(1, 21):
        row = (uuid(number), COURSE, "q9", on(0, "10:00"), True, number > 12)
        connection.execute("insert into marts.responses values (?,?,?,?,?,?)", row)
    yield connection
    connection.close()


def met(marts: duckdb.DuckDBPyConnection) -> Encounters:
    ana = "00000000-0000-0000-0000-000000000001"
    return load_encounters(
        marts, load_policy(), "UTC", on(0), [on(1), on(2), on(3)], [ana], [COURSE]
    )


ANA = ("00000000-0000-0000-0000-000000000001", COURSE)


def test_contacts_are_those_of_people_known_before(marts: duckdb.DuckDBPyConnection) -> None:
    found = met(marts)
    assert found.last_contact_at(*ANA, on(0, "08:00")) is None
    assert found.last_contact_at(*ANA, on(0, "10:00")) == on(0, "08:00")
    assert found.last_contact_at(*ANA, on(2)) == on(1, "08:00")


def test_the_next_session_is_the_one_that_still_holds(marts: duckdb.DuckDBPyConnection) -> None:
    found = met(marts)
    assert found.next_session_at(*ANA, on(0, "07:00")) is None
    assert found.next_session_at(*ANA, on(0, "10:00")) == on(1, "15:00")
    assert found.next_session_at(*ANA, on(1, "10:30")) == on(2, "15:00")
    assert found.next_session_at(*ANA, on(1, "12:00")) == on(3, "15:00")


def test_the_size_of_a_course_is_that_of_the_last_two_weeks(
    marts: duckdb.DuckDBPyConnection,
) -> None:
    found = met(marts)
    assert found.active_learners(COURSE, on(0, "10:00")) == 20
    assert found.active_learners(COURSE, on(1, "00:00")) == 0
    assert found.active_learners("physics", on(0, "10:00")) == 0


def test_tries_are_read_of_items_that_most_who_met_them_missed(
    marts: duckdb.DuckDBPyConnection,
) -> None:
    found = met(marts).tries
    assert {one.item_id for one in found} == {"q7"}
    assert len(found) == 12
    assert sum(one.is_missed for one in found) == 11


def test_the_guard_lasts_a_day_from_the_moment_they_fired() -> None:
    fold = course_of(20)
    for hour in range(1, 30):
        end = on(0, "09:00") + hours(hour)
        fold.tick(end, *(s for s in crowd(5) if end - hours(1) <= s.fired_at < end))
    assert {a.opened_at for a in fold.state.alerts.values()} == {on(1, "10:00")}
