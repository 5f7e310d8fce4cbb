"""Signals: the same facts are the same signals, whoever looks, whenever, through any window."""

from __future__ import annotations

import json
import random
from datetime import datetime, timedelta
from functools import cache
from itertools import pairwise

import pandas as pd
import pytest
from builders import (
    FAR_FUTURE,
    FAR_PAST,
    Row,
    activity_day,
    answers,
    assignment,
    calendar,
    days,
    enrolment,
    frames,
    hours,
    low_score,
    minutes,
    on,
    policy,
    response,
    seen_by,
    session,
    step,
    submission,
)
from firing import plain

from tutorflow.decide.frames import LOOKBACK, Frames
from tutorflow.decide.rule import RULES
from tutorflow.decide.signals import RECOVERY_COLUMNS, SIGNAL_COLUMNS, Findings, find, signal_id

SHIPPED = plain()


def findings(
    whole: Frames, start: datetime = FAR_PAST, end: datetime = FAR_FUTURE, **titles: str
) -> Findings:
    return find(whole, SHIPPED, pd.Timestamp(start), pd.Timestamp(end), titles)


# -- ids, evidence, words --------------------------------------------------------------------------


def test_ids_are_content_hashes_that_never_change() -> None:
    # A change here makes every alert of every programme fire a second time.
    assert (
        signal_id("repeated_misses", "ana", "maths", "fractions", 2, "e1")
        == "d8fd8eb9ca83d611ad6ca0361639bb0f"
    )


def test_the_id_does_not_depend_on_what_was_observed() -> None:
    def ids(mastery: float, seconds: float) -> list[str]:
        rows = answers("xxxx", p_mastery_after=mastery, seconds=seconds)
        return sorted(findings(frames(responses=rows)).signals["signal_id"])

    assert ids(0.5, 20) == ids(0.9, 300)


def test_the_evidence_is_the_last_rows_on_the_subject() -> None:
    rows = [
        *answers("xx", at="09:00"),
        *answers("oo", at="09:10", skill="ratios"),
        *answers("xx", at="09:20"),
    ]
    found = findings(frames(responses=rows)).signals
    worst = found[found["sentence"].str.contains("4 wrong in a row")].iloc[0]
    assert json.loads(worst["evidence_ids"]) == ["ana-1", "ana-2", "ana-5", "ana-6"]
    assert worst["anchor_id"] == "ana-6"


def test_the_evidence_of_a_silence_is_its_anchor() -> None:
    found = findings(frames(calendar=calendar(active=[0, 1]))).signals
    assert {json.loads(ids)[0] for ids in found["evidence_ids"]} == {"2026-03-03"}


def test_evidence_reaches_no_further_back_than_an_hourly_window_sees() -> None:
    rows = [*answers("xx"), *answers("xx", day=LOOKBACK.days + 1)]
    found = findings(frames(responses=rows)).signals
    four = found[found["sentence"].str.contains("4 wrong in a row")].iloc[0]
    assert json.loads(four["evidence_ids"]) == ["ana-3", "ana-4"]


def test_sentences_use_titles_and_fall_back_to_ids() -> None:
    rows = frames(responses=answers("xhxhx"))
    assert (
        findings(rows).signals["sentence"].iloc[0]
        == "3 wrong in the last 5 first tries on fractions"
    )
    named = findings(rows, fractions="Adding fractions").signals["sentence"].iloc[0]
    assert named == "3 wrong in the last 5 first tries on Adding fractions"


def test_a_signal_carries_what_was_seen_and_what_it_was_compared_with() -> None:
    found = findings(frames(responses=answers("xhxhx"))).signals.iloc[0]
    assert (found["observed"], found["threshold"], found["n"]) == (3, 3, 5)
    assert (found["rule_id"], found["rule_version"]) == ("repeated_misses", "1")
    assert (found["layer"], found["subject_kind"]) == ("content", "skill")
    assert found["fired_at"] == on(0, "09:04")


def test_two_levels_of_one_tier_that_fire_together_are_one_signal() -> None:
    # four in a row, and below 0.3 for the first time
    rows = answers("xxxx", p_mastery_after=0.5)
    rows[-1]["p_mastery_after"] = 0.2
    found = findings(frames(responses=rows)).signals
    assert found["alert_tier"].tolist() == [1, 2]


def test_empty_frames_have_all_columns() -> None:
    found = findings(frames())
    assert list(found.signals.columns) == SIGNAL_COLUMNS
    assert list(found.recoveries.columns) == RECOVERY_COLUMNS
    assert found.signals.empty
    assert found.recoveries.empty


