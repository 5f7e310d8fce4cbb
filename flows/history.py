"""The backfill: the same story as the hour's, over the ticks of the past, committed in batches."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from flows.hour import WAIT_SECONDS, Call, RunReport, plain, run_ticks
from flows.lock import Holder
from tutorflow import warehouse
from tutorflow.errors import TutorflowError
from tutorflow.hours import Tick, floor_tick, next_tick, ticks_between, to_aware_utc
from tutorflow.pull import source_watermarks
from tutorflow.settings import Settings

# Ticks committed together: enough to share one pass over the marts, few enough to lose little.
# A week of hours, twelve weeks of days.
BATCH: dict[Tick, int] = {"hour": 168, "day": 84}


def run_backfill(
    settings: Settings,
    start: datetime | None,
    end: datetime | None,
    every: Tick,
    now: datetime,
    *,
    call: Call = plain,
    batch_ticks: int | None = None,
    wait_seconds: float = WAIT_SECONDS,
    on_wait: Callable[[Holder], None] | None = None,
    on_progress: Callable[[int, int, datetime], None] | None = None,
) -> RunReport:
    """Pull and build once, then decide every tick from `start` to `end`, oldest first.

    `start` defaults to the first event, `end` to the end of the data: the last instant up to which
    any source is complete, `now` at the latest. It goes on after the last committed tick,
    so an interrupted backfill is continued by the same command. Raises TutorflowError when there is
    nothing to begin with, or `start` lies before a tick that is already published.
    """
    settings = settings.model_copy(update={"tick": every})
    limit = floor_tick(min(end, now) if end else now, every, settings.timezone)

    def from_the_start(committed: datetime | None) -> Sequence[datetime]:
        last = limit if end else min(limit, _end_of_the_data(settings, now))
        if committed is not None:
            return ticks_between(committed, last, every, settings.timezone)
        first = start or _first_event_at(settings)
        return ticks_between(
            floor_tick(first, every, settings.timezone), last, every, settings.timezone
        )

    return run_ticks(
        settings,
        from_the_start,
        now,
        call=call,
        wait_seconds=wait_seconds,
        on_wait=on_wait,
        on_progress=on_progress,
        batch_ticks=batch_ticks or BATCH[every],
    )


def _end_of_the_data(settings: Settings, now: datetime) -> datetime:
    """The end of the first tick at or after which no source is complete any further."""
    known = source_watermarks(settings, now)["complete_until"].dropna()
    if known.empty:
        return now
    before = to_aware_utc(known.max().to_pydatetime()) - timedelta(microseconds=1)
    return next_tick(before, settings.tick, settings.timezone)


def _first_event_at(settings: Settings) -> datetime:
    with warehouse.open_warehouse(settings, read_only=True) as connection:
        row = connection.execute("select min(occurred_at) from marts.events").fetchone()
    if row is None or row[0] is None:
        raise TutorflowError(
            "There is no event to begin with. `tutorflow status` shows what each source delivered."
        )
    return to_aware_utc(row[0])
