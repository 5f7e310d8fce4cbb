"""Readable builders for cases of the decision: answers, sessions, days, signals, policies.

A case is a list of plain rows; ``frames`` computes the running context of the answers with a plain
loop, written independently of the SQL that does it in the warehouse. A column given explicitly
wins over the computed one. Times are naive UTC; day 0 is a Monday.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from functools import cache
from itertools import pairwise
from statistics import mean, stdev
from typing import Any

import pandas as pd
import yaml

from tutorflow.decide.alerts import advance
from tutorflow.decide.crowds import ItemTry
from tutorflow.decide.episodes import Alert, Key, RecoveryEvent, Signal
from tutorflow.decide.frames import Frames
from tutorflow.decide.said import InboxNote
from tutorflow.decide.score_rows import ScoreRows
from tutorflow.decide.ticks import Changes, Context, Hold, OpenState, TickInput
from tutorflow.decide.working_time import Coach
from tutorflow.policy.model import Policy, default_policy_path

DAY_0 = datetime(2026, 3, 2)  # a Monday
COURSE = "maths"
FAR_PAST, FAR_FUTURE = DAY_0 - timedelta(days=3000), DAY_0 + timedelta(days=3000)

Row = dict[str, Any]


def on(day: float, at: str = "00:00") -> datetime:
    """The instant ``at`` ('09:00' or '09:00:30') on the nth day."""
    return (
        DAY_0
        + timedelta(days=day)
        + (datetime.combine(date.min, time.fromisoformat(at)) - datetime.min)
    )


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


def hours(count: float) -> timedelta:
    return timedelta(hours=count)


def days(count: float) -> timedelta:
    return timedelta(days=count)


# -- answers ---------------------------------------------------------------------------------------


def response(
    learner: str = "ana",
    skill: str | None = "fractions",
    is_correct: bool = False,
    at: str = "09:00",
    day: float = 0,
    session: str | None = "s1",
    item: str | None = "item",
    attempt: int = 1,
    hints: int = 0,
    seconds: float | None = 30.0,
    **columns: Any,
) -> Row:
    """One answer; further columns of ``responses`` may be given as they should be."""
    moment = on(day, at)
    return {
        "learner_id": learner,
        "course_id": COURSE,
        "module_id": "module",
        "item_id": item,
        "skill_id": skill,
        "session_id": session,
        "responded_at": moment,
        "known_at": moment,
        "is_first_attempt": attempt == 1,
        "is_correct": is_correct,
        "is_unaided": hints == 0,
        "hints_used": hints,
        "response_seconds": seconds,
        "item_mean_seconds": 60.0,
        "item_seconds_count": 100,
        "item_difficulty": 0.5,
        "item_first_tries": 100,
        "is_core": False,
        **columns,
    }


def answers(pattern: str, at: str = "09:00", day: float = 0, **same: Any) -> list[Row]:
    """A minute apart: ``x`` wrong, ``o`` right without help, ``h`` right after a hint."""
    start = on(day, at)
    rows = [response(is_correct=mark != "x", hints=int(mark == "h"), **same) for mark in pattern]
    for number, row in enumerate(rows):
        moment = start + minutes(number)
        row.setdefault("event_id", None)
        row |= {"responded_at": moment, "known_at": moment}
    return rows


def step(
    kind: str,
    learner: str = "ana",
    skill: str | None = "fractions",
    at: str = "09:00",
    day: float = 0,
    session: str | None = "s1",
    item: str | None = "item",
    module: str = "module",
    **columns: Any,
) -> Row:
    """Something done on the way to an answer, such as ``hint_requested`` or ``item_abandoned``."""
    return {
        "event_id": f"{learner}-{kind}-{on(day, at):%m%dT%H%M%S}",
        "learner_id": learner,
        "course_id": COURSE,
        "module_id": module,
        "item_id": item,
        "skill_id": skill,
        "step": kind,
        "session_id": session,
        "known_at": on(day, at),
        "is_answer": False,
        "is_first_attempt": False,
        "is_correct": False,
        "is_unaided": False,
        **columns,
    }


def hint(at: str = "09:00", level: int = 1, **same: Any) -> Row:
    """A hint of three levels; the third gives the answer away."""
    return step("hint_requested", at=at, hint_level=level, hint_level_max=3, **same)


STEP_RANKS = (
    *("hint_requested", "explanation_viewed", "response_revised", "response_submitted"),
    *("item_abandoned", "help_requested"),
)


def in_order(steps: Iterable[Row], responses: Iterable[Row]) -> list[Row]:
    """The steps with the answers among them."""
    submitted = [{**row, "step": "response_submitted", "is_answer": True} for row in responses]
    return sorted(
        [*steps, *submitted],
        key=lambda r: (
            *(r["learner_id"], r["course_id"], r["known_at"]),
            *(STEP_RANKS.index(r["step"]), r["event_id"]),
        ),
    )


def go_on(responses: Iterable[Row], steps: Sequence[Row]) -> None:
    """Give each answer the learner's next action, and whether that is in the same session."""
    following = {
        one["event_id"]: other
        for one, other in pairwise(steps)
        if one["learner_id"] == other["learner_id"]
    }
    for row in responses:
        after = following.get(row["event_id"])
        row.setdefault("next_action_at", None if after is None else after["known_at"])
        same = after is not None and after["session_id"] == row["session_id"]
        row.setdefault("goes_on", same)


