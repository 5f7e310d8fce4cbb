"""Who answers, by when, and what happens when nobody does."""

from __future__ import annotations

from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from builders import COURSE, Fold, on, policy, recovery, signal

from tutorflow.decide.episodes import Alert
from tutorflow.decide.said import Acknowledgement, Override
from tutorflow.decide.surroundings import Surroundings, surroundings
from tutorflow.decide.working_time import Coach, due_at
from tutorflow.errors import ConfigurationError
from tutorflow.policy import load_policy
from tutorflow.policy.guide import policy_guide
from tutorflow.policy.model import Profile, default_policy_path
from tutorflow.roster import Roster, load_roster
from tutorflow.settings import Settings, load_settings

MONDAY_10, NINE_THIRTY = on(0, "10:00"), on(0, "09:30")
LAYERS = ("content", "confidence", "compliance", "safety")
AGES = (None, "under_13", "13_17", "adult", "unheard_of")
PROGRAMMES = (None, "after_school")
CHILDREN = ("under_13", "13_17")
SHIPPED_POLICY = load_policy()


# -- the shipped table -----------------------------------------------------------------------------


def expected(layer: str, tier: int, age: str | None, has_authority: bool) -> str:
    """Who should answer, said once more and differently."""
    if tier == 1:
        return "ai_tutor"
    asks_family = age in CHILDREN and has_authority
    if tier == 4:
        return "guardian" if asks_family and layer != "safety" else "programme_staff"
    if layer == "content":
        return "tutor"
    if tier == 3 and layer == "compliance":
        return "guardian" if asks_family else "adviser" if age == "adult" else "coach"
    return "coach"


@pytest.mark.parametrize(
    ("layer", "tier", "age", "programme", "contact"),
    list(product(LAYERS, (1, 2, 3, 4), AGES, PROGRAMMES, (None, "g-17"))),
)
def test_every_learner_s_every_alert_has_the_right_route(
    layer: str, tier: int, age: str | None, programme: str | None, contact: str | None
) -> None:
    route = SHIPPED_POLICY.route(layer, tier, Profile(age, programme, contact))
    assert route.role == expected(layer, tier, age, contact is not None)
    assert (route.due == "none") == (tier == 1)
    if tier == 4:
        assert route.due == "1 hour"
    if tier == 3:
        assert route.due == "same day"
    if tier == 2:
        assert route.due == "next session or 24 hours"
    assert "guardian" not in (route.role, route.escalates_to) or contact is not None


def test_routes_may_name_a_programme() -> None:
    own = {"alert_tier": 2, "programme": "summer", "role": "adviser", "channel": "call",
           "due": "2 hours"}  # fmt: skip
    shipped = policy().model_dump(mode="json", exclude_none=True)["routing"]
    used = policy(routing=[own, *shipped])
    assert used.route("content", 2, Profile(programme="summer")).role == "adviser"
    assert used.route("content", 2, Profile(programme="winter")).role == "tutor"


SHIPPED = default_policy_path().read_text()
ROUTES = SHIPPED[SHIPPED.index("routing:") : SHIPPED.index("working_hours:")]


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("- {alert_tier: 4, role: programme_staff, age_band: adult, channel: call, due: 1 hour}",
         "alert tier 4 of the layer content"),
        ("- {alert_tier: 4, role: programme_staff, programme: summer, channel: call, due: 1 hour}",
         "alert tier 4 of the layer content"),
        ("- {alert_tier: 4, role: coach, needs_authority: true, channel: call, due: 1 hour}",
         "(no guardian with authority)"),
        ("- {alert_tier: 4, layer: safety, role: coach, channel: call, due: 1 hour}",
         "alert tier 4 of the layer content"),
    ],
    ids=["one age", "one programme", "authority", "one layer"],
)  # fmt: skip
def test_a_kind_of_learner_without_a_route_is_an_error_with_its_line(
    written: str, told: str, tmp_path: Path
) -> None:
    kept = [line for line in ROUTES.splitlines() if "alert_tier: 4" not in line]
    file = tmp_path / "policy.yml"
    routes = "\n".join([*kept, f"  {written}"]).replace("\n\n", "\n") + "\n"
    file.write_text(SHIPPED.replace(ROUTES, routes))
    with pytest.raises(ConfigurationError, match="there is no route for") as error:
        load_policy(file)
    line = SHIPPED[: SHIPPED.index("routing:")].count("\n") + 1
    assert str(error.value).startswith(f"policy.yml:{line}:")
    assert told in str(error.value)


