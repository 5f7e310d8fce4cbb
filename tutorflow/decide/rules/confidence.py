"""Confidence: the skill may be there, the behaviour says the learner does not trust it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tutorflow.decide.rule import (
    Condition,
    Count,
    Deviations,
    Minutes,
    OfFive,
    RecentDays,
    Seconds,
    Share,
    Times,
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

HALF = REACH / 2
MODULE = (*LEARNER, "module_id")
HELP = ("hint_requested", "explanation_viewed", "help_requested")


def _by_row(values: pd.Series | pd.DataFrame, rows: pd.DataFrame) -> pd.Series:
    """Rolling results by learner with the index of the rows, which are sorted by learner."""
    return pd.Series(values.to_numpy().ravel(), index=rows.index)


@rule(
    mart="responses",
    needs=("response_submitted",),
    needs_time_of_day=True,
    one_of=("z_above", "times_own_median"),
)
def slow_responses(
    responses: pd.DataFrame,
    *,
    z_above: Deviations = 2.0,
    times_own_median: Times | None = None,
    items: Count = 3,
    wrong_of_last_5: OfFive = 2,
) -> Condition:
    """Answers far slower than the learner's own pace while answers go wrong.

    The default is z of ln(1 + seconds) against the own last 20 in-session responses, with at
    least two of the last five wrong: 2.0 % of responses. The documents' form, ``items`` in a row
    slower than ``times_own_median`` times the own median of 14 days, flags 27.7 % (METHODS 2).
    """
    rows = responses
    if times_own_median is not None:
        past = rows.groupby(list(LEARNER), sort=False).rolling(
            REACH, on="known_at", min_periods=10, closed="left"
        )["response_seconds"]
        ratio = rows["response_seconds"] / _by_row(past.median(), rows)
        holds = Trail(rows).sum((ratio > times_own_median).fillna(False), items) >= items
        observed, threshold = ratio, times_own_median
        n, window = _by_row(past.count(), rows), "own median of the last 14 days"
    else:
        threshold = z_above
        observed = rows["log_seconds_z"]
        holds = (observed > threshold).fillna(False)
        n = rows["log_seconds_count_of_last_20"]
        window = "own last 20 answers"
    holds &= rows["wrong_of_last_5"] >= wrong_of_last_5
    return Condition(rows, holds, observed, threshold, n, window, evidence=5)


@rule(
    mart="responses",
    needs=("response_submitted",),
    needs_time_of_day=True,
    at_least_one_of=("in_a_row", "share_of_last_20"),
)
def rapid_guessing(
    responses: pd.DataFrame,
    *,
    in_a_row: Count | None = None,
    share_of_last_20: Share | None = None,
    at_most_seconds: Seconds = 10,
    of_item_mean: Share = 0.1,
    item_responses: Count = 10,
) -> Condition:
    """Very quick wrong answers: guessing instead of thinking.

    Quick is faster than min(10 s, 10 % of the item's mean time) (NWEA's definition); quick right
    answers carry no signal (METHODS 2). The item's mean is as of the end of the day before, from
    at least ``item_responses`` answers. Only answers of the last 14 days count. With both
    ``in_a_row`` and ``share_of_last_20`` either will do, in a session with a rapid answer; what is
    observed is then how far it is past its line (1: just there).
    """
    rows = responses
    limit = np.minimum(at_most_seconds, of_item_mean * rows["item_mean_seconds"])
    known = rows["item_seconds_count"] >= item_responses
    rapid = (~rows["is_correct"] & known & (rows["response_seconds"] < limit)).fillna(False)
    behind = Trail(rows)
    n = behind.count(20)
    share = behind.sum(rapid, 20) / n
    run = behind.sum(rapid, in_a_row or 1)
    if share_of_last_20 is None:
        observed, threshold, evidence = run, float(in_a_row or 1), in_a_row or 1
        n, window = rows["response_number"].clip(upper=20), "answers in a row"
        holds = run >= threshold
    elif in_a_row is None:
        observed, threshold, evidence, window = share, share_of_last_20, 20, "last 20 answers"
        holds = (share >= share_of_last_20) & (n >= 20)
    else:
        often = (share / share_of_last_20).where(n >= 20, 0.0)
        observed, threshold, evidence, window = often, 1.0, 20, "last 20 answers"
        observed = observed.where(observed > run / in_a_row, run / in_a_row)
        # A session counts only when something in it was rapid.
        holds = (observed >= 1) & (count_within(rapid, rows, [*LEARNER, "session_id"]) > 0)
    return Condition(rows, holds, observed, threshold, n, window, evidence=evidence)


@rule(mart="responses", needs=("response_submitted",), needs_time_of_day=True)
def idle_after_hard_item(
    responses: pd.DataFrame,
    *,
    from_minutes: Minutes = 5,
    to_minutes: Minutes = 30,
    item_first_tries: Count = 10,
    own_answers: Count = 10,
) -> Condition:
    """A long pause after a wrong answer on an item that is hard for this learner.

    The pause is seen when the learner goes on in the same session; who does not come back has left
    it. Hard is above the median difficulty (share of wrong first tries, as of the end of the day
    before, from ``item_first_tries`` on) of the own answers of 14 days. Pauses of this length are
    3.5 times likelier after a wrong answer (METHODS 2).
    """
    rows = responses[responses["next_action_at"].notna()]
    rows = rows.assign(
        known_at=rows["next_action_at"],
        difficulty=rows["item_difficulty"].where(rows["item_first_tries"] >= item_first_tries),
    )
    past = rows.groupby(list(LEARNER), sort=False).rolling(
        REACH, on="responded_at", min_periods=own_answers, closed="left"
    )["difficulty"]
    pause = (rows["known_at"] - rows["responded_at"]).dt.total_seconds() / 60
    holds = rows["goes_on"] & ~rows["is_correct"]
    holds &= (pause >= from_minutes) & (pause <= to_minutes)
    holds &= rows["difficulty"] > _by_row(past.median(), rows)
    return Condition(
        rows,
        holds,
        pause,
        from_minutes,
        _by_row(past.count(), rows),
        "minutes without action",
        subject="item_id",
    )


@rule(mart="responses", needs=("response_submitted", "hint_requested"))
def hint_dependency(
    responses: pd.DataFrame,
    *,
    share: Share = 0.7,
    items: Count = 10,
    items_of_this_session: Count = 1,
) -> Condition:
    """Hints on most of the latest items.

    An item is a first try with the further tries that follow it. At least
    ``items_of_this_session`` items must be of the running session: a second session counts only
    when its own items show it.
    """
    rows = responses
    learner = group_numbers(rows, LEARNER)
    number = running_sum(rows["is_first_attempt"], learner)
    used = rows["hints_used"] > 0
    # A hinted item counts once, at the first of its tries that used a hint.
    first_use = used & (running_sum(used, group_numbers(rows, [learner, number])) == 1)
    behind = Trail(rows, [learner])
    n = behind.sum(rows["is_first_attempt"], items, unit=number)
    observed = behind.sum(first_use, items, unit=number) / n.where(n > 0)
    holds = (n >= items) & (observed >= share)
    if items_of_this_session > 1:
        here = count_within(rows["is_first_attempt"], rows, [*LEARNER, "session_id"])
        holds &= rows["session_id"].notna() & (here >= items_of_this_session)
    return Condition(rows, holds, observed, share, n, f"last {items} items", evidence=items)


@rule(
    mart="steps",
    needs=("response_submitted", "hint_requested"),
    subject="module",
    one_of=("in_module", "without_progress"),
)
def hint_overuse(
    steps: pd.DataFrame,
    *,
    in_module: Count | None = None,
    days: RecentDays = 7,
    without_progress: Count | None = None,
    minutes: Minutes = 12,
    quiet: Count = 10,
) -> Condition:
    """Many hints in one module, or several within minutes without a right answer in between.

    ``in_module`` counts the hints of the last ``days`` in the module; it is over when ``quiet``
    steps there go by without a hint. ``without_progress`` counts the hints of the last ``minutes``
    since the last right answer, and is over with ``quiet`` steps without a hint too.
    """
    hint = steps["step"] == "hint_requested"
    rows = steps[hint | steps["is_answer"]]
    hint = hint[rows.index]
    if in_module is not None:
        threshold, window = in_module, f"last {days:g} days"
        by: tuple[str, ...] = MODULE
        module = group_numbers(rows, MODULE)
        observed = count_within(hint, rows, [module], pd.Timedelta(days=days))
        holds = (observed >= in_module) & (count_within(hint, rows, [module], last=quiet) > 0)
    else:
        threshold, window, by = without_progress or 3, f"{minutes:g} minutes", LEARNER
        learner = group_numbers(rows, LEARNER)
        progress = running_sum(rows["is_correct"], learner)
        observed = count_within(hint, rows, [learner, progress], pd.Timedelta(minutes=minutes))
        many = hint & (observed >= threshold)
        holds = count_within(many, rows, [learner], HALF, last=quiet) > 0
    return Condition(
        rows,
        holds,
        observed,
        threshold,
        observed,
        window,
        by=by,
        evidence=threshold,
        subject="module_id",
        items=rows["is_answer"],
    )


@rule(mart="steps", needs=("response_submitted", "hint_requested"))
def help_avoidance(steps: pd.DataFrame, *, wrong: Count = 4) -> Condition:
    """Wrong answers in a row with hints at hand, and none opened.

    Any right answer and any help (a hint, an explanation, asking a person) ends the row. Where the
    source does not say that hints are available, nothing fires.
    """
    rows = steps[steps["is_answer"] | steps["step"].isin(HELP)]
    alone = rows["is_answer"] & ~rows["is_correct"] & rows["is_unaided"]
    observed = Trail(rows).sum(alone & (rows["hints_available"] > 0), wrong)
    return Condition(
        rows,
        observed >= wrong,
        observed,
        wrong,
        observed,
        "answers in a row",
        evidence=wrong,
        items=rows["is_answer"],
    )


@rule(
    mart="steps",
    needs=("response_submitted", "hint_requested"),
    is_absence=True,
    needs_time_of_day=True,
)
def hint_not_used(
    steps: pd.DataFrame, *, times: Count = 2, days: RecentDays = 7, minutes: Minutes = 30
) -> Condition:
    """Hints opened, and then no action on the item.

    An action is an answer, a revision, or further help on the same item within ``minutes``.
    """
    acts = steps[steps["is_answer"] | steps["step"].isin([*HELP, "response_revised"])]
    acts = acts[acts["item_id"].notna()]
    next_at = acts["known_at"].groupby(group_numbers(acts, (*LEARNER, "item_id")), sort=False)
    patience = pd.Timedelta(minutes=minutes)
    rows = acts.assign(known_at=acts["known_at"] + patience, next_at=next_at.shift(-1))
    rows = rows[rows["step"] == "hint_requested"]
    unused = rows["next_at"].isna() | (rows["next_at"] > rows["known_at"])
    behind = Trail(rows, window=pd.Timedelta(days=days))
    observed = behind.sum(unused)
    return Condition(
        rows,
        unused & (observed >= times),
        observed,
        times,
        behind.count(),
        f"last {days:g} days",
        subject="item_id",
    )


@rule(
    mart="responses",
    needs=("response_submitted",),
    needs_time_of_day=True,
    one_of=("faster_by", "slower_by"),
)
def pacing_drift(
    responses: pd.DataFrame,
    *,
    faster_by: Deviations | None = None,
    slower_by: Deviations | None = None,
    answers: Count = 10,
    before: Count = 40,
    before_at_least: Count = 20,
    wrong_of_last_5: OfFive = 2,
) -> Condition:
    """A lasting change of pace against the own baseline while answers go wrong.

    The mean of ln(1 + seconds) of the last ``answers`` timed answers lies this many standard
    deviations off that of the ``before`` answers before them. As with single answers, pace alone
    is noise (METHODS 2), so some of the last five must be wrong.
    """
    rows = responses[responses["response_seconds"].notna()]
    # Thousandths, so that sums are exact whatever else is in the frame.
    pace = (1000 * np.log1p(rows["response_seconds"])).round()
    behind, both = Trail(rows), answers + before
    n, total = behind.count(answers), behind.sum(pace, answers)
    base_n = behind.count(both) - n
    base = behind.sum(pace, both) - total
    squares = behind.sum(pace * pace, both) - behind.sum(pace * pace, answers)
    spread = np.sqrt((base_n * squares - base * base) / (base_n * (base_n - 1)).where(base_n > 1))
    change = (total / n - base / base_n.where(base_n > 0)) / spread.where(spread > 0)
    observed = (change if faster_by is None else -change).round(6)
    threshold = slower_by if faster_by is None else faster_by
    holds = (n >= answers) & (base_n >= before_at_least) & (observed >= threshold)
    holds &= rows["wrong_of_last_5"] >= wrong_of_last_5
    return Condition(
        rows,
        holds,
        observed,
        float(threshold or 0),
        base_n,
        f"last {answers} answers against the {before} before",
        evidence=answers,
    )


@rule(mart="steps", needs=("response_revised", "response_submitted"), subject="item")
def revision_loop(steps: pd.DataFrame, *, revisions: Count = 4) -> Condition:
    """An answer changed again and again without being handed in."""
    rows = steps[steps["item_id"].notna() & steps["session_id"].notna()]
    revised = rows["step"] == "response_revised"
    rows = rows[revised | rows["is_answer"] | (rows["step"] == "item_abandoned")]
    revised = revised[rows.index]
    place = group_numbers(rows, (*LEARNER, "session_id", "item_id"))
    settled = running_sum(~revised, place)
    observed = running_sum(revised, group_numbers(rows, [place, settled]))
    return Condition(
        rows,
        revised & (observed >= revisions),
        observed,
        revisions,
        observed,
        "revisions without an answer",
        subject="item_id",
        evidence=revisions,
        items=rows["is_answer"],
    )


@rule(
    mart="steps",
    needs=("response_submitted",),
    any_of=("hint_requested", "explanation_viewed"),
)
def answer_dependency(
    steps: pd.DataFrame,
    *,
    of_last: Count = 10,
    given: Count = 3,
    unaided_wrong: Count = 3,
) -> Condition:
    """Right only after the answer was shown, wrong without help.

    The answer is shown by the last hint of an item (``hint_level`` at its maximum) or by an
    explanation. Among the last answers at least ``given`` are right after that, none is right
    without it, and at least ``unaided_wrong`` are wrong without any help.
    """
    shown = (steps["step"] == "explanation_viewed") | (
        (steps["step"] == "hint_requested") & (steps["hint_level"] >= steps["hint_level_max"])
    )
    place = group_numbers(steps, (*LEARNER, "session_id", "item_id"))
    is_shown = (running_sum(shown, place) > 0) & steps["session_id"].notna()
    rows = steps[steps["is_answer"]]
    was_shown = is_shown[rows.index] & rows["item_id"].notna()
    right = rows["is_correct"]
    behind = Trail(rows)
    n = behind.count(of_last)
    observed = behind.sum(right & was_shown, of_last)
    alone = behind.sum(~right & rows["is_unaided"] & ~was_shown, of_last)
    holds = (n >= of_last) & (observed >= given) & (alone >= unaided_wrong)
    holds &= behind.sum(right & ~was_shown, of_last) == 0
    return Condition(rows, holds, observed, given, n, f"last {of_last} answers", evidence=of_last)
