"""The roster: who learns, who coaches, what is taught and when nobody is expected.

A folder of CSV files, all of them optional; `ROSTER` lists their columns. Users are named as the
sources name them and become learner ids while the files are read. Rows may carry `valid_from` and
`valid_to`: who asks takes the rows in force at the time in question, `valid_from <= t < valid_to`.

Times without an offset are wall times in the programme's zone. A mere date means the start of
that day in a column that says from when, and its end in a column that says until when.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import available_timezones

import pandas as pd

from tutorflow.csv_lines import CsvRow, read_csv_lines
from tutorflow.errors import ConfigurationError, TutorflowError
from tutorflow.hours import day_end, parse_instant, to_naive_utc
from tutorflow.privacy.pseudonyms import ROSTER_NAMESPACE, Pseudonyms, load_pseudonyms
from tutorflow.yaml_lines import did_you_mean

if TYPE_CHECKING:
    from tutorflow.settings import Settings

Kind = Literal[
    "user", "text", "count", "flag", "from", "until", "zone", "workdays", "clock", "list", "kind"
]

DEFAULT_COACH = "default"

_DTYPES: dict[Kind, str] = {
    "count": "Int64",
    "flag": "bool",
    "from": "datetime64[us]",
    "until": "datetime64[us]",
    "list": "object",
}


@dataclass(frozen=True)
class RosterColumn:
    """A column of a roster file. A `user` column is `learner_id` in the frame."""

    name: str
    kind: Kind
    description: str
    required: bool = False

    @property
    def in_frame(self) -> str:
        return "learner_id" if self.kind == "user" else self.name


def _required(name: str, kind: Kind, description: str) -> RosterColumn:
    return RosterColumn(name, kind, description, required=True)


_USER = _required("user_id", "user", "the learner, as the sources name them")
_NAMESPACE = RosterColumn(
    "namespace", "text", f"whose user id it is: a source's namespace; default {ROSTER_NAMESPACE}"
)
_VALIDITY = (
    RosterColumn("valid_from", "from", "the row is in force from here on; empty: always was"),
    RosterColumn("valid_to", "until", "the row is in force up to here; empty: still is"),
)

# Read by tutorflow.privacy.pseudonyms, before anything is hashed: aliases.csv
# (namespace, user_id, person_id), the accounts of one person in several sources.
ROSTER: dict[str, tuple[RosterColumn, ...]] = {
    "learners": (
        _USER,
        _NAMESPACE,
        RosterColumn("age_band", "text", "for routing only, such as under_13, 13_17, adult"),
        RosterColumn("programme", "text", "the programme or contract the learner is in"),
        RosterColumn("cohort_id", "text", "the group that signals are compared with"),
        RosterColumn("is_staff", "flag", "true: a test or staff account, never alerted on"),
        *_VALIDITY,
    ),
    "coaches": (
        _required("coach_id", "text", "unique"),
        RosterColumn("role", "text", "such as tutor, coach, adviser; empty: coach"),
        RosterColumn("capacity_per_day", "count", "new alerts a day; empty: the policy's"),
        RosterColumn("timezone", "zone", "where due times are counted; empty: the programme's"),
        RosterColumn("workdays", "workdays", "such as Mon-Fri or Mon,Wed,Sat; empty: the policy's"),
        RosterColumn("work_start", "clock", "such as 09:00; empty: the policy's"),
        RosterColumn("work_end", "clock", "such as 17:00; empty: the policy's"),
        RosterColumn("channel", "text", "how the coach is reached"),
    ),
    "caseloads": (
        _USER,
        _NAMESPACE,
        _required("coach_id", "text", "a coach of coaches.csv"),
        *_VALIDITY,
    ),
    "courses": (
        _required("course_id", "text", "unique; as in the events"),
        RosterColumn("title", "text", "what coaches read"),
        RosterColumn("starts_at", "from", "when the course starts"),
        RosterColumn("ends_at", "until", "when it ends"),
    ),
    "skills": (
        _required("skill_id", "text", "unique; as in the events"),
        RosterColumn("title", "text", "what coaches read"),
        RosterColumn("course_id", "text", "the course it belongs to"),
        RosterColumn("is_core", "flag", "true: later skills rest on it"),
        RosterColumn("prerequisites", "list", "skill ids joined by ~~"),
    ),
    "items": (
        _required("item_id", "text", "unique; as in the events"),
        RosterColumn("title", "text", "what coaches read"),
        RosterColumn("skill_id", "text", "the skill it practises"),
    ),
    "enrolments": (
        _USER,
        _NAMESPACE,
        _required("course_id", "text", "as in the events"),
        RosterColumn("cohort_id", "text", "the group within the course"),
        RosterColumn("enrolled_at", "from", "from when the learner is expected"),
        RosterColumn("withdrawn_at", "from", "from when no longer"),
    ),
    "calendar": (
        _required("kind", "kind", "pause (all), excused (one learner) or term"),
        RosterColumn("user_id", "user", "the learner it is about; empty: everybody"),
        _NAMESPACE,
        RosterColumn("course_id", "text", "the course it is about; empty: every course"),
        _required("starts_at", "from", "first instant"),
        _required("ends_at", "until", "the instant after the last"),
        RosterColumn("note", "text", "shown to nobody but the roster's keeper"),
    ),
}

_KINDS = ("pause", "excused", "term")
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
    known = [f"{name}.csv" for name in (*ROSTER, "aliases")]
    for path in sorted(folder.glob("*.csv")):
        if path.name not in known and (hint := did_you_mean(path.name, known)):
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
    columns = [column for column in ROSTER[name] if column is not _NAMESPACE]
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
        return {"flag": False, "list": ()}.get(column.kind)
    if column.kind == "user":
        return pseudonyms.of(row["namespace"] or ROSTER_NAMESPACE, text)
    if column.kind in ("from", "until"):
        return _instant(row, column, settings.timezone)
    try:
        return _PARSERS.get(column.kind, str)(text)
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


def _count(text: str) -> int:
    if not re.fullmatch(r"\d+", text):
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def _zone(text: str) -> str:
    if text not in available_timezones():
        hint = did_you_mean(text, available_timezones())
        raise ValueError(f"{text!r} is not a time zone such as Europe/Berlin{hint}")
    return text


def _workdays(text: str) -> str:
    day = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
    part = f"{day}(?:-{day})?"
    if not re.fullmatch(f"{part}(?:,{part})*", text.replace(" ", "")):
        raise ValueError(f"{text!r} are no workdays; write them like Mon-Fri or Mon,Wed,Sat")
    return text.replace(" ", "")


def _clock(text: str) -> str:
    if not re.fullmatch(r"([01]?\d|2[0-3]):[0-5]\d", text):
        raise ValueError(f"{text!r} is not a time of day such as 09:00")
    return text.zfill(5)


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split("~~") if part.strip())


def _kind(text: str) -> str:
    if text not in _KINDS:
        hint = did_you_mean(text, _KINDS, otherwise="kinds are")
        raise ValueError(f"{text!r} is not a kind of calendar entry{hint}")
    return text


_PARSERS: dict[str, Callable[[str], Any]] = {
    "count": _count,
    "flag": _flag,
    "zone": _zone,
    "workdays": _workdays,
    "clock": _clock,
    "list": _list,
    "kind": _kind,
}


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
    graph = {row.text("skill_id"): _list(row["prerequisites"] or "") for row in rows["skills"]}
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
        for value in _list(row[column] or ""):
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