@pytest.mark.parametrize("where", ["role: guardian", "role: coach, escalates_to: guardian"])
def test_family_without_authority_is_an_error(where: str, tmp_path: Path) -> None:
    line = f"  - {{alert_tier: 4, {where}, channel: call, due: 1 hour}}\n"
    file = tmp_path / "policy.yml"
    file.write_text(SHIPPED.replace("routing:\n", "routing:\n" + line))
    with pytest.raises(ConfigurationError, match="needs_authority: true"):
        load_policy(file)


def test_safety_closed_by_anything_but_a_person_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "policy.yml"
    file.write_text(SHIPPED.replace("safety: {by_person: true}", "safety: {worked_session: true}"))
    with pytest.raises(ConfigurationError, match=r"recovery\.safety: .* closed by a person only"):
        load_policy(file)


def test_the_guide_names_the_guards_the_pilot_and_who_is_asked_when_nobody_answers() -> None:
    shipped = policy_guide(SHIPPED_POLICY)
    for words in ("25% of at least 20 learners", "80% of at least 10 learners", "48 hours",
                  "recorded authority", "programme staff"):  # fmt: skip
        assert words in shipped
    assert "pilot" not in shipped
    tried = policy_guide(policy(pilot={"courses": ["algebra"], "rules": ["inactive"]}))
    assert "Pilot" in tried
    assert "algebra" in tried
    assert "*Not part of the pilot.*" in tried


# -- the roster ------------------------------------------------------------------------------------


ROSTER = {
    "learners": "user_id,age_band,programme,cohort_id\nana,13_17,after_school,north\nben,adult,,\n",
    "guardians": (
        "user_id,contact_id,authority,valid_from,valid_to\n"
        "ana,g-1,true,2026-03-01,2026-03-31\nana,g-2,false,,\nben,g-3,,,\n"
    ),
    "calendar": (
        "kind,user_id,course_id,starts_at,ends_at\n"
        "pause,,,2026-03-10T00:00,2026-03-12T00:00\n"
        "pause,,maths,2026-03-11T00:00,2026-03-14T00:00\n"
        "excused,ana,,2026-03-20T00:00,2026-03-21T00:00\n"
    ),
    "courses": "course_id,ends_at\nmaths,2026-05-01T00:00\n",
    "enrolments": "user_id,course_id,cohort_id,withdrawn_at\nben,maths,south,2026-04-01T00:00\n",
}


@pytest.fixture(scope="module")
def programme(tmp_path_factory: pytest.TempPathFactory) -> tuple[Roster, Surroundings, str, str]:
    """The roster above, what the decision makes of it, and the ids of ana and ben."""
    home = tmp_path_factory.mktemp("home")
    (home / "roster").mkdir()
    for name, text in ROSTER.items():
        (home / "roster" / f"{name}.csv").write_text(text)
    (home / "tutorflow.yml").write_text("sources: []\nroster_path: roster\n")
    roster = load_roster(load_settings(home))
    changes = pd.DataFrame(columns=["learner_id", "course_id", "event_type", "known_at"])
    used = policy(pilot={"courses": ["maths"], "cohorts": ["north"]})
    ana, ben = roster.learners["learner_id"]
    return roster, surroundings(roster, used, "UTC", changes, {}), ana, ben


def test_routing_knows_age_programme_and_authority(
    programme: tuple[Roster, Surroundings, str, str],
) -> None:
    _, around, ana, ben = programme
    assert around.profile_of(ana, on(0)) == Profile("13_17", "after_school", "g-1")
    assert around.profile_of(ana, on(60)) == Profile("13_17", "after_school", None)
    assert around.profile_of(ben, on(0)) == Profile("adult", None, None)
    assert around.profile_of("nobody", on(0)) == Profile()


def test_a_pilot_holds_for_its_courses_and_cohorts(
    programme: tuple[Roster, Surroundings, str, str],
) -> None:
    _, around, ana, ben = programme
    assert around.is_in_pilot(ana, "maths", on(0))
    assert not around.is_in_pilot(ana, "physics", on(0))
    assert not around.is_in_pilot(ben, "maths", on(0))


@pytest.mark.parametrize(
    ("strikes", "expected_at"),
    [
        (on(7), on(7)),  # before any pause
        (on(8, "12:00"), on(12, "12:00")),  # half a day into four: half a day after them
        (on(10), on(14)),
        (on(12), on(12)),  # the pauses are over
        (on(18, "06:00"), on(19, "06:00")),
    ],
)
def test_a_clock_stands_still_during_pauses(
    programme: tuple[Roster, Surroundings, str, str], strikes: datetime, expected_at: datetime
) -> None:
    _, around, ana, _ = programme
    assert around.resumes_at(ana, "maths", strikes) == expected_at


