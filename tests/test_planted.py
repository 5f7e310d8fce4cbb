"""The bench of planted truths: it runs end to end, and its own truth is one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pandas as pd
import pytest

from tests.bench.planted import findings, world
from tests.bench.planted.coaches import NEEDLESS, RULE
from tests.bench.planted.findings import Found
from tests.bench.planted.report import markdown, together
from tutorflow.measure.tuning import proposals
from tutorflow.publish import read_table


@dataclass(frozen=True)
class Tiny:
    """A programme of two weeks, one coaching day, and a rule that cries wolf at many."""

    played: world.Played
    cases: pd.DataFrame


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiny]:
    folder = tmp_path_factory.mktemp("planted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world, "COACHING_DAYS", (0,))
        patch.setitem(world.HOLD_OUT, "share", 0.4)
        patch.setitem(world.HARMFUL_RULE["levels"][0]["when"], "after_correct", 3)
        played = world.play(folder / "played", world.configuration(70, 2, seed=1))
        yield Tiny(played, findings.with_gains(played, folder / "again"))


def test_without_help_a_programme_is_the_same_for_everybody_else(tiny: Tiny) -> None:
    """What the truth rests on: who was not helped has the outcome that was published."""
    helped = {contact.user for contact in tiny.played.contacts}
    assert len(helped) > 5
    held_out = tiny.cases[~tiny.cases["is_treated"]]
    assert len(held_out) > 5
    assert (held_out["gain"] == 0).all()
    again = findings.resumed(tiny.played.settings, tiny.cases)
    assert (again == tiny.cases["outcome"]).all()


def test_help_changes_what_becomes_of_those_who_got_it(tiny: Tiny) -> None:
    told = tiny.cases[tiny.cases["is_treated"]]
    assert (told["gain"] != 0).any()
    truth = findings.of_cases(tiny.cases)
    assert truth["told"] + truth["held_out"] == len(tiny.cases)


def test_the_harmful_rule_is_judged_worse_than_the_others_and_named(tiny: Tiny) -> None:
    quality = read_table(tiny.played.settings, "rule_quality").set_index("rule_id")
    verdicts = quality["verdict_count"]
    right = quality["verdict_precision"].fillna(0.0) * verdicts
    others = quality.index != RULE
    rest = right[others].sum() / verdicts[others].sum()
    assert verdicts[RULE] >= 20
    assert quality.loc[RULE, "verdict_precision"] < rest
    assert RULE in [proposal.rule for proposal in proposals(tiny.played.settings)]


def test_a_needless_call_lowers_motivation(tiny: Tiny) -> None:
    assert NEEDLESS in {contact.kind for contact in tiny.played.contacts}
    called = findings.of_needless_calls(tiny.played)
    assert called["needless"] > 5
    assert called["harm"] < -1


FOUND = Found(
    seed=1, told=80, held_out=80, gain=0.12, gain_held_out=0.02, luck=-0.05, effect=0.06,
    std_error=0.1, low=-0.3, high=0.4, verdict="not_enough_data", nudge_verdict="not_enough_data",
    nudge_effect=-0.01, nudge_p=1.0, nudges_judged=9, nudges_said_to_help=0, precision=0.1,
    judged=30, rank=None, proposed=("other",), needless=20, harm=-2.0, seconds=100.0,
)  # fmt: skip


def test_the_tables_say_whether_the_truth_was_found() -> None:
    text = markdown([FOUND, replace(FOUND, seed=2, low=0.15, rank=1)])
    assert "| 1 | 80 / 80 | +10.0 | -5.0 | +6.0 | -30.0 to +40.0 | yes |" in text
    assert "| 2 | 80 / 80 | +10.0 | -5.0 | +6.0 | +15.0 to +40.0 | NO |" in text
    assert "| NOT named |" in text
    assert "| 1 of 1 |" in text


def test_seeds_together_are_as_sure_as_their_number_allows() -> None:
    pooled = together([FOUND, replace(FOUND, effect=0.16), replace(FOUND, effect=None)])
    assert pooled is not None
    truth, mean, low, high = pooled
    assert (truth, mean) == (pytest.approx(0.1), pytest.approx(0.11))
    assert high - low == pytest.approx(2 * 1.96 * 0.1 / 2**0.5)
