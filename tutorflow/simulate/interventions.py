"""What human help does to a simulated learner.

Help changes the latent state, never the behaviour directly: a lifted motivation shows as sessions
only through the session hazard, a repaired prerequisite as right answers only through practice.
Units: motivation and belief are on the scales of `Programme` (about one standard deviation between
learners each), skill gains are logits. The shipped sizes are modest on purpose: a matched contact
is worth about half a standard deviation at once and fades with the processes' own mean reversion,
so that over a programme coaching moves completion by single points, as published trials do
(METHODS.md, 4). Help of the wrong kind does little: a pep talk teaches nothing, a worked example
does not bring back who has left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Effect:
    """Mean effect of one contact that reaches the learner.

    reach: chance that the contact reaches the learner at all. motivation, belief: added at once.
    skill: logits added to the skill worked on. prerequisite: logits added to each weak prerequisite
    of that skill (readiness below one half). drift_relief: share of the accumulated downward drift
    of the motivation's own level that is undone. effort: share by which rapid guessing is reduced.
    returns: chance that a learner who had stopped comes back. minutes: length of the contact;
    0 = a message.
    """

    reach: float = 1.0
    motivation: float = 0.0
    belief: float = 0.0
    skill: float = 0.0
    prerequisite: float = 0.0
    drift_relief: float = 0.0
    effort: float = 0.0
    returns: float = 0.0
    minutes: int = 0


DEFAULT_EFFECTS: Mapping[str, Effect] = {
    "message": Effect(reach=0.7, motivation=0.4, belief=0.1, drift_relief=0.15, returns=0.05),
    "live_checkin": Effect(
        reach=0.8,
        motivation=0.8,
        belief=0.3,
        drift_relief=0.4,
        effort=0.3,
        returns=0.2,
        minutes=15,
    ),
    "worked_example": Effect(
        reach=0.85, motivation=0.1, belief=0.2, skill=0.4, prerequisite=0.9, minutes=20
    ),
    "confidence_reset": Effect(reach=0.85, motivation=0.2, belief=0.9, minutes=10),
    "study_skills": Effect(reach=0.8, motivation=0.1, effort=0.6, minutes=15),
    "family_contact": Effect(reach=0.7, motivation=0.7, drift_relief=0.5, returns=0.25),
}

# A second contact within a week adds half of what the first did, a third one a quarter.
REPEAT_WITHIN_HOURS = 7 * 24
REPEAT_FACTOR = 0.5
