"""Alerts against the hidden truth, on a few readable rows and on the tiny world."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from conftest import TINY, TINY_NOW, World

from tutorflow.errors import TutorflowError
from tutorflow.publish import read_table
from tutorflow.simulate.delivery import write_truth
from tutorflow.simulate.programme import Programme
from tutorflow.simulate.scoring import Truth, _figures, _pick, as_lines, score_programme

DAY = pd.Timedelta(days=1)
START = pd.Timestamp("2026-01-05")


def truth(*needs: tuple[str, str, int, int], learners: str = "abcd") -> Truth:
    """Four weeks; a need is (learner, kind, first day, day after the last)."""
    rows = [
        (who, kind, START + first * DAY, START + last * DAY) for who, kind, first, last in needs
    ]
    people = pd.DataFrame({"learner_id": list(learners)})
    people["from"], people["until"] = START, START + 28 * DAY
    found = pd.DataFrame(rows, columns=["learner_id", "kind", "started_at", "ended_at"])
    times = dict.fromkeys(("started_at", "ended_at"), "datetime64[us]")
    return Truth(
        found.astype({"learner_id": "str", "kind": "str", **times}),
        people,
        START,
        START + 28 * DAY,
    )


def alerts(*rows: tuple[str, str, float]) -> pd.DataFrame:
    """An alert is (learner, layer, day)."""
    return pd.DataFrame(
        [(who, layer, START + day * DAY) for who, layer, day in rows],
        columns=["learner_id", "layer", "at"],
    )


def test_an_alert_is_right_while_its_learner_has_a_need() -> None:
    hidden = truth(("a", "content", 5, 9), ("b", "compliance", 5, 9))
    found = _figures(
        "these",
        alerts(("a", "content", 4), ("a", "content", 9), ("b", "content", 6), ("c", "content", 6)),
        hidden,
    )
    assert found.in_need == 2 / 4  # a on the day it is written down, b; the ninth day is too late
    assert found.right_layer == 1 / 4
    assert found.recall == 1
    assert found.per_learner_week == 4 / 16


def test_a_need_is_told_of_once() -> None:
    hidden = truth(("a", "content", 5, 25), ("a", "compliance", 15, 25))
    told = alerts(("a", "content", 6), ("a", "content", 14), ("a", "content", 22))
    found = _figures("these", told, hidden)
    assert found.in_need == 1
    assert found.precision == 2 / 3  # the second need is met by the third alert
    assert found.recall == 1


def test_a_repeat_is_the_same_layer_within_a_week() -> None:
    same = alerts(("a", "content", 1), ("a", "content", 8), ("a", "confidence", 2))
    assert _figures("these", same, truth()).repeats == pytest.approx(1 / 3)
    later = alerts(("a", "content", 1), ("a", "content", 8.1))
    assert _figures("these", later, truth()).repeats == 0


def test_a_need_that_came_with_a_held_out_alert_is_neither_found_nor_missed() -> None:
    hidden = truth(("a", "content", 5, 9), ("b", "content", 5, 9), ("c", "content", 5, 9))
    told = alerts(("a", "content", 6), ("c", "content", 6))
    assert _figures("these", told, hidden).recall == 2 / 3
    found = _figures("these", told, hidden, kept_back={1})
    assert (found.recall, found.precision) == (1, 1)
    found = _figures("these", told, hidden, kept_back={2})  # told of by another alert, too
    assert (found.recall, found.precision) == (1 / 2, 1)


def test_the_baseline_of_days_takes_those_away_longest_and_nobody_twice_a_week() -> None:
    seen = pd.DataFrame(
        {
            "learner_id": list("abcd"),
            "last_activity_at": [START + day * DAY for day in (0, 3, 1, 2)],
        }
    )
    volume = pd.Series({START + 5 * DAY: 2, START + 6 * DAY: 1, START + 13 * DAY: 1})
    picked = _pick(volume, truth(), seen, None)
    assert picked["learner_id"].tolist() == ["a", "c", "d", "a"]
    drawn = _pick(volume, truth(), seen, np.random.default_rng(1))
    assert len(drawn) == 4
    assert drawn["learner_id"][:3].is_unique


def test_the_figures_of_a_whole_programme(world: World) -> None:
    with pytest.raises(TutorflowError, match="no truth"):
        score_programme(world.settings, world.settings.home / "truth")
    programme = Programme(TINY)
    programme.advance(TINY_NOW + timedelta(days=1))
    write_truth(programme.truth(), world.settings.home / "truth")
    found = score_programme(world.settings, world.settings.home / "truth")
    ours, left_out, raw, away, drawn = found
    exposures = read_table(world.settings, "exposures", {"alert_tier": [2, 3, 4]})
    told = exposures[exposures["arm"] == "treated"]
    out = exposures[exposures["arm"] == "held_out"]
    assert left_out.alerts == len(out) > 0
    assert ours.alerts == len(set(told["alert_id"]) - set(out["alert_id"]))
    assert np.isnan(left_out.recall)
    assert raw.alerts > ours.alerts > 0
    assert ours.repeats < raw.repeats
    assert away.alerts == drawn.alerts <= ours.alerts
    assert 0 < ours.recall <= raw.recall <= 1
    lines = list(as_lines(found))
    assert len(lines) == 6
    assert f"{ours.alerts:,}" in lines[1]
