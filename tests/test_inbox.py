"""The inbox: what coach tools write is taken once, checked, copied for good, or answered."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from conftest import World
from measured import ANA, BEN, an_alert, at, put, table_of
from published import differences
from test_publish import postgres as postgres
from test_publish import postgres_server as postgres_server
from test_publish import settings as settings
from test_publish import sqlite as sqlite
from typer.testing import CliRunner

from flows.cli import app
from flows.history import run_backfill
from flows.hour import run_hour
from tutorflow.decide.episodes import Alert
from tutorflow.decide.said import Acknowledgement, AlertVerdict, Intervention, Override
from tutorflow.publish import ContractError, read_table
from tutorflow.publish.contract import contract, inbox
from tutorflow.publish.database import writing
from tutorflow.publish.inbox import Inbox, accepted, open_inbox, waiting, write
from tutorflow.settings import Settings, load_settings

WRITTEN = at(0, 10.5)
TICK = at(0, 11)


def only_ana(ids: Any) -> set[str]:
    return {ANA} & set(ids)


def take(settings: Settings, *ends: datetime) -> tuple[Inbox, list[Any]]:
    """Take what waits at these ticks; the inbox and what the decision hears."""
    box = open_inbox(settings, list(ends), only_ana)
    heard = [note for n, end in enumerate(ends) for note in box.take(n, end, [])]
    return box, heard


@pytest.fixture
def coached(sqlite: Settings) -> Settings:
    """A serving database with one alert of Ana, opened on Monday at nine."""
    put(sqlite, {"alerts": [an_alert()]})
    return sqlite


def log(settings: Settings, **columns: Any) -> str:
    given = {"alert_id": "alert", "kind": "message", "code": "no_change", "written_at": WRITTEN}
    return write(settings, "interventions", **{**given, **columns})


# -- writing ---------------------------------------------------------------------------------------


def test_an_intervention_takes_three_values_and_the_database_fills_in_the_rest(
    settings: Settings,
) -> None:
    put(settings, {"alerts": [an_alert()]})
    with writing(settings) as connection:
        connection.execute(
            sa.text(
                "insert into interventions (alert_id, kind, code) values ('alert', 'call', 'x')"
            )
        )
    (row,) = waiting(settings, datetime(2999, 1, 1))
    assert len(row.row_id) == 32
    assert row.written_at > datetime(2025, 1, 1)  # the database's own clock
    assert row.values["kind"] == "call"


def test_every_inbox_is_there_as_soon_as_the_database_is(settings: Settings) -> None:
    put(settings, {})
    with writing(settings) as connection:
        assert set(inbox()) <= set(sa.inspect(connection).get_table_names())
    assert not set(inbox()) & set(contract())


def test_an_inbox_or_column_that_does_not_exist_is_an_error(coached: Settings) -> None:
    with pytest.raises(
        ContractError, match="no inbox is called 'alerts'; there are: interventions"
    ):
        write(coached, "alerts", alert_id="alert")
    with pytest.raises(ContractError, match="interventions has no column colour"):
        write(coached, "interventions", colour="red")


# -- taking ----------------------------------------------------------------------------------------


def test_a_row_belongs_to_the_tick_whose_window_holds_the_time_it_was_written(
    coached: Settings,
) -> None:
    for hour in (8.5, 9.5, 10.0, 10.99):
        log(coached, written_at=at(0, hour), note=str(hour))
    log(coached, written_at=at(0, 12), note="not yet")
    box, _ = take(coached, at(0, 10), at(0, 11), at(0, 12))
    taken = table_of("inbox_taken", box.taken)
    notes = [json.loads(content)["note"] for content in taken["content"]]
    assert dict(zip(notes, taken["taken_at"], strict=True)) == {
        "8.5": at(0, 10),  # became visible late: the first tick that can take it
        "9.5": at(0, 10),
        "10.0": at(0, 11),
        "10.99": at(0, 11),
    }


def test_a_row_is_taken_once_and_later_changes_of_it_change_nothing(coached: Settings) -> None:
    log(coached, note="as it was")
    box, _ = take(coached, TICK)
    put(coached, box.tables())
    with writing(coached) as connection:
        connection.execute(sa.text("update interventions set note = 'changed', kind = 'call'"))
    again, _ = take(coached, at(0, 12))
    assert again.taken == []
    (row,) = accepted(read_table(coached, "inbox_taken"), "interventions").to_dict("records")
    assert (row["note"], row["kind"]) == ("as it was", "message")


def test_what_is_left_out_is_filled_in(coached: Settings) -> None:
    log(coached)
    box, _ = take(coached, TICK)
    (row,) = accepted(table_of("inbox_taken", box.taken), "interventions").to_dict("records")
    assert (row["coach_id"], row["at"], row["learner_id"]) == ("kim", WRITTEN, ANA)


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("interventions", {"alert_id": "other"}, "there is no alert other; copy alert_id"),
        ("interventions", {"alert_id": None}, "alert_id is missing; it is alert it is about"),
        ("interventions", {"kind": "hug"}, "kind cannot be 'hug'; write one of message, call"),
        ("interventions", {"code": "great"}, "code cannot be 'great'; write one of resumed"),
        ("interventions", {"code": " "}, "code is missing"),
        ("interventions", {"at": at(0, 10.6)}, "at lies in the future"),
        ("interventions", {"note": "x" * 5000}, "note has 5000 characters; at most 4000"),
        ("alert_verdicts", {"verdict": "wrong"}, "verdict cannot be 'wrong'; write one of useful"),
        ("recommendation_decisions", {"decision": "reject"}, "reason is missing; say why"),
        ("recommendation_decisions", {"decision": "edit", "reason": "x"}, "edited_action is"),
        ("overrides", {"what": "alert_tier", "value": "5"}, "an alert tier is 1, 2, 3 or 4"),
        ("overrides", {"what": "coach", "why": None}, "why is missing"),
        ("manual_flags", {"learner_id": BEN}, f"there is no learner {BEN}"),
        ("consent_changes", {"is_granted": None}, "is_granted is missing"),
        ("consent_changes", {"purpose": "all"}, "purpose cannot be 'all'; write one of nudges"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_taken_is_answered_in_words(
    coached: Settings, name: str, values: dict[str, Any], reason: str
) -> None:
    good: dict[str, dict[str, Any]] = {
        "interventions": {"alert_id": "alert", "kind": "call", "code": "resumed"},
        "alert_verdicts": {"alert_id": "alert", "verdict": "useful"},
        "recommendation_decisions": {"alert_id": "alert", "decision": "accept"},
        "overrides": {"alert_id": "alert", "what": "coach", "value": "lee", "who": "m", "why": "y"},
        "manual_flags": {"learner_id": ANA, "course_id": "maths", "reason": "looks tired"},
        "consent_changes": {"learner_id": ANA, "purpose": "nudges", "is_granted": True, "who": "m"},
    }
    fine = write(coached, name, written_at=WRITTEN, **good[name])
    bad = write(coached, name, written_at=WRITTEN, **{**good[name], **values})
    box, _ = take(coached, TICK)
    verdicts = {row["row_id"]: row["verdict"] for row in box.taken}
    assert verdicts == {fine: "accepted", bad: "rejected"}
    (answer,) = box.rejections
    assert answer["row_id"] == bad
    assert reason in answer["reason"]


def test_a_clock_that_is_a_little_ahead_is_forgiven(coached: Settings) -> None:
    log(coached, at=WRITTEN + timedelta(minutes=5))
    box, _ = take(coached, TICK)
    assert box.rejections == []


def test_a_time_that_is_none_is_answered_and_does_not_stop_the_hour(coached: Settings) -> None:
    with writing(coached) as connection:
        connection.execute(
            sa.text(
                "insert into interventions (alert_id, kind, code, at, written_at) "
                "values ('alert', 'call', 'resumed', 'yesterday', '2026-03-02T10:30:00')"
            )
        )
    box, _ = take(coached, TICK)
    assert [row["reason"] for row in box.rejections] == [
        "at is no time: 'yesterday'; write it like 2026-03-02 14:30:00"
    ]


def test_an_alert_that_opens_in_the_very_tick_cannot_have_been_meant(coached: Settings) -> None:
    put(coached, {"alerts": [an_alert("new", opened_at=TICK)]})
    log(coached, alert_id="new")
    box, _ = take(coached, TICK)
    assert len(box.rejections) == 1


def test_an_alert_opened_earlier_in_the_same_backfill_is_known(coached: Settings) -> None:
    new = Alert("new", (BEN, "maths", "content"), 2, 2, at(0, 10), "test", coach_id="lee")
    log(coached, alert_id="new")
    box = open_inbox(coached, [at(0, 10), TICK], only_ana)
    box.take(0, at(0, 10), [])
    heard = box.take(1, TICK, [new])
    assert box.rejections == []
    assert [one.learner_id for one in heard if isinstance(one, Intervention)] == [BEN]


def test_restricted_notes_stay_where_they_were_written(coached: Settings) -> None:
    for alert_id in ("alert", "none"):
        note = {"alert_id": alert_id, "note": "a secret", "written_at": WRITTEN}
        write(coached, "restricted_notes", row_id=alert_id, **note)
    box, heard = take(coached, TICK)
    put(coached, box.tables())
    assert [row["verdict"] for row in box.taken] == ["accepted", "rejected"]
    assert heard == []
    for name in contract():
        assert "a secret" not in read_table(coached, name).to_csv()
    assert read_table(coached, "restricted_notes")["note"].tolist() == ["a secret", "a secret"]


# -- what the decision hears -----------------------------------------------------------------------


def test_what_people_say_is_heard_in_the_order_in_which_they_wrote_it(coached: Settings) -> None:
    def when(minute: float) -> datetime:
        return at(0, 10 + minute / 60)

    first = write(coached, "acknowledgements", alert_id="alert", written_at=when(1))
    second = log(coached, written_at=when(2), at=at(0, 9.5), coach_id="lee")
    third = write(
        coached, "overrides", alert_id="alert", what="alert_tier", value="3", who="max",
        why="knows the family", written_at=when(3),
    )  # fmt: skip
    write(coached, "recommendation_decisions", alert_id="alert", decision="accept",
          written_at=when(4))  # fmt: skip
    last = write(coached, "alert_verdicts", alert_id="alert", verdict="useful", written_at=when(5))
    _, heard = take(coached, TICK)
    assert heard == [
        Acknowledgement(first, when(1), "kim", "alert"),
        Intervention(second, at(0, 9.5), "lee", ANA, "maths", "message"),
        Override(third, when(3), "max", "alert", "knows the family", alert_tier=3),
        AlertVerdict(last, when(5), "kim", "alert", "useful"),
    ]


def test_recent_interventions_are_heard_again_by_the_next_hour(coached: Settings) -> None:
    row_id = log(coached)
    box, first = take(coached, TICK)
    put(coached, box.tables())
    _, again = take(coached, at(0, 12))
    assert [note.note_id for note in again] == [row_id]
    assert again == first
    _, weeks_later = take(coached, at(20))
    assert weeks_later == []


# -- in the hour -----------------------------------------------------------------------------------


def an_open_alert(world: World) -> Any:
    rows = read_table(world.settings, "alerts", {"status": "open", "delivered_tier": [2, 3]})
    return rows.iloc[0]


def test_the_hour_takes_the_inbox_and_answers_it(world: World) -> None:
    alert, written = an_open_alert(world), world.now.replace(tzinfo=None) + timedelta(minutes=20)
    good = log(world.settings, alert_id=alert["alert_id"], written_at=written)
    bad = log(world.settings, alert_id="nonsense", written_at=written)
    hour = world.now + timedelta(hours=1)
    world.arrive(hour)
    assert run_hour(world.settings, None, hour).state == "published"
    taken = read_table(world.settings, "inbox_taken").set_index("row_id")
    assert taken["verdict"].to_dict() == {good: "accepted", bad: "rejected"}
    assert set(taken["taken_at"]) == {pd.Timestamp(hour.replace(tzinfo=None))}
    assert read_table(world.settings, "inbox_rejections")["row_id"].tolist() == [bad]


def test_a_backfill_hears_what_the_hours_heard(world: World, tmp_path: Path) -> None:
    alert, start = an_open_alert(world), world.now.replace(tzinfo=None)
    named = {"alert_id": alert["alert_id"]}
    log(world.settings, **named, row_id="1", written_at=start + timedelta(minutes=70),
        at=start - timedelta(hours=71))  # fmt: skip
    write(world.settings, "acknowledgements", **named, row_id="2",
          written_at=start + timedelta(minutes=10))  # fmt: skip
    write(world.settings, "alert_verdicts", **named, row_id="3", verdict="useful",
          written_at=start + timedelta(minutes=150))  # fmt: skip
    log(world.settings, alert_id="nonsense", row_id="4", written_at=start + timedelta(minutes=30))
    shutil.copytree(world.settings.home, tmp_path / "other", symlinks=True)
    other = World(load_settings(tmp_path / "other"), world.now)
    for hour in range(1, 4):
        last = world.now + timedelta(hours=hour)
        world.arrive(last)
        assert run_hour(world.settings, None, last).state == "published"
    other.arrive(last)
    run_backfill(other.settings, None, None, "hour", last)
    assert differences(world.settings, other.settings) == []
    taken = read_table(world.settings, "inbox_taken").set_index("row_id")["taken_at"]
    hours = (taken - start) / timedelta(hours=1)
    assert hours.to_dict() == {"1": 2.0, "2": 1.0, "3": 3.0, "4": 1.0}
    # Its first window ended with the first hour, but only the second knew of it.
    found = read_table(world.settings, "intervention_outcomes").set_index("window_hours")
    assert found.loc[72, "labelled_at"] == start + timedelta(hours=2)
    assert found.loc[168, "label"] == "still_open"


# -- by hand ---------------------------------------------------------------------------------------


def command(settings: Settings, *words: str) -> Any:
    (settings.home / "tutorflow.yml").write_text("sources: []\n")
    return CliRunner().invoke(app, ["--home", str(settings.home), *words])


def test_a_person_can_log_by_hand(coached: Settings) -> None:
    told = command(coached, "log", "alert", "call", "resumed", "--note", "she laughed")
    assert told.exit_code == 0, told.output
    (row,) = waiting(coached, datetime(2999, 1, 1))
    assert (row.values["kind"], row.values["note"]) == ("call", "she laughed")
    assert row.row_id in told.output


def test_a_mistyped_code_is_refused_at_once(coached: Settings) -> None:
    told = command(coached, "log", "alert", "call", "great")
    assert told.exit_code == 2
    assert "code cannot be 'great'; it is one of resumed" in told.output
    assert waiting(coached, datetime(2999, 1, 1)) == []
