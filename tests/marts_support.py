"""Homes with sources of every format, files that arrive in them, and marts built from those."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
from dbt.cli.main import dbtRunner

from flows.marts import build_marts, project_dir
from tutorflow.pull import pull
from tutorflow.settings import Settings, load_settings
from tutorflow.warehouse import open_warehouse

NOW = datetime(2027, 1, 1, tzinfo=UTC)

CONFIGURATION = """
timezone: {timezone}
sources:
  - {{name: tutor, path: tutor, format: canonical}}
  - {{name: lms, path: lms, format: canonical, time_precision: day, timezone: Europe/Berlin}}
  - {{name: vle, path: vle, format: oulad, timezone: Europe/London}}
"""

_TIME = pa.timestamp("us", tz="UTC")
_TYPES = {
    "occurred_at": _TIME,
    "due_at": _TIME,
    "attempt_number": pa.int32(),
    "is_correct": pa.bool_(),
    "score": pa.float64(),
    "score_max": pa.float64(),
    "response_seconds": pa.float64(),
    "event_count": pa.int64(),
}

Event = dict[str, Any]


@dataclass
class Marts:
    """A home whose files arrive delivery by delivery. `build` lands them and runs dbt."""

    home: Path
    timezone: str = "UTC"
    files: int = field(default=0, init=False)
    builds: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        for source in ("tutor", "lms", "vle"):
            (self.home / source).mkdir(parents=True)
        text = CONFIGURATION.format(timezone=self.timezone)
        (self.home / "tutorflow.yml").write_text(text)

    @property
    def settings(self) -> Settings:
        return load_settings(self.home)

    def deliver(self, source: str, events: list[Event]) -> None:
        """Canonical events in one further file of the source."""
        self.files += 1
        names = list(dict.fromkeys(name for event in events for name in event))
        columns = {
            name: pa.array([event.get(name) for event in events], _TYPES.get(name, pa.string()))
            for name in names
        }
        pq.write_table(pa.table(columns), self.home / source / f"{self.files:03}.parquet")

    def deliver_csv(self, name: str, header: str, rows: list[str]) -> None:
        """An OULAD file; a name that was there before is a new version of it."""
        (self.home / "vle" / name).write_text("\n".join([header, *rows]) + "\n")

    def build(self, full_refresh: bool = False) -> None:
        """Land what is new and bring the marts up to date, or build them all anew."""
        self.builds += 1
        now = NOW + timedelta(hours=self.builds)
        errors = [attempt.error for attempt in pull(self.settings, now) if attempt.error]
        assert not errors, errors
        build_marts(self.settings, full_refresh=full_refresh)

    def rows(self, sql: str) -> list[dict[str, Any]]:
        with open_warehouse(self.settings) as warehouse:
            rows: list[dict[str, Any]] = warehouse.execute(sql).to_arrow_table().to_pylist()
        return rows

    def execute(self, sql: str) -> None:
        with open_warehouse(self.settings) as warehouse:
            warehouse.execute(sql)

    def keep(self, schema: str) -> None:
        """Put the marts as they are now aside in a schema."""
        with open_warehouse(self.settings) as warehouse:
            warehouse.execute(f"create schema {schema}")
            for mart in _marts(warehouse):
                warehouse.execute(f"create table {schema}.{mart} as from marts.{mart}")

    def differences(self, schema: str) -> dict[str, int]:
        """Per mart the number of rows that are only in the marts or only in the schema."""
        found = {}
        with open_warehouse(self.settings) as warehouse:
            for mart in _marts(warehouse):
                one, other = f"from marts.{mart}", f"from {schema}.{mart}"
                counted = warehouse.execute(
                    f"select count(*) from (({one} except all {other}) union all"
                    f" ({other} except all {one}))"
                ).fetchone()
                assert counted is not None
                found[mart] = int(counted[0])
        return found


def run_dbt(marts: Marts, command: str, *arguments: str) -> Any:
    """The result of one dbt command on a home; AssertionError with what dbt said if it fails."""
    settings, project = marts.settings, str(project_dir())
    os.environ["TUTORFLOW_WAREHOUSE"] = str(settings.warehouse_path)
    os.environ["TUTORFLOW_TIMEZONE"] = settings.timezone
    target, logs = settings.home / "dbt" / "target", settings.home / "dbt" / "logs"
    options = ["--project-dir", project, "--profiles-dir", project, "--quiet", "--no-print"]
    options += ["--target-path", str(target), "--log-path", str(logs), "--log-level", "none"]
    try:
        outcome = dbtRunner(manifest=_MANIFESTS.get(project)).invoke(
            [command, *arguments, *options]
        )
    finally:
        DuckDBConnectionManager.close_all_connections()
        del os.environ["TUTORFLOW_WAREHOUSE"], os.environ["TUTORFLOW_TIMEZONE"]
    results = getattr(outcome.result, "results", [])
    failures = [f"{r.node.name}: {r.message}" for r in results if r.status not in _GOOD]
    assert outcome.success, "\n".join(failures) or str(outcome.exception)
    if command == "parse":
        _MANIFESTS[project] = outcome.result
    return outcome.result


_GOOD = ("success", "pass")
_MANIFESTS: dict[str, Any] = {}


def _marts(warehouse: Any) -> list[str]:
    rows = warehouse.execute(
        "select table_name from information_schema.tables where table_schema = 'marts'"
    ).fetchall()
    return sorted(name for (name,) in rows)


# --- the running context of answers, by a plain loop ----------------------------------------------

Answer = dict[str, Any]
_PRIOR, _LEARN, _GUESS, _SLIP, _FORGET, _CAP = 0.62, 0.1, 0.25, 0.15, 0.01, 0.98


def traced(answers: list[bool]) -> list[tuple[float, float]]:
    """Probability of knowing the skill before and after each answer: the textbook formulas."""
    p, path = _PRIOR, []
    for is_correct in answers:
        knew, guessed = (1 - _SLIP, _GUESS) if is_correct else (_SLIP, 1 - _GUESS)
        posterior = p * knew / (p * knew + (1 - p) * guessed)
        after = posterior * (1 - _FORGET) + (1 - posterior) * _LEARN
        path.append((p, min(max(after, 1 - _CAP), _CAP)))
        p = path[-1][1]
    return path


def answers_by_loop(events: list[Event]) -> dict[str, Answer]:
    """The columns of `responses` by event id, from one learner's events in order of time.

    The events are those that make sessions: activities, presentations, help, ends of sessions.
    """
    answers: dict[str, Answer] = {}
    session, previous, session_before = 0, None, None
    shown: dict[str, int] = {}
    answered: dict[str, tuple[int, int, Answer | None]] = {}
    attempts: dict[str, int] = {}
    helps: list[tuple[int, Event]] = []
    for number, event in enumerate(events, start=1):
        if previous is None or (
            event["occurred_at"] - previous["occurred_at"] > timedelta(minutes=30)
            or event["course_id"] != previous["course_id"]
            or event["event_type"] == "session_started"
            or previous["event_type"] == "session_ended"
        ):
            session, session_before = number, previous and previous["occurred_at"]
        previous = event
        item = f"{event['course_id']}/{event['item_id'] or event['event_id']}"
        if event["event_type"] == "item_presented":
            shown[item] = number
        elif event["event_type"] in ("hint_requested", "explanation_viewed"):
            helps.append((number, event))
        elif event["event_type"] == "response_submitted":
            last, last_session, first = answered.get(item, (0, session, None))
            starts_over = last == 0 or last < shown.get(item, 0) or last_session != session
            attempts[item] = 1 if starts_over else attempts[item] + 1
            given = event["attempt_number"]
            is_first = starts_over if given is None else given == 1
            since = max(last, shown.get(item, 0))
            used = [
                help_["event_type"]
                for at, help_ in helps
                if at > since
                and help_["item_id"] == event["item_id"] is not None
                and help_["course_id"] == event["course_id"]
            ]
            seconds = event["response_seconds"]
            if seconds is not None and (
                not 0 <= seconds <= 600
                or (
                    session_before is not None
                    and event["occurred_at"] - timedelta(seconds=seconds) < session_before
                )
            ):
                seconds = None
            answer: Answer = {
                **event,
                "session": session,
                "attempt_number": given or attempts[item],
                "is_first_attempt": is_first,
                "is_unaided": not used,
                "hints_used": used.count("hint_requested"),
                "hints_in_module": sum(
                    help_["event_type"] == "hint_requested"
                    and help_["course_id"] == event["course_id"]
                    and help_["module_id"] == event["module_id"]
                    for _, help_ in helps
                ),
                "response_seconds": seconds,
            }
            answer["first"] = answer if is_first else first
            answers[event["event_id"]] = answer
            answered[item] = (number, session, answer["first"])
    _add_course_context(list(answers.values()))
    _add_skill_context(list(answers.values()))
    return answers


def _add_course_context(answers: list[Answer]) -> None:
    for course in {answer["course_id"] for answer in answers}:
        mine = [answer for answer in answers if answer["course_id"] == course]
        for n, answer in enumerate(mine):
            logs = [
                round(math.log(1 + a["response_seconds"]), 5)
                for a in mine[max(n - 20, 0) : n]
                if a["response_seconds"] is not None
            ]
            last_20 = [a["is_correct"] for a in mine[max(n - 19, 0) : n + 1]]
            answer["response_number"] = n + 1
            last_5 = mine[max(n - 4, 0) : n + 1]
            answer["wrong_of_last_5"] = sum(not a["is_correct"] for a in last_5)
            answer["accuracy_of_last_20"] = mean(last_20)
            answer["accuracy_of_previous_40"] = (
                mean(a["is_correct"] for a in mine[n - 59 : n - 19]) if n >= 59 else None
            )
            answer["log_seconds_count_of_last_20"] = len(logs)
            answer["log_seconds_mean_of_last_20"] = mean(logs) if logs else None
            answer["log_seconds_stddev_of_last_20"] = stdev(logs) if len(logs) > 1 else None


def _add_skill_context(answers: list[Answer]) -> None:
    firsts = [answer for answer in answers if answer["is_first_attempt"]]
    skills = {(a["course_id"], skill) for a in firsts for skill in a["skills"]}
    for course, skill in skills:
        mine = [a for a in firsts if a["course_id"] == course and skill in a["skills"]]
        path = traced([a["is_correct"] for a in mine])
        for n, answer in enumerate(mine):
            if answer["skills"][0] != skill:
                continue
            so_far = mine[: n + 1]
            unaided = [a["is_correct"] and a["is_unaided"] for a in so_far]
            correct = [a["is_correct"] for a in so_far]
            answer["opportunity"] = n + 1
            answer["consecutive_wrong"] = _run([not c for c in correct])
            answer["consecutive_correct"] = _run(correct)
            answer["consecutive_unaided_correct"] = _run(unaided)
            answer["longest_correct_run"] = max(_run(correct[: k + 1]) for k in range(n + 1))
            answer["misses_of_last_10"] = sum(not c for c in correct[-10:])
            answer["first_tries_of_last_10"] = len(correct[-10:])
            answer["unaided_correct_of_last_3"] = sum(unaided[-3:])
            answer["p_mastery_before"], answer["p_mastery_after"] = path[n]
            answer["p_mastery_max"] = max(after for _, after in path[: n + 1])
    for answer in answers:
        if answer["first"] is not None and not answer["is_first_attempt"]:
            for column in SKILL_COLUMNS:
                answer[column] = answer["first"].get(column)
            answer["p_mastery_before"] = answer["p_mastery_after"]


SKILL_COLUMNS = (
    "opportunity",
    "consecutive_wrong",
    "consecutive_correct",
    "consecutive_unaided_correct",
    "longest_correct_run",
    "misses_of_last_10",
    "first_tries_of_last_10",
    "unaided_correct_of_last_3",
    "p_mastery_before",
    "p_mastery_after",
    "p_mastery_max",
)


def _run(facts: list[bool]) -> int:
    length = 0
    for fact in reversed(facts):
        if not fact:
            break
        length += 1
    return length
