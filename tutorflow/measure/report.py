"""The month's report: one page that a programme lead can print.

It says what the AI did, where people acted, how good the alerts were, what became of learners, what
may be said of effects, and what cannot be said yet. It holds numbers of groups only: no name, no
pseudonym, no coach.
"""

from __future__ import annotations

import calendar
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from tutorflow.measure.figures import Figures, Number, Share, figures
from tutorflow.measure.page import page, paragraph, section, table
from tutorflow.measure.plots import Interval, Series, intervals, lines
from tutorflow.settings import Settings

FEW = 30  # of fewer no share is more than an impression
GROUPS = {
    "contacted": "contacted by a person",
    "not_contacted": "not contacted",
    "held_out": "held out",
}
MEASURES = {
    "active_learners": "active learners",
    "returned_share": "returned the week after",
    "accuracy": "answers right",
    "mastery_gain": "gain in mastery",
    "assignments_completed_share": "assignments completed",
    "touchpoints": "touchpoints per learner",
}
SHARES = ("returned_share", "accuracy", "assignments_completed_share")


def report_page(settings: Settings, month: str) -> str:
    """The report of a month (``2026-03``) as one self-contained HTML file.

    Raises TutorflowError when the month is none, or nothing of it has been decided.
    """
    return render(figures(settings, month), month)


def render(found: Figures, month: str) -> str:
    """The page of these figures."""
    year, number = map(int, month.split("-"))
    name = f"{calendar.month_name[number]} {year}"
    return page(
        f"Tutoring report, {name}",
        [
            section("At a glance", paragraph(at_a_glance(found)), _numbers(found, "hours")),
            section(
                "What the AI tutor did",
                _numbers(found, "ai"),
                paragraph(
                    "The AI tutor watches, sorts and drafts, and answers small trouble by itself. "
                    "Whatever it decided about a learner can be read back from stored columns.",
                    is_note=True,
                ),
            ),
            section("Where people acted", _numbers(found, "people"), _help(found)),
            section(
                "What was held back, and why",
                _frame(found.tables["held"], {"reason": "reason", "count": "times"}),
            ),
            section(
                "Were the alerts right?", _numbers(found, "verdicts"), _rules(found.tables["rules"])
            ),
            section(
                "What became of learners after an alert",
                _numbers(found, "outcomes"),
                _by_layer(found),
                recovery_plot(found.tables["recovery"]),
            ),
            section("Does it help?", *_effects(found.tables["effects"])),
            section(
                "What would have happened anyway",
                paragraph(
                    "Learners are flagged at a low point, and low points pass. The rise of those "
                    "whom nobody contacted is what a comparison of before and after would mistake "
                    "for an effect."
                ),
                trend_plot(found.tables["flag_trends"]),
                _trends(found.tables["flag_trends"]),
            ),
            section("Where learners stand", _states(found)),
            section("Week by week", *_health(found.tables["health"])),
            section(
                "Who slipped through",
                _numbers(found, "missed"),
                _frame(
                    found.tables["nearest_rules"],
                    {"nearest_rule": "rule that came nearest", "count": "learners"},
                ),
            ),
            section("Limits", *[paragraph(words) for words in limits(found)]),
        ],
        f"{found.start:%Y-%m-%d %H:%M} to {found.end:%Y-%m-%d %H:%M} UTC, from the published "
        "tables. Groups only; no learner and no coach is named.",
    )


# -- words -----------------------------------------------------------------------------------------


def at_a_glance(found: Figures) -> str:
    """The month in three sentences."""
    people, ai = found.numbers["people"], found.numbers["ai"]
    resumed = found.numbers["outcomes"]["resumed"]
    after = (
        f"Of {resumed.n:,} alerts with a known outcome {resumed.value:.0%} ended with the learner "
        f"working again ({resumed.low:.0%} to {resumed.high:.0%})."
        if isinstance(resumed, Share)
        else "No outcome of an alert is known yet."
    )
    return (
        f"{ai['signals seen']:,} signals led to {ai['cases left with the AI tutor']:,} cases for "
        f"the AI tutor and {people['alerts to people']:,} alerts to people, about "
        f"{people['learners in these']:,} learners. {after}"
    )


