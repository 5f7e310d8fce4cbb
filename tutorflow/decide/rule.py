"""What a rule is: one small function over a mart that says where its condition holds.

A rule function takes a frame of one mart (sorted by learner, course and time) and keyword
parameters with annotated bounds, and returns a :class:`Condition`. Its signature *is* the schema
of its policy entry: the policy file is checked against it, so a rule and its numbers cannot drift.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import ConfigDict, Field, TypeAdapter, create_model, model_validator

Count = Annotated[int, Field(ge=1, le=1000)]
Points = Annotated[float, Field(gt=0, le=100)]  # percentage points
Share = Annotated[float, Field(gt=0, lt=1)]
OfTen = Annotated[int, Field(ge=1, le=10)]
Few = Annotated[int, Field(ge=1, le=5)]
OfFive = Annotated[int, Field(ge=0, le=5)]
OfSeven = Annotated[int, Field(ge=1, le=7)]
Times = Annotated[float, Field(gt=1, le=100)]
Deviations = Annotated[float, Field(gt=0, le=10)]
Seconds = Annotated[float, Field(gt=0, le=3600)]
Minutes = Annotated[float, Field(gt=0, le=60)]
CycleDays = Annotated[int, Field(ge=1, le=7)]
# A window sees so much of the past and no more (tutorflow.decide.frames).
RecentDays = Annotated[float, Field(gt=0, le=14)]
QuietDays = Annotated[float, Field(ge=1, le=28)]
QuietHours = Annotated[float, Field(gt=0, le=24 * 28)]

Subject = Literal["skill", "item", "module", "session", "learner", "category"]


@dataclass(frozen=True)
class Condition:
    """Where a rule's condition holds, row by row.

    ``rows``      the rows judged; columns learner_id, course_id, known_at and the anchor column.
    ``holds``     boolean, same index as ``rows``: is the condition true after this row?
    ``observed``  the number that is compared; ``threshold`` what it is compared with.
    ``n``         how many observations the number rests on.
    ``window``    the span in plain words ("last 20 responses"), or such words row by row.
    ``by``        a rule fires where ``holds`` becomes true within these columns and re-arms when
                  it is false again; empty: every row where it holds fires once.
    ``evidence``  how many of the latest rows within ``by`` are the evidence (0: the anchor only).
    ``subject``   the column naming the subject; None: the learner.
    ``fired_at``  the column with the instant at which the condition was known.
    ``anchor``    the column with the id of the event that made it true.
    ``layer``     the column with the kind of difficulty where it depends on the row (null: that
                  of the policy entry).
    ``items``     which rows count for the recovery ``items_without_signal``; None: all.
    """

    rows: pd.DataFrame
    holds: pd.Series
    observed: pd.Series
    threshold: float
    n: pd.Series
    window: str | pd.Series
    by: tuple[str, ...] = ("learner_id", "course_id")
    evidence: int | pd.Series = 0
    subject: str | None = None
    fired_at: str = "known_at"
    anchor: str = "event_id"
    layer: str | None = None
    items: pd.Series | None = None


@dataclass(frozen=True)
class Rule:
    """A rule function and what it needs.

    ``mart``        the frame it reads (an attribute of :class:`tutorflow.decide.frames.Frames`).
    ``needs``       event types that must all be delivered, else it sleeps.
    ``any_of``      event types of which at least one must be delivered, else it sleeps.
    ``subject``     what it is about.
    ``is_absence``  judged by silence: it sees time only up to its feed's watermark.
    ``needs_time_of_day``  sleeps for sources that deliver whole days only.
    ``needs_core_skills``  sleeps without a roster that marks core skills.
    ``is_request``  somebody asks for a person by it: its alerts are never left out by lot.
    ``reach_days``  how far back of a row its condition may look.
    """

    name: str
    function: Callable[..., Condition]
    mart: str
    needs: tuple[str, ...]
    any_of: tuple[str, ...]
    subject: Subject
    is_absence: bool
    needs_time_of_day: bool
    needs_core_skills: bool
    is_request: bool
    reach_days: float
    parameters: TypeAdapter[Any]

    @property
    def event_types(self) -> tuple[str, ...]:
        """Every event type it reads: it sees time up to the slowest feed that has one of them."""
        return (*self.needs, *self.any_of)

    def missing(self, delivered: Collection[str]) -> list[str]:
        """What it lacks where these event types are delivered; empty: it can work."""
        lacking = [name for name in self.needs if name not in delivered]
        if self.any_of and not set(self.any_of) & set(delivered):
            lacking.append(" or ".join(self.any_of))
        return lacking

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        return (inspect.getdoc(self.function) or "").splitlines()[0]


RULES: dict[str, Rule] = {}


def rule(
    *,
    mart: str,
    needs: tuple[str, ...] = (),
    any_of: tuple[str, ...] = (),
    subject: Subject = "learner",
    is_absence: bool = False,
    needs_time_of_day: bool = False,
    needs_core_skills: bool = False,
    is_request: bool = False,
    reach_days: float = 14,
    one_of: tuple[str, ...] = (),
    at_least_one_of: tuple[str, ...] = (),
) -> Callable[[Callable[..., Condition]], Callable[..., Condition]]:
    """Register a function as the rule of its own name (see the module docstring).

    ``one_of`` names parameters of which exactly one is to be given, ``at_least_one_of`` such of
    which one or more are.
    """

    def register(function: Callable[..., Condition]) -> Callable[..., Condition]:
        name = function.__name__
        RULES[name] = Rule(
            name=name,
            function=function,
            mart=mart,
            needs=needs,
            any_of=any_of,
            subject=subject,
            is_absence=is_absence,
            needs_time_of_day=needs_time_of_day,
            needs_core_skills=needs_core_skills,
            is_request=is_request,
            reach_days=reach_days,
            parameters=TypeAdapter(parameter_model(function, one_of, at_least_one_of)),
        )
        return function

    return register


def parameter_model(
    function: Callable[..., Condition],
    one_of: tuple[str, ...] = (),
    at_least_one_of: tuple[str, ...] = (),
) -> Any:
    """A pydantic model of a rule function's keyword parameters, unknown keys forbidden."""
    hints = inspect.get_annotations(function, eval_str=True)
    fields: Mapping[str, Any] = {
        name: (hints[name], ... if p.default is p.empty else p.default)
        for name, p in inspect.signature(function).parameters.items()
        if p.kind is p.KEYWORD_ONLY
    }

    def check(model: Any) -> Any:
        given = model.model_fields_set.intersection(one_of)
        has_default = any(getattr(model, name) is not None for name in one_of)
        if len(given) > 1 or (one_of and not has_default):
            raise ValueError(f"give one of {', '.join(one_of)}")
        if at_least_one_of and not model.model_fields_set.intersection(at_least_one_of):
            raise ValueError(f"give one or more of {', '.join(at_least_one_of)}")
        return model

    return create_model(
        function.__name__,
        __config__=ConfigDict(extra="forbid"),
        __validators__={"only_one": model_validator(mode="after")(check)},  # type: ignore[dict-item]
        **fields,
    )
