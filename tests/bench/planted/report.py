"""All seeds as Markdown tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tests.bench.planted.findings import Found
from tests.bench.report import table


def together(found: Sequence[Found]) -> tuple[float, float, float, float] | None:
    """(mean true effect, mean estimate, low, high) of the seeds that have an estimate.

    The interval is that of the mean of independent estimates, 95 %, for one look.
    """
    told = [one for one in found if one.effect is not None and one.std_error is not None]
    if not told:
        return None
    mean = float(np.mean([one.effect for one in told]))
    error = math.sqrt(sum((one.std_error or 0.0) ** 2 for one in told)) / len(told)
    truth = float(np.mean([one.truth for one in told]))
    return truth, mean, mean - 1.96 * error, mean + 1.96 * error


def markdown(found: Sequence[Found]) -> str:
    """The tables of all seeds."""
    parts = ["**Coaching (tier 2, told against held out; points)**", _effects(found)]
    parts += ["lot: by how much the two groups differed without help."]
    parts += ["**The useless nudge**", _nudges(found)]
    parts += ["**The harmful rule**", _rules(found)]
    return "\n\n".join(parts)


def _effects(found: Sequence[Found]) -> str:
    rows = [
        [
            f"{one.seed}",
            f"{one.told} / {one.held_out}",
            points(one.truth),
            points(one.luck),
            points(one.effect),
            between(one.low, one.high),
            {True: "yes", False: "NO", None: "-"}[one.is_covered],
            one.verdict,
            f"{one.seconds:.0f}",
        ]
        for one in found
    ]
    pooled = together(found)
    if pooled is not None:
        truth, mean, low, high = pooled
        learners = f"{sum(one.told for one in found)} / {sum(one.held_out for one in found)}"
        covered = "yes" if low <= truth <= high else "NO"
        interval = f"{between(low, high)} (one look)"
        luck = points(float(np.mean([one.luck for one in found])))
        rows.append(["all", learners, points(truth), luck, points(mean), interval, covered, "", ""])
    head = ["seed", "learners", "true effect", "lot", "estimate", "interval", "holds the truth"]
    return table([*head, "verdict", "seconds"], rows)


def _nudges(found: Sequence[Found]) -> str:
    rows = [
        [
            f"{one.seed}",
            points(one.nudge_effect),
            "-" if one.nudge_p is None else f"{one.nudge_p:.2f}",
            one.nudge_verdict,
            f"{one.nudges_said_to_help} of {one.nudges_judged}",
        ]
        for one in found
    ]
    head = ["seed", "estimate", "p, valid every day", "verdict", "of all nudges said to help"]
    return table(head, rows)


def _rules(found: Sequence[Found]) -> str:
    rows = [
        [
            f"{one.seed}",
            f"{one.needless}",
            "-" if one.harm is None else f"{one.harm:+.1f}",
            f"{one.judged}",
            "-" if one.precision is None else f"{one.precision:.0%}",
            "NOT named" if one.rank is None else f"{one.rank} of {len(one.proposed)}",
        ]
        for one in found
    ]
    head = ["seed", "needless calls", "motivation moved by", "alerts judged", "right", "proposal"]
    return table(head, rows)


def points(share: float | None) -> str:
    """`+12.3`: percentage points."""
    return "-" if share is None or math.isnan(share) else f"{100 * share:+.1f}"


def between(low: float | None, high: float | None) -> str:
    """`-4.0 to +12.3`: an interval in percentage points."""
    return "-" if low is None or high is None else f"{points(low)} to {points(high)}"
