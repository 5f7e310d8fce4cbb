"""What was decided, as frames for the checks in candidates.yml.

A frame holds either the rows to judge or, where the question spans tables, the violations alone.
What the candidates refer to may have been committed before, so the serving database is asked for
what they do not bring along.
"""

from collections.abc import Mapping
from dataclasses import replace

import duckdb
import pandas as pd

from expectations.texts import joined, texts
from expectations.volume import flagged_per_tick, naive_ticks, opened_per_tick
from tutorflow.hours import local_date, to_aware_utc
from tutorflow.publish import Candidates, misfits, read_table
from tutorflow.publish.contract import contract, table
from tutorflow.settings import Settings

_IDS_AT_ONCE = 5_000

# (table, column, what it names, the table that has it); a null names nothing.
_REFERENCES = (
    ("alert_evidence", "alert_id", "alerts"),
    ("alert_evidence", "signal_id", "signals"),
    ("handoff_notes", "alert_id", "alerts"),
    ("signals", "alert_id", "alerts"),
    ("suppressions", "alert_id", "alerts"),
    ("coach_queue", "alert_id", "alerts"),
    ("coach_queue", "alert_id", "handoff_notes"),
)

_COPIED = (
    *("rule_id", "rule_version", "subject_kind", "subject_id"),
    *("observed", "threshold", "n", "fired_at", "evidence_ids"),
)


def frames(
    settings: Settings, candidates: Candidates, warehouse: duckdb.DuckDBPyConnection
) -> dict[str, pd.DataFrame]:
    """The frames of the suite."""
    shaped = _shaped(candidates)
    ticks = naive_ticks(shaped)
    alerts = shaped.rows("alerts")
    return {
        "misfits": _misfits(candidates),
        "repeated_keys": _repeated_keys(shaped),
        "orphans": _orphans(settings, shaped),
        "tiers": _tiers(shaped),
        "opened_alerts": _opened_alerts(shaped, alerts[alerts["opened_at"].isin(ticks)]),
        "incomplete_notes": _incomplete_notes(shaped.rows("handoff_notes")),
        "delivered_alerts": _delivered_alerts(alerts),
        "changed_evidence": _changed_evidence(settings, shaped),
        "alerts_open_twice": _alerts_open_twice(settings, alerts),
        "held_out": _held_out(shaped),
        "coach_days": _coach_days(settings, shaped),
        "nudge_days": _nudge_days(settings, shaped),
        "opened_per_tick": opened_per_tick(settings, shaped, warehouse),
        "flagged_per_tick": flagged_per_tick(settings, shaped, warehouse),
        "texts": texts(settings, shaped),
    }


def _shaped(candidates: Candidates) -> Candidates:
    """The candidates with the contract's columns, so that one fault does not hide the others."""
    return replace(
        candidates,
        tables={
            name: frame.reindex(columns=list(contract()[name].columns))
            for name, frame in candidates.tables.items()
            if name in contract()
        },
    )


def _misfits(candidates: Candidates) -> pd.DataFrame:
    found = [
        {"table": name, "misfit": misfit}
        for name, frame in candidates.tables.items()
        for misfit in (misfits(name, frame) if name in contract() else ["no such table"])
    ]
    return pd.DataFrame(found, columns=["table", "misfit"])


def _repeated_keys(candidates: Candidates) -> pd.DataFrame:
    parts = [pd.DataFrame(columns=["table", "key"])]
    for name in candidates.tables:
        keys = candidates.rows(name)[list(table(name).key)]
        repeated = keys[keys.duplicated()]
        parts.append(pd.DataFrame({"table": name, "key": joined(repeated)}))
    return pd.concat(parts, ignore_index=True)


def _orphans(settings: Settings, candidates: Candidates) -> pd.DataFrame:
    """One row per reference that leads nowhere: table, refers_to, missing_id."""
    parts = [pd.DataFrame(columns=["table", "refers_to", "missing_id"])]
    for name, column, target in _REFERENCES:
        (key,) = table(target).key
        named = set(candidates.rows(name)[column].dropna())
        absent = named - set(candidates.rows(target)[key])
        absent -= set(_committed(settings, target, absent)[key])
        parts.append(
            pd.DataFrame({"table": name, "refers_to": target, "missing_id": sorted(absent)})
        )
    return pd.concat(parts, ignore_index=True)


