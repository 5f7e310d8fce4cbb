"""The configuration of one tutorflow home: `tutorflow.yml`, its keys and their defaults.

timezone: Europe/Berlin        # days and weeks are cut here; default UTC
tick: hour                     # or day
roster_path: roster            # folder of roster files, relative to this file
sources:
  - name: tutor
    path: exports/events-*.csv
    format: canonical
    timezone: Europe/Berlin    # zone of times written without an offset
"""

from __future__ import annotations

import os
import re
from collections import Counter
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from tutorflow.errors import ConfigurationError
from tutorflow.hours import Tick, parse_duration
from tutorflow.yaml_lines import did_you_mean, explain, load_yaml

CONFIG_NAME = "tutorflow.yml"

FormatName = Literal["canonical", "statistics_cloze", "oulad"]
FileType = Literal["csv", "parquet", "ndjson"]


def _zone(name: str) -> str:
    if name not in available_timezones():
        hint = did_you_mean(name, available_timezones())
        raise ValueError(f"{name!r} is not a time zone such as Europe/Berlin{hint}")
    return name


def _source_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        raise ValueError(
            f"{name!r} is not a usable name; use lower-case letters, digits, _ and -"
            " (the name becomes part of file names)"
        )
    return name


def _pattern(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groupindex
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
    if "end" not in groups:
        raise ValueError(f"{pattern!r} has no group named end; write (?P<end>...) around the time")
    return pattern


def _duration(value: Any) -> Any:
    return value if isinstance(value, timedelta) else parse_duration(str(value))


ZoneName = Annotated[str, AfterValidator(_zone)]
Duration = Annotated[timedelta, BeforeValidator(_duration)]


def _format_of(data: dict[str, Any]) -> Any:
    # imported late: tutorflow.pull needs this module, and only a source needs the formats
    from tutorflow.pull.formats import FORMATS

    return FORMATS[data["format"]]


class Source(BaseModel):
    """One place that learner events come from.

    Attributes:
        name: unique; becomes part of file names and event ids, so it should never change.
        reader: how the bytes are fetched; `files` is the one there is.
        path: a file, a folder or a glob, relative to the configuration file.
        format: what the columns mean; see tutorflow.pull.formats.
        file_type: default by suffix (.csv, .parquet, .ndjson, .jsonl, .json, each also .gz).
        timezone: the zone of times written without an offset; without it such times are refused.
        time_precision: `day` if the source knows no time of day; default: the format's.
        complete_until: how the source tells up to when it is complete. `max_event`: by its last
            event; `manifest`: by `<file>.manifest.json` with {"complete_until": ...};
            `delivered`: by the group `end` of `delivered_pattern` in the file's name.
        delivered_pattern: regular expression over the file's path within the source. Its `end`
            is a time, or a date, which means the end of that day.
        event_types: what the source delivers; default: all that the format can deliver.
        courses: the courses it delivers events of; none = all.
        retired_on: from this day on nobody waits for the source any more.
        namespace: whose user ids these are; sources and roster that share user ids share it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, AfterValidator(_source_name)]
    reader: Literal["files"] = "files"
    path: str
    format: FormatName
    file_type: FileType | None = None
    timezone: ZoneName | None = None
    time_precision: Literal["second", "day"] = Field(
        default_factory=lambda data: _format_of(data).time_precision
    )
    complete_until: Literal["max_event", "manifest", "delivered"] = "max_event"
    delivered_pattern: Annotated[str, AfterValidator(_pattern)] | None = None
    event_types: tuple[str, ...] = Field(
        default_factory=lambda data: _format_of(data).event_types, min_length=1
    )
    courses: tuple[str, ...] | None = None
    retired_on: date | None = None
    namespace: str = Field(default_factory=lambda data: data["name"], min_length=1)

    @field_validator("time_precision")
    @classmethod
    def _format_has_that_precision(cls, precision: str, info: ValidationInfo) -> str:
        known = _format_of(info.data).time_precision if "format" in info.data else precision
        if precision == "second" and known == "day":
            raise ValueError(f"{info.data['format']} knows days only; leave the key out")
        return precision

    @field_validator("event_types")
    @classmethod
    def _format_delivers_them(cls, event_types: tuple[str, ...], info: ValidationInfo) -> Any:
        known = _format_of(info.data).event_types if "format" in info.data else event_types
        for event_type in event_types:
            if event_type not in known:
                hint = did_you_mean(event_type, known, otherwise="it delivers")
                raise ValueError(f"{info.data['format']} never delivers {event_type!r}{hint}")
        return event_types

    @model_validator(mode="after")
    def _pattern_is_there_if_needed(self) -> Source:
        if self.complete_until == "delivered" and self.delivered_pattern is None:
            raise ValueError(
                "complete_until: delivered needs a delivered_pattern,"
                " such as 'events-(?P<end>[0-9-]+)[.]csv'"
            )
        return self


class Settings(BaseModel):
    """A home directory and its configuration; every path attribute is absolute.

    Attributes that are keys of `tutorflow.yml`:
        timezone: the programme's zone; days and weeks are cut in it. A change is a full rebuild.
        tick: how often is decided, `hour` or `day`.
        database_url: SQLAlchemy URL of the serving database; default SQLite in the home. The
            environment variable TUTORFLOW_DATABASE_URL wins.
        policy_path: a policy of one's own, relative to the configuration file; none = the
            shipped one.
        nudges_path: a nudge library of one's own, relative to the configuration file; none = the
            shipped one.
        roster_path: folder of roster files, relative to the configuration file; none = no roster.
        late_horizon: signals that became known later than this after the fact are only logged.
        sources: where events come from.

    Attributes that are not: `home`, `config_path`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path
    config_path: Path = Field(default_factory=lambda data: data["home"] / CONFIG_NAME)
    timezone: ZoneName = "UTC"
    tick: Tick = "hour"
    database_url: str = Field(
        default_factory=lambda data: f"sqlite:///{data['home'] / 'serving.sqlite'}", min_length=1
    )
    policy_path: Path | None = None
    nudges_path: Path | None = None
    roster_path: Path | None = None
    late_horizon: Duration = timedelta(days=7)
    sources: tuple[Source, ...] = ()

    @field_validator("home", "config_path")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.expanduser().absolute()

    @field_validator("policy_path", "nudges_path", "roster_path")
    @classmethod
    def _beside_the_configuration(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if path is None:
            return None
        return Path(info.data["config_path"]).parent / path.expanduser()

    @field_validator("sources")
    @classmethod
    def _have_unique_names(cls, sources: tuple[Source, ...]) -> tuple[Source, ...]:
        for name, times in Counter(source.name for source in sources).items():
            if times > 1:
                raise ValueError(f"the name {name!r} is given to {times} sources")
        return sources

    def source_path(self, source: Source) -> Path:
        """The source's path (which may hold glob characters), absolute."""
        return self.config_path.parent / Path(source.path).expanduser()

    @property
    def tick_length(self) -> timedelta:
        """The nominal length of a tick; days of 23 or 25 hours are in tutorflow.hours."""
        return timedelta(hours=1) if self.tick == "hour" else timedelta(days=1)

    @property
    def landing(self) -> Path:
        return self.home / "landing"

    @property
    def catalog_path(self) -> Path:
        return self.landing / "catalog.sqlite"

    @property
    def warehouse_path(self) -> Path:
        return self.home / "warehouse.duckdb"

    @property
    def identity_path(self) -> Path:
        return self.home / "identity.sqlite"

    @property
    def key_path(self) -> Path:
        return self.home / "key"

    @property
    def lock_path(self) -> Path:
        return self.home / "run.lock"

    @property
    def snapshot_path(self) -> Path:
        return self.home / "snapshot"

    @property
    def candidates_path(self) -> Path:
        return self.home / "candidates"


def load_settings(home: Path | None = None) -> Settings:
    """The settings of a home: the argument, else TUTORFLOW_HOME, else `.tutorflow`.

    The configuration is `<home>/tutorflow.yml` unless TUTORFLOW_CONFIG names another file.
    Raises ConfigurationError with file, line and key for whatever is wrong in it.
    """
    home = Path(home or os.environ.get("TUTORFLOW_HOME") or ".tutorflow").expanduser().absolute()
    path = Path(os.environ.get("TUTORFLOW_CONFIG") or home / CONFIG_NAME).expanduser().absolute()
    if not path.exists():
        raise ConfigurationError(
            f"{path} does not exist; write one (README, Configuration), or point TUTORFLOW_HOME at"
            " the folder that has it"
        )
    data, line_of = load_yaml(path)
    if not isinstance(data, dict):
        raise ConfigurationError(f"{path.name}:1: expected keys and values such as 'sources:'")
    for key in ("home", "config_path"):
        if key in data:
            raise ConfigurationError(f"{path.name}:{line_of((key,))}: {key}: unknown key")
    url = os.environ.get("TUTORFLOW_DATABASE_URL")
    try:
        return Settings.model_validate(
            {**data, "home": home, "config_path": path} | ({"database_url": url} if url else {})
        )
    except ValidationError as error:
        raise explain(error, Settings, path, line_of) from None
