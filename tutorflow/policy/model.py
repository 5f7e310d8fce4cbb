"""The escalation policy: what fires, how urgent it is, who answers and by when.

A policy is one YAML file, checked completely before it is used: an unknown key, a wrong type or an
impossible threshold is an error that names the line. Rule parameters are checked against the
signature of the rule's function (:mod:`tutorflow.decide.rule`).
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Iterator, Mapping
from datetime import date, time
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

import tutorflow.decide.rules  # noqa: F401 - registers the rules
from tutorflow.decide.frames import LOOKBACK
from tutorflow.decide.rule import RULES, Rule
from tutorflow.decide.working_time import parse_workdays
from tutorflow.errors import ConfigurationError
from tutorflow.yaml_lines import YamlPath, did_you_mean, explain, load_yaml, show_path

Layer = Literal["content", "confidence", "compliance", "safety"]
Tier = Annotated[int, Field(ge=1, le=4)]
SignalTier = Annotated[int, Field(ge=0, le=4)]  # 0: only noted
Role = Literal["ai_tutor", "tutor", "coach", "adviser", "guardian", "programme_staff"]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
Cooldown = Annotated[float, Field(ge=0, le=24 * 28)]
CLOSED_BY_A_PERSON = "what is about safety is closed by a person only: by_person: true"
WITH_SESSIONS = ("responses", "steps", "learning_sessions")
WITH_ANSWERS = ("responses", "steps")
LAYERS: tuple[Layer, ...] = ("content", "confidence", "compliance", "safety")

# What sentences may name, with values to try them on.
Samples = Mapping[str, float | str]
SENTENCE_FIELDS: Samples = {
    "observed": 0.5,
    "threshold": 0.5,
    "n": 3,
    "subject": "",
    "window": "",
}
SUBJECT_FIELDS: Samples = {"subject": ""}
VALUE_FIELDS: Samples = {"value": 0.5}
GOOD_NEWS_FIELDS: Samples = {"subject": "", "count": 3}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Repeated(_Strict):
    """A level that needs its condition again: within one session, or in several sessions."""

    times_in_session: Annotated[int, Field(ge=2, le=50)] | None = None
    sessions: Annotated[int, Field(ge=2, le=50)] | None = None
    within_days: Annotated[float, Field(gt=0, le=28)] = 14

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.times_in_session is None) == (self.sessions is None):
            raise ValueError("give either times_in_session or sessions")
        return self


class Recovery(_Strict):
    """What closes an alert again (exactly one)."""

    unaided_correct: Annotated[int, Field(ge=1, le=20)] | None = None
    items_without_signal: Annotated[int, Field(ge=1, le=100)] | None = None
    worked_session: Literal[True] | None = None
    finished_session: Literal[True] | None = None
    submitted: Literal[True] | None = None
    by_person: Literal[True] | None = None
    human_contact: Literal[True] | None = None
    answered: Literal[True] | None = None
    score_below: Literal[True] | None = None

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if sum(value is not None for value in self.__dict__.values()) != 1:
            raise ValueError(
                "give exactly one of unaided_correct, items_without_signal, worked_session, "
                "finished_session, submitted, by_person, human_contact, answered, score_below"
            )
        return self

    @property
    def kind(self) -> str:
        """The name of the one thing that counts."""
        return next(name for name, value in self.__dict__.items() if value is not None)

    @property
    def times(self) -> int:
        """How often in a row it has to happen."""
        return int(getattr(self, self.kind))


class Level(_Strict):
    """One threshold of a rule and the alert tier it starts at; tier 0 is only noted."""

    alert_tier: SignalTier
    when: dict[str, Any] = {}
    repeated: Repeated | None = None
    sentence: str

    @field_validator("sentence")
    @classmethod
    def _placeholders(cls, value: str) -> str:
        return check_placeholders(value, SENTENCE_FIELDS)


class RulePolicy(_Strict):
    """One rule: its levels, its words and what it asks of a human."""

    code: str
    version: Annotated[int, Field(ge=1)] = 1
    layer: Layer
    title: str
    enabled: bool = True
    only_while_struggling: bool = False
    levels: Annotated[list[Level], Field(min_length=1)]
    recovery: Recovery | None = None
    cooldown_hours: Cooldown | None = None
    objective: str
    action: str
    minutes: Annotated[int, Field(ge=1, le=60)]

    @field_validator("objective", "action")
    @classmethod
    def _placeholders(cls, value: str) -> str:
        return check_placeholders(value, SUBJECT_FIELDS)


class Struggling(_Strict):
    """When rules marked ``only_while_struggling`` ask for a person.

    The share of right answers lies below ``accuracy_below``, over the last 20 answers and over the
    last 60 (fewer where there are fewer), of ``answers`` or more in all.
    """

    accuracy_below: Share = 0.45
    answers: Annotated[int, Field(ge=1, le=1000)] = 40


class Capacity(_Strict):
    alerts_per_coach_day: Annotated[int, Field(ge=1, le=1000)] = 8
    reserved_share_for_tier_3: Annotated[float, Field(ge=0, lt=1)] = 0.25


def _known_rule(name: str) -> str:
    if name not in RULES:
        hint = did_you_mean(name, RULES, otherwise="there are")
        raise ValueError(f"no rule is called {name!r}{hint}")
    return name


class CohortGuard(_Strict):
    """When so many learners of a course fire one rule that it is no signal of theirs."""

    share: Share = 0.25
    learners: Annotated[int, Field(ge=2)] = 20  # active on the course, at least
    hours: Annotated[float, Field(gt=0, le=168)] = 24
    active_days: Annotated[int, Field(ge=1, le=60)] = 14


class ItemGuard(_Strict):
    """When so many of the learners who met an item missed or left it that it seems broken."""

    share: Share = 0.8
    learners: Annotated[int, Field(ge=2)] = 10  # who met it, at least
    hours: Annotated[float, Field(gt=0, le=168)] = 24


class Fatigue(_Strict):
    cohort_guard: CohortGuard = CohortGuard()
    item_guard: ItemGuard = ItemGuard()
    already_on_it_hours: Annotated[float, Field(ge=0, le=336)] = 48
    fades_after_days: Annotated[float, Field(ge=1, le=28)] = 7


class HoldOut(_Strict):
    """A share of mild alerts is left out by lot for some days; a share of 0: none is.

    One lot per learner, course and round of so many days.
    """

    share: Annotated[float, Field(ge=0, le=0.5)]
    tiers: Annotated[list[int], Field(min_length=1)] = [1, 2]
    days: Annotated[float, Field(gt=0, le=28)] = 7
    round_days: Annotated[int, Field(ge=1, le=365)] = 28

    @field_validator("tiers")
    @classmethod
    def _mild(cls, value: list[int]) -> list[int]:
        if not set(value) <= {1, 2}:
            raise ValueError("only tiers 1 and 2 may be held out; what is more serious never waits")
        return value


class Pilot(_Strict):
    """Where alerts are tried out; what is not given is not restricted."""

    courses: Annotated[list[str], Field(min_length=1)] | None = None
    cohorts: Annotated[list[str], Field(min_length=1)] | None = None
    rules: (
        Annotated[list[Annotated[str, AfterValidator(_known_rule)]], Field(min_length=1)] | None
    ) = None


class Profile(NamedTuple):
    """What routing knows of a learner; ``contact_id`` is a guardian with recorded authority."""

    age_band: str | None = None
    programme: str | None = None
    contact_id: str | None = None


class Route(_Strict):
    """Who answers: the first route that fits; what it does not name fits everybody.

    ``needs_authority``: only for a learner with a guardian whose authority is recorded.
    ``escalates_to``: who is asked when it is due and nobody has taken it up.
    """

    alert_tier: Tier
    layer: Layer | None = None
    age_band: Annotated[list[str], Field(min_length=1)] | None = None
    programme: Annotated[list[str], Field(min_length=1)] | None = None
    needs_authority: bool = False
    role: Role
    channel: Literal["in_app", "message", "call", "live_session"]
    due: Annotated[str, Field(pattern=r"^(none|same day|(next session or )?\d+ hours?)$")]
    escalates_to: Role | None = None

    @field_validator("age_band", "programme", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _family_needs_authority(self) -> Self:
        if "guardian" in (self.role, self.escalates_to) and not self.needs_authority:
            raise ValueError("a guardian is asked only with needs_authority: true")
        return self

    def fits(self, layer: str, alert_tier: int, profile: Profile) -> bool:
        """Whether it answers such an alert of such a learner."""
        return (
            self.alert_tier == alert_tier
            and self.layer in (None, layer)
            and (self.age_band is None or profile.age_band in self.age_band)
            and (self.programme is None or profile.programme in self.programme)
            and (profile.contact_id is not None or not self.needs_authority)
        )


class WorkingHours(_Strict):
    workdays: str = "Mon-Fri"
    start: time = time(9)
    end: time = time(17)

    @field_validator("workdays")
    @classmethod
    def _days(cls, value: str) -> str:
        parse_workdays(value)
        return value

    @model_validator(mode="after")
    def _order(self) -> Self:
        if self.end <= self.start:
            raise ValueError("working hours must end after they start")
        return self


class PriorityWeights(_Strict):
    """Weights within a tier; they add up to 1, so that a tier always outranks the one below."""

    severity: Annotated[float, Field(ge=0, le=1)]
    agreement: Annotated[float, Field(ge=0, le=1)]
    relevance: Annotated[float, Field(ge=0, le=1)]

    @model_validator(mode="after")
    def _add_up(self) -> Self:
        total = self.severity + self.agreement + self.relevance
        if abs(total - 1) > 1e-9:
            raise ValueError(f"the weights add up to {total:g}, not 1")
        return self


class ConfidenceBand(_Strict):
    rules: Annotated[int, Field(ge=1)]
    n: Annotated[int, Field(ge=1)]


class ConfidenceBands(_Strict):
    high: ConfidenceBand
    medium: ConfidenceBand


class Thriving(_Strict):
    accuracy: Share
    responses: Annotated[int, Field(ge=1)]


class States(_Strict):
    dwell_hours: Annotated[float, Field(ge=0)]
    recovering_hours: Positive
    enough_responses: Annotated[int, Field(ge=1)]
    enough_active_days: Annotated[int, Field(ge=1)]
    thriving: Thriving


class Band(_Strict):
    """Predicted success to aim at, and between which bounds a task fits."""

    low: Share
    aim: Share
    high: Share

    @model_validator(mode="after")
    def _order(self) -> Self:
        if not self.low <= self.aim <= self.high:
            raise ValueError("low, aim and high must be in this order")
        return self


class Coefficients(_Strict):
    """Of the predicted success: a logistic, fitted once and frozen."""

    intercept: float
    item: Positive
    mastery: Positive
    wins: float
    misses: float


class Practice(_Strict):
    """What the AI tutor is told to practise next, and how hard."""

    usual: Band
    recovering: Band
    thriving: Band
    after_misses: Band
    misses_in_a_row: Annotated[int, Field(ge=1, le=10)]
    suggested_items: Annotated[int, Field(ge=1, le=20)]
    items_not_repeated: Annotated[int, Field(ge=0, le=50)]
    forgotten_below: Share
    prior_weight: Positive
    coefficients: Coefficients


class ScorePart(_Strict):
    """A part of a score: ``none`` and ``full`` are the values mapped to 0 and 1."""

    weight: Positive
    kind: Literal["leading", "lagging"]
    layer: Layer
    none: float
    full: float
    sentence: str

    @field_validator("sentence")
    @classmethod
    def _placeholders(cls, value: str) -> str:
        return check_placeholders(value, VALUE_FIELDS)

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.none == self.full:
            raise ValueError("none and full must differ")
        return self


class _Parts(_Strict):
    @model_validator(mode="after")
    def _add_up(self) -> Self:
        total = sum(part.weight for part in self.parts().values())
        if abs(total - 100) > 1e-9:
            raise ValueError(f"the weights add up to {total:g}, not 100")
        return self

    def parts(self) -> dict[str, ScorePart]:
        """name -> numbers."""
        return {name: getattr(self, name) for name in type(self).model_fields}


class Struggle(_Parts):
    errors: ScorePart
    hints: ScorePart
    pace: ScorePart
    flat_mastery: ScorePart


class Stopout(_Parts):
    recency: ScorePart
    frequency_drop: ScorePart
    attendance: ScorePart
    completion: ScorePart
    responsiveness: ScorePart
    time_to_start: ScorePart


class Scores(_Strict):
    struggle_score: Struggle
    stopout_risk: Stopout

    def by_name(self) -> dict[str, dict[str, ScorePart]]:
        """score -> part -> its numbers."""
        return {name: getattr(self, name).parts() for name in type(self).model_fields}


class MasteredAfterStruggle(_Strict):
    """A skill is mastered for the first time, after misses on it within so many days."""

    misses: Annotated[int, Field(ge=1, le=10)]
    within_days: Annotated[float, Field(gt=0, le=56)]
    sentence: str

    @field_validator("sentence")
    @classmethod
    def _placeholders(cls, value: str) -> str:
        return check_placeholders(value, GOOD_NEWS_FIELDS)


class Streak(_Strict):
    """Active days in a row: each of these numbers is news."""

    days: Annotated[list[Annotated[int, Field(ge=2, le=30)]], Field(min_length=1)]
    sentence: str

    @field_validator("sentence")
    @classmethod
    def _placeholders(cls, value: str) -> str:
        return check_placeholders(value, GOOD_NEWS_FIELDS)


class Returned(_Strict):
    """An alert about showing up closed because the learner came back."""

    sentence: str

    @field_validator("sentence")
    @classmethod
    def _placeholders(cls, value: str) -> str:
        return check_placeholders(value, GOOD_NEWS_FIELDS)


class GoodNews(_Strict):
    """What is worth a kind word; None: not told."""

    mastered_after_struggle: MasteredAfterStruggle | None = None
    streak: Streak | None = None
    returned: Returned | None = None


class Worked(_Strict):
    """Either is enough to count as work: so many answers, or so many activities of any kind."""

    responses: Annotated[int, Field(ge=1, le=1000)] = 3
    activities: Annotated[int, Field(ge=1, le=1000)] = 5


class AccuracyBack(_Strict):
    """Accuracy is back with at least so many answers, at most so many points below before."""

    responses: Annotated[int, Field(ge=1, le=1000)] = 5
    within_points: Annotated[float, Field(ge=0, le=100)] = 5


class LatencyNormal(_Strict):
    """Pace is normal: mean ln(1 + seconds) within so many standard deviations of before."""

    responses: Annotated[int, Field(ge=1, le=1000)] = 5
    z_below: Annotated[float, Field(gt=0, le=10)] = 1.0


class Outcomes(_Strict):
    """What counts as a learner having resumed after an alert or an intervention."""

    windows_hours: Annotated[list[int], Field(min_length=1)] = [72, 168]
    baseline_days: Annotated[int, Field(ge=1, le=60)] = 28
    worked: Worked = Worked()
    accuracy: AccuracyBack = AccuracyBack()
    latency: LatencyNormal = LatencyNormal()

    @field_validator("windows_hours")
    @classmethod
    def _ascending(cls, value: list[int]) -> list[int]:
        if value != sorted(set(value)) or not 1 <= value[0] <= value[-1] <= 24 * 28:
            raise ValueError("windows are hours from 1 to 672, shortest first, each once")
        return value


class Missed(_Strict):
    """A learner was missed: gone quiet, withdrawn or not passed, no alert in the days before."""

    quiet_days: Annotated[float, Field(ge=1, le=28)] = 10
    alert_within_days: Annotated[float, Field(gt=0, le=28)] = 14
    not_passed_below: Annotated[float, Field(ge=0, le=1)] = 0.4


class FollowThrough(_Strict):
    """What stands out in the audit by exception."""

    after_acknowledgement_hours: Positive = 168
    messages_in_7_days: Annotated[int, Field(ge=2, le=100)] = 4
    alerts_without_contact: Annotated[int, Field(ge=2, le=100)] = 2


class Tuning(_Strict):
    """When a rule's threshold is proposed for a change, and how far ahead it is tried."""

    precision: Share = 0.6
    judged: Annotated[int, Field(ge=1)] = 20
    not_actionable_share: Share = 0.3
    missed_learners: Annotated[int, Field(ge=1)] = 5


