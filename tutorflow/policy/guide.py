"""The policy as a page that staff can read.

Every number is taken from the policy and every rule is described by its docstring and by a
function here that has the same parameters, so the page cannot say anything else than what is
done: a test compares the signatures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from tutorflow.decide.rule import RULES, Rule
from tutorflow.decide.working_time import NEXT_SESSION
from tutorflow.policy.examples import example
from tutorflow.policy.model import LAYERS, Level, Policy, Recovery, Route, RulePolicy
from tutorflow.policy.nudges import RESULTS, Nudge, NudgeLibrary, filled

TIERS = {
    1: "a nudge will do; no coach is called",
    2: "somebody should check in",
    3: "somebody should talk to the learner today",
    4: "urgent; never waits for capacity",
}
LAYER_MEANINGS = {
    "content": "the learner is not ready for the next step",
    "confidence": "the skill may be there; the behaviour says the learner does not trust it",
    "compliance": "the learner stops showing up, starting or finishing",
    "safety": "somebody may be at risk",
}
RECOVERIES = {
    "unaided_correct": "{} right answers in a row on the skill without help",
    "items_without_signal": "{} answers in a row without it",
    "worked_session": "a session of real work",
    "finished_session": "a session with nothing left unfinished",
    "submitted": "the assignment being handed in",
    "by_person": "a person saying so, and with nothing else",
    "human_contact": "a person writing to the learner or meeting them",
    "answered": "an answer of the learner, or a session of real work",
    "score_below": "the end of a day at which no score is that high",
}
ABOUT = {
    "skill": "the skill",
    "item": "the task",
    "learner": "the course",
    "category": "the concern",
}


def policy_guide(
    policy: Policy,
    asleep: Mapping[str, str] | None = None,
    nudges: NudgeLibrary | None = None,
) -> str:
    """The policy in plain words, as Markdown.

    ``asleep`` names rules that cannot work with the sources at hand, and why; ``nudges`` is the
    library in use.
    """
    lines = [
        "# When a learner needs a human",
        "",
        f"Policy {policy.version}, in force for what happens from {policy.effective_from} on.",
        "Every hour each rule below looks at what learners did. A rule that becomes true is a "
        "*signal*; signals of one kind about one learner are one *alert*. An alert says what was "
        "seen, why now, what was tried, and what to do next. People decide.",
        "",
        *_pilot(policy),
        *_who_answers(policy),
        *_rules(policy, asleep or {}),
        *_holding_back(policy),
        *_order(policy),
        *_states(policy),
        *_good_news(policy),
        *(_nudges(nudges) if nudges else ()),
        *_practice(policy),
        *_scores(policy),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _pilot(policy: Policy) -> Iterator[str]:
    pilot = policy.pilot
    kinds = (("courses", pilot.courses), ("groups", pilot.cohorts), ("rules", pilot.rules))
    limits = [f"the {kind} {', '.join(names)}" for kind, names in kinds if names is not None]
    if limits:
        yield "## Pilot"
        yield ""
        yield (
            f"This is tried out for {', and '.join(limits)}. Outside of that nothing is decided "
            "for learners, but for safety concerns, which are always heard."
        )
        yield ""


# -- who answers -----------------------------------------------------------------------------------


def _who_answers(policy: Policy) -> Iterator[str]:
    yield "## Who answers, and by when"
    yield ""
    yield from _table(
        ("Alert tier", "Meaning", *(layer.capitalize() for layer in LAYERS)),
        [
            (str(tier), meaning, *(_route(policy.route(layer, tier)) for layer in LAYERS))
            for tier, meaning in TIERS.items()
        ],
    )
    special = [route for route in policy.routing if _is_for_some(route)]
    if special:
        yield "Asked first, where it fits:"
        yield ""
        yield from (f"- {_special(route)}." for route in special)
        yield ""
    later = dict.fromkeys(
        _words(route.escalates_to) for route in policy.routing if route.escalates_to
    )
    if later:
        yield (
            "What is due and was not taken up goes on, once and due anew: from a route that names "
            f"somebody for this to {', '.join(later)}."
        )
        yield ""
    yield "The kinds of difficulty:"
    yield ""
    yield from (f"- **{layer}**: {meaning}." for layer, meaning in LAYER_MEANINGS.items())
    hours = policy.working_hours
    yield ""
    yield (
        f"Due times run in the coach's own working hours ({hours.workdays}, {hours.start:%H:%M} to "
        f"{hours.end:%H:%M} where the roster says nothing)."
    )
    yield ""


def _is_for_some(route: Route) -> bool:
    return route.age_band is not None or route.programme is not None or route.needs_authority


def _special(route: Route) -> str:
    """A route that answers for some learners only, and for whom."""
    who = [f"tier {route.alert_tier}" + (f" of {route.layer}" if route.layer else "")]
    if route.age_band:
        who.append(f"age {' or '.join(route.age_band)}")
    if route.programme:
        who.append(f"programme {' or '.join(route.programme)}")
    if route.needs_authority:
        who.append("a guardian with recorded authority")
    return f"{', '.join(who)}: {_route(route)}"


def _route(route: Route) -> str:
    who = f"{_words(route.role)}, {_words(route.channel)}"
    return who if route.due == "none" else f"{who}, {_due(route.due)}"


def _due(due: str) -> str:
    if due.startswith(NEXT_SESSION):
        return f"before the {due.removesuffix('s').replace(' or ', ' or within ')}s"
    return due if due == "same day" else f"within {due}"


# -- rules -----------------------------------------------------------------------------------------


def _rules(policy: Policy, asleep: Mapping[str, str]) -> Iterator[str]:
    yield "## The rules"
    for layer in LAYERS:
        entries = {name: entry for name, entry in policy.rules.items() if entry.layer == layer}
        if entries:
            yield ""
            yield f"### {layer.capitalize()}"
        for name, entry in entries.items():
            yield ""
            yield from _rule(policy, name, entry, asleep.get(name))
    yield ""


def _rule(policy: Policy, name: str, entry: RulePolicy, why_asleep: str | None) -> Iterator[str]:
    rule = RULES[name]
    yield f"#### {entry.title} ({entry.code}, `{name}`)"
    yield ""
    if not entry.enabled:
        yield "*Switched off in this policy.*"
        yield ""
    elif not policy.is_in_pilot(name):
        yield "*Not part of the pilot.*"
        yield ""
    elif why_asleep is not None:
        yield f"*Asleep: {why_asleep}.*"
        yield ""
    yield rule.summary
    yield ""
    for position, level in enumerate(entry.levels):
        is_known = position > 0 and level.when == entry.levels[position - 1].when
        tier = f"Alert tier {level.alert_tier}" if level.alert_tier else "Only noted"
        yield f"- **{tier}**: {_fires_when(policy, name, level, is_known)}."
        case = example(policy, name, level)
        if case is not None:
            yield f"  - Fires: {case.hit}. Does not yet: {case.near_miss}."
    if entry.only_while_struggling:
        below, answers = _share(policy.struggling.accuracy_below), policy.struggling.answers
        yield (
            f"- **Asks for a person only** of learners with less than {below} right over the last "
            f"20 and over the last 60 of at least {answers} answers."
        )
    yield f"- **Closes** with {_recovery(policy.recovery_of(name), rule)}."
    cooldown = policy.cooldown_of(name)
    if cooldown:
        yield f"- **Quiet** for {_hours(cooldown)} after that."
    action = entry.action.format(subject=ABOUT.get(rule.subject, "it"))
    yield f"- **Do**: {action} (about {entry.minutes} minutes)."
    yield f"- **Needs** {_needs(rule)}."


def _fires_when(policy: Policy, name: str, level: Level, is_known: bool) -> str:
    """What makes a level fire, with its numbers (``is_known``: the level before says them)."""
    numbers = policy.numbers_of(name, level)
    told = SENTENCES.get(name)
    # A rule of your own is told by its docstring; its numbers are named as they are.
    own = ", ".join(f"{_words(key)} {value}" for key, value in numbers.items())
    sentence = own if told is None else told(**numbers)
    again = level.repeated
    if again is None:
        return sentence
    if again.times_in_session is not None:
        times = f"{again.times_in_session} times in one session"
    else:
        times = f"in {again.sessions} sessions within {again.within_days:g} days"
    return f"the same {times}" if is_known else f"{times}: {sentence}"


def _recovery(recovery: Recovery, rule: Rule) -> str:
    if recovery.kind == "items_without_signal" and rule.mart == "check_ins":
        return f"{recovery.times} check-in{'s in a row' if recovery.times > 1 else ''} without it"
    return RECOVERIES[recovery.kind].format(recovery.times)


def _needs(rule: Rule) -> str:
    said = [f"`{event}`" for event in rule.needs]
    if rule.any_of:
        said.append(" or ".join(f"`{event}`" for event in rule.any_of))
    if rule.needs_core_skills:
        said.append("core skills in the roster")
    if not said:
        said.append("what people write in the inbox")
    needs = ", ".join(said)
    if rule.needs_time_of_day:
        needs += ", with the time of day"
    if rule.is_absence:
        needs += "; waits for late sources"
    return needs


# What each rule looks for. The parameters are those of the rule function.


def _repeated_misses(
    *,
    misses: int | None,
    in_a_row: int | None,
    mastery_below: float | None,
    mastered_at: float,
    ignore_productive_struggle: bool,
) -> str:
    line = mastered_at if mastery_below is None else mastery_below
    known = f"the estimated mastery of the skill is below {_share(line)}"
    if in_a_row is not None:
        return f"{in_a_row} first tries in a row on one skill are wrong, and {known}"
    text = f"{misses} of the last 10 first tries on one skill are wrong, and {known}"
    if ignore_productive_struggle:
        text += "; not while one of the last three was right without help (productive struggle)"
    return text


def _wheel_spinning(*, opportunities: int, correct_in_a_row: int, mastered_at: float) -> str:
    return (
        f"{opportunities} chances at a skill, never {correct_in_a_row} right in a row, and the "
        f"estimated mastery never reached {_share(mastered_at)}"
    )


def _accuracy_decline(*, points: float) -> str:
    return (
        f"the share of right answers among the last 20 is {points:g} or more percentage points "
        "below that of the learner's own 40 answers before (from 60 answers on)"
    )


def _slow_responses(
    *, z_above: float, times_own_median: float | None, items: int, wrong_of_last_5: int
) -> str:
    wrong = f"at least {wrong_of_last_5} of the last 5 answers are wrong"
    if times_own_median is not None:
        return (
            f"{items} answers in a row take over {times_own_median:g} times the learner's usual "
            f"time (median of 14 days, from 10 timed answers on), and {wrong}"
        )
    return (
        f"an answer takes far longer than the learner's own last 20 (over {z_above:g} standard "
        f"deviations, from 10 timed answers on), and {wrong}"
    )


def _rapid_guessing(
    *,
    in_a_row: int | None,
    share_of_last_20: float | None,
    at_most_seconds: float,
    of_item_mean: float,
    item_responses: int,
) -> str:
    quick = (
        f"wrong and quicker than {at_most_seconds:g} seconds and than {_share(of_item_mean)} of "
        f"the task's mean time (tasks with {item_responses} timed answers or more)"
    )
    often = f"{share_of_last_20 or 0:.0%} or more of the last 20 answers are"
    if in_a_row is None:
        return f"{often} {quick}"
    if share_of_last_20 is None:
        return f"{in_a_row} answers in a row are {quick}"
    return f"{in_a_row} answers in a row, or {often.removesuffix(' are')}, are {quick}"


def _idle_after_hard_item(
    *, from_minutes: float, to_minutes: float, item_first_tries: int, own_answers: int
) -> str:
    return (
        f"a pause of {from_minutes:g} to {to_minutes:g} minutes within a session after a wrong "
        "answer on a task that is harder than half of those the learner answered in 14 days (from "
        f"{own_answers} answers on; tasks with {item_first_tries} first tries or more)"
    )


def _hint_dependency(*, share: float, items: int, items_of_this_session: int) -> str:
    text = f"hints on {_share(share)} or more of the last {items} tasks"
    if items_of_this_session > 1:
        text += f", at least {items_of_this_session} of them in the running session"
    return text


def _hint_overuse(
    *,
    in_module: int | None,
    days: float,
    without_progress: int | None,
    minutes: float,
    quiet: int,
) -> str:
    over = f"over after {quiet} steps without a hint"
    if in_module is not None:
        return f"{in_module} hints in one module within {days:g} days; {over}"
    return (
        f"{without_progress} hints within {minutes:g} minutes without a right answer in between; "
        f"{over}"
    )


def _help_avoidance(*, wrong: int) -> str:
    return f"{wrong} wrong answers in a row with hints at hand, and no help of any kind opened"


def _hint_not_used(*, times: int, days: float, minutes: float) -> str:
    return (
        f"{times} hints opened within {days:g} days with no action on the task in the "
        f"{minutes:g} minutes after"
    )


def _pacing_drift(
    *,
    faster_by: float | None,
    slower_by: float | None,
    answers: int,
    before: int,
    before_at_least: int,
    wrong_of_last_5: int,
) -> str:
    way = "faster" if faster_by is not None else "slower"
    return (
        f"the last {answers} answers are {faster_by or slower_by:g} standard deviations {way} than "
        f"the {before} before (from {before_at_least} timed answers on), and at least "
        f"{wrong_of_last_5} of the last 5 answers are wrong"
    )


def _revision_loop(*, revisions: int) -> str:
    return f"an answer changed {revisions} times in a session without being handed in"


def _answer_dependency(*, of_last: int, given: int, unaided_wrong: int) -> str:
    return (
        f"of the last {of_last} answers {given} or more are right after the answer was shown (last "
        f"hint or explanation), none is right without that, and {unaided_wrong} or more are wrong "
        "without help"
    )


def _two_core_skills_missed(*, misses: int) -> str:
    return (
        f"{misses} or more first tries wrong on each of two core skills within a week, and no core "
        "skill right in between"
    )


def _trend_reversal(*, wrong: int, of_last: int, after_correct: int) -> str:
    return (
        f"{wrong} of the last {of_last} first tries on one skill are wrong, straight after "
        f"{after_correct} or more right in a row"
    )


def _repeated_help_no_gain(*, times: int, mastery_below: float | None, mastered_at: float) -> str:
    line = mastered_at if mastery_below is None else mastery_below
    return (
        f"{times} times a hint or a person was asked on one skill and the next first try within a "
        "week was wrong, with no right answer without help in between, and the estimated mastery "
        f"is below {_share(line)}"
    )


def _failed_then_abandoned(*, wrong: int, abandoned: int, ignore_productive_struggle: bool) -> str:
    left = "a task left" if abandoned == 1 else f"{abandoned} tasks left"
    text = f"{wrong} wrong answers and {left} on one skill in one session"
    if ignore_productive_struggle:
        text += "; a right answer without help starts the count anew (productive struggle)"
    return text


def _flat_mastery(
    *, cycle_days: int, opportunities: int, gain_below: float, mastered_at: float
) -> str:
    return (
        f"{opportunities} chances at a skill in {2 * cycle_days} days, and in neither half of them "
        f"did the estimated mastery gain {100 * gain_below:g} points; not once it has reached "
        f"{_share(mastered_at)}"
    )


def _error_pattern(*, times: int, days: float, share_of_errors: float) -> str:
    return (
        f"{times} first tries on a skill within {days:g} days fail in the same way, and so do "
        f"{_share(share_of_errors)} or more of those whose kind of mistake is known"
    )


def _shorter_sessions(*, to_share: float, last: int, before: int) -> str:
    return (
        f"the last {last} sessions take at most {_share(to_share)} of the usual time of the "
        f"{before} before (medians, within six weeks)"
    )


def _abandonment(*, times: int, days: float) -> str:
    return f"{times} tasks or sessions left unfinished within {days:g} days"


def _silent_after_low_score(*, hours: float, below: float) -> str:
    return f"no activity for {_hours(hours)} after a score below {_share(below)}"


def _inactive(
    *, days: float, below_cohort_percentile: float | None, cohort_of_at_least: int
) -> str:
    text = f"no activity for {days:g} days"
    if below_cohort_percentile is None:
        return text
    return (
        f"{text}, by one of the least active {_share(below_cohort_percentile)} on the course in "
        f"the last four weeks (with fewer than {cohort_of_at_least} learners the days alone count)"
    )


def _never_started(*, days: float) -> str:
    return f"nothing done {days:g} days after the course began for the learner"


def _activity_drop(*, to_share: float, active_days: int) -> str:
    return (
        f"the last 7 days hold at most {_share(to_share)} of the learner's usual activity in the "
        f"four weeks before, each of which had {active_days} or more active days"
    )


def _opened_not_started(*, sessions: int, days: float, events_below: int) -> str:
    return (
        f"{sessions} sessions in a row within {days:g} days were opened without an answer, a hint "
        f"or anything handed in, and with fewer than {events_below} things done in each"
    )


def _missed_sessions(*, sessions: int, grace_hours: float) -> str:
    return (
        f"{sessions} scheduled sessions in a row were missed: not attended within "
        f"{_hours(grace_hours)} of their start (what was called off or moved does not count; "
        "28 days at most)"
    )


def _late_work(*, assignments_late: int, days: float, grace_hours: float) -> str:
    grace = f" and {_hours(grace_hours)} later" if grace_hours else ""
    return f"{assignments_late} assignments within {days:g} days not handed in when due{grace}"


def _slow_to_start(*, times: float, at_least_seconds: float) -> str:
    return (
        f"from opening a session to the first answer it takes {times:g} times as long as usual or "
        f"longer, and at least {at_least_seconds:g} seconds (median of the last 3 sessions against "
        "that of the 10 before, from 5 on)"
    )


def _skipped_reflections(*, in_a_row: int) -> str:
    return f"{in_a_row} reflections in a row were skipped, without a check-in in between"


def _unanswered_outreach(
    *, messages_in_a_row: int, hours: float, activity_counts: bool, from_ai_tutor: bool
) -> str:
    who = "a person or the AI tutor" if from_ai_tutor else "a person"
    back = "an answer or any activity" if activity_counts else "an answer"
    return f"{messages_in_a_row} messages of {who} in a row, each {_hours(hours)} without {back}"


def _low_confidence(*, at_most: float, times: int, mastery_at_least: float) -> str:
    return (
        f"{times} check-ins in a row put the own confidence at {_share(at_most)} or lower, while "
        f"the estimated mastery of the skill is {_share(mastery_at_least)} or higher"
    )


def _low_mood(*, at_most: float, times: int) -> str:
    return f"{times} check-ins in a row put the mood at {_share(at_most)} or lower"


def _confidence_drop(*, points: float, hours: float) -> str:
    return (
        f"within {_hours(hours)} after an assessment the own confidence is lower by {points:g} or "
        "more (on a scale of 0 to 1) than in the last check-in before it"
    )


def _help_requested(*, for_a_person: bool) -> str:
    return "the learner asked to talk to a person" if for_a_person else "the learner asked for help"


def _manual_flag(*, contact_today: bool) -> str:
    today = ", asking for contact the same day" if contact_today else ""
    return f"somebody on the team flagged the learner{today}"


def _safety_concern() -> str:
    return "a safety category was set on something the learner wrote or reported"


def _score_threshold(*, at_least: float, leading_parts: int) -> str:
    return (
        f"one of the two scores is {at_least:g} or higher at the end of a day, and at least "
        f"{leading_parts} of its leading parts contribute"
    )


def _first_assignment_missing(*, days: float) -> str:
    return f"the first assignment of the course is not handed in {days:g} days after it was due"


SENTENCES: dict[str, Callable[..., str]] = {
    "repeated_misses": _repeated_misses,
    "wheel_spinning": _wheel_spinning,
    "accuracy_decline": _accuracy_decline,
    "two_core_skills_missed": _two_core_skills_missed,
    "trend_reversal": _trend_reversal,
    "repeated_help_no_gain": _repeated_help_no_gain,
    "failed_then_abandoned": _failed_then_abandoned,
    "flat_mastery": _flat_mastery,
    "error_pattern": _error_pattern,
    "slow_responses": _slow_responses,
    "rapid_guessing": _rapid_guessing,
    "idle_after_hard_item": _idle_after_hard_item,
    "hint_dependency": _hint_dependency,
    "hint_overuse": _hint_overuse,
    "help_avoidance": _help_avoidance,
    "hint_not_used": _hint_not_used,
    "pacing_drift": _pacing_drift,
    "revision_loop": _revision_loop,
    "answer_dependency": _answer_dependency,
    "abandonment": _abandonment,
    "shorter_sessions": _shorter_sessions,
    "silent_after_low_score": _silent_after_low_score,
    "inactive": _inactive,
    "never_started": _never_started,
    "activity_drop": _activity_drop,
    "first_assignment_missing": _first_assignment_missing,
    "opened_not_started": _opened_not_started,
    "missed_sessions": _missed_sessions,
    "late_work": _late_work,
    "slow_to_start": _slow_to_start,
    "skipped_reflections": _skipped_reflections,
    "unanswered_outreach": _unanswered_outreach,
    "low_confidence": _low_confidence,
    "low_mood": _low_mood,
    "confidence_drop": _confidence_drop,
    "help_requested": _help_requested,
    "manual_flag": _manual_flag,
    "safety_concern": _safety_concern,
    "score_threshold": _score_threshold,
}


# -- holding back, order, states, scores -----------------------------------------------------------


def _holding_back(policy: Policy) -> Iterator[str]:
    capacity = policy.capacity
    yield "## What keeps alerts few"
    yield ""
    yield (
        f"- **Capacity**: a coach gets at most {capacity.alerts_per_coach_day} new alerts of tier "
        f"2 and 3 a day (a coach's own number wins); {capacity.reserved_share_for_tier_3:.0%} of "
        "them are kept for tier 3. The rest waits and is looked at again every hour. What has "
        "been delivered is never taken back, and tier 4 never waits."
    )
    cohort, item = policy.fatigue.cohort_guard, policy.fatigue.item_guard
    yield (
        f"- **A quiet week**: when {_share(cohort.share)} of at least {cohort.learners} learners "
        f"active on a course ({cohort.active_days} days) fire one rule within "
        f"{_hours(cohort.hours)}, it says little about each of them: that rule waits, from "
        "tier 2 on, on that course until it is over, and what still stands then is opened."
    )
    yield (
        f"- **A broken item**: when {_share(item.share)} of at least {item.learners} learners who "
        f"met an item within {_hours(item.hours)} missed or left it, the item is listed "
        "(`item_findings`) and its signals wait."
    )
    if policy.fatigue.already_on_it_hours:
        yield (
            "- **Already on it**: for "
            f"{policy.fatigue.already_on_it_hours:g} hours after a person was in touch with the "
            "learner no new alert of tier 2 is delivered."
        )
    yield from _held_out(policy)
    yield (
        f"- **Left behind**: an alert closes when the learner has worked on and for "
        f"{policy.fatigue.fades_after_days:g} days no rule of it has fired again."
    )
    yield (
        "- **One alert**: while an alert is open, further signals of its kind join it; it rises "
        "when one of them is more serious."
    )
    yield (
        f"- **Back soon**: the same trouble within {_hours(policy.reopen_grace_hours)} of closing "
        "re-opens the alert."
    )
    yield (
        "- **Quiet after closing**: later than that, the same trouble waits for the end of the "
        "quiet time given with each rule; a higher tier does not wait."
    )
    yield (
        "- **Left alone**: learners on a pause, learners who have withdrawn, and staff accounts "
        "get no alerts. The clock of a silence stands still while a pause lasts."
    )
    yield (
        "- **Safety** passes all of this (only staff accounts are left out): it is delivered at "
        "once and stays open until a person says so."
    )
    yield (
        "- **Late data**: a silent source is not a silent learner. Rules that judge a silence wait "
        "until the data has come."
    )
    yield "- **Nothing is lost**: whatever is held back is listed with its reason."
    yield ""


def _held_out(policy: Policy) -> Iterator[str]:
    lot = policy.hold_out
    if lot.share:
        yield (
            f"- **For comparison**: {_share(lot.share)} of alerts of tier "
            f"{' and '.join(map(str, sorted(set(lot.tiers))))}, drawn by lot, are told to nobody "
            f"for {_hours(24 * lot.days)}, so that what alerts achieve can be measured; never one "
            "that becomes more serious, is about safety, or that somebody asked for."
        )


def _order(policy: Policy) -> Iterator[str]:
    weights, bands = policy.priority, policy.confidence
    yield "## The order of the queue, and how sure an alert is"
    yield ""
    yield (
        "A higher tier comes first. Within a tier: how far past its threshold "
        f"({_share(weights.severity)}), how many rules agree ({_share(weights.agreement)}), and "
        f"whether a core skill is concerned ({_share(weights.relevance)})."
    )
    yield (
        f"Confidence is high from {bands.high.rules} agreeing rules and {bands.high.n} "
        f"observations, medium from {bands.medium.rules} and {bands.medium.n}, else low."
    )
    yield ""


def _states(policy: Policy) -> Iterator[str]:
    states = policy.states
    yield "## The state of a learner"
    yield ""
    yield from _table(
        ("State", "Means"),
        [
            ("not started", "enrolled, no activity yet"),
            (
                "insufficient data",
                f"fewer than {states.enough_responses} answers and fewer than "
                f"{states.enough_active_days} active days",
            ),
            ("on track", "working, no open alert; struggle that leads somewhere is on track"),
            (
                "thriving",
                f"{_share(states.thriving.accuracy)} or more of the last 20 answers right, from "
                f"{states.thriving.responses} answers on",
            ),
            ("stuck", "an open alert about content or confidence"),
            ("drifting", "an open alert about compliance"),
            (
                "recovering",
                "working again while an alert is still open, and for "
                f"{_hours(states.recovering_hours)} after it has closed well",
            ),
            ("paused", "the roster says so"),
        ],
    )
    yield (
        "Stuck, drifting and paused begin at once; any other change waits until the state has "
        f"lasted {_hours(states.dwell_hours)}."
    )
    yield ""


def _nudges(library: NudgeLibrary) -> Iterator[str]:
    quiet = library.quiet_hours
    channels = " and ".join(_words(channel) for channel in quiet.channels)
    yield "## What the AI tutor says by itself"
    yield ""
    yield (
        "A nudge acknowledges effort and offers one small step. A learner gets at most one a day, "
        f"the same one again after {library.again_after_days:g} days at the earliest. What is sent "
        f"by {channels} waits from {quiet.start:%H:%M} to {quiet.end:%H:%M}. Who has opted out, is "
        "on a pause, or is with a person about a matter of safety hears nothing. So that the "
        f"result can be compared, {_share(library.holdout_share)} of cases are held out by lot; "
        "never those with an alert of tier 3 or 4. Which wording a learner gets is drawn once."
    )
    yield ""
    yield from _table(
        ("Nudge", "When", "For example", "Purpose, and who answers for it", "Judged by"),
        [
            (
                f"`{name}`",
                _nudge_when(nudge),
                _nudge_text(library, nudge),
                f"{nudge.purpose} ({_words(nudge.owner)})",
                f"{RESULTS[nudge.measure.result]} within {_hours(nudge.measure.within_hours)}",
            )
            for name, nudge in library.nudges.items()
        ],
    )


def _nudge_when(nudge: Nudge) -> str:
    when = nudge.when
    if when.states is not None:
        return f"enters: {', '.join(_words(state) for state in when.states)}"
    if when.rules is not None:
        return f"tier 1 of {', '.join(f'`{rule}`' for rule in when.rules)}"
    return f"good news: {', '.join(_words(kind) for kind in when.good_news or ())}"


def _nudge_text(library: NudgeLibrary, nudge: Nudge) -> str:
    """The first variant as it reads without a subject, and how it is sent."""
    variant = next(iter(nudge.variants.values()))
    language = library.language
    values = {"subject": library.no_subject[language], "minutes": variant.minutes}
    at = "" if variant.at == "now" else f", at {variant.at}"
    text, step = (filled(texts, language, values) for texts in (variant.text, variant.step))
    return f"{text} {step} ({_words(nudge.channel)}{at}, {variant.minutes} min)"


def _practice(policy: Policy) -> Iterator[str]:
    rules = policy.practice
    bands = (
        ("usually", rules.usual),
        ("recovering", rules.recovering),
        ("thriving", rules.thriving),
        (f"after {rules.misses_in_a_row} misses in a row", rules.after_misses),
    )
    yield "## What to practise next"
    yield ""
    yield (
        "The AI tutor is told the next skill: what a skill builds on comes first if it is not "
        "mastered, what lies furthest back before all else. "
        f"Mastered is an estimate of {_share(policy.mastered_at)}; what was mastered once counts "
        f"until the estimate falls below {_share(rules.forgotten_below)}. Tasks are chosen by the "
        "predicted chance of a right answer:"
    )
    yield ""
    yield from _table(
        ("Learner", "Aim at", "Between"),
        [(who, _share(b.aim), f"{_share(b.low)} and {_share(b.high)}") for who, b in bands],
    )


def _scores(policy: Policy) -> Iterator[str]:
    yield "## The two scores"
    yield ""
    yield (
        "Each runs from 0 to 100 and is the sum of its parts; nothing about who somebody is goes "
        "in. A part that is not known yet leaves its weight to the others; with less than half of "
        "the weight known there is no score. Leading parts warn, lagging parts confirm."
    )
    yield ""
    for score, parts in policy.scores.by_name().items():
        yield f"**{_words(score).capitalize()}**"
        yield ""
        yield from _table(
            ("Part", "Weight", "Kind", "No points at", "All points at"),
            [
                (
                    _words(name),
                    f"{part.weight:g}",
                    part.kind,
                    part.sentence.format(value=part.none),
                    part.sentence.format(value=part.full),
                )
                for name, part in parts.items()
            ],
        )


def _good_news(policy: Policy) -> Iterator[str]:
    news = policy.good_news
    told = []
    if news.mastered_after_struggle is not None:
        told.append(
            f"a skill is mastered for the first time, after {news.mastered_after_struggle.misses} "
            "or more misses among ten tries within "
            f"{news.mastered_after_struggle.within_days:g} days"
        )
    if news.streak is not None:
        told.append(f"{_listed(news.streak.days)} active days in a row")
    if news.returned is not None:
        told.append("an alert about showing up has closed because the learner came back")
    if told:
        yield "## Good news"
        yield ""
        yield "Told once each, without a tier:"
        yield ""
        yield from (f"- {line}." for line in told)
        yield ""


# -- words -----------------------------------------------------------------------------------------


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    for cells in (head, tuple("---" for _ in head), *rows):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""


def _words(name: str) -> str:
    return {"ai_tutor": "AI tutor", "in_app": "in the app"}.get(name, name.replace("_", " "))


def _listed(numbers: list[int]) -> str:
    *most, last = map(str, numbers)
    return f"{', '.join(most)} or {last}" if most else last


def _share(share: float) -> str:
    return f"{100 * share:g}%"


def _hours(hours: float) -> str:
    if hours >= 48 and hours % 24 == 0:
        return f"{hours / 24:g} days"
    return f"{hours:g} hour{'' if hours == 1 else 's'}"
