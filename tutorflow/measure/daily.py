"""Once a day, at its end: how good the rules, the follow-through and the programme are.

Every table tells of the last day that ended among the ticks, from what was known at its end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import sqlalchemy as sa

from tutorflow.decide.candidates import fit
from tutorflow.decide.frames import WITHDRAWALS, frame, load_frames, rows_of
from tutorflow.decide.surroundings import FAR_PAST, surroundings
from tutorflow.hours import day_end, day_start, local_date, to_aware_utc, to_naive_utc
from tutorflow.measure import programme, quality, recovery
from tutorflow.measure.batch import Batch, completeness_of, day_ends
from tutorflow.measure.outcomes import CompleteUntil
from tutorflow.measure.programme import FOLLOWED, WEEK, WEEK_SETTLED, Said
from tutorflow.publish import read_table
from tutorflow.publish.inbox import accepted
from tutorflow.roster import Roster, load_roster

DAY = timedelta(days=1)
LATE_FEEDS = timedelta(days=7)  # an ending is still found when its feed came that late
OLDEST_ALERT = timedelta(days=30)  # evidence of an alert delivered in the period may be that old
Tables = dict[str, pd.DataFrame]


@dataclass(frozen=True)
class Day:
    """The day that ended at `as_of`, and what was known then; `first` is the first of the batch.

    `exposures` and `outcomes` are of what somebody was told: who was held out is seen by effects.
    `evidence` has its signal's learner, course and tick; `outcomes` have the labels of that time.
    """

    batch: Batch
    first: datetime
    as_of: datetime
    exposures: pd.DataFrame
    signals: pd.DataFrame
    evidence: pd.DataFrame
    outcomes: pd.DataFrame
    taken: pd.DataFrame
    roster: Roster
    course_ends: Mapping[str, datetime]
    complete_until: CompleteUntil

    def said(self) -> Said:
        """What people answered to alerts."""
        parts = [accepted(self.taken, inbox).assign(inbox=inbox) for inbox in programme.AGAIN]
        columns = ["alert_id", "row_id", "inbox", "at", "taken_at"]
        return Said(pd.concat([part[columns] for part in parts], ignore_index=True))

    def interventions(self) -> pd.DataFrame:
        """The interventions that people logged."""
        return accepted(self.taken, "interventions")


def daily(batch: Batch, now: datetime) -> Tables:
    """The tables of the last day that ended in the batch; none when no day did.

    `now` is when this run looks.
    """
    ends = day_ends(batch)
    if not ends:
        return {}
    day = _load(batch, ends[0], ends[-1], now)
    missed = missed_learners(day)
    found = {
        "missed_learners": fit("missed_learners", missed),
        "rule_quality": fit("rule_quality", _rule_quality(day, missed)),
        "recovery_curves": fit("recovery_curves", _recovery_curves(day)),
        "outcome_agreement": fit("outcome_agreement", _agreement(day)),
        "hard_item_dropouts": fit("hard_item_dropouts", _hard_items(day)),
        "programme_health": fit("programme_health", _programme_health(day)),
    }
    return found | _people(day)


def _load(batch: Batch, first: datetime, as_of: datetime, now: datetime) -> Day:
    policy = batch.policy.quality
    since = as_of - timedelta(days=policy.days) - OLDEST_ALERT
    exposures = batch.rows("exposures", lambda t: t.c.exposed_at > since)
    signals = batch.rows("signals", lambda t: t.c.fired_at > since)
    signals = signals[signals["recorded_at"] <= as_of]
    evidence = batch.rows("alert_evidence", lambda t: t.c.fired_at > since)
    whose = ["signal_id", "recorded_at", "learner_id", "course_id"]
    evidence = evidence.merge(signals[whose], on="signal_id")
    taken = batch.rows("inbox_taken", lambda t: t.c.taken_at > since)
    outcomes = batch.rows("alert_outcomes", lambda t: t.c.exposed_at > since)
    roster = load_roster(batch.settings)
    return Day(
        batch,
        first,
        as_of,
        exposures[(exposures["exposed_at"] <= as_of) & (exposures["arm"] == "treated")],
        signals,
        evidence,
        as_known(outcomes[outcomes["arm"] == "treated"], as_of),
        taken[taken["taken_at"] <= as_of],
        roster,
        _course_ends(batch, roster),
        completeness_of(batch, now),
    )


def as_known(outcomes: pd.DataFrame, as_of: datetime) -> pd.DataFrame:
    """Outcome rows as they stood at `as_of`: labels given later are still open."""
    starts = outcomes["window_ends_at"] - pd.to_timedelta(outcomes["window_hours"], unit="h")
    rows = outcomes[starts <= as_of].copy()
    is_later = ~(rows["labelled_at"] <= as_of)
    was_revised = ~is_later & (rows["revised_at"] > as_of)
    rows["label"] = rows["label"].where(~was_revised, rows["first_label"])
    rows["label"] = rows["label"].where(~is_later, "still_open")
    rows["days_to_recovery"] = rows["days_to_recovery"].where(~is_later)
    return rows.reset_index(drop=True)


def _course_ends(batch: Batch, roster: Roster) -> dict[str, datetime]:
    marts = frame(batch.warehouse, "select course_id, ends_at from marts.courses")
    both = pd.concat([marts, roster.courses[["course_id", "ends_at"]]], ignore_index=True)
    known = both[both["ends_at"].notna()].drop_duplicates("course_id", keep="last")
    return {row.course_id: row.ends_at.to_pydatetime() for row in rows_of(known)}


# -- whom nobody saw -------------------------------------------------------------------------------


def missed_learners(day: Day) -> pd.DataFrame:
    """Rows of `missed_learners` that these days found, with the rule that came nearest."""
    batch, policy = day.batch, day.batch.policy.quality.missed
    within = timedelta(days=policy.alert_within_days)
    since = max(day.first - DAY - LATE_FEEDS, _first_tick(batch) + within)
    if since >= day.as_of:
        return fit("missed_learners", [])
    changes = frame(batch.warehouse, WITHDRAWALS, {"end": day.as_of})
    zone = batch.settings.timezone
    around = surroundings(day.roster, batch.policy, zone, changes, day.course_ends)
    ended = quality.endings(
        batch.warehouse, day.course_ends, policy, since, day.as_of, around.is_out_of_scope
    )
    ended = _not_missed_before(batch, _where(ended, lambda row: _is_known(day, row)))
    alone = quality.unannounced(ended, _announced(day), policy)
    if alone.empty:
        return fit("missed_learners", [])
    learners = sorted(set(alone["learner_id"]))
    start = alone["ended_at"].min().to_pydatetime() - within
    frames = load_frames(
        batch.warehouse, learners, start, day.as_of, zone, _starts(day.roster), FAR_PAST
    )
    quiet = day.signals[day.signals["learner_id"].isin(learners) & day.signals["alert_id"].isna()]
    ids = sorted(quiet["signal_id"])
    holds = batch.rows("suppressions", lambda t: t.c.signal_id.in_(ids))
    found = quality.nearest_rules(alone, frames, quiet, holds, batch.policy)
    ends = [to_naive_utc(day_end(_just_before(at), zone)) for at in found["ended_at"]]
    return found.assign(as_of=[max(end, day.first) for end in ends])


def _is_known(day: Day, row: Any) -> bool:
    until = day.complete_until(row.course_id)
    return until is not None and until >= row.ended_at


def _just_before(at: datetime) -> datetime:
    return to_aware_utc(at) - timedelta(microseconds=1)


def _first_tick(batch: Batch) -> datetime:
    """The first tick ever decided: before it no alert could have come."""
    log = read_table(
        batch.settings,
        "tick_log",
        lambda t: t.c.as_of == sa.select(sa.func.min(t.c.as_of)).scalar_subquery(),
    )
    return batch.ends[0] if log.empty else log["as_of"].iloc[0].to_pydatetime()


def _not_missed_before(batch: Batch, ended: pd.DataFrame) -> pd.DataFrame:
    learners = sorted(set(ended["learner_id"]))
    before = read_table(batch.settings, "missed_learners", {"learner_id": learners})
    known = set(zip(before["learner_id"], before["course_id"], strict=True))
    return _where(ended, lambda row: (row.learner_id, row.course_id) not in known)


def _where(rows: pd.DataFrame, holds: Callable[[Any], bool]) -> pd.DataFrame:
    kept = [holds(row) for row in rows_of(rows)]
    return rows[pd.Series(kept, index=rows.index, dtype=bool)].reset_index(drop=True)


def _announced(day: Day) -> pd.DataFrame:
    """When learners were on somebody's list: each delivery, and each signal on an alert."""
    shown = day.exposures.rename(columns={"exposed_at": "announced_at"})
    joined = day.evidence.rename(columns={"recorded_at": "announced_at"})
    columns = ["learner_id", "course_id", "announced_at"]
    return pd.concat([shown[columns], joined[columns]], ignore_index=True)