def limits(found: Figures) -> list[str]:
    """What this report cannot say, and where data are too few."""
    said = [
        "Where people chose whom to contact, groups differ in more than the contact: such rows are "
        "associations, whatever their interval.",
        "Intervals of shares are 95 % (Wilson); those of effects hold at every daily look and for "
        "all comparisons of their family together.",
    ]
    effects = found.tables["effects"]
    short = int((effects["verdict"] == "not_enough_data").sum())
    if effects.empty:
        said.append("No comparison has begun: nothing is known of effects.")
    elif short:
        said.append(f"Not enough data yet for {short:,} of {len(effects):,} comparisons.")
    few = [
        label
        for numbers in found.numbers.values()
        for label, value in numbers.items()
        if isinstance(value, Share) and value.n < FEW
    ]
    if few:
        said.append(f"Fewer than {FEW} cases stand behind: {', '.join(few)}.")
    unknown = found.numbers["outcomes"]["not known yet"]
    if unknown:
        said.append(
            f"The outcome of {unknown:,} alerts is not known yet; later reports of this month will "
            "differ in them."
        )
    dates = {
        str(pd.Timestamp(table["as_of"].max()).date())
        for table in found.tables.values()
        if "as_of" in table and not table.empty
    }
    if dates:
        said.append(f"Quality of rules, recovery and effects are as of {max(dates)}.")
    return said


def say(value: Number | Share) -> str:
    """A number as the report writes it."""
    if value is None:
        return "not known"
    if isinstance(value, Share):
        return f"{value.value:.0%} ({value.low:.0%} to {value.high:.0%}, n = {value.n:,})"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


# -- tables ----------------------------------------------------------------------------------------


def _numbers(found: Figures, group: str) -> str:
    return table(["", "number"], [[label, say(v)] for label, v in found.numbers[group].items()])


def _frame(rows: pd.DataFrame, columns: Mapping[str, str]) -> str:
    return table(
        list(columns.values()), [[_cell(row[name]) for name in columns] for row in _records(rows)]
    )


def _cell(value: Any) -> str:
    if value is None or pd.isna(value):
        return ""
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.2f}"
    return f"{int(value):,}" if isinstance(value, int | float) else str(value).replace("_", " ")


def _part(value: Any, low: Any, high: Any, n: Any) -> str:
    if value is None or pd.isna(value):
        return "not known"
    return say(Share(float(value), float(low), float(high), int(n)))


def _help(found: Figures) -> str:
    rows = _records(found.tables["kinds_of_help"])
    return table(
        ["what people did", "times", "the learner worked again"],
        [
            [
                row["kind"].replace("_", " "),
                f"{row['count']:,}",
                _part(row["share"], row["low"], row["high"], row["known"]),
            ]
            for row in rows
        ],
    )


def _by_layer(found: Figures) -> str:
    return table(
        ["kind of difficulty", "alerts", "the learner worked again"],
        [
            [
                row["layer"],
                f"{row['count']:,}",
                _part(row["share"], row["low"], row["high"], row["known"]),
            ]
            for row in _records(found.tables["labels"])
        ],
    )


def _rules(rows: pd.DataFrame) -> str:
    return table(
        ["rule", "signals", "alerts", "right, by verdicts", "trouble stayed without help"],
        [
            [
                row["rule_id"].replace("_", " "),
                f"{row['signal_count']:,}",
                f"{row['alert_count']:,}",
                _part(
                    row["verdict_precision"],
                    row["verdict_precision_low"],
                    row["verdict_precision_high"],
                    row["verdict_count"],
                ),
                _part(
                    row["outcome_precision"],
                    row["outcome_precision_low"],
                    row["outcome_precision_high"],
                    row["outcome_count"],
                ),
            ]
            for row in _records(rows)
        ],
    )


def _states(found: Figures) -> str:
    return _frame(found.tables["states"], {"state": "state", "count": "learners and courses"})


def _trends(rows: pd.DataFrame) -> str:
    return table(
        ["learners", "weeks after the flag", "number", "active days a week"],
        [
            [
                GROUPS[row["group"]],
                f"{row['week']:+d}",
                f"{row['learner_count']:,}",
                f"{row['active_days']:.2f}",
            ]
            for row in _records(rows.sort_values(["group", "week"]))
        ],
    )


