"""The simulated programme: repeatable, plausible, and silent about its own truth."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tutorflow.errors import TutorflowError
from tutorflow.pull.formats import EVENT_TYPES
from tutorflow.roster import load_roster
from tutorflow.settings import load_settings
from tutorflow.simulate import Effect, Programme, SimulationConfig, SimulationError, simulate
from tutorflow.simulate.bulk import write_bulk
from tutorflow.simulate.eventlog import SCHEMA

SMALL = SimulationConfig(learners=12, weeks=2, seed=5)
PLAIN = SimulationConfig(learners=120, weeks=6, seed=2)
WEEK = pd.Timedelta(weeks=1)


@cache
def played(config: SimulationConfig) -> tuple[Programme, pa.Table]:
    """A programme at its end and all its events."""
    programme = Programme(config)
    return programme, programme.advance(config.ends_at)


@cache
def events() -> pd.DataFrame:
    return played(PLAIN)[1].to_pandas()


@cache
def truth(name: str) -> pd.DataFrame:
    return played(PLAIN)[0].truth().tables[name].to_pandas()


def of_type(*event_types: str) -> pd.DataFrame:
    return events()[events().event_type.isin(event_types)]


def sessions() -> pd.DataFrame:
    """One row per work session: learner, start, minutes, items."""
    own = events()[events().session_id.str.startswith("s-", na=False)]
    return own.groupby("session_id").agg(
        user_id=("user_id", "first"),
        started_at=("occurred_at", "min"),
        minutes=("occurred_at", lambda at: (at.max() - at.min()).total_seconds() / 60),
        items=("event_type", lambda types: (types == "item_presented").sum()),
    )


def needy_weeks(*reasons: str) -> set[tuple[str, int]]:
    """(learner, week) in which a spell of one of these reasons (none = any) was going on."""
    spells = truth("needs")
    if reasons:
        spells = spells[spells.reason.isin(reasons)]
    found = set()
    for spell in spells.itertuples():
        ended_at = PLAIN.ends_at if pd.isna(spell.ended_at) else spell.ended_at
        for week in range(PLAIN.weeks):
            begins = PLAIN.starts_at + week * WEEK
            if spell.started_at < begins + WEEK and ended_at > begins:
                found.add((spell.user_id, week))
    return found


def weekly(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(week=(frame.occurred_at - PLAIN.starts_at) // WEEK)


# --- the same again


def test_the_same_seed_gives_the_same_events_and_truth() -> None:
    first, second = Programme(SMALL), Programme(SMALL)
    assert first.advance(SMALL.ends_at).equals(second.advance(SMALL.ends_at))
    for name, table in first.truth().tables.items():
        assert table.equals(second.truth().tables[name]), name


def test_another_seed_gives_other_events() -> None:
    other = Programme(SMALL, seed=6)
    assert not other.advance(SMALL.ends_at).equals(played(SMALL)[1])


@pytest.mark.parametrize("minutes", [60, 24 * 60, 1000])
def test_the_steps_in_which_time_advances_do_not_matter(minutes: int) -> None:
    programme, parts = Programme(SMALL), []
    while programme.advanced_to < SMALL.ends_at:
        parts.append(programme.advance(programme.advanced_to + timedelta(minutes=minutes)))
    assert pa.concat_tables(parts).equals(played(SMALL)[1])
    needs = programme.truth().tables["needs"]
    assert needs.equals(played(SMALL)[0].truth().tables["needs"])


def test_a_learner_is_the_same_in_a_larger_programme() -> None:
    few = Programme(SimulationConfig(learners=3, weeks=2, seed=5)).advance(SMALL.ends_at)
    many = played(SMALL)[1].to_pandas()
    same = many[many.user_id.isin(["learner-0001", "learner-0002", "learner-0003"])]
    pd.testing.assert_frame_equal(few.to_pandas(), same.reset_index(drop=True))


# --- what an event is


def test_events_have_the_canonical_columns() -> None:
    table = played(PLAIN)[1]
    assert table.schema.equals(SCHEMA)
    assert table["source_event_id"].null_count == 0
    assert events().source_event_id.is_unique


def test_event_types_come_from_the_closed_list_and_all_of_them_occur() -> None:
    assert set(events().event_type) == set(EVENT_TYPES)


def test_everything_happens_within_the_programme_and_is_received_after_it_happened() -> None:
    assert events().occurred_at.min() >= PLAIN.starts_at
    assert events().received_at.max() < PLAIN.ends_at
    assert (events().received_at > events().occurred_at).all()
    assert events().received_at.is_monotonic_increasing


def test_some_events_are_received_late() -> None:
    delay = (events().received_at - events().occurred_at).dt.total_seconds()
    assert 0.01 < (delay > 60).mean() < 0.03
    assert delay.max() > 6 * 3600
    punctual = Programme(SimulationConfig(learners=5, weeks=1, late_share=0.0))
    frame = punctual.advance(PLAIN.ends_at).to_pandas()
    assert (frame.received_at - frame.occurred_at).max() < pd.Timedelta(seconds=10)


def test_the_truth_is_not_among_the_events() -> None:
    secrets = {*truth("learners").learner_type, *truth("needs").reason, *truth("stops").kind}
    for name in ("event_type", "course_id", "item_id", "error_type", "actor", "attributes"):
        words = " ".join(events()[name].dropna().unique())
        assert not [secret for secret in secrets if secret in words], name


def test_answers_come_after_their_presentation_and_attempts_count_up() -> None:
    answers = of_type("item_presented", "response_submitted")
    answers = answers.sort_values(["user_id", "source_event_id"])
    is_answer = answers.event_type == "response_submitted"
    nth = is_answer.groupby((~is_answer).cumsum()).cumsum()
    assert (answers.attempt_number[is_answer] == nth[is_answer]).all()


# --- plausible in the whole


def test_between_55_and_85_percent_of_first_answers_are_right() -> None:
    first = of_type("response_submitted").query("attempt_number == 1")
    assert 0.55 < first.is_correct.astype(float).mean() < 0.85


def test_the_median_session_lasts_10_to_40_minutes() -> None:
    assert 10 < sessions().minutes.median() < 40
    assert 1.5 < len(sessions()) / PLAIN.learners / PLAIN.weeks < 5


def test_learners_work_by_day_and_each_at_their_own_hours() -> None:
    hour = sessions().started_at.dt.hour
    assert (hour < 6).mean() < 0.02
    assert hour.groupby(sessions().user_id).mean().std() > 1


def test_5_to_35_percent_stop_out_and_some_never_start() -> None:
    assert 0.05 < len(truth("stops")) / PLAIN.learners < 0.35
    assert set(truth("stops").kind) == {"gradual", "sudden"}
    never = truth("results").query("final_result == 'never_started'").user_id.nunique()
    assert 0 < never / PLAIN.learners < 0.10


def test_human_help_is_needed_in_10_to_40_percent_of_learner_weeks() -> None:
    # The alert budget of METHODS.md is 0.5 per learner-week: needs must fit into it.
    assert 0.10 < len(needy_weeks()) / PLAIN.learners / PLAIN.weeks < 0.40
    assert {"content", "confidence", "compliance"} <= set(truth("needs").kind)


def test_a_twentieth_to_a_sixth_of_skills_are_wheel_spinning() -> None:
    # Ten opportunities without three right in a row; METHODS.md measured 12.6 % in ASSISTments.
    first = of_type("response_submitted").query("attempt_number == 1").sort_values("occurred_at")
    skill = first.skill_id.str.split("~~").str[0]
    runs = first.groupby(["user_id", skill]).is_correct.apply(
        lambda right: (len(right) >= 10, right.astype(int).rolling(3).sum().max() >= 3)
    )
    assert 1 / 20 < (runs == (True, False)).mean() < 1 / 6


def test_assignments_are_handed_in_on_time_late_or_never() -> None:
    due, done = of_type("assignment_due"), of_type("assignment_submitted")
    assert 0.5 < len(done) / len(due) < 0.9
    assert 0.05 < (done.occurred_at > done.due_at).mean() < 0.4
    assert not done.duplicated(["user_id", "item_id"]).any()


def test_most_live_sessions_are_attended_and_nobody_attends_a_cancelled_one() -> None:
    booked = of_type("session_scheduled")
    booked = booked[booked.due_at < PLAIN.ends_at - timedelta(days=1)]
    attended = set(of_type("session_attended").session_id)
    cancelled = set(of_type("session_cancelled").session_id)
    assert not attended & cancelled
    assert 0.6 < booked.session_id.isin(attended).mean() < 0.95


# --- needs show in behaviour, but do not give themselves away


def test_who_lacks_a_prerequisite_answers_worse_in_an_overlapping_way() -> None:
    first = weekly(of_type("response_submitted").query("attempt_number == 1"))
    share = first.groupby(["user_id", "week"]).is_correct.mean().astype(float)
    needy = share.index.isin(needy_weeks("prerequisite_gap"))
    assert share[~needy].mean() - share[needy].mean() > 0.08
    assert share[needy].quantile(0.9) > share[~needy].quantile(0.1)


def test_who_has_lost_motivation_works_less_in_an_overlapping_way() -> None:
    counts = weekly(sessions().rename(columns={"started_at": "occurred_at"}))
    per_week = counts.groupby(["user_id", "week"]).size()
    everybody = pd.MultiIndex.from_product([truth("learners").user_id, range(PLAIN.weeks)])
    per_week = per_week.reindex(everybody, fill_value=0)
    needy = per_week.index.isin(needy_weeks("low_motivation"))
    assert per_week[needy].mean() < 0.6 * per_week[~needy].mean()
    assert per_week[needy].max() > per_week[~needy].quantile(0.25)


def test_who_believes_too_little_reports_less_confidence_in_an_overlapping_way() -> None:
    asked = weekly(of_type("check_in"))
    asked = asked[asked.attributes == '{"measure": "confidence"}']
    needy = asked.set_index(["user_id", "week"]).index.isin(needy_weeks("belief_gap"))
    assert asked[~needy].self_report.mean() - asked[needy].self_report.mean() > 0.1
    assert asked[needy].self_report.quantile(0.9) > asked[~needy].self_report.quantile(0.1)


def test_true_skill_grows_with_practice_but_not_without_the_prerequisite() -> None:
    levels = truth("skills").pivot(index=["user_id", "skill_id"], columns="date", values="skill")
    growth = levels.iloc[:, -1] - levels.iloc[:, 0]
    stuck = truth("needs").query("reason == 'prerequisite_gap'")
    stuck = (
        stuck[["user_id", "skill_id"]].drop_duplicates().set_index(["user_id", "skill_id"]).index
    )
    practised = of_type("response_submitted").query("attempt_number == 1").copy()
    practised["skill_id"] = practised.skill_id.str.split("~~").str[0]
    counts = practised.groupby(["user_id", "skill_id"]).size()
    often = counts[counts >= 10].index
    assert growth[often.difference(stuck)].median() > 1.0
    assert growth[stuck.intersection(growth.index)].median() < 0.7


# --- human help


@dataclass
class Course:
    """A programme of three weeks, its events before and after the morning of the second Tuesday."""

    programme: Programme
    before: pa.Table
    after: pd.DataFrame

    def truth(self, name: str) -> pd.DataFrame:
        return self.programme.truth().tables[name].to_pandas()


HELPED = [f"learner-{number:04d}" for number in range(1, 41, 2)]


def with_and_without_help(
    kind: str, skill_id: str | None = None, **effect: float
) -> tuple[Course, Course]:
    """The same programme without help, and with help for every second learner."""
    config = SimulationConfig(learners=40, weeks=3, seed=9, effects={kind: Effect(**effect)})
    moment = config.starts_at + timedelta(days=8, hours=7)
    courses = []
    for helped in ([], HELPED):
        programme = Programme(config)
        before = programme.advance(moment)
        for user_id in helped:
            programme.intervene(user_id, kind, moment, skill_id=skill_id)
        courses.append(Course(programme, before, programme.advance(config.ends_at).to_pandas()))
    return courses[0], courses[1]


def test_help_that_lifts_motivation_brings_more_sessions_and_changes_nobody_else() -> None:
    without, with_help = with_and_without_help("message", motivation=2.0)
    assert without.before.equals(with_help.before)
    few, many = (
        (course.after[course.after.event_type == "session_started"].user_id.isin(HELPED)).sum()
        for course in (without, with_help)
    )
    assert many > 1.3 * few
    others = [
        course.after[~course.after.user_id.isin(HELPED)].reset_index(drop=True)
        for course in (without, with_help)
    ]
    pd.testing.assert_frame_equal(*others)


def test_help_with_content_raises_the_skill_and_its_missing_prerequisites() -> None:
    courses = with_and_without_help("worked_example", "percent-change", skill=1.0, prerequisite=1.0)
    for skill_id in ("percent-change", "percent-of-a-quantity"):
        without, with_help = (
            skills[(skills.skill_id == skill_id) & (skills.date == skills.date.max())]
            .set_index("user_id")
            .skill
            for skills in (course.truth("skills") for course in courses)
        )
        gain = with_help - without
        assert gain[gain.index.isin(HELPED)].mean() > 0.2, skill_id
        assert (gain[~gain.index.isin(HELPED)] == 0).all()


def test_help_that_lifts_belief_narrows_the_gap_for_good() -> None:
    gaps = []
    for course in with_and_without_help("confidence_reset", belief=1.5):
        states = course.truth("states")
        states = states[states.user_id.isin(HELPED) & (states.date > date(2026, 1, 20))]
        gaps.append((states.competence - states.belief).mean())
    assert gaps[0] - gaps[1] > 0.3


def test_help_of_the_wrong_kind_teaches_nothing() -> None:
    without, with_help = with_and_without_help("message", "percent-change", motivation=0.0)
    assert without.truth("skills").equals(with_help.truth("skills"))


def test_a_contact_is_an_event() -> None:
    programme = Programme(SMALL)
    programme.intervene("learner-0001", "message", SMALL.starts_at + timedelta(hours=30))
    frame = programme.advance(SMALL.ends_at).to_pandas()
    sent = frame[(frame.event_type == "message_sent") & (frame.actor == "coach")]
    sent = sent[sent.attributes == '{"purpose": "message"}']
    assert list(sent.occurred_at) == [pd.Timestamp("2026-01-06T06:00Z")]
    assert programme.truth().tables["contacts"]["user_id"].to_pylist() == ["learner-0001"]


def test_repeated_contacts_within_a_week_help_half_as_much_each_time() -> None:
    programme = Programme(SMALL)
    for user_id in programme.people.user_ids:
        for day in (1, 2, 3):
            at = SMALL.starts_at + timedelta(days=day)
            programme.intervene(user_id, "message", at)
    programme.advance(SMALL.ends_at)
    contacts = programme.truth().tables["contacts"].to_pandas()
    factor = contacts.groupby(contacts["at"]).factor.mean()
    assert factor.iloc[0] > 1.4 * factor.iloc[1] > 1.8 * factor.iloc[2]


@pytest.mark.parametrize(
    ("learner", "kind", "hours", "skill_id", "says"),
    [
        ("learner-9999", "message", 48, None, "no learner 'learner-9999'"),
        ("learner-0001", "shouting", 48, None, "kind of help must be one of"),
        ("learner-0001", "message", 48, "juggling", "no skill 'juggling'"),
        ("learner-0001", "message", 12, None, "too late"),
    ],
)
def test_impossible_help_is_refused(
    learner: str, kind: str, hours: int, skill_id: str | None, says: str
) -> None:
    programme = Programme(SMALL)
    programme.advance(SMALL.starts_at + timedelta(hours=24))
    with pytest.raises(SimulationError, match=says):
        programme.intervene(
            learner, kind, SMALL.starts_at + timedelta(hours=hours), skill_id=skill_id
        )


def test_time_does_not_run_backwards() -> None:
    programme = Programme(SMALL)
    programme.advance(SMALL.starts_at + timedelta(hours=24))
    with pytest.raises(SimulationError, match="cannot go back"):
        programme.advance(SMALL.starts_at)


# --- configuration


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"learners": 0}, "learners must be a whole number from 1"),
        ({"weeks": 1.5}, "weeks must be a whole number"),
        ({"delivery": "minute"}, "delivery must be one of hour, day, single"),
        ({"late_share": 0.9}, "late_share must lie between 0 and 0.5"),
        ({"timezone": "Mars/Olympus"}, "timezone 'Mars/Olympus' is not known"),
        ({"start": "2026-01-05"}, "start must be a date"),
    ],
)
def test_a_wrong_parameter_is_named(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(TutorflowError, match=says):
        SimulationConfig(**wrong)


def test_learners_of_another_zone_work_in_their_own_afternoon() -> None:
    config = SimulationConfig(learners=30, weeks=2, timezone="Asia/Tokyo")
    frame = Programme(config).advance(config.ends_at).to_pandas()
    started = frame[frame.event_type == "session_started"].occurred_at
    assert config.starts_at == datetime(2026, 1, 4, 15, tzinfo=UTC)
    assert 12 < started.dt.tz_convert("Asia/Tokyo").dt.hour.median() < 19


def test_nothing_is_received_before_the_hour_that_is_being_played() -> None:
    # Around the change to summer time, with local wall clocks in play.
    config = SimulationConfig(
        learners=10, weeks=2, start=date(2026, 3, 23), timezone="Europe/Berlin"
    )
    programme = Programme(config)
    while programme.advanced_to < config.ends_at:
        begins = programme.advanced_to
        received = programme.advance(begins + timedelta(hours=1))["received_at"].to_pylist()
        assert all(begins <= at < programme.advanced_to for at in received)


# --- files


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulated") / "programme"
    report = simulate(SMALL, out)
    assert report.files == SMALL.hours
    assert report.events == played(SMALL)[1].num_rows
    return out


def test_each_hour_file_holds_exactly_the_events_received_in_its_hour(folder: Path) -> None:
    parts = []
    for hour in range(SMALL.hours):
        begins = SMALL.starts_at + timedelta(hours=hour)
        path = folder / "events" / f"events-{begins:%Y%m%dT%H}.parquet"
        table = pq.read_table(path)
        received = table["received_at"].to_pylist()
        assert all(begins <= at < begins + timedelta(hours=1) for at in received)
        manifest = json.loads(path.with_name(path.name + ".manifest.json").read_text())
        end = datetime.fromisoformat(manifest["complete_until"])
        assert end == begins + timedelta(hours=1)
        parts.append(table.replace_schema_metadata())
    assert pa.concat_tables(parts).equals(played(SMALL)[1])


def test_two_silent_hours_are_not_the_same_bytes(folder: Path) -> None:
    contents = [path.read_bytes() for path in (folder / "events").glob("*.parquet")]
    assert len(set(contents)) == len(contents)


@pytest.mark.parametrize(("delivery", "files"), [("day", 14), ("single", 1)])
def test_other_deliveries_hold_the_same_events(tmp_path: Path, delivery: str, files: int) -> None:
    config = SimulationConfig(learners=12, weeks=2, seed=5, delivery=delivery)
    report = simulate(config, tmp_path / "out")
    assert report.files == files
    assert read_all(tmp_path / "out").equals(played(SMALL)[1])


def read_all(out: Path) -> pa.Table:
    """The events of all files, in the order of their names."""
    paths = sorted((out / "events").glob("*.parquet"))
    return pa.concat_tables([pq.read_table(path).replace_schema_metadata() for path in paths])


def test_the_configuration_is_ready_to_run_and_does_not_lead_to_the_truth(folder: Path) -> None:
    settings = load_settings(folder)
    (source,) = settings.sources
    assert (source.name, source.namespace) == ("simulated_tutor", "programme")
    assert settings.roster_path == folder / "roster"
    assert "truth" not in source.path
    assert {path.name for path in folder.iterdir()} == {
        "events",
        "roster",
        "truth",
        "tutorflow.yml",
    }


def test_the_roster_is_one_that_the_pipeline_can_read(folder: Path) -> None:
    roster = load_roster(load_settings(folder))
    assert len(roster.learners) == SMALL.learners
    assert roster.learners.age_band.isin(["under_13", "13_17", "adult"]).all()
    assert set(roster.calendar.kind) <= {"term", "pause", "excused"}


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / "roster" / f"{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_roster_names_everything_that_occurs_in_events(folder: Path) -> None:
    frame = played(SMALL)[1].to_pandas()
    skill_ids = {row["skill_id"] for row in rows(folder, "skills")}
    assert len(skill_ids) == 24
    used = set(frame.skill_id.dropna().str.split("~~").explode())
    assert used <= skill_ids
    answered = set(frame[frame.event_type == "response_submitted"].item_id)
    assert answered <= {row["item_id"] for row in rows(folder, "items")}
    assert set(frame.user_id) <= {row["user_id"] for row in rows(folder, "learners")}
    assert set(frame.course_id) == {row["course_id"] for row in rows(folder, "courses")}
    enrolled = {(row["user_id"], row["course_id"]) for row in rows(folder, "enrolments")}
    assert set(zip(frame.user_id, frame.course_id, strict=True)) <= enrolled
    coaches = {row["coach_id"] for row in rows(folder, "coaches")}
    assert {row["coach_id"] for row in rows(folder, "caseloads")} == coaches == {"coach-01"}


def test_prerequisites_are_skills_that_come_earlier(folder: Path) -> None:
    seen: set[str] = set()
    for row in rows(folder, "skills"):
        before = set(filter(None, row["prerequisites"].split("~~")))
        assert before <= seen, row["skill_id"]
        seen.add(row["skill_id"])


def test_a_folder_that_holds_something_is_left_alone(folder: Path) -> None:
    with pytest.raises(SimulationError, match="is not empty"):
        simulate(SMALL, folder)


# --- bulk


def test_bulk_events_have_the_wanted_numbers_and_the_canonical_columns(tmp_path: Path) -> None:
    start = date(2026, 2, 2)
    report = write_bulk(
        tmp_path / "bulk", 60_000, learners=150, hours=240, start=start, last_hour_learners=40
    )
    table = read_all(tmp_path / "bulk")
    assert table.schema.equals(SCHEMA)
    frame = table.to_pandas()
    assert len(frame) == report.events == 60_000
    assert frame.source_event_id.is_unique
    assert (frame.groupby("user_id").size() == 400).all()
    assert frame.user_id.str.startswith("simulated-").all()
    assert frame.occurred_at.min() >= report.starts_at
    assert frame.occurred_at.max() < report.ends_at
    assert 0.3 < (frame.event_type == "response_submitted").mean() < 0.5
    assert load_settings(tmp_path / "bulk").sources[0].name == "simulated_bulk"


def test_the_bulk_hour_has_exactly_the_wanted_learners(tmp_path: Path) -> None:
    report = write_bulk(tmp_path / "bulk", 5_000, learners=50, hours=48, last_hour_learners=20)
    assert report.last_hour is not None
    frame = pq.read_table(report.last_hour).to_pandas()
    assert frame.user_id.nunique() == 20
    assert frame[frame.actor == "learner"].user_id.nunique() == 20
    assert (frame.occurred_at >= report.ends_at).all()
    assert (frame.occurred_at < report.ends_at + timedelta(hours=1)).all()
    history = read_all(tmp_path / "bulk").to_pandas()
    assert not set(frame.source_event_id) & set(history.source_event_id)
    assert set(frame.user_id) <= set(history.user_id)
