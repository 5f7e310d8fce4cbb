"""`tutorflow.yml`: defaults, and errors that name the file, the line and the key."""

from datetime import date, timedelta
from pathlib import Path
from typing import get_args

import pytest

from tutorflow.errors import ConfigurationError
from tutorflow.pull.formats import EVENT_TYPES, FORMATS
from tutorflow.settings import FormatName, Settings, Source, load_settings
from tutorflow.yaml_lines import load_yaml, show_path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("TUTORFLOW_HOME", "TUTORFLOW_CONFIG", "TUTORFLOW_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def configure(home: Path, text: str) -> Settings:
    (home / "tutorflow.yml").write_text(text)
    return load_settings(home)


def fault(home: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        configure(home, text)
    return str(caught.value)


ONE_SOURCE = """\
sources:
  - name: tutor
    path: events
    format: canonical
"""


def test_an_empty_file_means_the_defaults(home: Path) -> None:
    settings = configure(home, "")
    assert (settings.timezone, settings.tick, settings.sources) == ("UTC", "hour", ())
    assert settings.late_horizon == timedelta(days=7)
    assert settings.tick_length == timedelta(hours=1)
    assert settings.database_url == f"sqlite:///{home / 'serving.sqlite'}"
    assert settings.policy_path is None and settings.roster_path is None
    assert settings.catalog_path == home / "landing" / "catalog.sqlite"


def test_a_source_needs_a_name_a_path_and_a_format(home: Path) -> None:
    (source,) = configure(home, ONE_SOURCE).sources
    assert (source.reader, source.file_type, source.timezone) == ("files", None, None)
    assert (source.namespace, source.complete_until) == ("tutor", "max_event")
    assert source.event_types == EVENT_TYPES
    assert source.courses is None and source.retired_on is None


def test_every_key_of_a_source_is_taken(home: Path) -> None:
    (source,) = configure(
        home,
        """
sources:
  - name: tutor
    reader: files
    path: events
    format: canonical
    file_type: csv
    timezone: Europe/Berlin
    time_precision: day
    complete_until: delivered
    delivered_pattern: 'events-(?P<end>[0-9-]+)[.]csv'
    event_types: [check_in]
    courses: [algebra]
    retired_on: 2026-03-01
    namespace: school
""",
    ).sources
    assert source.event_types == ("check_in",)
    assert source.retired_on == date(2026, 3, 1)
    assert (source.time_precision, source.namespace) == ("day", "school")


def test_a_format_of_days_has_the_precision_of_days() -> None:
    assert Source(name="a", path="a", format="oulad").time_precision == "day"
    assert Source(name="a", path="a", format="canonical").time_precision == "second"


def test_paths_are_relative_to_the_configuration(home: Path, tmp_path: Path) -> None:
    settings = configure(home, ONE_SOURCE + "roster_path: roster\npolicy_path: /etc/policy.yml\n")
    assert settings.roster_path == home / "roster"
    assert settings.policy_path == Path("/etc/policy.yml")
    assert settings.source_path(settings.sources[0]) == home / "events"


def test_the_environment_points_at_home_configuration_and_database(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = home / "etc"
    elsewhere.mkdir()
    (elsewhere / "conf.yml").write_text("database_url: sqlite:///a.sqlite\nroster_path: r\n")
    monkeypatch.setenv("TUTORFLOW_HOME", str(home / "data"))
    monkeypatch.setenv("TUTORFLOW_CONFIG", str(elsewhere / "conf.yml"))
    settings = load_settings()
    assert (settings.home, settings.roster_path) == (home / "data", elsewhere / "r")
    assert settings.database_url == "sqlite:///a.sqlite"
    monkeypatch.setenv("TUTORFLOW_DATABASE_URL", "postgresql://db/tutorflow")
    assert load_settings().database_url == "postgresql://db/tutorflow"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            ONE_SOURCE.replace("format", "formt"),
            "tutorflow.yml:4: sources[0].formt: unknown key; did you mean 'format'?",
        ),
        (
            ONE_SOURCE.replace("format: canonical\n", ""),
            "tutorflow.yml:2: sources[0].format: is missing; this key is required",
        ),
        (
            ONE_SOURCE.replace("canonical", "canonicl"),
            "tutorflow.yml:4: sources[0].format: Input should be 'canonical', 'statistics_cloze'"
            " or 'oulad', not 'canonicl'; did you mean 'canonical'?",
        ),
        (
            "timezone: Europe/Berlni",
            "tutorflow.yml:1: timezone: 'Europe/Berlni' is not a time zone such as Europe/Berlin;"
            " did you mean 'Europe/Berlin'?",
        ),
        (
            "\ntick: minute",
            "tutorflow.yml:2: tick: Input should be 'hour' or 'day', not 'minute'",
        ),
        (
            ONE_SOURCE.replace("tutor", "The Tutor"),
            "tutorflow.yml:2: sources[0].name: 'The Tutor' is not a usable name",
        ),
        (
            ONE_SOURCE.replace("path: events", "path: 5"),
            "tutorflow.yml:3: sources[0].path: Input should be a valid string, not 5",
        ),
        (
            ONE_SOURCE + "    event_types: [response_submited]\n",
            "tutorflow.yml:5: sources[0].event_types: canonical never delivers"
            " 'response_submited'; did you mean 'response_submitted'?",
        ),
        (
            ONE_SOURCE.replace("canonical", "oulad") + "    time_precision: second\n",
            "tutorflow.yml:5: sources[0].time_precision: oulad knows days only",
        ),
        (
            ONE_SOURCE + "    complete_until: delivered\n",
            "tutorflow.yml:2: sources[0]: complete_until: delivered needs a delivered_pattern",
        ),
        (
            ONE_SOURCE + "    delivered_pattern: 'x(.*)'\n",
            "tutorflow.yml:5: sources[0].delivered_pattern: 'x(.*)' has no group named end",
        ),
        (
            ONE_SOURCE + "    delivered_pattern: '(?P<end'\n",
            "tutorflow.yml:5: sources[0].delivered_pattern: '(?P<end' is not a regular expression",
        ),
        (
            ONE_SOURCE + ONE_SOURCE.removeprefix("sources:\n"),
            "tutorflow.yml:1: sources: the name 'tutor' is given to 2 sources",
        ),
        ("late_horizon: 7", "tutorflow.yml:1: late_horizon: '7' is not a length of time"),
        ("late_horizon: 7 dais", "tutorflow.yml:1: late_horizon: '7 dais' is not a length of time"),
        ("home: /tmp", "tutorflow.yml:1: home: unknown key"),
        ("- a\n- b", "tutorflow.yml:1: expected keys and values"),
        ("a: [1", "tutorflow.yml:1: not valid YAML"),
        ("tick: hour\n\ntick: day", "tutorflow.yml:3: tick: key given twice"),
    ],
)
def test_a_fault_names_file_line_and_key(home: Path, text: str, said: str) -> None:
    assert said in fault(home, text)