def test_beginnings_and_ends_are_told_to_the_tick_that_sees_them_first(
    programme: tuple[Roster, Surroundings, str, str],
) -> None:
    _, around, ana, ben = programme
    assert around.changing_between(on(7), on(8)) == [(None, None)]
    assert around.changing_between(on(8), on(8, "23:00")) == []
    assert around.changing_between(on(8, "23:00"), on(9)) == [(None, "maths")]
    assert around.changing_between(on(17), on(18)) == [(ana, None)]
    assert around.changing_between(on(29), on(30)) == [(ben, "maths")]
    assert around.changing_between(on(59), on(60)) == []  # the course ends after its last instant
    assert around.changing_between(on(60), on(60, "01:00")) == [(None, "maths")]
    assert around.is_out_of_scope(ana, "maths", on(60)) is None
    assert around.is_out_of_scope(ana, "maths", on(60, "01:00")) is not None


# -- routed alerts ---------------------------------------------------------------------------------


def learner(**profile: Any) -> dict[str, Any]:
    return {"profile_of": lambda learner_id, at: Profile(**profile)}


def test_family_is_asked_only_where_authority_is_recorded() -> None:
    urgent = signal(rule="inactive", tier=3, at=NINE_THIRTY)
    fold = Fold(known=learner(age_band="13_17", contact_id="g-1")).tick(MONDAY_10, urgent)
    alert = fold.alert(layer="compliance")
    assert (alert.owner_role, alert.contact_id, alert.coach_id) == ("guardian", "g-1", "kim")
    other = Fold(known=learner(age_band="13_17")).tick(MONDAY_10, urgent).alert(layer="compliance")
    assert (other.owner_role, other.contact_id) == ("coach", None)


@pytest.mark.parametrize(
    ("session_at", "due"),
    [
        (None, on(1, "10:00")),
        (on(0, "15:00"), on(0, "15:00")),
        (on(1, "09:59"), on(1, "09:59")),
        (on(1, "10:00"), on(1, "10:00")),
        (on(2, "15:00"), on(1, "10:00")),
    ],
)
def test_tier_2_is_due_before_the_next_session_or_in_a_day(
    session_at: datetime | None, due: datetime
) -> None:
    known = {"next_session_at": lambda learner_id, course, at: session_at}
    fold = Fold(known=known).tick(MONDAY_10, signal(at=NINE_THIRTY))
    assert fold.alert().due_at == due


def test_a_session_before_the_coach_is_at_work_cannot_be_the_limit() -> None:
    at, session = on(0, "20:00"), on(1, "08:00")
    assert due_at("next session or 24 hours", at, Coach("kim"), session) == on(2, "09:00")
    assert due_at("next session or 24 hours", at, Coach("kim"), on(1, "11:00")) == on(1, "11:00")


# -- taken up or not -------------------------------------------------------------------------------


def coaches(learner_id: str, course: str, role: str, at: datetime) -> Coach:
    return Coach({"tutor": "tom", "coach": "kim", "programme_staff": "sam"}.get(role, role), role)


def waiting_since_monday() -> tuple[Fold, Alert]:
    """A tier 2 content alert of Monday 10:00, due on Tuesday at 10:00."""
    fold = Fold(coach_of=coaches).tick(MONDAY_10, signal(at=NINE_THIRTY))
    return fold, fold.alert()


def taken_on(alert: Alert, at: datetime) -> Acknowledgement:
    return Acknowledgement(f"a{at}", at, "tom", alert.alert_id)


def test_what_nobody_takes_on_goes_to_the_next_role_due_anew() -> None:
    fold, alert = waiting_since_monday()
    fold.tick(on(1, "10:00"))
    assert alert.breached_at is None
    fold.tick(on(1, "11:00"))
    assert (alert.breached_at, alert.owner_role) == (on(1, "11:00"), "coach")
    assert (alert.coach_id, alert.due_at) == ("kim", on(2, "11:00"))
    assert (alert.delivered_to, alert.delivered_at) == ("tom", MONDAY_10)
    fold.tick(on(3))
    assert (alert.breached_at, alert.owner_role) == (on(1, "11:00"), "coach")


def test_what_is_taken_on_in_time_is_no_breach() -> None:
    fold, alert = waiting_since_monday()
    fold.tick(on(1, "10:00"), said=[taken_on(alert, on(1, "09:30"))]).tick(on(2))
    assert (alert.acknowledged_at, alert.acknowledged_by) == (on(1, "09:30"), "tom")
    assert (alert.breached_at, alert.owner_role) == (None, "tutor")


def test_what_is_taken_on_too_late_is_a_breach_and_stays_where_it_is() -> None:
    fold, alert = waiting_since_monday()
    fold.tick(on(1, "11:00"), said=[taken_on(alert, on(1, "10:30"))])
    assert (alert.breached_at, alert.owner_role) == (on(1, "11:00"), "tutor")
    assert alert.due_at == on(1, "10:00")