def _effects(rows: pd.DataFrame) -> Sequence[str]:
    whole = rows[rows["segment_kind"].isin(("all", "profile"))]
    parts = whole[~whole.index.isin(rows.index[rows["segment_kind"] == "profile"])]
    cells = [
        [_subject(row), row["verdict"].replace("_", " "), row["sentence"]]
        for row in _records(whole)
    ]
    segments = rows[~rows["segment_kind"].isin(("all", "profile"))]
    found = segments[~segments["verdict"].isin(("not_enough_data", "no_difference_seen"))]
    return [
        effect_plot(parts),
        table(["comparison", "verdict", "in words"], cells),
        paragraph(
            f"By segment (course, time of day, coach, early or late in the course, kind of "
            f"difficulty): {len(segments):,} comparisons, of which {len(found):,} stand."
        ),
        table(
            ["comparison", "segment", "in words"],
            [
                [
                    _subject(row),
                    row["segment_kind"].replace("_", " ")
                    + ("" if row["segment_kind"] == "coach" else f": {row['segment']}"),
                    row["sentence"],
                ]
                for row in _records(found)
            ],
        ),
    ]


def _subject(row: Mapping[str, Any]) -> str:
    subject = str(row["subject"]).replace("_", " ")
    if row["comparison"] == "playbook":
        return f"{subject}, for {row['segment']}"
    return f"nudge: {subject}" if row["comparison"] == "nudge" else subject


def _health(rows: pd.DataFrame) -> Sequence[str]:
    plots = [
        health_plot(rows[rows["measure"] == measure], label, measure in SHARES)
        for measure, label in MEASURES.items()
        if measure in ("active_learners", "returned_share")
    ]
    shown = rows[rows["measure"].isin(list(MEASURES)) & rows["value"].notna()]
    cells = [
        [
            row["course_id"],
            f"{row['week_starts_at']:%Y-%m-%d}",
            MEASURES[row["measure"]],
            f"{row['value']:.0%}" if row["measure"] in SHARES else f"{row['value']:,.2f}",
            f"{row['n']:,}",
        ]
        for row in _records(shown.sort_values(["course_id", "measure", "week_starts_at"]))
    ]
    return [*plots, table(["course", "week from", "measure", "value", "n"], cells)]


# -- plots -----------------------------------------------------------------------------------------


def recovery_plot(rows: pd.DataFrame) -> str:
    """Share of learners working again, by days after the alert (Kaplan-Meier)."""
    mine = rows[rows["group_kind"] == "all"].sort_values("day")
    if mine.empty:
        return ""
    curve = Series(
        "all alerts",
        [0.0, *mine["day"]],
        [0.0, *mine["recovered_share"]],
        [0.0, *mine["low"]],
        [0.0, *mine["high"]],
        is_step=True,
    )
    return lines(
        [curve],
        "Share of learners working again after an alert",
        "days after the alert",
        "working again",
        percent=True,
    )


def trend_plot(rows: pd.DataFrame) -> str:
    """Active days per week around a flag, by what people did."""
    series = [
        Series(
            GROUPS[str(group)],
            [float(week) for week in mine["week"]],
            list(mine["active_days"]),
            list(mine["low"]),
            list(mine["high"]),
        )
        for group, mine in rows.sort_values("week").groupby("group", sort=True)
    ]
    return lines(
        series,
        "Active days per week around the first flag",
        "weeks after the flag",
        "active days a week",
    )


def effect_plot(rows: pd.DataFrame) -> str:
    """The effects with their intervals, in points."""
    return intervals(
        [
            Interval(
                _subject(row)[:34],
                None if pd.isna(row["effect"]) else float(row["effect"]),
                None if pd.isna(row["low"]) else float(row["low"]),
                None if pd.isna(row["high"]) else float(row["high"]),
                "too few" if pd.isna(row["effect"]) else row["verdict"].replace("_", " "),
            )
            for row in _records(rows)
        ],
        "Effects with their intervals, in percentage points",
        "percentage points",
    )


def health_plot(rows: pd.DataFrame, label: str, percent: bool) -> str:
    """One measure of programme health by week, a line per course."""
    series = []
    for course, some in rows[rows["value"].notna()].groupby("course_id", sort=True):
        mine = some.sort_values("week_starts_at")
        series.append(
            Series(str(course), list(range(1, len(mine) + 1)), [float(v) for v in mine["value"]])
        )
    return lines(series, f"Week by week: {label}", "week of the month", label, percent=percent)


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    records: list[Any] = rows.to_dict("records")
    return records
