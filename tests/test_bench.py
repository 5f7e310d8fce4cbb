"""The bench runs, and its slow reference agrees with the marts about mastery."""

from __future__ import annotations

import pytest

from tests.bench import __main__ as command
from tests.bench.building import full_build, land, window_pass
from tests.bench.homes import write_history
from tests.bench.hours import hours_after
from tests.bench.mastery import MODEL, compare
from tests.bench.measuring import measured
from tests.bench.report import Findings, OfHistory, judged, markdown, size

EVENTS, LEARNERS, ACTIVE = 20_000, 60, 25


@pytest.fixture(scope="module")
def measured_history(tmp_path_factory: pytest.TempPathFactory) -> OfHistory:
    """A small history through every part of the bench that needs one, in this process."""
    home = tmp_path_factory.mktemp("bench") / "home"
    history = write_history(home, EVENTS, LEARNERS, ACTIVE)
    landed = land(history, history.ends_at)
    assert landed.rows == EVENTS
    return OfHistory(
        history,
        landed.seconds,
        build=measured(full_build, history),
        window=measured(window_pass, history),
        mastery=measured(compare, history, 1_000),
        hours=measured(hours_after, history, [1]),
    )


def test_a_loop_over_pandas_groups_finds_the_mastery_of_the_marts(
    measured_history: OfHistory,
) -> None:
    assert measured_history.mastery is not None
    compared = measured_history.mastery.value
    assert 100 < compared.sampled <= 1_000
    assert compared.sampled < compared.answers
    assert compared.largest_difference < 1e-9


def test_an_hour_is_measured_step_by_step(measured_history: OfHistory) -> None:
    hour = measured_history.hour
    assert hour is not None
    assert hour.events > ACTIVE
    assert set(hour.seconds) >= {"pull", "build_marts", "decide", "check", "publish"}
    assert 0 < hour.seconds["build_marts"] < hour.total


def test_the_full_build_is_measured_model_by_model(measured_history: OfHistory) -> None:
    assert measured_history.build is not None
    built = measured_history.build.value
    assert built.events == EVENTS
    assert built.models[MODEL] > 0


def test_the_tables_name_every_measurement(measured_history: OfHistory) -> None:
    text = markdown(Findings([measured_history], notes=["a note"]))
    for words in ("Full build", "One hour", "Mastery", "| 20 k |", "* a note"):
        assert words in text


def test_a_target_is_met_or_not() -> None:
    assert judged(1.5, 1.5) == "1.50 (target <= 1.5: met)"
    assert judged(9.0, 10.0, at_least=True) == "9.00 (target >= 10: NOT met)"


@pytest.mark.parametrize(("text", "number"), [("30M", 30_000_000), ("250k", 250_000), ("7", 7)])
def test_sizes_are_read_as_they_are_written(text: str, number: int) -> None:
    assert command.count(text) == number
    assert size(number).replace(" ", "") == text