def test_only_the_first_acknowledgement_counts() -> None:
    fold, alert = waiting_since_monday()
    again = [taken_on(alert, on(0, "11:20")), taken_on(alert, on(0, "11:10"))]
    assert fold.tick(on(0, "12:00"), said=again).alert().acknowledged_at == on(0, "11:10")


def test_a_route_without_a_next_role_keeps_the_breach_where_it_is() -> None:
    fold = Fold(coach_of=coaches).tick(MONDAY_10, signal(tier=4, layer="safety", at=NINE_THIRTY))
    alert = fold.tick(on(0, "12:00")).alert(layer="safety")
    assert (alert.breached_at, alert.coach_id) == (on(0, "12:00"), "sam")
    assert alert.due_at == on(0, "11:00")


def test_what_rises_or_reopens_is_to_be_taken_on_again() -> None:
    fold, alert = waiting_since_monday()
    fold.tick(on(0, "11:00"), said=[taken_on(alert, on(0, "10:30"))])
    fold.tick(on(0, "12:00"), signal(rule="wheel_spinning", tier=3, at=on(0, "11:30")))
    assert (alert.acknowledged_at, alert.due_at) == (None, on(0, "17:00"))
    fold.tick(on(0, "13:00"), said=[taken_on(alert, on(0, "12:30"))])
    fold.tick(on(0, "14:00"), recovery(at=on(0, "13:30")))
    fold.tick(on(0, "15:00"), signal(at=on(0, "14:30")))
    assert (alert.reopened_count, alert.acknowledged_at) == (1, None)


# -- somebody decides otherwise --------------------------------------------------------------------


def override(alert: Alert, **what: Any) -> Override:
    return Override("o1", on(0, "10:30"), "lea", alert.alert_id, "I know her well", **what)


def test_a_person_gives_the_alert_to_another_coach() -> None:
    max_ = Coach("max", timezone="America/New_York")
    fold = Fold(known={"coach_named": {"max": max_}.get}).tick(MONDAY_10, signal(at=NINE_THIRTY))
    fold.tick(on(0, "11:00"), said=[override(fold.alert(), coach_id="max")])
    alert = fold.alert()
    assert (alert.coach_id, alert.override_coach_id) == ("max", "max")
    assert (alert.overridden_by, alert.override_reason) == ("lea", "I know her well")
    assert alert.due_at == on(1, "14:00")  # 24 hours after max begins to work
    fold.tick(on(0, "12:00"), signal(rule="wheel_spinning", tier=3, at=on(0, "11:30")))
    assert alert.coach_id == "max"


def test_a_person_changes_the_tier() -> None:
    fold = Fold().tick(MONDAY_10, signal(at=NINE_THIRTY))
    fold.tick(on(0, "11:00"), said=[override(fold.alert(), alert_tier=3)])
    alert = fold.alert()
    assert (alert.alert_tier, alert.override_tier, alert.opening_tier) == (3, 3, 2)
    assert (alert.channel, alert.due_at) == ("live_session", on(0, "17:00"))


def test_a_person_leaves_it_to_the_ai_or_takes_it_from_there() -> None:
    fold = Fold().tick(MONDAY_10, signal(at=NINE_THIRTY))
    fold.tick(on(0, "11:00"), said=[override(fold.alert(), alert_tier=1)])
    alert = fold.alert()
    assert (alert.owner_role, alert.coach_id, alert.due_at) == ("ai_tutor", None, None)
    other = Fold().tick(MONDAY_10, signal(tier=1, at=NINE_THIRTY))
    other.tick(on(0, "11:00"), said=[override(other.alert(), alert_tier=2)])
    assert (other.alert().delivered_at, other.alert().coach_id) == (on(0, "11:00"), "kim")


def test_an_alert_that_somebody_lifts_takes_capacity_like_any_other() -> None:
    fold = Fold(coach=Coach("kim", capacity_per_day=1))
    fold.tick(MONDAY_10, signal("ben", at=NINE_THIRTY), signal("ana", tier=1, at=NINE_THIRTY))
    fold.tick(on(0, "11:00"), said=[override(fold.alert(), alert_tier=2)])
    assert fold.alert().status == "held"
    assert fold.state.alerts["ana", COURSE, "content"].delivered_at is None


def test_settings_without_a_roster_route_as_for_somebody_unknown(tmp_path: Path) -> None:
    roster = load_roster(Settings(home=tmp_path))
    changes = pd.DataFrame(columns=["learner_id", "course_id", "event_type", "known_at"])
    around = surroundings(roster, policy(), "UTC", changes, {})
    assert around.profile_of("ana", on(0)) == Profile()
    assert around.is_in_pilot("ana", "maths", on(0))
