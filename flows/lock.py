"""One run at a time in one home directory.

The kernel's file lock is the lock: it goes away with the process that held it, however that process
ended, so there is no stale lock to remove. What stands in the file only tells who holds it.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from tutorflow.errors import TutorflowError

_POLL_SECONDS = 0.2


class RunLocked(TutorflowError):
    """Another run is still working in this home directory."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a run lock, and since when."""

    pid: int
    since: str

    def __str__(self) -> str:
        return f"pid {self.pid}, since {self.since}"


def holder(lock_path: Path) -> Holder | None:
    """Who holds the lock at this instant; None when it is free."""
    if not lock_path.exists():
        return None
    with lock_path.open("r") as file:
        if _try_lock(file):
            return None
        return _read_holder(file)


@contextmanager
def run_lock(
    lock_path: Path,
    now: datetime,
    wait_seconds: float,
    on_wait: Callable[[Holder], None] | None = None,
) -> Iterator[None]:
    """Hold the run lock of a home directory; `on_wait` is told once whom we wait for.

    Raises RunLocked, naming the holder, when it is not free within `wait_seconds`.
    """
    lock_path.parent.mkdir(parents=True, exist_ok=True)
    with lock_path.open("a+") as file:
        deadline = time.monotonic() + wait_seconds
        told = False
        while not _try_lock(file):
            who = _read_holder(file)
            if time.monotonic() >= deadline:
                raise RunLocked(
                    f"Another run ({who}) is working in {lock_path.parent}; waited "
                    f"{wait_seconds:.0f} s for it. Let it finish and run again (the next run "
                    "catches up), or give more time with --wait SECONDS."
                )
            if on_wait is not None and not told:
                on_wait(who)
                told = True
            time.sleep(_POLL_SECONDS)
        file.seek(0)
        file.truncate()
        json.dump({"pid": os.getpid(), "since": now.strftime("%Y-%m-%d %H:%M:%S UTC")}, file)
        file.flush()
        yield


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_holder(file: IO[str]) -> Holder:
    file.seek(0)
    try:
        content = json.load(file)
        return Holder(int(content["pid"]), str(content["since"]))
    except (ValueError, KeyError):  # caught between taking the lock and writing who took it
        return Holder(0, "just now")
