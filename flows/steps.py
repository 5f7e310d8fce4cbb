"""The steps of the hour, as plain functions. `flows.hour` tells them in order."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from flows import marts, snapshots
from tutorflow import publish as publishing
from tutorflow import pull as pulling
from tutorflow import warehouse
from tutorflow.decide.window import advance_window
from tutorflow.measure import measuring
from tutorflow.publish import Candidates, Run, Verdict
from tutorflow.pull import PullAttempt
from tutorflow.settings import Settings

if TYPE_CHECKING:
    from flows.marts import BuildReport


def pull(settings: Settings, now: datetime) -> list[PullAttempt]:
    """Land what the sources delivered since the last time; one attempt per source."""
    return pulling.pull(settings, now)


def build_marts(settings: Settings, full_refresh: bool = False) -> "BuildReport":
    """Bring the marts up to date with what landed; all of them anew, when asked to."""
    warehouse.settle(settings, publishing.last_committed_tick(settings))
    return marts.build_marts(settings, full_refresh)


def check_marts(settings: Settings) -> list[str]:
    """Run the data tests over the whole marts; what does not hold, one line each."""
    return marts.check_marts(settings)


def decide(settings: Settings, ticks: Sequence[datetime], now: datetime) -> Candidates:
    """Decide the given ticks, in order; nothing is visible to readers yet."""
    candidates = advance_window(settings, list(ticks), now)
    candidates.write(settings.candidates_path)
    return candidates


def measure(settings: Settings, candidates: Candidates, now: datetime) -> Candidates:
    """Label the outcome windows that ended, and once a day judge rules, people and programme."""
    measured = measuring.measure(settings, candidates, now)
    measured.write(settings.candidates_path)
    return measured


def check(
    settings: Settings, candidates: Candidates, accepted: Mapping[str, str] | None = None
) -> Verdict:
    """Hold the candidates against the expectations; `accepted`: check -> a person's reason."""
    from expectations import gate  # Great Expectations takes seconds to import

    return gate.check(settings, candidates, accepted)


def publish(settings: Settings, candidates: Candidates, verdict: Verdict, run: Run) -> None:
    """Make the candidates visible in one transaction."""
    warehouse.begin_decide(settings, candidates.as_of)
    publishing.publish(settings, candidates, verdict, run)
    warehouse.finish_decide(settings, candidates.as_of)


def snapshot(settings: Settings, as_of: datetime) -> bool:
    """Write the marts as Parquet for analysts where that is due; whether it was."""
    return snapshots.take_snapshot(settings, as_of)
