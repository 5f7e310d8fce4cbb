"""What each hour measures: labels for the windows that ended, and once a day how good it all is.

The step comes after the decision and before the gate; its tables are published in the same
transaction. What it writes of a window or a day depends on what was known by its end only, so an
hour and a backfill write the same.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import sqlalchemy as sa

from tutorflow.decide.candidates import fit
from tutorflow.decide.frames import frame, rows_of
from tutorflow.hours import previous_tick, to_naive_utc
from tutorflow.measure import outcomes
from tutorflow.measure.batch import Batch, completeness_of, day_ends
from tutorflow.measure.daily import daily
from tutorflow.measure.effect_tables import effect_tables
from tutorflow.measure.outcomes import PARTS, STILL_OPEN, CompleteUntil
from tutorflow.policy import load_policy
from tutorflow.publish import Candidates, read_table
from tutorflow.publish.inbox import accepted
from tutorflow.settings import Settings
from tutorflow.warehouse import open_warehouse

IDS_AT_ONCE = 5_000
LATE_REACH = timedelta(days=67)  # how far back late events are looked for, a window on top
EMPTY_PARTS: dict[str, Any] = dict.fromkeys(PARTS)


def measure(settings: Settings, candidates: Candidates, now: datetime) -> Candidates:
    """The candidates with everything that is measured from them; nothing is published yet.

    `now` is when this run looks, as for the decision.
    """
    ends = [to_naive_utc(tick) for tick in candidates.ticks]
    first = previous_tick(candidates.ticks[0], settings.tick, settings.timezone)
    policy = load_policy(settings.policy_path)
    with open_warehouse(settings) as warehouse:
        batch = Batch(settings, policy, warehouse, candidates, to_naive_utc(first), ends)
        labelled = label_windows(batch, now)
        batch = replace(batch, candidates=_with(candidates, labelled))
        found = daily(batch, now)
        days = day_ends(batch)
        if days:
            found |= effect_tables(batch, days[-1])
        return _with(batch.candidates, found)


def _with(candidates: Candidates, tables: dict[str, pd.DataFrame]) -> Candidates:
    return replace(candidates, tables={**candidates.tables, **tables})


# -- labels ----------------------------------------------------------------------------------------


def label_windows(batch: Batch, now: datetime) -> dict[str, pd.DataFrame]:
    """Rows of `alert_outcomes` and `intervention_outcomes` that are new or become final now."""
    late = _late_learners(batch)
    interventions = accepted(batch.rows("inbox_taken", _not_before(batch)), "interventions")
    waiting = {
        "alert_outcomes": _alert_windows(batch, late),
        "intervention_outcomes": _intervention_windows(batch, late),
    }
    if all(rows.empty for rows in waiting.values()):
        return {name: fit(name, rows) for name, rows in waiting.items()}
    complete_until = completeness_of(batch, now)
    tables = {}
    for name, rows in waiting.items():
        labelled = _label(batch, rows, complete_until)
        if name == "alert_outcomes":
            labelled["was_contacted"] = _contacted(labelled, interventions)
        tables[name] = fit(name, labelled)
    return tables


def _not_before(batch: Batch) -> Any:
    """Condition on `inbox_taken`: what can matter for a window that may still be labelled."""
    since = batch.first - LATE_REACH
    return lambda t: t.c.taken_at >= since


def _late_learners(batch: Batch) -> pd.DataFrame:
    """learner_id, earliest_at of events that came after the hour they belong to was decided."""
    undecided = frame(
        batch.warehouse, "select learner_id, earliest_at from landing.undecided_learners"
    )
    return undecided[undecided["earliest_at"] < batch.first]


def _alert_windows(batch: Batch, late: pd.DataFrame) -> pd.DataFrame:
    fresh = batch.candidates.rows("exposures")
    columns = ["alert_id", "exposed_at", "learner_id", "course_id", "layer", "alert_tier", "arm"]
    new = fresh[columns].merge(_windows(batch), how="cross")
    new["starts_at"] = new["exposed_at"]
    new["known_at"] = new["exposed_at"]
    old = _unsettled(batch, "alert_outcomes", late)
    old["starts_at"] = old["exposed_at"]
    old["known_at"] = old["exposed_at"]
    return _together(new, old)


def _intervention_windows(batch: Batch, late: pd.DataFrame) -> pd.DataFrame:
    fresh = accepted(batch.candidates.rows("inbox_taken"), "interventions")
    fresh = fresh.rename(columns={"code": "coach_code", "at": "intervened_at"})
    fresh = _of_their_alerts(batch, fresh)
    new = fresh.merge(_windows(batch), how="cross")
    new["starts_at"] = new["intervened_at"]
    new["known_at"] = new["taken_at"]
    old = _unsettled(batch, "intervention_outcomes", late)
    old["starts_at"] = old["intervened_at"]
    # It had been taken when the row was first written, in an earlier batch.
    old["known_at"] = batch.first
    return _together(new, old)


def _of_their_alerts(batch: Batch, interventions: pd.DataFrame) -> pd.DataFrame:
    """Layer and tier of the alert each answers: as last delivered before, else as it opened."""
    named = sorted(set(interventions["alert_id"]))
    if not named:
        return interventions.assign(layer=None, alert_tier=None)
    alerts = batch.rows("alerts", {"alert_id": named}).set_index("alert_id")
    exposures = batch.rows("exposures", {"alert_id": named})
    tiers = []
    for row in rows_of(interventions):
        shown = exposures[
            (exposures["alert_id"] == row.alert_id)
            & (exposures["exposed_at"] <= row.intervened_at)
            & (exposures["arm"] == "treated")
        ]
        last = shown.sort_values("exposed_at")["alert_tier"].tail(1)
        opening = alerts.loc[row.alert_id, "opening_tier"]
        tiers.append(int(opening if last.empty else last.iloc[0]))
    return interventions.assign(
        layer=[alerts.loc[alert_id, "layer"] for alert_id in interventions["alert_id"]],
        alert_tier=tiers,
    )


def _windows(batch: Batch) -> pd.DataFrame:
    return pd.DataFrame({"window_hours": batch.policy.outcomes.windows_hours}, dtype="int64")


def _unsettled(batch: Batch, name: str, late: pd.DataFrame) -> pd.DataFrame:
    """Rows of an outcome table without a final label, and final ones that late events concern."""
    still_open = read_table(batch.settings, name, {"label": STILL_OPEN})
    if late.empty:
        return still_open
    since = max(late["earliest_at"].min().to_pydatetime(), batch.first - LATE_REACH)
    final = read_table(
        batch.settings,
        name,
        lambda t: sa.and_(t.c.window_ends_at > since, t.c.label != STILL_OPEN),
    )
    earliest = final["learner_id"].map(late.set_index("learner_id")["earliest_at"])
    return pd.concat([still_open, final[final["window_ends_at"] > earliest]], ignore_index=True)


def _together(new: pd.DataFrame, old: pd.DataFrame) -> pd.DataFrame:
    """New windows, still open, beside those that were there."""
    lengths = pd.to_timedelta(new["window_hours"].astype("float64"), unit="h")
    new = new.assign(
        window_ends_at=(new["starts_at"] + lengths).astype("datetime64[us]"),
        label=STILL_OPEN,
        first_label=None,
        labelled_at=None,
        revised_at=None,
        was_contacted=None,
        **EMPTY_PARTS,
    )
    if old.empty or new.empty:
        return new if old.empty else old
    return pd.concat([old.astype("object"), new.astype("object")], ignore_index=True)


def _label(batch: Batch, rows: pd.DataFrame, complete_until: CompleteUntil) -> pd.DataFrame:
    """The rows with a label wherever one may be given; the others as they are."""
    if rows.empty:
        return rows
    rows = rows.reset_index(drop=True)
    at = [
        outcomes.labelled_at(
            row.window_ends_at.to_pydatetime(),
            max(row.known_at.to_pydatetime(), batch.ends[0]),
            batch.ends,
            complete_until(row.course_id),
        )
        for row in rows_of(rows)
    ]
    due = rows[pd.Series(at, dtype="object").notna().to_numpy()]
    if due.empty:
        return rows
    given_at = pd.Series(at, dtype="datetime64[us]").loc[due.index]
    spans = outcomes.span_frame(
        due.assign(span_id=due.index.astype("str"), ends_at=due["window_ends_at"])
    )
    signals = _signals_inside(batch, spans)
    found = _labelled_by_tick(batch, spans, signals, given_at).set_index("span_id")
    found.index = found.index.astype("int64")
    return _merged(rows.astype("object"), found, given_at)


def _signals_inside(batch: Batch, spans: pd.DataFrame) -> pd.DataFrame:
    """Signals of the learners concerned that fired inside any of the spans."""
    since, learners = spans["starts_at"].min(), sorted(set(spans["learner_id"]))
    parts = [
        batch.rows(
            "signals",
            lambda t, some=learners[begin : begin + IDS_AT_ONCE]: sa.and_(
                t.c.fired_at >= since, t.c.learner_id.in_(some)
            ),
        )
        for begin in range(0, len(learners), IDS_AT_ONCE)
    ]
    columns = ["signal_id", "learner_id", "course_id", "layer", "alert_tier", "fired_at"]
    found = pd.concat(parts, ignore_index=True).drop_duplicates("signal_id")
    return found[[*columns, "recorded_at"]]


def _labelled_by_tick(
    batch: Batch, spans: pd.DataFrame, signals: pd.DataFrame, given_at: pd.Series
) -> pd.DataFrame:
    """The labels; each knows the signals that were on record at its own tick."""
    policy = batch.policy.outcomes
    parts = outcomes.parts_of(batch.warehouse, spans, policy).set_index("span_id")
    is_escalated = pd.Series(False, index=spans["span_id"])
    for tick, group in spans.groupby(given_at.to_numpy()):
        known = signals[signals["recorded_at"] <= tick]
        is_escalated[group["span_id"].to_numpy()] = outcomes.escalated(group, known).to_numpy()
    parts["label"] = outcomes.labels(parts, is_escalated.loc[parts.index])
    return parts.reset_index()


def _merged(rows: pd.DataFrame, found: pd.DataFrame, given_at: pd.Series) -> pd.DataFrame:
    """The rows with what was found; a final row changes only where late events say otherwise."""
    was_open = rows.loc[found.index, "label"] == STILL_OPEN
    final = [i for i in found.index[~was_open].tolist() if _differs(rows.loc[i], found.loc[i])]
    fresh = found.index[was_open]
    known = found.astype("object")
    for name in ("label", *PARTS):
        rows.loc[[*fresh, *final], name] = known.loc[[*fresh, *final], name]
    times = given_at.astype("object")
    rows.loc[final, "revised_at"] = times.loc[final]
    rows.loc[fresh, "first_label"] = known.loc[fresh, "label"]
    rows.loc[fresh, "labelled_at"] = times.loc[fresh]
    return rows


def _differs(row: Any, fresh: Any) -> bool:
    for name in ("label", *PARTS):
        one, other = row[name], fresh[name]
        if pd.isna(one) != pd.isna(other):
            return True
        if pd.isna(one):
            continue
        is_number = isinstance(one, float) or isinstance(other, float)
        if abs(one - other) > 1e-9 if is_number else one != other:
            return True
    return False


def _contacted(rows: pd.DataFrame, interventions: pd.DataFrame) -> list[bool | None]:
    """Whether a person stepped in between start and end, as far as was known at the label."""
    by_alert: dict[str, list[Any]] = {}
    for row in rows_of(interventions):
        by_alert.setdefault(row.alert_id, []).append(row)
    return [
        None
        if row.label == STILL_OPEN
        else any(
            row.exposed_at <= one.at < row.window_ends_at and one.taken_at <= row.labelled_at
            for one in by_alert.get(row.alert_id, ())
        )
        for row in rows_of(rows)
    ]