def _starts(roster: Roster) -> pd.DataFrame:
    known = roster.enrolments[roster.enrolments["enrolled_at"].notna()]
    return known.rename(columns={"enrolled_at": "starts_at"})


# -- rules and recovery ----------------------------------------------------------------------------


def _rule_quality(day: Day, fresh: pd.DataFrame) -> list[Any]:
    policy = day.batch.policy
    since = day.as_of - timedelta(days=policy.quality.days)
    before = read_table(day.batch.settings, "missed_learners", lambda t: t.c.ended_at > since)
    both = pd.concat([before, fresh], ignore_index=True)
    weeks = frame(
        day.batch.warehouse,
        "select count(*) as weeks from marts.learner_weeks "
        "where known_at > $since and known_at <= $until",
        {"since": since, "until": day.as_of},
    )
    verdicts = accepted(day.taken, "alert_verdicts").drop_duplicates("alert_id", keep="last")
    return quality.rule_quality(
        policy,
        day.as_of,
        day.signals[day.signals["recorded_at"] > since],
        day.exposures,
        day.evidence.assign(
            recovered_at=day.evidence["recovered_at"].where(
                day.evidence["recovered_at"] <= day.as_of
            )
        ),
        day.outcomes,
        verdicts[["alert_id", "verdict"]],
        both[(both["as_of"] <= day.as_of) & (both["ended_at"] > since)],
        int(weeks["weeks"].iloc[0]),
    )


