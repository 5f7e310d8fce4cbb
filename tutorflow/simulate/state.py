"""The latent state of every learner and its daily processes; nothing here is ever published.

Scales: `skill` in logits (0 = even chance on an average item), `motivation` about one unit per
standard deviation between learners, `belief` in logits: what the learner thinks `competence` is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tutorflow.simulate.config import SimulationConfig
from tutorflow.simulate.curriculum import Curriculum
from tutorflow.simulate.population import Population
from tutorflow.simulate.randomness import Floats, Stream, logistic, logistics, normals, uniforms

# Motivation: share of the way back to its level per day, noise per day, bad news now and then.
REVERSION = 0.12
NOISE = 0.26
SHOCK_CHANCE = 0.008
SHOCK_SIZE = 1.0
# Leaving: hazard per day when motivation is very low, and for reasons outside (moves, timetables).
QUIT_CHANCE = 0.12
QUIT_MOTIVATION = -1.9
SUDDEN_QUIT_CHANCE = 0.0009
WITHDRAW_SHARE = 0.45
BREAK_CHANCE = 0.004
DISTRESS_CHANCE = 0.0004
# Skill: logits lost per day toward the starting level; how steeply prerequisites open the door.
FORGETTING = 0.004
READINESS_STEEPNESS = 2.2
READINESS_MIDDLE = -0.6
READINESS_FLOOR = 0.05
SKILL_CEILING = 1.7
MISSING_PREREQUISITE_PENALTY = 1.2
# Belief: share of the way to (competence - own bias) per day, and noise.
BELIEF_REVERSION = 0.2
BELIEF_NOISE = 0.08
NEVER = -1


class State:
    """Arrays over learners (n,) or learners and skills (n, skills); hours count from the start."""

    def __init__(
        self, config: SimulationConfig, people: Population, curriculum: Curriculum
    ) -> None:
        n = len(people)
        self._seed = config.seed
        self._people = people
        self.prerequisites = tuple(s.prerequisites for s in curriculum.skills)
        self._padded = np.full((len(curriculum.skills), 2), len(curriculum.skills))
        for number, before in enumerate(self.prerequisites):
            self._padded[number, : len(before)] = before
        self.skill = people.skill.copy()
        self.practised = np.zeros(self.skill.shape, dtype=np.int64)
        self.current_skill = np.full(n, NEVER)
        self.motivation = people.motivation + 0.3 * normals(config.seed, Stream.MOTIVATION, n, 0)
        self.drifted = np.zeros(n)
        self.competence = np.zeros(n)
        self.belief_bias = people.belief_bias.copy()
        self.gaming = people.gaming.copy()
        self.gaming_mood = np.zeros(n)
        self.effort_relief = np.zeros(n)
        self.has_started = np.zeros(n, dtype=np.bool_)
        self.quit_hour = np.full(n, NEVER)
        self.withdraw_hour = np.full(n, NEVER)
        self.break_until = np.zeros(n, dtype=np.int64)
        self.distress_until = np.zeros(n, dtype=np.int64)
        self.busy_until = np.zeros(n)
        self.active_at = np.full(n, -1.0)
        self._update_competence()
        self.belief = self.competence - self.belief_bias

    def __len__(self) -> int:
        return len(self.motivation)

    def readiness(self, levels: Sequence[float], skill: int) -> float:
        """How far a learner with these skill levels can profit from practising a skill, 0.05-1."""
        ready = 1.0
        for before in self.prerequisites[skill]:
            ready *= self.readiness_through(levels[before])
        return max(READINESS_FLOOR, ready)

    @staticmethod
    def readiness_through(level: float) -> float:
        """How far one prerequisite at this level opens the door, 0-1."""
        return logistic(READINESS_STEEPNESS * (level - READINESS_MIDDLE))

    def readiness_of_current(self) -> Floats:
        """`readiness` of every learner for the skill being worked on (1 where there is none)."""
        n = len(self)
        levels = np.column_stack([self.skill, np.full(n, 99.0)])
        before = self._padded[np.maximum(self.current_skill, 0)]
        chosen = levels[np.arange(n)[:, None], before]
        ready = logistics(READINESS_STEEPNESS * (chosen - READINESS_MIDDLE)).prod(axis=1)
        floored: Floats = np.maximum(READINESS_FLOOR, ready)
        return floored

    def is_gone(self) -> NDArray[np.bool_]:
        """Who has stopped for good (as far as anybody knows)."""
        gone: NDArray[np.bool_] = self.quit_hour != NEVER
        return gone

    def session_rate(self, hour: int, pause: float) -> Floats:
        """Sessions per week that each learner would start at this rate, shape (n,)."""
        people, motivation = self._people, self.motivation
        rate = people.sessions_per_week * np.exp(0.6 * motivation)
        rate = rate * logistics(2.5 * (motivation + 2.2)) * pause
        is_new = ~self.has_started & (hour < people.enrolled_hour + 96)
        rate = np.where(is_new, 2.0 * rate, rate)
        away = self.is_gone() | (people.enrolled_hour >= hour) | (self.break_until > hour)
        hazard: Floats = np.where(away, 0.0, rate)
        return hazard

    def end_day(self, day: int) -> None:
        """Everything that happens to a learner overnight; `day` is the day that ends."""
        self._move_motivation(day)
        self._move_skill_and_belief(day)
        self._move_gaming(day)
        self._leave(day)
        self._take_breaks(day)

    def _move_motivation(self, day: int) -> None:
        people, n = self._people, len(self)
        is_drifting = (day >= people.drift_from_day) & ~self.is_gone()
        self.drifted += np.where(is_drifting, people.drift / 7.0, 0.0)
        level = people.motivation - np.minimum(self.drifted, 3.0)
        shocked = uniforms(self._seed, Stream.SHOCK, n, day) < SHOCK_CHANCE
        noise = normals(self._seed, Stream.MOTIVATION, n, day + 1)
        self.motivation += REVERSION * (level - self.motivation) + NOISE * noise
        self.motivation -= np.where(shocked, SHOCK_SIZE, 0.0)
        np.clip(self.motivation, -5.0, 3.0, out=self.motivation)

    def _update_competence(self) -> None:
        weight = np.sqrt(self.practised)
        total = weight.sum(axis=1)
        overall = self.skill.mean(axis=1)
        practised = (weight * self.skill).sum(axis=1) / np.maximum(total, 1.0)
        self.competence = np.where(total > 0, practised, overall)

    def _move_skill_and_belief(self, day: int) -> None:
        people = self._people
        self.skill += FORGETTING * (people.skill - self.skill)
        self._update_competence()
        target = self.competence - self.belief_bias
        noise = normals(self._seed, Stream.BELIEF, len(self), day)
        self.belief += BELIEF_REVERSION * (target - self.belief) + BELIEF_NOISE * noise

    def _move_gaming(self, day: int) -> None:
        noise = normals(self._seed, Stream.GAMING, len(self), day)
        self.gaming_mood += -0.2 * self.gaming_mood + 0.25 * noise
        self.effort_relief *= 0.95
        drive = np.exp(self.gaming_mood - 0.35 * self.motivation)
        self.gaming = np.minimum(0.6, self._people.gaming * drive * (1.0 - self.effort_relief))

    def _leave(self, day: int) -> None:
        n, hour = len(self), (day + 1) * 24
        enrolled = (self._people.enrolled_hour < hour) & ~self.is_gone()
        despair = QUIT_CHANCE * logistics(3.0 * (QUIT_MOTIVATION - self.motivation))
        # Who never began has nothing to leave; they stay as never started.
        chance = np.where(self.has_started, despair + SUDDEN_QUIT_CHANCE, 0.0)
        drawn = uniforms(self._seed, Stream.QUIT, n, 3 * day)
        leaves = enrolled & (drawn < chance)
        tells = uniforms(self._seed, Stream.QUIT, n, 3 * day + 1) < WITHDRAW_SHARE
        delay = (2 + 12 * uniforms(self._seed, Stream.QUIT, n, 3 * day + 2)).astype(np.int64)
        self.quit_hour = np.where(leaves, hour, self.quit_hour)
        self.withdraw_hour = np.where(leaves & tells, hour + 24 * delay, self.withdraw_hour)

    def _take_breaks(self, day: int) -> None:
        n, hour = len(self), (day + 1) * 24
        drawn = uniforms(self._seed, Stream.BREAK, n, 2 * day)
        days = (4 + 8 * uniforms(self._seed, Stream.BREAK, n, 2 * day + 1)).astype(np.int64)
        starts = (drawn < BREAK_CHANCE) & (self.break_until <= hour)
        self.break_until = np.where(starts, hour + 24 * days, self.break_until)
        distressed = uniforms(self._seed, Stream.DISTRESS, n, day) < DISTRESS_CHANCE
        self.distress_until = np.where(distressed, hour + 10 * 24, self.distress_until)
