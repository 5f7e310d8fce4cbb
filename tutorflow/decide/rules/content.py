"""Content: the learner is not ready for the next step."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tutorflow.decide.rule import (
    Condition,
    Count,
    CycleDays,
    Few,
    OfTen,
    Points,
    RecentDays,
    Share,
    rule,
)
from tutorflow.decide.rules.series import (
    LEARNER,
    REACH,
    Trail,
    count_within,
    group_numbers,
    running_sum,
)

SKILL = (*LEARNER, "skill_id")
HALF = REACH / 2


def _first_tries(responses: pd.DataFrame) -> pd.DataFrame:
    return responses[responses["is_first_attempt"] & responses["skill_id"].notna()]


@rule(
    mart="responses",
    needs=("response_submitted",),
    subject="skill",
    one_of=("misses", "in_a_row"),
)
def repeated_misses(
    responses: pd.DataFrame,
    *,
    misses: OfTen | None = None,
    in_a_row: Count | None = None,
    mastery_below: Share | None = None,
    mastered_at: Share = 0.95,
    ignore_productive_struggle: bool = True,
) -> Condition:
    """Wrong first tries on one skill that is not mastered.

    ``misses`` counts the last 10 first tries, ``in_a_row`` the current run. Misses that were
    followed by an unaided correct answer within three tries are productive struggle and do not
    count for ``misses`` (METHODS 2). Precision on ASSISTments09: 3 misses .61, 4 in a row .77.
    """
    rows = _first_tries(responses)
    holds = rows["p_mastery_after"] < (mastered_at if mastery_below is None else mastery_below)
    if in_a_row is not None:
        observed, threshold = rows["consecutive_wrong"], in_a_row
        holds &= observed >= in_a_row
        n, window = rows["opportunity"].clip(upper=10), "first tries in a row"
        evidence: int | pd.Series = in_a_row
    else:
        threshold = misses or 3
        observed = rows["misses_of_last_10"]
        holds &= observed >= threshold
        if ignore_productive_struggle:
            holds &= rows["unaided_correct_of_last_3"] == 0
        n, window = rows["first_tries_of_last_10"], "last 10 first tries"
        evidence = rows["first_tries_of_last_10"]
    return Condition(
        rows, holds, observed, threshold, n, window, by=SKILL, evidence=evidence, subject="skill_id"
    )


@rule(mart="responses", needs=("response_submitted",), subject="skill")
def wheel_spinning(
    responses: pd.DataFrame,
    *,
    opportunities: Count = 10,
    correct_in_a_row: Count = 3,
    mastered_at: Share = 0.95,
) -> Condition:
    """Many opportunities on a skill without ever getting it (Beck & Gong 2013)."""
    rows = _first_tries(responses)
    holds = (
        (rows["opportunity"] >= opportunities)
        & (rows["longest_correct_run"] < correct_in_a_row)
        & (rows["p_mastery_max"] < mastered_at)
    )
    return Condition(
        rows,
        holds,
        rows["opportunity"],
        opportunities,
        rows["opportunity"],
        "all opportunities on the skill",
        by=SKILL,
        evidence=10,
        subject="skill_id",
    )


@rule(mart="responses", needs=("response_submitted",))
def accuracy_decline(responses: pd.DataFrame, *, points: Points = 20) -> Condition:
    """The last 20 answers are clearly worse than the own 40 before, in percentage points."""
    rows = responses
    # rounded: 0.7 - 0.5 is a hair below 0.2
    lost = rows["accuracy_of_previous_40"] - rows["accuracy_of_last_20"]
    observed = (100 * lost).round(7)
    return Condition(
        rows,
        (observed >= points).fillna(False),
        observed,
        points,
        pd.Series(60, index=rows.index),
        "last 20 answers against the 40 before",
        evidence=20,
    )


@rule(
    mart="responses",
    needs=("response_submitted",),
    subject="skill",
    needs_core_skills=True,
    reach_days=21,
)
def two_core_skills_missed(responses: pd.DataFrame, *, misses: Few = 2) -> Condition:
    """Two core skills go wrong one after the other, with no success between.

    Each has at least ``misses`` wrong first tries within a week since the last right first try on
    any core skill. Which skills are core, the roster says.
    """
    tries = _first_tries(responses)
    rows = tries[tries["is_core"]]
    missed = ~rows["is_correct"]
    learner = group_numbers(rows, LEARNER)
    run = running_sum(rows["is_correct"], learner)
    in_run = Trail(rows, [learner, run], HALF)
    on_skill = Trail(rows, [learner, "skill_id", run], HALF)
    observed = on_skill.sum(missed)
    failed = missed & (observed >= misses)
    elsewhere = in_run.sum(failed) > on_skill.sum(failed)
    # It stays true until something goes right, also while a third skill is begun.
    holds = missed & (in_run.sum(failed & elsewhere) > 0)
    return Condition(
        rows,
        holds,
        observed,
        misses,
        in_run.sum(missed),
        "first tries on core skills",
        evidence=2 * misses,
        subject="skill_id",
    )


@rule(mart="responses", needs=("response_submitted",), subject="skill")
def trend_reversal(
    responses: pd.DataFrame, *, wrong: OfTen = 3, of_last: OfTen = 4, after_correct: Count = 5
) -> Condition:
    """Suddenly wrong after a run of right answers.

    ``wrong`` of at most ``of_last`` first tries on a skill, straight after ``after_correct`` or
    more right ones in a row; all of it within 14 days.
    """
    rows = _first_tries(responses)
    missed = ~rows["is_correct"]
    skill = group_numbers(rows, SKILL)
    behind = Trail(rows, [skill])
    before = rows[["consecutive_correct", "known_at"]].groupby(skill, sort=False)
    observed = pd.Series(0.0, index=rows.index)
    ran = pd.Series(float("nan"), index=rows.index)
    for back in range(wrong, max(wrong, of_last) + 1):
        earlier = before.shift(back)
        is_near = rows["known_at"] - earlier["known_at"] < REACH
        found = behind.sum(missed, last=back)
        fits = is_near & (earlier["consecutive_correct"] >= after_correct) & (found >= wrong)
        observed = observed.where(~fits, found)
        ran = ran.where(~fits, earlier["consecutive_correct"])
    return Condition(
        rows,
        observed >= wrong,
        observed,
        wrong,
        ran.fillna(0) + of_last,
        f"last {of_last} first tries",
        by=SKILL,
        evidence=of_last,
        subject="skill_id",
    )


@rule(
    mart="steps",
    needs=("response_submitted",),
    any_of=("hint_requested", "help_requested"),
    subject="skill",
)
def repeated_help_no_gain(
    steps: pd.DataFrame,
    *,
    times: Count = 2,
    mastery_below: Share | None = None,
    mastered_at: Share = 0.95,
) -> Condition:
    """Help on one skill again and again, and the next item goes wrong all the same.

    Help is a hint or asking a person; worked solutions shown after an answer do not count. It had
    no gain when the first try at the next item of the skill, within a week, is wrong. An unaided
    right first try in between starts the count anew, and a mastered skill fires nothing.
    ``mastery_below`` sets the line lower: at .2 the share of skills without progress among those
    found rose from .73 to .79 (simulated programme, 41,000 answers).
    """
    asked = steps["step"].isin(["hint_requested", "help_requested"])
    rows = steps[steps["skill_id"].notna() & (asked | steps["is_answer"])]
    skill = group_numbers(rows, SKILL)
    helped, until = _help_at_the_item_before(rows, skill, asked[rows.index])
    first = rows["is_first_attempt"] & rows["is_answer"]
    tries = rows[first].assign(helped=helped[first], helped_until=until[first])
    skill = skill[first]
    spell = running_sum(tries["is_correct"] & tries["is_unaided"], skill)
    in_vain = ~tries["is_correct"] & tries["helped"]
    in_vain &= tries["known_at"] - tries["helped_until"] < HALF
    observed = count_within(in_vain, tries, [skill, spell], HALF)
    line = mastered_at if mastery_below is None else mastery_below
    return Condition(
        tries,
        (observed >= times) & (tries["p_mastery_after"] < line),
        observed,
        times,
        Trail(tries, [skill], HALF).count(),
        "first tries after help",
        by=SKILL,
        evidence=times + 1,
        subject="skill_id",
    )


def _help_at_the_item_before(
    rows: pd.DataFrame, skill: pd.Series, asked: pd.Series
) -> tuple[pd.Series, pd.Series]:
    """(whether there was help at the skill's item before this row's, when that item ended)."""
    order = np.argsort(skill.to_numpy(), kind="stable")
    numbers, items = skill.to_numpy()[order], group_numbers(rows, ["item_id"]).to_numpy()[order]
    # A visit: the steps at one item, up to the next item of the skill.
    is_next = rows["item_id"].isna().to_numpy()[order]
    is_next[1:] |= (numbers[1:] != numbers[:-1]) | (items[1:] != items[:-1])
    is_next[:1] = True
    visit, starts = np.cumsum(is_next) - 1, np.flatnonzero(is_next)
    helped = np.bincount(visit, weights=asked.to_numpy()[order]) > 0
    until = rows["known_at"].to_numpy()[order][np.append(starts[1:], len(rows))[: len(starts)] - 1]
    before = visit - 1
    has_one = (before >= 0) & (numbers == numbers[starts[np.maximum(before, 0)]])
    found = pd.Series(False, index=rows.index)
    ended = pd.Series(pd.NaT, index=rows.index, dtype=rows["known_at"].dtype)
    found.iloc[order] = has_one & helped[np.maximum(before, 0)]
    ended.iloc[order] = until[np.maximum(before, 0)]
    return found, ended


@rule(
    mart="steps",
    needs=("response_submitted", "item_abandoned"),
    subject="skill",
    needs_time_of_day=True,
)
def failed_then_abandoned(
    steps: pd.DataFrame,
    *,
    wrong: Count = 2,
    abandoned: Count = 1,
    ignore_productive_struggle: bool = True,
) -> Condition:
    """Wrong answers and an item left, on one skill in one session.

    An unaided right answer starts the count anew: misses that led somewhere are productive
    struggle (METHODS 2).
    """
    left = steps["step"] == "item_abandoned"
    rows = steps[(left | steps["is_answer"]) & steps["skill_id"].notna()]
    rows = rows[rows["session_id"].notna()]
    spell = group_numbers(rows, [*LEARNER, "session_id", "skill_id"])
    if ignore_productive_struggle:
        got_it = running_sum(rows["is_correct"] & rows["is_unaided"], spell)
        spell = group_numbers(rows, [spell, got_it])
    observed = running_sum(rows["is_answer"] & ~rows["is_correct"], spell)
    given_up = running_sum(left[rows.index], spell)
    return Condition(
        rows,
        (observed >= wrong) & (given_up >= abandoned),
        observed,
        wrong,
        observed + given_up,
        "this session",
        by=(*LEARNER, "session_id", "skill_id"),
        evidence=observed + given_up,
        subject="skill_id",
    )


@rule(mart="responses", needs=("response_submitted",), subject="skill")
def flat_mastery(
    responses: pd.DataFrame,
    *,
    cycle_days: CycleDays = 7,
    opportunities: Count = 10,
    gain_below: Share = 0.05,
    mastered_at: Share = 0.95,
) -> Condition:
    """Two weeks of practice on a skill, and the estimated mastery has not moved.

    Two cycles of ``cycle_days``, with first tries in both and at least ``opportunities`` in all;
    neither brought a gain of ``gain_below``.
    """
    rows = _first_tries(responses)
    cycle = pd.Timedelta(days=cycle_days)
    skill = group_numbers(rows, SKILL)
    both, one = Trail(rows, [skill], 2 * cycle), Trail(rows, [skill], cycle)
    n, lately = both.count(), one.count()
    start, middle = both.first(rows["p_mastery_before"]), one.first(rows["p_mastery_before"])
    second = rows["p_mastery_after"] - middle
    holds = (n >= opportunities) & (lately < n) & (rows["p_mastery_after"] < mastered_at)
    holds &= (middle - start < gain_below) & (second < gain_below)
    return Condition(
        rows,
        holds,
        n,
        opportunities,
        n,
        f"last {2 * cycle_days} days",
        by=SKILL,
        evidence=10,
        subject="skill_id",
    )


@rule(mart="responses", needs=("response_submitted",), subject="skill")
def error_pattern(
    responses: pd.DataFrame,
    *,
    times: Count = 3,
    days: RecentDays = 14,
    share_of_errors: Share = 0.5,
) -> Condition:
    """One kind of mistake again and again on a skill.

    First tries only, so that one item counts once; at least ``share_of_errors`` of the mistakes on
    the skill whose kind is known are of this kind.
    """
    tries = _first_tries(responses)
    rows = tries[~tries["is_correct"] & tries["error_type"].notna()]
    span = pd.Timedelta(days=days)
    by = (*SKILL, "error_type")
    observed, n = Trail(rows, by, span).count(), Trail(rows, SKILL, span).count()
    return Condition(
        rows,
        (observed >= times) & (observed >= share_of_errors * n),
        observed,
        times,
        n,
        rows["error_type"].astype("str"),
        by=by,
        evidence=times,
        subject="skill_id",
    )
