"""Two scores, 0-100: struggle and stop-out, each the sum of stored parts.

A part maps the learner's value linearly from ``none`` to ``full`` onto 0-1 and weighs it; the
numbers are frozen in the policy. Parts that cannot be known yet carry no weight: the rest is
scaled up, and with less than half of the weight known there is no score. No demographic input.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from tutorflow.decide.frames import LOOKBACK, Frames
from tutorflow.decide.rules.compliance import EARLIER_OPENINGS, MONTH, RECENT_OPENINGS, start_delay
from tutorflow.decide.rules.spans import newest, spans
from tutorflow.decide.score_rows import SCORED_DAYS, ScoreRows
from tutorflow.policy.model import Policy, ScorePart

WHO = ["learner_id", "course_id"]
MOMENT = [*WHO, "as_of"]
DAY = pd.Timedelta(days=1)
INSTANT = pd.Timedelta(microseconds=1)
REPLY_WITHIN = pd.Timedelta(hours=48)  # an answer to a message counts as one for so long
AT_ONCE = 50_000  # moments judged at once, so that memory does not follow the window
TITLES = {"struggle_score": "struggle", "stopout_risk": "stop-out risk"}


def score(
    frames: Frames, policy: Policy, moments: Mapping[tuple[str, str], pd.Timestamp]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(rows of ``learner_scores``, rows of ``score_parts``) for learners at their moments.

    ``moments`` maps (learner, course) to the tick at which to judge; only rows known before it
    count.
    """
    wanted = pd.DataFrame([(*who, at) for who, at in moments.items()], columns=MOMENT).astype(
        {"as_of": "datetime64[us]"}
    )
    totals, parts = [], []
    for name, total, detail in _scores(frames.score_rows, policy, wanted):
        totals.append(total[[*WHO, "score", "value", "as_of"]])
        parts.append(detail.merge(total[MOMENT], on=MOMENT).assign(score=name))
        parts[-1]["sentence"] = _sentences(parts[-1], policy)
    columns = [*MOMENT, "score", "part", "kind", "weight", "local_value", "contribution"]
    return (
        pd.concat(totals, ignore_index=True),
        pd.concat(parts, ignore_index=True)[[*columns, "sentence"]],
    )


def score_days(rows: ScoreRows, policy: Policy) -> pd.DataFrame:
    """One row per learner, course, score and day that ends in the window, with what it is made of.

    ``value`` and ``leading_count`` (leading parts that contribute) at the end of the day, the same
    of the day before (``_before``; missing where there was no score), ``layer`` of the largest
    part, and the largest parts in ``words``.
    """
    judged = _judged(rows)
    if judged.empty:
        return _no_score_days()
    both = pd.concat([judged["as_of"], judged["as_of_before"]])
    wanted = pd.DataFrame(
        {name: pd.concat([judged[name]] * 2) for name in WHO} | {"as_of": both}
    ).drop_duplicates(ignore_index=True)
    found = [
        _standing(name, total, detail, policy)
        for begin in range(0, len(wanted), AT_ONCE)
        for name, total, detail in _scores(rows, policy, wanted[begin : begin + AT_ONCE])
    ]
    found = [rows for rows in found if not rows.empty]
    if not found:
        return _no_score_days()
    standing = pd.concat(found, ignore_index=True)
    # A day before that was not itself judged has no say: who is away too long starts anew.
    before = standing.rename(
        columns={
            "as_of": "as_of_before",
            "value": "value_before",
            "leading_count": "leading_count_before",
        }
    )[[*WHO, "score", "as_of_before", "value_before", "leading_count_before"]]
    days = judged.merge(standing, on=MOMENT).merge(
        before, on=[*WHO, "score", "as_of_before"], how="left"
    )
    days.loc[~days["was_judged_before"], ["value_before", "leading_count_before"]] = float("nan")
    days["score_day_id"] = days["score"] + " " + days["day_id"]
    days = days.sort_values([*WHO, "score", "known_at"], ignore_index=True)
    return days[list(_no_score_days().columns)]


def _no_score_days() -> pd.DataFrame:
    return pd.DataFrame(
        {
            **{name: pd.Series(dtype="object") for name in (*WHO, "score", "score_day_id")},
            **{name: pd.Series(dtype="object") for name in ("layer", "words")},
            "known_at": pd.Series(dtype="datetime64[us]"),
            **{
                name: pd.Series(dtype="float64")
                for name in ("value", "leading_count", "value_before", "leading_count_before")
            },
        }
    )


