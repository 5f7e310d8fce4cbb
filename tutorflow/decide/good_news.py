"""Good news: what is worth a kind word, told once each. No tier, no alert, no capacity.

Each piece is anchored to what made it true (an answer, a day, an alert that closed) and its id is
a hash of that, so the hour and a backfill tell the same and nothing is told twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

import pandas as pd

from tutorflow.decide.episodes import Alert
from tutorflow.decide.frames import LOOKBACK, Frames, rows_of
from tutorflow.decide.ids import content_id
from tutorflow.decide.rules.series import trailing_sum
from tutorflow.policy.model import MasteredAfterStruggle, Policy, Returned, Streak

COLUMNS = ["good_news_id", "learner_id", "course_id", "kind", "subject", "at", "sentence"]
SKILL = ["learner_id", "course_id", "skill_id"]
# Ends of days that follow each other, also when the clocks change.
NEXT_DAY = (pd.Timedelta(hours=22), pd.Timedelta(hours=26))

OutOfScope = Callable[[str, str, datetime], str | None]


class Return(NamedTuple):
    """An alert about showing up that closed because the learner came back."""

    learner_id: str
    course_id: str
    alert_id: str
    at: datetime


class _News(NamedTuple):
    learner_id: str
    course_id: str
    kind: str
    subject: str
    at: datetime
    anchor: str
    sentence: str


def returns(alerts: Iterable[Alert], as_of: datetime) -> list[Return]:
    """The returns of one tick out of the alerts that changed in it."""
    return [
        Return(alert.key[0], alert.key[1], alert.alert_id, as_of)
        for alert in alerts
        if alert.key[2] == "compliance"
        and alert.closed_at == as_of
        and alert.close_reason == "recovered"
    ]


def good_news(
    frames: Frames,
    policy: Policy,
    start: datetime,
    end: datetime,
    titles: Mapping[str, str],
    is_out_of_scope: OutOfScope,
) -> pd.DataFrame:
    """Rows of ``good_news`` that marts alone tell of, for ``[start, end)`` (naive UTC).

    ``titles`` names the skills. Who has left, and staff, is left alone; a pause does not stop
    good news.
    """
    told = policy.good_news
    news: list[_News] = []
    if told.mastered_after_struggle is not None:
        news += _mastered(frames.responses, policy, told.mastered_after_struggle, titles)
    if told.streak is not None:
        news += _streaks(frames.days, told.streak)
    return _rows((one for one in news if start <= one.at < end), is_out_of_scope)


def with_returns(
    news: pd.DataFrame,
    returned: Iterable[Return],
    policy: Policy,
    is_out_of_scope: OutOfScope,
) -> pd.DataFrame:
    """The rows of ``good_news``, with those of the returns of the ticks decided."""
    words = policy.good_news.returned
    more = _rows([] if words is None else _returned(returned, words), is_out_of_scope)
    if more.empty:
        return news
    both = more if news.empty else pd.concat([news, more])
    return both.sort_values(["at", "good_news_id"], ignore_index=True)


def _rows(news: Iterable[_News], is_out_of_scope: OutOfScope) -> pd.DataFrame:
    rows = []
    for one in news:
        out = is_out_of_scope(one.learner_id, one.course_id, one.at)
        if out is None or out.startswith("paused"):
            identity = content_id(one.kind, one.learner_id, one.course_id, one.anchor)
            rows.append({"good_news_id": identity, **one._asdict()})
    found = pd.DataFrame(rows, columns=[*COLUMNS, "anchor"])[COLUMNS]
    return found.sort_values(["at", "good_news_id"], ignore_index=True)


def _mastered(
    responses: pd.DataFrame,
    policy: Policy,
    numbers: MasteredAfterStruggle,
    titles: Mapping[str, str],
) -> Iterator[_News]:
    """Skills mastered for the first time, after many misses among ten tries not long before."""
    tries = responses[responses["is_first_attempt"] & responses["skill_id"].notna()]
    tries = tries.sort_values([*SKILL, "response_number"], kind="stable", ignore_index=True)
    last_time = tries.groupby(SKILL, sort=False)[["p_mastery_max", "known_at"]].shift()
    # An hourly window sees no further back; a try that it cannot see is not judged by anybody.
    is_known = tries["known_at"] - last_time["known_at"] <= LOOKBACK
    is_first = (
        (tries["p_mastery_max"] >= policy.mastered_at)
        & (last_time["p_mastery_max"] < policy.mastered_at)
        & is_known
    )
    skill = tries.groupby(SKILL, sort=False).ngroup()
    window = pd.Timedelta(days=numbers.within_days)
    was_hard = trailing_sum(
        tries["misses_of_last_10"] >= numbers.misses, tries["known_at"], skill, window
    )
    misses = trailing_sum(~tries["is_correct"].astype(bool), tries["known_at"], skill, window)
    hits = tries.assign(misses=misses)[is_first & (was_hard > 0) & (misses >= numbers.misses)]
    for row in rows_of(hits):
        yield _News(
            row.learner_id,
            row.course_id,
            "mastered_after_struggle",
            row.skill_id,
            row.known_at.to_pydatetime(),
            row.event_id,
            numbers.sentence.format(
                subject=titles.get(row.skill_id, row.skill_id), count=int(row.misses)
            ),
        )


def _streaks(days: pd.DataFrame, numbers: Streak) -> Iterator[_News]:
    """Active days in a row, told at the first activity of the day that makes the number full."""
    who = ["learner_id", "course_id"]
    rows = days.sort_values([*who, "known_at"], kind="stable", ignore_index=True)
    gap = rows["known_at"] - rows.groupby(who, sort=False)["known_at"].shift()
    spell = (~gap.between(*NEXT_DAY)).cumsum()
    rows["run"] = rows.groupby(spell).cumcount() + 1
    is_timed = rows["time_precision"] == "second"
    rows["at"] = rows["first_activity_at"].where(is_timed, rows["known_at"])
    for row in rows_of(rows[rows["run"].isin(numbers.days)]):
        yield _News(
            row.learner_id,
            row.course_id,
            "streak",
            f"{row.run} days",
            row.at.to_pydatetime(),
            f"{row.run} days to {row.known_at - timedelta(hours=12):%Y-%m-%d}",
            numbers.sentence.format(subject="", count=int(row.run)),
        )


def _returned(returned: Iterable[Return], words: Returned) -> Iterator[_News]:
    for one in returned:
        yield _News(
            one.learner_id,
            one.course_id,
            "returned",
            "",
            one.at,
            f"{one.alert_id} {one.at.isoformat()}",
            words.sentence.format(subject="", count=0),
        )
