"""Imports go one way, and the wall clock is read in one place."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("tutorflow", "expectations", "flows")

# What each package may not know.
FORBIDDEN = {
    "tutorflow": {
        "expectations",
        "flows",
        "prefect",
        "dbt",
        "great_expectations",
        "typer",
        "tests",
    },
    "expectations": {"flows", "prefect", "dbt", "typer", "tests"},
    "flows": {"great_expectations", "tests"},  # dbt and Prefect are known to flows alone
}

# Only the modules of the hourly service know Prefect: `tutorflow run` never loads it.
PREFECT_MODULES = {"tasks.py", "hourly.py", "backfill.py", "nightly.py", "deploy.py"}

CLOCKS = {
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("datetime", "today"),
    ("date", "today"),
    ("time", "time"),
    ("time", "time_ns"),
    ("time", "localtime"),
    ("time", "gmtime"),
    ("Timestamp", "now"),
    ("Timestamp", "utcnow"),
    ("Timestamp", "today"),
}
SQL_CLOCKS = ("now()", "current_timestamp", "current_date", "get_current_timestamp", "today()")


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module, node.lineno


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_from_flows_to_expectations_to_tutorflow(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules(package)
        for name, line in imported(ast.parse(path.read_text()))
        if name.split(".")[0] in FORBIDDEN[package]
    ]
    assert not wrong


def test_prefect_is_known_to_the_service_modules_only() -> None:
    wrong = [
        f"{path.name}:{line}"
        for path in modules("flows")
        if path.name not in PREFECT_MODULES
        for name, line in imported(ast.parse(path.read_text()))
        if name.split(".")[0] == "prefect"
    ]
    assert not wrong


def test_the_wall_clock_is_read_in_one_module() -> None:
    readers = {
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for package in PACKAGES
        for path in modules(package)
        if path != ROOT / "flows" / "clock.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and (name_of(node.value), node.attr) in CLOCKS
    }
    assert not readers


def name_of(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def test_no_sql_reads_the_wall_clock() -> None:
    readers = [
        f"{path.relative_to(ROOT)}: {clock}"
        for folder in ("models", "macros", "tests")
        for path in sorted((ROOT / "dbt_project" / folder).rglob("*.sql"))
        for clock in SQL_CLOCKS
        if clock in path.read_text().lower()
    ]
    assert not readers


def test_every_package_module_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in modules(package)
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent


@pytest.mark.parametrize("name", ["utils", "helpers", "common", "misc"])
def test_nothing_is_called_after_nothing(name: str) -> None:
    assert not [p for package in PACKAGES for p in modules(package) if p.stem == name]


def test_no_top_level_module_looks_like_a_dbt_plugin() -> None:
    """dbt imports and executes every importable top-level module whose name starts with dbt_."""
    assert not [
        p.name for p in ROOT.glob("dbt_*") if p.suffix == ".py" or (p / "__init__.py").exists()
    ]
