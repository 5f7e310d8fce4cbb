"""The nudge library: short messages the AI tutor may send by itself, checked like the policy.

A nudge answers a state that a learner enters, a tier-1 alert of a rule, or good news. It has a
purpose, an owner, a step of at most five minutes and a result by which it is measured. Its
variants (wording, timing, size of the step) are assigned by hash, so that they can be compared.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from datetime import time
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from tutorflow.errors import ConfigurationError
from tutorflow.policy.model import Policy, check_placeholders
from tutorflow.yaml_lines import YamlPath, did_you_mean, explain, load_yaml, show_path

# Nobody is nudged during a pause.
State = Literal[
    "not_started",
    "insufficient_data",
    "on_track",
    "thriving",
    "stuck",
    "drifting",
    "recovering",
]
Channel = Literal["in_app", "message"]
Share = Annotated[float, Field(ge=0, lt=1)]
Texts = dict[Annotated[str, Field(pattern=r"^[a-z]{2}$")], str]
MESSAGE_FIELDS: Mapping[str, float | str] = {"subject": "", "minutes": 5}
RESULTS = {
    "returned": "is active again",
    "answered": "answers again on their own",
    "finished_session": "finishes a session",
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _message(texts: Texts) -> Texts:
    for language, text in texts.items():
        if not text.strip():
            raise ValueError(f"the text in {language!r} is empty")
        check_placeholders(text, MESSAGE_FIELDS)
    return texts


class NudgeVariant(_Strict):
    """One way to say it: words and step by language, when, and how long the step takes."""

    at: str = "now"
    minutes: Annotated[int, Field(ge=1, le=5)]
    text: Annotated[Texts, Field(min_length=1)]
    step: Annotated[Texts, Field(min_length=1)]

    @field_validator("at")
    @classmethod
    def _time(cls, value: str) -> str:
        if value != "now" and not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
            raise ValueError(f"{value!r} is neither now nor a time of day such as 17:30")
        return value

    @field_validator("text", "step")
    @classmethod
    def _texts(cls, value: Texts) -> Texts:
        return _message(value)

    @model_validator(mode="after")
    def _same_languages(self) -> Self:
        if set(self.text) != set(self.step):
            raise ValueError("text and step must be given in the same languages")
        return self


class NudgeTrigger(_Strict):
    """What a nudge answers (exactly one kind)."""

    states: Annotated[list[State], Field(min_length=1)] | None = None
    rules: Annotated[list[str], Field(min_length=1)] | None = None
    good_news: Annotated[list[str], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if sum(value is not None for value in self.__dict__.values()) != 1:
            raise ValueError("give exactly one of states, rules, good_news")
        return self

    def answers(self, kind: str, name: str) -> bool:
        """Is ``name`` (of a state, a rule or a kind of good news) what this waits for?"""
        named = {"state": self.states, "rule": self.rules, "good_news": self.good_news}[kind]
        return named is not None and name in named


class Measure(_Strict):
    """By what a nudge is judged."""

    result: Literal["returned", "answered", "finished_session"]
    within_hours: Annotated[int, Field(ge=1, le=24 * 14)]


class Nudge(_Strict):
    """One template of the library."""

    when: NudgeTrigger
    purpose: str
    owner: Literal["ai_tutor", "tutor", "coach", "programme_staff"]
    channel: Channel
    expires_hours: Annotated[int, Field(ge=1, le=24 * 7)] = 24
    measure: Measure
    holdout_share: Share | None = None
    variants: Annotated[dict[str, NudgeVariant], Field(min_length=1)]


class QuietHours(_Strict):
    """Local times between which nothing is sent over ``channels``; may run past midnight."""

    start: time = time(20)
    end: time = time(8)
    channels: list[Channel] = ["message"]

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.start == self.end:
            raise ValueError("quiet hours must not start when they end")
        return self


class NudgeLibrary(_Strict):
    """All nudges and what holds for each of them (see the shipped ``nudges.yml``)."""

    version: str
    language: Annotated[str, Field(pattern=r"^[a-z]{2}$")]
    no_subject: Texts
    quiet_hours: QuietHours
    again_after_days: Annotated[float, Field(ge=1, le=28)]
    holdout_share: Share
    holdout_by_rule: dict[str, Share] = {}
    nudges: Annotated[dict[str, Nudge], Field(min_length=1)]
    _fingerprint: str = PrivateAttr("")

    @property
    def fingerprint(self) -> str:
        """Version and content hash."""
        return self._fingerprint

    def answer(self, kind: str, name: str) -> tuple[str, Nudge] | None:
        """The first nudge of the file that answers a trigger, with its id."""
        for nudge_id, nudge in self.nudges.items():
            if nudge.when.answers(kind, name):
                return nudge_id, nudge
        return None

    def share_held_out(self, nudge: Nudge, kind: str, name: str) -> float:
        """The nudge's own hold-out share, else that of its rule, else the library's."""
        if nudge.holdout_share is not None:
            return nudge.holdout_share
        if kind == "rule" and name in self.holdout_by_rule:
            return self.holdout_by_rule[name]
        return self.holdout_share


def load_nudges(path: Path | None, policy: Policy) -> NudgeLibrary:
    """The library in ``path`` (None: the shipped one), checked by itself and against the policy.

    Raises :class:`ConfigurationError` naming file and line of everything that is wrong. Of the
    shipped library, nudges for rules that ``policy`` does not have simply never happen.
    """
    source = path or default_nudges_path()
    data, line_of = load_yaml(source)
    try:
        library = NudgeLibrary.model_validate(data)
    except ValidationError as error:
        raise explain(error, NudgeLibrary, source, line_of) from None
    faults = [*_language_faults(library)]
    if path is not None:
        faults += _rule_faults(library, policy)
    faults += _news_faults(library, policy)
    if faults:
        told = [f"{source.name}:{line_of(at)}: {show_path(at)}: {what}" for at, what in faults]
        raise ConfigurationError("\n".join(told))
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:8]
    library._fingerprint = f"{library.version}+{digest}"
    return library


def _language_faults(library: NudgeLibrary) -> Iterator[tuple[YamlPath, str]]:
    language = library.language
    if language not in library.no_subject:
        yield ("no_subject",), f"has no text in {language!r}, the language of the library"
    for nudge_id, nudge in library.nudges.items():
        for name, variant in nudge.variants.items():
            at: YamlPath = ("nudges", nudge_id, "variants", name)
            if language not in variant.text:
                yield (*at, "text"), f"has no text in {language!r}, the language of the library"
            for other in set(variant.text) - set(library.no_subject):
                yield (*at, "text", other), f"no_subject has no text in {other!r}"


def _rule_faults(library: NudgeLibrary, policy: Policy) -> Iterator[tuple[YamlPath, str]]:
    def unknown(rule: str) -> str:
        return f"no rule is called {rule!r}{did_you_mean(rule, policy.rules, 'there are')}"

    for rule in library.holdout_by_rule:
        if rule not in policy.rules:
            yield ("holdout_by_rule", rule), unknown(rule)
    for nudge_id, nudge in library.nudges.items():
        for position, rule in enumerate(nudge.when.rules or ()):
            if rule not in policy.rules:
                yield ("nudges", nudge_id, "when", "rules", position), unknown(rule)


def _news_faults(library: NudgeLibrary, policy: Policy) -> Iterator[tuple[YamlPath, str]]:
    kinds = type(policy.good_news).model_fields
    for nudge_id, nudge in library.nudges.items():
        for position, kind in enumerate(nudge.when.good_news or ()):
            if kind not in kinds:
                hint = did_you_mean(kind, kinds, "there are")
                at: YamlPath = ("nudges", nudge_id, "when", "good_news", position)
                yield at, f"no good news is called {kind!r}{hint}"


def default_nudges_path() -> Path:
    """Where the shipped library lies."""
    return Path(str(files("tutorflow.policy").joinpath("nudges.yml")))


def filled(texts: Mapping[str, str], language: str, values: Mapping[str, Any]) -> str:
    """The text in ``language`` with its placeholders filled in."""
    return texts[language].format(**values)
