"""The two scores: parts that add up, numbers that stay put, nothing from the future."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pandas as pd
import pytest
from builders import (
    COURSE,
    activity_day,
    answers,
    days,
    frames,
    minutes,
    on,
    policy,
    response,
    session,
)

from tutorflow.decide.frames import Frames
from tutorflow.decide.scores import score
from tutorflow.policy import Policy

SHIPPED = policy()


def judged(
    whole: Frames, at: datetime, learners: tuple[str, ...] = ("ana",), by: Policy = SHIPPED
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(scores, parts) at an instant, by (learner, score[, part])."""
    totals, parts = score(whole, by, {(who, COURSE): pd.Timestamp(at) for who in learners})
    return (
        totals.set_index(["learner_id", "score"]).sort_index(),
        parts.set_index(["learner_id", "score", "part"]).sort_index(),
    )


def part(whole: Frames, at: datetime, name: str) -> Any:
    """One part of ana's scores."""
    _, parts = judged(whole, at)
    return parts.xs(name, level="part").iloc[0]


def struggling(**same: Any) -> Frames:
    """Twenty answers, half of them wrong and half with hints, on one skill."""
    return frames(responses=answers("xh" * 10, p_mastery_before=0.3, p_mastery_after=0.3, **same))


def test_the_parts_add_up_to_the_score() -> None:
    whole = frames(
        responses=[*answers("xhxoxhxxox" * 2), *answers("xxoxh" * 4, learner="ben")],
        days=[activity_day(day=0), activity_day(day=-5), activity_day("ben", day=-3)],
        learning_sessions=[session(abandoned=1), session("ben", day=-3)],
    )
    totals, parts = judged(whole, on(1), ("ana", "ben"))
    assert len(totals) == 4
    added = parts.groupby(["learner_id", "score"])["contribution"].sum()
    assert (added - totals["value"]).abs().max() < 1e-8


def test_a_part_contributes_its_weight_times_its_local_value() -> None:
    errors = part(struggling(log_seconds_z=0.5), on(1), "errors")
    assert errors["local_value"] == pytest.approx((0.5 - 0.15) / (0.6 - 0.15), abs=1e-6)
    assert errors["weight"] == 0.35
    assert errors["contribution"] == pytest.approx(35 * errors["local_value"])
    assert errors["sentence"] == "50% of the last 20 answers were wrong"


def test_an_unknown_part_has_no_weight_and_the_others_are_scaled_up() -> None:
    whole = struggling(log_seconds_z=float("nan"))
    totals, parts = judged(whole, on(1))
    pace = parts.loc["ana", "struggle_score", "pace"]
    assert pd.isna(pace["local_value"])
    assert pace["contribution"] == 0
    assert pace["sentence"] == "not known yet"
    errors = parts.loc["ana", "struggle_score", "errors"]
    assert errors["contribution"] == pytest.approx(35 * errors["local_value"] / 0.8, abs=1e-6)
    assert totals.loc[("ana", "struggle_score"), "value"] <= 100


def test_a_score_never_leaves_0_to_100() -> None:
    # known parts with weights 35, 20 and 20, all full: three thirds must not add up to 100.0001
    worst = answers("x" * 20, p_mastery_before=float("nan"), log_seconds_z=9.0, hints_used=3)
    for row in worst:
        row["p_mastery_after"] = float("nan")
    best = answers("o" * 20, learner="ben", log_seconds_z=-9.0)
    totals, _ = judged(frames(responses=[*worst, *best]), on(1), ("ana", "ben"))
    assert totals.loc[("ana", "struggle_score"), "value"] == 100
    assert totals.loc[("ben", "struggle_score"), "value"] == 0


def test_with_less_than_half_of_the_weight_known_there_is_no_score() -> None:
    whole = frames(responses=answers("xxxxxxxxx", log_seconds_z=3.0))  # nine answers: pace alone
    totals, parts = judged(whole, on(1))
    assert ("ana", "struggle_score") not in totals.index
    assert parts.empty


def test_a_learner_never_seen_has_no_score() -> None:
    totals, parts = judged(frames(), on(1))
    assert totals.empty
    assert parts.empty


def test_another_learner_does_not_change_a_score() -> None:
    alone = frames(responses=answers("xh" * 10))
    crowd = frames(responses=[*answers("xh" * 10), *answers("o" * 30, learner="ben")])
    assert judged(alone, on(1))[0].equals(judged(crowd, on(1))[0])


def test_scaling_is_frozen_in_the_policy() -> None:
    by = policy(scores={"struggle_score": {"errors": {"full": 0.5}}})
    _, parts = judged(struggling(), on(1), by=by)
    assert parts.loc[("ana", "struggle_score", "errors"), "local_value"] == 1