class Quality(_Strict):
    """How rules, people and the programme are judged."""

    days: Annotated[int, Field(ge=7, le=365)] = 84
    repeat_within_days: Annotated[float, Field(gt=0, le=28)] = 7
    missed: Missed = Missed()
    follow_through: FollowThrough = FollowThrough()
    answers_per_item: Annotated[int, Field(ge=1)] = 20
    tuning: Tuning = Tuning()


class Policy(_Strict):
    """The whole policy (see the shipped ``default.yml`` for every key in use)."""

    version: str
    effective_from: date
    rearm_after_days: Annotated[float, Field(gt=0, le=28)] = 28
    reopen_grace_hours: Annotated[float, Field(ge=0, le=24 * 14)] = 48
    mastered_at: Share = 0.95
    cooldown_hours: dict[Layer, Cooldown]
    recovery: dict[Layer, Recovery]
    struggling: Struggling = Struggling()
    capacity: Capacity
    fatigue: Fatigue = Fatigue()
    hold_out: HoldOut = HoldOut(share=0)
    pilot: Pilot = Pilot()
    routing: list[Route]
    working_hours: WorkingHours
    priority: PriorityWeights
    confidence: ConfidenceBands
    states: States
    practice: Practice
    scores: Scores
    good_news: GoodNews = GoodNews()
    outcomes: Outcomes = Outcomes()
    quality: Quality = Quality()
    rules: dict[Annotated[str, AfterValidator(_known_rule)], RulePolicy]
    _fingerprint: str = PrivateAttr("")

    @field_validator("cooldown_hours", "recovery")
    @classmethod
    def _every_layer(cls, by_layer: dict[Layer, Any]) -> dict[Layer, Any]:
        missing = [layer for layer in LAYERS if layer not in by_layer]
        if missing:
            raise ValueError(f"the layer {missing[0]} is missing")
        return by_layer

    @field_validator("routing")
    @classmethod
    def _every_route(cls, routing: list[Route]) -> list[Route]:
        for layer in LAYERS:
            for tier in (1, 2, 3, 4):
                for profile in kinds_of_learners(routing):
                    _route(routing, layer, tier, profile)
        return routing

    @property
    def fingerprint(self) -> str:
        """Version and content hash: what tables name as the policy in force."""
        return self._fingerprint

    def route(self, layer: str, alert_tier: int, profile: Profile = Profile()) -> Route:  # noqa: B008
        """The first route that fits; what a route does not name fits everybody."""
        return _route(self.routing, layer, alert_tier, profile)

    def numbers_of(self, rule: str, level: Level) -> dict[str, Any]:
        """The parameters in force: the level's own, the policy's mastery line, rule defaults."""
        parameters = RULES[rule].parameters
        given = level.when
        if "mastered_at" in parameters.json_schema()["properties"]:
            given = {"mastered_at": self.mastered_at, **given}
        numbers: dict[str, Any] = parameters.validate_python(given).model_dump()
        return numbers

    def recovery_of(self, rule: str) -> Recovery:
        """What closes a signal of this rule."""
        entry = self.rules[rule]
        return entry.recovery or self.recovery[entry.layer]

    def cooldown_of(self, rule: str) -> float:
        """Hours after an alert closed in which the same trouble opens no new one."""
        entry = self.rules[rule]
        if entry.cooldown_hours is not None:
            return entry.cooldown_hours
        return self.cooldown_hours[entry.layer]

    def enabled_rules(self) -> dict[str, tuple[Rule, RulePolicy]]:
        """name -> (function and needs, policy entry) of every enabled rule of the pilot."""
        return {
            name: (RULES[name], entry)
            for name, entry in self.rules.items()
            if entry.enabled and self.is_in_pilot(name)
        }

    def is_in_pilot(self, rule: str) -> bool:
        """Whether the pilot tries the rule; safety is no matter of trying."""
        tried = self.pilot.rules
        return tried is None or rule in tried or self.rules[rule].layer == "safety"


