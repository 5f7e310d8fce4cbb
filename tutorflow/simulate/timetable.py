"""What happens by the timetable: enrolment, live sessions, nudges, withdrawal, pauses."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypedDict

import numpy as np

from tutorflow.simulate.clock import DAY, HOUR, Clock
from tutorflow.simulate.config import SimulationConfig
from tutorflow.simulate.eventlog import EventLog
from tutorflow.simulate.population import Population
from tutorflow.simulate.randomness import Stream, generator, logistic, uniforms
from tutorflow.simulate.state import State

PAUSE_DAYS = 4
PAUSE_FACTOR = 0.12
LIVE_MINUTES = 30
NUDGE_AFTER_DAYS = 3
NUDGE_EVERY_DAYS = 4
NUDGES_IN_A_ROW = 4
NUDGE_LIFT = 0.08


class CalendarEntry(TypedDict):
    """A row of calendar.csv; user_id and course_id are None where it holds for all."""

    kind: str
    user_id: str | None
    course_id: str | None
    starts_at: datetime
    ends_at: datetime
    note: str


class Timetable:
    """The events that follow the day and the hour rather than a work session."""

    def __init__(
        self,
        config: SimulationConfig,
        people: Population,
        state: State,
        log: EventLog,
        clock: Clock,
    ) -> None:
        n = len(people)
        self._seed = config.seed
        self._people, self._state, self._log, self._clock = people, state, log, clock
        self._booked_day = np.full(n, -1)
        self._is_booked_today = np.zeros(n, dtype=np.bool_)
        self._cancelled_day = np.full(n, -1)
        self._nudged_at = np.full(n, -1e9)
        self._nudges = np.zeros(n, dtype=np.int64)
        # One short holiday in the middle of a longer programme.
        self.pause_days = (
            range(config.weeks // 2 * 7 - PAUSE_DAYS, config.weeks // 2 * 7)
            if config.weeks >= 8
            else range(0)
        )

    def pause_factor(self, day: int) -> float:
        """Factor on everybody's session hazard: small during the programme's holiday."""
        return PAUSE_FACTOR if day in self.pause_days else 1.0

    def begin_day(self, day: int) -> None:
        """Enrolments, bookings, cancellations and withdrawals of a day."""
        self._enrol(day)
        self._is_booked_today = (self._booked_day == day) & (self._cancelled_day != day)
        self._book(day)
        self._cancel(day)
        self._withdraw(day)

    def _enrol(self, day: int) -> None:
        hours = self._people.enrolled_hour
        for learner in np.flatnonzero(hours // 24 == day).tolist():
            minute = generator(self._seed, Stream.LIVE, learner).random()
            for course in self._people.courses[learner]:
                at = (float(hours[learner]) + 0.9 * minute) * HOUR
                self._log.add(learner, "learner_enrolled", at, "coach", course=course)

    def _book(self, day: int) -> None:
        """After this week's slot the next week's is booked, unless the learner is long gone."""
        state, slots = self._state, self._people.live_slot
        is_slot_day = slots // 24 == self._clock.weekday(day)
        gone = state.is_gone() & (state.quit_hour < (day - 13) * 24)
        left = (state.withdraw_hour >= 0) & (state.withdraw_hour <= day * 24)
        enrolled = self._people.enrolled_hour < day * 24 + slots % 24
        for learner in np.flatnonzero(is_slot_day & enrolled & ~gone & ~left).tolist():
            if day + 7 in self.pause_days or (day + 8) * DAY > self._clock.end:
                continue
            hour = float(slots[learner] % 24)
            self._booked_day[learner] = day + 7
            self._log_live(learner, "session_scheduled", self._clock.at(day, hour + 0.6), day + 7)

    def _log_live(self, learner: int, event_type: str, at: float, day: int) -> None:
        hour = float(self._people.live_slot[learner] % 24)
        self._log.add(
            learner,
            event_type,
            at,
            "coach" if event_type == "session_scheduled" else "learner",
            course=self._people.courses[learner][0],
            session=f"live-{self._people.user_ids[learner]}-{day:03d}",
            due=self._clock.at(day, hour),
        )

    def _cancel(self, day: int) -> None:
        """Some call off the day before; who is away mostly does."""
        state, n = self._state, len(self._state)
        drawn = uniforms(self._seed, Stream.LIVE, n, 2 * day + 1)
        away = state.break_until > (day + 1) * 24
        chance = np.where(state.is_gone(), 0.0, np.where(away, 0.6, 0.05))
        for learner in np.flatnonzero((self._booked_day == day + 1) & (drawn < chance)).tolist():
            self._cancelled_day[learner] = day + 1
            at = self._clock.at(day, 9.0 + 10.0 * float(drawn[learner] / chance[learner]))
            self._log_live(learner, "session_cancelled", at, day + 1)

    def _withdraw(self, day: int) -> None:
        hours = self._state.withdraw_hour
        for learner in np.flatnonzero((hours >= 0) & (hours // 24 == day)).tolist():
            for course in self._people.courses[learner]:
                at = self._clock.at(day, 10.0 + learner % 7)
                self._log.add(learner, "learner_withdrew", at, course=course)

    def live_sessions(self, hour: int) -> None:
        """The live sessions whose slot is this hour: attended or not."""
        state, day = self._state, hour // 24
        is_now = self._people.live_slot == self._clock.hour_of_week[hour]
        for learner in np.flatnonzero(is_now & self._is_booked_today & ~state.is_gone()).tolist():
            hour_of_slot = float(self._people.live_slot[learner] % 24)
            slot = self._clock.at(day, hour_of_slot)
            if not hour * HOUR <= slot < (hour + 1) * HOUR or state.break_until[learner] > hour:
                continue
            rng = generator(self._seed, Stream.LIVE, learner, 1_000_000 + hour)
            if rng.random() < logistic(1.9 + 1.0 * float(state.motivation[learner])):
                self._attend(learner, slot + rng.uniform(0.0, 240.0), day)
            elif rng.random() < 0.6:
                self._write_after_absence(learner, slot + rng.uniform(0.5, 1.0) * HOUR)

    def _attend(self, learner: int, at: float, day: int) -> None:
        state = self._state
        self._log_live(learner, "session_attended", at, day)
        state.motivation[learner] += 0.08
        state.belief[learner] += 0.08
        skill = int(state.current_skill[learner])
        if skill >= 0:
            state.skill[learner, skill] += 0.05
        ends = at + LIVE_MINUTES * 60.0
        state.busy_until[learner] = max(state.busy_until[learner], ends)
        state.active_at[learner] = max(state.active_at[learner], ends)

    def _write_after_absence(self, learner: int, at: float) -> None:
        course = self._people.courses[learner][0]
        attributes = '{"purpose": "missed_session"}'
        self._log.add(learner, "message_sent", at, "coach", course=course, attributes=attributes)

    def nudges(self, hour: int) -> None:
        """The AI tutor writes to who was silent for days, at 17:00 local time, a few times."""
        if self._clock.hour_of_week[hour] % 24 != 17:
            return
        state, now = self._state, hour * HOUR
        enrolled_at = self._people.enrolled_hour * HOUR
        last = np.maximum(state.active_at, enrolled_at)
        self._nudges[state.active_at > self._nudged_at] = 0
        is_silent = (now - last >= NUDGE_AFTER_DAYS * DAY) & (enrolled_at < now)
        is_allowed = (now - self._nudged_at >= NUDGE_EVERY_DAYS * DAY - HOUR) & (
            self._nudges < NUDGES_IN_A_ROW
        )
        has_left = (state.withdraw_hour >= 0) & (state.withdraw_hour <= hour)
        for learner in np.flatnonzero(is_silent & is_allowed & ~has_left).tolist():
            rng = generator(self._seed, Stream.NUDGE, learner, hour)
            at = now + rng.uniform(0.0, 600.0)
            course = self._people.courses[learner][0]
            attributes = '{"purpose": "return"}'
            self._log.add(
                learner, "message_sent", at, "ai_tutor", course=course, attributes=attributes
            )
            self._nudged_at[learner] = now
            self._nudges[learner] += 1
            if state.is_gone()[learner]:
                continue
            if self._nudges[learner] == 1:
                state.motivation[learner] += NUDGE_LIFT
            if rng.random() < 0.3 * logistic(float(state.motivation[learner])):
                replied = at + rng.lognormvariate(8.0, 1.0)
                self._log.add(learner, "message_replied", replied, course=course)

    def calendar(self, breaks: list[dict[str, Any]]) -> list[CalendarEntry]:
        """Term, pause and announced breaks; half of the breaks were never announced."""
        instant = self._clock.instant
        entries = [_entry("term", None, instant(0.0), instant(self._clock.end), "Term")]
        if self.pause_days:
            first, last = self.pause_days[0], self.pause_days[-1]
            pause = (self._clock.at(first, 0.0), self._clock.at(last + 1, 0.0))
            entries.append(_entry("pause", None, instant(pause[0]), instant(pause[1]), "Holiday"))
        for learner, hour, until in ((b["learner"], b["hour"], b["until"]) for b in breaks):
            if (learner + hour // 24) % 2 == 0 and hour < self._clock.hours:
                user_id = self._people.user_ids[learner]
                starts, ends = instant(hour * HOUR), instant(until * HOUR)
                entries.append(_entry("excused", user_id, starts, ends, "Away"))
        return entries


def _entry(
    kind: str, user_id: str | None, starts: datetime, ends: datetime, note: str
) -> CalendarEntry:
    return CalendarEntry(
        kind=kind, user_id=user_id, course_id=None, starts_at=starts, ends_at=ends, note=note
    )
