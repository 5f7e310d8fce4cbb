"""A rehearsal gives again what was, says what would have been, and leaves no trace."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import TINY, TINY_NOW, World
from rich.console import Console

from flows.hour import run_hour
from tutorflow.decide.frames import frame
from tutorflow.errors import TutorflowError
from tutorflow.measure import replay, searching
from tutorflow.measure.rehearsal import Precision, Rehearsal, published_cases, rehearse
from tutorflow.measure.rehearsal_page import as_html, as_text, coach_days, days_of
from tutorflow.measure.replay import COMPARED, same_rules
from tutorflow.policy import load_policy
from tutorflow.policy.model import Policy, default_policy_path
from tutorflow.publish import read_table
from tutorflow.settings import Settings, load_settings
from tutorflow.warehouse import open_warehouse

MIDWAY = datetime(2026, 1, 14, tzinfo=UTC)
SILENT, HOURS = 20, 24


@pytest.fixture(scope="module")
def settings(tiny_home: Path) -> Settings:
    """The tiny world, decided day by day; a rehearsal only reads it."""
    return load_settings(tiny_home)


def candidate_policy(folder: Path, without: str = "", a_day: int = 8) -> Policy:
    """The shipped policy in force from 2030, without the rules of a layer, with so much room."""
    data = yaml.safe_load(default_policy_path().read_text(encoding="utf-8"))
    for rule in data["rules"].values():
        rule["enabled"] = rule.get("enabled", True) and rule["layer"] != without
    data["capacity"]["alerts_per_coach_day"] = a_day
    data |= {"version": "candidate", "effective_from": "2030-01-01"}
    path = folder / "candidate.yml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return load_policy(path)


@pytest.fixture(scope="module")
def compared(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    """Coaches with room for one alert a day beside the policy in force, over eight days."""
    narrow = candidate_policy(tmp_path_factory.mktemp("policy"), a_day=1)
    return rehearse(settings, narrow, MIDWAY, TINY_NOW)


# -- the past again --------------------------------------------------------------------------------


def test_the_policy_in_force_gives_again_exactly_what_was_published(settings: Settings) -> None:
    found = rehearse(settings, None, TINY.starts_at, TINY_NOW)
    published = read_table(settings, "alerts")
    assert len(published) > 20
    assert found.differences == []
    assert set(found.in_force.alerts["alert_id"]) == set(published["alert_id"])
    mine = found.in_force.alerts.sort_values("alert_id", ignore_index=True)
    for name in COMPARED:
        one, other = mine[name], published.sort_values("alert_id", ignore_index=True)[name]
        same = (one == other) | (one.isna() & other.isna())
        assert same.all(), name


def test_so_it_does_from_the_middle_with_what_was_open_then(compared: Rehearsal) -> None:
    assert compared.differences == []
    assert compared.ticks == 8
    assert (compared.in_force.alerts["opened_at"] > MIDWAY.replace(tzinfo=None)).all()


def test_so_it_does_up_to_the_middle(settings: Settings) -> None:
    found = rehearse(settings, None, TINY.starts_at, MIDWAY)
    assert found.differences == []
    assert 0 < len(found.in_force.alerts) < len(read_table(settings, "alerts"))


def test_nothing_is_written(settings: Settings, tmp_path: Path) -> None:
    def contents() -> dict[str, str]:
        files = [settings.warehouse_path, settings.home / "serving.sqlite"]
        return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files}

    before = contents()
    candidate = candidate_policy(tmp_path)
    rehearse(settings, candidate, TINY_NOW - timedelta(days=2), TINY_NOW)
    assert contents() == before


def test_learners_may_be_searched_in_groups_side_by_side(
    settings: Settings, compared: Rehearsal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "EVENTS_AT_ONCE", 1_000)
    with open_warehouse(settings, read_only=True) as warehouse:
        events = frame(warehouse, searching.LEARNERS)
    assert events["events"].sum() > 3_000
    apart = rehearse(settings, None, MIDWAY, TINY_NOW)
    pd.testing.assert_frame_equal(apart.in_force.alerts, compared.in_force.alerts)
    pd.testing.assert_frame_equal(apart.in_force.deliveries, compared.in_force.deliveries)
    assert apart.in_force.signals == compared.in_force.signals


def test_two_policies_may_be_played_side_by_side(
    settings: Settings, compared: Rehearsal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "SIGNALS_SIDE_BY_SIDE", 1)
    apart = rehearse(settings, candidate_policy(tmp_path, a_day=1), MIDWAY, TINY_NOW)
    for one, other in (
        (apart.in_force, compared.in_force),
        (apart.candidate, compared.candidate),
    ):
        assert one is not None and other is not None
        pd.testing.assert_frame_equal(one.alerts, other.alerts)
        pd.testing.assert_frame_equal(one.deliveries, other.deliveries)
        pd.testing.assert_frame_equal(one.held, other.held)
        assert one.signals == other.signals


@pytest.fixture
def silent_world(world: World) -> Iterator[World]:
    """Hours in which nothing arrived, and one in which all of it did: feeds late, events late."""
    world.arrive(world.now + timedelta(hours=1))
    run_hour(world.settings, None, world.now + timedelta(hours=1))
    run_hour(world.settings, None, world.now + timedelta(hours=SILENT))
    world.arrive(world.now + timedelta(hours=HOURS))
    run_hour(world.settings, None, world.now + timedelta(hours=HOURS))
    yield world


def test_what_differs_because_events_came_late_is_listed_as_such(silent_world: World) -> None:
    settings = silent_world.settings
    found = rehearse(settings, None, TINY_NOW, TINY_NOW + timedelta(hours=HOURS))
    assert found.ticks == HOURS
    assert {one.why for one in found.differences} == {
        "events of this learner landed after their tick was decided"
    }
    whole = rehearse(settings, None, TINY.starts_at, TINY_NOW)
    assert whole.differences == []  # of the days before, all had come in time


# -- another policy --------------------------------------------------------------------------------


def test_without_its_rules_a_layer_is_lost_and_its_rules_are_named(
    settings: Settings, tmp_path: Path
) -> None:
    candidate = candidate_policy(tmp_path, without="content")
    found = rehearse(settings, candidate, MIDWAY, TINY_NOW)
    assert found.candidate is not None
    layers = {name: rule.layer for name, rule in load_policy(None).rules.items()}
    opened = {rule for rules in found.candidate.alerts["rules"] for rule in json.loads(rules)}
    assert opened
    assert "content" not in {layers[rule] for rule in opened}
    lost = found.lost[found.lost["layer"] == "content"]
    assert not lost.empty
    for rules in lost["rules"]:
        assert {layers[rule] for rule in rules} == {"content"}


def test_a_candidate_counts_from_the_start_whatever_its_date_says(compared: Rehearsal) -> None:
    assert compared.candidate is not None
    assert compared.candidate.signals
    assert compared.candidate.policy_version.startswith("candidate+")


def test_only_what_differs_is_looked_for_again(settings: Settings, tmp_path: Path) -> None:
    shipped = load_policy(None)
    rules = shipped.enabled_rules()
    without = candidate_policy(tmp_path, without="content")
    layers = {name: rule.layer for name, (_, rule) in rules.items()}
    assert same_rules(shipped, without) == {n for n in rules if layers[n] != "content"}
    assert same_rules(shipped, shipped.model_copy(update={"mastered_at": 0.9})) == set()
    one = shipped.rules["inactive"].model_copy(update={"version": 2})
    changed = shipped.model_copy(update={"rules": {**shipped.rules, "inactive": one}})
    assert same_rules(shipped, changed) == set(rules) - {"inactive"}
    # Looked for in part or in full (re-arming a moment sooner changes nothing here): the same.
    parts = rehearse(settings, without, MIDWAY, TINY_NOW).candidate
    line = without.model_copy(update={"rearm_after_days": shipped.rearm_after_days - 1e-6})
    whole = rehearse(settings, line, MIDWAY, TINY_NOW).candidate
    assert same_rules(shipped, line) == set()
    assert parts is not None
    assert whole is not None
    pd.testing.assert_frame_equal(parts.alerts, whole.alerts)


def test_the_same_policy_gains_and_loses_nobody(settings: Settings) -> None:
    found = rehearse(settings, load_policy(None), MIDWAY, TINY_NOW)
    assert found.candidate is not None
    assert found.gained.empty
    assert found.lost.empty
    pd.testing.assert_frame_equal(found.candidate.alerts, found.in_force.alerts)


def test_no_coach_gets_more_than_fits_and_what_waits_is_counted(compared: Rehearsal) -> None:
    days = coach_days(compared)
    candidate = days[days["policy"] == "candidate"]
    assert candidate["counted"].max() == 1
    assert candidate["waited"].sum() > 0
    assert days.loc[days["policy"] == "in force", "counted"].max() > 1


def test_time_may_be_cut_anew(settings: Settings) -> None:
    start = TINY_NOW - timedelta(days=3)
    found = rehearse(settings, None, start, TINY_NOW, every="hour")
    assert found.ticks == 72
    assert found.differences == []
    assert any("cut anew" in note for note in found.notes)


def test_time_that_was_never_decided_is_an_error_that_says_what_to_do(settings: Settings) -> None:
    later = TINY_NOW + timedelta(days=30)
    with pytest.raises(TutorflowError, match="backfill"):
        rehearse(settings, None, later, later + timedelta(days=1))


# -- were they right? ------------------------------------------------------------------------------


def test_known_outcomes_give_a_precision_with_its_interval() -> None:
    known = Precision(alerts=30, judged=10, right=8, followed=0, needed=0).shares()
    assert known["verdicts"] == (
        0.8,
        pytest.approx(0.490, abs=1e-3),
        pytest.approx(0.943, abs=1e-3),
        10,
    )
    assert known["outcomes"] is None


def test_an_alert_is_about_a_published_one_within_two_days() -> None:
    published = pd.DataFrame(
        {
            "alert_id": ["near", "far", "never shown"],
            "learner_id": ["ana", "ben", "eva"],
            "course_id": "maths",
            "layer": "content",
            "opened_at": pd.to_datetime(["2026-03-04", "2026-03-04", "2026-03-02"]),
            "delivered_at": pd.to_datetime(["2026-03-04", "2026-03-04", None]),
        }
    )
    deliveries = pd.DataFrame(
        {
            "alert_id": ["one", "two", "three"],
            "learner_id": ["ana", "ben", "eva"],
            "course_id": "maths",
            "layer": "content",
            "delivered_at": pd.to_datetime(
                ["2026-03-02", "2026-03-01T23:59", "2026-03-02"], format="ISO8601"
            ),
        }
    )
    assert published_cases(deliveries, published) == ["near"]


def test_a_rehearsal_counts_what_is_known_of_its_alerts(compared: Rehearsal) -> None:
    mine = compared.precision["in_force"]
    assert mine.alerts == compared.in_force.deliveries["alert_id"].nunique()
    assert 0 < mine.followed <= mine.alerts
    assert 0 <= mine.needed <= mine.followed


# -- as people read it -----------------------------------------------------------------------------


def test_the_terminal_shows_every_part(compared: Rehearsal) -> None:
    console = Console(record=True, width=110, file=StringIO())
    console.print(as_text(compared))
    text = console.export_text()
    for words in ("gives again exactly", "per coach and day", "Lost", "in force", "candidate"):
        assert words in text


def test_the_page_needs_nothing_else_and_names_nobody(compared: Rehearsal) -> None:
    html = as_html(compared)
    assert html.count("<svg") == 2
    for outside in ("<script", "http://", "https://", "<link", "src="):
        assert outside not in html.replace("http://www.w3.org/2000/svg", "")
    for learner in compared.in_force.alerts["learner_id"]:
        assert learner not in html


def test_days_without_alerts_count_as_days(compared: Rehearsal) -> None:
    assert len(days_of(compared)) == 8
    longer = replace(compared, end=compared.end + timedelta(days=2))
    assert len(days_of(longer)) == 10
