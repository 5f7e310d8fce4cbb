"""What many learners do at once: one rule fired by a crowd, one item missed by most who met it.

Then the cause is hardly the learner. A quiet week or a broken item holds signals back instead of
flooding coaches; the item is published instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

from tutorflow.policy.model import CohortGuard, ItemGuard

ItemKey = tuple[str, str]  # course, item
Tries = dict[str, tuple[datetime, datetime | None]]  # learner -> last met, last missed


class ItemTry(NamedTuple):
    """A learner met an item: a first try, or the item left unfinished."""

    at: datetime
    course_id: str
    item_id: str
    learner_id: str
    is_missed: bool


@dataclass(frozen=True)
class Finding:
    """An item that seems broken, from the tick that found it to the one that no longer did."""

    course_id: str
    item_id: str
    since: datetime
    learners_met: int
    learners_concerned: int
    share: float
    sentence: str
    until: datetime | None = None


def is_crowd(
    fired: Mapping[str, datetime], active_learners: int, as_of: datetime, guard: CohortGuard
) -> bool:
    """Whether so many of the learners active on a course fired one rule that it is no signal.

    ``fired``: learner -> when last.
    """
    if active_learners < guard.learners:
        return False
    since = as_of - timedelta(hours=guard.hours)
    return sum(at > since for at in fired.values()) >= guard.share * active_learners


def note_tries(known: dict[ItemKey, Tries], tries: Iterable[ItemTry]) -> set[ItemKey]:
    """Add tries to what is known; returns the items concerned."""
    touched = set()
    for one in tries:
        key = (one.course_id, one.item_id)
        touched.add(key)
        learners = known.setdefault(key, {})
        met, missed = learners.get(one.learner_id, (one.at, None))
        if one.is_missed:
            missed = one.at if missed is None else max(missed, one.at)
        learners[one.learner_id] = (max(met, one.at), missed)
    return touched


def judge_item(
    key: ItemKey, tries: Tries, known: Finding | None, as_of: datetime, guard: ItemGuard
) -> Finding | None:
    """The finding about an item at a tick: a new one, the known one as it stands now or closed.

    ``tries`` older than the guard looks back are forgotten. None: there was and is nothing.
    """
    since = as_of - timedelta(hours=guard.hours)
    for learner in [learner for learner, (met, _) in tries.items() if met <= since]:
        del tries[learner]
    missed = sum(at is not None and at > since for _, at in tries.values())
    met = len(tries)
    if met < guard.learners or missed < guard.share * met:
        return None if known is None else replace(known, until=as_of)
    return Finding(
        course_id=key[0],
        item_id=key[1],
        since=as_of if known is None else known.since,
        learners_met=met,
        learners_concerned=missed,
        share=missed / met,
        sentence=(
            f"missed or left unfinished by {missed} of the {met} learners who met it within "
            f"{guard.hours:g} hours; look at the item before looking at the learners"
        ),
    )