def kinds_of_learners(routing: list[Route]) -> list[Profile]:
    """Every kind of learner that routes tell apart, and those of whom nothing is known."""
    ages = dict.fromkeys([None, *(age for route in routing for age in route.age_band or ())])
    programmes = dict.fromkeys([None, *(one for route in routing for one in route.programme or ())])
    return [
        Profile(age, programme, contact)
        for age in ages
        for programme in programmes
        for contact in (None, "a guardian")
    ]


def _route(routing: list[Route], layer: Layer | str, alert_tier: int, profile: Profile) -> Route:
    for route in routing:
        if route.fits(layer, alert_tier, profile):
            return route
    who = [
        f"{name} {value}"
        for name, value in (("age band", profile.age_band), ("programme", profile.programme))
        if value
    ]
    if profile.contact_id is None and any(route.needs_authority for route in routing):
        who.append("no guardian with authority")
    raise ValueError(
        f"there is no route for alert tier {alert_tier} of the layer {layer}"
        + (f" ({', '.join(who)})" if who else "")
    )


def check_placeholders(text: str, samples: Samples) -> str:
    """``text`` unchanged, if it can be filled in with ``samples``; else ValueError."""
    try:
        used = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
    except ValueError as error:
        raise ValueError(f"unbalanced braces: {error}") from None
    unknown = used - set(samples)
    if unknown:
        raise ValueError(
            f"unknown placeholder {{{min(unknown)}}}; use {', '.join(sorted(samples))}"
        )
    try:
        text.format(**samples)
    except (KeyError, ValueError) as error:
        raise ValueError(f"cannot be filled in: {error}") from None
    return text