def _judged(rows: ScoreRows) -> pd.DataFrame:
    """Learners and the ends of days at which they are judged: active in the five weeks before."""
    who = rows.days[WHO].drop_duplicates()
    judged = who.merge(rows.day_ends, how="cross")
    judged["as_of"] = judged["known_at"] + INSTANT
    judged["as_of_before"] = judged["previous_at"] + INSTANT
    reach = SCORED_DAYS * DAY
    first, last = spans(rows.days, judged, WHO, "first_activity_at", "as_of", reach)
    is_judged = last > first
    first, last = spans(rows.days, judged, WHO, "first_activity_at", "as_of_before", reach)
    judged["was_judged_before"] = last > first
    return judged[is_judged].reset_index(drop=True)


def _standing(name: str, total: pd.DataFrame, detail: pd.DataFrame, policy: Policy) -> pd.DataFrame:
    """The score's value with its leading parts, its layer and its largest parts in words."""
    if total.empty:
        return total
    parts = policy.scores.by_name()[name]
    detail = detail.merge(total[MOMENT], on=MOMENT)
    detail = detail[detail["contribution"] > 0]
    # The largest first; equal parts in the order of the policy.
    rank = {part: number for number, part in enumerate(parts)}
    detail = detail.assign(rank=detail["part"].map(rank)).sort_values(
        [*MOMENT, "contribution", "rank"], ascending=[True, True, True, False, True]
    )
    leading = detail[detail["kind"] == "leading"].groupby(MOMENT).size().rename("leading_count")
    largest = detail.groupby(MOMENT)["part"].first().map({p: n.layer for p, n in parts.items()})
    words = _in_words(detail.groupby(MOMENT).head(3), policy)
    found = total.set_index(MOMENT)[["value"]]
    found["leading_count"] = leading.reindex(found.index).fillna(0).astype("float64")
    found["layer"] = largest.reindex(found.index)
    found["words"] = f"{TITLES[name]}: " + words.reindex(found.index)
    return found.reset_index().assign(score=name)


def _in_words(parts: pd.DataFrame, policy: Policy) -> pd.Series:
    """The sentences of each moment's parts in one; the rows of a moment stand together."""
    is_first = ~parts.duplicated(MOMENT)
    told: list[str] = []
    for begins, sentence in zip(is_first, _sentences(parts, policy), strict=True):
        if begins:
            told.append(sentence)
        else:
            told[-1] += f"; {sentence}"
    moments = pd.MultiIndex.from_frame(parts.loc[is_first, MOMENT])
    return pd.Series(told, index=moments, dtype="object")


def _scores(
    rows: ScoreRows, policy: Policy, wanted: pd.DataFrame
) -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """(score, its values, its parts) at each wanted learner, course and moment."""
    values = _values(rows, wanted)
    for name, group in policy.scores.by_name().items():
        detail = pd.concat(
            [_part(values, name, part, numbers) for part, numbers in group.items()],
            ignore_index=True,
        )
        known = detail["local_value"].notna() * detail["weight"]
        by = [detail[c] for c in MOMENT]
        known_weight = known.groupby(by, sort=False).transform("sum")
        detail["contribution"] = (
            (100 * known * detail["local_value"].fillna(0) / known_weight.where(known_weight > 0))
            .fillna(0)
            .round(10)
        )
        learners = detail.assign(known=known).groupby(MOMENT, as_index=False)
        total = learners.agg(value=("contribution", "sum"), known=("known", "sum"))
        total = total[total["known"].round(9) >= 0.5].assign(score=name)
        total["value"] = total["value"].round(9).clip(0, 100)
        yield name, total, detail


def _part(values: pd.DataFrame, score_name: str, part: str, numbers: ScorePart) -> pd.DataFrame:
    raw = values[part]
    local = ((raw - numbers.none) / (numbers.full - numbers.none)).clip(0, 1)
    return values[MOMENT].assign(
        score=score_name,
        part=part,
        kind=numbers.kind,
        weight=numbers.weight / 100,
        raw=raw,
        local_value=local.round(6),
    )


def _sentences(parts: pd.DataFrame, policy: Policy) -> list[str]:
    by_name = policy.scores.by_name()
    return [
        "not known yet" if pd.isna(raw) else by_name[name][part].sentence.format(value=raw)
        for name, part, raw in zip(parts["score"], parts["part"], parts["raw"], strict=True)
    ]


# -- the value of each part ------------------------------------------------------------------------


def _values(rows: ScoreRows, wanted: pd.DataFrame) -> pd.DataFrame:
    """One row per moment with the raw value of every part (NaN where unknown)."""
    wanted = wanted.reset_index(drop=True)
    return wanted.assign(
        **_of_answers(rows.answers, wanted),
        **_of_days(rows.days, wanted),
        completion=_completion(rows.sessions, wanted),
        responsiveness=_responsiveness(rows.messages, wanted),
        time_to_start=_time_to_start(rows.openings, wanted),
    )


