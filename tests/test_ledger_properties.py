"""Whatever happens: nothing is lost, nothing is told twice, and a restart changes nothing."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path

import pandas as pd
import pytest
from builders import COURSE, DAY_0, Fold, days, hours, minutes, on, policy, recovery, signal
from fold_support import TABLES, commit, restarted
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from tutorflow.decide.crowds import ItemTry
from tutorflow.decide.episodes import RecoveryEvent, Signal, queue_order
from tutorflow.decide.exposures import exposures_at
from tutorflow.decide.said import Acknowledgement, AlertVerdict, InboxNote, Intervention, Override
from tutorflow.decide.working_time import Coach
from tutorflow.publish import read_table
from tutorflow.settings import load_settings

LEARNERS = ["ana", "ben", "cem", "dua", "eli", "fay"]
RULES = ["repeated_misses", "wheel_spinning", "rapid_guessing", "inactive", "abandonment"]
ITEMS = ["q1", "q2"]
TICK = hours(6)
# Small numbers, so that six learners meet every guard in two weeks.
SMALL = policy(
    reopen_grace_hours=12,
    cooldown_hours={"content": 60, "confidence": 60, "compliance": 60},
    capacity={"reserved_share_for_tier_3": 0.4},
    fatigue={
        "cohort_guard": {"share": 0.5, "learners": 6, "hours": 24},
        "item_guard": {"share": 0.6, "learners": 3, "hours": 24},
        "already_on_it_hours": 30,
    },
    hold_out={"share": 0.5, "days": 2},
)
COACHES = {"kim": Coach("kim", capacity_per_day=2), "max": Coach("max", capacity_per_day=2)}


@dataclass
class Story:
    """Two weeks of everything that can happen to six learners."""

    events: list[Signal | RecoveryEvent] = field(default_factory=list)
    tries: list[ItemTry] = field(default_factory=list)
    contacts: dict[str, list[datetime]] = field(default_factory=dict)
    # what is said of an alert that is open at the time: (at, which of them, what)
    said: list[tuple[datetime, int, str]] = field(default_factory=list)


def story(seed: int) -> Story:
    chance = random.Random(seed)
    told = Story()
    busy = [chance.randrange(14) for _ in range(4)]
    ids = set()

    def moment() -> datetime:
        return DAY_0 + hours(24 * chance.choice(busy)) + minutes(15 * chance.randrange(96))

    for _ in range(chance.randint(20, 110)):
        at, who = moment(), chance.choice(LEARNERS)
        if chance.random() < 0.6:
            tier, layer = chance.choice([0, 1, 2, 2, 2, 3, 4]), None
            if tier == 4 and chance.random() < 0.5:
                layer = "safety"
            about = chance.choice(["fractions", "ratios"])
            some = signal(who, chance.choice(RULES), tier, at, about, layer=layer)
            if chance.random() < 0.2:
                some = some._replace(subject_kind="item", subject_id=chance.choice(ITEMS))
            if some.signal_id not in ids:
                ids.add(some.signal_id)
                told.events.append(some)
        else:
            kind, subject = chance.choice(
                [("unaided_correct", "fractions"), ("unaided_correct", "ratios"),
                 ("items_without_signal", "rapid_guessing"), ("worked_session", None),
                 ("finished_session", None), ("returned", None)]
            )  # fmt: skip
            run, since = chance.randint(1, 5), at - minutes(20)
            told.events.append(recovery(kind, who, at, subject, run, since))
    for _ in range(chance.randint(0, 40)):
        who, item = chance.choice(LEARNERS), chance.choice(ITEMS)
        told.tries.append(ItemTry(moment(), COURSE, item, who, chance.random() < 0.7))
    for _ in range(chance.randint(0, 5)):
        told.contacts.setdefault(chance.choice(LEARNERS), []).append(moment())
    for _ in range(chance.randint(0, 10)):
        what = chance.choice(["taken on", "done", "tier", "coach", "helped"])
        told.said.append((moment(), chance.randrange(100), what))
    return told


stories = st.integers(0, 2**32).map(story)


def programme(told: Story) -> Fold:
    """Two coaches; one learner pauses, one leaves, one is an account of the staff."""

    def last_contact(learner: str, course: str, at: datetime) -> datetime | None:
        return max((c for c in told.contacts.get(learner, ()) if c < at), default=None)

    return Fold(
        policy=SMALL,
        coach=COACHES["kim"],
        outside={
            "dua": [(on(0), on(99), "staff account")],
            "eli": [(on(3), on(6), "paused (holiday)")],
            "fay": [(on(8), on(99), "withdrawn on 2026-03-10")],
        },
        known={
            "active_learners": lambda course, at: len(LEARNERS),
            "last_contact_at": last_contact,
            "resumes_at": lambda learner, course, at: on(6) + (at - on(3)),
            "coach_named": COACHES.get,
        },
    )


def notes(told: Story, fold: Fold, begin: datetime, end: datetime) -> list[InboxNote]:
    """What is said in a tick, of alerts that are open then; contacts of before are said again."""
    there = sorted(a.alert_id for a in fold.state.alerts.values() if a.status != "closed")
    found: list[InboxNote] = []
    for number, (at, pick, what) in enumerate(told.said):
        note = (f"n{number}", at, "lea")
        if what == "helped" and at < end:
            found.append(Intervention(*note, LEARNERS[pick % 6], COURSE))
        elif begin <= at < end and there:
            alert_id = there[pick % len(there)]
            if what == "taken on":
                found.append(Acknowledgement(*note, alert_id))
            elif what == "done":
                found.append(AlertVerdict(*note, alert_id, "already_handled"))
            elif what == "tier":
                found.append(Override(*note, alert_id, "why", alert_tier=1 + pick % 3))
            elif what == "coach":
                found.append(Override(*note, alert_id, "why", coach_id="max"))
    return found


def play(
    told: Story,
    before_tick: Callable[[Fold, int, datetime], Fold] = lambda fold, *_: fold,
    in_one_window: bool = False,
) -> Fold:
    """The story in ticks of six hours; the invariants hold after each of them.

    ``in_one_window``: after the first tick, only the alerts of the agenda are looked at.
    """
    fold = programme(told)
    for number in range(64):
        begin = DAY_0 + number * TICK
        end = begin + TICK
        fold = before_tick(fold, number, begin)
        fold.tick(
            end,
            *(e for e in told.events if begin <= at_of(e) < end),
            said=notes(told, fold, begin, end),
            tries=[one for one in told.tries if begin <= one.at < end],
            leaving=[("fay", COURSE)] * (begin < on(8) <= end)
            if in_one_window and number
            else None,
        )
        check(fold, end)
    return fold


def at_of(event: Signal | RecoveryEvent) -> datetime:
    return event.fired_at if isinstance(event, Signal) else event.at


def check(fold: Fold, now: datetime) -> None:
    alerts = [*fold.state.alerts.values()]
    changed = fold.changes.alerts.values()
    still_open = Counter(a.key for a in changed if a.status != "closed")
    assert all(count == 1 for count in still_open.values()), "two open alerts of one identity"
    assert all(a.standing for a in changed), "an alert without evidence"
    assert all((a.status == "closed") == (a.closed_at is not None) for a in changed)
    assert all((a.delivered_at is None) == (a.status == "held") for a in alerts if not a.closed_at)
    assert not any(a.status == "held" for a in alerts if a.is_urgent), "a safety concern held"
    for (coach, day, _), _ in fold.state.delivered.items():
        taken = [fold.state.delivered[coach, day, tier] for tier in (2, 3)]
        assert sum(taken) <= COACHES[coach].capacity_per_day, "capacity exceeded"
    holds = fold.state.holds.values()
    assert all(hold.released_at is None for hold in holds)
    assert {h.alert_id for h in holds if h.alert_id} == {
        a.alert_id for a in alerts if a.status == "held"
    }
    assert {h.signal_id for h in holds if h.signal_id} == set(fold.state.waiting)
    left_out = [a for a in alerts if a.alert_id in fold.state.held_out()]
    assert all(a.alert_tier <= 2 and not a.is_safety for a in left_out), "a serious one left out"
    assert all(a.held_out_at and now - a.held_out_at < days(2) for a in left_out), "out for ever"
    assert not any(a.overridden_at or a.acknowledged_at for a in left_out), (
        "against a person's word"
    )
    ledger = {i for i, hold in fold.changes.holds.items() if hold.released_at is None}
    assert ledger <= set(fold.state.holds), "the ledger says held, the state does not"
    assert {f.item_id for f in fold.state.findings.values()} <= set(ITEMS)
    assert all(a.opened_at <= now for a in changed)


FEW = examples(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@FEW
@given(stories)
def test_every_signal_has_exactly_one_disposition(told: Story) -> None:
    fold = play(told)
    became = {i: (d[2], d[3]) for i, d in fold.changes.dispositions.items()}
    assert set(became) == {e.signal_id for e in told.events if isinstance(e, Signal)}
    ways = ("opened", "absorbed", "reopened", "held", "suppressed", "ai_loop", "noted")
    counts = Counter(way for way, _ in became.values())
    assert set(counts) <= set(ways)
    assert counts.total() == sum(fold.changes.decided.values())
    evidence = Counter(
        (e.signal.signal_id, a.alert_id) for a in fold.changes.alerts.values() for e in a.evidence
    )
    assert set(evidence.values()) <= {1}
    on_alerts = dict(evidence.keys())
    for signal_id, (way, alert_id) in became.items():
        assert on_alerts.get(signal_id) == alert_id
        if way in ("opened", "absorbed", "reopened", "ai_loop"):
            assert alert_id is not None
        assert (way == "held") == (signal_id in fold.state.waiting)
    released = {h.signal_id for h in fold.changes.holds.values() if h.released_at}
    assert {i for i, (way, _) in became.items() if way == "suppressed"} <= released


@FEW
@given(stories)
def test_every_delivery_has_a_row_and_chance_decides_once_per_alert_at_most(told: Story) -> None:
    rows = []

    def collect(fold: Fold, number: int, begin: datetime) -> Fold:
        rows.extend(exposures_at(begin, fold.state.alerts.values(), SMALL))
        return fold

    fold = play(told, collect)
    drawn = Counter(row["alert_id"] for row in rows if row["is_eligible"])
    assert set(drawn.values()) <= {1}
    assert all(row["is_eligible"] == (row["propensity"] == 0.5) for row in rows)
    first = {row["alert_id"]: row for row in reversed(rows)}
    out = {alert_id for alert_id, row in first.items() if row["arm"] == "held_out"}
    seen = {row["alert_id"] for row in rows if row["arm"] == "treated"}
    last = DAY_0 + 63 * TICK  # the last tick that was collected
    changed = [a for a in fold.changes.alerts.values() if a.opened_at <= last]
    assert out == {a.alert_id for a in changed if a.held_out_at and a.held_out_at <= last}
    assert seen >= {a.alert_id for a in changed if a.delivered_at and a.delivered_at <= last}


@FEW
@given(stories, st.randoms(use_true_random=False))
def test_the_queue_is_reproducible(told: Story, chance: random.Random) -> None:
    shuffled = Story(
        chance.sample(told.events, len(told.events)),
        chance.sample(told.tries, len(told.tries)),
        told.contacts,
        told.said,
    )
    one, other = play(told), play(shuffled)
    order = [a.alert_id for a in queue_order(one.state.alerts.values())]
    assert order == [a.alert_id for a in queue_order(other.state.alerts.values())]
    assert one.changes.holds == other.changes.holds
    assert one.changes.findings == other.changes.findings
    learners = [a.key[0] for a in queue_order(one.state.alerts.values())]
    groups = [learner for learner, _ in groupby(learners)]
    assert len(groups) == len(set(groups)), "alerts of one learner apart from each other"


@FEW
@given(stories)
def test_the_agenda_names_every_alert_that_anything_becomes_of(told: Story) -> None:
    one, other = play(told), play(told, in_one_window=True)
    assert one.changes == other.changes
    assert one.state.alerts == other.state.alerts
    assert one.state.holds == other.state.holds


@pytest.mark.parametrize("seed", [73])
def test_a_restart_between_any_two_ticks_changes_nothing(seed: int, tmp_path: Path) -> None:
    told = story(seed)
    homes = []
    for restart_every in (None, 1):
        folder = tmp_path / str(restart_every)
        folder.mkdir()
        (folder / "tutorflow.yml").write_text("sources: []\n")
        homes.append(load_settings(folder))

        def restart(
            fold: Fold, number: int, begin: datetime, every: int | None = restart_every
        ) -> Fold:
            if not every or number % every:
                return fold
            recent = [t for t in told.tries if begin - timedelta(hours=24) <= t.at]
            return restarted(homes[-1], fold, begin, DAY_0, recent, COACHES.values())

        commit(homes[-1], play(told, restart))
    for name in TABLES:
        one, other = (read_table(home, name) for home in homes)
        assert len(one) > 0 or name == "item_findings", name
        pd.testing.assert_frame_equal(one, other)


def test_the_stories_meet_every_kind_of_hold() -> None:
    """So that the properties above are not true of nothing."""
    met: Counter[str] = Counter()
    for seed in range(25):
        fold = play(story(seed))
        met.update(hold.reason for hold in fold.changes.holds.values())
        met.update(a.close_reason for a in fold.changes.alerts.values() if a.close_reason)
        met.update("finding" for _ in fold.changes.findings)
        met.update("breach" for a in fold.changes.alerts.values() if a.breached_at)
        met.update("note" for d in fold.changes.dispositions.values() if d[2] == "noted")
    for kind in (
        *("cohort_guard", "item_guard", "already_on_it", "capacity", "cooldown", "out_of_scope"),
        "held_out",
        *("recovered", "closed_by_person", "withdrawn", "finding", "breach", "note"),
    ):
        assert met[kind] > 0, kind
