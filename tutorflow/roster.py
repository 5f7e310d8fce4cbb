"""The roster: who learns, who coaches, what is taught and when nobody is expected.

A folder of CSV files, all of them optional; tutorflow.roster_columns lists their columns. Users
are named as the sources name them and become learner ids while the files are read. Rows may carry
`valid_from` and `valid_to`: who asks takes the rows in force at the time in question,
`valid_from <= t < valid_to`.

Times without an offset are wall times in the programme's zone. A mere date means the start of
that day in a column that says from when, and its end in a column that says until when.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from tutorflow.csv_lines import MISSPELT, CsvRow, read_csv_lines
from tutorflow.errors import ConfigurationError, TutorflowError
from tutorflow.hours import day_end, parse_instant, to_naive_utc
from tutorflow.privacy.pseudonyms import ROSTER_NAMESPACE, Pseudonyms, load_pseudonyms
from tutorflow.roster_columns import NAMESPACE, PARSERS, ROSTER, Kind, RosterColumn, split_list
from tutorflow.yaml_lines import did_you_mean

if TYPE_CHECKING:
    from tutorflow.settings import Settings

DEFAULT_COACH = "default"

_DTYPES: dict[Kind, str] = {
    "count": "Int64",
    "flag": "bool",
    "switch": "bool",
    "from": "datetime64[us]",
    "until": "datetime64[us]",
    "list": "object",
}
_UNIQUE = {"coaches": "coach_id", "courses": "course_id", "skills": "skill_id", "items": "item_id"}
_PERIODS = (
    ("valid_from", "valid_to"),
    ("starts_at", "ends_at"),
    ("enrolled_at", "withdrawn_at"),
    ("work_start", "work_end"),
)


@dataclass(frozen=True)
class Roster:
    """One frame per roster file, by its name, with the columns of `ROSTER`.

    `user_id` and `namespace` have become `learner_id` (uuid as text); texts are `str` with NaN
    for unknown, times `datetime64[us]` in naive UTC with NaT, `capacity_per_day` is `Int64`,
    flags are `bool` (unknown is false), `prerequisites` are tuples. `coaches` has at least one
    row; without coaches.csv it is `default`. What a coach's row leaves open (capacity, workdays,
    hours) stays unknown here: the policy has the defaults. `version` is a hash of the files, None
    without a roster.
    """

    learners: pd.DataFrame
    guardians: pd.DataFrame
    coaches: pd.DataFrame
    caseloads: pd.DataFrame
    courses: pd.DataFrame
    skills: pd.DataFrame
    items: pd.DataFrame
    enrolments: pd.DataFrame
    calendar: pd.DataFrame
    version: str | None


def load_roster(settings: Settings) -> Roster:
    """The roster of the home; without `roster_path`, empty frames and one default coach.

    Raises ConfigurationError, with file and line, for the first fault found.
    """
    rows = _read(settings.roster_path)
    pseudonyms = load_pseudonyms(settings)
    frames = {name: _frame(name, rows[name], settings, pseudonyms) for name in ROSTER}
    if not rows["coaches"]:
        frames["coaches"] = _default_coaches(settings)
    _check_references(rows)
    return Roster(**frames, version=_version(settings.roster_path))


def core_skills_of(roster: Roster) -> frozenset[str]:
    """The skills that the roster marks as core: later ones rest on them."""
    return frozenset(roster.skills.loc[roster.skills["is_core"].astype(bool), "skill_id"])


def roster_users(settings: Settings) -> dict[str, set[str]]:
    """Namespace -> the user ids that the roster names in it."""
    users: dict[str, set[str]] = {}
    for name, rows in _read(settings.roster_path).items():
        if any(column.kind == "user" for column in ROSTER[name]):
            for row in rows:
                if row["user_id"]:
                    users.setdefault(row["namespace"] or ROSTER_NAMESPACE, set()).add(
                        row.text("user_id")
                    )
    return users


def _read(folder: Path | None) -> dict[str, list[CsvRow]]:
    """Every file's rows; a file that is not there has none."""
    if folder is None:
        return {name: [] for name in ROSTER}
    if not folder.is_dir():
        raise ConfigurationError(f"roster_path: the folder {folder} does not exist")
    known = [*ROSTER, "aliases"]
    for path in sorted(folder.glob("*.csv")):
        hint = did_you_mean(path.stem, known, closeness=MISSPELT)
        if hint and path.stem not in known:
            raise ConfigurationError(f"roster_path: unknown file {path}{hint}")
    rows = {}
    for name, columns in ROSTER.items():
        path = folder / f"{name}.csv"
        rows[name] = (
            read_csv_lines(
                path,
                required=[column.name for column in columns if column.required],
                optional=[column.name for column in columns if not column.required],
            )
            if path.exists()
            else []
        )
    return rows