# -- recoveries ------------------------------------------------------------------------------------


def recoveries(kind: str, whole: Frames) -> list[tuple[str | None, int, datetime, datetime]]:
    """[(subject, run, since, at)] of one kind."""
    found = findings(whole).recoveries
    found = found[found["kind"] == kind]
    return [
        (None if pd.isna(r.subject_id) else r.subject_id, r.run, r.since, r.at)
        for r in found.itertuples()
    ]


def test_unaided_correct_first_tries_count_by_skill() -> None:
    rows = frames(responses=answers("ohoox"))
    nine = {number: on(0, f"09:0{number}") for number in range(5)}
    assert recoveries("unaided_correct", rows) == [
        ("fractions", 1, nine[0], nine[0]),
        ("fractions", 1, nine[2], nine[2]),
        ("fractions", 2, nine[3], nine[3]),
    ]


def test_a_correct_second_attempt_is_no_recovery() -> None:
    assert recoveries("unaided_correct", frames(responses=answers("o", attempt=2))) == []


def test_five_answers_without_the_signal_count_from_the_last_one_with_it() -> None:
    rows = [
        response(wrong_of_last_5=2, log_seconds_z=3.0 if n == 2 else 0.0, at=f"09:0{n}")
        for n in range(9)
    ]
    found = recoveries("items_without_signal", frames(responses=rows))
    assert ("slow_responses", 5, on(0, "09:07"), on(0, "09:07")) in found


def test_a_worked_session_counts_from_its_start_and_is_known_at_its_end() -> None:
    rows = [
        session(day=0, responses=1, events=1),
        session(day=1, responses=0, events=5),
        session(day=2, responses=0, events=4),
    ]
    assert recoveries("worked_session", frames(learning_sessions=rows)) == [
        (None, 1, on(day, "09:00"), on(day, "10:00")) for day in (0, 1)
    ]


def test_a_finished_session_left_nothing_open() -> None:
    rows = [session(day=0, abandoned=1), session(day=1, open_item=True), session(day=2)]
    assert [at for *_, at in recoveries("finished_session", frames(learning_sessions=rows))] == [
        on(2, "10:00")
    ]


def test_an_active_day_of_a_whole_day_source_is_a_worked_session() -> None:
    rows = [activity_day(day=0), activity_day(day=1, time_precision="day")]
    assert [at for *_, at in recoveries("worked_session", frames(days=rows))] == [
        on(2) - timedelta(microseconds=1)
    ]


def test_a_submission_speaks_for_its_assignment() -> None:
    whole = frames(submissions=[submission(at=on(1))])
    assert recoveries("submitted", whole) == [("essay 1", 1, on(1), on(1))]


# -- windows ---------------------------------------------------------------------------------------


def test_nothing_fires_outside_the_window() -> None:
    whole = frames(responses=[*answers("xxxx"), *answers("xxxx", at="11:00", skill="ratios")])
    found = findings(whole, on(0, "11:00"), on(0, "12:00")).signals
    assert set(found["subject_id"]) == {"ratios"}


def test_the_window_is_half_open() -> None:
    whole = frames(responses=answers("xhxhx"))
    at = on(0, "09:04")
    assert len(findings(whole, at, at + minutes(1)).signals) == 1
    assert len(findings(whole, at - minutes(1), at).signals) == 0


SEEDS = (1, 7)
# Contact, self-reports and scores have random programmes of their own.
PLAYED = (
    *("responses", "steps", "learning_sessions", "calendar", "low_scores", "enrolments"),
    *("assignments", "submissions"),
)


