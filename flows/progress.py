"""A progress bar over ticks, for long runs on a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def tick_progress(console: Console) -> Iterator[Callable[[int, int, datetime], None]]:
    """A bar that the returned function moves: (ticks done, ticks in all, last tick)."""
    with _bar(console) as progress:
        task = progress.add_task("pulling and building", total=None)

        def move(done: int, total: int, at: datetime) -> None:
            progress.update(
                task, completed=done, total=total, description=f"decided {at:%Y-%m-%d %H:%M}"
            )

        yield move


@contextmanager
def hour_progress(console: Console, label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar that the returned function moves: (hours done, hours in all)."""
    with _bar(console) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
