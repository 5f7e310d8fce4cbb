"""The roster: everything optional, everything checked, users turned into learner ids."""

from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest

from tutorflow.errors import ConfigurationError
from tutorflow.privacy.pseudonyms import load_pseudonyms
from tutorflow.roster import ROSTER, Roster, load_roster, roster_users
from tutorflow.settings import Settings


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("TUTORFLOW_KEY", "the key of the tests")
    (tmp_path / "roster").mkdir()
    return Settings(home=tmp_path, roster_path=Path("roster"), timezone="Europe/Berlin")


def write(settings: Settings, **files: str) -> Settings:
    assert settings.roster_path is not None
    for name, text in files.items():
        (settings.roster_path / f"{name}.csv").write_text(text)
    return settings


def fault(settings: Settings, **files: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_roster(write(settings, **files))
    return str(caught.value)


def test_without_a_roster_the_frames_are_empty_and_one_coach_is_there(tmp_path: Path) -> None:
    roster = load_roster(Settings(home=tmp_path, timezone="Europe/Berlin"))
    assert roster.version is None
    for name, columns in ROSTER.items():
        frame = getattr(roster, name)
        expected = [column.in_frame for column in columns if column.name != "namespace"]
        assert list(frame.columns) == expected
        assert len(frame) == (1 if name == "coaches" else 0)
    (coach,) = roster.coaches.to_dict("records")
    assert (coach["coach_id"], coach["timezone"]) == ("default", "Europe/Berlin")
    assert pd.isna(coach["capacity_per_day"]) and pd.isna(coach["workdays"])


def test_an_empty_frame_has_the_types_of_a_full_one(settings: Settings) -> None:
    empty, full = load_roster(settings), load_roster(write(settings, **WHOLE))
    for name in ROSTER:
        pd.testing.assert_series_equal(getattr(empty, name).dtypes, getattr(full, name).dtypes)


WHOLE = {
    "learners": (
        "user_id,namespace,age_band,programme,cohort_id,is_staff,valid_from,valid_to\n"
        "ana,,13_17,after_school,c1,false,2026-01-01,2026-06-30\n"
        "tester,lms,adult,,,true,,\n"
    ),
    "guardians": "user_id,contact_id,authority,valid_to\nana,g-1,true,2026-06-30\nana,g-2,,\n",
    "coaches": (
        "coach_id,role,capacity_per_day,timezone,workdays,work_start,work_end,channel\n"
        "kim,tutor,5,America/New_York,Mon-Wed,8:30,16:00,message\n"
        "lee,,,,,,,\n"
    ),
    "caseloads": "user_id,coach_id,valid_from\nana,kim,2026-01-01T08:00:00Z\n",
    "courses": "course_id,title,starts_at,ends_at\nalgebra,Algebra,2026-01-05,2026-03-31\n",
    "skills": (
        "skill_id,title,course_id,is_core,prerequisites\n"
        "ratios,Ratios,algebra,true,fractions~~division\nfractions,,,,\ndivision,,,,\n"
    ),
    "items": "item_id,title,skill_id\ni1,Item 1,ratios~~fractions\n",
    "enrolments": "user_id,course_id,cohort_id,enrolled_at\nana,algebra,c1,2026-01-07\n",
    "calendar": (
        "kind,user_id,course_id,starts_at,ends_at,note\n"
        "pause,,,2026-02-02,2026-02-06,winter break\n"
        "excused,ana,algebra,2026-02-10T09:00,2026-02-10T12:00,\n"
    ),
}


@pytest.fixture
def roster(settings: Settings) -> Roster:
    return load_roster(write(settings, **WHOLE))


def test_users_are_learners_in_their_namespace(settings: Settings, roster: Roster) -> None:
    pseudonyms = load_pseudonyms(settings)
    ana, tester = pseudonyms.of("programme", "ana"), pseudonyms.of("lms", "tester")
    assert roster.learners["learner_id"].tolist() == [ana, tester]
    assert roster.caseloads["learner_id"].tolist() == [ana]
    assert roster.enrolments["learner_id"].tolist() == [ana]
    assert roster.calendar["learner_id"].isna().tolist() == [True, False]
    assert roster.learners["is_staff"].tolist() == [False, True]
    assert roster_users(settings) == {"programme": {"ana"}, "lms": {"tester"}}


def test_a_date_starts_or_ends_with_its_day_in_the_programme_zone(roster: Roster) -> None:
    learner = roster.learners.iloc[0]
    assert learner["valid_from"] == datetime(2025, 12, 31, 23)
    assert learner["valid_to"] == datetime(2026, 6, 30, 22)
    assert roster.learners["valid_to"].isna().tolist() == [False, True]
    pause, excused = roster.calendar.to_dict("records")
    assert (pause["starts_at"], pause["ends_at"]) == (
        datetime(2026, 2, 1, 23),
        datetime(2026, 2, 6, 23),
    )
    assert excused["ends_at"] == datetime(2026, 2, 10, 11)
    assert roster.caseloads["valid_from"].tolist() == [datetime(2026, 1, 1, 8)]


def test_what_a_coach_s_row_leaves_open_is_the_policy_s(roster: Roster) -> None:
    kim, lee = roster.coaches.to_dict("records")
    assert kim["capacity_per_day"] == 5
    assert (kim["timezone"], kim["workdays"]) == ("America/New_York", "Mon-Wed")
    assert (kim["work_start"], kim["work_end"]) == ("08:30", "16:00")
    assert lee["timezone"] == "Europe/Berlin"
    assert all(pd.isna(lee[name]) for name in ("role", "capacity_per_day", "workdays", "work_end"))


def test_a_guardian_has_authority_only_where_it_is_recorded(roster: Roster) -> None:
    assert roster.guardians["contact_id"].tolist() == ["g-1", "g-2"]
    assert roster.guardians["authority"].tolist() == [True, False]
    assert roster.guardians["valid_to"].tolist()[0] == datetime(2026, 6, 30, 22)


def test_prerequisites_are_lists_of_skills(roster: Roster) -> None:
    assert roster.skills["prerequisites"].tolist() == [("fractions", "division"), (), ()]
    assert roster.skills["is_core"].tolist() == [True, False, False]


def test_the_version_follows_the_content(settings: Settings, roster: Roster) -> None:
    assert roster.version == load_roster(settings).version
    changed = load_roster(write(settings, aliases="namespace,user_id,person_id\nlms,ana,p1\n"))
    assert changed.version != roster.version


def test_an_alias_joins_the_roster_to_the_events(settings: Settings) -> None:
    roster = load_roster(
        write(
            settings,
            aliases="namespace,user_id,person_id\nlms,ana@example.org,p1\nprogramme,ana,p1\n",
            learners="user_id\nana\n",
        )
    )
    events_id = load_pseudonyms(settings).of("lms", "ana@example.org")
    assert roster.learners["learner_id"].tolist() == [events_id]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"learners": "id\nana\n"},
            "learners.csv:1: the column 'user_id' is missing; there are id",
        ),
        (
            {"learners": "user_id,cohort\nana,c\n"},
            "learners.csv:1: unknown column 'cohort'; did you mean 'cohort_id'?",
        ),
        ({"learners": "user_id,user_id\n"}, "learners.csv:1: the column 'user_id' is there twice"),
        (
            {"learners": "user_id,is_staff\n\nana,true\n,true\n"},
            "learners.csv:4: user_id: is missing; every row needs it",
        ),
        (
            {"learners": "user_id,is_staff\nana,perhaps\n"},
            "learners.csv:2: is_staff: 'perhaps' is neither true nor false",
        ),
        (
            {"learners": "user_id,is_staff\nana\n"},
            "learners.csv:2: 1 values where the header names 2 columns",
        ),
        (
            {"learners": 'user_id,programme\n"an\na",x\nben,"open\n'},
            "learners.csv:4: not readable as CSV",
        ),
        ({"learners": ""}, "learners.csv is empty; it needs a header with user_id"),
        (
            {"learners": "user_id,valid_from\nana,soon\n"},
            "learners.csv:2: valid_from: 'soon' is not a time",
        ),
        (
            {"learners": "user_id,valid_from,valid_to\nana,2026-03-01,2026-02-01\n"},
            "learners.csv:2: valid_to: not after valid_from",
        ),
        (
            {"coaches": "coach_id\nkim\nlee\nkim\n"},
            "coaches.csv:4: coach_id: 'kim' is already on line 2",
        ),
        (
            {"coaches": "coach_id,capacity_per_day\nkim,-1\n"},
            "coaches.csv:2: capacity_per_day: '-1' is not a whole number",
        ),
        (
            {"coaches": "coach_id,timezone\nkim,Europe/Berlim\n"},
            "coaches.csv:2: timezone: 'Europe/Berlim' is not a time zone such as Europe/Berlin;"
            " did you mean 'Europe/Berlin'?",
        ),
        (
            {"coaches": "coach_id,workdays\nkim,Monday\n"},
            "coaches.csv:2: workdays: 'Monday' are no workdays; write them like Mon-Fri",
        ),
        (
            {"coaches": "coach_id,work_start\nkim,9am\n"},
            "coaches.csv:2: work_start: '9am' is not a time of day such as 09:00",
        ),
        (
            {"coaches": "coach_id,work_start,work_end\nkim,17:00,9:00\n"},
            "coaches.csv:2: work_end: not after work_start",
        ),
        (
            {"coaches": "coach_id\nkim\n", "caseloads": "user_id,coach_id\nana,kym\n"},
            "caseloads.csv:2: coach_id: 'kym' is not in coaches.csv; did you mean 'kim'?",
        ),
        (
            {"skills": "skill_id\nratios\n", "items": "item_id,skill_id\ni1,ratio\n"},
            "items.csv:2: skill_id: 'ratio' is not in skills.csv; did you mean 'ratios'?",
        ),
        (
            {"skills": "skill_id,prerequisites\na,b\nb,a\n"},
            "skills.csv: skills require each other: ",
        ),
        (
            {"calendar": "kind,starts_at,ends_at\nholiday,2026-01-01,2026-01-02\n"},
            "calendar.csv:2: kind: 'holiday' is not a kind of calendar entry; kinds are: excused,"
            " pause, term",
        ),
        (
            {"calendar": "kind,starts_at,ends_at\nexcused,2026-01-01,2026-01-02\n"},
            "calendar.csv:2: user_id: is missing; an excuse is one learner's",
        ),
        ({"learner": "user_id\nana\n"}, "learner.csv; did you mean 'learners'?"),
    ],
)
def test_a_fault_names_file_line_and_column(
    settings: Settings, files: dict[str, str], said: str
) -> None:
    assert said in fault(settings, **files)


def test_a_file_in_another_encoding_is_said_so(settings: Settings) -> None:
    assert settings.roster_path is not None
    (settings.roster_path / "learners.csv").write_bytes("user_id\nZoë\n".encode("latin-1"))
    assert fault(settings) == "learners.csv is not UTF-8 text; save it as UTF-8"


def test_an_absent_folder_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"roster_path: the folder .* does not exist"):
        load_roster(Settings(home=tmp_path, roster_path=Path("nowhere")))


def test_further_columns_and_files_are_left_alone(settings: Settings) -> None:
    roster = load_roster(
        write(settings, learners="user_id;shoe size\nana;38\n", notes="anything\n")
    )
    assert len(roster.learners) == 1


def test_every_column_is_described() -> None:
    assert all(column.description for columns in ROSTER.values() for column in columns)
