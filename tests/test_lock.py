"""One run at a time in one home: tested with real processes."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flows.lock import RunLocked, holder, run_lock

NOW = datetime(2026, 3, 2, 10, tzinfo=UTC)

HOLD = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from flows.lock import run_lock

with run_lock(Path(sys.argv[1]), datetime(2026, 3, 2, 9, tzinfo=UTC), wait_seconds=0):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other_run(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_second_run_leaves_with_the_pid_of_the_first(
    tmp_path: Path, other_run: subprocess.Popen[str]
) -> None:
    with (
        pytest.raises(RunLocked, match=rf"pid {other_run.pid}, since 2026-03-02 09:00:00 UTC"),
        run_lock(tmp_path / "run.lock", NOW, wait_seconds=0),
    ):
        pytest.fail("two runs at once")


def test_a_second_run_waits_until_the_first_ends(
    tmp_path: Path, other_run: subprocess.Popen[str]
) -> None:
    waited_for = []

    def let_it_end(who: object) -> None:
        waited_for.append(who)
        assert other_run.stdin is not None
        other_run.stdin.close()

    with run_lock(tmp_path / "run.lock", NOW, wait_seconds=30, on_wait=let_it_end):
        assert other_run.wait() == 0
    assert [who.pid for who in waited_for] == [other_run.pid]


def test_a_killed_run_leaves_no_lock_behind(
    tmp_path: Path, other_run: subprocess.Popen[str]
) -> None:
    assert holder(tmp_path / "run.lock") is not None
    other_run.kill()
    other_run.wait()
    assert holder(tmp_path / "run.lock") is None
    with run_lock(tmp_path / "run.lock", NOW, wait_seconds=0):
        pass


def test_no_lock_file_means_no_holder(tmp_path: Path) -> None:
    assert holder(tmp_path / "run.lock") is None
