"""A pause moves the state of everybody it concerns, hour by hour or in one go."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
from conftest import World
from published import differences

from flows.history import run_backfill
from flows.hour import run_hour
from tutorflow.hours import to_naive_utc
from tutorflow.publish import read_table
from tutorflow.settings import Settings, load_settings

HOURS = 3


def with_a_pause(world: World) -> None:
    """The whole programme pauses from the first hour on and is back in the third."""
    begin, end = (world.now + timedelta(hours=0.5), world.now + timedelta(hours=2.5))
    folder = world.settings.home / "roster"
    folder.mkdir()
    (folder / "calendar.csv").write_text(
        f"kind,starts_at,ends_at\npause,{begin.isoformat()},{end.isoformat()}\n"
    )
    config = world.settings.home / "tutorflow.yml"
    config.write_text(config.read_text() + "roster_path: roster\n")


def states(settings: Settings, at: datetime) -> dict[str, str]:
    """Learner -> state at an instant."""
    rows = read_table(settings, "learner_states")
    moment = pd.Timestamp(to_naive_utc(at))
    rows = rows[(rows["since"] <= moment) & ~(rows["until"] <= moment)]
    return dict(zip(rows["learner_id"], rows["state"], strict=True))


def test_a_pause_of_the_programme_moves_everybody_there_and_back(
    world: World, tmp_path: Path
) -> None:
    before = states(world.settings, world.now)
    with_a_pause(world)
    settings = load_settings(world.settings.home)
    shutil.copytree(settings.home, tmp_path / "other", symlinks=True)
    for hour in range(1, HOURS + 1):
        at = world.now + timedelta(hours=hour)
        world.arrive(at)
        assert run_hour(settings, None, at).state == "published"
    for hour in (1, 2):
        during = states(settings, world.now + timedelta(hours=hour))
        assert set(during) == set(before)
        assert set(during.values()) == {"paused"}
    after = states(settings, at)
    assert set(after) == set(before)
    assert "paused" not in after.values()

    other = World(load_settings(tmp_path / "other"), world.now)
    other.arrive(at)
    run_backfill(other.settings, None, None, "hour", at)
    assert differences(settings, other.settings) == []
