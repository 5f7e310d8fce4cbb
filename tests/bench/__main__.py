"""The command: which sizes, which parts, where; progress, then the tables."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tests.bench import building, hours, long_run, mastery, report
from tests.bench.homes import HOUR, write_history
from tests.bench.measuring import ChildDied, Measured, in_child
from tests.bench.report import Findings, OfHistory, size
from tutorflow.settings import load_settings

T = TypeVar("T")

PARTS = ("build", "hour", "mastery", "long", "cold")
EVENTS_PER_LEARNER = 300
LONG_HISTORY = 3_000
LONG_RUN_LEARNERS = 180


def main() -> None:
    """Measure what the command line asks for, print it, write it where `--out` says."""
    asked = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="tutorflow-bench-", dir=asked.folder))
    findings = Findings()
    try:
        for events, learners, active, wanted in _histories(asked):
            home = folder / f"{events}-{learners}"
            label = f"{size(events)} events of {learners:,} learners: simulating"
            one = OfHistory(_tell(label, write_history, home, events, learners, active))
            findings.of_history.append(one)
            _measure(one, wanted, asked, findings.notes)
            if not asked.keep:
                shutil.rmtree(one.history.home)
        if "long" in asked.parts:
            _long_run(folder / "long", asked, findings)
    finally:
        if not asked.keep:
            shutil.rmtree(folder, ignore_errors=True)
    text = f"{_machine()}\n\n{report.markdown(findings)}\n"
    print(f"\n{text}")
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")


def _measure(one: OfHistory, wanted: set[str], asked: argparse.Namespace, notes: list[str]) -> None:
    history = one.history
    label = f"{size(history.events)} events of {history.learners:,} learners"

    def part(name: str, function: Callable[..., T], *arguments: object) -> Measured[T] | None:
        return _tell(f"{label}: {name}", _survived, notes, label, function, *arguments)

    landed = part("pulling", building.land, history, history.ends_at)
    one.pull_seconds = landed.value.seconds if landed else None
    one.build = part("full build", building.full_build, history)
    if one.build is None:
        return
    if "build" in wanted:
        one.window = part("one window pass", building.window_pass, history)
    if "mastery" in wanted:
        one.mastery = part("mastery in pandas", mastery.compare, history, asked.sample)
    if "hour" in wanted:
        before = part("the tick before", hours.tick_before, history)
        if before:
            one.hours = part("hours", hours.hours_after, history, range(1, 2 + asked.hours))
        for hour in one.hours.value[1:] if one.hours else []:
            print(f"    {_hour(hour)}", flush=True)
        failed = (
            {check for hour in one.hours.value for check in hour.failed_checks}
            if one.hours
            else set()
        )
        if failed:
            notes.append(f"{label}: accepted checks of the gate: {', '.join(sorted(failed))}")


def _long_run(home: Path, asked: argparse.Namespace, findings: Findings) -> None:
    label = f"{asked.long_hours} hours of {LONG_RUN_LEARNERS} learners"
    run = (long_run.run_hours, home, LONG_RUN_LEARNERS, asked.long_hours, long_run.tell)
    findings.long_run = _tell(label, _survived, findings.notes, label, *run)
    if findings.long_run and "cold" in asked.parts:
        until = findings.long_run.value.ends_at + HOUR
        findings.cold_seconds = _tell(
            "one more hour, cold", hours.cold_run, load_settings(home), until
        )


def _survived(
    notes: list[str], label: str, function: Callable[..., T], *arguments: object
) -> Measured[T] | None:
    try:
        return in_child(function, *arguments)
    except ChildDied as died:
        notes.append(f"{label}: {died}")
        return None


def _histories(asked: argparse.Namespace) -> list[tuple[int, int, int, set[str]]]:
    """(events, learners, active learners, parts) of each history, smallest first."""
    parts = set(asked.parts) - {"long", "cold"}
    wanted: dict[int, set[str]] = {events: set(parts) for events in asked.sizes} if parts else {}
    if "hour" in parts:
        wanted.setdefault(asked.base, {"hour"})
    histories = []
    for events, of_size in sorted(wanted.items()):
        if events < asked.base:
            of_size = of_size - {"hour"}
        active = asked.active if "hour" in of_size else 0
        histories.append((events, max(1, events // EVENTS_PER_LEARNER), active, of_size))
    if "hour" in parts and asked.long_history:
        learners = max(asked.active, asked.long_history // LONG_HISTORY)
        histories.append((asked.long_history, learners, asked.active, {"hour"}))
    return histories


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--sizes",
        nargs="+",
        type=count,
        default=[10**6, 10**7, 3 * 10**7],
        help="events of the histories (default: 1M 10M 30M)",
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument(
        "--base",
        type=count,
        default=3 * 10**6,
        help="the smallest history that an hour is run on (default: 3M)",
    )
    parser.add_argument(
        "--active", type=count, default=8_000, help="learners active in the hour (default: 8000)"
    )
    parser.add_argument("--hours", type=int, default=3, help="warm hours to run (default: 3)")
    parser.add_argument(
        "--long-history",
        type=count,
        default=3 * 10**7,
        help="events of the history with ten times as much per learner (default: 30M; 0: none)",
    )
    parser.add_argument(
        "--sample", type=count, default=200_000, help="answers traced in pandas (default: 200k)"
    )
    parser.add_argument(
        "--long-hours",
        type=int,
        default=long_run.HOURS,
        help="hours in a row (default: %(default)s)",
    )
    parser.add_argument("--folder", type=Path, help="where to work (default: the system's)")
    parser.add_argument("--keep", action="store_true", help="keep the homes")
    parser.add_argument("--out", type=Path, help="write the tables to this file, too")
    return parser.parse_args()


def count(text: str) -> int:
    """`250k`, `30M`, `1200`."""
    unit = {"k": 1_000, "m": 1_000_000}.get(text[-1:].lower(), 1)
    return int(float(text.rstrip("kKmM")) * unit)


def _tell(what: str, work: Callable[..., T], *arguments: object) -> T:
    print(what, end=" ... ", flush=True)
    done = work(*arguments)
    print(_took(done), flush=True)
    return done


def _took(done: object) -> str:
    if isinstance(done, Measured):
        others = "" if done.others is None else f", others kept {done.others:.1f} cores busy"
        took = f"{done.seconds:.1f} s ({done.cpu_seconds:.1f} s of processor)"
        return f"{took}, peak {done.peak_bytes / 1e9:.2f} GB{others}"
    return "died" if done is None else "done"


def _hour(hour: hours.HourTaken) -> str:
    steps = ", ".join(
        f"{step} {hour.seconds[step]:.1f} ({hour.cpu[step]:.1f})" for step in hours.STEPS
    )
    around = f"{hour.overhead:.1f} s of the build around its models"
    return f"{hour.events:,} events, {hour.opened:,} alerts opened: {steps}; {around}"


def _machine() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = os.environ.get("TUTORFLOW_THREADS") or cores
    limit = os.environ.get("TUTORFLOW_MEMORY_LIMIT") or "4GB"
    return (
        f"{platform.system()} {platform.machine()}, {cores} cores, DuckDB with {threads} threads"
        f" and a memory limit of {limit}, Python {platform.python_version()}"
    )


if __name__ == "__main__":
    main()
