"""What the truth is made of: the latent state day by day, and who needed a human when and why.

A need is defined by the latent process alone, never by an escalation rule:

==========  =================  ================================================================
kind        reason             the need exists while
==========  =================  ================================================================
content     prerequisite_gap   practice no longer teaches the skill being worked on (expected gain
                               below 0.045 logits per opportunity, chance of success under one half,
                               8 or more opportunities) and readiness is below one half
content     slow_growth        the same, with the prerequisites in place
confidence  belief_gap         belief lies 1.3 logits or more below competence (until 0.9), and
                               competence is fair (above -0.2), for 3 days or more
compliance  low_motivation     motivation is below -1.2 (until -0.8) for 3 days or more
compliance  never_started      the same of a learner who has not worked on anything yet
compliance  stopped_out        the learner has stopped; help is counted as needed for 14 days, or
                               until they withdraw
compliance  gaming             the chance of a rapid guess per item is 0.22 or more (until 0.15) for
                               3 days or more: presence without effort
safety      distress           a rare episode of distress, 10 days
==========  =================  ================================================================

A spell starts at the end of the first day on which this holds and ends at the end of the first day
on which it does not. One learner has at most one spell of a kind at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tutorflow.simulate.population import Population
from tutorflow.simulate.randomness import Floats, logistics
from tutorflow.simulate.state import MISSING_PREREQUISITE_PENALTY, SKILL_CEILING, State

LOW_MOTIVATION, RAISED_MOTIVATION = -1.2, -0.8
WIDE_GAP, NARROW_GAP = 1.3, 0.9
FAIR_COMPETENCE = -0.2
GAMING_ON, GAMING_OFF = 0.22, 0.15
STALLED_GAIN = 0.045
STALLED_OPPORTUNITIES = 8
AFTER_STOP_DAYS = 14
SHORTEST_SPELL_DAYS = 3

REASONS = ("", "low_motivation", "never_started", "stopped_out", "gaming")
CONTENT_REASONS = ("prerequisite_gap", "slow_growth")
Codes = NDArray[np.int64]


class Diary:
    """Keeps what the truth tables are made of, one entry per day."""

    def __init__(self, people: Population) -> None:
        n = len(people)
        self._people = people
        self._low = np.zeros(n, dtype=np.bool_)
        self._doubts = np.zeros(n, dtype=np.bool_)
        self._games = np.zeros(n, dtype=np.bool_)
        self.skill: list[NDArray[np.float32]] = []
        self.levels: dict[str, list[NDArray[np.float32]]] = {
            name: [] for name in ("motivation", "belief", "competence", "gaming", "readiness")
        }
        self.content: list[Codes] = []
        self.confidence: list[Codes] = []
        self.compliance: list[Codes] = []
        self.safety: list[Codes] = []
        self.stops: list[dict[str, Any]] = []
        self.breaks: list[dict[str, Any]] = []
        self._gone = np.zeros(n, dtype=np.bool_)
        self.has_started = np.zeros(n, dtype=np.bool_)
        self.has_withdrawn = np.zeros(n, dtype=np.bool_)
        self._away_until = np.zeros(n, dtype=np.int64)

    def stopped_now(self) -> NDArray[np.bool_]:
        """Who has stopped, as of the last day written."""
        return self._gone

    def write(self, state: State, day: int) -> None:
        """Note the state at the end of a day (0 = first) and who needs help in it."""
        hour = (day + 1) * 24
        self._note_stops_and_breaks(state, hour)
        ready = state.readiness_of_current()
        present = (self._people.enrolled_hour < hour) & ~state.is_gone()
        self.skill.append(state.skill.astype(np.float32))
        for name, values in (
            ("motivation", state.motivation),
            ("belief", state.belief),
            ("competence", state.competence),
            ("gaming", state.gaming),
            ("readiness", ready),
        ):
            self.levels[name].append(values.astype(np.float32))
        self.content.append(self._content(state, ready, present))
        self._doubts = _hysteresis(
            self._doubts, state.competence - state.belief, WIDE_GAP, NARROW_GAP
        )
        doubts = self._doubts & present & (state.competence > FAIR_COMPETENCE)
        self.confidence.append((doubts & state.has_started).astype(np.int64))
        self.compliance.append(self._compliance(state, present, hour))
        is_distressed = present & (state.distress_until >= hour)
        self.safety.append(is_distressed.astype(np.int64))

    def _note_stops_and_breaks(self, state: State, hour: int) -> None:
        gone = state.is_gone()
        for learner in np.flatnonzero(gone & ~self._gone).tolist():
            is_sudden = bool(state.motivation[learner] > LOW_MOTIVATION)
            kind = "sudden" if is_sudden else "gradual"
            self.stops.append({"learner": learner, "hour": hour, "kind": kind})
        self._gone = gone
        self.has_started = state.has_started.copy()
        self.has_withdrawn = (state.withdraw_hour >= 0) & (state.withdraw_hour <= hour)
        for learner in np.flatnonzero(state.break_until > self._away_until).tolist():
            until = int(state.break_until[learner])
            self.breaks.append({"learner": learner, "hour": hour, "until": until})
        self._away_until = state.break_until.copy()

    def _content(self, state: State, ready: Floats, present: NDArray[np.bool_]) -> Codes:
        """0 = no need, else 1 + 2 * skill number + (0 prerequisite gap | 1 slow growth)."""
        rows, skill = np.arange(len(state)), np.maximum(state.current_skill, 0)
        level = state.skill[rows, skill]
        room = logistics(1.5 * (SKILL_CEILING - level))
        gain = self._people.learning * ready * room
        is_stalled = (
            present
            & (state.current_skill >= 0)
            & (state.practised[rows, skill] >= STALLED_OPPORTUNITIES)
            & (gain < STALLED_GAIN)
            & (level - MISSING_PREREQUISITE_PENALTY * (1.0 - ready) < 0.0)
        )
        code: Codes = np.where(is_stalled, 1 + 2 * skill + (ready >= 0.5), 0)
        return code

    def _compliance(self, state: State, present: NDArray[np.bool_], hour: int) -> Codes:
        self._low = _hysteresis(self._low, -state.motivation, -LOW_MOTIVATION, -RAISED_MOTIVATION)
        self._games = _hysteresis(self._games, state.gaming, GAMING_ON, GAMING_OFF)
        code = np.where(self._games & present & state.has_started, REASONS.index("gaming"), 0)
        code = np.where(self._low & present, REASONS.index("low_motivation"), code)
        idle = self._low & present & ~state.has_started
        code = np.where(idle, REASONS.index("never_started"), code)
        recently = state.is_gone() & (hour - state.quit_hour < AFTER_STOP_DAYS * 24)
        stays = (state.withdraw_hour < 0) | (state.withdraw_hour > hour)
        stopped: Codes = np.where(recently & stays, REASONS.index("stopped_out"), code)
        return stopped


def _hysteresis(was: NDArray[np.bool_], value: Floats, on: float, off: float) -> NDArray[np.bool_]:
    held: NDArray[np.bool_] = (value > on) | (was & (value > off))
    return held