def load_policy(path: Path | None = None) -> Policy:
    """The policy in ``path`` (None: the shipped one), checked.

    Raises :class:`ConfigurationError` naming file and line of everything that is wrong.
    """
    source = path or default_policy_path()
    data, line_of = load_yaml(source)
    try:
        policy = Policy.model_validate(data)
    except ValidationError as error:
        raise explain(error, Policy, source, line_of) from None
    faults = [
        f"{source.name}:{line_of(at)}: {show_path(at)}: {message}"
        for at, message in [
            *_parameter_faults(policy),
            *_recovery_faults(policy),
            *_hold_out_faults(policy),
        ]
    ]
    if faults:
        raise ConfigurationError("\n".join(faults))
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:8]
    policy._fingerprint = f"{policy.version}+{digest}"
    return policy


def _parameter_faults(policy: Policy) -> Iterator[tuple[YamlPath, str]]:
    """Rule parameters against the signatures of the rule functions."""
    for name, entry in policy.rules.items():
        for position, level in enumerate(entry.levels):
            at: YamlPath = ("rules", name, "levels", position)
            if level.repeated is not None and RULES[name].mart not in WITH_SESSIONS:
                yield (*at, "repeated"), f"{name} looks at whole days, which have no sessions"
            elif level.repeated is not None and _reaches_too_far(RULES[name], level.repeated):
                yield (*at, "repeated"), f"{name} looks back too far for so many days"
            try:
                RULES[name].parameters.validate_python(level.when)
            except ValidationError as error:
                for detail in error.errors():
                    message = str(detail["msg"]).removeprefix("Value error, ")
                    if detail["type"] == "extra_forbidden":
                        known = RULES[name].parameters.json_schema()["properties"]
                        hint = did_you_mean(str(detail["loc"][-1]), known, otherwise="it has")
                        message = f"{name} has no such parameter{hint}"
                    yield (*at, "when", *detail["loc"]), message