def _recovery_curves(day: Day) -> list[Any]:
    policy = day.batch.policy
    longest = policy.outcomes.windows_hours[-1]
    since = day.as_of - timedelta(days=policy.quality.days)
    rows = day.outcomes[
        (day.outcomes["window_hours"] == longest) & (day.outcomes["exposed_at"] > since)
    ]
    follows = recovery.followed(rows, day.as_of, day.complete_until)
    return recovery.recovery_curves(follows, longest / 24, day.as_of)


def _agreement(day: Day) -> list[Any]:
    since = day.as_of - timedelta(days=day.batch.policy.quality.days)
    rows = day.batch.rows("intervention_outcomes", lambda t: t.c.intervened_at > since)
    return recovery.agreement(as_known(rows, day.as_of), day.as_of)


def _hard_items(day: Day) -> list[Any]:
    policy = day.batch.policy.quality
    return programme.hard_item_dropouts(
        day.batch.warehouse, policy.answers_per_item, policy.days, day.as_of
    )


# -- people and courses ----------------------------------------------------------------------------


def week_starts(since: datetime, until: datetime, zone: str) -> list[datetime]:
    """The starts (naive UTC) of the weeks of the zone that begin in [since, until)."""
    day = local_date(to_aware_utc(since), zone)
    monday, found = day - timedelta(days=day.weekday()), []
    while (start := to_naive_utc(day_start(monday, zone))) < until:
        if start >= since:
            found.append(start)
        monday += WEEK
    return found


def _programme_health(day: Day) -> list[Any]:
    weeks = week_starts(day.first - DAY - WEEK, day.as_of, day.batch.settings.timezone)
    return programme.programme_health(
        day.batch.warehouse, weeks, day.course_ends, day.interventions(), day.as_of
    )


def _people(day: Day) -> Tables:
    """Workload, exceptions, response times and safety; each alert is followed for FOLLOWED."""
    zone, said, interventions = day.batch.settings.timezone, day.said(), day.interventions()
    weeks = week_starts(day.first - DAY - WEEK_SETTLED, day.as_of, zone)
    oldest = min([*weeks[:1], day.first - DAY - FOLLOWED])
    shown = day.exposures[
        (day.exposures["audience"] == "coach") & (day.exposures["exposed_at"] >= oldest)
    ]
    responses = programme.alert_responses(shown, day.evidence, said, day.as_of)
    recent = responses[responses["exposed_at"] >= day.first - DAY - FOLLOWED]
    safety = day.signals[
        (day.signals["layer"] == "safety")
        & (day.signals["recorded_at"] >= day.first - DAY - FOLLOWED)
    ]
    follow_through = day.batch.policy.quality.follow_through
    # Where nobody has ever written into the inbox, silence there says nothing about anybody.
    audited = responses if len(day.taken) else responses.head(0)
    return {
        "alert_responses": fit("alert_responses", recent),
        "coach_workload": fit(
            "coach_workload", programme.coach_workload(responses, interventions, weeks, day.as_of)
        ),
        "coach_exceptions": fit(
            "coach_exceptions",
            programme.coach_exceptions(audited, interventions, follow_through, day.as_of),
        ),
        "safety_events": fit(
            "safety_events", programme.safety_events(safety, day.exposures, said, day.as_of)
        ),
    }
