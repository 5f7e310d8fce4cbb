"""The AI tutor: which skill, which item, how hard, from what it has seen of one learner.

It estimates a level per skill by a step toward each answer's surprise, aims at a target chance of
success, takes skills in course order and does not know about missing prerequisites. That blindness
is deliberate: it is what human tutors are for.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left

from tutorflow.simulate.curriculum import Curriculum, Item
from tutorflow.simulate.randomness import logistic

STEEPNESS = 1.4  # of the item response curve
TARGETS = {"easier": 0.85, "normal": 0.75, "harder": 0.65}
MASTERED_RUN = 3
MASTERED_ESTIMATE = 0.6
MOVE_ON_AFTER = 30
REVIEW_SHARE = 0.12
_LOGIT_OF_TARGET = {target: math.log(p / (1 - p)) for target, p in TARGETS.items()}


class Tutor:
    """What the tutor believes about one learner."""

    __slots__ = (
        "_curriculum",
        "_plans",
        "_recent",
        "_run",
        "_wrong_run",
        "band",
        "estimates",
        "finished",
        "opportunities",
    )

    def __init__(self, curriculum: Curriculum, courses: tuple[str, ...], passed: frozenset[int]):
        self._curriculum = curriculum
        self._plans = {
            course: [s for s in curriculum.skills_of_course[course] if s not in passed]
            for course in courses
        }
        count = len(curriculum.skills)
        self.estimates = [-0.4] * count
        self.opportunities = [0] * count
        self.finished: set[int] = set()
        self.band = "normal"
        self._run = [0] * count
        self._wrong_run = 0
        self._recent: list[int] = []

    def choose_skill(self, course: str, unlocked: int, rng: random.Random) -> tuple[int, bool]:
        """(skill, is a review): the first unfinished skill of those open; now and then, and when
        all are finished, one of the finished ones."""
        plan = [s for s in self._plans[course] if s < unlocked]
        done = [s for s in plan if s in self.finished]
        current = next((s for s in plan if s not in self.finished), None)
        if current is None:
            return rng.choice(done or self._curriculum.skills_of_course[course][:1]), True
        if done and rng.random() < REVIEW_SHARE:
            return rng.choice(done), True
        return current, False

    def choose_item(self, skill: int, rng: random.Random) -> Item:
        """An item near the wanted difficulty that was not shown lately."""
        items = self._curriculum.items_of[skill]
        wanted = self.estimates[skill] - _LOGIT_OF_TARGET[self.band] / STEEPNESS
        middle = bisect_left(self._curriculum.difficulties_of[skill], wanted)
        position = middle + rng.randrange(-2, 3)
        for _ in range(len(items)):
            position = min(max(position, 0), len(items) - 1)
            if items[position].number not in self._recent:
                break
            position = rng.randrange(len(items))
        item = items[position]
        self._recent = [*self._recent[-5:], item.number]
        return item

    def observe(self, item: Item, is_correct: bool) -> str | None:
        """Learn from a first attempt; returns the new difficulty band if it changed."""
        skill = item.skill
        expected = logistic(STEEPNESS * (self.estimates[skill] - item.difficulty))
        count = self.opportunities[skill] = self.opportunities[skill] + 1
        step = 0.9 if count <= 4 else 0.5
        self.estimates[skill] += step * ((1.0 if is_correct else 0.0) - expected)
        self._run[skill] = self._run[skill] + 1 if is_correct else 0
        self._wrong_run = 0 if is_correct else self._wrong_run + 1
        is_mastered = self._run[skill] >= MASTERED_RUN and self.estimates[skill] > MASTERED_ESTIMATE
        if is_mastered or count >= MOVE_ON_AFTER:
            self.finished.add(skill)
        return self._change_band(self._run[skill])

    def _change_band(self, run: int) -> str | None:
        wanted = self.band
        if self._wrong_run >= 2:
            wanted = "easier"
        elif self.band == "easier" and run >= 3:
            wanted = "normal"
        elif self.band == "normal" and run >= 5:
            wanted = "harder"
        if wanted == self.band:
            return None
        self.band = wanted
        return wanted
