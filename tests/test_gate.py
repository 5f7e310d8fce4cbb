"""Each check of the gate holds on a sound hour and names the culprit in a faulty one."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import pandas as pd
import pytest

from expectations import candidates as candidate_frames
from expectations import gate, landed_events, marts
from expectations.checks import SUITES, checks
from expectations.texts import harsh_word
from tutorflow.privacy.pseudonyms import Pseudonyms, remember_identities
from tutorflow.publish import Candidates, CheckResult, Run, Verdict, publish, read_table
from tutorflow.publish.contract import contract, table
from tutorflow.publish.verdict import UnknownCheck
from tutorflow.pull.catalog import open_catalog
from tutorflow.settings import Settings
from tutorflow.warehouse import open_warehouse

AS_OF = datetime(2026, 3, 2, 15, tzinfo=UTC)  # a Monday
NOON = datetime(2026, 3, 2, 12)
TICK = AS_OF.replace(tzinfo=None)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

Row = dict[str, Any]
Tables = dict[str, list[Row]]


def uuid(name: str) -> str:
    return str(uuid5(UUID(int=0), name))


def learner(name: str) -> str:
    return uuid(f"learner {name}")


# -- a small warehouse -----------------------------------------------------------------------------

SCHEMA = """
create schema landing;
create schema marts;
create schema staging;
create table landing.deliveries (
    delivery_id text, source text, format text, table_name text, file text, path text,
    replaces text, landed_at timestamp, state text
);
create table landing.undecided_learners (
    learner_id uuid, earliest_at timestamp, latest_at timestamp
);
create table marts.events (
    event_id uuid, source text, delivery_id text, learner_id uuid, event_type text,
    occurred_at timestamp, known_at timestamp, received_at timestamp, landed_at timestamp,
    course_id text, score double, score_max double, response_seconds double, time_precision text,
    is_activity boolean, event_count bigint
);
create table marts.learner_days (
    learner_id uuid, course_id text, activity_date date, first_activity_at timestamp,
    last_activity_at timestamp, event_count bigint, active_seconds double, known_at timestamp
);
create table marts.responses (
    event_id uuid, learner_id uuid, p_mastery_before double, p_mastery_after double,
    p_mastery_max double, hints_used bigint, known_at timestamp
);
create table marts.unmapped_verbs (
    source text, delivery_id text, source_verb text, row_count bigint, first_occurred_at timestamp
);
create table marts.item_days (item_id text, known_at timestamp);
"""


def event(name: str, **changes: Any) -> Row:
    return {
        "event_id": uuid(name),
        "source": "tutor",
        "delivery_id": "d1",
        "learner_id": learner("ana"),
        "event_type": "response_submitted",
        "occurred_at": NOON,
        "known_at": NOON,
        "received_at": NOON,
        "landed_at": NOON + HOUR,
        "course_id": "maths",
        "score": 4.0,
        "score_max": 5.0,
        "response_seconds": 12.0,
        "time_precision": "second",
        "is_activity": True,
        "event_count": 1,
        **changes,
    }


def learner_day(name: str = "ana", **changes: Any) -> Row:
    return {
        "learner_id": learner(name),
        "course_id": "maths",
        "activity_date": date(2026, 3, 2),
        "first_activity_at": NOON,
        "last_activity_at": NOON,
        "event_count": 1,
        "active_seconds": 60.0,
        "known_at": datetime(2026, 3, 3),
        **changes,
    }


def response(name: str, **changes: Any) -> Row:
    return {
        "event_id": uuid(name),
        "learner_id": learner(name),
        "p_mastery_before": 0.4,
        "p_mastery_after": 0.5,
        "p_mastery_max": 0.5,
        "hints_used": 0,
        "known_at": NOON,
        **changes,
    }


def fill(
    settings: Settings,
    events: Sequence[Row] = (),
    days: Sequence[Row] = (),
    responses: Sequence[Row] = (),
    delivery_state: str = "built",
    rows: int = 100,
    quarantined: int = 0,
) -> None:
    """Make the warehouse and the catalog of a home: one delivery, and these mart rows."""
    delivery = {
        "delivery_id": "d1",
        "source": "tutor",
        "format": "canonical",
        "table_name": "events",
        "file": "f",
        "path": "events.csv",
        "landed_at": NOON + HOUR,
    }
    with open_warehouse(settings) as warehouse:
        warehouse.execute(SCHEMA)
        insert = {
            "landing.deliveries": [{**delivery, "state": delivery_state}],
            "landing.undecided_learners": [
                {"learner_id": one, "earliest_at": NOON, "latest_at": NOON}
                for one in {row["learner_id"] for row in (*events, *days, *responses)} - {None}
            ],
            "marts.events": events,
            "marts.learner_days": days,
            "marts.responses": responses,
        }
        for name, records in insert.items():
            for record in records:
                marks = ", ".join(f"${column}" for column in record)
                warehouse.execute(
                    f"insert into {name} ({', '.join(record)}) values ({marks})", record
                )
    with open_catalog(settings.catalog_path) as catalog, catalog:
        catalog.execute(
            "insert into deliveries (delivery_id, source, format, table_name, file, path, sha256,"
            " rows, quarantined, bytes, landed_at) values (:delivery_id, :source, :format,"
            " :table_name, :file, :path, '', :rows, :quarantined, 1, '2026-03-02 13:00:00')",
            {**delivery, "landed_at": None, "rows": rows, "quarantined": quarantined},
        )
        catalog.executemany(
            "insert into quarantined_rows values ('tutor', 'd1', 'events.csv', ?, 'no user_id')",
            [(line,) for line in range(quarantined)],
        )


# -- candidates ------------------------------------------------------------------------------------

ROOMY = {"capacity": {"mira": 1_000}}


def row(name: str, **values: Any) -> Row:
    """A row of a published table: the values given, and something harmless in the rest."""
    harmless = {
        "text": "quiet words",
        "integer": 1,
        "real": 1.0,
        "boolean": False,
        "timestamp": TICK,
        "json": "[]",
    }
    filled = {
        column.name: None
        if column.nullable and not column.prose
        else (column.values[0] if column.values else harmless[column.type])
        for column in table(name).columns.values()
    }
    assert set(values) <= set(filled), set(values) - set(filled)
    return {**filled, **values}


def an_alert(name: str, **changes: Any) -> Tables:
    """A tier 2 alert of a learner with everything that belongs to it, opened at the tick."""
    whose = {"learner_id": learner(name), "course_id": "maths"}
    alert = row(
        "alerts",
        **whose,
        alert_id=f"alert of {name}",
        layer="content",
        alert_tier=2,
        opening_tier=2,
        coach_id="mira",
        delivered_at=TICK,
        delivered_to="mira",
        delivered_tier=2,
        due_at=TICK + DAY,
    )
    signal = row(
        "signals",
        **whose,
        signal_id=f"signal of {name}",
        rule_id="repeated_misses",
        subject_kind="skill",
        subject_id="ratio tables",
        alert_tier=2,
        fired_at=TICK - HOUR / 2,
        observed=4.0,
        threshold=4.0,
        n=14,
        disposition="opened",
        alert_id=f"alert of {name}",
    )
    evidence = {name: signal[name] for name in table("alert_evidence").columns if name in signal}
    tables = {
        "alerts": [alert],
        "signals": [signal],
        "alert_evidence": [row("alert_evidence", **evidence)],
        "handoff_notes": [row("handoff_notes", alert_id=f"alert of {name}", minutes=5)],
    }
    for key, value in changes.items():
        target, column = key.split("__")
        assert column in tables[target][0], key
        tables[target][0][column] = value
    return tables


def together(*parts: Tables) -> Tables:
    return {
        name: [one for part in parts for one in part.get(name, [])]
        for name in dict.fromkeys(name for part in parts for name in part)
    }


def hour(
    *parts: Tables, ticks: Sequence[datetime] = (AS_OF,), summary: Mapping[str, Any] | None = None
) -> Candidates:
    log = [row("tick_log", as_of=tick.replace(tzinfo=None), watermarks="{}") for tick in ticks]
    tables = {**together(*parts), "tick_log": log}
    return Candidates(
        list(ticks),
        ticks[-1],
        {name: frame(name, rows) for name, rows in tables.items()},
        summary or {"capacity": {"mira": 8}},
    )


def frame(name: str, rows: Sequence[Row]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            column.name: pd.Series([one[column.name] for one in rows], dtype=column.dtype)
            for column in table(name).columns.values()
        }
    )


def judged(settings: Settings, candidates: Candidates) -> dict[str, CheckResult]:
    """The results of the candidates' suite alone, by the check's short name."""
    with open_warehouse(settings, read_only=True) as warehouse:
        frames = candidate_frames.frames(settings, candidates, warehouse)
    return by_name(gate.check_suite("candidates", frames))


def by_name(results: Sequence[CheckResult]) -> dict[str, CheckResult]:
    return {result.check_id.split(".")[1]: result for result in results}


def failing(results: Mapping[str, CheckResult]) -> set[str]:
    return {name for name, result in results.items() if not result.is_success}


def commit(settings: Settings, candidates: Candidates) -> None:
    publish(settings, candidates, Verdict([]), Run("run", "running", AS_OF))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
def empty(settings: Settings) -> Settings:
    """A home in which nothing was learnt this hour."""
    fill(settings)
    return settings


# -- the whole gate --------------------------------------------------------------------------------


def test_a_sound_hour_passes_every_check(settings: Settings) -> None:
    fill(settings, [event("e1")], [learner_day()], [response("ana")])
    verdict = gate.check(settings, hour(an_alert("ana"), an_alert("ben")))
    assert verdict.failures == []
    assert not verdict.blocked
    assert {result.suite for result in verdict.results} == set(SUITES)
    assert verdict.mart_counts == {
        "events": 1,
        "item_days": 0,
        "learner_days": 1,
        "responses": 1,
        "unmapped_verbs": 0,
    }


def test_an_hour_in_which_nothing_happened_passes(empty: Settings) -> None:
    assert gate.check(empty, hour()).failures == []


@pytest.fixture
def faulty_verdict() -> Verdict:
    return Verdict(
        [
            CheckResult("marts", "marts.fresh", "critical", False, 2, "2 learners behind"),
            CheckResult("marts", "marts.old", "warning", False, 1, "1 old row"),
            CheckResult("marts", "marts.fine", "critical", True, 0, "3 rows hold"),
        ]
    )


def test_what_is_critical_blocks(faulty_verdict: Verdict) -> None:
    assert faulty_verdict.blocked
    assert [result.check_id for result in faulty_verdict.blocking] == ["marts.fresh"]


def test_a_warning_alone_does_not_block(faulty_verdict: Verdict) -> None:
    assert not Verdict(faulty_verdict.results[1:]).blocked


def test_accepting_a_check_with_a_reason_lets_it_pass(faulty_verdict: Verdict) -> None:
    accepted = replace(faulty_verdict, accepted={"marts.fresh": "known outage on Monday"})
    assert not accepted.blocked
    assert len(accepted.failures) == 2


def test_accepting_one_check_does_not_accept_another(empty: Settings) -> None:
    bad = an_alert("ana", alerts__coach_id=None, handoff_notes__draft_message="You lazy one")
    verdict = gate.check(empty, hour(bad), accept={"candidates.wording": "checked by hand"})
    assert [one.check_id for one in verdict.blocking] == ["candidates.delivered_to_a_coach"]


def test_a_mistyped_check_cannot_be_accepted(faulty_verdict: Verdict) -> None:
    with pytest.raises(UnknownCheck, match=r"did you mean marts\.fresh"):
        replace(faulty_verdict, accepted={"marts.frsh": "known"})


def test_accepting_needs_a_reason(faulty_verdict: Verdict) -> None:
    with pytest.raises(UnknownCheck, match="give a reason"):
        replace(faulty_verdict, accepted={"marts.fresh": " "})


def test_a_check_that_cannot_be_evaluated_fails(settings: Settings) -> None:
    frames = {one.frame: pd.DataFrame({"nothing": [1]}) for one in checks("marts")}
    results = by_name(gate.check_suite("marts", frames))
    assert not results["unique_keys"].is_success
    assert "could not be evaluated" in results["unique_keys"].message


def test_the_names_of_checks_are_unique_and_tell_their_suite() -> None:
    ids = [one.check_id for suite in SUITES for one in checks(suite)]
    assert len(ids) == len(set(ids)) > 35
    assert all(one.check_id.startswith(f"{suite}.") for suite in SUITES for one in checks(suite))


def test_great_expectations_is_imported_late_says_nothing_and_asks_nobody_on_the_network() -> None:
    code = (
        "import socket, sys, pandas as pd\n"
        "def refuse(*_): raise AssertionError('network')\n"
        "socket.socket.connect = refuse\n"
        "from expectations import gate\n"
        "from expectations.checks import checks\n"
        "assert 'great_expectations' not in sys.modules\n"
        "frames = {c.frame: pd.DataFrame({'x': []}) for c in checks('marts')}\n"
        "gate.check_suite('marts', frames)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# -- landed events ---------------------------------------------------------------------------------

FAULTY_EVENTS = {
    "has_learner": event("no learner", learner_id=None),
    "has_time": event("no time", occurred_at=None),
    "has_known_at": event("no known_at", known_at=None),
    "has_course": event("no course", course_id=None),
    "known_event_type": event("odd type", event_type="danced"),
    "not_in_the_future": event("ahead", occurred_at=NOON + 3 * HOUR, received_at=None),
    "clock_skew": event("skewed", received_at=NOON - HOUR),
    "not_ancient": event("ancient", occurred_at=datetime(2011, 1, 1)),
    "score_not_negative": event("below", score=-1.0),
    "score_within_maximum": event("above", score=6.0),
    "response_time_not_negative": event("backwards", response_seconds=-3.0),
}


@pytest.fixture(scope="module")
def faulty_landing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, CheckResult]]:
    settings = Settings(home=tmp_path_factory.mktemp("landing"))
    sound = [event(f"sound {n}") for n in range(100)]
    twice = [event("twice"), event("twice", occurred_at=NOON - HOUR)]
    no_id = event("no id", event_id=None)
    fill(settings, [*sound, *twice, no_id, *FAULTY_EVENTS.values()], rows=90, quarantined=10)
    with open_warehouse(settings) as warehouse:
        warehouse.execute(
            "insert into marts.unmapped_verbs values"
            " ('tutor', 'd1', 'waved', 7, null), ('tutor', 'decided before', 'sang', 2, null)"
        )
        yield by_name(gate.check_suite("landed_events", landed_events.frames(settings, warehouse)))


@pytest.mark.parametrize("name", FAULTY_EVENTS)
def test_a_faulty_event_is_named_by_its_check(
    faulty_landing: dict[str, CheckResult], name: str
) -> None:
    result = faulty_landing[name]
    assert not result.is_success
    assert result.failed_count == 1
    assert result.failed_rows[0]["event_id"] == FAULTY_EVENTS[name]["event_id"]
    assert result.failed_rows[0]["path"] == "events.csv"


def test_an_event_without_an_id_is_found(faulty_landing: dict[str, CheckResult]) -> None:
    assert faulty_landing["has_event_id"].failed_count == 1


def test_an_event_that_is_in_the_mart_twice_is_named(
    faulty_landing: dict[str, CheckResult],
) -> None:
    (found,) = faulty_landing["one_row_per_event"].failed_rows
    assert (found["event_id"], found["copies"]) == (uuid("twice"), 2)


def test_an_unmapped_verb_is_named(faulty_landing: dict[str, CheckResult]) -> None:
    (found,) = faulty_landing["verbs_mapped"].failed_rows
    assert (found["source_verb"], found["row_count"]) == ("waved", 7)


def test_a_few_impossible_values_are_worth_a_warning_only(
    faulty_landing: dict[str, CheckResult],
) -> None:
    assert faulty_landing["score_not_negative"].severity == "warning"
    assert faulty_landing["values_mostly_in_range"].is_success


def test_a_column_full_of_impossible_values_blocks(settings: Settings) -> None:
    fill(settings, [event(f"{n}", response_seconds=-1.0 if n < 5 else 1.0) for n in range(40)])
    with open_warehouse(settings) as warehouse:
        frames = landed_events.frames(settings, warehouse)
    result = by_name(gate.check_suite("landed_events", frames))["values_mostly_in_range"]
    assert (result.is_success, result.severity) == (False, "critical")
    assert result.failed_rows[0]["fault"] == "response time below zero"


def test_a_delivery_with_a_tenth_of_its_rows_refused_is_worth_a_warning(
    faulty_landing: dict[str, CheckResult],
) -> None:
    (found,) = faulty_landing["few_rows_quarantined"].failed_rows
    assert (found["path"], found["quarantined_share"]) == ("events.csv", 0.1)
    assert found["commonest_reason"] == "no user_id"
    assert faulty_landing["most_rows_landed"].is_success


def test_an_hour_with_most_of_its_rows_refused_blocks(settings: Settings) -> None:
    fill(settings, rows=40, quarantined=60)
    with open_warehouse(settings) as warehouse:
        frames = landed_events.frames(settings, warehouse)
    result = by_name(gate.check_suite("landed_events", frames))["most_rows_landed"]
    assert (result.is_success, result.severity) == (False, "critical")


def test_an_assignment_due_next_week_is_not_in_the_future(settings: Settings) -> None:
    fill(settings, [event("due", event_type="assignment_due", occurred_at=NOON + 7 * DAY)])
    with open_warehouse(settings) as warehouse:
        frames = landed_events.frames(settings, warehouse)
    assert failing(by_name(gate.check_suite("landed_events", frames))) == set()


def test_events_decided_before_are_not_looked_at_again(settings: Settings) -> None:
    fill(settings, [event("odd", event_type="danced")], delivery_state="decided")
    with open_warehouse(settings) as warehouse:
        assert landed_events.frames(settings, warehouse)["events"].empty


def test_of_very_many_events_an_even_share_is_looked_at_and_said(settings: Settings) -> None:
    fill(settings, [event(f"{n}") for n in range(300)])
    with open_warehouse(settings) as warehouse:
        frames = landed_events.frames(settings, warehouse, max_events=100)
    assert 50 < len(frames["events"]) < 150
    result = by_name(gate.check_suite("landed_events", frames))["has_learner"]
    assert "1 in 3 of 300 new events" in result.message


# -- marts -----------------------------------------------------------------------------------------


def judged_marts(settings: Settings) -> dict[str, CheckResult]:
    with open_warehouse(settings) as warehouse:
        return by_name(gate.check_suite("marts", marts.frames(settings, warehouse)))


@pytest.fixture(scope="module")
def faulty_marts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, CheckResult]:
    settings = Settings(home=tmp_path_factory.mktemp("marts"))
    fill(
        settings,
        [event("e1"), event("e2", learner_id=learner("late"), occurred_at=NOON + HOUR)],
        [
            learner_day(),
            learner_day("late"),
            learner_day("twice"),
            learner_day("twice"),
            learner_day("minus", event_count=-1),
        ],
        [
            response("ana"),
            response("too sure", p_mastery_max=1.2),
            response("below", p_mastery_before=-0.1),
            response("timeless", known_at=None),
        ],
        delivery_state="pending",
    )
    return judged_marts(settings)


@pytest.mark.parametrize(
    ("name", "culprits"),
    [
        ("fresh", ["late"]),
        ("unique_keys", ["twice"]),
        ("has_known_at", ["timeless"]),
        ("probabilities_in_range", ["too sure", "below"]),
        ("counts_not_negative", ["minus"]),
    ],
)
def test_a_faulty_mart_row_is_named_by_its_check(
    faulty_marts: dict[str, CheckResult], name: str, culprits: list[str]
) -> None:
    result = faulty_marts[name]
    assert result.severity == "critical"
    assert {found["learner_id"] for found in result.failed_rows} == set(map(learner, culprits))


def test_a_delivery_that_is_not_in_the_marts_yet_blocks(
    faulty_marts: dict[str, CheckResult],
) -> None:
    (found,) = faulty_marts["built_from_everything"].failed_rows
    assert found["path"] == "events.csv"


@pytest.mark.parametrize(
    ("before", "passes"), [(100, True), (120, True), (121, False), (3_000, False)]
)
def test_a_mart_may_lose_a_few_rows_but_not_many(
    settings: Settings, before: int, passes: bool
) -> None:
    fill(settings, [event(f"{n}") for n in range(100)], [learner_day()])
    publish(
        settings,
        hour(ticks=[AS_OF - HOUR]),
        Verdict([], mart_counts={"events": before}),
        Run("run", "running", AS_OF),
    )
    result = judged_marts(settings)["row_counts_not_falling"]
    assert result.is_success is passes


def test_a_mart_that_vanished_blocks(settings: Settings) -> None:
    fill(settings)
    verdict = Verdict([], mart_counts={"cohort_retention": 50})
    publish(settings, hour(ticks=[AS_OF - HOUR]), verdict, Run("run", "running", AS_OF))
    (found,) = judged_marts(settings)["row_counts_not_falling"].failed_rows
    assert (found["mart"], found["row_count"]) == ("cohort_retention", 0)


def test_of_very_many_learners_an_even_share_is_looked_at_and_said(settings: Settings) -> None:
    names = [f"l{n}" for n in range(60)]
    fill(
        settings,
        [event(name, learner_id=learner(name)) for name in names],
        [learner_day(name) for name in names],
    )
    with open_warehouse(settings) as warehouse:
        frames = marts.frames(settings, warehouse, max_rows=20)
    assert 10 < frames["learners_in_marts"]["learner_id"].nunique() < 35
    result = by_name(gate.check_suite("marts", frames))["unique_keys"]
    assert "1 in 3 of 60 learners" in result.message


# -- candidates ------------------------------------------------------------------------------------


def without(name: str, *lacking: str) -> Tables:
    return {key: rows for key, rows in an_alert(name).items() if key not in lacking}


FAULTY_ALERTS: dict[str, Tables] = {
    "has_evidence": without("bare", "alert_evidence", "signals"),
    "has_handoff_note": without("noteless", "handoff_notes"),
    "handoff_notes_complete": an_alert("half", handoff_notes__objective="  "),
    "delivered_to_a_coach": an_alert("alone", alerts__coach_id=None),
    "has_due_time": an_alert("timeless", alerts__due_at=None),
    "due_after_opening": an_alert("overdue", alerts__due_at=TICK),
}
FAULTY_TEXTS: dict[str, Tables] = {
    "no_email_addresses": an_alert("mail", handoff_notes__why_now="wrote to ana.k@example.org"),
    "no_phone_numbers": an_alert("phone", handoff_notes__ai_tried="rang +49 30 901820 twice"),
    "no_links": an_alert("link", handoff_notes__ai_tried="see https://example.org/u/7"),
    "wording": an_alert("words", handoff_notes__draft_message="You failed  again, Lazy one"),
}


@pytest.fixture(scope="module")
def faulty_candidates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, CheckResult]:
    settings = Settings(home=tmp_path_factory.mktemp("candidates"))
    fill(settings)
    every = hour(*FAULTY_ALERTS.values(), *FAULTY_TEXTS.values(), summary=ROOMY)
    return judged(settings, every)


@pytest.mark.parametrize("name", FAULTY_ALERTS)
def test_a_faulty_alert_is_named_by_its_check(
    faulty_candidates: dict[str, CheckResult], name: str
) -> None:
    result = faulty_candidates[name]
    (alert,) = FAULTY_ALERTS[name]["alerts"]
    assert [found["alert_id"] for found in result.failed_rows] == [alert["alert_id"]]
    assert result.severity == "critical"


@pytest.mark.parametrize("name", FAULTY_TEXTS)
def test_a_faulty_sentence_is_named_but_not_repeated(
    faulty_candidates: dict[str, CheckResult], name: str
) -> None:
    result = faulty_candidates[name]
    (note,) = FAULTY_TEXTS[name]["handoff_notes"]
    (found,) = result.failed_rows
    assert (found["table"], found["row_id"]) == ("handoff_notes", note["alert_id"])
    assert note[found["column"]] not in json.dumps(found)
    assert result.severity == "critical"


def test_what_one_fault_breaks_breaks_nothing_else(
    faulty_candidates: dict[str, CheckResult],
) -> None:
    assert failing(faulty_candidates) == {*FAULTY_ALERTS, *FAULTY_TEXTS}


def test_a_row_that_does_not_fit_its_table_blocks_and_says_why(empty: Settings) -> None:
    sound = hour(an_alert("ana"))
    broken = sound.tables["alerts"].drop(columns="channel").assign(status="asleep")
    results = judged(empty, replace(sound, tables={**sound.tables, "alerts": broken}))
    words = " ".join(found["misfit"] for found in results["fits_contract"].failed_rows)
    assert "channel is missing" in words
    assert "asleep" in words


def test_a_tier_beyond_four_blocks(empty: Settings) -> None:
    results = judged(empty, hour(an_alert("ana", signals__alert_tier=5)))
    assert {"fits_contract", "alert_tiers"} == failing(results)


def test_an_id_given_twice_blocks(empty: Settings) -> None:
    results = judged(empty, hour(an_alert("ana"), {"signals": an_alert("ana")["signals"]}))
    (found,) = results["unique_keys"].failed_rows
    assert (found["table"], found["key"]) == ("signals", "signal of ana")


def test_a_second_nudge_of_a_day_blocks(empty: Settings) -> None:
    first = row("nudges_outbox", nudge_row_id="1", learner_id="ana", status="held_out")
    second = {**first, "nudge_row_id": "2", "status": "ready"}
    tomorrow = {**second, "nudge_row_id": "3", "send_after": TICK + DAY}
    unsent = {**second, "nudge_row_id": "4", "status": "not_sent"}
    sound = hour({"nudges_outbox": [first, tomorrow, unsent]})
    assert failing(judged(empty, sound)) == set()
    commit(empty, sound)
    (found,) = judged(empty, hour({"nudges_outbox": [second]}))["one_nudge_a_day"].failed_rows
    assert (found["learner_id"], found["nudges"]) == ("ana", 2)


@pytest.mark.parametrize("serious", [{"alert_tier": 3}, {"alert_tier": 1, "layer": "safety"}])
def test_holding_out_what_must_not_wait_blocks(empty: Settings, serious: dict[str, Any]) -> None:
    mild = {"alert_id": "ana", "arm": "held_out", "layer": "content", "alert_tier": 2}
    sound = hour(an_alert("ana"), {"exposures": [row("exposures", **mild)]})
    assert failing(judged(empty, sound)) == set()
    wrong = hour(an_alert("ana"), {"exposures": [row("exposures", **{**mild, **serious})]})
    results = judged(empty, wrong)
    assert failing(results) == {"held_out_is_mild"}
    assert [found["alert_id"] for found in results["held_out_is_mild"].failed_rows] == ["ana"]


def test_evidence_of_an_unknown_signal_blocks(empty: Settings) -> None:
    (found,) = judged(empty, hour(without("ana", "signals")))["referential"].failed_rows
    assert (found["table"], found["missing_id"]) == ("alert_evidence", "signal of ana")


def test_a_note_of_an_unknown_alert_blocks(empty: Settings) -> None:
    notes = {"handoff_notes": an_alert("ana")["handoff_notes"]}
    (found,) = judged(empty, hour(notes))["referential"].failed_rows
    assert (found["table"], found["missing_id"]) == ("handoff_notes", "alert of ana")


def test_rows_may_refer_to_what_was_committed_before(empty: Settings) -> None:
    commit(empty, hour(an_alert("ana"), ticks=[AS_OF - HOUR]))
    later = {name: an_alert("ana")[name] for name in ("alert_evidence", "handoff_notes")}
    assert failing(judged(empty, hour(later))) == set()


def test_evidence_that_differs_from_what_fired_blocks(empty: Settings) -> None:
    changes = {"ana": ("observed", 5.0), "ben": ("threshold", None), "cleo": ("n", 15)}
    parts = [
        an_alert(name, **{f"alert_evidence__{column}": value})
        for name, (column, value) in changes.items()
    ]
    result = judged(empty, hour(*parts))["evidence_is_what_fired"]
    assert {found["signal_id"]: found["column"] for found in result.failed_rows} == {
        f"signal of {name}": column for name, (column, _) in changes.items()
    }


def test_evidence_that_differs_from_a_signal_committed_before_blocks(empty: Settings) -> None:
    commit(empty, hour(an_alert("ana"), ticks=[AS_OF - HOUR]))
    changed = {"alert_evidence": an_alert("ana", alert_evidence__n=2)["alert_evidence"]}
    assert failing(judged(empty, hour(changed))) == {"evidence_is_what_fired"}


def test_a_second_open_alert_of_the_same_kind_blocks(empty: Settings) -> None:
    commit(empty, hour(an_alert("ana"), ticks=[AS_OF - HOUR]))
    second = together(an_alert("second", alerts__learner_id=learner("ana")))
    (found,) = judged(empty, hour(second))["one_alert_at_a_time"].failed_rows
    assert found["alert_ids"] == "alert of ana, alert of second"


def test_a_new_alert_after_one_that_closes_now_passes(empty: Settings) -> None:
    commit(empty, hour(an_alert("ana"), ticks=[AS_OF - HOUR]))
    closed = an_alert("ana", alerts__status="closed", alerts__opened_at=TICK - HOUR)
    second = an_alert("second", alerts__learner_id=learner("ana"))
    assert failing(judged(empty, hour(closed, second))) == set()


def crowd(size: int, prefix: str = "l", **changes: Any) -> Tables:
    return together(*(an_alert(f"{prefix}{n}", **changes) for n in range(size)))


def test_a_coach_who_gets_more_than_the_day_holds_blocks(empty: Settings) -> None:
    (found,) = judged(empty, hour(crowd(9)))["coach_capacity"].failed_rows
    assert (found["coach_id"], found["delivered"], found["capacity"]) == ("mira", 9, 8)


def test_capacity_counts_what_was_delivered_earlier_that_day(empty: Settings) -> None:
    earlier = crowd(5, alerts__delivered_at=TICK - HOUR, alerts__opened_at=TICK - HOUR)
    commit(empty, hour(earlier, ticks=[AS_OF - HOUR]))
    assert judged(empty, hour(crowd(3, "new")))["coach_capacity"].is_success
    assert not judged(empty, hour(crowd(4, "new")))["coach_capacity"].is_success


def test_capacity_counts_by_the_coachs_own_day(empty: Settings) -> None:
    earlier = crowd(8, alerts__delivered_at=TICK - HOUR, alerts__opened_at=TICK - HOUR)
    commit(empty, hour(earlier, ticks=[AS_OF - HOUR]))
    new_day = {"capacity": {"mira": 8}, "coach_timezone": {"mira": "Asia/Tokyo"}}  # 15:00 = 24:00
    assert judged(empty, hour(crowd(8, "new"), summary=new_day))["coach_capacity"].is_success


def test_tier_four_is_never_too_much(empty: Settings) -> None:
    urgent = crowd(9, alerts__delivered_tier=4, alerts__alert_tier=4)
    assert judged(empty, hour(urgent))["coach_capacity"].is_success


# -- volume ----------------------------------------------------------------------------------------


def history(settings: Settings, days: int, at_three: int = 0) -> None:
    """Commit that many days of hourly ticks up to the tick, opening `at_three` alerts at 15:00."""
    ticks = [AS_OF - n * HOUR for n in range(days * 24, 0, -1)]
    alerts = [
        crowd(at_three, f"{tick:%d}-", alerts__opened_at=tick.replace(tzinfo=None))["alerts"]
        for tick in ticks
        if tick.hour == 15 and at_three
    ]
    commit(settings, hour({"alerts": [one for some in alerts for one in some]}, ticks=ticks))


@pytest.mark.parametrize(
    ("days", "at_three", "now", "is_storm"),
    [
        (15, 0, 20, False),
        (15, 0, 21, True),
        (13, 0, 21, False),
        (15, 10, 30, False),
        (15, 10, 31, True),
    ],
    ids=[
        "20 alerts are never a storm",
        "21 after a quiet fortnight are one",
        "nothing is known before 14 days",
        "3 times the usual is not over 3 times",
        "more than 3 times the usual is a storm",
    ],
)
def test_an_alert_storm_is_more_than_three_times_the_usual(
    empty: Settings, days: int, at_three: int, now: int, is_storm: bool
) -> None:
    history(empty, days, at_three)
    result = judged(empty, hour(crowd(now), summary=ROOMY))["alert_storm"]
    assert result.is_success is not is_storm
    if is_storm:
        assert result.failed_rows[0]["opened"] == now
        assert result.failed_rows[0]["commonest_rule"] == "repeated_misses"


def test_a_busy_evening_of_few_of_many_learners_is_no_storm_but_worth_a_warning(
    settings: Settings,
) -> None:
    fill(settings, days=[learner_day(f"l{n}") for n in range(200)])
    history(settings, 15, at_three=2)
    results = judged(settings, hour(crowd(40), summary=ROOMY))
    assert results["alert_storm"].is_success
    assert not results["usual_volume"].is_success


def test_alerts_released_from_a_hold_are_no_storm(empty: Settings) -> None:
    history(empty, 15)
    old = {"signals__fired_at": TICK - DAY, "alert_evidence__fired_at": TICK - DAY}
    assert judged(empty, hour(crowd(40, **old), summary=ROOMY))["alert_storm"].is_success


def test_flagging_a_third_of_the_active_learners_is_worth_a_warning(settings: Settings) -> None:
    fill(settings, days=[learner_day(f"l{n}") for n in range(66)])
    results = judged(settings, hour(crowd(22), summary=ROOMY))
    result = results["share_of_learners_flagged"]
    assert (result.is_success, result.severity) == (False, "warning")
    assert (
        result.failed_rows[0]["flagged_learners"],
        result.failed_rows[0]["active_learners"],
    ) == (
        22,
        66,
    )


# -- sentences -------------------------------------------------------------------------------------


NO_PHONE_NUMBERS = (
    "8 of the 9 answers before were right; it changed at 14:05 on 2026-03-02 14:05",
    "opportunities 7-10; mastery 0.41 -> 0.12; 2.3 times slower, n = 1 400",
    "3 in a row (3 of 10), 2 - 4 - 6 minutes, 1200 clicks, 12.03.2026",
    "due 2026-03-02 16:00 UTC; 1.000.000 clicks",
)
PHONE_NUMBERS = ("030 901820 55", "+1 (415) 555-0132", "0176-5550-1320", "call 4155550132 now")


def saying(texts: Sequence[str]) -> Candidates:
    """An hour with one alert per text."""
    return hour(*(an_alert(text, handoff_notes__why_now=text) for text in texts))


def test_numbers_times_and_dates_are_no_phone_numbers(empty: Settings) -> None:
    assert failing(judged(empty, saying(NO_PHONE_NUMBERS))) == set()


def test_phone_numbers_are_found(empty: Settings) -> None:
    results = judged(empty, saying(PHONE_NUMBERS))
    assert failing(results) == {"no_phone_numbers"}
    assert results["no_phone_numbers"].failed_count == len(PHONE_NUMBERS)


def test_a_sentence_may_name_a_skill_whose_id_is_a_link(empty: Settings) -> None:
    link = "https://example.org/xapi/skills/1234567890"
    named = an_alert(
        "ana",
        signals__subject_id=link,
        alert_evidence__subject_id=link,
        handoff_notes__observed_issue=f"4 wrong in a row on {link} (n = 14)",
    )
    assert failing(judged(empty, hour(named))) == set()


def test_the_id_under_which_a_source_knows_the_learner_is_found(empty: Settings) -> None:
    pseudonyms = Pseudonyms(b"0123456789abcdef")
    ana = pseudonyms.of("tutor", "ana.karenina")
    remember_identities(empty.identity_path, pseudonyms, "tutor", ["ana.karenina"], AS_OF)
    named = an_alert("ana", alerts__learner_id=ana, handoff_notes__why_now="Ana.Karenina asked")
    (found,) = judged(empty, hour(named))["no_source_user_ids"].failed_rows
    assert (found["column"], found["row_id"]) == ("why_now", "alert of ana")


def test_a_short_number_that_happens_to_be_an_id_is_let_through(empty: Settings) -> None:
    pseudonyms = Pseudonyms(b"0123456789abcdef")
    remember_identities(empty.identity_path, pseudonyms, "tutor", ["1400"], AS_OF)
    named = an_alert(
        "ana",
        alerts__learner_id=pseudonyms.of("tutor", "1400"),
        handoff_notes__why_now="1400 clicks",
    )
    assert failing(judged(empty, hour(named))) == set()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("You are LAZY", "LAZY"),
        ("a careless mistake", "careless"),
        ("carelessly done", "carelessly"),
        ("failed\nagain", "failed\nagain"),
        ("3 failed attempts, then 2 right again", None),
        ("a glazy finish", None),
    ],
)
def test_shaming_words_are_found_as_whole_words(text: str, word: str | None) -> None:
    assert harsh_word(text) == word


def test_failing_rows_can_be_published_as_json(empty: Settings) -> None:
    bad = an_alert("ana", alerts__coach_id=None, alerts__due_at=None)
    verdict = gate.check(empty, hour(bad), accept={
        "candidates.delivered_to_a_coach": "test", "candidates.has_due_time": "test",
    })  # fmt: skip
    publish(empty, hour(bad), verdict, Run("run", "running", AS_OF))
    stored = read_table(empty, "gate_results", {"is_success": False})
    assert len(stored) == 2
    assert json.loads(stored["failed_rows"].iloc[0])[0]["alert_id"] == "alert of ana"
    assert stored["message"].str.contains("Accepted: test").all()


def test_every_prose_column_is_read_by_the_gate() -> None:
    people_read = {"what", "why_now", "tried", "next_action", "draft_message", "sentence"}
    prose = {name for spec in contract().values() for name in spec.prose_columns}
    assert people_read <= prose
