"""Does the measuring side find what was planted? Whole programmes, from events to `tutorflow tune`.

    python -m tests.bench.planted --seeds 1 2 3 4 5 --out planted.md

Each seed is a simulated programme with coaches, decided day by day by the functions of the hour
(`world.py` says what is planted: coaching that helps, a nudge that does nothing, a rule that
does harm). Then what tutorflow published of it is held against the truth:

effect     `intervention_effects`, alerts of tier 2 held out by lot or not, beside the true effect.
           The truth comes from playing the same seed again: every learner of the comparison gets
           the same help up to the case, and none after. All randomness of the simulation is a hash
           of learner and hour, so helping one learner changes no other. What a learner gained is
           the outcome with help less the outcome without; the true effect is the mean gain of those
           who were delivered less that of those held out (whom help reached another way, say after
           a rise to tier 3). It is that of these very learners, so only the lot is left to chance;
           what it gave is the difference of the groups without help.
nudge      whether the useless nudge is said to help, and how many of all comparisons of nudges are:
           simulated learners see none of them.
rule       the harmful rule's precision by coaches' verdicts, and its place among the proposals of
           `tutorflow tune`.
"""