def _tiers(candidates: Candidates) -> pd.DataFrame:
    """Every alert tier there is, but for signals that are rightly only noted (tier 0)."""
    columns = {
        "alerts": ("alert_tier", "opening_tier"),
        "signals": ("alert_tier",),
        "suppressions": ("alert_tier",),
        "coach_queue": ("alert_tier",),
    }
    tiers = pd.concat(
        [
            pd.DataFrame(
                {
                    "table": name,
                    "row_id": candidates.rows(name)[table(name).key[0]],
                    "alert_tier": candidates.rows(name)[column].astype("float64"),
                }
            )
            for name, of_table in columns.items()
            for column in of_table
        ],
        ignore_index=True,
    )
    signals, held = candidates.rows("signals"), candidates.rows("suppressions")
    is_told = signals["disposition"].isin(["noted", "suppressed"])
    told = {
        *signals.loc[is_told, "signal_id"],
        *held.loc[held["release"].notna(), "suppression_id"],
    }
    return tiers[~(tiers["row_id"].isin(told) & (tiers["alert_tier"] == 0))]


def _opened_alerts(candidates: Candidates, opened: pd.DataFrame) -> pd.DataFrame:
    """The alerts opened by these ticks, how much evidence each has, and whether it has a note."""
    evidence = candidates.rows("alert_evidence")["alert_id"].value_counts()
    return opened.assign(
        evidence_count=opened["alert_id"].map(evidence).fillna(0).astype("int64"),
        has_note=opened["alert_id"].isin(candidates.rows("handoff_notes")["alert_id"]),
    )


def _incomplete_notes(notes: pd.DataFrame) -> pd.DataFrame:
    """One row per empty part of a note: alert_id, part."""
    parts = notes.melt("alert_id", table("handoff_notes").prose_columns, "part", "words")
    is_empty = parts["words"].isna() | (parts["words"].astype("str").str.strip() == "")
    return parts.loc[is_empty, ["alert_id", "part"]]


def _delivered_alerts(alerts: pd.DataFrame) -> pd.DataFrame:
    """Open alerts of tier 2 and up that somebody sees, with the hours from opening to due."""
    seen = alerts[
        (alerts["status"] == "open") & (alerts["alert_tier"] >= 2) & alerts["delivered_at"].notna()
    ]
    waits = seen["due_at"] - seen["opened_at"]
    return seen.assign(hours_to_due=waits.dt.total_seconds() / 3600)


def _changed_evidence(settings: Settings, candidates: Candidates) -> pd.DataFrame:
    """One row per value of evidence that differs from its signal's."""
    evidence = candidates.rows("alert_evidence")
    fired = candidates.rows("signals")
    absent = set(evidence["signal_id"]) - set(fired["signal_id"])
    fired = pd.concat([fired, _committed(settings, "signals", absent)], ignore_index=True)
    both = evidence.merge(fired, on="signal_id", suffixes=("", "_fired"))
    parts = [pd.DataFrame(columns=["alert_id", "signal_id", "column", "evidence", "fired"])]
    for column in _COPIED:
        copied, original = both[column], both[f"{column}_fired"]
        differs = (copied != original) & ~(copied.isna() & original.isna())
        if differs.any():
            parts.append(
                both.loc[differs, ["alert_id", "signal_id"]].assign(
                    column=column,
                    evidence=copied[differs].astype("str"),
                    fired=original[differs].astype("str"),
                )
            )
    return pd.concat(parts, ignore_index=True)


def _alerts_open_twice(settings: Settings, alerts: pd.DataFrame) -> pd.DataFrame:
    """One row per learner, course and layer with more than one alert that is not closed."""
    identity = ["learner_id", "course_id", "layer"]
    open_now = alerts[alerts["status"] != "closed"]
    # Of learners of whom nothing changed nothing can be open twice that was not before.
    committed = _committed(settings, "alerts", set(open_now["learner_id"]), "learner_id")
    committed = committed[committed["status"] != "closed"]
    committed = committed[~committed["alert_id"].isin(alerts["alert_id"])]
    both = pd.concat([open_now, committed], ignore_index=True)[["alert_id", *identity]]
    twice = both[both.duplicated(identity, keep=False)].sort_values([*identity, "alert_id"])
    return twice.groupby(identity, as_index=False).agg(alert_ids=("alert_id", ", ".join))


