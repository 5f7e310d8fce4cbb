"""The simulated programme: advances hour by hour, hands out events, takes human help."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from tutorflow.simulate.clock import HOUR, Clock
from tutorflow.simulate.config import SimulationConfig, SimulationError
from tutorflow.simulate.contacts import Contact, Contacts
from tutorflow.simulate.coursework import Coursework
from tutorflow.simulate.curriculum import Curriculum, build_curriculum
from tutorflow.simulate.diary import Diary
from tutorflow.simulate.eventlog import EventLog
from tutorflow.simulate.population import Population, build_population
from tutorflow.simulate.randomness import Stream, generator, uniforms
from tutorflow.simulate.session import Place, Session, World
from tutorflow.simulate.state import NEVER, State
from tutorflow.simulate.timetable import CalendarEntry, Timetable
from tutorflow.simulate.truth import Truth, tell_truth
from tutorflow.simulate.tutor import Tutor


class Programme:
    """A tutoring programme with hidden truth.

    `advance` plays the hours up to an instant and returns the events received before it;
    `intervene` changes a learner's latent state; `truth` tells what really happened so far. The
    same config and seed give the same events however the time is cut, and the learners an
    intervention does not touch are not changed by it.
    """

    def __init__(self, config: SimulationConfig, seed: int | None = None) -> None:
        self.config = config if seed is None else replace(config, seed=seed)
        self.curriculum: Curriculum = build_curriculum(self.config.seed)
        self.people: Population = build_population(self.config, self.curriculum)
        self._clock = Clock(self.config)
        self._state = State(self.config, self.people, self.curriculum)
        self._log = EventLog(self.config, self.people.user_ids)
        self._world = World(self.curriculum, self.people, self._state, self._log)
        self._tutors = [
            Tutor(self.curriculum, courses, passed)
            for courses, passed in zip(self.people.courses, self.people.placed_out, strict=True)
        ]
        self._timetable = Timetable(self.config, self.people, self._state, self._log, self._clock)
        self._coursework = Coursework(
            self.config, self.curriculum, self.people, self._state, self._log, self._clock
        )
        self._diary = Diary(self.people)
        self._number_of = {user_id: k for k, user_id in enumerate(self.people.user_ids)}
        self._contacts = Contacts(
            self.config.seed,
            self.config.effects,
            self.people,
            self._state,
            self._log,
            self._clock,
        )
        self._rate = np.zeros(len(self.people))
        self._hour = 0
        self._advanced_to = self.config.starts_at

    @property
    def advanced_to(self) -> datetime:
        """The instant up to which events were handed out."""
        return self._advanced_to

    def advance(self, until: datetime) -> pa.Table:
        """Events received from the last `advanced_to` up to (not including) `until`.

        An Arrow table in the canonical input format (`eventlog.SCHEMA`), in order of receipt; use
        `.to_pandas()` for a frame. Going past the end of the programme returns what is left. Raises
        `SimulationError` for a naive time or one before `advanced_to`.
        """
        if until.tzinfo is None:
            raise SimulationError(f"advance needs a time with its zone, not {until!r}")
        until = min(until.astimezone(UTC), self.config.ends_at)
        if until < self._advanced_to:
            raise SimulationError(
                f"the programme is at {self._advanced_to.isoformat()} and cannot go back to "
                f"{until.isoformat()}; make a new Programme to start over"
            )
        last = math.ceil((until - self.config.starts_at) / timedelta(hours=1))
        while self._hour < last:
            self._play(self._hour)
            self._hour += 1
        self._advanced_to = until
        return self._log.take(until)

    def intervene(
        self,
        learner: str,
        kind: str,
        at: datetime,
        *,
        skill_id: str | None = None,
        strength: float = 1.0,
    ) -> None:
        """Human help for a learner (user id) at an instant not before `advanced_to`.

        kind: a key of `config.effects`, which holds its mean effect; the effect a learner takes
        from it varies (lognormal, sigma 0.4), is multiplied by `strength`, and halves with each
        contact of the week before. It is felt by what begins in the whole hours after `at`; a
        message, or a live contact that the learner came to, is also an event. skill_id: what
        content help is about; by default the skill being worked on.
        """
        if learner not in self._number_of:
            raise SimulationError(f"there is no learner {learner!r} in this programme")
        if kind not in self.config.effects:
            known = ", ".join(sorted(self.config.effects))
            raise SimulationError(f"kind of help must be one of {known}, not {kind!r}")
        if skill_id is not None and skill_id not in self.curriculum.number_of:
            raise SimulationError(f"there is no skill {skill_id!r} in this programme")
        if at.tzinfo is None or at.astimezone(UTC) < self._advanced_to:
            raise SimulationError(
                f"help at {at.isoformat()} is too late: the programme is already at "
                f"{self._advanced_to.isoformat()}"
            )
        hour = math.ceil((at.astimezone(UTC) - self.config.starts_at) / timedelta(hours=1))
        self._contacts.plan(
            Contact(
                hour=max(hour, self._hour),
                learner=self._number_of[learner],
                kind=kind,
                at=at.astimezone(UTC),
                skill=NEVER if skill_id is None else self.curriculum.number_of[skill_id],
                strength=strength,
            )
        )

    def truth(self) -> Truth:
        """The hidden truth up to the last whole day played; module `truth` has the definitions."""
        return tell_truth(
            self._diary,
            self.people,
            self.curriculum,
            self._clock,
            self._coursework,
            self._contacts.history,
        )

    def calendar(self) -> list[CalendarEntry]:
        """The term, its pause, and the breaks announced so far (every second one is)."""
        return self._timetable.calendar(self._diary.breaks)

    def enrolments(self) -> Iterator[tuple[int, str, datetime, datetime | None]]:
        """(learner number, course, enrolled at, withdrew at or None) of everybody so far."""
        for learner, courses in enumerate(self.people.courses):
            enrolled = self._clock.instant(float(self.people.enrolled_hour[learner]) * HOUR)
            hour = int(self._state.withdraw_hour[learner])
            has_left = 0 <= hour < self._hour
            for course in courses:
                yield (
                    learner,
                    course,
                    enrolled,
                    self._clock.instant(hour * HOUR) if has_left else None,
                )

    def _play(self, hour: int) -> None:
        day = hour // 24
        if hour % 24 == 0:
            self._timetable.begin_day(day)
            self._coursework.announce(day)
        self._contacts.play(hour)
        self._timetable.live_sessions(hour)
        self._timetable.nudges(hour)
        self._start_sessions(hour)
        if hour % 24 == 23:
            self._diary.write(self._state, day)
            self._state.end_day(day)

    def _start_sessions(self, hour: int) -> None:
        """Sessions begin by chance: own rate (motivation) times own rhythm of the week."""
        if self._clock.hours - hour <= 1:
            return
        state, week = self._state, hour // 168
        pause = self._timetable.pause_factor(hour // 24)
        rate = state.session_rate(hour, pause)
        hazard = rate * self.people.rhythm[:, self._clock.hour_of_week[hour]]
        drawn = uniforms(self.config.seed, Stream.SESSION_START, len(self.people), hour)
        begins = (drawn < -np.expm1(-hazard)) & (state.busy_until < (hour + 0.5) * HOUR)
        for learner in np.flatnonzero(begins).tolist():
            self._run_session(learner, hour, week)

    def _run_session(self, learner: int, hour: int, week: int) -> None:
        rng = generator(self.config.seed, Stream.SESSION, learner, hour)
        busy_until = float(self._state.busy_until[learner])
        starts = max(hour * HOUR + rng.random() * HOUR, busy_until + 300.0)
        course = self._coursework.course_for(learner, week)
        place = Place(
            learner=learner,
            course=course,
            unlocked=self._coursework.unlocked(course, week),
            starts=starts,
            session_id=f"s-{self.people.user_ids[learner]}-{hour:04d}",
        )
        session = Session(self._world, self._tutors[learner], place, rng)
        session.run()
        self._coursework.after_session(
            learner, course, session.items, session.correct, session.now, rng
        )
