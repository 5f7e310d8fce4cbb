"""Good news: told once each, when it is true, the same hour by hour and in one go."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pandas as pd
from builders import (
    FAR_FUTURE,
    FAR_PAST,
    Fold,
    Row,
    activity_day,
    answers,
    days,
    frames,
    hours,
    on,
    policy,
    recovery,
    seen_by,
    signal,
)

from tutorflow.decide.candidates import fit
from tutorflow.decide.frames import LOOKBACK, Frames
from tutorflow.decide.good_news import COLUMNS, Return, good_news, returns, with_returns
from tutorflow.policy import Policy
from tutorflow.publish.contract import check_fit

SHIPPED = policy()
HARD = "xxxoxoo"  # three misses, then right


def news(
    whole: Frames,
    start: datetime = FAR_PAST,
    end: datetime = FAR_FUTURE,
    used: Policy = SHIPPED,
    returned: tuple[Return, ...] = (),
    out: str | None = None,
    **titles: str,
) -> pd.DataFrame:
    of_marts = good_news(whole, used, start, end, titles, lambda *_: out)
    return with_returns(of_marts, returned, used, lambda *_: out)


def told(whole: Frames, **more: Any) -> list[tuple[str, str, datetime]]:
    """[(kind, subject, at)]"""
    found = news(whole, **more)
    return [(r.kind, r.subject, r.at.to_pydatetime()) for r in found.itertuples()]


def learnt(pattern: str = HARD, last: float = 0.96, **same: Any) -> list[Row]:
    """Answers on a skill whose mastery is 0.5 until the last one."""
    rows = answers(pattern, p_mastery_after=0.5, p_mastery_max=0.5, **same)
    rows[-1] |= {"p_mastery_after": last, "p_mastery_max": last}
    return rows


class TestMasteredAfterStruggle:
    def test_a_skill_mastered_after_three_misses_is_news(self) -> None:
        whole = frames(responses=learnt())
        assert told(whole) == [("mastered_after_struggle", "fractions", on(0, "09:06"))]

    def test_it_names_the_skill_and_the_misses(self) -> None:
        found = news(frames(responses=learnt()), fractions="Adding fractions")
        assert found["sentence"].iloc[0].startswith("mastered Adding fractions after 4 misses")

    def test_two_misses_are_no_struggle(self) -> None:
        assert told(frames(responses=learnt("xxoooo"))) == []

    def test_a_hair_below_mastery_is_no_news(self) -> None:
        assert told(frames(responses=learnt(last=0.9499))) == []
        assert told(frames(responses=learnt(last=0.95))) != []

    def test_it_is_told_only_the_first_time(self) -> None:
        again = answers("xxxo", at="10:00", p_mastery_after=0.5, p_mastery_max=0.96)
        again[-1] |= {"p_mastery_after": 0.97, "p_mastery_max": 0.97}
        assert len(told(frames(responses=[*learnt(), *again]))) == 1

    def test_a_struggle_of_a_month_ago_does_not_count(self) -> None:
        late = learnt("oooooooooooo", day=29)
        old = answers("xxx", p_mastery_after=0.5, p_mastery_max=0.5)
        assert told(frames(responses=[*old, *late])) == []

    def test_skills_do_not_mix(self) -> None:
        easy = learnt("ooo", at="10:00", skill="ratios")
        hard = answers("xxx", p_mastery_after=0.5, p_mastery_max=0.5)
        assert told(frames(responses=[*hard, *easy])) == []


class TestStreak:
    def test_five_days_in_a_row_are_told_at_the_first_activity_of_the_fifth(self) -> None:
        whole = frames(days=[activity_day(day=day) for day in range(5)])
        assert told(whole) == [("streak", "5 days", on(4, "09:00"))]

    def test_four_days_and_a_day_between_are_not(self) -> None:
        assert told(frames(days=[activity_day(day=day) for day in range(4)])) == []
        assert told(frames(days=[activity_day(day=day) for day in (0, 1, 2, 4, 5)])) == []

    def test_each_number_of_the_policy_is_told_once(self) -> None:
        whole = frames(days=[activity_day(day=day) for day in range(30)])
        assert [subject for _, subject, _ in told(whole)] == ["5 days", "10 days", "20 days"]

    def test_a_source_of_whole_days_is_told_at_the_end_of_the_day(self) -> None:
        rows = [activity_day(day=day, time_precision="day") for day in range(5)]
        assert told(frames(days=rows))[0][2].date() == on(4).date()
        assert told(frames(days=rows))[0][2].hour == 23

    def test_learners_do_not_share_a_streak(self) -> None:
        rows = [activity_day(day=day) for day in range(3)]
        rows += [activity_day("ben", day=day) for day in range(3, 6)]
        assert told(frames(days=rows)) == []


def test_an_alert_about_showing_up_that_closes_with_a_return_is_news() -> None:
    fold = Fold().tick(on(1), signal(rule="inactive", at=on(0, "23:30"), subject=""))
    fold.tick(on(2), recovery("worked_session", at=on(1, "12:00"), subject=None))
    came_back = returns(fold.state.alerts.values(), on(2))
    assert [(one.learner_id, one.at) for one in came_back] == [("ana", on(2))]
    assert told(frames(), returned=tuple(came_back)) == [("returned", "", on(2))]
    # it is told in the tick that closed the alert, not in every later one
    assert returns(fold.state.alerts.values(), on(3)) == []


def test_an_alert_about_content_that_closes_is_no_return() -> None:
    fold = Fold().tick(on(1), signal(at=on(0, "23:30")))
    fold.tick(on(2), recovery(at=on(1, "12:00")))
    assert fold.alert().status == "closed"
    assert returns(fold.state.alerts.values(), on(2)) == []


def test_who_has_left_and_staff_are_left_alone_but_a_pause_is_no_reason() -> None:
    whole = frames(responses=learnt())
    assert told(whole, out="staff account") == []
    assert told(whole, out="withdrawn on 2026-03-01") == []
    assert told(whole, out="paused (pause)") != []


def test_a_policy_may_leave_any_of_it_out() -> None:
    whole = frames(responses=learnt(), days=[activity_day(day=day) for day in range(5)])
    silent = policy(good_news={"streak": None})
    assert [kind for kind, _, _ in told(whole, used=silent)] == ["mastered_after_struggle"]


def test_the_rows_fit_the_contract() -> None:
    found = news(frames(responses=learnt()))
    assert list(found.columns) == COLUMNS
    check_fit("good_news", fit("good_news", found))
    check_fit("good_news", fit("good_news", news(frames())))


def test_every_hour_tells_what_one_long_window_tells() -> None:
    rows = [
        row
        for number, day in enumerate((0, 6, 30, 71))
        for row in learnt(day=day, skill=f"skill {number % 3}", session=f"s{day}")
    ]
    active = [activity_day(day=day) for day in range(90) if day % 13]
    whole = frames(responses=rows, days=active)
    long = news(whole)
    assert set(long["kind"]) == {"mastered_after_struggle", "streak"}
    pieces = []
    for at in long["at"]:
        hour = at.to_pydatetime().replace(minute=0, second=0, microsecond=0)
        for begin in (hour - hours(1), hour, hour + days(1)):
            seen = seen_by(whole, begin, begin + hours(1), LOOKBACK)
            pieces.append(news(seen, begin, begin + hours(1)))
    short = pd.concat(pieces).drop_duplicates("good_news_id")
    assert sorted(short["good_news_id"]) == sorted(long["good_news_id"])
