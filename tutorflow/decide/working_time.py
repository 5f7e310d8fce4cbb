"""Due times in a coach's working hours and time zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

NEXT_SESSION = "next session or "
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True)
class Coach:
    """Who answers, how much a day, and when they work (local times in ``timezone``)."""

    coach_id: str
    role: str = "coach"
    capacity_per_day: int = 8
    timezone: str = "UTC"
    workdays: frozenset[int] = frozenset(range(5))
    start: time = time(9)
    end: time = time(17)

    def local(self, at: datetime) -> datetime:
        """Naive UTC -> aware local time."""
        return at.replace(tzinfo=UTC).astimezone(ZoneInfo(self.timezone))

    def local_date(self, at: datetime) -> date:
        """The coach's day at a naive UTC instant."""
        return self.local(at).date()


def parse_workdays(text: str) -> frozenset[int]:
    """'Mon-Fri' or 'Monday,Wed,Sat' -> {0, 1, 2, 3, 4} or {0, 2, 5}. Raises ValueError."""
    days: set[int] = set()
    for part in text.split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        begin = _weekday(first)
        stop = _weekday(last) if dash else begin
        if begin is None or stop is None:
            raise ValueError(f"workdays {text!r}: use names such as Mon-Fri or Mon,Wed,Sat")
        days.update(
            range(begin, stop + 1) if begin <= stop else {*range(begin, 7), *range(stop + 1)}
        )
    return frozenset(days)


def _weekday(name: str) -> int | None:
    """0 for Mon, mon, Monday; None for anything else."""
    for number, weekday in enumerate(WEEKDAYS):
        if len(name) >= 3 and weekday.startswith(name.title()):
            return number
    return None


def next_working_moment(at: datetime, coach: Coach) -> datetime:
    """The first instant at or after ``at`` (aware, local) inside working hours."""
    day = at
    for _ in range(8):
        opens = datetime.combine(day.date(), coach.start, day.tzinfo)
        closes = datetime.combine(day.date(), coach.end, day.tzinfo)
        if day.weekday() in coach.workdays and day < closes:
            return max(day, opens)
        day = datetime.combine(day.date() + timedelta(days=1), time(0), day.tzinfo)
    return at


def due_at(
    due: str, at: datetime, coach: Coach, next_session_at: datetime | None = None
) -> datetime | None:
    """When something given to ``coach`` at ``at`` (naive UTC) is due; naive UTC.

    ``due``: 'none'; 'same day' (end of the working day that is running or comes next);
    'N hours' (N hours after work can begin; outside working hours, when work begins again);
    'next session or N hours': before the learner's next session, if that comes sooner and the
    coach is at work before it.
    """
    if due.startswith(NEXT_SESSION):
        latest = due_at(due.removeprefix(NEXT_SESSION), at, coach)
        begins = next_working_moment(coach.local(at), coach).astimezone(UTC).replace(tzinfo=None)
        if next_session_at is not None and latest is not None and begins < next_session_at < latest:
            return next_session_at
        return latest
    if due == "none":
        return None
    start = next_working_moment(coach.local(at), coach)
    if due == "same day":
        end = datetime.combine(start.date(), coach.end, start.tzinfo)
    else:
        later = start.astimezone(UTC) + timedelta(hours=int(due.split()[0]))
        end = later.astimezone(start.tzinfo)
        closes = datetime.combine(end.date(), coach.end, start.tzinfo)
        if end != closes or end.weekday() not in coach.workdays:
            end = next_working_moment(end, coach)
    return end.astimezone(UTC).replace(tzinfo=None)
