"""The hour and the backfill are one function: they end in the same published tables."""

import shutil
from datetime import timedelta
from pathlib import Path

from conftest import World
from published import differences, published

from flows.history import run_backfill
from flows.hour import run_hour
from tutorflow.settings import load_settings

HOURS = 20


def test_a_backfill_ends_where_running_every_hour_would_have(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.settings.home, tmp_path / "other", symlinks=True)
    other = World(load_settings(tmp_path / "other"), world.now)
    for hour in range(1, HOURS + 1):
        at = world.now + timedelta(hours=hour)
        world.arrive(at)
        assert run_hour(world.settings, None, at).state == "published"
    other.arrive(at)
    report = run_backfill(other.settings, None, None, "hour", at)
    assert len(report.ticks) == HOURS
    assert differences(world.settings, other.settings) == []
    assert len(published(world.settings)["tick_log"]) > HOURS


def test_a_second_identical_run_of_an_hour_changes_nothing(world: World) -> None:
    at = world.now + timedelta(hours=1)
    world.arrive(at)
    run_hour(world.settings, None, at)
    before = published(world.settings)
    assert run_hour(world.settings, None, at).state == "nothing_to_do"
    for name, frame in published(world.settings).items():
        assert frame.equals(before[name]), name