@cache
def programme(seed: int) -> Frames:
    """Four learners over half a year: bursts of work, long gaps, changing fortunes."""
    chance = random.Random(seed)
    rows: dict[str, list[Row]] = {name: [] for name in PLAYED}
    for who in ("ana", "ben", "cem", "dua"):
        active: dict[int, int] = {}
        day, number, luck = chance.uniform(0, 5), 0, 0.5
        while day < 170:
            at = f"{chance.randrange(8, 20):02}:{chance.randrange(60):02}"
            number += 1
            luck = chance.choice([luck, luck, 0.1, 0.4, 0.9])
            session_rows = _session_answers(chance, who, int(day), at, number, luck)
            rows["responses"] += session_rows
            rows["steps"] += _steps_between(chance, session_rows, luck)
            rows["learning_sessions"].append(
                session(who, int(day), at, abandoned=chance.choice([0, 0, 1, 2]),
                    open_item=chance.random() < 0.3, lasts=chance.choice([5, 20, 30, 60]))
            )  # fmt: skip
            active[int(day)] = chance.randrange(5, 60)
            if chance.random() < 0.3:
                rows["low_scores"].append(
                    low_score(who, int(day), at, chance.random(), item=f"quiz {number}")
                )
            day += chance.choice([0.3, 1, 1, 1, 2, 2, 3, 5, 9, 16, 27, 29, 44])
        back = sorted(on(d, "10:00") for d in active)
        for row in rows["low_scores"]:
            if row["learner_id"] == who:
                row["next_activity_at"] = next((b for b in back if b > row["known_at"]), None)
        for row in calendar(who, active, until=max(active) + 34):
            row["cohort_share_below"] = chance.choice([0.0, 0.1, 0.2, 0.6])
            rows["calendar"].append(row)
        rows["learning_sessions"] += [
            session(who, 200 + n, lasts=chance.choice([5, 30] if n > 9 else [30, 40]))
            for n in range(16)
        ]
        rows["enrolments"].append(enrolment(who, -20, chance.choice([back[0], on(-19)])))
        rows["assignments"].append(assignment(who, 10, chance.choice([None, on(12), on(30)])))
        rows["assignments"] += [
            assignment(who, 16 + n, item=f"essay {n}", number=n) for n in (2, 3, 4, 5)
        ]
        rows["submissions"].append(submission(who, on(30)))
    return frames(**rows)


