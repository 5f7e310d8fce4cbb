"""Which alerts a tick looks at: those that something happened to, and those whose time has come.

Thousands of alerts are open at once, and at most ticks nothing can become of most of them. What can
close an alert, deliver it or miss its due time is a change of it, a learner who leaves, or time; so
every change enters the moments at which the alert is to be looked at again. To look at one too many
changes nothing.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tutorflow.decide.episodes import Alert, Key

INSTANT = timedelta(microseconds=1)


@dataclass
class Agenda:
    """When which alert is to be looked at; kept from tick to tick within a window."""

    moments: list[tuple[datetime, Key]] = field(default_factory=list)  # a heap

    def enter(self, alert: Alert, at: datetime) -> None:
        """Look at the alert at the first tick that ends at or after ``at``."""
        heapq.heappush(self.moments, (at, alert.key))

    def enter_times(self, alert: Alert, fades_after: timedelta) -> None:
        """Look at it when it may fade, and when it is no longer in time."""
        self.enter(alert, alert.last_signal_at + fades_after)
        if alert.due_at is not None:
            self.enter(alert, alert.due_at + INSTANT)

    def take(self, as_of: datetime) -> set[Key]:
        """What is to be looked at by the tick that ends at ``as_of``."""
        found = set()
        while self.moments and self.moments[0][0] <= as_of:
            found.add(heapq.heappop(self.moments)[1])
        return found
