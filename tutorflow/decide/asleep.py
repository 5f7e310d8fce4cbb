"""Rules asleep: those that cannot work with the sources and the roster at hand, and why."""

from __future__ import annotations

from tutorflow.policy.model import Policy
from tutorflow.roster import core_skills_of, load_roster
from tutorflow.settings import Settings


def rules_asleep(policy: Policy, settings: Settings) -> dict[str, str]:
    """rule -> what it lacks, of the enabled rules that lack something."""
    sent = {kind for source in settings.sources for kind in source.event_types}
    timed = any(source.time_precision == "second" for source in settings.sources)
    has_core_skills = bool(core_skills_of(load_roster(settings)))
    asleep = {}
    for name, (rule, _) in policy.enabled_rules().items():
        lacking = rule.missing(sent)
        if rule.needs_time_of_day and not timed:
            lacking.append("the time of day")
        if rule.needs_core_skills and not has_core_skills:
            lacking.append("core skills in the roster")
        if lacking:
            asleep[name] = ", ".join(lacking)
    return asleep
