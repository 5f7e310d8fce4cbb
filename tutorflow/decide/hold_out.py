"""Who is left out by lot for a while, so that there is somebody to compare the others with.

A mild alert is drawn for once, at the tick that would deliver it first. Where the lot falls on it,
nobody is told for some days; if it still stands then, or as soon as it rises, it is delivered like
any other. The lot is that of the learner on the course in the round of days in which the alert
opened: all alerts of a round share it, and it is the same in the hour, in a backfill and in a
rehearsal. What asks for contact the same day, what is about safety, and what a person has asked for
or spoken about is never left out.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from tutorflow.decide.episodes import EPOCH, Alert
from tutorflow.decide.ids import fraction
from tutorflow.decide.rule import RULES
from tutorflow.policy.model import HoldOut

IN_WORDS = "left out by lot for a while, to learn whether alerts like this one help"


def is_drawn(alert: Alert, policy: HoldOut) -> bool:
    """Whether chance decides about the delivery at hand, the alert's first.

    An alert that opened for the AI tutor was drawn for then; when it rises, that is over.
    """
    was_drawn = alert.held_out_at is not None or (
        alert.opening_tier != alert.alert_tier and alert.opening_tier in policy.tiers
    )
    return not was_drawn and _may_wait(alert, policy)


def held_out_until(alert: Alert, as_of: datetime, policy: HoldOut) -> datetime | None:
    """Until when the lot keeps an undelivered alert from everybody; None: it does not, or no more.

    Naive UTC; ``as_of`` is the tick that could deliver it.
    """
    since = alert.held_out_at
    if since is None:
        is_left_out = is_drawn(alert, policy) and falls_on(alert, policy)
        return as_of + timedelta(days=policy.days) if is_left_out else None
    has_risen = alert.risen_at is not None and alert.risen_at > since
    until = since + timedelta(days=policy.days)
    return until if until > as_of and not has_risen and _may_wait(alert, policy) else None


def falls_on(alert: Alert, policy: HoldOut) -> bool:
    """Whether the alert's lot is to be left out."""
    learner, course, _ = alert.key
    number = (alert.opened_at - EPOCH) // timedelta(days=policy.round_days)
    return fraction("alert held out", learner, course, str(number)) < policy.share


def _may_wait(alert: Alert, policy: HoldOut) -> bool:
    """It is mild, and nobody has asked for a person or spoken about it."""
    return (
        policy.share > 0
        and alert.alert_tier in policy.tiers
        and not alert.is_urgent
        and alert.overridden_at is None
        and alert.acknowledged_at is None
        and not any(rule in RULES and RULES[rule].is_request for rule in alert.rules)
    )
