"""What goes on in a learner during one session: knowing, doubting, tiring, learning.

An answer is right with the item response probability
``guess + (1 - guess - slip) * logistic(1.4 * (skill - penalty - difficulty))``, where the penalty
grows as readiness (the prerequisites) falls. A finished item adds
``learning * readiness * room * quality`` logits to the skill: practice hardly teaches who lacks the
prerequisites, and a rapid guess or an answer given away teaches little or nothing.
"""

from __future__ import annotations

import math
import random

from tutorflow.simulate.curriculum import Item
from tutorflow.simulate.population import Population
from tutorflow.simulate.randomness import logistic
from tutorflow.simulate.state import MISSING_PREREQUISITE_PENALTY, SKILL_CEILING, State
from tutorflow.simulate.tutor import STEEPNESS

SLIP = 0.04
HINTS = 3
HINT_LIFT = 0.5
BOTTOM_OUT_CHANCE = 0.93
MEDIAN_SECONDS = 46.0


class Mind:
    """A learner's state while a session lasts; `write_back` stores it."""

    __slots__ = (
        "_aversion",
        "_competence",
        "_gaming",
        "_help",
        "_learner",
        "_learning",
        "_levels",
        "_pace",
        "_state",
        "belief",
        "frustration",
        "motivation",
        "planned_seconds",
    )

    def __init__(self, people: Population, state: State, learner: int, rng: random.Random) -> None:
        self._state, self._learner = state, learner
        self._levels: list[float] = state.skill[learner].tolist()
        self._competence = float(state.competence[learner])
        self._gaming = float(state.gaming[learner])
        self._aversion = float(people.loss_aversion[learner])
        self._help = float(people.help[learner])
        self._pace = math.exp(float(people.pace[learner]))
        self._learning = float(people.learning[learner])
        self.motivation = float(state.motivation[learner])
        self.belief = float(state.belief[learner])
        self.frustration = 0.0
        minutes = float(people.session_minutes[learner]) * rng.lognormvariate(0.0, 0.35)
        self.planned_seconds = 60.0 * min(
            90.0, max(4.0, minutes * math.exp(0.12 * self.motivation))
        )

    @property
    def asks_people(self) -> bool:
        """Whether this learner would ever ask a human for help."""
        return self._help > 0.4

    @property
    def doubt(self) -> float:
        """How far belief lies below what the learner can do (0 = not at all), in logits."""
        return max(0.0, self._competence - self.belief - 0.3)

    def readiness(self, skill: int) -> float:
        """How far practice of the skill can teach this learner now, 0.05-1."""
        return self._state.readiness(self._levels, skill)

    def rushes(self, rng: random.Random) -> bool:
        """Whether the next answer is a rapid guess."""
        return rng.random() < self._gaming * (1.0 + 0.3 * self.frustration)

    def hint_chance(self, item: Item, attempt: int, hints: int) -> float:
        """Chance of asking for the next hint, given how many were opened on the item."""
        if hints:
            return min(0.85, 0.55 * self._help)
        worry = logistic(1.2 * (item.difficulty - self.belief)) + 0.15 * self.frustration
        return min(0.9, self._help * worry * (0.14 if attempt == 1 else 0.4))

    def thinking_seconds(self, item: Item, ready: float, rng: random.Random) -> float:
        """Time spent on an answer: own pace, the item, its difficulty, hesitation, now and then
        a pause of 5 to 28 minutes, oftener after a wrong answer."""
        effort = 0.12 * min(2.5, max(-2.0, item.difficulty - self._level(item, ready)))
        hesitation = 0.22 * min(2.0, self.doubt)
        median = MEDIAN_SECONDS * self._pace * item.seconds_factor * math.exp(effort + hesitation)
        seconds = min(900.0, median * rng.lognormvariate(0.0, 0.45))
        if rng.random() < (0.02 if self.frustration > 0.4 else 0.006):
            seconds += 60.0 * rng.uniform(5.0, 28.0)
        return seconds

    def chance_right(
        self, item: Item, ready: float, hints: int, attempt: int, is_rapid: bool
    ) -> float:
        """Chance that the answer is right."""
        if hints == HINTS:
            return BOTTOM_OUT_CHANCE
        if is_rapid:
            return max(item.guess, 0.08)
        level = self._level(item, ready) + HINT_LIFT * hints + 0.25 * (attempt - 1)
        if item.second_skill is not None:
            level = min(level, self._levels[item.second_skill] + 0.5)
        known = logistic(STEEPNESS * (level - item.difficulty))
        return item.guess + (1.0 - item.guess - SLIP) * known

    def _level(self, item: Item, ready: float) -> float:
        return self._levels[item.skill] - MISSING_PREREQUISITE_PENALTY * (1.0 - ready)

    def feel(self, is_correct: bool) -> None:
        """A right answer lifts belief and calms; a wrong one does the opposite, for some more."""
        confidence = logistic(self.belief)
        if is_correct:
            self.belief += 0.05 * (1.0 - confidence)
            self.frustration *= 0.7
        else:
            self.belief -= 0.05 * self._aversion * confidence
            self.frustration += 0.45 * math.sqrt(self._aversion)

    def give_up_item(self) -> None:
        """Leaving an item undone stings."""
        self.frustration += 0.6 * self._aversion

    def learn(self, item: Item, ready: float, is_correct: bool, hints: int, is_rapid: bool) -> None:
        """What a finished item teaches."""
        level = self._levels[item.skill]
        room = logistic(1.5 * (SKILL_CEILING - level))
        quality = 1.0 if is_correct else 0.75
        if hints == HINTS:
            quality = 0.35
        if is_rapid:
            quality = 0.0
        self._levels[item.skill] = level + self._learning * ready * room * quality
        if item.second_skill is not None:
            self._levels[item.second_skill] += 0.2 * self._learning * quality

    def leaving_chance(self) -> float:
        """Chance per item of leaving the session early."""
        return logistic(-5.2 + 0.65 * self.frustration - 0.6 * self.motivation)

    def write_back(self, success_share: float | None) -> None:
        """Store the state; a good session lifts motivation a little, a frustrating one costs."""
        learner, state = self._learner, self._state
        state.skill[learner] = self._levels
        state.belief[learner] = self.belief
        if success_share is not None:
            lift = 0.10 * (success_share - 0.6) - 0.035 * self.frustration
            state.motivation[learner] = min(3.0, self.motivation + lift)
