"""Examples for the policy page: a case in which a rule fires, and the one just before it.

A story tells a small case in growing sizes. The rule itself is evaluated on each of them: the first
size at which it holds is the hit, the size before the near miss. So neither can drift from what the
rule does with the numbers in force.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

import pandas as pd

from tutorflow.decide.rule import RULES
from tutorflow.policy.model import Level, Policy

Row = dict[str, Any]
Numbers = Mapping[str, Any]
SIZES = range(1, 61)
START = datetime(2026, 3, 2, 9)  # a Monday; any would do


class Case(NamedTuple):
    """A case in words, and the mart rows it is made of, the last one being judged."""

    words: str
    rows: list[Row]


class Example(NamedTuple):
    """What fires, and what just does not."""

    hit: str
    near_miss: str


Story = Callable[[Numbers], Iterator[Case]]


def example(policy: Policy, name: str, level: Level) -> Example | None:
    """The hit and the near miss of a level; None where there is no size that just does not fire."""
    if name not in STORIES or level.repeated is not None:
        return None
    return _example(name, tuple(policy.numbers_of(name, level).items()))


@cache
def _example(name: str, given: tuple[tuple[str, Any], ...]) -> Example | None:
    numbers = dict(given)
    cases = list(STORIES[name](numbers))
    if not cases or _holds(name, numbers, cases[0].rows):
        return None
    below, above = 0, len(cases) - 1
    if not _holds(name, numbers, cases[above].rows):
        # What goes too far no longer fires: the first that does is looked for one by one.
        held = (k for k, case in enumerate(cases) if _holds(name, numbers, case.rows))
        above = next(held, 0)
        if above == 0:
            return None
        below = above - 1
    # Between a case that does not fire and one that does, until they are neighbours.
    while above - below > 1:
        middle = (below + above) // 2
        if _holds(name, numbers, cases[middle].rows):
            above = middle
        else:
            below = middle
    return Example(cases[above].words, cases[below].words)


def _holds(name: str, numbers: Numbers, rows: list[Row]) -> bool:
    frame = pd.DataFrame(rows)
    for column in frame.columns:
        if column.endswith("_at"):
            frame[column] = pd.to_datetime(frame[column]).dt.as_unit("us")
    condition = RULES[name].function(frame, **numbers)
    return bool(len(condition.holds) and condition.holds.iloc[-1])


# -- rows ------------------------------------------------------------------------------------------


def _row(number: int = 0, apart: timedelta = timedelta(minutes=1), **columns: Any) -> Row:
    at = START + number * apart
    return {
        "learner_id": "ana",
        "course_id": "course",
        "event_id": str(number),
        "session_id": "session",
        "known_at": at,
        **columns,
    }


def _answer(number: int = 0, **columns: Any) -> Row:
    return _row(
        number,
        **{
            "skill_id": "skill",
            "item_id": f"item {number}",
            "module_id": "module",
            "responded_at": START + timedelta(minutes=number),
            "is_first_attempt": True,
            "is_correct": False,
            "is_unaided": True,
            "is_core": True,
            "hints_used": 0,
            "opportunity": number + 1,
            "response_number": number + 1,
            "p_mastery_before": 0.5,
            "p_mastery_after": 0.5,
            "p_mastery_max": 0.5,
            "wrong_of_last_5": 5,
            **columns,
        },
    )


def _step(number: int, step: str = "response_submitted", **columns: Any) -> Row:
    is_answer = step == "response_submitted"
    return _answer(
        number,
        **{
            "step": step,
            "is_answer": is_answer,
            "is_first_attempt": is_answer,
            "hints_available": 3,
            "hint_level": 1,
            "hint_level_max": 3,
            **columns,
        },
    )


def _hours(hours: float) -> str:
    days, rest = divmod(round(hours), 24)
    parts = [f"{days} day{'' if days == 1 else 's'}"] if days else []
    parts += [f"{rest} hour{'' if rest == 1 else 's'}"] if rest or not days else []
    return " and ".join(parts)


def _back_after(days: float) -> Iterator[tuple[float, datetime]]:
    """(hours of absence, the return), growing, around so many days."""
    for hours in range(1, int(24 * days) + 26):
        yield hours, START + timedelta(hours=hours)


# -- stories ---------------------------------------------------------------------------------------


def _repeated_misses(numbers: Numbers) -> Iterator[Case]:
    in_a_row = numbers["in_a_row"] is not None
    line = numbers["mastery_below"] or numbers["mastered_at"]
    mastery = f"mastery {line - 0.05:.2f}" if numbers["mastery_below"] else "not mastered"
    for size in SIZES:
        what = f"{size} first tries in a row" if in_a_row else f"{size} of the last 10 first tries"
        row = _answer(
            consecutive_wrong=size,
            misses_of_last_10=size,
            first_tries_of_last_10=10,
            unaided_correct_of_last_3=0,
            p_mastery_after=line - 0.05,
            opportunity=10,
        )
        yield Case(f"{what} wrong, {mastery}", [row])


def _wheel_spinning(numbers: Numbers) -> Iterator[Case]:
    for size in SIZES:
        row = _answer(opportunity=size, longest_correct_run=numbers["correct_in_a_row"] - 1)
        run = numbers["correct_in_a_row"]
        yield Case(f"{size} chances at a skill, never {run} right in a row", [row])


def _accuracy_decline(numbers: Numbers) -> Iterator[Case]:
    for lost in range(1, 19):
        now = 0.9 - 0.05 * lost
        row = _answer(accuracy_of_previous_40=0.9, accuracy_of_last_20=now)
        yield Case(f"right were {now:.0%} of the last 20 and 90% of the 40 before", [row])


def _two_core_skills_missed(numbers: Numbers) -> Iterator[Case]:
    for size in SIZES:
        rows = [_answer(k, skill_id=("one", "other")[k // size]) for k in range(2 * size)]
        yield Case(f"{size} wrong on a core skill, then {size} on another, nothing right", rows)


def _trend_reversal(numbers: Numbers) -> Iterator[Case]:
    ran = numbers["after_correct"]
    right = [_answer(k, is_correct=True, consecutive_correct=k + 1) for k in range(ran)]
    for size in SIZES:
        wrong = [_answer(ran + k, consecutive_correct=0) for k in range(size)]
        yield Case(f"{size} wrong straight after {ran} right in a row", [*right, *wrong])


def _repeated_help_no_gain(numbers: Numbers) -> Iterator[Case]:
    line = numbers["mastery_below"] or numbers["mastered_at"]
    rows: list[Row] = []
    for size in range(1, 21):
        first = 2 * size - 2
        rows.append(_step(first, "hint_requested", item_id=f"item {size}"))
        rows.append(_step(first + 1, item_id=f"item {size}", is_unaided=False,
                          p_mastery_after=line - 0.05))  # fmt: skip
        times = size - 1
        word = "once" if times == 1 else f"{times} times"
        if times:
            yield Case(f"{word} help on a skill, and the next task wrong each time", list(rows))


def _failed_then_abandoned(numbers: Numbers) -> Iterator[Case]:
    for size in SIZES:
        rows = [_step(k) for k in range(size)]
        rows += [_step(size + k, "item_abandoned") for k in range(numbers["abandoned"])]
        word = "answer" if size == 1 else "answers"
        yield Case(f"{size} wrong {word} on a skill, then a task left, in one session", rows)


def _flat_mastery(numbers: Numbers) -> Iterator[Case]:
    days = 2 * numbers["cycle_days"]
    for size in range(2, 61):
        apart = timedelta(days=days * 0.95) / (size - 1)
        rows = [{**_answer(k), "known_at": START + k * apart} for k in range(size)]
        yield Case(f"{size} chances spread over {days:g} days, mastery as before", rows)


def _error_pattern(numbers: Numbers) -> Iterator[Case]:
    for size in SIZES:
        rows = [_answer(k, error_type="sign") for k in range(size)]
        yield Case(f"{_mistakes(size)} of one kind on a skill", rows)


def _mistakes(size: int) -> str:
    return "1 mistake" if size == 1 else f"{size} mistakes"


def _slow_responses(numbers: Numbers) -> Iterator[Case]:
    if numbers["z_above"] is None or numbers["times_own_median"] is not None:
        return
    for size in range(6):
        row = _answer(
            log_seconds_z=numbers["z_above"] + 1,
            wrong_of_last_5=size,
            log_seconds_count_of_last_20=20,
        )
        yield Case(f"an answer far slower than usual, {size} of the last 5 wrong", [row])


def _rapid_guessing(numbers: Numbers) -> Iterator[Case]:
    def rapid(number: int, is_rapid: bool) -> Row:
        seconds = 1.0 if is_rapid else 40.0
        return _answer(number, response_seconds=seconds, item_mean_seconds=60.0,
                       item_seconds_count=numbers["item_responses"])  # fmt: skip

    in_a_row = numbers["in_a_row"] is not None
    for size in range(1, 21):
        rows = [
            rapid(k, k >= (0 if in_a_row else 20 - size)) for k in range(size if in_a_row else 20)
        ]
        where = "wrong answers in a row" if in_a_row else "of the last 20 answers wrong and"
        yield Case(f"{size} {where} within a second", rows)


def _idle_after_hard_item(numbers: Numbers) -> Iterator[Case]:
    count = numbers["own_answers"]
    shown = {"item_first_tries": numbers["item_first_tries"], "goes_on": True}
    before = [
        _answer(k, item_difficulty=0.3, next_action_at=START + timedelta(minutes=k + 1), **shown)
        for k in range(count)
    ]
    for size in SIZES:
        last = START + timedelta(minutes=count + size)
        hard = _answer(count, item_difficulty=0.6, next_action_at=last, **shown)
        word = "minute" if size == 1 else "minutes"
        yield Case(f"a pause of {size} {word} after a wrong answer on a hard task", [*before, hard])


def _hint_dependency(numbers: Numbers) -> Iterator[Case]:
    items = numbers["items"]
    for size in range(1, items + 1):
        rows = [_answer(k, hints_used=int(k >= items - size)) for k in range(items)]
        yield Case(f"hints on {size} of the last {items} tasks", rows)


def _hint_overuse(numbers: Numbers) -> Iterator[Case]:
    where = (
        "in one module"
        if numbers["in_module"] is not None
        else f"within {numbers['minutes']:g} minutes, nothing right in between"
    )
    for size in SIZES:
        rows = [_step(k, "hint_requested", is_first_attempt=False) for k in range(size)]
        yield Case(f"{size} hint{'' if size == 1 else 's'} {where}", rows)


def _help_avoidance(numbers: Numbers) -> Iterator[Case]:
    for size in SIZES:
        word = "answer" if size == 1 else "answers"
        rows = [_step(k) for k in range(size)]
        yield Case(f"{size} wrong {word} in a row, hints at hand and none opened", rows)


def _hint_not_used(numbers: Numbers) -> Iterator[Case]:
    for size in SIZES:
        rows = [_step(k, "hint_requested") for k in range(size)]
        yield Case(f"{size} hint{'' if size == 1 else 's'} opened, and nothing done after", rows)


def _pacing_drift(numbers: Numbers) -> Iterator[Case]:
    before, last = numbers["before"], numbers["answers"]
    usual = [_answer(k, response_seconds=(25.0, 36.0)[k % 2]) for k in range(before)]
    slower = numbers["slower_by"] is not None
    for size in range(1, 60):
        times = 1 + size / 10
        seconds = 30.0 * times if slower else 30.0 / times
        rows = [_answer(before + k, response_seconds=seconds) for k in range(last)]
        word = "slower" if slower else "quicker"
        told = f"the last {last} answers {times:.1f} times {word} than the {before} before"
        yield Case(f"{told}, with the last five wrong", [*usual, *rows])


def _revision_loop(numbers: Numbers) -> Iterator[Case]:
    for size in SIZES:
        rows = [_step(k, "response_revised", item_id="item") for k in range(size)]
        word = "once" if size == 1 else f"{size} times"
        yield Case(f"an answer changed {word} and not handed in", rows)


def _answer_dependency(numbers: Numbers) -> Iterator[Case]:
    count = numbers["of_last"]
    for size in range(1, count):
        rows: list[Row] = []
        for k in range(count):
            shown = k < size
            item = f"item {k}"
            if shown:
                rows.append(_step(2 * k, "explanation_viewed", item_id=item))
            rows.append(_step(2 * k + 1, item_id=item, is_correct=shown, is_unaided=not shown))
        told = f"of the last {count} answers {size} right after the answer was shown"
        yield Case(f"{told}, the others wrong without help", rows)


def _abandonment(numbers: Numbers) -> Iterator[Case]:
    for size in SIZES:
        rows = [_row(k, items_abandoned=1, has_open_item=False) for k in range(size)]
        told = "1 task or session" if size == 1 else f"{size} tasks or sessions"
        yield Case(f"{told} left within {numbers['days']:g} days", rows)


def _shorter_sessions(numbers: Numbers) -> Iterator[Case]:
    last, before = numbers["last"], numbers["before"]
    day = timedelta(days=1)
    usual = [_row(k, day, active_seconds=1800.0) for k in range(before)]
    for minutes in range(29, 0, -1):
        rows = [_row(before + k, day, active_seconds=60.0 * minutes) for k in range(last)]
        told = f"the last {last} sessions of {minutes} minutes, the {before} before of 30"
        yield Case(told, [*usual, *rows])


def _silent_after_low_score(numbers: Numbers) -> Iterator[Case]:
    score = numbers["below"] - 0.05
    for hours, back in _back_after(numbers["hours"] / 24):
        row = _row(item_id="test", score_share=score, next_activity_at=back)
        yield Case(f"a score of {score:.0%}, and back after {_hours(hours)}", [row])


def _inactive(numbers: Numbers) -> Iterator[Case]:
    days, midnight = numbers["days"], START.replace(hour=0)
    last_known = midnight + timedelta(days=days) - timedelta(microseconds=1)
    for hours, back in _back_after(days):
        row = _row(
            last_activity_at=START,
            next_activity_at=back,
            next_day_end_at=last_known + timedelta(days=1),
            cohort_share_below=0.0,
            cohort_size=numbers["cohort_of_at_least"],
            active_days_of_last_28=1,
        )
        who = "" if numbers["below_cohort_percentile"] is None else "one of the least active, "
        yield Case(f"{who}back after {_hours(hours)}", [{**row, "known_at": last_known}])


def _never_started(numbers: Numbers) -> Iterator[Case]:
    for hours, first in _back_after(numbers["days"]):
        row = _row(starts_at=START, first_activity_at=first)
        yield Case(f"first seen {_hours(hours)} after the start", [row])


def _activity_drop(numbers: Numbers) -> Iterator[Case]:
    for done in range(99, -1, -1):
        row = _row(
            event_count_of_last_7_days=done,
            mean_event_count_of_previous_4_weeks=100.0,
            event_count_of_previous_4_weeks=400,
            min_active_days_of_previous_4_weeks=numbers["active_days"],
        )
        yield Case(f"{done} things done in the last 7 days, usually 100 a week", [row])


def _first_assignment_missing(numbers: Numbers) -> Iterator[Case]:
    for hours, at in _back_after(numbers["days"]):
        row = _row(item_id="essay", assignment_number=1, submitted_at=at)
        yield Case(f"handed in {_hours(hours)} after it was due", [row])


def _missed_sessions(numbers: Numbers) -> Iterator[Case]:
    for size in range(1, 21):
        rows = [_row(k, called_off_at=pd.NaT, attended_at=pd.NaT) for k in range(size)]
        yield Case(f"{size} scheduled session{'' if size == 1 else 's'} missed in a row", rows)


def _unanswered_outreach(numbers: Numbers) -> Iterator[Case]:
    for size in range(1, 21):
        silent: Row = {"actor": "coach", "replied_at": pd.NaT, "next_activity_at": pd.NaT}
        rows = [_row(k, **silent) for k in range(size)]
        told = f"{size} message{'' if size == 1 else 's'} of a coach"
        yield Case(f"{told}, and nothing back within {numbers['hours']:g} hours", rows)


def _skipped_reflections(numbers: Numbers) -> Iterator[Case]:
    for size in range(1, 21):
        rows = [_row(k, is_skipped=True) for k in range(size)]
        yield Case(f"{size} reflection{'' if size == 1 else 's'} skipped in a row", rows)


def _opened_not_started(numbers: Numbers) -> Iterator[Case]:
    idle: Row = {"response_count": 0, "hint_count": 0, "has_submission": False, "event_count": 1}
    for size in range(1, 21):
        rows = [_row(k, **idle) for k in range(size)]
        yield Case(f"{size} session{'' if size == 1 else 's'} opened, nothing attempted", rows)


def _slow_to_start(numbers: Numbers) -> Iterator[Case]:
    usual = [_row(k, start_seconds=60.0) for k in range(10)]
    for size in range(1, 100):
        times = 1 + size / 10
        rows = [_row(10 + k, start_seconds=60.0 * times) for k in range(3)]
        told = f"{60 * times:.0f} seconds from opening to the first answer in the last 3 sessions"
        yield Case(f"{told}, usually 60", [*usual, *rows])


def _late_work(numbers: Numbers) -> Iterator[Case]:
    for size in range(1, 21):
        rows = [_row(k, submitted_at=pd.NaT) for k in range(size)]
        told = f"{size} assignment{'' if size == 1 else 's'} late or missing"
        yield Case(f"{told} within {numbers['days']:g} days", rows)


def _low_confidence(numbers: Numbers) -> Iterator[Case]:
    report = {"measure": "confidence", "self_report": numbers["at_most"]}
    for size in range(1, 21):
        rows = [_row(k, p_mastery=numbers["mastery_at_least"], **report) for k in range(size)]
        told = f"{size} report{'' if size == 1 else 's'} of {numbers['at_most']:g} on a skill"
        yield Case(f"{told} at mastery {numbers['mastery_at_least']:g}", rows)


def _low_mood(numbers: Numbers) -> Iterator[Case]:
    for size in range(1, 21):
        rows = [_row(k, measure="mood", self_report=numbers["at_most"]) for k in range(size)]
        told = f"{size} check-in{'' if size == 1 else 's'} in a row"
        yield Case(f"{told} at {numbers['at_most']:g} on a scale of 0 to 1", rows)


def _confidence_drop(numbers: Numbers) -> Iterator[Case]:
    for fall in range(1, 100):
        now = round(1.0 - fall / 100, 2)
        row = _row(measure="confidence", report_before=1.0, self_report=now, assessed_at=START)
        yield Case(f"confidence 1.00 before a test and {now:.2f} after it", [row])


def _score_threshold(numbers: Numbers) -> Iterator[Case]:
    parts = numbers["leading_parts"]
    for value in range(1, 101):
        row = _row(value=float(value), value_before=0.0, leading_count=parts,
                   leading_count_before=0, words="score")  # fmt: skip
        yield Case(f"a score of {value}, with {parts} leading parts", [row])


# Rules without one answer to every single event: there is nothing that just does not count.
STORIES: dict[str, Story] = {
    "repeated_misses": _repeated_misses,
    "wheel_spinning": _wheel_spinning,
    "accuracy_decline": _accuracy_decline,
    "two_core_skills_missed": _two_core_skills_missed,
    "trend_reversal": _trend_reversal,
    "repeated_help_no_gain": _repeated_help_no_gain,
    "failed_then_abandoned": _failed_then_abandoned,
    "flat_mastery": _flat_mastery,
    "error_pattern": _error_pattern,
    "slow_responses": _slow_responses,
    "rapid_guessing": _rapid_guessing,
    "idle_after_hard_item": _idle_after_hard_item,
    "hint_dependency": _hint_dependency,
    "hint_overuse": _hint_overuse,
    "help_avoidance": _help_avoidance,
    "hint_not_used": _hint_not_used,
    "pacing_drift": _pacing_drift,
    "revision_loop": _revision_loop,
    "answer_dependency": _answer_dependency,
    "abandonment": _abandonment,
    "shorter_sessions": _shorter_sessions,
    "silent_after_low_score": _silent_after_low_score,
    "inactive": _inactive,
    "never_started": _never_started,
    "activity_drop": _activity_drop,
    "first_assignment_missing": _first_assignment_missing,
    "missed_sessions": _missed_sessions,
    "unanswered_outreach": _unanswered_outreach,
    "skipped_reflections": _skipped_reflections,
    "opened_not_started": _opened_not_started,
    "slow_to_start": _slow_to_start,
    "late_work": _late_work,
    "low_confidence": _low_confidence,
    "low_mood": _low_mood,
    "confidence_drop": _confidence_drop,
    "score_threshold": _score_threshold,
}
