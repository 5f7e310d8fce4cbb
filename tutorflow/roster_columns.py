"""The files of the roster, their columns, and how each kind of column is read."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal
from zoneinfo import available_timezones

from tutorflow.privacy.pseudonyms import ROSTER_NAMESPACE
from tutorflow.yaml_lines import did_you_mean

Kind = Literal[
    "user",
    "text",
    "count",
    "flag",
    "from",
    "until",
    "zone",
    "workdays",
    "clock",
    "list",
    "kind",
    "switch",
    "language",
]


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
NAMESPACE = RosterColumn(
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
        NAMESPACE,
        RosterColumn("age_band", "text", "for routing only, such as under_13, 13_17, adult"),
        RosterColumn("programme", "text", "the programme or contract the learner is in"),
        RosterColumn("cohort_id", "text", "the group that signals are compared with"),
        RosterColumn("is_staff", "flag", "true: a test or staff account, never alerted on"),
        RosterColumn("nudges", "switch", "false: gets no nudges; empty: gets them"),
        RosterColumn("language", "language", "of nudges, such as en; empty: the library's"),
        *_VALIDITY,
    ),
    "guardians": (
        _USER,
        NAMESPACE,
        _required("contact_id", "text", "whom to ask, by an id that names nobody"),
        RosterColumn("authority", "flag", "true: may be asked; empty: never is"),
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
        NAMESPACE,
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
        NAMESPACE,
        _required("course_id", "text", "as in the events"),
        RosterColumn("cohort_id", "text", "the group within the course"),
        RosterColumn("enrolled_at", "from", "from when the learner is expected"),
        RosterColumn("withdrawn_at", "from", "from when no longer"),
    ),
    "calendar": (
        _required("kind", "kind", "pause (all), excused (one learner) or term"),
        RosterColumn("user_id", "user", "the learner it is about; empty: everybody"),
        NAMESPACE,
        RosterColumn("course_id", "text", "the course it is about; empty: every course"),
        _required("starts_at", "from", "first instant"),
        _required("ends_at", "until", "the instant after the last"),
        RosterColumn("note", "text", "shown to nobody but the roster's keeper"),
    ),
}

_KINDS = ("pause", "excused", "term")


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


def _language(text: str) -> str:
    if not re.fullmatch("[a-z]{2}", text.lower()):
        raise ValueError(f"{text!r} is not a language such as en or de")
    return text.lower()


def split_list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split("~~") if part.strip())


def _kind(text: str) -> str:
    if text not in _KINDS:
        hint = did_you_mean(text, _KINDS, otherwise="kinds are")
        raise ValueError(f"{text!r} is not a kind of calendar entry{hint}")
    return text


PARSERS: dict[str, Callable[[str], Any]] = {
    "count": _count,
    "flag": _flag,
    "switch": _flag,
    "language": _language,
    "zone": _zone,
    "workdays": _workdays,
    "clock": _clock,
    "list": split_list,
    "kind": _kind,
}