def _session_answers(
    chance: random.Random, who: str, day: int, at: str, number: int, luck: float
) -> list[Row]:
    skill = chance.choice(["fractions", "fractions", "ratios"])
    tries = range(chance.choice([1, 3, 8, 12, 24]))
    marks = "".join(chance.choice("oh") if chance.random() < luck else "x" for _ in tries)
    rows = answers(marks, at, day, learner=who, skill=skill, session=f"{who}-{number}")
    hasty = chance.random() < 0.4
    for row in rows:
        row["response_seconds"] = chance.choice([2, 3] if hasty else [20, 35, 30, 25, 40, 28, 400])
        row["error_type"] = chance.choice(["syntax", "logic", None])
        row |= {"is_core": True, "hints_available": 3, "item_id": chance.choice("abcd")}
        row["item_difficulty"] = chance.random()
    if chance.random() < 0.3:
        pause = minutes(chance.choice([4, 7, 25]))
        for row in rows[len(rows) // 2 :]:
            row["responded_at"] = row["known_at"] = row["known_at"] + pause
    return rows


def _steps_between(chance: random.Random, rows: list[Row], luck: float) -> list[Row]:
    """Help, revisions and items left, seconds before the answers of a session."""
    kinds = ["hint_requested", "explanation_viewed", "response_revised", "item_abandoned"]
    habit = chance.choice(kinds)
    steps = []
    for row in rows:
        for number in range(chance.choice([0, 0, 1, 1, 5] if luck < 0.9 else [0])):
            made = step(
                chance.choice([habit, habit, habit, "help_requested"]),
                learner=row["learner_id"],
                skill=row["skill_id"],
                item=row["item_id"],
                session=row["session_id"],
                hint_level=number,
                hint_level_max=2,
            )
            at = row["known_at"] - timedelta(seconds=50 - 10 * number)
            steps.append(made | {"known_at": at, "event_id": f"{row['learner_id']}-{at}-{number}"})
    if chance.random() < 0.2:
        unused = step("hint_requested", learner=rows[-1]["learner_id"], item="e")
        at = rows[-1]["known_at"] + minutes(2)
        steps.append(unused | {"known_at": at, "event_id": f"{row['learner_id']}-{at}"})
    return steps


@cache
def in_one_go(seed: int) -> Findings:
    return findings(programme(seed))


def as_rows(found: pd.DataFrame) -> list[tuple[object, ...]]:
    return sorted(found.itertuples(index=False, name=None), key=str)


@pytest.mark.parametrize("seed", SEEDS)
def test_one_long_window_finds_what_many_short_ones_find(seed: int) -> None:
    whole, chance = programme(seed), random.Random(seed)
    cuts = sorted({on(-30), on(230), *(on(chance.randrange(200), "07:00") for _ in range(4))})
    short = [
        findings(seen_by(whole, start, end, LOOKBACK), start, end) for start, end in pairwise(cuts)
    ]
    long = in_one_go(seed)
    assert len(long.signals) > 20
    assert as_rows(pd.concat([some.signals for some in short])) == as_rows(long.signals)
    for kind in ("unaided_correct", "worked_session", "finished_session", "submitted"):
        pieces = pd.concat([some.recoveries for some in short])
        assert as_rows(pieces[pieces["kind"] == kind]) == as_rows(
            long.recoveries[long.recoveries["kind"] == kind]
        )


@pytest.mark.parametrize("seed", SEEDS)
def test_the_hour_of_a_signal_finds_that_signal(seed: int) -> None:
    whole, chance = programme(seed), random.Random(seed)
    everything = in_one_go(seed).signals
    for fired_at in chance.sample(sorted(everything["fired_at"].unique()), 4):
        start = fired_at.to_pydatetime().replace(minute=0, second=0, microsecond=0)
        end = start + hours(1)
        inside = (everything["fired_at"] >= start) & (everything["fired_at"] < end)
        found = findings(seen_by(whole, start, end, LOOKBACK), start, end).signals
        assert as_rows(found) == as_rows(everything[inside])


def test_the_random_programmes_make_every_rule_of_their_frames_fire() -> None:
    fired = {
        (s.rule_id, s.alert_tier) for seed in SEEDS for s in in_one_go(seed).signals.itertuples()
    }
    levels = {
        (name, level.alert_tier)
        for name, entry in SHIPPED.rules.items()
        for level in entry.levels
        if RULES[name].mart in PLAYED
    }
    assert fired == levels


def test_a_second_session_counted_long_ago_does_not_fire_again() -> None:
    # still stuck on day 0, 23 and 50: within 28 days of each other, so one long trouble
    def spell(day: int, session: str) -> list[Row]:
        return answers("xo", day=day, session=session)

    whole = frames(
        responses=[*answers("xxoxxoxxox"), *spell(23, "s2"), *spell(50, "s3")],
    )
    start, end = on(50), on(51)
    assert (3, on(23, "09:00")) in tiers(findings(whole))
    assert tiers(findings(seen_by(whole, start, end, LOOKBACK), start, end)) == []


def tiers(found: Findings) -> list[tuple[int, datetime]]:
    spinning = found.signals[found.signals["rule_id"] == "wheel_spinning"]
    return [(s.alert_tier, s.fired_at) for s in spinning.itertuples()]


def test_a_disabled_rule_finds_nothing() -> None:
    off = policy(rules={"repeated_misses": {"enabled": False}})
    rows = frames(responses=answers("xxxx"))
    found = find(rows, off, pd.Timestamp(FAR_PAST), pd.Timestamp(FAR_FUTURE), {})
    assert found.signals.empty


@pytest.mark.parametrize("rule", sorted(RULES))
def test_the_look_back_covers_every_span_a_policy_may_name(rule: str) -> None:
    rearm, repeated, reach, edge = days(28), days(2 * 14), days(RULES[rule].reach_days), days(1)
    assert max(rearm, repeated) + reach + edge <= LOOKBACK


# -- only while struggling -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lately", "before", "number", "tiers_found"),
    [
        (0.44, 0.44, 40, {1, 2}),
        (0.45, 0.30, 40, {1}),  # at the line over the last 20 answers
        (0.40, 0.475, 60, {1}),  # at the line over the last 60
        (0.40, 0.47, 60, {1, 2}),
        (0.44, None, 40, {1, 2}),  # too few answers for the 40 before: what there is counts
        (0.10, None, 39, {1}),  # one answer too few to tell
    ],
)
def test_a_rule_marked_so_asks_for_a_person_only_of_those_who_struggle(
    lately: float, before: float | None, number: int, tiers_found: set[int]
) -> None:
    missed = answers(
        "xxxx",
        accuracy_of_last_20=lately,
        accuracy_of_previous_40=before,
        response_number=number,
    )
    found = find(
        frames(responses=missed),
        policy(only=["repeated_misses"]),
        pd.Timestamp(FAR_PAST),
        pd.Timestamp(FAR_FUTURE),
        {},
    )
    assert set(found.signals["alert_tier"]) == tiers_found


def test_a_session_knows_the_answers_before_its_end() -> None:
    def left(lately: float) -> Findings:
        sessions = [session(day=day, abandoned=1) for day in (0, 1)]
        rows = answers("x", at="08:00", accuracy_of_last_20=lately, response_number=50)
        return find(
            frames(learning_sessions=sessions, responses=rows),
            policy(only=["abandonment"]),
            pd.Timestamp(FAR_PAST),
            pd.Timestamp(FAR_FUTURE),
            {},
        )

    assert len(left(0.3).signals) > 0
    assert len(left(0.6).signals) == 0