def with_context(rows: Iterable[Row]) -> list[Row]:
    """The answers in order, each with its running context from its own past only.

    Ids count up per learner: ``ana-1``, ``ana-2``, ...
    """
    ordered = sorted(rows, key=lambda r: (r["learner_id"], r["course_id"], r["known_at"]))
    past: dict[tuple[str, str], list[Row]] = defaultdict(list)
    return [_in_context(row, past[row["learner_id"], row["course_id"]]) for row in ordered]


def _in_context(row: Row, before: list[Row]) -> Row:
    number = len(before) + 1
    so_far = [*before, row]
    skill = [r for r in before if r["skill_id"] == row["skill_id"] and r["is_first_attempt"]]
    tries = [*skill, row] if row["is_first_attempt"] else skill
    right = [bool(r["is_correct"]) for r in tries]
    unaided = [bool(r["is_correct"] and r["is_unaided"]) for r in tries]
    timed = [r["log_seconds"] for r in before[-20:] if r["response_seconds"] is not None]
    seconds = row["response_seconds"]
    log_seconds = None if seconds is None else math.log1p(seconds)
    spread = stdev(timed) if len(timed) >= 10 else 0.0
    mastery = skill[-1]["p_mastery_after"] if skill else 0.62
    after = learnt(mastery, row["is_correct"]) if row["is_first_attempt"] else mastery
    correct = [bool(r["is_correct"]) for r in so_far]
    context = {
        "event_id": f"{row['learner_id']}-{number}",
        "response_number": number,
        "opportunity": len(tries),
        "consecutive_wrong": _run(right, False),
        "consecutive_correct": _run(right, True),
        "consecutive_unaided_correct": _run(unaided, True),
        "longest_correct_run": max(
            (_run(right[: k + 1], True) for k in range(len(right))), default=0
        ),
        "misses_of_last_10": right[-10:].count(False),
        "first_tries_of_last_10": len(right[-10:]),
        "unaided_correct_of_last_3": unaided[-3:].count(True),
        "wrong_of_last_5": correct[-5:].count(False),
        "accuracy_of_last_20": mean(correct[-20:]),
        "accuracy_of_previous_40": mean(correct[-60:-20]) if number >= 60 else None,
        "log_seconds": log_seconds,
        "log_seconds_count_of_last_20": len(timed),
        "log_seconds_z": (log_seconds - mean(timed)) / spread if log_seconds and spread else None,
        "hints_in_module": sum(r["hints_used"] for r in so_far),
        "p_mastery_before": mastery,
        "p_mastery_after": after,
        "p_mastery_max": max([r["p_mastery_after"] for r in skill] + [after]),
    }
    found = context | {
        name: value for name, value in row.items() if value is not None or name not in context
    }
    before.append(found)
    return found


def _run(marks: Sequence[bool], of: bool) -> int:
    """How many of the latest marks are ``of``."""
    count = 0
    for mark in reversed(marks):
        if mark != of:
            break
        count += 1
    return count


