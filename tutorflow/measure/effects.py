"""Effects: what came of being helped, against comparable learners who were not.

Pure functions from cases to published rows. A *case* is one learner who could have been helped in
one way at one moment: drawn by lot (nudges and alerts of tier 1 and 2 with a hold-out), or chosen
by people (contacted or not, one kind of help or another). Only the first case of a learner counts
in a comparison: what came later was shaped by it. Cases drawn by lot give effects; chosen ones give
associations, and the text says so. Methods: METHODS 5 and `tutorflow.measure.estimates`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from tutorflow.measure.estimates import (
    Estimate,
    Flags,
    Floats,
    always_valid_margin,
    always_valid_p,
    difference_in_means,
    false_discovery,
    lin,
    looks,
    needed_per_arm,
    overlap_weighted,
    share_interval,
)

# Columns of a frame of cases; further columns named before_* are covariates (numbers, may be null).
CASE_COLUMNS = [
    "comparison",  # held_out, nudge, ai_only_vs_hybrid, playbook
    "subject",  # what is compared: a nudge, "tier 2 alerts", a kind of help
    "learner_id",
    "assigned_at",  # naive UTC
    "is_treated",
    "propensity",  # probability of being treated; null where nobody drew lots
    "outcome",  # 1 or 0, or a number
    "outcome_name",
    "known_at",  # tick at which the outcome was known
    "course_id",
    "coach_id",
    "layer",
    "profile",  # state and layer, such as "stuck / content"; null unless for the playbook
]
BY_LOT = ("held_out", "nudge")
SEGMENTS = ("course", "time_of_day", "coach", "term", "layer")
TIMES_OF_DAY = ((6, "night"), (12, "morning"), (18, "afternoon"), (24, "evening"))
EARLY_TERM = timedelta(days=28)  # where a course has no known end
Term = tuple[datetime, datetime | None]


@dataclass(frozen=True)
class Standards:
    """What counts as found. ``expected``: the effect to look for (METHODS 4: +5.2 points);
    ``error``: share of false findings allowed in a family; ``min_per_arm``: learners in each group
    before anything is said at all."""

    expected: float = 0.052
    error: float = 0.05
    power: float = 0.8
    min_per_arm: int = 30


@dataclass(frozen=True)
class Comparison:
    """One comparison before it is judged beside the others of its family.

    ``plain`` is the difference in means, ``adjusted`` the estimate that counts; None while the
    groups are too small. ``always_valid_p`` may be looked at every day.
    """

    comparison: str
    subject: str
    segment_kind: str
    segment: str
    outcome_name: str
    treated: Floats
    control: Floats
    plain: Estimate | None = None
    adjusted: Estimate | None = None
    always_valid_p: float = 1.0
    needed: int | None = None
    imbalance: float | None = None

    @property
    def is_by_lot(self) -> bool:
        """Whether chance decided who was treated."""
        return self.comparison in BY_LOT

    @property
    def family(self) -> tuple[str, bool]:
        """What it is judged together with: its kind, as a whole or by segment."""
        return self.comparison, self.segment_kind == "all"


def effects(
    cases: pd.DataFrame,
    as_of: datetime,
    zone: str,
    terms: Mapping[str, Term],
    standards: Standards | None = None,
) -> list[dict[str, Any]]:
    """Rows of `intervention_effects` as of a tick: every comparison, as a whole and by segment.

    ``terms``: when each course starts and, if known, ends; ``zone``: the programme's time zone.
    """
    standards = standards or Standards()
    known = cases[(cases["known_at"] <= as_of) & cases["outcome"].notna()]
    compared = [
        compare(part, kind, name, standards)
        for kind, name, part in _parts(with_segments(known, zone, terms))
    ]
    return [row for family in _families(compared) for row in judge(family, as_of, standards)]


# -- cases and their parts -------------------------------------------------------------------------


def with_segments(cases: pd.DataFrame, zone: str, terms: Mapping[str, Term]) -> pd.DataFrame:
    """The cases with the columns of SEGMENTS: course, time_of_day, coach, term, layer."""
    local = cases["assigned_at"].dt.tz_localize("UTC").dt.tz_convert(zone)
    bounds = [0, *[until for until, _ in TIMES_OF_DAY]]
    names = [name for _, name in TIMES_OF_DAY]
    hours = pd.cut(local.dt.hour, bounds, right=False, labels=names).astype("object")
    found = [
        term_at(at, terms.get(course))
        for at, course in zip(cases["assigned_at"], cases["course_id"], strict=True)
    ]
    return cases.assign(
        course=cases["course_id"],
        time_of_day=hours,
        coach=cases["coach_id"],
        term=pd.Series(found, index=cases.index, dtype="object"),
    )


def term_at(at: datetime, term: Term | None) -> str | None:
    """``early`` or ``late``: before or after the middle of the course; None: nobody knows."""
    if term is None:
        return None
    start, end = term
    middle = start + (EARLY_TERM if end is None else (end - start) / 2)
    return "early" if at < middle else "late"


def first_cases(cases: pd.DataFrame) -> pd.DataFrame:
    """Each learner's first case."""
    ordered = cases.sort_values(["assigned_at", "learner_id", "is_treated"], kind="stable")
    return ordered.drop_duplicates("learner_id")


