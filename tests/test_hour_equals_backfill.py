"""The hour and the backfill are one function: they end in the same published tables."""

import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
from conftest import World
from published import differences, published

from flows.history import run_backfill
from flows.hour import run_hour
from tutorflow.hours import to_naive_utc
from tutorflow.publish import inbox, queue
from tutorflow.settings import Settings, load_settings

CAUGHT_UP, LAST = 16, 26  # hours: those before are decided in one run, then each in one of its own
MIDNIGHT = 24
MEASURED_DAILY = ("rule_quality", "recovery_curves", "programme_health", "intervention_effects")


def answer(settings: Settings, at: datetime) -> None:
    """A coach answers the first three alerts of the queue, in the same rows in every home."""
    written = to_naive_utc(at)
    for row in queue(settings).head(3).to_dict("records"):
        said = {"alert_id": row["alert_id"], "coach_id": row["coach_id"], "written_at": written}
        given = {"kind": "call", "code": "resumed", "row_id": "help " + row["alert_id"], **said}
        inbox.write(settings, "interventions", **given)
        inbox.write(
            settings, "alert_verdicts", verdict="useful", row_id="word " + row["alert_id"], **said
        )


def test_a_backfill_ends_where_running_every_hour_would_have(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.settings.home, tmp_path / "other", symlinks=True)
    other = World(load_settings(tmp_path / "other"), world.now)
    for home in (world, other):
        answer(home.settings, world.now + timedelta(hours=CAUGHT_UP, minutes=30))
    for hour in range(CAUGHT_UP, LAST + 1):
        at = world.now + timedelta(hours=hour)
        world.arrive(at)
        assert run_hour(world.settings, None, at).state == "published"
    other.arrive(at)
    report = run_backfill(other.settings, None, None, "hour", at)
    assert len(report.ticks) == LAST
    assert differences(world.settings, other.settings) == []
    assert_measured(published(world.settings), world.now)


def assert_measured(tables: dict[str, pd.DataFrame], start: datetime) -> None:
    """What was compared is more than what was there before: ticks, labels, the day's judgement."""
    midnight = pd.Timestamp(to_naive_utc(start + timedelta(hours=MIDNIGHT)))
    assert len(tables["tick_log"]) > LAST
    for name in MEASURED_DAILY:
        assert (tables[name]["as_of"] == midnight).any(), name
    assert (tables["alert_outcomes"]["labelled_at"] > to_naive_utc(start)).any()
    assert (
        len(tables["intervention_outcomes"]) == 3 * tables["alert_outcomes"].window_hours.nunique()
    )
    assert tables["rule_quality"]["verdict_count"].sum() >= 3
    assert (tables["learner_scores"]["as_of"] > to_naive_utc(start)).any()


def test_a_second_identical_run_of_an_hour_changes_nothing(world: World) -> None:
    at = world.now + timedelta(hours=1)
    world.arrive(at)
    run_hour(world.settings, None, at)
    before = published(world.settings)
    assert run_hour(world.settings, None, at).state == "nothing_to_do"
    for name, frame in published(world.settings).items():
        assert frame.equals(before[name]), name