def learnt(p: float, is_correct: bool) -> float:
    """One step of knowledge tracing with forgetting and a cap (METHODS: .62 .1 .25 .15 .01 .98)."""
    learn, guess, slip, forget, cap = 0.1, 0.25, 0.15, 0.01, 0.98
    if is_correct:
        posterior = p * (1 - slip) / (p * (1 - slip) + (1 - p) * guess)
    else:
        posterior = p * slip / (p * slip + (1 - p) * (1 - guess))
    return min(cap, max(1 - cap, posterior * (1 - forget) + (1 - posterior) * learn))


# -- sessions and days -----------------------------------------------------------------------------


def session(
    learner: str = "ana",
    day: float = 0,
    at: str = "09:00",
    lasts: float = 30,
    responses: int = 5,
    events: int = 10,
    abandoned: int = 0,
    open_item: bool = False,
    **columns: Any,
) -> Row:
    """A session of ``lasts`` minutes, known half an hour after its end."""
    start = on(day, at)
    end = start + minutes(lasts)
    return {
        "session_id": f"{learner}-{start:%m%dT%H%M}",
        "learner_id": learner,
        "course_id": COURSE,
        "started_at": start,
        "ended_at": end,
        "known_at": end + minutes(30),
        "is_explicitly_ended": False,
        "active_seconds": 60.0 * lasts,
        "response_count": responses,
        "event_count": events,
        "hint_count": 0,
        "items_abandoned": abandoned,
        "has_open_item": open_item,
        "session_number": 1,
        **columns,
    }


def activity_day(
    learner: str = "ana",
    day: float = 0,
    first: str = "09:00",
    last: str = "10:00",
    events: int = 20,
    **columns: Any,
) -> Row:
    """A day with activity (a row of ``learner_days``), known at its end."""
    return {
        "learner_id": learner,
        "course_id": COURSE,
        "first_activity_at": on(day, first),
        "last_activity_at": on(day, last),
        "known_at": _end_of(day),
        "event_count": events,
        "response_count": events // 2,
        "time_precision": "second",
        **columns,
    }


def _end_of(day: float) -> datetime:
    return on(math.floor(day) + 1) - timedelta(microseconds=1)


def calendar(
    learner: str = "ana",
    active: Mapping[int, int] | Iterable[int] = (),
    until: int = 60,
    at: str = "10:00",
    **columns: Any,
) -> list[Row]:
    """Calendar rows up to day ``until`` for a learner active on the days of ``active``.

    ``active`` maps day -> number of events (a plain list of days: 20 each); all activity of a day
    is at ``at``. Cohort columns say "the least active of 30" unless given.
    """
    events = dict(active) if isinstance(active, Mapping) else dict.fromkeys(active, 20)
    rows = []
    for day in range(min(events), until + 1):
        seen = [d for d in events if d <= day and d > day - 35]
        if not seen:
            continue
        later = [d for d in events if d > day]
        weeks = [range(day - 13 - 7 * k, day - 6 - 7 * k) for k in range(4)]
        before = sum(events[d] for week in weeks for d in week if d in events)
        rows.append(
            {
                "learner_id": learner,
                "course_id": COURSE,
                "calendar_date": on(day).date(),
                "last_activity_at": on(max(seen), at),
                "next_activity_at": on(min(later), at) if later else None,
                "active_days_of_last_7": sum(d > day - 7 for d in seen),
                "active_days_of_last_28": sum(d > day - 28 for d in seen),
                "event_count_of_last_7_days": sum(events[d] for d in seen if d > day - 7),
                "event_count_of_previous_4_weeks": before,
                "mean_event_count_of_previous_4_weeks": before / 4,
                "min_active_days_of_previous_4_weeks": min(
                    sum(d in events for d in week) for week in weeks
                ),
                "cohort_share_below": 0.0,
                "cohort_size": 30,
                "day_id": str(on(day).date()),
                "last_active_day_id": str(on(max(seen)).date()),
                "known_at": _end_of(day),
                "next_day_end_at": _end_of(day + 1),
                **columns,
            }
        )
    return rows


def low_score(
    learner: str = "ana",
    day: float = 0,
    at: str = "09:00",
    score: float = 0.3,
    back: datetime | None = None,
    item: str = "quiz 1",
    **columns: Any,
) -> Row:
    """A scored assessment; ``back`` is the next activity after it."""
    return {
        "event_id": f"{learner}-{item}-scored",
        "learner_id": learner,
        "course_id": COURSE,
        "item_id": item,
        "known_at": on(day, at),
        "score_share": score,
        "next_activity_at": back,
        **columns,
    }


