"""`tutorflow doctor`: is everything in place, and what has to be put right?"""

import os
import platform
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from glob import glob
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from flows.lock import holder
from flows.marts import project_dir
from flows.status_page import say_age
from tutorflow import publish
from tutorflow.decide.asleep import rules_asleep
from tutorflow.errors import TutorflowError
from tutorflow.policy import load_policy
from tutorflow.policy.nudges import load_nudges
from tutorflow.settings import Settings, load_settings

Level = Literal["ok", "note", "wrong"]

_PACKAGES = (
    *("tutorflow", "duckdb", "dbt-core", "dbt-duckdb", "prefect", "great-expectations"),
    *("pandas", "sqlalchemy"),
)
_LEAST_FREE = 2_000_000_000


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: `ok`, a `note`, or `wrong` with what to do."""

    level: Level
    subject: str
    text: str


def examine(home: Path | None, now: datetime) -> list[Finding]:
    """Everything that can be checked without changing anything."""
    findings = [*_installation()]
    try:
        settings = load_settings(home)
    except TutorflowError as error:
        return [*findings, Finding("wrong", "configuration", str(error))]
    findings.append(
        Finding(
            "ok",
            "configuration",
            f"{settings.config_path}: zone {settings.timezone}, one decision per {settings.tick}",
        )
    )
    for look in (_key, _sources, _policy, _serving, _warehouse, _lock):
        try:
            findings += look(settings, now)
        except TutorflowError as error:
            findings.append(Finding("wrong", look.__name__.removeprefix("_"), str(error)))
    return findings


def has_faults(findings: list[Finding]) -> bool:
    """Whether anything must be put right."""
    return any(finding.level == "wrong" for finding in findings)


def render(findings: list[Finding]) -> RenderableType:
    """The findings as a table."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    styles = {"ok": "green", "note": "yellow", "wrong": "bold red"}
    for finding in findings:
        table.add_row(
            Text(finding.level, style=styles[finding.level]),
            Text(finding.subject),
            Text(finding.text),
        )
    return table


def _installation() -> Iterator[Finding]:
    found = [f"Python {platform.python_version()}"]
    missing = []
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    yield Finding("ok", "versions", ", ".join(found))
    if missing:
        yield Finding("wrong", "versions", f"not installed: {', '.join(missing)}; install again")
    try:
        yield Finding("ok", "dbt project", str(project_dir()))
    except TutorflowError as error:
        yield Finding("wrong", "dbt project", str(error))


def _key(settings: Settings, now: datetime) -> Iterator[Finding]:
    if os.environ.get("TUTORFLOW_KEY"):
        yield Finding("ok", "pseudonym key", "from TUTORFLOW_KEY")
    elif not settings.key_path.exists():
        yield Finding("note", "pseudonym key", "none yet; the first pull makes one")
    else:
        mode = stat.S_IMODE(settings.key_path.stat().st_mode)
        if mode & 0o077:
            yield Finding(
                "wrong",
                "pseudonym key",
                f"{settings.key_path} can be read by others (mode {mode:o}): chmod 600 it",
            )
        else:
            yield Finding("ok", "pseudonym key", f"{settings.key_path}, mode {mode:o}")


def _sources(settings: Settings, now: datetime) -> Iterator[Finding]:
    if not settings.sources:
        yield Finding("wrong", "sources", f"none; name at least one in {settings.config_path}")
    for source in settings.sources:
        path = settings.source_path(source)
        files = [path] if path.exists() else glob(str(path))  # noqa: PTH207 - an absolute pattern
        if files:
            yield Finding("ok", f"source {source.name}", f"{len(files)} at {path}")
        else:
            yield Finding("wrong", f"source {source.name}", f"there is nothing at {path}")


def _policy(settings: Settings, now: datetime) -> Iterator[Finding]:
    policy = load_policy(settings.policy_path)
    enabled = policy.enabled_rules()
    asleep = rules_asleep(policy, settings)
    library = load_nudges(settings.nudges_path, policy)
    name = str(settings.policy_path or "the shipped policy")
    yield Finding("ok", "policy", f"{name}, version {policy.version}, {len(enabled)} rules enabled")
    if asleep:
        told = "; ".join(f"{rule} (needs {needs})" for rule, needs in sorted(asleep.items()))
        yield Finding("note", "rules asleep", f"there is not what they need: {told}")
    name = str(settings.nudges_path or "the shipped library")
    yield Finding(
        "ok", "nudges", f"{name}, version {library.version}, {len(library.nudges)} nudges"
    )


def _serving(settings: Settings, now: datetime) -> Iterator[Finding]:
    status = publish.read_status(settings, now, run_count=1)
    if status.age is None:
        yield Finding("note", "serving", "reachable; nothing published yet: tutorflow run")
    else:
        yield Finding("ok", "serving", f"reachable; readers see an hour {say_age(status.age)} old")


def _warehouse(settings: Settings, now: datetime) -> Iterator[Finding]:
    if settings.warehouse_path.exists():
        size = settings.warehouse_path.stat().st_size
        yield Finding("ok", "warehouse", f"{settings.warehouse_path}, {size / 1e6:,.0f} MB")
    else:
        yield Finding("note", "warehouse", "none yet; the first run builds it")
    folder = settings.home
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    level: Level = "ok" if free > _LEAST_FREE else "wrong"
    yield Finding(level, "disk", f"{free / 1e9:,.1f} GB free at {folder}")


def _lock(settings: Settings, now: datetime) -> Iterator[Finding]:
    who = holder(settings.lock_path)
    yield Finding("ok", "run lock", "free" if who is None else f"held by a run ({who})")
