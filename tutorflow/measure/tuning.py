"""Proposals for thresholds: what to change, why, what it would do, as a diff a person accepts.

A rule that is often judged wrong, or whose trouble mostly goes away by itself, is tried one step
stricter; one that came nearest to many missed learners, one step looser. Each step is tried on the
marts: the rule is evaluated again over the past weeks, and every signal gets the label of its
learner's longest outcome window. Where no step makes a rule right more often, the proposal is to
switch it off. Nothing is ever applied; `tutorflow rehearse` shows the alerts that a changed policy
would have led to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pandas as pd

from tutorflow.decide.frames import Frames, load_frames, rows_of
from tutorflow.decide.rule import RULES
from tutorflow.decide.signals import find
from tutorflow.decide.surroundings import FAR_PAST
from tutorflow.errors import TutorflowError
from tutorflow.hours import to_naive_utc
from tutorflow.measure.estimates import share_interval
from tutorflow.measure.outcomes import label_spans, span_frame
from tutorflow.measure.policy_diffs import Key, number_changed, switched_off
from tutorflow.measure.quality import REAL_TROUBLE
from tutorflow.policy import Policy, load_policy
from tutorflow.policy.model import Level, Tuning
from tutorflow.publish import last_committed_tick, read_table
from tutorflow.roster import Roster, core_skills_of, load_roster
from tutorflow.settings import Settings
from tutorflow.warehouse import open_warehouse

TRIED_OVER = timedelta(days=28)
JUST_AFTER = timedelta(microseconds=1)
MOST_MORE = 1.5  # a looser threshold may cost at most so many times the signals
LEAST_PRECISION_LOST = 0.05
ENABLED = "enabled"  # the parameter of a proposal to switch a rule off


@dataclass(frozen=True)
class Asked:
    """What a rule asks for: to fire less rather than more often, and why.

    `right_at_most`: the upper end of its precision, where all of that lies below the line.
    """

    is_stricter: bool
    reason: str
    right_at_most: float | None = None


@dataclass(frozen=True)
class Effect:
    """What a threshold would have done: signals, and how many of those judged were real trouble.

    `missed_reached`: missed learners who would have had a signal in the days before they ended.
    """

    signals: int
    judged: int
    real: int
    missed_reached: int

    @property
    def precision(self) -> float | None:
        """The share of real trouble; None when nothing can be judged."""
        return self.real / self.judged if self.judged else None

    def in_words(self) -> str:
        """The effect for people."""
        low, high = share_interval(self.real, self.judged)
        told = "no outcome known"
        if self.judged:
            told = f"{self.real / self.judged:.0%} real trouble ({low:.0%} to {high:.0%})"
        return f"{self.signals} signals, {told}, {self.missed_reached} missed learners reached"


@dataclass(frozen=True)
class Proposal:
    """One threshold to change, or a rule to switch off (`parameter` is ENABLED, `new` is 0).

    Why, what it does, and the change as a diff of the policy file.
    """

    rule: str
    parameter: str
    old: float
    new: float
    reason: str
    before: Effect
    after: Effect
    diff: str

    def as_text(self) -> str:
        """The proposal as a person reads it."""
        now = f"  now:  {self.before.in_words()}\n"
        if self.parameter == ENABLED:
            tried = "No step of its numbers makes it right more often."
            return f"{self.rule}: switch it off. {self.reason} {tried}\n{now}\n{self.diff}"
        return (
            f"{self.rule}: {self.parameter} {self.old:g} -> {self.new:g}. {self.reason}\n{now}"
            f"  then: {self.after.in_words()}\n\n{self.diff}"
        )


def proposals(settings: Settings) -> list[Proposal]:
    """The proposals for the policy in force, the rule that is surest to be wrong first.

    Empty when nothing asks for a change.

    Raises TutorflowError before the first publish.
    """
    last = last_committed_tick(settings)
    if last is None:
        raise TutorflowError(
            "nothing has been decided yet; `tutorflow run` or `tutorflow backfill`"
        )
    policy = load_policy(settings.policy_path)
    wanted = asked_for(read_table(settings, "rule_quality"), policy.quality.tuning)
    wanted = {name: why for name, why in wanted.items() if name in policy.enabled_rules()}
    if not wanted:
        return []
    end = to_naive_utc(last) - timedelta(hours=policy.outcomes.windows_hours[-1])
    missed = read_table(settings, "missed_learners", lambda t: t.c.ended_at > end - TRIED_OVER)
    with open_warehouse(settings, read_only=False) as warehouse:
        roster = load_roster(settings)
        frames = _frames(warehouse, settings, roster, end)
        trial = Trial(warehouse, frames, policy, missed, end - TRIED_OVER, end)
        found = [trial.best(settings, name, asked) for name, asked in wanted.items()]
    return [proposal for proposal in found if proposal is not None]


def asked_for(quality: pd.DataFrame, limits: Tuning) -> dict[str, Asked]:
    """What every rule that asks for a change asks for; the surest to be wrong first."""
    found = {row.rule_id: _asked(row, limits) for row in rows_of(quality)}
    wanted = [(name, asked) for name, asked in found.items() if asked is not None]
    return dict(sorted(wanted, key=lambda one: (_or_one(one[1].right_at_most), one[0])))


def _or_one(share: float | None) -> float:
    return 1.0 if share is None else share


def _asked(row: Any, limits: Tuning) -> Asked | None:
    by_verdict, by_outcome = row.verdict_count, row.outcome_count
    if by_verdict >= limits.judged and row.verdict_precision_high < limits.precision:
        reason = f"Coaches found {row.verdict_precision:.0%} of {by_verdict} alerts right."
        return Asked(True, reason, row.verdict_precision_high)
    if by_verdict >= limits.judged and row.not_actionable_share > limits.not_actionable_share:
        share = row.not_actionable_share
        return Asked(True, f"{share:.0%} of {by_verdict} alerts left nothing to do.")
    if by_outcome >= limits.judged and row.outcome_precision_high < limits.precision:
        share = 1 - row.outcome_precision
        reason = f"{share:.0%} of {by_outcome} learners resumed by themselves."
        return Asked(True, reason, row.outcome_precision_high)
    if row.missed_count >= limits.missed_learners:
        reason = f"It came nearest to {row.missed_count} learners whom no alert preceded."
        return Asked(False, reason)
    return None


def _frames(
    warehouse: duckdb.DuckDBPyConnection, settings: Settings, roster: Roster, end: datetime
) -> Frames:
    enrolled = roster.enrolments[roster.enrolments["enrolled_at"].notna()]
    return load_frames(
        warehouse,
        None,
        end - TRIED_OVER,
        end,
        settings.timezone,
        enrolled.rename(columns={"enrolled_at": "starts_at"}),
        FAR_PAST,
        core_skills_of(roster),
    )


@dataclass(frozen=True)
class Trial:
    """The past weeks, on which steps are tried: [start, end) of which every outcome is known."""

    warehouse: duckdb.DuckDBPyConnection
    frames: Frames
    policy: Policy
    missed: pd.DataFrame
    start: datetime
    end: datetime

    def best(self, settings: Settings, name: str, asked: Asked) -> Proposal | None:
        """The step that helps most; None when none does what is asked.

        A rule that is wrong too often, and that no step makes right more often, may be switched
        off; not one by which somebody asks for help, nor what is about safety.
        """
        before = self.effect(self.policy, name)
        chosen: tuple[float, Key, float, Effect] | None = None
        for key, new in steps(self.policy, name):
            after = self.effect(changed(self.policy, key, new), name)
            gain = _gain(before, after, asked.is_stricter)
            if gain is not None and (chosen is None or gain > chosen[0]):
                chosen = (gain, key, new, after)
        if chosen is None:
            if asked.right_at_most is None or not _may_be_off(self.policy, name):
                return None
            off, diff = Effect(0, 0, 0, 0), switched_off(settings, name)
            return Proposal(name, ENABLED, 1, 0, asked.reason, before, off, diff)
        _, key, new, after = chosen
        old = float(self.policy.rules[name].levels[key[1]].when[key[2]])
        diff = number_changed(settings, key, new)
        return Proposal(name, key[2], old, new, asked.reason, before, after, diff)

    def effect(self, policy: Policy, name: str) -> Effect:
        """What the rule does under a policy."""
        alone = policy.model_copy(update={"rules": {name: policy.rules[name]}})
        found = find(
            self.frames, alone, pd.Timestamp(self.start), pd.Timestamp(self.end), {}
        ).signals
        window = timedelta(hours=policy.outcomes.windows_hours[-1])
        spans = span_frame(
            found.assign(
                span_id=found["signal_id"],
                starts_at=found["fired_at"] + JUST_AFTER,  # its own event is no return
                ends_at=found["fired_at"] + window,
            )
        )
        labels = label_spans(self.warehouse, spans, found, policy.outcomes)["label"]
        real = int(labels.isin(REAL_TROUBLE).sum())
        return Effect(len(found), len(labels), real, self._reached(found))

    def _reached(self, signals: pd.DataFrame) -> int:
        within = pd.Timedelta(days=self.policy.quality.missed.alert_within_days)
        both = self.missed[["learner_id", "course_id", "ended_at"]].merge(
            signals[["learner_id", "course_id", "fired_at"]]
        )
        lead = both["ended_at"] - both["fired_at"]
        near = both[(lead >= pd.Timedelta(0)) & (lead <= within)]
        return len(near.drop_duplicates(["learner_id", "course_id", "ended_at"]))


def _gain(before: Effect, after: Effect, is_stricter: bool) -> float | None:
    """How much a step helps; None when it does not do what is asked."""
    if before.precision is None or after.precision is None:
        return None
    if is_stricter:
        helps = after.signals < before.signals and after.precision > before.precision
        return after.precision - before.precision if helps else None
    is_affordable = after.signals <= MOST_MORE * max(before.signals, 1)
    is_precise = after.precision >= before.precision - LEAST_PRECISION_LOST
    reached = after.missed_reached - before.missed_reached
    return float(reached) if reached > 0 and is_affordable and is_precise else None


def _may_be_off(policy: Policy, name: str) -> bool:
    return policy.rules[name].layer != "safety" and not RULES[name].is_request


# -- steps -----------------------------------------------------------------------------------------


def steps(policy: Policy, name: str) -> Iterator[tuple[Key, float]]:
    """One step up and one down for every number of the rule's levels that its bounds allow."""
    for position, level in enumerate(policy.rules[name].levels):
        for parameter, value in level.when.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            size = 1 if isinstance(value, int) else round(0.1 * abs(value), 3)
            for new in (value - size, value + size):
                rounded = new if isinstance(value, int) else round(new, 3)
                if size and _is_allowed(name, {**level.when, parameter: rounded}):
                    yield (name, position, parameter), rounded


def _is_allowed(name: str, when: Mapping[str, Any]) -> bool:
    try:
        RULES[name].parameters.validate_python(dict(when))
    except ValueError:
        return False
    return True


def changed(policy: Policy, key: Key, new: float) -> Policy:
    """The policy with one number changed."""
    name, position, parameter = key
    entry = policy.rules[name]
    levels = list(entry.levels)
    level: Level = levels[position]
    levels[position] = level.model_copy(update={"when": {**level.when, parameter: new}})
    rules = {**policy.rules, name: entry.model_copy(update={"levels": levels})}
    return policy.model_copy(update={"rules": rules})