def enrolment(learner: str = "ana", day: float = 0, first: datetime | None = None) -> Row:
    """A learner for whom the course starts on ``day``; ``first`` is their first activity."""
    return {
        "learner_id": learner,
        "course_id": COURSE,
        "starts_at": on(day),
        "known_at": on(day),
        "first_activity_at": first,
        "enrolment_id": "enrolled",
    }


def assignment(
    learner: str = "ana",
    due: float = 0,
    submitted: datetime | None = None,
    item: str = "essay 1",
    number: int = 1,
) -> Row:
    """An assignment due at the start of day ``due``."""
    return {
        "event_id": f"{learner}-{item}-due",
        "learner_id": learner,
        "course_id": COURSE,
        "item_id": item,
        "due_at": on(due),
        "known_at": on(due),
        "submitted_at": submitted,
        "assignment_number": number,
    }


def submission(learner: str = "ana", at: datetime = DAY_0, item: str = "essay 1") -> Row:
    return {"learner_id": learner, "course_id": COURSE, "item_id": item, "known_at": at}


# -- frames ----------------------------------------------------------------------------------------

TIMES, IDS, FLAGS, NUMBERS = "datetime64[us]", "object", "bool", "float64"
COLUMNS: dict[str, dict[str, str]] = {
    "responses": {
        **dict.fromkeys(("event_id", "learner_id", "course_id", "module_id"), IDS),
        **dict.fromkeys(("item_id", "skill_id", "session_id"), IDS),
        **dict.fromkeys(("responded_at", "known_at", "next_action_at"), TIMES),
        **dict.fromkeys(("is_first_attempt", "is_correct", "is_unaided"), FLAGS),
        **dict.fromkeys(("is_core", "goes_on"), FLAGS),
        "error_type": IDS,
        **dict.fromkeys(
            (
                "response_number",
                "opportunity",
                "hints_used",
                "consecutive_wrong",
                "consecutive_correct",
                "consecutive_unaided_correct",
                "longest_correct_run",
                "misses_of_last_10",
                "first_tries_of_last_10",
                "unaided_correct_of_last_3",
                "wrong_of_last_5",
                "log_seconds_count_of_last_20",
                "hints_in_module",
            ),
            "int64",
        ),
        **dict.fromkeys(
            (
                "response_seconds",
                "accuracy_of_last_20",
                "accuracy_of_previous_40",
                "log_seconds_z",
                "p_mastery_before",
                "p_mastery_after",
                "p_mastery_max",
                "item_mean_seconds",
                "item_seconds_count",
                "item_difficulty",
                "item_first_tries",
            ),
            NUMBERS,
        ),
    },
    "steps": {
        **dict.fromkeys(("event_id", "learner_id", "course_id", "module_id"), IDS),
        **dict.fromkeys(("item_id", "skill_id", "step", "session_id"), IDS),
        "known_at": TIMES,
        **dict.fromkeys(("hint_level", "hint_level_max", "hints_available"), NUMBERS),
        **dict.fromkeys(("is_answer", "is_first_attempt", "is_correct", "is_unaided"), FLAGS),
        "p_mastery_after": NUMBERS,
    },
    "learning_sessions": {
        **dict.fromkeys(("session_id", "learner_id", "course_id"), IDS),
        **dict.fromkeys(("started_at", "ended_at", "known_at"), TIMES),
        **dict.fromkeys(("is_explicitly_ended", "has_open_item"), FLAGS),
        **dict.fromkeys(
            ("response_count", "event_count", "hint_count", "items_abandoned"), "int64"
        ),
        "session_number": "int64",
        "active_seconds": NUMBERS,
    },
    "calendar": {
        **dict.fromkeys(("learner_id", "course_id", "calendar_date"), IDS),
        **dict.fromkeys(("last_activity_at", "next_activity_at"), TIMES),
        **dict.fromkeys(("active_days_of_last_7", "active_days_of_last_28"), "int64"),
        "event_count_of_last_7_days": "int64",
        "event_count_of_previous_4_weeks": "int64",
        "mean_event_count_of_previous_4_weeks": NUMBERS,
        "min_active_days_of_previous_4_weeks": "int64",
        "cohort_share_below": NUMBERS,
        "cohort_size": "int64",
        **dict.fromkeys(("day_id", "last_active_day_id"), IDS),
        **dict.fromkeys(("known_at", "next_day_end_at"), TIMES),
    },
    "enrolments": {
        **dict.fromkeys(("learner_id", "course_id"), IDS),
        **dict.fromkeys(("starts_at", "known_at", "first_activity_at"), TIMES),
        "enrolment_id": IDS,
    },
    "assignments": {
        **dict.fromkeys(("event_id", "learner_id", "course_id", "item_id"), IDS),
        **dict.fromkeys(("due_at", "known_at", "submitted_at"), TIMES),
        "assignment_number": "int64",
    },
    "low_scores": {
        **dict.fromkeys(("event_id", "learner_id", "course_id", "item_id"), IDS),
        "known_at": TIMES,
        "score_share": NUMBERS,
        "next_activity_at": TIMES,
    },
    "days": {
        **dict.fromkeys(("learner_id", "course_id"), IDS),
        **dict.fromkeys(("first_activity_at", "last_activity_at", "known_at"), TIMES),
        **dict.fromkeys(("event_count", "response_count"), "int64"),
        "time_precision": IDS,
        "active_days": "int64",
    },
    "answer_facts": {
        **dict.fromkeys(("learner_id", "course_id"), IDS),
        "known_at": TIMES,
        "response_number": "int64",
        "accuracy_of_last_20": NUMBERS,
    },
    "submissions": {
        **dict.fromkeys(("learner_id", "course_id", "item_id"), IDS),
        "known_at": TIMES,
    },
    "enrolment_changes": {
        **dict.fromkeys(("learner_id", "course_id", "event_type"), IDS),
        "known_at": TIMES,
    },
    "source_courses": dict.fromkeys(("source", "course_id"), IDS),
    "appointments": {
        **dict.fromkeys(("event_id", "learner_id", "course_id"), IDS),
        **dict.fromkeys(("starts_at", "known_at", "attended_at", "called_off_at"), TIMES),
    },
    "messages": {
        **dict.fromkeys(("event_id", "learner_id", "course_id", "actor"), IDS),
        **dict.fromkeys(("known_at", "replied_at", "next_activity_at"), TIMES),
    },
    "reflections": {
        **dict.fromkeys(("event_id", "learner_id", "course_id"), IDS),
        "known_at": TIMES,
        "is_skipped": FLAGS,
    },
    "check_ins": {
        **dict.fromkeys(("event_id", "learner_id", "course_id", "skill_id", "measure"), IDS),
        **dict.fromkeys(("known_at", "assessed_at"), TIMES),
        **dict.fromkeys(("self_report", "p_mastery", "report_before"), NUMBERS),
    },
    "safety_flags": {
        **dict.fromkeys(("event_id", "learner_id", "course_id", "category"), IDS),
        "known_at": TIMES,
    },
    "requests": {
        **dict.fromkeys(("event_id", "learner_id", "course_id", "skill_id", "layer"), IDS),
        "known_at": TIMES,
        "asks_for_a_person": FLAGS,
    },
    "human_contacts": {
        **dict.fromkeys(("learner_id", "course_id"), IDS),
        "known_at": TIMES,
        **dict.fromkeys(("is_session", "is_from_learner"), FLAGS),
    },
    "opened_sessions": {
        **dict.fromkeys(("session_id", "learner_id", "course_id"), IDS),
        "known_at": TIMES,
        **dict.fromkeys(("event_count", "hint_count", "response_count"), "int64"),
        "has_submission": FLAGS,
        "start_seconds": NUMBERS,
    },
    "manual_flags": {
        **dict.fromkeys(("row_id", "learner_id", "course_id", "layer"), IDS),
        "asks_for_contact_today": FLAGS,
        "known_at": TIMES,
    },
}
# The ends of the days at which scores are judged: of ``score_rows``, not a frame of its own.
DAY_ENDS = {"day_id": IDS, **dict.fromkeys(("known_at", "previous_at"), TIMES)}
BY_TIME = ("appointments", "messages", "reflections", "check_ins", "opened_sessions")
ORDER = {
    "responses": ["learner_id", "course_id", "response_number"],
    "learning_sessions": ["learner_id", "course_id", "known_at", "session_id"],
    "calendar": ["learner_id", "course_id", "calendar_date"],
    "days": ["learner_id", "course_id", "first_activity_at"],
    **{name: ["learner_id", "course_id", "known_at"] for name in BY_TIME},
}