def _reaches_too_far(rule: Rule, repeated: Repeated) -> bool:
    """Two spans of repetition, what the rule itself reaches back, and a day at the edge."""
    return 2 * repeated.within_days + rule.reach_days + 1 > LOOKBACK.days


def _recovery_faults(policy: Policy) -> Iterator[tuple[YamlPath, str]]:
    """Recoveries that could never happen, or that must not."""
    if policy.recovery["safety"].kind != "by_person":
        yield ("recovery", "safety"), CLOSED_BY_A_PERSON
    for name, entry in policy.rules.items():
        recovery, rule = policy.recovery_of(name), RULES[name]
        needed = {
            "unaided_correct": ("is about a skill", rule.subject == "skill"),
            "submitted": ("is about an assignment", rule.mart == "assignments"),
            "items_without_signal": (
                "looks at answers",
                rule.mart in (*WITH_ANSWERS, "check_ins"),
            ),
            "score_below": ("looks at scores", rule.mart == "score_days"),
        }
        kind, is_possible = needed.get(recovery.kind, ("", True))
        where: YamlPath = ("rules", name, *(("recovery",) if entry.recovery else ()))
        if not is_possible:
            yield where, f"{recovery.kind} closes only a rule that {kind}; {name} does not"
        elif entry.layer == "safety" and recovery.kind != "by_person":
            yield where, CLOSED_BY_A_PERSON


def _hold_out_faults(policy: Policy) -> Iterator[tuple[YamlPath, str]]:
    """Whoever is held out must be so for as long as outcomes are looked at."""
    lot, longest = policy.hold_out, policy.outcomes.windows_hours[-1]
    if lot.share and 24 * lot.days < longest:
        yield (
            ("hold_out", "days"),
            f"shorter than the longest outcome window ({longest} hours), at whose end both groups "
            "would have been told",
        )


def default_policy_path() -> Path:
    """Where the shipped policy lies."""
    return Path(str(files("tutorflow.policy").joinpath("default.yml")))
