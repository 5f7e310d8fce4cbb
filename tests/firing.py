"""What a rule fires on a handful of rows."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any

import pandas as pd
from builders import FAR_FUTURE, FAR_PAST, Row, frames, policy

from tutorflow.decide.signals import Findings, find
from tutorflow.policy import Policy


@cache
def shipped(rule: str) -> Policy:
    """The shipped policy with this rule alone; who the learner is otherwise does not matter."""
    return alone(rule)


def alone(rule: str, **changes: Any) -> Policy:
    """The policy with one rule, whose entry is changed so."""
    marked = policy(only=[rule], rules={rule: changes})
    return policy(only=[rule], rules={rule: {**changes, **_plain(marked).get(rule, {})}})


@cache
def plain() -> Policy:
    """The shipped policy with every rule by itself, whoever the learner is otherwise."""
    return policy(rules=_plain(policy()))


def _plain(used: Policy) -> dict[str, dict[str, bool]]:
    return {
        name: {"only_while_struggling": False}
        for name, entry in used.rules.items()
        if getattr(entry, "only_while_struggling", False)
    }


def found_by(rule: str, level: dict[str, Any] | None = None, **rows: list[Row]) -> Findings:
    """Everything that the shipped rule finds, or one ``level`` in its place."""
    used = shipped(rule) if level is None else alone(rule, levels=[{"sentence": "", **level}])
    return find(frames(**rows), used, pd.Timestamp(FAR_PAST), pd.Timestamp(FAR_FUTURE), {})


def signals_of(rule: str, level: dict[str, Any] | None = None, **rows: list[Row]) -> list[Any]:
    """The signals, in order of time and tier."""
    found = found_by(rule, level, **rows).signals
    return sorted(found.itertuples(), key=lambda s: (s.fired_at, s.alert_tier))


def fired(
    rule: str, level: dict[str, Any] | None = None, **rows: list[Row]
) -> list[tuple[int, str]]:
    """[(alert tier, anchor)] of the shipped rule, or of one ``level`` in its place."""
    return [(s.alert_tier, s.anchor_id) for s in signals_of(rule, level, **rows)]


def fired_on(rule: str, **rows: list[Row]) -> list[tuple[int, datetime]]:
    """[(alert tier, when it fired)] of the shipped rule."""
    return [(s.alert_tier, s.fired_at.to_pydatetime()) for s in signals_of(rule, None, **rows)]


def sentences(rule: str, **rows: list[Row]) -> list[str]:
    """What the shipped rule says."""
    return [s.sentence for s in signals_of(rule, None, **rows)]