def _parts(cases: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """(kind of segment, segment, its first cases), for every comparison and subject."""
    chosen = cases[cases["comparison"] != "playbook"]
    for _, some in chosen.groupby(["comparison", "subject"], sort=True):
        whole = first_cases(some)
        yield "all", "all", whole
        for kind in SEGMENTS:
            if kind == "coach" and whole["comparison"].iloc[0] in BY_LOT:
                continue  # who is held out has no coach
            for name, part in whole.groupby(kind, sort=True):
                if len(part) < len(whole):
                    yield kind, str(name), part
    yield from _playbook_parts(cases[cases["comparison"] == "playbook"])


def _playbook_parts(cases: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """For every profile, each kind of help against all the others given to that profile."""
    for profile, some in cases.groupby("profile", sort=True):
        whole = first_cases(some)
        for kind in sorted(whole["subject"].unique()):
            is_kind = whole["subject"] == kind
            yield "profile", str(profile), whole.assign(subject=kind, is_treated=is_kind)


# -- one comparison --------------------------------------------------------------------------------


def compare(
    cases: pd.DataFrame, segment_kind: str, segment: str, standards: Standards
) -> Comparison:
    """Treated against control among cases of one comparison and subject (one per learner)."""
    first = cases.iloc[0]
    is_treated = cases["is_treated"].to_numpy(dtype=bool)
    outcome = cases["outcome"].to_numpy(dtype=float)
    found = Comparison(
        first["comparison"],
        first["subject"],
        segment_kind,
        segment,
        first["outcome_name"],
        outcome[is_treated],
        outcome[~is_treated],
    )
    if min(len(found.treated), len(found.control)) < max(standards.min_per_arm, 2):
        return found
    needed = needed_per_arm(
        float(found.treated.var(ddof=1)),
        float(found.control.var(ddof=1)),
        standards.expected,
        standards.error,
        standards.power,
    )
    if found.is_by_lot:
        return _by_lot(found, cases, outcome, is_treated, needed, standards)
    return _by_choice(found, cases, outcome, is_treated, needed, standards)


def _by_lot(
    found: Comparison,
    cases: pd.DataFrame,
    outcome: Floats,
    is_treated: Flags,
    needed: int,
    standards: Standards,
) -> Comparison:
    weight = _weights(cases, is_treated)
    covariates = covariates_of(cases)
    days, look = np.unique(cases["known_at"].dt.floor("D").to_numpy(), return_inverse=True)
    effect, variance = looks(
        outcome, is_treated, covariates, look, len(days), standards.min_per_arm, weight
    )
    return _with(
        found,
        plain=difference_in_means(outcome, is_treated, weight),
        adjusted=lin(outcome, is_treated, covariates, weight),
        always_valid_p=float(always_valid_p(effect, variance, standards.expected)[-1]),
        needed=needed,
    )


def _by_choice(
    found: Comparison,
    cases: pd.DataFrame,
    outcome: Floats,
    is_treated: Flags,
    needed: int,
    standards: Standards,
) -> Comparison:
    alike = overlap_weighted(outcome, is_treated, covariates_of(cases))
    variance = alike.estimate.std_error**2
    # One look's own ratio bounds the running minimum, and needs no history of past weights.
    p = always_valid_p(np.array([alike.estimate.effect]), np.array([variance]), standards.expected)
    return _with(
        found,
        plain=difference_in_means(outcome, is_treated),
        adjusted=alike.estimate,
        always_valid_p=float(p[-1]),
        needed=needed,
        imbalance=alike.before,
    )


def _with(found: Comparison, **changes: Any) -> Comparison:
    return Comparison(**{**found.__dict__, **changes})


def _weights(cases: pd.DataFrame, is_treated: Flags) -> Floats | None:
    """1 / probability of the group a learner came into; None where it was the same for all."""
    propensity = cases["propensity"].to_numpy(dtype=float)
    if np.isnan(propensity).any() or np.ptp(propensity) < 1e-12:
        return None
    return np.where(is_treated, 1 / propensity, 1 / (1 - propensity))


def covariates_of(cases: pd.DataFrame) -> Floats:
    """The columns before_*: unknown values at the mean, with a column that says so."""
    columns: list[Floats] = []
    for name in sorted(c for c in cases.columns if c.startswith("before_")):
        values = cases[name].to_numpy(dtype=float, na_value=np.nan)
        unknown = np.isnan(values)
        if unknown.all():
            continue
        filled = np.where(unknown, values[~unknown].mean(), values)
        columns += [c for c in (filled, unknown.astype(float)) if np.ptp(c) > 0]
    return np.column_stack(columns) if columns else np.empty((len(cases), 0))


# -- judged together -------------------------------------------------------------------------------


def _families(compared: Iterable[Comparison]) -> list[list[Comparison]]:
    families: dict[tuple[str, bool], list[Comparison]] = {}
    for one in compared:
        families.setdefault(one.family, []).append(one)
    return list(families.values())


def judge(family: list[Comparison], as_of: datetime, standards: Standards) -> list[dict[str, Any]]:
    """Rows of `intervention_effects` for comparisons that are read side by side.

    Findings keep the false discovery rate at ``standards.error`` over the family, at whatever day
    they are looked at; the intervals are those that go with it.
    """
    judged = [one for one in family if one.adjusted is not None]
    stands, level = false_discovery(
        np.array([one.always_valid_p for one in judged]), standards.error
    )
    standing = {id(one) for one, stood in zip(judged, stands, strict=True) if stood}
    return [_row(one, id(one) in standing, level, len(judged), as_of, standards) for one in family]


def _row(
    one: Comparison,
    stands: bool,
    level: float,
    family_size: int,
    as_of: datetime,
    standards: Standards,
) -> dict[str, Any]:
    treated, control = one.treated, one.control
    row: dict[str, Any] = {
        "comparison": one.comparison,
        "subject": one.subject,
        "segment_kind": one.segment_kind,
        "segment": one.segment,
        "outcome": one.outcome_name,
        "is_randomised": one.is_by_lot,
        "method": "lin" if one.is_by_lot else "overlap_weights",
        "treated_count": len(treated),
        "control_count": len(control),
        "treated_share": float(treated.mean()) if len(treated) else None,
        "control_share": float(control.mean()) if len(control) else None,
        **_own_interval(treated),
        "difference": None,
        "effect": None,
        "std_error": None,
        "low": None,
        "high": None,
        "interval_level": level,
        "p_value": None,
        "always_valid_p": None,
        "family_size": family_size,
        "needed_per_arm": one.needed,
        "imbalance": one.imbalance,
        "as_of": as_of,
    }
    if one.adjusted is not None and one.plain is not None:
        estimate = one.adjusted
        variance = max(estimate.std_error**2, 1e-12)
        margin = always_valid_margin(variance, level, standards.expected)
        row |= {
            "difference": one.plain.effect,
            "effect": estimate.effect,
            "std_error": estimate.std_error,
            "low": estimate.effect - margin,
            "high": estimate.effect + margin,
            "p_value": estimate.p_value,
            "always_valid_p": one.always_valid_p,
        }
    row["verdict"] = verdict(one, stands)
    row["sentence"] = sentence(row, standards)
    return row


def _own_interval(treated: Floats) -> dict[str, float | None]:
    """Wilson's 95 % interval of the treated group's own share; null for other outcomes."""
    if not len(treated) or not np.isin(treated, (0.0, 1.0)).all():
        return {"treated_low": None, "treated_high": None}
    low, high = share_interval(int(treated.sum()), len(treated))
    return {"treated_low": low, "treated_high": high}


def verdict(one: Comparison, stands: bool) -> str:
    """In one word what may be said of a comparison."""
    if one.adjusted is None or one.needed is None:
        return "not_enough_data"
    if stands:
        better = one.adjusted.effect > 0
        if one.is_by_lot:
            return "helps" if better else "harms"
        return "goes_with_better" if better else "goes_with_worse"
    treated, control = len(one.treated), len(one.control)
    # Two groups are worth as much as two equal ones of their harmonic mean.
    if 2 / (1 / treated + 1 / control) < one.needed:
        return "not_enough_data"
    return "no_difference_seen"


def sentence(row: Mapping[str, Any], standards: Standards) -> str:
    """The row in words, with its numbers of learners and, where groups were chosen, the warning."""
    counts = f"{row['treated_count']:,} against {row['control_count']:,} learners"
    if row["effect"] is None:
        return (
            f"Too few to say anything yet: {counts}; at least {standards.min_per_arm} are needed "
            "on each side."
        )
    points = (
        f"{100 * row['effect']:+.1f} points ({100 * row['low']:+.1f} to {100 * row['high']:+.1f})"
    )
    if row["verdict"] == "not_enough_data":
        said = (
            f"{points}; {counts}. Not enough data yet: needs about {row['needed_per_arm']:,} "
            f"learners per group to see {100 * standards.expected:.1f} points."
        )
    elif row["verdict"] == "no_difference_seen":
        said = f"No difference seen: {points}; {counts}."
    else:
        one_in = f", one more learner for every {round(1 / row['effect'])}"
        said = f"{points}; {counts}{one_in if row['verdict'] == 'helps' else ''}."
    if row["is_randomised"]:
        return said
    return (
        f"{said} An association only: people chose whom to help and how, and learners who are "
        "flagged at a low point improve by themselves as well."
    )


# -- what would have happened anyway ---------------------------------------------------------------

FLAG_GROUPS = ("contacted", "not_contacted", "held_out")
WEEK_SECONDS = 7 * 24 * 3600.0
WEEKS_AROUND = range(-5, 5)  # of seven days each; week 0 begins with the flag


def flag_trend(
    flags: pd.DataFrame, active_days: pd.DataFrame, as_of: datetime
) -> list[dict[str, Any]]:
    """Rows of `flag_trends`: activity in the weeks around a flag, by what people did then.

    ``flags``: learner_id, course_id, flagged_at, group; ``active_days``: learner_id, course_id,
    active_at (one row per active day). A week counts once it is over at ``as_of``. The dip just
    before the flag, and the rise after it among those whom nobody contacted, are what comparisons
    of before and after mistake for an effect.
    """
    first = flags.sort_values(["flagged_at", "course_id"]).drop_duplicates("learner_id")
    met = first.merge(active_days, on=["learner_id", "course_id"])
    since = (met["active_at"] - met["flagged_at"]).dt.total_seconds()
    met["week"] = (since // WEEK_SECONDS).astype("int64")
    counted = met.groupby(["learner_id", "week"]).size()
    rows = []
    for group in FLAG_GROUPS:
        members = first[first["group"] == group]
        for week in WEEKS_AROUND:
            over = members["flagged_at"] + pd.Timedelta(days=7 * (week + 1)) <= pd.Timestamp(as_of)
            who = members.loc[over, "learner_id"]
            if who.empty:
                continue
            index = pd.MultiIndex.from_product([who, [week]], names=["learner_id", "week"])
            days = counted.reindex(index, fill_value=0).to_numpy(dtype=float)
            error = days.std(ddof=1) / np.sqrt(len(days)) if len(days) > 1 else 0.0
            rows.append(
                {
                    "group": group,
                    "week": week,
                    "learner_count": len(days),
                    "active_days": float(days.mean()),
                    "low": float(days.mean() - 1.96 * error),
                    "high": float(days.mean() + 1.96 * error),
                    "as_of": as_of,
                }
            )
    return rows