def _frame(
    name: str, rows: list[CsvRow], settings: Settings, pseudonyms: Pseudonyms
) -> pd.DataFrame:
    columns = [column for column in ROSTER[name] if column is not NAMESPACE]
    values: dict[str, list[Any]] = {column.in_frame: [] for column in columns}
    seen: dict[str, int] = {}
    for row in rows:
        parsed = {c.name: _parse(row, c, settings, pseudonyms) for c in columns}
        for start, end in _PERIODS:
            if parsed.get(start) and parsed.get(end) and parsed[end] <= parsed[start]:
                raise row.fault(end, f"not after {start}")
        if parsed.get("kind") == "excused" and parsed["user_id"] is None:
            raise row.fault("user_id", "is missing; an excuse is one learner's")
        if name in _UNIQUE:
            key = row.text(_UNIQUE[name])
            if key in seen:
                raise row.fault(_UNIQUE[name], f"{key!r} is already on line {seen[key]}")
            seen[key] = row.line
        for column in columns:
            values[column.in_frame].append(parsed[column.name])
    return pd.DataFrame(
        {
            column.in_frame: pd.Series(
                values[column.in_frame], dtype=_DTYPES.get(column.kind, "str")
            )
            for column in columns
        }
    )


def _parse(row: CsvRow, column: RosterColumn, settings: Settings, pseudonyms: Pseudonyms) -> Any:
    text = row[column.name]
    if text is None:
        if column.kind == "zone":
            return settings.timezone
        return {"flag": False, "switch": True, "list": ()}.get(column.kind)
    if column.kind == "user":
        return pseudonyms.of(row["namespace"] or ROSTER_NAMESPACE, text)
    if column.kind in ("from", "until"):
        return _instant(row, column, settings.timezone)
    try:
        return PARSERS.get(column.kind, str)(text)
    except ValueError as error:
        raise row.fault(column.name, str(error)) from None


def _instant(row: CsvRow, column: RosterColumn, timezone: str) -> datetime:
    text = row.text(column.name)
    try:
        instant = parse_instant(text, timezone)
    except TutorflowError as error:
        raise row.fault(column.name, str(error)) from None
    is_date = re.fullmatch(r"\d{4}-\d\d-\d\d", text)
    if is_date and column.kind == "until":
        instant = day_end(instant, timezone)
    return to_naive_utc(instant)


def _default_coaches(settings: Settings) -> pd.DataFrame:
    row: dict[str, Any] = {"coach_id": DEFAULT_COACH, "timezone": settings.timezone}
    return pd.DataFrame(
        {
            column.in_frame: pd.Series(
                [row.get(column.name)], dtype=_DTYPES.get(column.kind, "str")
            )
            for column in ROSTER["coaches"]
        }
    )


def _check_references(rows: dict[str, list[CsvRow]]) -> None:
    _check_known(rows["caseloads"], "coach_id", rows["coaches"], "coach_id", "coaches.csv")
    if rows["skills"]:
        _check_known(rows["items"], "skill_id", rows["skills"], "skill_id", "skills.csv")
        _check_known(rows["skills"], "prerequisites", rows["skills"], "skill_id", "skills.csv")
    graph = {row.text("skill_id"): split_list(row["prerequisites"] or "") for row in rows["skills"]}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = " -> ".join(reversed(error.args[1]))
        raise ConfigurationError(f"skills.csv: skills require each other: {circle}") from None


def _check_known(
    rows: Iterable[CsvRow], column: str, others: Iterable[CsvRow], key: str, file: str
) -> None:
    known = {other.text(key) for other in others}
    for row in rows:
        for value in split_list(row[column] or ""):
            if value not in known:
                raise row.fault(column, f"{value!r} is not in {file}{did_you_mean(value, known)}")


def _version(folder: Path | None) -> str | None:
    if folder is None:
        return None
    digest = hashlib.sha256()
    for name in sorted((*ROSTER, "aliases")):
        path = folder / f"{name}.csv"
        if path.exists():
            digest.update(f"{name}\x1f{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:16]
