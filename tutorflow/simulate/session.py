"""One work session with the AI tutor: items, hints, answers, pauses, giving up.

An answer is right with the item response probability
``guess + (1 - guess - slip) * logistic(1.4 * (skill - penalty - difficulty))``, where the penalty
grows as readiness (the prerequisites) falls. A finished item adds
``learning * readiness * room * quality`` logits to the skill: practice hardly teaches who lacks the
prerequisites, and a rapid guess teaches nothing.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from tutorflow.simulate.curriculum import Curriculum, Item
from tutorflow.simulate.eventlog import EventLog
from tutorflow.simulate.population import Population
from tutorflow.simulate.randomness import logistic
from tutorflow.simulate.state import MISSING_PREREQUISITE_PENALTY, SKILL_CEILING, State
from tutorflow.simulate.tutor import STEEPNESS, Tutor

SLIP = 0.04
HINTS = 3
ATTEMPTS = 3
HINT_LIFT = 0.5
MEDIAN_SECONDS = 46.0


@dataclass(frozen=True)
class Place:
    """Where and when a session takes place."""

    learner: int
    course: str
    unlocked: int
    starts: float
    session_id: str


@dataclass
class World:
    """What a session reads and changes."""

    curriculum: Curriculum
    people: Population
    state: State
    log: EventLog


class Session:
    """A session in progress. `now` is in seconds from the start of the programme."""

    def __init__(self, world: World, tutor: Tutor, place: Place, rng: random.Random) -> None:
        learner = place.learner
        state, people = world.state, world.people
        self.world, self.tutor, self.place, self.rng = world, tutor, place, rng
        self.now = place.starts
        self.items = self.correct = self.wrong_on_skill = 0
        self.frustration = 0.0
        self.has_left = False
        self._last_skill = -1
        self._levels: list[float] = state.skill[learner].tolist()
        self._motivation = float(state.motivation[learner])
        self._belief = float(state.belief[learner])
        self._competence = float(state.competence[learner])
        self._gaming = float(state.gaming[learner])
        self._aversion = float(people.loss_aversion[learner])
        self._help = float(people.help[learner])
        self._pace = math.exp(float(people.pace[learner]))
        self._learning = float(people.learning[learner])
        minutes = float(people.session_minutes[learner]) * rng.lognormvariate(0.0, 0.35)
        self._planned = 60.0 * min(90.0, max(4.0, minutes * math.exp(0.12 * self._motivation)))

    def run(self) -> None:
        """Play the session to its end and write what it did to the learner back to the state."""
        rng = self.rng
        self._emit("session_started")
        self.now += rng.uniform(5.0, 40.0)
        if rng.random() < logistic(-3.9 - 1.0 * self._motivation):
            self._leave(rng.random() < 0.5)  # opened, looked, went
        while not self.has_left and self.now - self.place.starts < self._planned:
            self._work(self._next_item())
            if not self.has_left:
                self.now += rng.uniform(2.0, 12.0)
        if not self.has_left:
            self._close()
        self._write_back()

    def _emit(self, event_type: str, actor: str = "learner", **fields: object) -> None:
        place = self.place
        self.world.log.add(
            place.learner,
            event_type,
            self.now,
            actor,
            course=place.course,
            session=place.session_id,
            **fields,  # type: ignore[arg-type]
        )

    def _next_item(self) -> Item:
        tutor, rng = self.tutor, self.rng
        skill = tutor.choose_skill(self.place.course, self.place.unlocked, rng)
        if skill != self._last_skill:
            self.wrong_on_skill = 0
            if tutor.opportunities[skill] == 0:
                known = self.world.curriculum.skills[skill]
                lesson = f"{known.skill_id}-lesson"
                self._emit(
                    "content_viewed", module=known.module_id, item=lesson, skill=known.skill_id
                )
                self.now += rng.lognormvariate(4.9, 0.4)
            self._last_skill = skill
        return tutor.choose_item(skill, rng)

    def _work(self, item: Item) -> None:
        """One item from presentation to solution, explanation, skipping or leaving."""
        rng, state = self.rng, self.world.state
        ready = state.readiness(self._levels, item.skill)
        fields = self._item_fields(item)
        attributes = '{"presentation": "' + item.presentation + '"}'
        self._emit(
            "item_presented",
            "ai_tutor",
            hints=HINTS,
            hint_max=HINTS,
            attributes=attributes,
            **fields,
        )
        hints, is_rapid, is_correct, first = 0, False, False, None
        for attempt in range(1, ATTEMPTS + 1):
            is_rapid = rng.random() < self._gaming * (1.0 + 0.3 * self.frustration)
            if not is_rapid:
                hints = self._ask_for_hints(item, attempt, hints, fields)
            asked_at = self.now
            self._think(item, ready, is_rapid)
            if not is_rapid and self._gives_up_revising(asked_at, fields):
                return
            is_correct = self._answer(item, ready, hints, is_rapid, attempt, asked_at, fields)
            if first is None:
                first = is_correct and hints == 0
                self._count(item, is_correct)
            if is_correct or self._stops_trying(attempt, fields):
                break
        if self.has_left:
            return
        if not is_correct:
            self._read_explanation(fields)
        self._learn(item, ready, is_correct, hints, is_rapid)
        self._consider_leaving()

    def _item_fields(self, item: Item) -> dict[str, object]:
        module = self.world.curriculum.skills[item.skill].module_id
        return {"module": module, "item": item.item_id, "skill": item.skill_ids}

    def _ask_for_hints(
        self, item: Item, attempt: int, hints: int, fields: dict[str, object]
    ) -> int:
        rng = self.rng
        doubt = logistic(1.2 * (item.difficulty - self._belief)) + 0.15 * self.frustration
        chance = min(0.9, self._help * doubt * (0.14 if attempt == 1 else 0.4))
        while hints < HINTS and rng.random() < chance:
            self.now += rng.lognormvariate(2.3, 0.5)
            hints += 1
            self._emit("hint_requested", hint=hints, hint_max=HINTS, hints=HINTS - hints, **fields)
            chance = min(0.85, 0.55 * self._help)
        return hints

    def _think(self, item: Item, ready: float, is_rapid: bool) -> None:
        rng = self.rng
        if is_rapid:
            self.now += rng.uniform(1.2, 5.0)
            return
        skill = self._levels[item.skill] - MISSING_PREREQUISITE_PENALTY * (1.0 - ready)
        effort = 0.12 * min(2.5, max(-2.0, item.difficulty - skill))
        hesitation = 0.22 * min(2.0, max(0.0, self._competence - self._belief - 0.5))
        median = MEDIAN_SECONDS * self._pace * item.seconds_factor * math.exp(effort + hesitation)
        self.now += min(900.0, median * rng.lognormvariate(0.0, 0.45))
        if rng.random() < (0.02 if self.wrong_on_skill else 0.007):
            self.now += 60.0 * rng.uniform(5.0, 28.0)

    def _gives_up_revising(self, asked_at: float, fields: dict[str, object]) -> bool:
        """Edits before handing in; doubters may edit again and again and never hand in."""
        rng = self.rng
        doubt = max(0.0, self._competence - self._belief - 0.3)
        revisions = 0
        while revisions < 8 and rng.random() < min(0.62, 0.05 + 0.10 * doubt + 0.15 * revisions):
            revisions += 1
            self._emit("response_revised", seconds=round(self.now - asked_at, 1), **fields)
            self.now += rng.lognormvariate(2.2, 0.5)
        if revisions >= 4 and rng.random() < 0.5:
            self._emit("item_abandoned", **fields)
            self.frustration += 0.6 * self._aversion
            return True
        return False

    def _answer(
        self,
        item: Item,
        ready: float,
        hints: int,
        is_rapid: bool,
        attempt: int,
        asked_at: float,
        fields: dict[str, object],
    ) -> bool:
        rng = self.rng
        skill = self._levels[item.skill] - MISSING_PREREQUISITE_PENALTY * (1.0 - ready)
        lifted = skill + HINT_LIFT * hints + 0.25 * (attempt - 1)
        if item.second_skill is not None:
            lifted = min(lifted, self._levels[item.second_skill] + 0.5)
        known = logistic(STEEPNESS * (lifted - item.difficulty))
        chance = item.guess + (1.0 - item.guess - SLIP) * known
        if is_rapid:
            chance = max(item.guess, 0.08)
        elif hints == HINTS:
            chance = 0.93  # the last hint gives the answer away
        is_correct = rng.random() < chance
        self._emit(
            "response_submitted",
            attempt=attempt,
            correct=is_correct,
            score=1.0 if is_correct else 0.0,
            score_max=1.0,
            seconds=round(self.now - asked_at, 1),
            hints=HINTS - hints,
            error=None if is_correct else self._error(item, ready),
            **fields,
        )
        self._feel(is_correct)
        return is_correct

    def _error(self, item: Item, ready: float) -> str | None:
        kinds = self.world.curriculum.skills[item.skill].error_types
        draw = self.rng.random()
        if draw < 0.15:
            return None  # the tutor could not tell
        return kinds[0] if draw < 0.55 + 0.25 * (1.0 - ready) else kinds[1]

    def _feel(self, is_correct: bool) -> None:
        confidence = logistic(self._belief)
        if is_correct:
            self._belief += 0.05 * (1.0 - confidence)
            self.frustration *= 0.7
        else:
            self._belief -= 0.05 * self._aversion * confidence
            self.frustration += 0.45 * math.sqrt(self._aversion)

    def _count(self, item: Item, is_correct: bool) -> None:
        self.items += 1
        self.correct += is_correct
        self.wrong_on_skill = 0 if is_correct else self.wrong_on_skill + 1
        learner, state = self.place.learner, self.world.state
        state.practised[learner, item.skill] += 1
        state.current_skill[learner] = item.skill
        band = self.tutor.observe(item, is_correct)
        if band is not None:
            attributes = '{"to": "' + band + '"}'
            skill = self.world.curriculum.skills[item.skill]
            self._emit(
                "difficulty_changed",
                "ai_tutor",
                module=skill.module_id,
                skill=skill.skill_id,
                attributes=attributes,
            )

    def _stops_trying(self, attempt: int, fields: dict[str, object]) -> bool:
        """After a wrong answer: leave the session, skip the item, or look at the explanation."""
        rng = self.rng
        if rng.random() < 0.5 * self._leaving_chance():
            self.now += rng.uniform(5.0, 120.0)
            says_so = rng.random() < 0.6
            if says_so:
                self._emit("item_abandoned", **fields)
            self._leave(says_so)
            return True
        if self.wrong_on_skill >= 3 and self._help > 0.4 and rng.random() < 0.03:
            self._emit("help_requested", **fields)
        return attempt == ATTEMPTS or rng.random() < 0.3

    def _read_explanation(self, fields: dict[str, object]) -> None:
        rng = self.rng
        if rng.random() < logistic(-3.6 + 0.5 * self.frustration - 0.3 * self._motivation):
            self._emit("item_abandoned", **fields)
            return
        self.now += 1.0
        self._emit("explanation_viewed", **fields)
        self.now += rng.lognormvariate(3.0, 0.5)

    def _learn(
        self, item: Item, ready: float, is_correct: bool, hints: int, is_rapid: bool
    ) -> None:
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

    def _leaving_chance(self) -> float:
        return logistic(-5.2 + 0.65 * self.frustration - 0.6 * self._motivation)

    def _consider_leaving(self) -> None:
        if self.rng.random() < self._leaving_chance():
            self._leave(self.rng.random() < 0.6)

    def _leave(self, says_so: bool) -> None:
        self.has_left = True
        if says_so:
            self._emit("session_ended", attributes='{"reason": "left"}')

    def _close(self) -> None:
        """A planned end: sometimes a reflection with a check-in, mostly a proper goodbye."""
        rng, state = self.rng, self.world.state
        is_distressed = state.distress_until[self.place.learner] * 3600.0 > self.now
        if rng.random() < 0.5 or is_distressed:
            if rng.random() < logistic(-0.9 - 0.8 * self._motivation) and not is_distressed:
                self._emit("reflection_skipped")
            else:
                self._check_in("confidence", self._belief + rng.gauss(0.3, 0.5), None)
                if rng.random() < 0.4 or is_distressed:
                    mood = 0.8 + 0.9 * self._motivation - (2.0 if is_distressed else 0.0)
                    flag = "distress" if is_distressed and rng.random() < 0.5 else None
                    self._check_in("mood", mood + rng.gauss(0.0, 0.6), flag)
        if rng.random() < 0.9:
            self._emit("session_ended", attributes='{"reason": "finished"}')

    def _check_in(self, measure: str, level: float, flag: str | None) -> None:
        self.now += self.rng.uniform(5.0, 25.0)
        report = round(10.0 * logistic(level)) / 10.0
        attributes = '{"measure": "' + measure + '"}'
        self._emit("check_in", report=report, flag=flag, attributes=attributes)

    def _write_back(self) -> None:
        learner, state = self.place.learner, self.world.state
        state.skill[learner] = self._levels
        state.belief[learner] = self._belief
        state.has_started[learner] |= self.items > 0
        state.busy_until[learner] = state.active_at[learner] = self.now
        if self.items:
            share = self.correct / self.items
            lift = 0.10 * (share - 0.6) - 0.035 * self.frustration
            state.motivation[learner] = min(3.0, self._motivation + lift)
