"""Flags of people: the rows of the inbox `manual_flags` that the rule of that name judges.

The rule needs them before the ticks take the inbox, so those that wait are checked here as the
ticks will check them; those taken earlier are read again, because they still stand.
"""

from __future__ import annotations

from datetime import datetime

import pandas as pd

from tutorflow.publish import read_table
from tutorflow.publish.inbox import Inbox, accepted
from tutorflow.settings import Settings

FLAGS = "manual_flags"


def flags(
    settings: Settings, inbox: Inbox, first: datetime, ends: list[datetime], start: datetime
) -> pd.DataFrame:
    """Accepted flags written at or after ``start`` or taken by the ticks that end at ``ends``.

    ``first`` is the start of the first tick. Columns as :func:`tutorflow.publish.inbox.accepted`
    gives them; ``at`` is when the flag counts, never before the tick that takes it.
    """
    earlier = read_table(settings, "inbox_taken", lambda t: t.c.written_at >= start)
    found = [accepted(earlier, FLAGS)]
    begins = [first, *ends[:-1]]
    for index, rows in sorted(inbox.by_tick.items()):
        ahead = Inbox({0: [row for row in rows if row.inbox == FLAGS]}, inbox.known_learners)
        ahead.take(0, ends[index], ())
        if ahead.taken:
            new = accepted(pd.DataFrame(ahead.taken), FLAGS)
            found.append(new.assign(at=new["at"].mask(new["at"] < begins[index], begins[index])))
    filled = [rows for rows in found if not rows.empty]
    return pd.concat(filled, ignore_index=True) if filled else found[0]