def frames(**rows: Iterable[Row]) -> Frames:
    """Frames with these rows, in the order and types in which they are loaded."""
    given = {name: list(some) for name, some in rows.items()}
    given["responses"] = with_context(given.get("responses", []))
    given["steps"] = in_order(given.get("steps", []), given["responses"])
    go_on(given["responses"], given["steps"])
    for number, row in enumerate(given.get("days", ()), start=1):
        row.setdefault("active_days", number)
    made = {
        name: _frame(name, given[name]) if given.get(name) else _empty(name) for name in COLUMNS
    }
    ends = pd.DataFrame(given.get("day_ends", []), columns=list(DAY_ENDS)).astype(DAY_ENDS)
    scored = ("responses", "days", "learning_sessions", "opened_sessions", "messages")
    return Frames(**made, score_rows=ScoreRows(*(made[name] for name in scored), ends))


@cache
def _empty(name: str) -> pd.DataFrame:
    return _frame(name, [])


def _frame(name: str, rows: list[Row]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=list(COLUMNS[name])).astype(COLUMNS[name])
    order = ORDER.get(name)
    return frame.sort_values(order, ignore_index=True) if order else frame


def seen_by(whole: Frames, start: datetime, end: datetime, lookback: timedelta) -> Frames:
    """What the window ``[start, end)`` would be given of these frames."""

    def known(rows: pd.DataFrame, since: datetime) -> pd.DataFrame:
        inside = (rows["known_at"] >= since) & (rows["known_at"] < end)
        rows = rows[inside].reset_index(drop=True)
        # What happened after the window is not known in it.
        later = [c for c in ("attended_at", "called_off_at", "replied_at") if c in rows]
        return rows.assign(**{c: rows[c].mask(rows[c] >= end) for c in later})

    scored = whole.score_rows

    responses = known(whole.responses, start - lookback)
    later = ~(responses["next_action_at"] < end)
    return Frames(
        responses=responses.assign(
            next_action_at=responses["next_action_at"].mask(later),
            goes_on=responses["goes_on"] & ~later,
        ),
        steps=known(whole.steps, start - lookback),
        learning_sessions=known(whole.learning_sessions, start - lookback),
        calendar=known(whole.calendar, start - timedelta(days=3)),
        enrolments=known(whole.enrolments, FAR_PAST),
        assignments=known(whole.assignments, FAR_PAST),
        low_scores=known(whole.low_scores, start - timedelta(days=35)),
        days=whole.days[whole.days["first_activity_at"] < end].reset_index(drop=True),
        answer_facts=whole.answer_facts,
        submissions=known(whole.submissions, start),
        enrolment_changes=whole.enrolment_changes,
        source_courses=whole.source_courses,
        appointments=known(whole.appointments, start - lookback),
        messages=known(whole.messages, start - lookback),
        reflections=known(whole.reflections, start - lookback),
        check_ins=known(whole.check_ins, start - lookback),
        safety_flags=known(whole.safety_flags, start - lookback),
        requests=known(whole.requests, start - lookback),
        human_contacts=known(whole.human_contacts, start - lookback),
        opened_sessions=known(whole.opened_sessions, start - lookback),
        manual_flags=known(whole.manual_flags, start - lookback),
        score_rows=ScoreRows(
            known(scored.answers, start - lookback - timedelta(days=2)),
            scored.days[scored.days["first_activity_at"] < end],
            known(scored.sessions, start - timedelta(days=17)),
            known(scored.openings, start - lookback),
            known(scored.messages, start - lookback),
            known(scored.day_ends, start),
        ),
    )


