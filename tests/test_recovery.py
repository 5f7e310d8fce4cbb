"""Kaplan-Meier with Greenwood's band, and Cohen's kappa, against numbers worked by hand."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from measured import at

from tutorflow.measure.recovery import (
    agreement,
    at_days,
    cohen_kappa,
    followed,
    kaplan_meier,
    recovery_curves,
)


def curve(*days: float | str) -> pd.DataFrame:
    """The curve of these times; one written as text, such as '3+', is censored."""
    times = np.array([float(str(day).rstrip("+")) for day in days])
    return kaplan_meier(times, np.array([not str(day).endswith("+") for day in days]))


def test_without_censoring_it_is_the_share_still_waiting() -> None:
    found = curve(1, 2, 3, 4)
    assert found["survival"].tolist() == pytest.approx([0.75, 0.5, 0.25, 0.0])
    assert found["at_risk"].tolist() == [4, 3, 2, 1]


def test_who_is_no_longer_followed_leaves_without_counting_as_recovered() -> None:
    found = curve(1, "2+", 3, "3+", 5)
    # at day 3 three are followed, of whom one recovers; at day 5 one of one
    assert found["day"].tolist() == [1, 3, 5]
    assert found["at_risk"].tolist() == [5, 3, 1]
    assert found["survival"].tolist() == pytest.approx([4 / 5, 4 / 5 * 2 / 3, 0])


def test_several_at_the_same_time_are_one_step() -> None:
    found = curve(2, 2, 2, "9+")
    assert (found["events"].tolist(), found["survival"].tolist()) == ([3], [0.25])


def test_the_band_is_greenwoods_on_the_log_log_scale() -> None:
    (_, row), *_ = curve(1, 2, "3+", "3+").iterrows()
    # one of four at day 1: S = 0.75, Greenwood's sum = 1 / (4 x 3)
    reach = 1.959964 * math.sqrt(1 / 12) / abs(math.log(0.75))
    assert row["low"] == pytest.approx(0.75 ** math.exp(reach), abs=1e-6)
    assert row["high"] == pytest.approx(0.75 ** math.exp(-reach), abs=1e-6)


def test_the_band_covers_the_truth_as_often_as_it_says() -> None:
    draw, covered = np.random.default_rng(1), 0
    for _ in range(400):
        times, leaves = draw.exponential(2.0, 80), draw.uniform(0.0, 6.0, 80)
        found = kaplan_meier(np.minimum(times, leaves), times <= leaves)
        point = at_days(found, np.array([2.0])).iloc[0]
        covered += point["low"] <= math.exp(-1) <= point["high"]
    assert 0.92 <= covered / 400 <= 0.98


def test_nobody_recovering_is_a_flat_line() -> None:
    assert curve("1+", "2+").empty
    flat = at_days(curve("1+", "2+"), np.array([0.0, 2.0]))
    assert flat[["survival", "low", "high"]].to_numpy().tolist() == [[1, 1, 1], [1, 1, 1]]


# -- from outcome rows -----------------------------------------------------------------------------


def an_outcome(label: str, recovered: float | None, day: float = 0, **columns: Any) -> Any:
    return {
        "exposed_at": at(day),
        "window_ends_at": at(day + 7),
        "course_id": "maths",
        "layer": "content",
        "alert_tier": 2,
        "label": label,
        "days_to_recovery": recovered,
        **columns,
    }


FAR = at(30)


def follow(*rows: Any, complete: datetime | None = FAR) -> Any:
    frame = pd.DataFrame(rows).astype({"days_to_recovery": "float64"})
    found = followed(frame, at(10), lambda course: complete)
    return list(zip(found["days"], found["is_event"], strict=True))


def test_an_alert_is_followed_until_recovery_the_end_of_the_window_or_now() -> None:
    assert follow(
        an_outcome("resumed", 1.5),
        an_outcome("no_change", None),
        an_outcome("still_open", None, day=8),
    ) == [(1.5, True), (7.0, False), (2.0, False)]


def test_a_feed_that_stopped_ends_the_following_there() -> None:
    assert follow(an_outcome("still_open", None, day=4), complete=at(5)) == [(1.0, False)]
    assert follow(an_outcome("still_open", None, day=4), complete=None) == [(0.0, False)]


def test_there_is_a_curve_for_all_for_each_layer_and_for_each_tier() -> None:
    rows = [an_outcome("resumed", 1.0), an_outcome("no_change", None, layer="compliance")]
    follows = followed(
        pd.DataFrame(rows).astype({"days_to_recovery": "float64"}), at(10), lambda course: at(30)
    )
    found = pd.DataFrame(recovery_curves(follows, 7, at(10)))
    last = found.groupby(["group_kind", "group_name"]).tail(1)
    shares = last.set_index(["group_kind", "group_name"])["recovered_share"]
    assert shares.to_dict() == {
        ("all", "all"): 0.5,
        ("layer", "compliance"): 0.0,
        ("layer", "content"): 1.0,
        ("alert_tier", "2"): 0.5,
    }
    assert (found["low"] <= found["recovered_share"]).all()
    assert (found["recovered_share"] <= found["high"]).all()


# -- agreement -------------------------------------------------------------------------------------


def test_kappa_of_a_worked_example() -> None:
    # 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: agreed 0.7, by chance 0.5
    one = pd.Series(["yes"] * 25 + ["no"] * 25)
    other = pd.Series(["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15)
    n, agreed, kappa = cohen_kappa(one, other)
    assert (n, agreed) == (50, 0.7)
    assert kappa == pytest.approx(0.4)


def test_kappa_says_nothing_without_cases_or_without_variety() -> None:
    empty = pd.Series([], dtype="str")
    assert cohen_kappa(empty, empty) == (0, None, None)
    same = pd.Series(["resumed"] * 5)
    assert cohen_kappa(same, same) == (5, 1.0, None)


def test_only_final_labels_are_compared_with_codes_that_say_something() -> None:
    rows = pd.DataFrame(
        [
            (72, "resumed", "resumed"),
            (72, "no_change", "resumed"),
            (72, "still_open", "resumed"),
            (72, "resumed", "too_early"),
        ],
        columns=["window_hours", "label", "coach_code"],
    )
    (row,) = agreement(rows, at(10))
    assert (row["compared_count"], row["agreed_share"]) == (2, 0.5)
