"""A rehearsal as people read it: tables for a terminal, and a page with plots to print."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pandas as pd
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tutorflow.measure.page import page, paragraph, section, table
from tutorflow.measure.plots import Series, bars, lines
from tutorflow.measure.rehearsal import Precision, Rehearsal
from tutorflow.measure.replay import Rehearsed

NAMES_SHOWN = 20


@dataclass(frozen=True)
class Grid:
    """Rows of a table with its title and the names of its columns."""

    title: str
    columns: list[str]
    rows: list[list[str]]


def policies(rehearsal: Rehearsal) -> dict[str, Rehearsed]:
    """`in force` and, if there is one, `candidate`."""
    both = {"in force": rehearsal.in_force}
    if rehearsal.candidate is not None:
        both["candidate"] = rehearsal.candidate
    return both


def coach_days(rehearsal: Rehearsal) -> pd.DataFrame:
    """One row per policy, coach and day with alerts of tier 2 or higher.

    Columns: policy, coach_id, day, delivered (tier 2 to 4), counted (tier 2 and 3, which take up
    room), waited (alerts held for want of room), capacity.
    """
    rows: list[dict[str, Any]] = []
    for name, one in policies(rehearsal).items():
        delivered = Counter(zip(one.deliveries["coach_id"], one.deliveries["day"], strict=True))
        taking = one.deliveries[one.deliveries["alert_tier"].isin((2, 3))]
        counted = Counter(zip(taking["coach_id"], taking["day"], strict=True))
        waited = Counter(zip(one.held["coach_id"], one.held["day"], strict=True))
        rows += [
            {
                "policy": name,
                "coach_id": coach,
                "day": day,
                "delivered": delivered[coach, day],
                "counted": counted[coach, day],
                "waited": waited[coach, day],
                "capacity": rehearsal.capacity.get(coach),
            }
            for coach, day in sorted({*delivered, *waited}, key=str)
        ]
    columns = ["policy", "coach_id", "day", "delivered", "counted", "waited", "capacity"]
    return pd.DataFrame(rows, columns=columns)


def days_of(rehearsal: Rehearsal) -> list[date]:
    """Every calendar day (UTC) the rehearsal touches."""
    first = (rehearsal.start + timedelta(microseconds=1)).date()
    last = (rehearsal.end - timedelta(microseconds=1)).date()
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


# -- the tables, for both --------------------------------------------------------------------------


def grids(rehearsal: Rehearsal) -> list[Grid]:
    """Every table of the rehearsal, in the order in which they are read."""
    found = [_summary(rehearsal), _by_coach(rehearsal)]
    if rehearsal.candidate is not None:
        found += [
            _changed(rehearsal.gained, "Gained: under the candidate alone"),
            _changed(rehearsal.lost, "Lost: under the policy in force alone"),
            _signals(rehearsal),
        ]
    if rehearsal.differences:
        found.append(_differences(rehearsal))
    return [grid for grid in found if grid.rows]


def _summary(rehearsal: Rehearsal) -> Grid:
    both = policies(rehearsal)
    days = coach_days(rehearsal)
    span = len(days_of(rehearsal))
    coaches = max(len(set(days["coach_id"])), 1)

    def row(label: str, say: Any) -> list[str]:
        return [label, *(say(name, one) for name, one in both.items())]

    def crowded(name: str) -> str:
        mine = days[(days["policy"] == name) & (days["waited"] > 0)]
        return f"{len(mine)} ({int(mine['waited'].sum())} alerts waited)"

    def mean(one: Rehearsed) -> str:
        return f"{len(one.deliveries) / span / coaches:.1f}"

    precision = dict(zip(both, rehearsal.precision.values(), strict=True))
    return Grid(
        "In all",
        ["", *both],
        [
            row("policy", lambda _, one: one.policy_version),
            row("alerts opened", lambda _, one: f"{len(one.alerts):,}"),
            row("to a person (tier 2 and higher)", lambda _, one: f"{len(one.deliveries):,}"),
            row(
                "of these tier 3 and 4",
                lambda _, one: f"{int((one.deliveries['alert_tier'] >= 3).sum()):,}",
            ),
            row("learners", lambda _, one: f"{one.deliveries['learner_id'].nunique():,}"),
            row("per coach and day", lambda _, one: mean(one)),
            row("coach-days that were full", lambda name, _: crowded(name)),
            row(
                "known to be right, by verdicts", lambda name, _: _said(precision[name], "verdicts")
            ),
            row(
                "known to be in need, by outcomes",
                lambda name, _: _said(precision[name], "outcomes"),
            ),
        ],
    )


def _said(precision: Precision, by: str) -> str:
    share = precision.shares()[by]
    if share is None:
        return "nothing is known"
    value, low, high, n = share
    return f"{value:.0%} ({low:.0%} to {high:.0%}; {n} of {precision.alerts} alerts)"


def _by_coach(rehearsal: Rehearsal) -> Grid:
    span = len(days_of(rehearsal))
    rows = []
    for (coach, name), mine in coach_days(rehearsal).groupby(["coach_id", "policy"], sort=True):
        capacity = mine["capacity"].iloc[0]
        rows.append(
            [
                str(coach),
                str(name),
                f"{mine['delivered'].sum() / span:.1f}",
                str(int(mine["delivered"].max())),
                "" if pd.isna(capacity) else f"{capacity:.0f}",
                str(int((mine["waited"] > 0).sum())),
                str(int(mine["waited"].sum())),
            ]
        )
    columns = ["coach", "policy", "a day", "busiest day", "room", "full days", "waited"]
    return Grid("Alerts per coach and day", columns, rows)


def _changed(rows: pd.DataFrame, title: str) -> Grid:
    shown = [
        [f"L-{row['learner_id'][:4]}", row["course_id"], row["layer"], ", ".join(row["rules"])]
        for row in _records(rows.head(NAMES_SHOWN))
    ]
    more = len(rows) - len(shown)
    if more > 0:
        shown.append([f"and {more:,} more", "", "", ""])
    learners = f"{rows['learner_id'].nunique():,} learners"
    by_rule = Counter(rule for rules in rows["rules"] for rule in rules)
    most = ", ".join(f"{rule} {count}" for rule, count in by_rule.most_common())
    return Grid(f"{title}: {learners} ({most})", ["learner", "course", "layer", "rules"], shown)


def _signals(rehearsal: Rehearsal) -> Grid:
    both = policies(rehearsal)
    rules = sorted({rule for one in both.values() for rule in one.signals})
    rows = [[rule, *(f"{one.signals.get(rule, 0):,}" for one in both.values())] for rule in rules]
    return Grid("Signals by rule", ["rule", *both], rows)


def _differences(rehearsal: Rehearsal) -> Grid:
    shown = [
        [f"L-{one.learner_id[:4]}", f"{one.opened_at:%Y-%m-%d %H:%M}", one.what, one.why]
        for one in rehearsal.differences[:NAMES_SHOWN]
    ]
    more = len(rehearsal.differences) - len(shown)
    if more > 0:
        shown.append([f"and {more:,} more", "", "", ""])
    return Grid(
        f"Published otherwise: {len(rehearsal.differences)} alerts",
        ["learner", "opened", "what", "why"],
        shown,
    )


def opening_words(rehearsal: Rehearsal) -> list[str]:
    """What was rehearsed, and whether the past came out the same."""
    words = [
        f"{rehearsal.ticks:,} ticks from {rehearsal.start:%Y-%m-%d %H:%M} to "
        f"{rehearsal.end:%Y-%m-%d %H:%M} UTC. Nothing was written."
    ]
    if rehearsal.is_as_decided:
        reasons = Counter(one.why for one in rehearsal.differences)
        words.append(
            "The policy in force gives again exactly what was published."
            if not reasons
            else "What was published differs: "
            + "; ".join(f"{count} alerts, {why}" for why, count in reasons.most_common())
            + "."
        )
    return words + rehearsal.notes


# -- a terminal ------------------------------------------------------------------------------------


def as_text(rehearsal: Rehearsal) -> RenderableType:
    """The rehearsal for a terminal."""
    parts: list[RenderableType] = [Text(words) for words in opening_words(rehearsal)]
    for grid in grids(rehearsal):
        drawn = Table(title=grid.title, title_justify="left", title_style="bold", box=None)
        for name in grid.columns:
            drawn.add_column(name, overflow="fold")
        for row in grid.rows:
            drawn.add_row(*(Text(cell) for cell in row))
        parts += [Text(), drawn]
    return Group(*parts)


# -- a page ----------------------------------------------------------------------------------------


def as_html(rehearsal: Rehearsal) -> str:
    """The rehearsal as one self-contained page."""
    first, *others = grids(rehearsal)
    return page(
        "Rehearsal of a policy",
        [
            *(paragraph(words) for words in opening_words(rehearsal)),
            section(first.title, table(first.columns, first.rows)),
            section("Alerts per day", per_day_plot(rehearsal), per_coach_plot(rehearsal)),
            *(section(grid.title, table(grid.columns, grid.rows)) for grid in others),
        ],
    )


def per_day_plot(rehearsal: Rehearsal) -> str:
    """Alerts to people on each day, by policy."""
    days = coach_days(rehearsal)
    calendar = days_of(rehearsal)
    series = []
    for name in policies(rehearsal):
        mine = days[days["policy"] == name].groupby("day")["delivered"].sum()
        counts = _on(calendar, mine.to_dict())
        series.append(Series(name, list(range(1, len(calendar) + 1)), counts))
    return lines(series, "Alerts to people on each day", "day of the rehearsal", "alerts")


def per_coach_plot(rehearsal: Rehearsal) -> str:
    """Each coach's busiest day, by policy."""
    days = coach_days(rehearsal)
    coaches = sorted(set(days["coach_id"].dropna()))
    groups = []
    for name in policies(rehearsal):
        busiest = days[days["policy"] == name].groupby("coach_id")["delivered"].max()
        groups.append((name, _on(coaches, busiest.to_dict())))
    return bars(coaches, groups, "Busiest day of each coach", "alerts")


def _on(keys: Iterable[Any], values: Mapping[Any, Any]) -> list[float]:
    return [float(values.get(key, 0)) for key in keys]


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    records: list[Any] = rows.to_dict("records")
    return records
