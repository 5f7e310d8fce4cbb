"""All of the two real data sets through the backfill; evidence recomputed from the raw files.

The recomputation uses nothing of tutorflow but what it published: plain Python over the CSVs.
"""

import csv
import gzip
import hashlib
import hmac
import json
import os
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from flows.history import run_backfill
from tutorflow.publish import read_table
from tutorflow.settings import Settings, load_settings

SHARED = Path(os.environ.get("TUTORFLOW_SHARED_DATA", Path(__file__).parents[2] / "shared/data"))
NOW = datetime(2026, 1, 1, tzinfo=UTC)
LAST_INSTANT = timedelta(days=1) - timedelta(microseconds=1)

pytestmark = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"the real data sets are not on this machine ({SHARED})"
)


def backfilled(home: Path, source: str, every: str) -> Settings:
    home.mkdir(parents=True, exist_ok=True)
    (home / "tutorflow.yml").write_text(f"sources:\n{source}")
    settings = load_settings(home)
    report = run_backfill(settings, None, None, every, NOW)  # type: ignore[arg-type]
    assert report.state == "published", report.message
    return settings


def pseudonym(settings: Settings, namespace: str, user_id: str) -> str:
    key = settings.key_path.read_bytes().strip()
    digest = hmac.new(key, f"{namespace}\x1f{user_id}".encode(), hashlib.sha256).hexdigest()[:32]
    return "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:]))


def evidence(settings: Settings, rule: str) -> Iterator[pd.Series]:
    alerts = read_table(settings, "alerts").set_index("alert_id")
    rows = read_table(settings, "alert_evidence", {"rule_id": rule})
    assert len(rows) > 0, f"{rule} supports no alert"
    for _, row in rows.iterrows():
        row["learner_id"] = alerts.loc[row["alert_id"], "learner_id"]
        row["course_id"] = alerts.loc[row["alert_id"], "course_id"]
        yield row


# -- statistics cloze: hourly ticks -------------------------------------------------------------


@pytest.fixture(scope="module")
def cloze(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return backfilled(
        tmp_path_factory.mktemp("cloze"),
        "  - name: cloze\n"
        f"    path: {SHARED}/statistics_cloze/largerawsample.csv.gz\n"
        "    format: statistics_cloze\n"
        "    timezone: UTC\n",
        "hour",
    )


@pytest.fixture(scope="module")
def answers(cloze: Settings) -> dict[str, list[tuple[datetime, str, bool]]]:
    """learner -> (end of the trial, skill, correct), in order; study trials are no answers."""
    found = defaultdict(list)
    path = SHARED / "statistics_cloze/largerawsample.csv.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["Outcome"] in ("CORRECT", "INCORRECT"):
                at = datetime.fromisoformat(row["Time"])
                skill, right = row["KC..Cluster."], row["Outcome"] == "CORRECT"
                found[row["Anon.Student.Id"]].append((at, skill, right))
    return {
        pseudonym(cloze, "cloze", user): sorted(trials, key=lambda t: t[0])
        for user, trials in found.items()
    }


def on_skill(answers: dict[str, list[tuple[datetime, str, bool]]], row: pd.Series) -> list[bool]:
    trials = answers[row["learner_id"]]
    return [
        right for at, skill, right in trials if at <= row["fired_at"] and skill == row["subject_id"]
    ]


def test_cloze_misses_are_in_the_raw_file(cloze: Settings, answers: dict) -> None:
    for row in evidence(cloze, "repeated_misses"):
        tries = on_skill(answers, row)
        if row["window_text"] == "first tries in a row":
            run = len(tries) - max((n for n, right in enumerate(tries, 1) if right), default=0)
            assert run == row["observed"] >= row["threshold"]
        else:
            assert tries[-10:].count(False) == row["observed"] >= row["threshold"]
            assert len(tries[-10:]) == row["n"]


def test_cloze_wheel_spinning_is_in_the_raw_file(cloze: Settings, answers: dict) -> None:
    for row in evidence(cloze, "wheel_spinning"):
        tries = on_skill(answers, row)
        assert len(tries) == row["observed"] >= 10
        longest = max(len(run) for run in "".join("x" if t else " " for t in tries).split(" "))
        assert longest < 3


def test_cloze_accuracy_decline_is_in_the_raw_file(cloze: Settings, answers: dict) -> None:
    for row in evidence(cloze, "accuracy_decline"):
        right = [r for at, _, r in answers[row["learner_id"]] if at <= row["fired_at"]]
        drop = sum(right[-60:-20]) / 40 - sum(right[-20:]) / 20
        assert 100 * drop == pytest.approx(row["observed"]) and row["observed"] >= 20


# -- OULAD: daily ticks -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def oulad(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return backfilled(
        tmp_path_factory.mktemp("oulad"),
        f"  - name: oulad\n    path: {SHARED}/oulad\n    format: oulad\n    timezone: UTC\n",
        "day",
    )


def starts_on(presentation: str) -> date:
    return date(int(presentation[:4]), {"B": 2, "J": 10}[presentation[4]], 1)


