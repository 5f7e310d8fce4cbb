"""What was measured, as Markdown tables with the targets beside the ratios."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.bench.building import Built
from tests.bench.homes import History
from tests.bench.hours import STEPS, HourTaken
from tests.bench.long_run import COMPARED, LongRun
from tests.bench.mastery import MODEL, Compared
from tests.bench.measuring import Measured

GB = 1e9

BUILD_RATIO = 8.0
BUILD_PEAK_GB = 6.0
HOUR_RATIO = 1.5
MASTERY_RATIO = 10.0
SIZE_RATIO = 3.0
DRIFT_RATIO = 1.2


@dataclass
class OfHistory:
    """What was measured on one history; None where it was not, or where the process died."""

    history: History
    pull_seconds: float | None = None
    build: Measured[Built] | None = None
    window: Measured[float] | None = None
    mastery: Measured[Compared] | None = None
    hours: Measured[list[HourTaken]] | None = None

    @property
    def hour(self) -> HourTaken | None:
        """The median of the hours that found the process warm."""
        if self.hours is None:
            return None
        warm = sorted(self.hours.value[1:] or self.hours.value, key=lambda hour: hour.total)
        return warm[len(warm) // 2]


@dataclass
class Findings:
    """Everything measured in one run of the bench."""

    of_history: list[OfHistory] = field(default_factory=list)
    long_run: Measured[LongRun] | None = None
    cold_seconds: float | None = None
    notes: list[str] = field(default_factory=list)


def markdown(findings: Findings) -> str:
    """All tables of what there is."""
    parts = [
        _builds(findings.of_history),
        _hours(findings.of_history),
        _mastery(findings.of_history),
        _long_run(findings.long_run, findings.cold_seconds),
        "\n".join(f"* {note}" for note in findings.notes),
    ]
    return "\n\n".join(part for part in parts if part)


def size(events: int) -> str:
    """`30 M`, `250 k`."""
    for unit, name in ((1_000_000, " M"), (1_000, " k")):
        if events >= unit:
            return f"{events / unit:.4g}{name}"
    return str(events)


def judged(value: float, target: float, at_least: bool = False) -> str:
    """The value, the target, and whether it was met."""
    is_met = value >= target if at_least else value <= target
    sign = ">=" if at_least else "<="
    return f"{value:.2f} (target {sign} {target:g}: {'met' if is_met else 'NOT met'})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _builds(found: Sequence[OfHistory]) -> str:
    built = [(one, one.build) for one in found if one.build]
    rows = [
        [
            size(build.value.events),
            f"{one.history.learners:,}",
            _seconds(one.pull_seconds),
            _seconds(build.value.seconds),
            _seconds(one.window.value if one.window else None),
            judged(build.value.seconds / one.window.value, BUILD_RATIO) if one.window else "",
            judged(build.peak_bytes / GB, BUILD_PEAK_GB),
            f"{build.value.warehouse_bytes / GB:.2f}",
            _others(build),
        ]
        for one, build in built
    ]
    head = ["events", "learners", "pull s", "full build s", "one window pass s", "ratio"]
    return (
        "**Full build**\n\n"
        + table([*head, "peak memory GB", "warehouse GB", "others' cores"], rows)
        if rows
        else ""
    )


def _hours(found: Sequence[OfHistory]) -> str:
    ran = [(one, one.hour, one.hours) for one in found]
    rows = [
        [
            size(one.history.events),
            f"{one.history.events // one.history.learners:,}",
            f"{one.history.active:,}",
            *(_seconds(hour.seconds[step]) for step in STEPS),
            _seconds(hour.total),
            _seconds(hours.value[0].total),
            _seconds(sum(hour.cpu.values())),
            f"{hours.peak_bytes / GB:.2f}",
            _others(hours),
        ]
        for one, hour, hours in ran
        if hour and hours
    ]
    if not rows:
        return ""
    head = [
        "events",
        "per learner",
        "active",
        "pull s",
        "build s",
        "decide s",
        "measure s",
        "gate s",
    ]
    text = "**One hour on top of that history** (warm; median)\n\n" + table(
        [
            *head,
            "publish s",
            "snapshot s",
            "**total s**",
            "cold s",
            "processor s",
            "peak memory GB",
            "others' cores",
        ],
        rows,
    )
    return "\n\n".join([text, *_hour_ratios(found)])


def _hour_ratios(found: Sequence[OfHistory]) -> list[str]:
    per_learner = min(one.history.events // one.history.learners for one in found)
    alike = [
        (one.history, one.hour)
        for one in found
        if one.hour and one.history.events // one.history.learners <= per_learner + 1
    ]
    if len(alike) < 2:
        return []
    (small, short), (large, long) = alike[0], alike[-1]
    ratio = judged(long.total / short.total, HOUR_RATIO)
    return [f"Hour at {size(large.events)} / hour at {size(small.events)} events: {ratio}"]


def _mastery(found: Sequence[OfHistory]) -> str:
    rows = []
    for one in found:
        if one.build and one.mastery:
            compared = one.mastery.value
            model = 1e6 * one.build.value.models[MODEL] / compared.answers
            applied = 1e6 * compared.apply_seconds / compared.sampled
            listed = 1e6 * compared.lists_seconds / compared.sampled
            rows.append(
                [
                    size(compared.answers),
                    f"{model:.2f}",
                    size(compared.sampled),
                    f"{applied:.2f}",
                    judged(applied / model, MASTERY_RATIO, at_least=True),
                    f"{listed:.2f}",
                    f"{compared.largest_difference:.1e}",
                ]
            )
    head = [
        "first attempts",
        "dbt model µs each",
        "sample",
        "pandas groupby-apply µs each",
        "ratio",
    ]
    head += ["over plain lists µs each", "largest difference"]
    return "**Mastery**\n\n" + table(head, rows) if rows else ""


def _long_run(run: Measured[LongRun] | None, cold: float | None) -> str:
    if run is None:
        return ""
    long = run.value
    lines = [
        ["hours run", f"{len(long.seconds)}"],
        ["events", f"{sum(long.events):,}"],
        [f"mean of the first {COMPARED} hours s", f"{long.first:.2f}"],
        [f"mean of the last {COMPARED} hours s", f"{long.last:.2f}"],
        ["last / first", judged(long.last / long.first, DRIFT_RATIO)],
        ["warehouse MB", f"{long.warehouse_bytes / 1e6:.0f}"],
        ["built anew MB", f"{long.fresh_bytes / 1e6:.0f}"],
        ["size ratio", judged(long.warehouse_bytes / long.fresh_bytes, SIZE_RATIO)],
        ["peak memory GB", f"{run.peak_bytes / GB:.2f}"],
        ["others' cores", _others(run)],
    ]
    if cold is not None:
        lines.append(["`tutorflow run`, one more hour in a process of its own s", f"{cold:.2f}"])
    return "**Hour after hour in one process**\n\n" + table(["", ""], lines)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _others(one: Measured[Any]) -> str:
    return "" if one.others is None else f"{one.others:.1f}"
