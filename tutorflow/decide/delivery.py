"""Delivery: who answers an alert, by when, what a coach can take today, and what nobody took up."""

from __future__ import annotations

from datetime import datetime, timedelta

from tutorflow.decide import hold_out
from tutorflow.decide.episodes import Alert, Key, queue_key
from tutorflow.decide.ledger import Ledger
from tutorflow.decide.ticks import HELD_OUT, Changes, Context, OpenState
from tutorflow.decide.working_time import Coach, due_at
from tutorflow.policy.model import Policy, Route


class Delivery:
    """Routes and delivers the alerts of one tick."""

    def __init__(
        self,
        state: OpenState,
        context: Context,
        policy: Policy,
        changes: Changes,
        ledger: Ledger,
    ) -> None:
        self.state, self.context, self.policy = state, context, policy
        self.changes, self.ledger, self.as_of = changes, ledger, ledger.as_of
        self.looked_at: set[Key] = set()  # alerts of which something may become at this tick

    def changed(self, alert: Alert) -> None:
        """The alert is to be published, and its learner's state to be judged, again."""
        alert.priority = alert.rank(self.policy, self.context.core_skills)
        self.changes.alerts[alert.alert_id] = alert
        self.changes.touched.add(alert.key)
        self.looked_at.add(alert.key)
        if alert.status != "closed":
            self.state.agenda.enter(alert, self.as_of)  # and again at the next tick
            self.watch(alert)

    def watch(self, alert: Alert) -> None:
        """Enter when something may become of the open alert by time alone."""
        days = timedelta(days=self.policy.fatigue.fades_after_days)
        self.state.agenda.enter_times(alert, days)

    def alerts(self) -> list[Alert]:
        """The alerts that are looked at."""
        known = self.state.alerts
        return [known[key] for key in sorted(self.looked_at) if key in known]

    # -- who and by when ------------------------------------------------------------------------

    def route(self, alert: Alert) -> None:
        """Give the alert to the role its tier asks for; nobody has taken it up yet."""
        route = self._route_of(alert)
        alert.owner_role, alert.channel = route.role, route.channel
        alert.breached_at = alert.acknowledged_at = alert.acknowledged_by = None
        self._assign(alert)

    def due(self, alert: Alert) -> datetime | None:
        """When contact is due from now on, in the coach's working hours."""
        next_session = self.context.next_session_at(alert.key[0], alert.key[1], self.as_of)
        return due_at(self._route_of(alert).due, self.as_of, self.coach(alert), next_session)

    def coach(self, alert: Alert) -> Coach:
        """The coach: the one somebody chose, else the learner's of the role that owns it."""
        chosen, at = alert.override_coach_id, alert.overridden_at
        if chosen is not None and at is not None and (alert.breached_at or at) <= at:
            named = self.context.coach_named(chosen)
            if named is not None:
                return named
        return self.context.coach_of(alert.key[0], alert.key[1], alert.owner_role, self.as_of)

    def _route_of(self, alert: Alert) -> Route:
        profile = self.context.profile_of(alert.key[0], self.as_of)
        return self.policy.route(alert.key[2], alert.alert_tier, profile)

    def _assign(self, alert: Alert) -> None:
        profile = self.context.profile_of(alert.key[0], self.as_of)
        alert.contact_id = profile.contact_id if alert.owner_role == "guardian" else None
        alert.coach_id = None if alert.owner_role == "ai_tutor" else self.coach(alert).coach_id

    def reassign(self, alert: Alert) -> None:
        """Somebody has said who or how urgent: the alert goes there, due anew."""
        was_with_ai = alert.delivered_tier == 1
        self.route(alert)
        if alert.alert_tier > 1 and was_with_ai:
            alert.delivered_at = alert.delivered_tier = None
        alert.due_at = self.due(alert) if alert.delivered_at is not None else None
        self.changed(alert)

    # -- today or later -------------------------------------------------------------------------

    def deliver(self) -> None:
        """Deliver what a coach can take today, most needed first; the rest is held."""
        waiting = [a for a in self.alerts() if a.status != "closed" and a.delivered_at is None]
        for alert in sorted(waiting, key=queue_key):
            reason = self._why_later(alert)
            if reason is None:
                self._hand_over(alert)
            else:
                self._hold(alert, *reason)

    def _hold(self, alert: Alert, reason: str, detail: str, until: datetime | None) -> None:
        self.ledger.hold_alert(alert, reason, detail, until)
        self.state.agenda.enter(alert, self.as_of)  # reconsidered at each tick
        is_new = reason == HELD_OUT and alert.held_out_at is None
        if is_new:
            alert.held_out_at = self.as_of
        if is_new or alert.status != "held":
            alert.status = "held"
            self.changed(alert)

    def _hand_over(self, alert: Alert) -> None:
        if alert.alert_tier > 1:
            coach = self.coach(alert)
            alert.coach_id = alert.delivered_to = coach.coach_id
            alert.due_at = self.due(alert)
            day = coach.local_date(self.as_of)
            self.state.delivered[coach.coach_id, day, alert.alert_tier] += 1
        alert.status = "open"
        alert.delivered_at, alert.delivered_tier = self.as_of, alert.alert_tier
        for hold in self.ledger.of_alert(alert):
            self.ledger.release(hold, "delivered")
        self.changed(alert)

    def _why_later(self, alert: Alert) -> tuple[str, str, datetime | None] | None:
        """(reason, in words, until when) of not being delivered now; None: it is."""
        if alert.is_urgent:
            return None
        until = hold_out.held_out_until(alert, self.as_of, self.policy.hold_out)
        lot = None if until is None else (HELD_OUT, hold_out.IN_WORDS, until)
        if alert.held_out_at is not None and lot is not None:
            return lot
        # What would have to wait anyway is drawn for when it need not.
        return self._no_time(alert) or lot

    def _no_time(self, alert: Alert) -> tuple[str, str, datetime | None] | None:
        """Why no person takes it now: somebody is in touch already, or the day is full."""
        if alert.alert_tier == 1:
            return None
        if alert.alert_tier == 2:
            contact = self._last_contact(alert)
            until = contact and contact + timedelta(hours=self.policy.fatigue.already_on_it_hours)
            if contact is not None and until is not None and until > self.as_of:
                said = f"somebody was in touch with the learner on {contact:%d %b at %H:%M} UTC"
                return "already_on_it", said, until
        if self._has_room(alert):
            return None
        coach = self.coach(alert)
        detail = f"{coach.coach_id} has {coach.capacity_per_day} new alerts a day"
        return "capacity", detail, None

    def _last_contact(self, alert: Alert) -> datetime | None:
        learner, course, _ = alert.key
        known = (
            self.context.last_contact_at(learner, course, self.as_of),
            self.state.helped.get((learner, course)),
            self.state.helped.get((learner, None)),
        )
        return max((at for at in known if at is not None and at <= self.as_of), default=None)

    def _has_room(self, alert: Alert) -> bool:
        coach = self.coach(alert)
        day = coach.local_date(self.as_of)
        used_2 = self.state.delivered[coach.coach_id, day, 2]
        used_3 = self.state.delivered[coach.coach_id, day, 3]
        if used_2 + used_3 >= coach.capacity_per_day:
            return False
        reserved = int(coach.capacity_per_day * self.policy.capacity.reserved_share_for_tier_3)
        return alert.alert_tier == 3 or used_2 < coach.capacity_per_day - reserved

    # -- what nobody took up --------------------------------------------------------------------

    def notice_breaches(self) -> None:
        """What was due and not taken up goes to the role the route names next, due anew."""
        for alert in self.alerts():
            if alert.status != "open" or alert.due_at is None or alert.due_at >= self.as_of:
                continue
            if alert.breached_at is not None or alert.alert_tier < 2:
                continue
            if alert.acknowledged_at is not None and alert.acknowledged_at <= alert.due_at:
                continue
            alert.breached_at = self.as_of
            next_role = self._route_of(alert).escalates_to
            if alert.acknowledged_at is None and next_role is not None:
                alert.owner_role = next_role
                self._assign(alert)
                alert.due_at = self.due(alert)
            self.changed(alert)