def test_rows_known_later_do_not_count() -> None:
    early = [*answers("xh" * 10), *answers("o" * 20, day=2, session="s2")]
    sessions = [session(day=0, abandoned=1), session(day=2)]
    active = [activity_day(day=0), activity_day(day=2)]
    whole = frames(responses=early, learning_sessions=sessions, days=active)
    then = frames(responses=early[:20], learning_sessions=sessions[:1], days=[activity_day(day=0)])
    now, before = judged(whole, on(1, "12:00")), judged(then, on(1, "12:00"))
    assert now[0].equals(before[0])
    assert now[1].equals(before[1])


def test_an_answer_at_the_very_instant_of_judging_is_not_known_yet() -> None:
    rows = [response(at=f"09:{n:02}") for n in range(10)]
    at = on(0, "09:09")
    assert judged(frames(responses=rows), at)[0].empty
    assert not judged(frames(responses=rows), at + minutes(1))[0].empty


def test_mastery_is_followed_within_each_skill() -> None:
    # easy skill first, a new one last: nobody lost mastery
    rows = [
        *answers("o" * 10, skill="easy", p_mastery_before=0.9, p_mastery_after=0.9),
        *answers("x" * 10, at="10:00", skill="new", p_mastery_before=0.2, p_mastery_after=0.21),
    ]
    flat = part(frames(responses=rows), on(1), "flat_mastery")
    assert flat["sentence"] == "mastery moved by +0.10 over the last 20 answers"
    assert flat["local_value"] == 0


def test_a_learner_seen_today_is_not_away() -> None:
    whole = frames(days=[activity_day(day=0), activity_day(day=6, first="09:00", last="23:00")])
    assert part(whole, on(6, "08:00"), "recency")["sentence"] == "5.9 days since the last activity"
    assert part(whole, on(6, "12:00"), "recency")["sentence"] == "0.1 days since the last activity"
    assert part(whole, on(6, "12:00"), "attendance")["sentence"] == "2 active days in the last 7"


def test_a_whole_day_row_counts_from_the_end_of_its_day() -> None:
    whole = frames(
        days=[activity_day(day=3, first="00:00", last="23:59:59.999999", time_precision="day")]
    )
    assert judged(whole, on(3, "12:00"))[0].empty
    assert part(whole, on(5), "recency")["sentence"] == "1.0 days since the last activity"


def test_a_steady_week_is_no_drop_at_any_hour() -> None:
    whole = frames(days=[activity_day(day=day) for day in range(36)])
    for at in (on(35), on(35, "08:00"), on(35, "23:00")):
        drop = part(whole, at, "frequency_drop")
        assert drop["sentence"] == "last 7 days at 100% of the four weeks before"
        assert drop["local_value"] == 0


def test_a_quiet_week_after_four_regular_ones_is_a_drop() -> None:
    whole = frames(days=[activity_day(day=day) for day in [*range(28), 34]])
    drop = part(whole, on(35), "frequency_drop")
    assert drop["sentence"] == "last 7 days at 14% of the four weeks before"
    assert drop["local_value"] == 1


def test_without_a_habit_a_drop_is_unknown() -> None:
    whole = frames(days=[activity_day(day=day) for day in (0, 10, 20, 34)])
    assert part(whole, on(35), "frequency_drop")["sentence"] == "not known yet"


def test_unfinished_sessions_are_those_of_the_last_14_days() -> None:
    sessions = [
        session(day=0, abandoned=1),
        session(day=10, open_item=True),
        session(day=12),
        session(day=13),
    ]
    whole = frames(learning_sessions=sessions, days=[activity_day(day=13)])
    assert part(whole, on(15), "completion")["local_value"] == pytest.approx(2 / 3, abs=1e-6)


def test_answers_older_than_the_look_back_do_not_count() -> None:
    old = answers("x" * 20)
    assert judged(frames(responses=old), on(80))[0].empty
    assert not judged(frames(responses=old), on(70))[0].empty


def test_leading_and_lagging_parts_are_told_apart() -> None:
    _, parts = judged(struggling(), on(1))
    kinds = parts["kind"].loc["ana", "struggle_score"]
    assert kinds.to_dict() == {
        "errors": "lagging",
        "flat_mastery": "lagging",
        "hints": "leading",
        "pace": "leading",
    }


def test_each_learner_is_judged_at_their_own_moment() -> None:
    whole = frames(days=[activity_day(day=0), activity_day("ben", day=0)])
    moments = {
        ("ana", COURSE): pd.Timestamp(on(2)),
        ("ben", COURSE): pd.Timestamp(on(0) + days(4)),
    }
    totals, parts = score(whole, SHIPPED, moments)
    assert totals.set_index("learner_id")["as_of"].to_dict() == {"ana": on(2), "ben": on(4)}
    recency = parts[parts["part"] == "recency"].set_index("learner_id")["local_value"]
    assert recency["ana"] == 0
    assert recency["ben"] > 0