def _held_out(candidates: Candidates) -> pd.DataFrame:
    """What the lot kept from everybody in these ticks; 0 as tier of what may never be kept back."""
    rows = candidates.rows("exposures")
    left_out = rows[rows["arm"] == "held_out"]
    is_mild = left_out["layer"] != "safety"
    return left_out.assign(mild_tier=left_out["alert_tier"].where(is_mild, 0))


def _nudge_days(settings: Settings, candidates: Candidates) -> pd.DataFrame:
    """One row per learner and day (the programme's) with a nudge of these ticks: learner_id, day,
    nudges. Held out counts, as nothing else is to be said that day.
    """
    nudges = candidates.rows("nudges_outbox")
    learners = sorted(set(nudges["learner_id"]))
    since = nudges["send_after"].min() - pd.Timedelta(days=2) if learners else pd.Timestamp.max
    parts = [nudges]
    for begin in range(0, len(learners), _IDS_AT_ONCE):
        some = learners[begin : begin + _IDS_AT_ONCE]
        earlier = read_table(settings, "nudges_outbox", {"learner_id": some})
        parts.append(earlier[earlier["send_after"] >= since])
    both = pd.concat(parts, ignore_index=True).drop_duplicates("nudge_row_id")
    given = both[both["status"] != "not_sent"]
    days = [
        str(local_date(to_aware_utc(at.to_pydatetime()), settings.timezone))
        for at in given["send_after"]
    ]
    is_new = given["nudge_row_id"].isin(nudges["nudge_row_id"])
    counted = (
        given.assign(day=pd.Series(days, index=given.index, dtype="str"), is_new=is_new)
        .groupby(["learner_id", "day"], as_index=False)
        .agg(nudges=("nudge_row_id", "count"), has_new=("is_new", "any"))
    )
    return counted[counted["has_new"].astype(bool)].drop(columns="has_new")


def _coach_days(settings: Settings, candidates: Candidates) -> pd.DataFrame:
    """One row per coach and day (the coach's own) on which these ticks delivered something.

    Tier 4 is never held for capacity and does not count. A coach without a stated capacity is left
    out.
    """
    ticks = naive_ticks(candidates)
    alerts = candidates.rows("alerts")
    since = ticks[0] - pd.Timedelta(days=2)
    earlier = read_table(settings, "alerts", lambda t: t.c.delivered_at >= since)
    earlier = earlier[~earlier["alert_id"].isin(alerts["alert_id"])]
    both = pd.concat([alerts, earlier], ignore_index=True)
    taken = both[both["delivered_tier"].isin([2, 3]) & both["delivered_to"].notna()]
    zones: Mapping[str, str] = candidates.summary.get("coach_timezone", {})
    days = [
        local_date(to_aware_utc(at.to_pydatetime()), zones.get(coach, settings.timezone))
        for coach, at in zip(taken["delivered_to"], taken["delivered_at"], strict=True)
    ]
    counted = (
        taken.assign(day=pd.Series(days, index=taken.index, dtype="object").astype("str"))
        .assign(is_new=taken["delivered_at"].isin(ticks))
        .groupby(["delivered_to", "day"], as_index=False)
        .agg(delivered=("alert_id", "count"), has_new=("is_new", "any"))
        .rename(columns={"delivered_to": "coach_id"})
    )
    counted = counted[counted["has_new"].astype(bool)]
    capacity: Mapping[str, int] = candidates.summary.get("capacity", {})
    room = counted["coach_id"].map(dict(capacity)).astype("float64")
    return counted.assign(capacity=room, beyond_capacity=counted["delivered"] - room)


def _committed(
    settings: Settings, name: str, ids: set[str], column: str | None = None
) -> pd.DataFrame:
    """Committed rows of a table whose column, else whose (single) key, is among the ids."""
    looked_at = table(name).key[0] if column is None else column
    wanted = sorted(ids)
    parts = [
        read_table(settings, name, {looked_at: wanted[begin : begin + _IDS_AT_ONCE]})
        for begin in range(0, len(wanted), _IDS_AT_ONCE)
    ]
    return pd.concat(parts, ignore_index=True) if parts else table(name).empty_frame()
