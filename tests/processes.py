"""The command line as real processes, which a test can watch, stop at a named call, and kill.

Importing dbt and Great Expectations and parsing the dbt project takes seconds, so one server of
`multiprocessing` does it once and every process is forked from that. What happens to a process at
a `Point` is arranged in that process alone: the program has no hooks for tests.
"""

import importlib
import inspect
import logging
import multiprocessing
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, wraps
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, Literal

from tutorflow.settings import Settings

PATIENCE = 120.0  # seconds after which a process that should have ended or come somewhere is stuck

_MP = multiprocessing.get_context("forkserver")
_MP.set_forkserver_preload(["flows.hour", "expectations.gate", "great_expectations", "built_once"])


@dataclass(frozen=True)
class Point:
    """A call of `package.module:function`, the `nth` one whose arguments mention `about`.

    `about` is a regular expression, looked for in arguments that are text and in the `name` of
    others.
    """

    when: Literal["before", "after"]
    function: str
    about: str = ""
    nth: int = 1

    def __str__(self) -> str:
        name = self.function.split(":")[-1]
        number = f" no. {self.nth}" if self.nth > 1 else ""
        return f"{self.when} {name}{number}{f' of {self.about}' if self.about else ''}"


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code (-9: killed) and what it printed, as one line."""

    exit_code: int
    output: str

    @property
    def is_killed(self) -> bool:
        return self.exit_code == -signal.SIGKILL


@dataclass
class Running:
    """A process under way."""

    process: Any
    output: Path
    reached: Any
    go_on: Any

    @property
    def pid(self) -> int:
        return int(self.process.pid)

    def wait_until_there(self) -> None:
        """Wait until it is held at its point."""
        assert self.reached.wait(PATIENCE), self.output.read_text()

    def let_go(self) -> None:
        """Let it go on from there."""
        self.go_on.set()

    def wait(self) -> Ended:
        """Wait for its end."""
        self.process.join(PATIENCE)
        if self.process.exitcode is None:
            self.process.kill()
            raise AssertionError(f"stuck: {self.output.read_text()}")
        return Ended(self.process.exitcode, " ".join(self.output.read_text().split()))


@dataclass(frozen=True)
class Orders:
    """What a process does besides its work."""

    kill_at: Point | None = None
    hold_at: Point | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)  # function -> its `wait_seconds`
    environment: Mapping[str, str] = field(default_factory=dict)


def tutorflow(
    settings: Settings,
    *arguments: str,
    now: datetime,
    kill_at: Point | None = None,
    **environment: str,
) -> Ended:
    """`tutorflow --home ... <arguments>` at the time `now`, from its start to its end."""
    return start(settings, *arguments, now=now, kill_at=kill_at, **environment).wait()


def start(
    settings: Settings,
    *arguments: str,
    now: datetime,
    kill_at: Point | None = None,
    hold_at: Point | None = None,
    seconds: Mapping[str, float] | None = None,
    **environment: str,
) -> Running:
    """As `tutorflow`, but does not wait for its end."""
    orders = Orders(kill_at, hold_at, seconds or {}, environment)
    return _start(_command, (["--home", str(settings.home), *arguments],), now, orders)


def start_flow(settings: Settings, *, now: datetime, kill_at: Point | None = None) -> Running:
    """The hour as Prefect's flow, with the Prefect server that this process uses."""
    from prefect.settings import PREFECT_API_URL

    orders = Orders(
        kill_at,
        environment={
            "PREFECT_API_URL": str(PREFECT_API_URL.value()),
            "PREFECT_LOGGING_TO_API_ENABLED": "false",
        },
    )
    return _start(_flow, (str(settings.home), now), now, orders)


def _start(work: Callable[..., Any], arguments: Any, now: datetime, orders: Orders) -> Running:
    _ensure_server()
    number, path = tempfile.mkstemp(prefix="tutorflow-output-")
    os.close(number)
    reached, go_on = _MP.Event(), _MP.Event()
    process = _MP.Process(
        target=_be, args=(work, arguments, now, orders, path, reached, go_on), daemon=True
    )
    process.start()
    return Running(process, Path(path), reached, go_on)


@cache
def _ensure_server() -> None:
    """Start the server that finds modules where this process does."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
    forkserver.ensure_running()
    del os.environ["PYTHONPATH"]
    if before is not None:
        os.environ["PYTHONPATH"] = before


# --- inside the process ---------------------------------------------------------------------------


def _be(
    work: Callable[..., Any],
    arguments: Any,
    now: datetime,
    orders: Orders,
    output: str,
    reached: Any,
    go_on: Any,
) -> None:
    with Path(output).open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(orders.environment)
    logging.getLogger().handlers.clear()  # of what was imported before the fork
    _replace("flows.clock:utc_now", lambda _: lambda: now)
    for function, limit in orders.seconds.items():
        _replace(function, lambda real, limit=limit: _no_longer_than(limit, real))
    if orders.kill_at:
        _act_at(orders.kill_at, lambda: os.kill(os.getpid(), signal.SIGKILL))
    if orders.hold_at:
        _act_at(orders.hold_at, lambda: (reached.set(), go_on.wait(PATIENCE)))
    try:
        work(*arguments)
    finally:
        reached.set()  # nobody waits for an ended process to come somewhere
        sys.stdout.flush()
        sys.stderr.flush()


def _command(arguments: list[str]) -> None:
    from flows.cli import app

    app(arguments, prog_name="tutorflow")


def _flow(home: str, as_of: datetime) -> None:
    from flows.hourly import hourly

    print(hourly(home=home, as_of=as_of))


def _act_at(point: Point, act: Callable[[], object]) -> None:
    calls = 0

    def around(real: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(real)
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            texts = [str(getattr(one, "name", one)) for one in (*args, *kwargs.values())]
            calls += any(re.search(point.about, text) for text in texts) or not point.about
            is_it = calls == point.nth
            if is_it and point.when == "before":
                calls += 1
                act()
            result = real(*args, **kwargs)
            if is_it and point.when == "after":
                calls += 1
                act()
            return result

        return call

    _replace(point.function, around)


def _no_longer_than(limit: float, real: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its argument `wait_seconds` cut short."""

    @wraps(real)
    def call(*args: Any, **kwargs: Any) -> Any:
        bound = inspect.signature(real).bind(*args, **kwargs)
        bound.apply_defaults()
        bound.arguments["wait_seconds"] = min(limit, bound.arguments["wait_seconds"])
        return real(*bound.args, **bound.kwargs)

    return call


def _replace(function: str, by: Callable[[Any], Any]) -> None:
    module, _, path = function.partition(":")
    owner: Any = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    setattr(owner, name, by(getattr(owner, name)))