def _of_answers(answers: pd.DataFrame, wanted: pd.DataFrame) -> dict[str, pd.Series]:
    """Of the last 20 answers (none older than an hourly window sees; ten at least for shares)."""
    first, last = spans(answers, wanted, WHO, "known_at", "as_of", pd.Timedelta(LOOKBACK))

    def last_20(column: pd.Series) -> pd.DataFrame:
        return pd.DataFrame(newest(column, first, last, 20), index=wanted.index)

    enough = pd.Series(last - first >= 10, index=wanted.index)
    moved = last_20(answers["p_mastery_after"] - answers["p_mastery_before"])
    return {
        "errors": (1 - last_20(answers["is_correct"]).mean(axis=1)).where(enough),
        "hints": last_20(answers["hints_used"] > 0).mean(axis=1).where(enough),
        "pace": last_20(answers["log_seconds_z"]).median(axis=1),
        "flat_mastery": moved.sum(axis=1, min_count=1).where(enough),
    }


def _of_days(days: pd.DataFrame, wanted: pd.DataFrame) -> dict[str, pd.Series]:
    """Recency, active days of the last 7, and the last 7 days against the four weeks before.

    A whole day counts to its last activity and from its end, today from its first activity.
    """
    first, last = spans(
        days, wanted, WHO, "first_activity_at", "as_of", pd.Timedelta(days=365 * 100)
    )
    as_of = wanted["as_of"].to_numpy().astype("datetime64[us]")[:, None]

    def latest(column: str) -> np.ndarray:
        instants = days[column].astype("datetime64[us]").astype("int64")
        found = newest(instants, first, last, SCORED_DAYS + 2)
        return np.where(np.isnan(found), np.nan, as_of.astype("int64") - found) / 86_400e6

    begun, ended, known = (
        latest(name) for name in ("first_activity_at", "last_activity_at", "known_at")
    )
    is_timed = newest((days["time_precision"] == "second"), first, last, SCORED_DAYS + 2) == 1
    is_whole = known > 0
    seen = np.where(is_whole, ended, np.where(is_timed, begun, np.nan))
    events = newest(days["event_count"], first, last, SCORED_DAYS + 2)
    is_earlier = is_whole & (known >= 7) & (known < SCORED_DAYS)
    before = np.where(is_earlier, events, 0).sum(axis=1) / 4
    now = np.where(is_whole & (known < 7), events, 0).sum(axis=1)
    steady = is_earlier.sum(axis=1) >= 8
    return {
        "recency": pd.DataFrame(seen, index=wanted.index).min(axis=1),
        "attendance": pd.Series((seen < 7).sum(axis=1).clip(max=7), wanted.index, dtype="float64"),
        "frequency_drop": pd.Series(
            np.divide(now, before, out=np.full(len(now), np.nan), where=steady & (before > 0)),
            index=wanted.index,
        ),
    }


def _completion(sessions: pd.DataFrame, wanted: pd.DataFrame) -> pd.Series:
    """Share of the sessions of the last 14 days in which something was left unfinished."""
    left = (sessions["items_abandoned"] > 0) | sessions["has_open_item"]
    return _share(left, *spans(sessions, wanted, WHO, "known_at", "as_of", 14 * DAY), wanted)


def _responsiveness(messages: pd.DataFrame, wanted: pd.DataFrame) -> pd.Series:
    """Share of people's messages of the last 28 days that were answered within 48 hours.

    A message counts once its 48 hours are over.
    """
    sent = messages[messages["actor"] == "coach"]
    sent = sent.assign(deadline=sent["known_at"] + REPLY_WITHIN)
    answered = sent["replied_at"] <= sent["deadline"]
    return _share(answered, *spans(sent, wanted, WHO, "deadline", "as_of", MONTH), wanted)


def _time_to_start(openings: pd.DataFrame, wanted: pd.DataFrame) -> pd.Series:
    """From opening to the first answer: the last three sessions against the ten before."""
    known = openings[openings["start_seconds"].notna()]
    first, last = spans(known, wanted, WHO, "known_at", "as_of", MONTH)
    first = np.maximum(first, last - RECENT_OPENINGS - EARLIER_OPENINGS)
    return pd.Series(start_delay(known["start_seconds"], first, last)[1], index=wanted.index)


def _share(
    marks: pd.Series, first: np.ndarray, last: np.ndarray, wanted: pd.DataFrame
) -> pd.Series:
    """Share of marked rows in each range; NaN where there are none."""
    total = np.concatenate(([0.0], np.cumsum(marks.to_numpy(dtype="float64"))))
    count = last - first
    return pd.Series(
        np.divide(
            total[last] - total[first], count, out=np.full(len(count), np.nan), where=count > 0
        ),
        index=wanted.index,
    )
