"""One measurement in one child process, so that its peak of memory is its own."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")


class ChildDied(Exception):
    """The measured process was killed, most likely for want of memory."""


@dataclass(frozen=True)
class Measured(Generic[T]):
    """What a function returned in a process of its own, and what that took.

    `seconds`: of the function, imports at its first use included. `cpu_seconds`: of all cores.
    `peak_bytes`: largest resident memory of the process. `others`: cores that other processes kept
    busy meanwhile (None: unknown); where that is not near zero, trust `cpu_seconds`.
    """

    value: T
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    others: float | None


def in_child(function: Callable[..., T], *arguments: object) -> Measured[T]:
    """Run a module's function in a fresh process; raises what it raises, ChildDied if it dies."""
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(measured, function, *arguments).result()
        except BrokenProcessPool:
            raise ChildDied(f"{function.__name__} was killed (out of memory?)") from None


def measured(function: Callable[..., T], *arguments: object) -> Measured[T]:
    """As `in_child`, in this process: the peak is that of the whole process so far."""
    busy_before, own_before = _busy_seconds(), own_cpu_seconds()
    started = time.perf_counter()
    value = function(*arguments)
    elapsed = time.perf_counter() - started
    busy, own = _busy_seconds(), own_cpu_seconds() - own_before
    others = None
    if busy is not None and busy_before is not None:
        others = max(0.0, busy - busy_before - own) / max(elapsed, 0.01)
    return Measured(value, elapsed, own, peak_bytes(), others)


def peak_bytes() -> int:
    """Largest resident memory of this process so far.

    The kernel's `VmHWM` where there is one: `ru_maxrss` of a process also counts what its parent
    held when it was started.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return largest if sys.platform == "darwin" else largest * 1024


def _busy_seconds() -> float | None:
    """Processor seconds spent by everybody since the machine started."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return None
    user, nice, system, _idle, _iowait, irq, softirq = map(int, stat.read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def own_cpu_seconds() -> float:
    """Processor seconds spent by this process and the children it has waited for."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system