# -- policies --------------------------------------------------------------------------------------


def policy(only: Sequence[str] = (), **changes: Any) -> Policy:
    """The shipped policy, cut to the rules of ``only`` and with top-level keys replaced.

    A mapping is merged into the shipped one, level by level; ``None`` removes a key. Nobody is
    held out by lot, unless a share is given.
    """
    data = {**_shipped(), "hold_out": {**_shipped()["hold_out"], "share": 0}}
    if only:
        data = {**data, "rules": {name: data["rules"][name] for name in only}}
    made = Policy.model_validate(_merged(data, changes))
    made._fingerprint = "test+0"
    return made


@cache
def _shipped() -> Any:
    return yaml.safe_load(default_policy_path().read_text())


def _merged(base: Any, change: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(change, dict):
        return change
    merged = {**base, **{key: _merged(base.get(key), value) for key, value in change.items()}}
    return {key: value for key, value in merged.items() if value is not None}


# -- the fold over time ----------------------------------------------------------------------------


def signal(
    learner: str = "ana",
    rule: str = "repeated_misses",
    tier: int = 2,
    at: datetime = DAY_0,
    subject: str = "fractions",
    observed: float = 4,
    threshold: float = 3,
    n: int = 10,
    layer: str | None = None,
) -> Signal:
    """A fired rule; its layer is that of the shipped policy."""
    return Signal(
        signal_id=f"{learner}/{rule}/{tier}/{subject}/{at:%m-%dT%H:%M:%S}",
        rule_id=rule,
        rule_version="1",
        learner_id=learner,
        course_id=COURSE,
        layer=layer or _shipped()["rules"][rule]["layer"],
        alert_tier=tier,
        subject_kind="skill",
        subject_id=subject,
        anchor_id=f"{at:%m-%dT%H:%M:%S}",
        fired_at=at,
        observed=observed,
        threshold=threshold,
        n=n,
        window_text="",
        sentence=f"{rule} on {subject}",
        evidence_ids="[]",
    )


def recovery(
    kind: str = "unaided_correct",
    learner: str = "ana",
    at: datetime = DAY_0,
    subject: str | None = "fractions",
    run: int = 2,
    since: datetime | None = None,
) -> RecoveryEvent:
    """Something that speaks for the learner; a session counts from ``since``, its start."""
    return RecoveryEvent(kind, learner, COURSE, subject, run, since or at, at)


@dataclass
class Fold:
    """A programme of one course that is decided tick by tick.

    ``outside`` maps a learner to [(from, to, reason)] of being left alone; ``complete_until`` is
    how far the feeds have come.
    """

    policy: Policy = field(default_factory=lambda: policy())
    coach: Coach = field(default_factory=lambda: Coach("kim"))
    outside: Mapping[str, Sequence[tuple[datetime, datetime, str]]] = field(default_factory=dict)
    complete_until: datetime = FAR_FUTURE
    coach_of: Callable[[str, str, str, datetime], Coach] | None = None
    known: Mapping[str, Any] = field(default_factory=dict)  # further fields of the Context
    state: OpenState = field(default_factory=OpenState)
    changes: Changes = field(default_factory=Changes)

    def tick(
        self,
        at: datetime,
        *events: Signal | RecoveryEvent,
        held: Iterable[Signal] = (),
        unsupported: Iterable[Signal] = (),
        said: Iterable[InboxNote] = (),
        tries: Iterable[ItemTry] = (),
        leaving: list[tuple[str | None, str | None]] | None = None,
    ) -> Fold:
        """Decide the tick that ends at ``at``, with what became known in it."""
        given = TickInput(
            at,
            [event for event in events if isinstance(event, Signal)],
            list(held),
            [event for event in events if isinstance(event, RecoveryEvent)],
            frozenset(event.signal_id for event in unsupported),
            list(said),
            list(tries),
            leaving=leaving,
        )
        context = Context(
            self.coach_of or (lambda *_: self.coach),
            self._outside,
            frozenset(),
            days(7),
            **self.known,
        )
        advance(self.state, given, context, self.policy, self._watermark, self.changes)
        return self

    def _outside(self, learner: str, course: str, at: datetime) -> str | None:
        for begin, end, reason in self.outside.get(learner, ()):
            if begin <= at < end:
                return reason
        return None

    def _watermark(self, rule: str, course: str, as_of: datetime) -> datetime:
        return min(as_of, self.complete_until)

    def alert(self, learner: str = "ana", layer: str = "content") -> Alert:
        """The latest alert of a learner in a layer."""
        return self.state.alerts[learner, COURSE, layer]

    def open_keys(self) -> set[Key]:
        return {key for key, alert in self.state.alerts.items() if alert.status != "closed"}

    def became(self, of: Signal) -> str:
        """What became of a signal."""
        return self.changes.dispositions[of.signal_id][2]

    def ledger(self, reason: str, learner: str = "ana") -> Hold:
        """The one ledger row of a learner with this reason."""
        (found,) = (
            hold
            for hold in self.changes.holds.values()
            if hold.reason == reason and hold.learner_id == learner
        )
        return found
