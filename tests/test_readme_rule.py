"""The rule that the README adds works as printed there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from builders import FAR_FUTURE, FAR_PAST, answers, frames, policy

from tutorflow.decide import rule as rules
from tutorflow.decide.rules import content, series
from tutorflow.decide.signals import find
from tutorflow.policy.guide import policy_guide

README = (Path(__file__).parent.parent / "README.md").read_text()
NAME = "hints_on_known_skill"


def block(language: str) -> str:
    """The code in the README that speaks of the rule."""
    blocks = re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)
    (found,) = (text for text in blocks if NAME in text)
    return str(found)


@pytest.fixture
def entry() -> Iterator[dict[str, Any]]:
    """The rule's policy entry, while its function is registered."""
    names = {**vars(rules), **vars(series), **vars(content)}
    exec(block("python"), names)
    yield yaml.safe_load(block("yaml"))
    del rules.RULES[NAME]


def test_the_rule_of_the_readme_fires(entry: dict[str, Any]) -> None:
    used = policy(rules=entry)
    known = answers("hhh", p_mastery_before=0.95)
    new = answers("hhh", learner="ben", p_mastery_before=0.94)
    found = find(
        frames(responses=[*known, *new]),
        used,
        pd.Timestamp(FAR_PAST),
        pd.Timestamp(FAR_FUTURE),
        {},
    ).signals
    mine = found[found["rule_id"] == NAME]
    assert mine["sentence"].tolist() == ["3 hints in the last 5 first tries on fractions"]
    assert mine["learner_id"].tolist() == ["ana"]


def test_the_guide_tells_of_it(entry: dict[str, Any]) -> None:
    page = policy_guide(policy(rules=entry))
    assert "Hints on a skill that is mastered already." in page
    assert "- **Alert tier 2**: hints 3, mastered at 0.95." in page
