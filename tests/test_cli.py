"""The command line: it teaches, it says what is wrong, and it never shows a traceback."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from flows.cli import EXIT_ERROR, app
from tutorflow.settings import load_settings

Names = tuple[str, ...]


@pytest.fixture
def tutorflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Call the command line in an empty directory with a home of its own."""
    monkeypatch.chdir(tmp_path)
    for name in ("TUTORFLOW_HOME", "TUTORFLOW_CONFIG", "TUTORFLOW_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))

    return call


def commands(group: Any = None, path: Names = ()) -> Iterator[tuple[Names, Any]]:
    group = group or get_command(app)
    for name, command in getattr(group, "commands", {}).items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


@pytest.mark.parametrize("path", [path for path, _ in commands()], ids=" ".join)
def test_every_command_explains_itself(tutorflow: Callable[..., Result], path: Names) -> None:
    result = tutorflow(*path, "--help")
    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 5


@pytest.mark.parametrize("command", [c for _, c in commands()], ids=lambda c: c.name)
def test_every_option_and_argument_is_described(command: Any) -> None:
    silent = [p.name for p in command.params if p.name != "help" and not getattr(p, "help", "")]
    assert not silent


def test_without_a_command_the_help_is_shown(tutorflow: Callable[..., Result]) -> None:
    output = tutorflow().output
    assert "tutorflow demo" in output
    assert "backfill" in output


def test_a_missing_configuration_is_a_message_and_exit_2(
    tutorflow: Callable[..., Result],
) -> None:
    result = tutorflow("run")
    assert result.exit_code == EXIT_ERROR
    assert "tutorflow.yml" in result.stderr
    assert "Traceback" not in result.output


def test_init_writes_a_configuration_that_loads(
    tutorflow: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "exports").mkdir()
    result = tutorflow("init", "--source", "exports/*.csv", "--timezone", "Europe/Berlin")
    assert result.exit_code == 0, result.output
    settings = load_settings(tmp_path / ".tutorflow")
    assert settings.timezone == "Europe/Berlin"
    (source,) = settings.sources
    assert settings.source_path(source).resolve() == tmp_path / "exports" / "*.csv"


def test_init_without_a_source_writes_a_configuration_that_loads(
    tutorflow: Callable[..., Result], tmp_path: Path
) -> None:
    assert tutorflow("--home", "here", "init").exit_code == 0
    assert load_settings(tmp_path / "here").sources == ()


def test_init_never_overwrites(tutorflow: Callable[..., Result], tmp_path: Path) -> None:
    tutorflow("init")
    before = (tmp_path / ".tutorflow" / "tutorflow.yml").read_text()
    result = tutorflow("init", "--timezone", "Asia/Tokyo")
    assert result.exit_code == EXIT_ERROR
    assert (tmp_path / ".tutorflow" / "tutorflow.yml").read_text() == before


def test_init_with_a_wrong_zone_leaves_nothing_behind(
    tutorflow: Callable[..., Result], tmp_path: Path
) -> None:
    result = tutorflow("init", "--timezone", "Europe/Berlim")
    assert result.exit_code == EXIT_ERROR
    assert "Europe/Berlin" in result.stderr
    assert not (tmp_path / ".tutorflow" / "tutorflow.yml").exists()


def test_queue_and_status_say_so_before_the_first_run(tutorflow: Callable[..., Result]) -> None:
    tutorflow("init")
    for command in ("queue", "status"):
        result = tutorflow(command)
        assert result.exit_code == 0, result.output
        assert "tutorflow run" in result.output


def test_doctor_finds_what_is_missing(tutorflow: Callable[..., Result]) -> None:
    tutorflow("init", "--source", "nowhere/*.csv")
    result = tutorflow("doctor")
    assert result.exit_code == EXIT_ERROR
    assert "nowhere" in result.output


def test_accepting_a_check_takes_a_reason(tutorflow: Callable[..., Result]) -> None:
    tutorflow("init")
    result = tutorflow("run", "--accept", "candidates.alert_storm")
    assert result.exit_code == EXIT_ERROR
    assert "--reason" in result.stderr


def test_the_shipped_policy_is_valid(tutorflow: Callable[..., Result]) -> None:
    result = tutorflow("policy", "check")
    assert result.exit_code == 0
    assert "is valid" in result.output


def test_a_wrong_policy_names_file_and_line(
    tutorflow: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "policy.yml").write_text("version: '1'\nrulez: {}\n")
    result = tutorflow("policy", "check", "policy.yml")
    assert result.exit_code == EXIT_ERROR
    assert "policy.yml:2" in result.stderr


def test_help_loads_neither_prefect_nor_dbt_nor_great_expectations() -> None:
    code = (
        "import sys, flows.cli, flows.hour\n"
        "heavy = {'prefect', 'dbt', 'great_expectations'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