def test_every_fault_is_listed_in_order_of_lines(home: Path) -> None:
    said = fault(home, "tick: x\nroster: y\ntimezone: z\n").splitlines()
    assert [line.split(": ")[0] for line in said] == [f"tutorflow.yml:{n}" for n in (1, 2, 3)]


def test_an_absent_configuration_says_what_to_do(home: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"tutorflow\.yml does not exist; write one"):
        load_settings(home)


def test_the_formats_that_can_be_named_are_those_that_there_are() -> None:
    assert set(get_args(FormatName)) == set(FORMATS)
    for format_ in FORMATS.values():
        assert set(format_.event_types) <= set(EVENT_TYPES)


def test_every_value_of_a_yaml_file_has_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.yml"
    path.write_text("a:\n  - b: 1\n    c:\n      d: [x,\n        y]\n")
    data, line_of = load_yaml(path)
    assert data == {"a": [{"b": 1, "c": {"d": ["x", "y"]}}]}
    assert line_of(("a",)) == 1
    assert line_of(("a", 0, "b")) == 2
    assert line_of(("a", 0, "c", "d")) == 4
    assert line_of(("a", 0, "c", "d", 1)) == 5
    assert line_of(("a", 0, "missing")) == 2
    assert show_path(("a", 0, "c")) == "a[0].c"


def test_yaml_surprises_nobody(tmp_path: Path) -> None:
    path = tmp_path / "a.yml"
    path.write_text("a: no\nb: 10:30\non: true\nc: 1.5\nd: 010\ne: null\nf: 2026-03-01\ng: -3\n")
    data, _ = load_yaml(path)
    assert data == {
        "a": "no",
        "b": "10:30",
        "on": True,
        "c": 1.5,
        "d": "010",
        "e": None,
        "f": date(2026, 3, 1),
        "g": -3,
    }
