"""The simulated programme's roster as CSV files."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tutorflow.simulate.curriculum import COURSES

if TYPE_CHECKING:
    from tutorflow.simulate.programme import Programme

CAPACITY_PER_DAY = 8


def write_roster(programme: Programme, folder: Path) -> None:
    """Write learners, coaches, caseloads, courses, skills, items, enrolments and calendar.

    Every file has a header; unknown values are empty. Times are ISO 8601 in UTC with a Z.
    """
    folder.mkdir(parents=True)
    people, config, curriculum = programme.people, programme.config, programme.curriculum
    coaches = config.coach_count
    numbers = range(len(people))
    _write(
        folder / "learners.csv",
        ("user_id", "age_band", "programme", "cohort_id", "is_staff"),
        (
            (
                people.user_ids[k],
                people.age_bands[k],
                people.programmes[k],
                people.cohort(k),
                "false",
            )
            for k in numbers
        ),
    )
    _write(
        folder / "coaches.csv",
        ("coach_id", "role", "capacity_per_day", "timezone", "workdays", "work_start", "work_end"),
        (
            (
                f"coach-{k + 1:02d}",
                role,
                CAPACITY_PER_DAY,
                config.timezone,
                "Mon-Fri",
                "09:00",
                "18:00",
            )
            for k, role in ((k, "tutor" if k % 3 == 2 else "coach") for k in range(coaches))
        ),
    )
    _write(
        folder / "caseloads.csv",
        ("user_id", "coach_id"),
        ((people.user_ids[k], people.coach(k, coaches)) for k in numbers),
    )
    starts, ends = _text(config.starts_at), _text(config.ends_at)
    _write(
        folder / "courses.csv",
        ("course_id", "title", "starts_at", "ends_at"),
        ((course_id, title, starts, ends) for course_id, title in COURSES.items()),
    )
    skill_ids = [skill.skill_id for skill in curriculum.skills]
    _write(
        folder / "skills.csv",
        ("skill_id", "title", "course_id", "is_core", "prerequisites"),
        (
            (
                s.skill_id,
                s.title,
                s.course_id,
                "true" if s.is_core else "false",
                "~~".join(skill_ids[p] for p in s.prerequisites),
            )
            for s in curriculum.skills
        ),
    )
    _write(
        folder / "items.csv",
        ("item_id", "title", "skill_id"),
        ((item.item_id, item.title, item.skill_ids) for item in curriculum.items),
    )
    _write(
        folder / "enrolments.csv",
        ("user_id", "course_id", "cohort_id", "enrolled_at", "withdrawn_at"),
        (
            (people.user_ids[k], course, people.cohort(k), _text(enrolled), _text(withdrawn))
            for k, course, enrolled, withdrawn in programme.enrolments()
        ),
    )
    _write(
        folder / "calendar.csv",
        ("kind", "user_id", "course_id", "starts_at", "ends_at", "note"),
        (
            (
                e["kind"],
                e["user_id"],
                e["course_id"],
                _text(e["starts_at"]),
                _text(e["ends_at"]),
                e["note"],
            )
            for e in programme.calendar()
        ),
    )


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _text(instant: datetime | None) -> str:
    return "" if instant is None else f"{instant:%Y-%m-%dT%H:%M:%SZ}"
