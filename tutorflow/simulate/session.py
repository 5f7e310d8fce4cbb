"""One work session with the AI tutor: items, hints, answers, pauses, giving up, saying goodbye."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from tutorflow.simulate.curriculum import Curriculum, Item
from tutorflow.simulate.eventlog import EventLog
from tutorflow.simulate.mind import HINTS, Mind
from tutorflow.simulate.population import Population
from tutorflow.simulate.randomness import logistic
from tutorflow.simulate.state import State
from tutorflow.simulate.tutor import Tutor

ATTEMPTS = 3
REVIEWS_PER_SESSION = 18


@dataclass(frozen=True)
class World:
    """What every session reads and changes."""

    curriculum: Curriculum
    people: Population
    state: State
    log: EventLog


@dataclass(frozen=True)
class Place:
    """Whose session it is, in which course, and when it starts (second of the programme)."""

    learner: int
    course: str
    unlocked: int
    starts: float
    session_id: str


class Session:
    """A session in progress. `now` is in seconds from the start of the programme."""

    def __init__(self, world: World, tutor: Tutor, place: Place, rng: random.Random) -> None:
        self._world, self._tutor, self._place, self._rng = world, tutor, place, rng
        self._mind = Mind(world.people, world.state, place.learner, rng)
        self._has_left = False
        self._last_skill = -1
        self._wrong_on_skill = 0
        self._reviews = 0
        self.now = place.starts
        self.items = self.correct = 0

    def run(self) -> None:
        """Play the session to its end and write what it did to the learner back to the state."""
        rng, mind = self._rng, self._mind
        self._emit("session_started")
        self.now += rng.uniform(5.0, 40.0)
        if rng.random() < logistic(-3.9 - 1.0 * mind.motivation):
            self._leave(rng.random() < 0.5)  # opened, looked, went
        ends = self._place.starts + mind.planned_seconds
        while not self._has_left and self.now < ends and self._reviews < REVIEWS_PER_SESSION:
            self._work(self._next_item())
            self.now += rng.uniform(2.0, 12.0)
        if not self._has_left:
            self._close()
        learner, state = self._place.learner, self._world.state
        mind.write_back(self.correct / self.items if self.items else None)
        state.has_started[learner] |= self.items > 0
        state.busy_until[learner] = state.active_at[learner] = self.now

    def _emit(
        self, event_type: str, on: Item | None = None, actor: str = "learner", **fields: Any
    ) -> None:
        place = self._place
        if on is not None:
            fields.update(module=on.module_id, item=on.item_id, skill=on.skill_ids)
        self._world.log.add(
            place.learner,
            event_type,
            self.now,
            actor,
            course=place.course,
            session=place.session_id,
            **fields,
        )

    def _next_item(self) -> Item:
        tutor, rng = self._tutor, self._rng
        number, is_review = tutor.choose_skill(self._place.course, self._place.unlocked, rng)
        self._reviews += is_review
        if number != self._last_skill:
            self._last_skill, self._wrong_on_skill = number, 0
            if tutor.opportunities[number] == 0:
                skill = self._world.curriculum.skills[number]
                self._emit(
                    "content_viewed",
                    module=skill.module_id,
                    item=f"{skill.skill_id}-lesson",
                    skill=skill.skill_id,
                )
                self.now += rng.lognormvariate(4.9, 0.4)
        return tutor.choose_item(number, rng)

    def _work(self, item: Item) -> None:
        """One item from presentation to solution, explanation, skipping or leaving."""
        rng, mind = self._rng, self._mind
        ready = mind.readiness(item.skill)
        presentation = '{"presentation": "' + item.presentation + '"}'
        self._emit(
            "item_presented", item, "ai_tutor", hints=HINTS, hint_max=HINTS, attributes=presentation
        )
        hints, is_rapid, is_correct = 0, False, False
        for attempt in range(1, ATTEMPTS + 1):
            is_rapid = mind.rushes(rng)
            asked_at = self.now
            hints = self._ask_for_hints(item, attempt, hints, is_rapid)
            if is_rapid:
                self.now += rng.uniform(1.2, 5.0)
            else:
                self.now += mind.thinking_seconds(item, ready, rng)
                if self._never_hands_in(item, asked_at):
                    return
            is_correct = rng.random() < mind.chance_right(item, ready, hints, attempt, is_rapid)
            self._answer(item, ready, hints, attempt, asked_at, is_correct)
            if attempt == 1:
                self._count(item, is_correct)
            if is_correct or self._stops_trying(item, attempt):
                break
        if self._has_left:
            return
        if not is_correct:
            self._read_explanation(item)
        mind.learn(item, ready, is_correct, hints, is_rapid)
        if rng.random() < mind.leaving_chance():
            self._leave(rng.random() < 0.6)

    def _ask_for_hints(self, item: Item, attempt: int, hints: int, is_rapid: bool) -> int:
        """Hints one by one; who rushes either opens none or clicks through to the answer."""
        rng = self._rng
        clicks_through = is_rapid and rng.random() < 0.3
        while hints < HINTS:
            if is_rapid and not clicks_through:
                break
            if not is_rapid and rng.random() >= self._mind.hint_chance(item, attempt, hints):
                break
            self.now += rng.uniform(1.0, 3.0) if is_rapid else rng.lognormvariate(2.3, 0.5)
            hints += 1
            self._emit("hint_requested", item, hint=hints, hint_max=HINTS, hints=HINTS - hints)
        return hints

    def _never_hands_in(self, item: Item, asked_at: float) -> bool:
        """Edits before handing in; doubters may edit again and again and then leave the item."""
        rng, doubt = self._rng, self._mind.doubt
        revisions = 0
        while revisions < 8 and rng.random() < min(0.62, 0.04 + 0.10 * doubt + 0.14 * revisions):
            revisions += 1
            self._emit("response_revised", item, seconds=round(self.now - asked_at, 1))
            self.now += rng.lognormvariate(2.2, 0.5)
        if revisions < 4 or rng.random() < 0.5:
            return False
        self._emit("item_abandoned", item)
        self._mind.give_up_item()
        return True

    def _answer(
        self, item: Item, ready: float, hints: int, attempt: int, asked_at: float, is_correct: bool
    ) -> None:
        self._emit(
            "response_submitted",
            item,
            attempt=attempt,
            correct=is_correct,
            score=1.0 if is_correct else 0.0,
            score_max=1.0,
            seconds=round(self.now - asked_at, 1),
            hints=HINTS - hints,
            error=None if is_correct else self._error_type(item, ready),
        )
        self._mind.feel(is_correct)

    def _error_type(self, item: Item, ready: float) -> str | None:
        kinds = self._world.curriculum.skills[item.skill].error_types
        drawn = self._rng.random()
        if drawn < 0.15:
            return None  # the tutor could not tell
        return kinds[0] if drawn < 0.55 + 0.25 * (1.0 - ready) else kinds[1]

    def _count(self, item: Item, is_correct: bool) -> None:
        self.items += 1
        self.correct += is_correct
        self._wrong_on_skill = 0 if is_correct else self._wrong_on_skill + 1
        learner, state = self._place.learner, self._world.state
        state.practised[learner, item.skill] += 1
        state.current_skill[learner] = item.skill
        band = self._tutor.observe(item, is_correct)
        if band is not None:
            to = '{"to": "' + band + '"}'
            skill = self._world.curriculum.skills[item.skill]
            self._emit(
                "difficulty_changed",
                actor="ai_tutor",
                module=skill.module_id,
                skill=skill.skill_id,
                attributes=to,
            )

    def _stops_trying(self, item: Item, attempt: int) -> bool:
        """After a wrong answer: leave the session, ask a person, try again or see the solution."""
        rng = self._rng
        if rng.random() < 0.5 * self._mind.leaving_chance():
            self.now += rng.uniform(5.0, 120.0)
            says_so = rng.random() < 0.6
            if says_so:
                self._emit("item_abandoned", item)
            self._leave(says_so)
            return True
        if self._wrong_on_skill >= 3 and self._mind.asks_people and rng.random() < 0.025:
            self._emit("help_requested", item)
        return attempt == ATTEMPTS or rng.random() < 0.3

    def _read_explanation(self, item: Item) -> None:
        rng, mind = self._rng, self._mind
        if rng.random() < logistic(-3.6 + 0.5 * mind.frustration - 0.3 * mind.motivation):
            self._emit("item_abandoned", item)
            return
        self.now += 1.0
        self._emit("explanation_viewed", item)
        self.now += rng.lognormvariate(3.0, 0.5)

    def _leave(self, says_so: bool) -> None:
        self._has_left = True
        if says_so:
            self._emit("session_ended", attributes='{"reason": "left"}')

    def _close(self) -> None:
        """A planned end: sometimes a reflection with a check-in, mostly a proper goodbye."""
        rng, mind = self._rng, self._mind
        is_distressed = self._world.state.distress_until[self._place.learner] * 3600.0 > self.now
        if rng.random() < 0.5 or is_distressed:
            if rng.random() < logistic(-0.9 - 0.8 * mind.motivation) and not is_distressed:
                self._emit("reflection_skipped")
            else:
                self._check_in("confidence", mind.belief + rng.gauss(0.0, 0.5), None)
                if rng.random() < 0.4 or is_distressed:
                    mood = 0.6 + 0.9 * mind.motivation - (2.0 if is_distressed else 0.0)
                    flag = "distress" if is_distressed and rng.random() < 0.5 else None
                    self._check_in("mood", mood + rng.gauss(0.0, 0.6), flag)
        if rng.random() < 0.9:
            self._emit("session_ended", attributes='{"reason": "finished"}')

    def _check_in(self, measure: str, level: float, flag: str | None) -> None:
        self.now += self._rng.uniform(5.0, 25.0)
        report = round(10.0 * logistic(level)) / 10.0
        about = '{"measure": "' + measure + '"}'
        self._emit("check_in", report=report, flag=flag, attributes=about)
