"""The two scores: parts that add up, numbers that stay put, nothing from the future."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pandas as pd
import pytest
from builders import (
    COURSE,
    Row,
    activity_day,
    answers,
    days,
    frames,
    hours,
    minutes,
    on,
    policy,
    response,
    seen_by,
    session,
)
from contact_rows import day_ends, findings_of, message, opening

from tutorflow.decide.frames import LOOKBACK, Frames
from tutorflow.decide.rule import RULES
from tutorflow.decide.scores import score, score_days
from tutorflow.decide.signals import find
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


# -- answering messages, and starting --------------------------------------------------------------


def test_messages_answered_within_48_hours_are_a_part() -> None:
    sent = [
        message(0, replied=on(2, "09:00")),
        message(5, replied=on(7, "09:01")),
        message(6, actor="ai_tutor"),
        message(10),
    ]
    whole = frames(messages=sent, days=[activity_day(day=10)])
    assert part(whole, on(11, "08:00"), "responsiveness")["sentence"].startswith("50% of the mess")
    # the third one counts from the moment on at which its 48 hours are over
    assert part(whole, on(12, "09:01"), "responsiveness")["sentence"].startswith("33% of the mess")


def test_messages_of_four_weeks_ago_do_not_count() -> None:
    whole = frames(messages=[message(0)], days=[activity_day(day=29)])
    assert part(whole, on(30, "08:00"), "responsiveness")["local_value"] == 1
    assert part(whole, on(30, "12:00"), "responsiveness")["sentence"] == "not known yet"


def test_a_start_three_times_as_slow_as_usual_counts_in_full() -> None:
    rows = [opening(day, answers=5, seconds=60) for day in range(10)]
    rows += [opening(day, answers=5, seconds=180) for day in range(10, 13)]
    seen = [activity_day(day=10), activity_day(day=12)]
    whole = frames(opened_sessions=rows, days=seen)
    assert part(whole, on(13), "time_to_start")["local_value"] == 1
    assert part(whole, on(11), "time_to_start")["local_value"] == 0


@pytest.mark.parametrize("name", ["struggle_score", "stopout_risk"])
def test_the_weights_add_up_to_100(name: str) -> None:
    assert sum(part.weight for part in SHIPPED.scores.by_name()[name].values()) == 100


# -- the score at the end of each day --------------------------------------------------------------


def away(until: int, learner: str = "ana", seen: int = 30) -> dict[str, list[Row]]:
    """Active every day up to ``seen``, then away; judged at the end of each day up to ``until``."""
    return {
        "days": [activity_day(learner, day=day) for day in range(seen + 1)],
        "day_ends": day_ends(*range(seen, until + 1)),
    }


def stopout(whole: Frames) -> dict[str, float]:
    """day -> stop-out risk at its end."""
    rows = score_days(whole.score_rows, SHIPPED)
    rows = rows[rows["score"] == "stopout_risk"]
    return dict(zip(rows["score_day_id"].str[-5:], rows["value"].round(3), strict=True))


class TestScoreThreshold:
    def test_it_fires_on_the_first_day_over_the_line_and_not_again(self) -> None:
        found = findings_of("score_threshold", **away(45)).signals
        assert len(found) == 1
        values = stopout(frames(**away(45)))
        first = min(day for day, value in values.items() if value >= 70)
        assert f"{found['fired_at'].iloc[0]:%m-%d}" == first
        assert found["fired_at"].iloc[0].hour == 23

    def test_the_value_is_that_of_the_published_score(self) -> None:
        totals, _ = judged(frames(**away(40)), on(37))
        values = stopout(frames(**away(40)))
        assert values["04-07"] == round(totals.loc[("ana", "stopout_risk"), "value"], 3)

    def test_the_line_is_the_policy_s(self) -> None:
        values = stopout(frames(**away(36)))
        highest = max(values.values())
        at_line = findings_of("score_threshold", {"at_least": highest - 0.01}, **away(36)).signals
        above = findings_of("score_threshold", {"at_least": highest + 0.01}, **away(36)).signals
        assert len(at_line) == 1
        assert above.empty

    def test_one_leading_part_is_not_enough(self) -> None:
        # wrong answers and flat mastery are lagging; hints are the one leading part
        rows = answers("xx" * 10, p_mastery_before=0.3, p_mastery_after=0.3, log_seconds_z=0.0)
        helped = [{**row, "hints_used": 2} for row in rows]
        judged_rows = {"responses": helped, "days": [activity_day()], "day_ends": day_ends(0)}
        assert findings_of("score_threshold", **judged_rows).signals.empty
        slow = [{**row, "log_seconds_z": 1.0} for row in helped]
        found = findings_of("score_threshold", **{**judged_rows, "responses": slow}).signals
        assert found["n"].tolist() == [2]

    def test_its_layer_is_that_of_the_largest_part(self) -> None:
        rows = answers("xx" * 10, p_mastery_before=0.3, p_mastery_after=0.3, log_seconds_z=2.0)
        wrong = [{**row, "hints_used": 2} for row in rows]
        found = findings_of(
            "score_threshold", responses=wrong, days=[activity_day()], day_ends=day_ends(0)
        ).signals
        assert found["layer"].tolist() == ["content"]
        assert findings_of("score_threshold", **away(45)).signals["layer"].tolist() == [
            "compliance"
        ]

    def test_it_says_what_the_score_is_made_of(self) -> None:
        found = findings_of("score_threshold", **away(45)).signals.iloc[0]
        assert found["window_text"].startswith("stop-out risk: ")
        assert "days since the last activity" in found["sentence"]

    def test_it_closes_at_the_end_of_a_day_below_the_line(self) -> None:
        rows = away(45)
        rows["days"] += [activity_day(day=day) for day in (43, 44, 45)]
        found = findings_of("score_threshold", **rows)
        fired = found.signals["fired_at"].iloc[0]
        below = found.recoveries[found.recoveries["kind"] == "score_below"]["at"]
        assert below[below > fired].min() == pd.Timestamp(on(44) - minutes(1 / 6e7))

    def test_who_is_away_for_five_weeks_is_judged_no_more(self) -> None:
        values = stopout(frames(**away(80)))
        assert max(values) == f"{on(64):%m-%d}"

    def test_it_waits_for_late_feeds(self) -> None:
        assert RULES["score_threshold"].is_absence


def test_every_hour_finds_the_score_signals_of_one_long_window() -> None:
    rows = away(60)
    rows["days"] += [activity_day(day=day) for day in (41, 42, 44, 45, 46)]
    rows["responses"] = [
        row
        for day in (0, 20, 40, 46)
        for row in answers("xhxx" * 6, day=day, session=f"s{day}", log_seconds_z=1.5)
    ]
    rows["learning_sessions"] = [session(day=day, abandoned=day % 2) for day in range(31)]
    rows["messages"] = [message(day) for day in range(0, 50, 9)]
    rows["opened_sessions"] = [opening(day, answers=3, seconds=40 + 6 * day) for day in range(31)]
    whole, used = frames(**rows), policy(only=["score_threshold"])

    def signals(begin: datetime, end: datetime, seen: Frames) -> list[tuple[Any, ...]]:
        found = find(seen, used, pd.Timestamp(begin), pd.Timestamp(end), {}).signals
        return list(found.itertuples(index=False, name=None))

    long = signals(on(34), on(56), whole)
    assert len(long) >= 2
    short = []
    for day in range(34, 56):
        begin = on(day, "23:00")
        seen = seen_by(whole, begin, begin + hours(1), LOOKBACK)
        short += signals(begin, begin + hours(1), seen)
    assert short == long
