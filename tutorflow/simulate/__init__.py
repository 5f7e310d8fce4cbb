"""A simulated tutoring programme with known hidden truth; no real learner is in it.

It exists to see the pipeline work, to test it, and to ask what real data cannot answer: who needed
a human, when, and what would have happened without one. It is not fitted to any data and not tuned
to the escalation rules; it knows none of them. Its assumptions:

=============  ====================================================================================
what           how (module)
=============  ====================================================================================
skill          A level in logits per learner and skill. Answers follow an item response curve with
               guessing and slips; a finished item adds learning rate x readiness of the
               prerequisites x room to grow x quality (`mind`). Nothing is ever "known" or "not
               known", so it is no Bayesian knowledge tracing. A little is forgotten every night.
wheel-         A prerequisite that was never learnt and that a lucky placement test hid, or that
spinning       belongs to the other course: answers are worse and practice hardly teaches
               (`population`, `curriculum`, `state`).
motivation     Returns to its own level (half-life 5.4 days) under daily noise and rare shocks. The
               level sinks slowly for all and fast for the drifting. It sets how often sessions
               start, how easily they are left, and who stops (`state`).
leaving        Despair when motivation is very low; about one in a thousand a day for reasons
               outside, without warning. Fewer than half say that they withdraw. Breaks of 4 to 12
               days look the same and end; half of them are announced in the calendar.
belief         Follows competence minus a bias of the learner's own. A doubter hesitates, edits,
               asks for hints and reports low confidence, but can do the work (`mind`).
effort         A chance of a rapid guess per item that varies by day and rises as motivation falls.
help seeking   Adaptive, avoidant or dependent, whatever the type.
types          steady 41 %, thriving 17, wheel-spinning 13, drifting 10, anxious 9, gaming 6, never
               started 4. A type only shifts means; the traits overlap (`population`).
AI tutor       Takes skills in course order, aims at 75 % success, makes items easier after two
               misses, moves on after three right in a row or 30 items, and is blind to missing
               prerequisites (`tutor`). Writes to the silent after 3 days (`timetable`).
calendar       Weekly live sessions, weekly assignments, four quizzes per course, an enrolment
               wave, late joiners, a pause in programmes of 8 weeks or more (`timetable`,
               `coursework`).
time           Own hours of the week in the programme's zone; lognormal response times with own
               pace; pauses of 5 to 28 minutes, oftener after errors.
delivery       Seconds after the fact; 2 % minutes to two days late (`eventlog`).
human help     Changes motivation, belief, effort or skill by documented amounts (`interventions`).
truth          State by day, spells of need, stops, results; needs are defined by the latent
               process (`diary`, `truth`).
=============  ====================================================================================

What comes out (300 learners, 6 weeks): 65 % of answers right, sessions of 25 minutes (mean), 3 per
week, 7 % of practised skills wheel-spinning, 11 % stopped (28 % after 16 weeks), some need in a
third of the learner-weeks. Help matched to the need on its first morning, which no real detector
can do, lifts passing by about 7 points and cuts stopping by about 5 in ten weeks; trials of real
coaching report 4 to 5.

Randomness is a hash of seed, purpose, learner and moment (`randomness`): a programme is the same
however it is cut in time, and helping one learner changes no other.

Weak points: learners do not influence each other; items within a skill differ in difficulty alone;
error types carry little meaning; quality of messages does not matter; after a course is mastered
only reviews remain, so long programmes have less to teach; nobody games the coaches.
"""

from tutorflow.simulate.config import SimulationConfig, SimulationError
from tutorflow.simulate.delivery import SimulationReport, simulate
from tutorflow.simulate.interventions import DEFAULT_EFFECTS, Effect
from tutorflow.simulate.programme import Programme
from tutorflow.simulate.truth import Truth

__all__ = [
    "DEFAULT_EFFECTS",
    "Effect",
    "Programme",
    "SimulationConfig",
    "SimulationError",
    "SimulationReport",
    "Truth",
    "simulate",
]
