"""How fast people answered, what stands out, and how courses fare."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pandas as pd
import pytest
from measured import ANA, BEN, CLEO, Diary, a_signal, an_exposure, at, table_of

from tutorflow.measure.daily import as_known, week_starts
from tutorflow.measure.programme import (
    Said,
    alert_responses,
    coach_exceptions,
    coach_workload,
    hard_item_dropouts,
    programme_health,
    safety_events,
)
from tutorflow.policy.model import FollowThrough
from tutorflow.publish.contract import table

POLICY = FollowThrough()
NOW = at(6)
NOBODY = Said(pd.DataFrame(columns=["alert_id", "row_id", "inbox", "at", "taken_at"]))


def said(*rows: tuple[str, float], alert: str = "alert") -> Said:
    """Things said about an alert: (inbox, day); each is taken within the hour."""
    found = [
        {"alert_id": alert, "row_id": str(n), "inbox": inbox, "at": at(day),
         "taken_at": at(day, 1)}
        for n, (inbox, day) in enumerate(rows)
    ]  # fmt: skip
    return Said(pd.DataFrame(found, columns=list(NOBODY.rows)))


def evidence(*recovered: float | None, alert: str = "alert") -> pd.DataFrame:
    rows = [
        {"alert_id": alert, "recorded_at": at(0, 9), "recovered_at": None if d is None else at(d)}
        for d in recovered
    ]
    frame = pd.DataFrame(rows, columns=["alert_id", "recorded_at", "recovered_at"])
    return frame.astype({"recorded_at": "datetime64[us]", "recovered_at": "datetime64[us]"})


def responses(*exposures: Any, said: Said = NOBODY, settled: Any = None, now: Any = NOW) -> Any:
    shown = table_of("exposures", list(exposures) or [an_exposure()])
    return alert_responses(shown, evidence(None) if settled is None else settled, said, now)


def response(said: Said = NOBODY, settled: Any = None, now: Any = NOW) -> Any:
    """That of an alert delivered on Monday at nine and due on Tuesday at nine."""
    (row,) = responses(said=said, settled=settled, now=now).to_dict("records")
    return row


# -- how fast --------------------------------------------------------------------------------------


def test_the_first_answer_and_the_first_contact_are_told_apart() -> None:
    row = response(said(("acknowledgements", 0.5), ("interventions", 1), ("interventions", 2)))
    assert (row["acknowledged_at"], row["contacted_at"]) == (at(0.5), at(1))
    assert (row["hours_to_response"], row["hours_to_contact"]) == (3.0, 15.0)


def test_what_was_said_before_the_delivery_answers_an_earlier_one() -> None:
    row = response(said(("interventions", 0.25)))
    assert pd.isna(row["contacted_at"])


@pytest.mark.parametrize(
    ("words", "late"),
    [
        ((("interventions", 1.375),), False),  # Tuesday at nine sharp
        ((("interventions", 1.376),), True),
        ((("alert_verdicts", 1.0),), False),  # judged in time: nothing more to do
        ((("acknowledgements", 1.0),), True),  # seen is not yet contact
        ((), True),
    ],
)
def test_contact_is_late_after_it_was_due(words: Any, late: bool) -> None:
    assert response(said(*words))["is_late"] is late


def test_what_is_not_due_yet_or_was_over_before_is_not_late() -> None:
    assert response(now=at(1, 9))["is_late"] is None
    assert response(now=at(1, 9) + timedelta(microseconds=1))["is_late"] is True
    assert response(settled=evidence(1.0))["is_late"] is None
    assert response(settled=evidence(1.0, None))["is_late"] is True
    assert response(settled=evidence(2.0))["is_late"] is True


def test_an_alert_is_followed_for_two_weeks_and_then_left_alone() -> None:
    late_answer = said(("interventions", 14.4))
    assert pd.isna(response(late_answer, now=at(15))["contacted_at"])
    assert pd.isna(response(late_answer, now=at(300))["contacted_at"])


def test_what_a_later_tick_takes_is_not_known_yet() -> None:
    words = said(("interventions", 1))
    assert pd.isna(response(words, now=at(1, 0.5))["contacted_at"])


# -- coaches ---------------------------------------------------------------------------------------


def contacts(*rows: tuple[str, float, str]) -> pd.DataFrame:
    """Interventions: (coach, day, learner)."""
    found = [
        {"row_id": str(n), "coach_id": coach, "learner_id": learner, "alert_id": f"alert {n}",
         "course_id": "maths", "at": at(day), "taken_at": at(day, 1)}
        for n, (coach, day, learner) in enumerate(rows)
    ]  # fmt: skip
    columns = ["row_id", "coach_id", "learner_id", "alert_id", "course_id", "at", "taken_at"]
    frame = pd.DataFrame(found, columns=columns)
    return frame.astype({"at": "datetime64[us]", "taken_at": "datetime64[us]"})


def test_the_workload_of_a_week() -> None:
    found = responses(
        an_exposure("1"),
        an_exposure("2", BEN, alert_tier=3),
        an_exposure("3", CLEO, exposed_at=at(7), due_at=at(8)),
        an_exposure("4", CLEO, coach_id="lee"),
        said=said(("acknowledgements", 0.5), ("interventions", 1), alert="1"),
    )
    done = contacts(("kim", 1, ANA), ("kim", 2, ANA), ("kim", 8, BEN))
    rows = coach_workload(found, done, [at(0)], NOW)
    assert [row["coach_id"] for row in rows] == ["kim", "lee"]
    kim = rows[0]
    counted = ("delivered", "tier_3_4", "acknowledged", "contacted", "late", "intervention")
    assert [kim[f"{name}_count"] for name in counted] == [2, 1, 1, 1, 1, 2]
    assert (kim["learner_count"], kim["median_hours_to_contact"]) == (1, 15.0)


def test_nothing_in_the_workload_ranks_people() -> None:
    assert not [name for name in table("coach_workload").columns if "rank" in name]


def exceptions(found: pd.DataFrame, done: pd.DataFrame | None = None, now: Any = NOW) -> Any:
    rows = coach_exceptions(found, contacts() if done is None else done, POLICY, now)
    return [(row["kind"], row["alert_id"]) for row in rows]


def test_an_alert_without_contact_stands_out_once_it_is_late() -> None:
    assert exceptions(responses()) == [("late", "alert")]
    assert exceptions(responses(now=at(1)), now=at(1)) == []
    assert exceptions(responses(said=said(("interventions", 2)))) == []
    assert exceptions(responses(settled=evidence(2.0))) == []


def test_seen_and_then_nothing_stands_out_after_a_week() -> None:
    seen = said(("acknowledgements", 0.5))
    assert ("no_follow_through", "alert") in exceptions(responses(said=seen, now=at(8)), now=at(8))
    assert ("no_follow_through", "alert") not in exceptions(responses(said=seen, now=at(7)))


def test_four_contacts_in_a_week_are_many_and_three_are_not() -> None:
    three = [("kim", day, ANA) for day in (1.0, 2.0, 3.0)]
    none = responses().head(0)
    assert exceptions(none, contacts(*three)) == []
    four = contacts(*three, ("lee", 4, ANA), ("kim", 4, BEN))
    assert exceptions(none, four) == [("over_messaging", "alert 3")]


def test_two_alerts_and_no_contact_at_all_stand_out() -> None:
    both = [an_exposure("1", due_at=None), an_exposure("2", due_at=None, exposed_at=at(3))]
    assert exceptions(responses(*both)) == [("under_messaging", "2")]
    assert exceptions(responses(*both, said=said(("interventions", 4), alert="1"))) == []
    assert exceptions(responses(both[0])) == []


# -- safety ----------------------------------------------------------------------------------------


def safety(words: Said = NOBODY, now: Any = NOW) -> Any:
    fired: Any = {"layer": "safety", "alert_tier": 4, "fired_at": at(0, 8), "recorded_at": at(0, 9)}
    shown = [an_exposure(layer="safety", alert_tier=4, due_at=at(0, 10))]
    (row,) = safety_events(
        table_of("signals", [a_signal(**fired)]), table_of("exposures", shown), words, now
    )
    return row


def test_a_safety_concern_is_followed_to_its_first_contact() -> None:
    assert safety()["was_in_time"] is False
    assert safety(now=at(0, 10))["was_in_time"] is None
    answered = safety(said(("acknowledgements", 0.38), ("interventions", 10 / 24)))
    assert (answered["delivered_at"], answered["contacted_at"]) == (at(0, 9), at(0, 10))
    assert answered["was_in_time"] is True
    assert safety(said(("interventions", 0.5)))["was_in_time"] is False


# -- courses ---------------------------------------------------------------------------------------


def health(diary: Diary, ends: Any = None, done: Any = None, now: Any = None) -> Any:
    """(course, measure) -> (value, n) of the week of day 0."""
    rows = programme_health(
        diary.warehouse(), [at(0)], ends or {}, contacts() if done is None else done, now or at(7)
    )
    return {(row["course_id"], row["measure"]): (row["value"], row["n"]) for row in rows}


def test_the_week_of_a_course_in_three_layers() -> None:
    diary = Diary().answer(1, 9, "ooxo").answer(2, 9, "oo", learner=BEN).answer(-3, 9, "o")
    diary.answer(-3, 10, "o", learner=CLEO)
    for who in (ANA, BEN):
        diary.event("assignment_due", 3, learner=who, item_id="essay")
    diary.event("assignment_submitted", 2, item_id="essay")
    diary.event("message_sent", 2, actor="coach").event("message_sent", 2, actor="ai_tutor")
    found = health(diary, done=contacts(("kim", 1, ANA), ("kim", 9, ANA)))
    assert found["maths", "accuracy"] == (pytest.approx(5 / 6), 6)
    assert found["maths", "mastery_gain"] == (pytest.approx(0.2), 2)
    assert found["maths", "active_learners"] == (2.0, 2)
    assert found["maths", "returned_share"] == (0.5, 2)
    assert found["maths", "active_minutes"] == (3.0, 2)
    assert found["maths", "assignments_completed_share"] == (0.5, 2)
    assert found["maths", "touchpoints"] == (1.0, 2)
    assert ("maths", "completed_share") not in found


def test_a_week_that_is_not_over_knows_nothing_of_the_rest() -> None:
    diary = Diary().answer(1, 9, "oo").answer(5, 9, "xx")
    assert health(diary, now=at(4))["maths", "accuracy"] == (1.0, 2)


def test_completion_stands_in_the_week_in_which_the_course_ended() -> None:
    diary = Diary().answer(1, 9).answer(-13, 9, learner=BEN).answer(1, 9, learner=CLEO)
    diary.event("learner_withdrew", 2, learner=CLEO)
    assert health(diary, {"maths": at(3)})["maths", "completed_share"] == (pytest.approx(1 / 3), 3)
    assert ("maths", "completed_share") not in health(diary, {"maths": at(8)})


def test_renewal_is_enrolling_in_another_course_within_four_weeks() -> None:
    diary = Diary().answer(-40, 9).answer(-40, 9, learner=BEN)
    diary.event("learner_enrolled", 1, course="physics")
    diary.event("learner_enrolled", -60, course="physics", learner=BEN)
    ended = {"maths": at(-25)}
    assert health(diary, ended)["maths", "renewed_share"] == (0.5, 2)


def test_leaving_right_after_a_wrong_answer_is_counted_by_item() -> None:
    diary = Diary()
    for n in range(10):
        diary.answer(n, 9, "x", item="hard", session=f"s{n}")
        if n >= 4:  # in four of ten sessions the hard item was the last thing done
            diary.answer(n, 9.1, "oxo", item="easy", session=f"s{n}")
    rows = hard_item_dropouts(diary.warehouse(), 10, 84, at(11))
    found = {row["item_id"]: row for row in rows}
    assert (found["hard"]["wrong_count"], found["hard"]["left_count"]) == (10, 4)
    assert (found["hard"]["left_share"], found["hard"]["is_hard"]) == (0.4, True)
    assert (found["easy"]["left_share"], found["easy"]["is_hard"]) == (0.0, False)
    assert found["hard"]["usual_left_share"] == pytest.approx(4 / 16)
    assert hard_item_dropouts(diary.warehouse(), 19, 84, at(11)) == []


# -- as it was known -------------------------------------------------------------------------------


def test_labels_given_later_are_still_open_and_revised_ones_as_they_were() -> None:
    rows = pd.DataFrame(
        [
            ("now", at(1), "resumed", "resumed", at(4), None, 2.0),
            ("later", at(2), "resumed", "resumed", at(6), None, 2.0),
            ("revised", at(1), "resumed", "no_change", at(4), at(6), 2.0),
            ("unborn", at(5.5), "still_open", None, None, None, None),
        ],
        columns=["alert_id", "start", "label", "first_label", "labelled_at", "revised_at",
                 "days_to_recovery"],
    )  # fmt: skip
    rows["window_hours"], rows["window_ends_at"] = 72, rows["start"] + timedelta(hours=72)
    times = {"labelled_at": "datetime64[us]", "revised_at": "datetime64[us]"}
    found = as_known(rows.astype(times), at(5)).set_index("alert_id")
    assert found["label"].to_dict() == {
        "now": "resumed",
        "later": "still_open",
        "revised": "no_change",
    }
    assert found["days_to_recovery"].isna().to_dict()["later"]


def test_weeks_begin_on_mondays_of_the_zone() -> None:
    assert week_starts(at(0), at(14), "UTC") == [at(0), at(7)]
    assert week_starts(at(0, 1), at(7), "UTC") == []
    assert week_starts(at(-1), at(7), "Europe/Berlin") == [at(0, -1), at(7, -1)]
