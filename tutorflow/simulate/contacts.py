"""Human contacts with learners: waiting for their hour, then changing the latent state."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tutorflow.simulate.clock import HOUR, Clock
from tutorflow.simulate.eventlog import EventLog
from tutorflow.simulate.interventions import REPEAT_FACTOR, REPEAT_WITHIN_HOURS, Effect
from tutorflow.simulate.population import Population
from tutorflow.simulate.randomness import Stream, generator, logistic
from tutorflow.simulate.state import NEVER, State


@dataclass(frozen=True, order=True)
class Contact:
    """One contact: hour of the programme in which it works, learner number, what is done."""

    hour: int
    learner: int
    kind: str
    at: datetime
    skill: int
    strength: float


class Contacts:
    """Applies contacts; `history` has one entry per contact made."""

    def __init__(
        self,
        seed: int,
        effects: Mapping[str, Effect],
        people: Population,
        state: State,
        log: EventLog,
        clock: Clock,
    ) -> None:
        self._seed, self._effects = seed, effects
        self._people, self._state, self._log, self._clock = people, state, log, clock
        self._waiting: defaultdict[int, list[Contact]] = defaultdict(list)
        self._hours_of: defaultdict[int, list[int]] = defaultdict(list)
        self.history: list[dict[str, Any]] = []

    def plan(self, contact: Contact) -> None:
        """Keep a contact until its hour."""
        self._waiting[contact.hour].append(contact)

    def play(self, hour: int) -> None:
        """Make the contacts of an hour, in an order that does not depend on who asked first."""
        for position, contact in enumerate(sorted(self._waiting.pop(hour, []))):
            step = hour * 1000 + position
            self._make(contact, generator(self._seed, Stream.INTERVENTION, contact.learner, step))

    def _make(self, contact: Contact, rng: random.Random) -> None:
        learner, state = contact.learner, self._state
        effect = self._effects[contact.kind]
        was_gone = bool(state.quit_hour[learner] != NEVER)
        earlier = self._hours_of[learner]
        repeats = sum(contact.hour - hour < REPEAT_WITHIN_HOURS for hour in earlier)
        is_reached = rng.random() < effect.reach * (0.5 if was_gone else 1.0)
        factor = contact.strength * REPEAT_FACTOR**repeats * rng.lognormvariate(0.0, 0.4)
        comes_back = rng.random() < effect.returns
        earlier.append(contact.hour)
        if is_reached:
            self._change(contact, effect, factor)
        if is_reached and was_gone and comes_back:
            state.quit_hour[learner] = state.withdraw_hour[learner] = NEVER
            state.motivation[learner] = max(float(state.motivation[learner]), -0.3)
        self._tell(contact, effect, is_reached, rng)
        self.history.append(
            {
                "user_id": self._people.user_ids[learner],
                "kind": contact.kind,
                "at": contact.at,
                "is_reached": is_reached,
                "factor": factor,
                "has_returned": is_reached and was_gone and comes_back,
            }
        )

    def _change(self, contact: Contact, effect: Effect, factor: float) -> None:
        learner, state = contact.learner, self._state
        state.motivation[learner] = min(
            3.0, float(state.motivation[learner]) + factor * effect.motivation
        )
        state.belief[learner] += factor * effect.belief
        # Half of what is gained stays: the story a learner tells of themselves has changed.
        state.belief_bias[learner] -= 0.5 * factor * effect.belief
        relieved = min(1.0, factor * effect.drift_relief)
        state.drifted[learner] *= 1.0 - relieved
        state.effort_relief[learner] = max(
            float(state.effort_relief[learner]), min(0.9, factor * effect.effort)
        )
        skill = contact.skill if contact.skill >= 0 else int(state.current_skill[learner])
        if skill < 0:
            return
        state.skill[learner, skill] += factor * effect.skill
        for before in state.prerequisites[skill]:
            if state.readiness_through(float(state.skill[learner, before])) < 0.5:
                state.skill[learner, before] += factor * effect.prerequisite

    def _tell(self, contact: Contact, effect: Effect, is_reached: bool, rng: random.Random) -> None:
        """What the platform sees of a contact."""
        learner, state = contact.learner, self._state
        course = self._people.courses[learner][0]
        attributes = '{"purpose": "' + contact.kind + '"}'
        at = max(contact.hour * HOUR, self._clock.second(contact.at))
        if effect.minutes == 0:
            self._log.add(
                learner, "message_sent", at, "coach", course=course, attributes=attributes
            )
            willing = logistic(float(state.motivation[learner]))
            if is_reached and rng.random() < 0.6 * willing:
                replied = at + rng.lognormvariate(8.0, 1.0)
                self._log.add(learner, "message_replied", replied, course=course)
        elif is_reached:
            session = f"contact-{self._people.user_ids[learner]}-{contact.hour:04d}"
            self._log.add(
                learner,
                "session_attended",
                at,
                course=course,
                session=session,
                attributes=attributes,
            )
            ends = at + effect.minutes * 60.0
            state.busy_until[learner] = max(state.busy_until[learner], ends)
            state.active_at[learner] = max(state.active_at[learner], ends)
