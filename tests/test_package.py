"""The wheel carries everything: installed in an empty environment it works from any directory."""

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytest.importorskip("hatchling", reason="the build backend comes with the locked dev dependencies")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel; third-party packages are borrowed from the one running."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True)
    (site_packages,) = folder.glob("lib/python*/site-packages")
    (site_packages / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    return folder


def test_the_wheel_holds_the_dbt_project_and_every_data_file(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {
        path.relative_to(ROOT).as_posix()
        for package in ("tutorflow", "flows", "expectations")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert sources <= names
    assert "tutorflow/dbt_project/dbt_project.yml" in names
    assert any(name.startswith("tutorflow/dbt_project/models/marts/") for name in names)


def test_the_wheel_holds_nothing_that_was_generated(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert not [n for n in names if "/target/" in n or "/logs/" in n or n.endswith(".duckdb")]
    assert not [n for n in names if n.split("/")[0] in {"tests", "dbt_project", "bench"}]


def test_the_installed_command_works_from_another_directory(
    environment: Path, tmp_path: Path
) -> None:
    def ask(*arguments: str) -> str:
        command = [str(environment / "bin" / arguments[0]), *arguments[1:]]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout

    assert "Every hour" in ask("tutorflow", "--help")
    assert "is valid" in ask("tutorflow", "policy", "check")
    found = ask("python", "-c", "from flows.marts import project_dir; print(project_dir())")
    assert Path(found.strip()).is_relative_to(environment)