def rows_of(name: str) -> Iterator[dict[str, str]]:
    path = next((SHARED / "oulad").glob(f"{name}.csv*"))
    reader = gzip.open if path.suffix == ".gz" else open
    with reader(path, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


Who = tuple[str, str]


@pytest.fixture(scope="module")
def assessments() -> dict[str, dict[str, str]]:
    return {row["id_assessment"]: row for row in rows_of("assessments")}


@pytest.fixture(scope="module")
def activity(oulad: Settings, assessments: dict) -> dict[Who, dict[date, int]]:
    """(learner, course) -> day -> clicks and submissions."""
    ids: dict[str, str] = {}
    found: dict[Who, dict[date, int]] = defaultdict(lambda: defaultdict(int))

    def add(row: dict[str, str], presentation: str, course: str, day: str, count: int) -> None:
        user = row["id_student"]
        learner = ids.setdefault(user, pseudonym(oulad, "oulad", user))
        found[learner, course][starts_on(presentation) + timedelta(days=int(day))] += count

    for row in rows_of("studentVle"):
        course = f"{row['code_module']}-{row['code_presentation']}"
        add(row, row["code_presentation"], course, row["date"], int(row["sum_click"]))
    for row in rows_of("studentAssessment"):
        about = assessments[row["id_assessment"]]
        course = f"{about['code_module']}-{about['code_presentation']}"
        if row["is_banked"] not in ("1", "True"):
            add(row, about["code_presentation"], course, row["date_submitted"], 1)
    return found


def test_oulad_inactive_learners_did_nothing(oulad: Settings, activity: dict) -> None:
    for row in evidence(oulad, "inactive"):
        last = (row["fired_at"] - timedelta(days=row["observed"])).date()
        days = activity[row["learner_id"], row["course_id"]]
        assert last in days
        silent = [last + timedelta(days=n) for n in range(1, int(row["observed"]) + 1)]
        assert not any(day in days for day in silent)
        assert row["n"] == sum(
            last + timedelta(days=int(row["observed"]) - 1 - n) in days for n in range(28)
        )


def test_oulad_activity_drops_are_in_the_clicks(oulad: Settings, activity: dict) -> None:
    for row in evidence(oulad, "activity_drop"):
        days = activity[row["learner_id"], row["course_id"]]
        end = row["fired_at"].date()
        weeks = [
            [days.get(end - timedelta(days=7 * week + n), 0) for n in range(7)] for week in range(5)
        ]
        assert all(sum(count > 0 for count in week) >= 2 for week in weeks[1:])
        before = sum(sum(week) for week in weeks[1:]) / 4
        assert sum(weeks[0]) / before == pytest.approx(row["observed"]) and row["observed"] <= 0.6


def test_oulad_first_assignments_were_missing(oulad: Settings, assessments: dict) -> None:
    submitted: dict[tuple[str, str], date] = {}
    for row in rows_of("studentAssessment"):
        about = assessments[row["id_assessment"]]
        day = starts_on(about["code_presentation"]) + timedelta(days=int(row["date_submitted"]))
        submitted[pseudonym(oulad, "oulad", row["id_student"]), row["id_assessment"]] = day
    registered = {
        (
            pseudonym(oulad, "oulad", row["id_student"]),
            f"{row['code_module']}-{row['code_presentation']}",
        ): row["date_registration"]
        for row in rows_of("studentRegistration")
    }
    for row in evidence(oulad, "first_assignment_missing"):
        about = assessments[row["subject_id"]]
        course = f"{about['code_module']}-{about['code_presentation']}"
        assert course == row["course_id"]
        due = starts_on(about["code_presentation"]) + timedelta(days=int(about["date"]))
        assert (row["fired_at"] - timedelta(days=7)).date() == due
        joined = registered[row["learner_id"], course]
        dates = [
            int(a["date"])
            for a in assessments.values()
            if f"{a['code_module']}-{a['code_presentation']}" == course and a["date"] not in "?"
        ]
        first = min(d for d in dates if joined in ("", "?") or d >= int(joined))
        assert int(about["date"]) == first
        came = submitted.get((row["learner_id"], row["subject_id"]))
        assert came is None or came > row["fired_at"].date()


def test_oulad_silence_after_a_low_score(
    oulad: Settings, activity: dict, assessments: dict
) -> None:
    scores = {
        (pseudonym(oulad, "oulad", row["id_student"]), row["id_assessment"]): row
        for row in rows_of("studentAssessment")
    }
    for row in evidence(oulad, "silent_after_low_score"):
        raw = scores[row["learner_id"], row["subject_id"]]
        assert float(raw["score"]) < 50
        presentation = assessments[row["subject_id"]]["code_presentation"]
        scored = starts_on(presentation) + timedelta(days=int(raw["date_submitted"]))
        assert (row["fired_at"] - timedelta(hours=row["observed"])).date() == scored
        days = activity[row["learner_id"], row["course_id"]]
        for n in range(1, int(row["observed"] // 24) + 1):
            assert scored + timedelta(days=n) not in days


def test_oulad_learners_who_never_started(oulad: Settings, activity: dict) -> None:
    for row in evidence(oulad, "never_started"):
        days = activity[row["learner_id"], row["course_id"]]
        assert not any(day < row["fired_at"].date() for day in days)


def test_every_alert_has_evidence_a_note_and_a_signal(oulad: Settings, cloze: Settings) -> None:
    for settings in (oulad, cloze):
        alerts, proof = read_table(settings, "alerts"), read_table(settings, "alert_evidence")
        assert set(alerts["alert_id"]) == set(proof["alert_id"])
        assert set(alerts["alert_id"]) == set(read_table(settings, "handoff_notes")["alert_id"])
        assert set(proof["signal_id"]) <= set(read_table(settings, "signals")["signal_id"])
        assert all(json.loads(ids) for ids in proof["evidence_ids"])
        assert (alerts["alert_tier"] >= 2).any()
