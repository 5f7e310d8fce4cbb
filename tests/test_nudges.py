"""Nudges: sparse, quiet at night, off for who opts out, and compared with saying nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from builders import COURSE, DAY_0, Fold, days, hours, on, signal

from expectations.texts import harsh_word
from tutorflow.decide import open_state
from tutorflow.decide.candidates import fit
from tutorflow.decide.episodes import Alert, Evidence
from tutorflow.decide.ids import fraction
from tutorflow.decide.nudges import Circumstances, Desk, Row, Trigger, happened, pick
from tutorflow.decide.said import Consent
from tutorflow.decide.states import Spell
from tutorflow.decide.ticks import OpenState
from tutorflow.errors import ConfigurationError
from tutorflow.hours import to_aware_utc
from tutorflow.policy import load_policy
from tutorflow.policy.nudges import NudgeLibrary, default_nudges_path, load_nudges
from tutorflow.publish import Candidates, Run, Verdict, misfits, publish
from tutorflow.publish.database import writing
from tutorflow.publish.inbox import open_inbox, write
from tutorflow.publish.tables import upsert
from tutorflow.settings import Settings, load_settings

SHIPPED = default_nudges_path().read_text()
POLICY = load_policy()
LEARNERS = [f"learner {number}" for number in range(400)]


def library(**changes: Any) -> NudgeLibrary:
    """The shipped library with top-level keys replaced and nobody held out, unless given."""
    shipped = load_nudges(None, POLICY).model_dump()
    return NudgeLibrary.model_validate({**shipped, "holdout_share": 0.0, **changes})


@dataclass
class Programme:
    """A desk in Berlin and the alerts beside it; ``tick`` decides one tick and returns its rows."""

    used: NudgeLibrary = field(default_factory=library)
    opted_out: set[str] = field(default_factory=set)
    outside: dict[str, str] = field(default_factory=dict)
    language: dict[str, str] = field(default_factory=dict)
    zone: str = "Europe/Berlin"
    alerts: OpenState = field(default_factory=OpenState)
    spells: dict[tuple[str, str], Spell] = field(default_factory=dict)
    desk: Desk = field(init=False)

    def __post_init__(self) -> None:
        around = Circumstances(
            lambda learner, at: learner not in self.opted_out,
            lambda learner, at: self.language.get(learner),
            lambda learner, course, at: self.outside.get(learner),
            {"fractions": "Fractions"},
            self.zone,
        )
        self.desk = Desk(self.used, around, "policy")

    def tick(self, at: datetime, *triggers: Trigger) -> list[Row]:
        before = dict(self.desk.changed)
        self.desk.advance(at, triggers, self.alerts, self.spells)
        return [row for key, row in self.desk.changed.items() if before.get(key) != row]

    def one(self, at: datetime, *triggers: Trigger) -> Row:
        (row,) = self.tick(at, *triggers)
        return row


def rule(learner: str = "ana", name: str = "repeated_misses", **more: Any) -> Trigger:
    return Trigger("rule", name, learner, COURSE, "fractions", **more)


def state(learner: str = "ana", name: str = "stuck") -> Trigger:
    return Trigger("state", name, learner, COURSE)


MORNING = on(0, "09:00")  # 10:00 in Berlin


# -- what is said ----------------------------------------------------------------------------------


def test_a_tier_1_alert_is_answered_at_once_in_the_app() -> None:
    row = Programme().one(MORNING, rule())
    assert (row["nudge_id"], row["status"], row["channel"]) == ("targeted_hint", "ready", "in_app")
    assert row["send_after"] == MORNING
    assert row["expires_at"] == MORNING + hours(24)
    assert "Fractions" in row["text"]
    assert row["minutes"] <= 5


def test_the_row_fits_the_published_table() -> None:
    assert misfits("nudges_outbox", fit("nudges_outbox", [Programme().one(MORNING, rule())])) == []


def test_a_trigger_without_a_nudge_says_nothing() -> None:
    assert Programme().tick(MORNING, state(name="on_track")) == []


def test_words_are_in_the_language_of_the_learner_and_else_in_the_librarys() -> None:
    programme = Programme(language={"ana": "de", "ben": "fi"})
    texts = {row["learner_id"]: row for row in programme.tick(MORNING, rule(), rule("ben"))}
    assert (texts["ana"]["language"], texts["ben"]["language"]) == ("de", "en")
    assert texts["ana"]["text"] != texts["ben"]["text"]


def test_without_a_subject_the_text_still_reads() -> None:
    text = Programme().one(MORNING, Trigger("rule", "repeated_misses", "ana", COURSE))["text"]
    assert "your current topic" in text


def test_the_most_telling_of_several_triggers_is_answered() -> None:
    good = Trigger("good_news", "streak", "ana", COURSE)
    assert Programme().one(MORNING, state(), good, rule())["trigger_kind"] == "rule"
    assert Programme().one(MORNING, state(), good)["trigger_kind"] == "good_news"


# -- sparse ----------------------------------------------------------------------------------------


def test_a_learner_gets_one_nudge_a_day() -> None:
    programme = Programme()
    programme.one(MORNING, rule())
    second = programme.one(MORNING + hours(2), rule(name="rapid_guessing"))
    assert (second["status"], second["reason"]) == (
        "not_sent",
        "one a day: the learner has one that day",
    )
    assert programme.one(on(1, "09:00"), rule(name="rapid_guessing"))["status"] == "ready"


def test_the_day_is_that_of_the_programme() -> None:
    # 22:30 and 23:30 in UTC are two days in Berlin
    programme = Programme()
    programme.one(on(0, "22:30"), rule())
    assert programme.one(on(0, "23:30"), rule(name="rapid_guessing"))["status"] == "ready"
    same = Programme(zone="UTC")
    same.one(on(0, "22:30"), rule())
    assert same.one(on(0, "23:30"), rule(name="rapid_guessing"))["status"] == "not_sent"


def test_the_same_nudge_comes_again_after_its_days_and_not_before() -> None:
    programme = Programme()
    programme.one(MORNING, rule())
    early = programme.one(MORNING + days(7) - timedelta(seconds=1), rule())
    assert early["reason"] == "said within the last 7 days"
    assert programme.one(MORNING + days(7), rule())["status"] == "ready"


# -- quiet hours and timing ------------------------------------------------------------------------


def messages(at: str = "now") -> NudgeLibrary:
    """A library whose one nudge is a message about drifting."""
    nudge = load_nudges(None, POLICY).nudges["come_back"].model_dump()
    text = {"en": "Hello."}
    nudge["variants"] = {"only": {"at": at, "minutes": 1, "text": text, "step": text}}
    return library(nudges={"come_back": nudge})


@pytest.mark.parametrize(
    ("decided", "sent"),
    [
        ("18:59", "18:59"),  # 19:59 in Berlin
        ("19:00", "31:00"),  # 20:00: waits until 8 the next morning
        ("30:59", "31:00"),
        ("31:00", "31:00"),
    ],
)
def test_a_message_waits_until_the_quiet_hours_are_over(decided: str, sent: str) -> None:
    def at(text: str) -> datetime:
        hour, minute = map(int, text.split(":"))
        return DAY_0 + timedelta(hours=hour, minutes=minute)

    row = Programme(messages()).one(at(decided), state(name="drifting"))
    assert row["send_after"] == at(sent)
    assert row["status"] == ("ready" if sent == decided else "waiting_quiet_hours")


def test_in_the_app_there_are_no_quiet_hours() -> None:
    assert Programme().one(on(0, "21:00"), rule())["status"] == "ready"


def test_a_waiting_message_goes_out_when_its_time_has_come() -> None:
    programme = Programme(messages("17:30"))
    programme.spells["ana", COURSE] = Spell("drifting", MORNING, "")
    row = programme.one(MORNING, state(name="drifting"))
    assert (row["status"], row["send_after"]) == ("waiting_time", on(0, "16:30"))
    assert programme.tick(on(0, "16:00")) == []
    assert programme.one(on(0, "17:00"))["status"] == "ready"


def test_a_waiting_message_is_dropped_when_what_it_answers_is_over() -> None:
    programme = Programme(messages("17:30"))
    programme.one(MORNING, state(name="drifting"))
    programme.spells["ana", COURSE] = Spell("recovering", on(0, "12:00"), "")
    row = programme.one(on(0, "17:00"))
    assert row["status"] == "not_sent"
    assert "no longer needed" in row["reason"]


# -- who hears nothing -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"opted_out": {"ana"}}, "opted out"),
        ({"outside": {"ana": "paused (holiday)"}}, "left alone: paused (holiday)"),
    ],
)
def test_who_is_left_alone_hears_nothing(changes: Mapping[str, Any], reason: str) -> None:
    row = Programme(**changes).one(MORNING, rule())
    assert (row["status"], row["reason"]) == ("not_sent", reason)


def test_who_opts_out_while_a_message_waits_hears_nothing() -> None:
    programme = Programme(messages("17:30"))
    programme.spells["ana", COURSE] = Spell("drifting", MORNING, "")
    programme.one(MORNING, state(name="drifting"))
    programme.opted_out.add("ana")
    assert programme.one(on(0, "17:00"))["reason"] == "opted out"


def an_alert(learner: str = "ana", layer: str = "content", tier: int = 1) -> Alert:
    """An alert that the first tick opened and delivered."""
    return Alert(
        alert_id=f"alert of {learner}",
        key=(learner, COURSE, layer),
        alert_tier=tier,
        opening_tier=tier,
        opened_at=MORNING,
        delivered_at=MORNING,
        delivered_tier=tier,
        policy_version="p",
        evidence=[Evidence(signal(learner, tier=tier, layer=layer, at=MORNING - hours(0.5)))],
    )


def with_alert(layer: str, tier: int, share: float) -> Programme:
    """Everybody has an open alert of the layer and tier; ``share`` are held out."""
    programme = Programme(library(holdout_share=share))
    for learner in LEARNERS:
        alert = an_alert(learner, layer, tier)
        programme.alerts.alerts[alert.key] = alert
    return programme


def test_no_nudge_beside_a_matter_of_safety() -> None:
    row = with_alert("safety", 4, 0.0).one(MORNING + hours(1), rule("learner 7"))
    assert (row["status"], "safety" in row["reason"]) == ("not_sent", True)


def consent(is_granted: bool, at: datetime, learner: str = "ana") -> Consent:
    return Consent(f"row at {at}", at, "her mother", learner, "nudges", is_granted)


def test_who_takes_consent_back_hears_nothing_more() -> None:
    programme = Programme()
    programme.spells[("ana", COURSE)] = Spell("drifting", MORNING, "")
    waits = programme.one(MORNING, state(name="drifting"))
    assert waits["status"] == "waiting_time"
    programme.alerts.hear_consent(consent(False, MORNING + hours(1)))
    let_go = programme.one(waits["send_after"])
    assert (let_go["status"], let_go["reason"]) == ("not_sent", "opted out")
    assert programme.one(on(1, "09:00"), rule())["reason"] == "opted out"
    assert programme.one(on(1, "09:00"), rule("ben"))["status"] == "ready"


def test_consent_given_again_counts_from_then_on_but_not_against_the_roster() -> None:
    programme = Programme(opted_out={"ben"})
    for learner in ("ana", "ben"):
        programme.alerts.hear_consent(consent(True, on(0, "07:00"), learner))
        programme.alerts.hear_consent(consent(False, on(0, "06:00"), learner))  # written before
    assert programme.one(MORNING, rule())["status"] == "ready"
    assert programme.one(MORNING, rule("ben"))["reason"] == "opted out"


def test_consent_taken_back_is_known_after_a_restart(tmp_path: Path) -> None:
    home = Settings(home=tmp_path)
    given = {"learner_id": "ana", "purpose": "nudges", "who": "her mother"}
    for at, is_granted in ((on(0, "08:10"), True), (on(0, "08:30"), False)):
        write(home, "consent_changes", is_granted=is_granted, written_at=at, **given)
    box = open_inbox(home, [MORNING], lambda ids: ids)
    live = Fold().tick(MORNING, said=box.take(0, MORNING, ())).state
    with writing(home) as connection:
        upsert(connection, "inbox_taken", fit("inbox_taken", box.taken))
    for known in (live, open_state.load(home, POLICY, MORNING).state):
        assert Programme(alerts=known).one(MORNING, rule())["reason"] == "opted out"


# -- compared --------------------------------------------------------------------------------------


def held_out(programme: Programme) -> list[Row]:
    rows = programme.tick(MORNING + hours(1), *(rule(learner) for learner in LEARNERS))
    assert len(rows) == len(LEARNERS)
    return [row for row in rows if row["status"] == "held_out"]


def test_the_share_of_the_library_is_held_out_with_its_propensity() -> None:
    rows = held_out(Programme(library(holdout_share=0.1)))
    assert 0.05 * len(LEARNERS) < len(rows) < 0.16 * len(LEARNERS)
    assert {row["propensity"] for row in rows} == {0.1}


def test_propensities_of_variants_and_hold_out_add_up_to_one() -> None:
    programme = Programme(library(holdout_share=0.1))
    rows = programme.tick(MORNING, *(rule(learner) for learner in LEARNERS))
    chances = {(row["status"] == "held_out") or row["variant"]: row["propensity"] for row in rows}
    assert set(chances) == {True, "hint", "example"}
    assert sum(chances.values()) == pytest.approx(1)


def test_a_rule_and_a_nudge_may_have_their_own_share() -> None:
    of_rule = library(holdout_share=0.0, holdout_by_rule={"repeated_misses": 0.9})
    assert len(held_out(Programme(of_rule))) > 0.8 * len(LEARNERS)
    nudges = of_rule.model_dump()["nudges"]
    nudges["targeted_hint"]["holdout_share"] = 0.0
    assert (
        held_out(Programme(library(holdout_by_rule={"repeated_misses": 0.9}, nudges=nudges))) == []
    )


@pytest.mark.parametrize(("tier", "anybody"), [(2, True), (3, False), (4, False)])
def test_nobody_with_an_alert_of_tier_3_or_4_is_held_out(tier: int, anybody: bool) -> None:
    assert bool(held_out(with_alert("content", tier, 0.5))) is anybody


def test_who_is_held_out_hears_nothing_else_that_day() -> None:
    programme = Programme(library(holdout_share=0.999))
    programme.one(MORNING, rule())
    assert programme.one(MORNING + hours(1), rule(name="rapid_guessing"))["status"] == "not_sent"


def test_a_variant_is_the_learners_own_and_evenly_spread() -> None:
    drawn = [pick(["a", "b"], learner, "targeted_hint") for learner in LEARNERS]
    assert drawn == [pick(["a", "b"], learner, "targeted_hint") for learner in LEARNERS]
    assert 0.4 < drawn.count("a") / len(LEARNERS) < 0.6
    assert min(fraction("x", name) for name in LEARNERS) >= 0
    assert max(fraction("x", name) for name in LEARNERS) < 1


# -- what happened ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("tier", "expected"), [(1, ["repeated_misses"]), (2, [])])
def test_a_new_alert_of_tier_1_is_a_trigger_and_one_of_tier_2_is_not(
    tier: int, expected: list[str]
) -> None:
    alert = an_alert(tier=tier)
    found = happened(MORNING, OpenState({alert.key: alert}), [alert.key], [])
    assert [trigger.name for trigger in found] == expected


def test_an_alert_of_tier_1_is_a_trigger_once() -> None:
    alert = an_alert()
    assert happened(MORNING + hours(1), OpenState({alert.key: alert}), [alert.key], []) == []


def test_a_state_entered_carries_the_subject_of_the_alert_behind_it() -> None:
    alert = an_alert(tier=2)
    entered = [(("ana", COURSE), Spell("stuck", MORNING, ""))]
    (found,) = happened(MORNING, OpenState({alert.key: alert}), (), entered)
    assert (found.kind, found.name, found.subject_id) == ("state", "stuck", "fractions")
    assert found.alert_id == alert.alert_id


# -- restart ---------------------------------------------------------------------------------------


def committed(settings: Settings, rows: list[Row], at: datetime) -> None:
    log = {
        "as_of": pd.Timestamp(at),
        "tick": "hour",
        "policy_version": "p",
        "roster_version": None,
        "watermarks": "{}",
        **dict.fromkeys(("signal_count", "opened_count", "closed_count", "held_count"), 0),
        "outside_pilot_count": None,
    }
    tables = {"nudges_outbox": fit("nudges_outbox", rows), "tick_log": fit("tick_log", [log])}
    as_of = to_aware_utc(at)
    publish(settings, Candidates([as_of], as_of, tables), Verdict([]), Run("r", "running", as_of))


def test_a_restart_out_of_the_serving_database_changes_nothing(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    story = [
        (MORNING, [state("ana", "drifting"), rule("ben"), rule("cem")]),
        (on(0, "10:00"), [rule("ben", "rapid_guessing"), rule("cem", "slow_responses")]),
        (on(0, "17:00"), []),
        (on(1, "09:00"), [rule("ben"), rule("cem", "rapid_guessing")]),
        (on(8, "09:00"), [rule("ben"), state("ana", "drifting")]),
    ]
    used = library(holdout_share=0.3)
    whole, spell = Programme(used), {("ana", COURSE): Spell("drifting", MORNING, "")}
    whole.spells |= spell
    for at, triggers in story:
        whole.tick(at, *triggers)
        part = Programme(used)
        part.spells |= spell
        first = at - hours(1)
        part.desk.load(settings, first)
        part.desk.remember(settings, {"ana", "ben", "cem"}, first)
        part.tick(at, *triggers)
        committed(settings, list(part.desk.changed.values()), at)
    kept = Desk(used, part.desk.around, "policy")
    kept.remember(settings, {"ana", "ben", "cem"}, DAY_0)
    stored = {key: row for rows in kept.given.values() for key, row in rows.items()}
    assert stored == whole.desk.changed
    assert len(stored) == 9


# -- the library -----------------------------------------------------------------------------------


def test_the_shipped_library_is_small_and_complete() -> None:
    used = load_nudges(None, POLICY)
    assert 12 <= len(used.nudges) <= 15
    for nudge in used.nudges.values():
        assert nudge.purpose
        for variant in nudge.variants.values():
            assert set(variant.text) == {"en", "de"}
    answered = {name for nudge in used.nudges.values() for name in nudge.when.states or ()}
    assert {"not_started", "stuck", "drifting", "recovering", "thriving"} <= answered


def test_the_shipped_library_names_rules_of_the_shipped_policy_only() -> None:
    rules = {name for n in load_nudges(None, POLICY).nudges.values() for name in n.when.rules or ()}
    assert rules <= set(POLICY.rules)


def test_no_shipped_text_holds_a_word_that_shames() -> None:
    used = load_nudges(None, POLICY)
    texts = [
        text
        for nudge in used.nudges.values()
        for variant in nudge.variants.values()
        for text in (*variant.text.values(), *variant.step.values())
    ]
    assert len(texts) >= 96
    assert [text for text in texts if harsh_word(text)] == []


WRONG = [
    # a passage of the shipped library, what somebody writes instead, what they are told
    ("again_after_days: 7", "again_after_day: 7", "did you mean 'again_after_days'"),
    ("when: {states: [stuck]}", "when: {states: [stucked]}", "'stuck'"),
    ("when: {states: [stuck]}", "when: {}", "exactly one of states, rules, good_news"),
    ("when: {rules: [rapid_guessing]}", "when: {rules: [rapid_gessing]}", "'rapid_guessing'"),
    ("holdout_by_rule: {}", "holdout_by_rule: {repeated: 0.2}", "no rule is called 'repeated'"),
    ("holdout_share: 0.10", "holdout_share: 1.0", "less than 1"),
    ("minutes: 5", "minutes: 6", "less than or equal to 5"),
    ('at: "16:30"', 'at: "25:30"', "neither now nor a time of day"),
    ("on {subject}. A", "on {topic}. A", "unknown placeholder {topic}"),
    ("language: en ", "language: fr ", "has no text in 'fr'"),
    ("owner: ai_tutor", "owner: somebody", "'ai_tutor'"),
    ('start: "20:00", end: "08:00"', 'start: "08:00", end: "08:00"', "must not start when"),
    ("result: answered", "result: happy", "'returned'"),
]


@pytest.mark.parametrize(("old", "new", "told"), WRONG, ids=[new for _, new, _ in WRONG])
def test_what_is_wrong_is_told_with_file_and_line(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    assert old in SHIPPED
    file = tmp_path / "nudges.yml"
    file.write_text(SHIPPED.replace(old, new, 1))
    with pytest.raises(ConfigurationError) as error:
        load_nudges(file, POLICY)
    line = SHIPPED[: SHIPPED.index(old)].count("\n") + 1
    assert told in str(error.value)
    assert any(
        text.startswith("nudges.yml:") and abs(int(text.split(":")[1]) - line) <= 2
        for text in str(error.value).splitlines()
    )


def test_a_library_of_ones_own_lies_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "tutorflow.yml").write_text("sources: []\nnudges_path: own.yml\n")
    assert load_settings(tmp_path).nudges_path == tmp_path / "own.yml"
