"""Assignments and quizzes: what is due when, who hands in, what a quiz does to its taker.

An assignment is a week's practice: it can be handed in once enough items were worked on. Whoever
works too little hands in late, in the week after, or not at all. A quiz closes a module; it is
answered without help, so its score follows the true skill.
"""

from __future__ import annotations

import math
import random

from tutorflow.simulate.clock import DAY, WEEK, Clock
from tutorflow.simulate.config import SimulationConfig
from tutorflow.simulate.curriculum import Curriculum
from tutorflow.simulate.eventlog import EventLog
from tutorflow.simulate.population import Population
from tutorflow.simulate.randomness import logistic
from tutorflow.simulate.state import MISSING_PREREQUISITE_PENALTY, State
from tutorflow.simulate.tutor import STEEPNESS

ITEMS_PER_ASSIGNMENT = 24
MODULES = 4
QUIZ_QUESTIONS = 12
QUIZ_OPENS_DAYS_BEFORE = 5
QUIZ_CLOSES_DAYS_AFTER = 7


class _Progress:
    """One learner in one course: the assignment being worked on and the quizzes taken."""

    __slots__ = ("correct", "items", "items_this_week", "quizzes", "week", "week_seen")

    def __init__(self, week: int) -> None:
        self.week = self.week_seen = week
        self.items = self.correct = self.items_this_week = 0
        self.quizzes: set[int] = set()


class Coursework:
    """Keeps every learner's assignments and quizzes."""

    def __init__(
        self,
        config: SimulationConfig,
        curriculum: Curriculum,
        people: Population,
        state: State,
        log: EventLog,
        clock: Clock,
    ) -> None:
        self._curriculum, self._people, self._state = curriculum, people, state
        self._log, self._clock = log, clock
        self._weeks = config.weeks
        self._progress = [
            {course: _Progress(int(enrolled) // 168) for course in courses}
            for courses, enrolled in zip(people.courses, people.enrolled_hour, strict=True)
        ]
        # quiz of module m closes at the end of this week
        self._quiz_week = {m: -(-config.weeks * m // MODULES) for m in range(1, MODULES + 1)}
        self.quiz_scores: dict[tuple[int, str], list[float]] = {}

    def due(self, week: int) -> float:
        """Second at which the assignment of a course week (0 = first) is due: its last evening."""
        return self._clock.at(week * 7 + 6, 21.0)

    def course_for(self, learner: int, week: int) -> str:
        """The course with the least work this week (learners of two courses alternate)."""
        rows = self._progress[learner]
        for progress in rows.values():
            if progress.week_seen != week:
                progress.week_seen, progress.items_this_week = week, 0
        return min(rows, key=lambda course: rows[course].items_this_week)

    def unlocked(self, course: str, week: int) -> int:
        """Skills with a number below this are open in the course this week."""
        skills = self._curriculum.skills_of_course[course]
        share = min(1.0, (week + 2.5) / self._weeks)
        return skills[0] + max(2, math.ceil(share * len(skills)))

    def announce(self, day: int) -> None:
        """Put the due time of the week's assignment on record for everybody enrolled."""
        if day % 7 != 6:
            return
        week, at = day // 7, self.due(day // 7)
        withdrawn = self._state.withdraw_hour
        for learner, courses in enumerate(self._people.courses):
            if not self._people.enrolled_hour[learner] <= day * 24:
                continue
            if 0 <= withdrawn[learner] <= day * 24:
                continue
            for course in courses:
                item = f"{course}-week-{week + 1:02d}"
                self._log.add(
                    learner, "assignment_due", at, "ai_tutor", course=course, item=item, due=at
                )

    def after_session(
        self, learner: int, course: str, items: int, correct: int, at: float, rng: random.Random
    ) -> None:
        """Hand in what is ready and take a quiz that is open."""
        progress = self._progress[learner][course]
        week = int(at // WEEK)
        progress.items_this_week += items
        if progress.week < week - 1:  # more than a week late: it stays missing
            progress.week, progress.items, progress.correct = week - 1, 0, 0
        progress.items += items
        progress.correct += correct
        is_ready = progress.items >= ITEMS_PER_ASSIGNMENT and progress.week <= week
        if is_ready and rng.random() < 0.9:
            self._hand_in(learner, course, progress, at + rng.uniform(10.0, 90.0))
        module = self._open_quiz(progress, at)
        if module is not None and rng.random() < 0.65:
            self._take_quiz(learner, course, module, progress, at, rng)

    def _hand_in(self, learner: int, course: str, progress: _Progress, at: float) -> None:
        self._log.add(
            learner,
            "assignment_submitted",
            at,
            course=course,
            item=f"{course}-week-{progress.week + 1:02d}",
            score=round(100.0 * progress.correct / progress.items, 1),
            score_max=100.0,
            due=self.due(progress.week),
        )
        progress.week += 1
        progress.items = progress.correct = 0

    def _open_quiz(self, progress: _Progress, at: float) -> int | None:
        for module, week in self._quiz_week.items():
            closes = self._clock.at(week * 7, 0.0)
            is_open = -QUIZ_OPENS_DAYS_BEFORE * DAY <= at - closes < QUIZ_CLOSES_DAYS_AFTER * DAY
            if is_open and module not in progress.quizzes:
                return module
        return None

    def _take_quiz(
        self,
        learner: int,
        course: str,
        module: int,
        progress: _Progress,
        at: float,
        rng: random.Random,
    ) -> None:
        state = self._state
        skills = self._curriculum.skills_of_course[course][3 * (module - 1) : 3 * module]
        right = sum(
            rng.random() < self.chance(learner, rng.choice(skills)) for _ in range(QUIZ_QUESTIONS)
        )
        score = round(100.0 * right / QUIZ_QUESTIONS, 1)
        progress.quizzes.add(module)
        self.quiz_scores.setdefault((learner, course), []).append(score)
        at += rng.uniform(12.0, 25.0) * 60.0
        module_id = f"{course}-m{module}"
        self._log.add(
            learner,
            "assessment_scored",
            at,
            "ai_tutor",
            course=course,
            module=module_id,
            item=f"{module_id}-quiz",
            score=score,
            score_max=100.0,
        )
        state.busy_until[learner] = max(state.busy_until[learner], at)
        # A quiz weighs more than an item: it moves motivation and belief, bad ones more.
        surprise = score / 100.0 - logistic(float(state.belief[learner]))
        weight = 1.0 if surprise > 0 else float(self._people.loss_aversion[learner])
        state.belief[learner] += 0.8 * weight * surprise
        state.motivation[learner] += 0.5 * weight * min(0.2, surprise)

    def chance(self, learner: int, skill: int) -> float:
        """True chance of a right answer to an average item of a skill, without help."""
        levels = self._state.skill[learner]
        ready = self._state.readiness(levels, skill)
        level = float(levels[skill]) - MISSING_PREREQUISITE_PENALTY * (1.0 - ready)
        return 0.1 + 0.86 * logistic(STEEPNESS * level)
