"""Every number of the month's report, once more, with plain SQL over the published tables."""

from __future__ import annotations

import json
import math
import random
import re
import sqlite3
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import pytest

from tutorflow.decide.candidates import fit
from tutorflow.errors import TutorflowError
from tutorflow.measure.figures import Figures, Share, figures, month_bounds
from tutorflow.measure.plots import Interval, Series, bars, intervals, lines
from tutorflow.measure.report import render, report_page, say
from tutorflow.publish import tables
from tutorflow.publish.contract import Column, table
from tutorflow.publish.database import writing
from tutorflow.settings import Settings, load_settings

MONTH, START, END = "2026-03", "2026-03-01 00:00:00.000000", "2026-04-01 00:00:00.000000"
ROWS = 250
SAID = {
    "interventions": {"kind": ["message", "call"]},
    "alert_verdicts": {
        "verdict": ["useful", "not_actionable", "incorrectly_flagged", "already_handled"]
    },
    "recommendation_decisions": {"decision": ["accept", "edit", "reject"]},
    "overrides": {"what": ["close"]},
    "manual_flags": {"layer": ["content"]},
    "acknowledgements": {"coach_id": ["kim"]},
}
USED = [
    "tick_log",
    "run_status",
    "learner_states",
    "signals",
    "exposures",
    "nudges_outbox",
    "good_news",
    "alert_responses",
    "safety_events",
    "inbox_taken",
    "alert_outcomes",
    "intervention_outcomes",
    "outcome_agreement",
    "missed_learners",
    "suppressions",
    "rule_quality",
    "recovery_curves",
    "intervention_effects",
    "flag_trends",
    "programme_health",
]


# -- published tables with anything in them --------------------------------------------------------


def anything(name: str, draw: random.Random) -> pd.DataFrame:
    """Rows of a published table: any value the contract allows, in and around the month."""
    spec = table(name)
    rows = [
        {c.name: _any(c, c.name in spec.key, number, draw) for c in spec.columns.values()}
        for number in range(ROWS)
    ]
    if name == "inbox_taken":
        for row in rows:
            said = SAID.get(row["inbox"], {})
            row["content"] = json.dumps({k: draw.choice(v) for k, v in said.items()})
    return fit(name, pd.DataFrame(rows).drop_duplicates(list(spec.key)))


def _any(column: Column, is_key: bool, number: int, draw: random.Random) -> Any:
    if column.nullable and not is_key and draw.random() < 0.25:
        return None
    if column.name == "window_hours":
        return draw.choice([72, 168])
    if column.values:
        return draw.choice(column.values)
    if column.type == "timestamp":
        return datetime(2026, 2, 20) + timedelta(hours=draw.randrange(24 * 50))
    if column.type == "integer":
        return draw.randrange(-3, 40)
    if column.type == "real":
        return round(draw.random(), 6)
    if column.type == "boolean":
        return draw.random() < 0.5
    if column.type == "json":
        return "[]"
    return f"{column.name} {number if is_key else number % 7}"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    home = tmp_path_factory.mktemp("report")
    (home / "tutorflow.yml").write_text("sources: []\n")
    found = load_settings(home)
    draw = random.Random(7)
    with writing(found) as connection:
        for name in USED:
            tables.upsert(connection, name, anything(name, draw))
    return found


@pytest.fixture(scope="module")
def found(settings: Settings) -> Figures:
    return figures(settings, MONTH)


@pytest.fixture(scope="module")
def sql(settings: Settings) -> Callable[..., list[tuple[Any, ...]]]:
    connection = sqlite3.connect(settings.home / "serving.sqlite")

    def ask(query: str) -> list[tuple[Any, ...]]:
        return connection.execute(query, {"start": START, "end": END}).fetchall()

    return ask


# -- the same numbers, written again ---------------------------------------------------------------


def tick(column: str) -> str:
    """Inside the month, for the end of a tick."""
    return f"{column} > :start and {column} <= :end"


def inside(column: str) -> str:
    return f"{column} >= :start and {column} < :end"


SAID_SQL = (
    "select count(*) from inbox_taken where inbox = '{0}' and verdict = 'accepted' and "
    + tick("taken_at")
)
TO_PEOPLE = f"from exposures where audience = 'coach' and {tick('exposed_at')}"
BY_AI = f"from exposures where audience = 'ai_tutor' and {tick('exposed_at')}"
ANSWERED = f"from alert_responses where {tick('exposed_at')}"
NUDGES = f"select count(*) from nudges_outbox where {tick('decided_at')} and status = "
VERDICTS = SAID_SQL.format("alert_verdicts") + " and json_extract(content, '$.verdict') in "
DECISIONS = SAID_SQL.format("recommendation_decisions") + (
    " and json_extract(content, '$.decision') = "
)
LONGEST = (
    "from alert_outcomes where alert_tier >= 2 and arm = 'treated' and window_hours = 168 "
    f"and {tick('exposed_at')} "
)
FINAL = LONGEST + "and label <> 'still_open' "
MISSED = f"select count(*) from missed_learners where {inside('ended_at')} "
CONTACTED = "and coalesce(was_contacted, 0) = "

COUNTS = {
    "hours": {
        "ticks decided": f"select count(*) from tick_log where {tick('as_of')}",
        "runs published": "select count(*) from run_status where state = 'published' and "
        + tick("as_of"),
        "runs held back by the checks": "select count(*) from run_status where state = 'blocked' "
        "and " + tick("as_of"),
        "learners known": "select count(distinct learner_id) from learner_states "
        "where since <= :end",
    },
    "ai": {
        "signals seen": f"select count(*) from signals where {tick('recorded_at')}",
        "cases left with the AI tutor": f"select count(*) {BY_AI}",
        "learners in them": f"select count(distinct learner_id) {BY_AI}",
        "alerts held out for comparison, told to nobody": (
            f"select count(*) from exposures where arm = 'held_out' and {tick('exposed_at')}"
        ),
        "nudges ready to send": NUDGES + "'ready'",
        "nudges held out for comparison": NUDGES + "'held_out'",
        "nudges not sent, with a reason": NUDGES + "'not_sent'",
        "good news": f"select count(*) from good_news where {inside('at')}",
    },
    "people": {
        "alerts to people": f"select count(*) {TO_PEOPLE}",
        "learners in these": f"select count(distinct learner_id) {TO_PEOPLE}",
        "tier 2, a check-in": f"select count(*) {TO_PEOPLE} and alert_tier = 2",
        "tier 3, contact the same day": f"select count(*) {TO_PEOPLE} and alert_tier = 3",
        "tier 4, programme staff": f"select count(*) {TO_PEOPLE} and alert_tier = 4",
        "contacted": f"select count(contacted_at) {ANSWERED}",
        "late": f"select coalesce(sum(is_late), 0) {ANSWERED}",
        "contacts and help logged": SAID_SQL.format("interventions"),
        "recommended steps accepted": DECISIONS + "'accept'",
        "recommended steps edited": DECISIONS + "'edit'",
        "recommended steps rejected": DECISIONS + "'reject'",
        "decisions overruled": SAID_SQL.format("overrides"),
        "learners flagged by people": SAID_SQL.format("manual_flags"),
        "safety concerns": f"select count(*) from safety_events where {inside('fired_at')}",
        "of these met in time": "select count(*) from safety_events where was_in_time = 1 and "
        + inside("fired_at"),
    },
    "verdicts": {
        "useful": VERDICTS + "('useful')",
        "already handled": VERDICTS + "('already_handled')",
        "not actionable": VERDICTS + "('not_actionable')",
        "incorrectly flagged": VERDICTS + "('incorrectly_flagged')",
    },
    "outcomes": {
        "outcomes known": f"select count(*) {FINAL}",
        "not known yet": f"select count(*) {LONGEST} and label = 'still_open'",
    },
    "missed": {
        "learners with no alert in the 14 days before": MISSED,
        "went quiet": MISSED + "and ending = 'stopped_out'",
        "withdrew": MISSED + "and ending = 'withdrew'",
        "did not pass": MISSED + "and ending = 'not_passed'",
        "a rule had fired and was held": MISSED + "and held_reason is not null",
    },
}
# (successes, all)
SHARES = {
    ("verdicts", "right to raise"): (
        VERDICTS + "('useful', 'already_handled')",
        SAID_SQL.format("alert_verdicts"),
    ),
    ("outcomes", "resumed"): (
        f"select count(*) {FINAL} and label = 'resumed'",
        f"select count(*) {FINAL}",
    ),
    ("outcomes", "resumed, contacted by a person"): (
        f"select count(*) {FINAL} {CONTACTED} 1 and label = 'resumed'",
        f"select count(*) {FINAL} {CONTACTED} 1",
    ),
    ("outcomes", "resumed, not contacted"): (
        f"select count(*) {FINAL} {CONTACTED} 0 and label = 'resumed'",
        f"select count(*) {FINAL} {CONTACTED} 0",
    ),
}
OTHERS = {
    ("people", "median hours to contact"),
    ("outcomes", "agreement of coaches' codes beyond chance (kappa)"),
}


def test_every_count_is_what_sql_counts(found: Figures, sql: Any) -> None:
    for group, numbers in COUNTS.items():
        for label, query in numbers.items():
            assert found.numbers[group][label] == sql(query)[0][0], label


def test_every_share_is_what_sql_counts_with_wilsons_interval(found: Figures, sql: Any) -> None:
    for (group, label), (successes, everything) in SHARES.items():
        k, n = sql(successes)[0][0], sql(everything)[0][0]
        assert n > 5
        p, z = k / n, 1.959964
        middle = (p + z * z / 2 / n) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / 4 / n / n)
        value = found.numbers[group][label]
        assert isinstance(value, Share), label
        assert (value.value, value.n) == (p, n), label
        assert value.low == pytest.approx(middle - half, abs=1e-6), label
        assert value.high == pytest.approx(middle + half, abs=1e-6), label


def test_the_median_time_to_contact(found: Figures, sql: Any) -> None:
    known = [h for (h,) in sql(f"select hours_to_contact {ANSWERED}") if h is not None]
    assert found.numbers["people"]["median hours to contact"] == pytest.approx(median(known))


def test_the_agreement_is_that_of_the_longest_window(found: Figures, sql: Any) -> None:
    (kappa,) = sql("select kappa from outcome_agreement order by window_hours desc limit 1")[0]
    label = "agreement of coaches' codes beyond chance (kappa)"
    assert found.numbers["outcomes"][label] == kappa


def test_no_number_is_left_unchecked(found: Figures) -> None:
    checked = {(group, label) for group, numbers in COUNTS.items() for label in numbers}
    checked |= set(SHARES) | OTHERS
    shown = {(group, label) for group, numbers in found.numbers.items() for label in numbers}
    assert shown == checked
    assert set(found.tables) == set(TABLES) | {"kinds_of_help", "labels"}


TABLES = {
    "states": "select state, count(*) from learner_states where since <= :end "
    "and (until is null or until > :end) group by 1 order by 2 desc, 1",
    "held": f"select reason, count(*) from suppressions where {tick('held_at')} "
    "group by 1 order by 2 desc, 1",
    "nearest_rules": "select coalesce(nearest_rule, 'none'), count(*) from missed_learners "
    f"where {inside('ended_at')} group by 1 order by 2 desc, 1",
    "rules": "select rule_id, layer, days, signal_count, alert_count, verdict_count, "
    "verdict_precision, verdict_precision_low, verdict_precision_high, outcome_count, "
    "outcome_precision, outcome_precision_low, outcome_precision_high, as_of "
    "from rule_quality where signal_count > 0 order by rule_id",
    "recovery": "select * from recovery_curves where group_kind in ('all', 'layer') "
    "order by group_kind, group_name, day",
    "effects": "select * from intervention_effects "
    "order by comparison, subject, segment_kind, segment, outcome",
    "flag_trends": 'select * from flag_trends order by "group", week',
    "health": f"select * from programme_health where {inside('week_starts_at')} "
    "order by course_id, week_starts_at, measure",
}


@pytest.mark.parametrize("name", TABLES)
def test_every_table_holds_what_sql_finds(name: str, found: Figures, sql: Any) -> None:
    expected = [tuple(map(plain, row)) for row in sql(TABLES[name])]
    shown = found.tables[name]
    assert expected
    assert [tuple(map(plain, row)) for row in shown.itertuples(index=False)] == expected


def plain(value: Any) -> Any:
    if value is None or pd.isna(value):
        return None
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S.%f}"
    return bool(value) if isinstance(value, int) and value in (0, 1) else value


@pytest.mark.parametrize(
    ("name", "column", "source"),
    [
        (
            "kinds_of_help",
            "kind",
            f"from intervention_outcomes where {inside('intervened_at')} and window_hours = 168",
        ),
        ("labels", "layer", LONGEST),
    ],
)
def test_what_became_of_them_by_kind(
    name: str, column: str, source: str, found: Figures, sql: Any
) -> None:
    expected = sql(
        f"select {column}, count(*), sum(label <> 'still_open'), sum(label = 'resumed') {source} "
        "group by 1 order by 1"
    )
    rows = found.tables[name]
    shown = rows[[column, "count", "known", "resumed"]].itertuples(index=False)
    assert [tuple(row) for row in shown] == expected
    for row in rows.itertuples(index=False):
        if row.known:
            assert row.share == row.resumed / row.known
            assert row.low <= row.share <= row.high


# -- the page --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def html(found: Figures) -> str:
    return render(found, MONTH)


def test_the_page_shows_every_number_under_its_label(found: Figures, html: str) -> None:
    cells = re.findall(r"<tr><td>(.*?)</td><td[^>]*>(.*?)</td></tr>", html)
    for numbers in found.numbers.values():
        for label, value in numbers.items():
            assert (label.replace("'", "&#x27;"), say(value)) in cells, label


def test_the_page_names_nobody(found: Figures, html: str) -> None:
    for name in ("learner_id", "coach_id"):
        assert name not in html
    assert "kim" not in html.split()
    assert not re.search(r"L-[0-9a-f]{4}", html)


def test_the_page_needs_nothing_else(html: str) -> None:
    assert html.count("<svg") >= 4
    rest = html.replace("http://www.w3.org/2000/svg", "")
    for outside in ("<script", "http:", "https:", "<link", "src=", "@import", "url("):
        assert outside not in rest


def test_the_page_says_where_data_are_too_few(found: Figures, html: str) -> None:
    effects = found.tables["effects"]
    short = (effects["verdict"] == "not_enough_data").sum()
    assert f"Not enough data yet for {short:,} of {len(effects):,} comparisons." in html
    assert "associations" in html


def test_what_people_wrote_cannot_break_the_page(found: Figures) -> None:
    effects = found.tables["effects"].assign(
        sentence="<script>alert(1)</script>", segment_kind="all", subject='a "b" & <c>'
    )
    html = render(
        Figures(found.start, found.end, found.numbers, found.tables | {"effects": effects}), MONTH
    )
    assert "<script" not in html
    assert "a &quot;b&quot; &amp; &lt;c&gt;" in html


def test_of_an_ordinary_programme_the_report_is_written(tiny_home: Path) -> None:
    html = report_page(load_settings(tiny_home), "2026-01")
    assert "Tutoring report, January 2026" in html
    assert "Too few to say anything yet" in html
    assert "<td class=number>17</td>" in html  # ticks


def test_a_month_without_a_tick_is_an_error_that_says_so(settings: Settings) -> None:
    with pytest.raises(TutorflowError, match="2027-01"):
        figures(settings, "2027-01")


@pytest.mark.parametrize("month", ["2026-13", "2026", "March", "2026-3"])
def test_what_is_no_month_is_an_error(month: str, settings: Settings) -> None:
    with pytest.raises(TutorflowError, match="2026-03"):
        figures(settings, month)


def test_months_are_cut_in_the_programmes_zone() -> None:
    assert month_bounds("2026-03", "Europe/Berlin") == (
        datetime(2026, 2, 28, 23),
        datetime(2026, 3, 31, 22),  # summer time began
    )
    assert month_bounds("2026-12", "UTC") == (datetime(2026, 12, 1), datetime(2027, 1, 1))


# -- plots -----------------------------------------------------------------------------------------


def test_a_line_goes_through_its_points() -> None:
    svg = lines([Series("one", [0, 10], [0, 1])], "title", "x", "y")
    (points,) = re.findall(r'<polyline points="([^"]*)"', svg)
    (x0, y0), (x1, y1) = (map(float, p.split(",")) for p in points.split())
    assert x0 < x1
    assert y0 > y1  # higher is further up
    assert "<title>title</title>" in svg


def test_a_step_line_changes_at_its_points_only() -> None:
    svg = lines([Series("one", [0, 1, 2], [0, 1, 1], is_step=True)], "t", "x", "y")
    (points,) = re.findall(r'<polyline points="([^"]*)"', svg)
    assert len(points.split()) == 5


def test_bars_grow_with_their_values() -> None:
    svg = bars(["a", "b"], [("now", [1.0, 3.0])], "t", "y")
    heights = [float(h) for h in re.findall(r'<rect[^>]*height="([0-9.]+)"', svg)]
    assert heights[1] == pytest.approx(3 * heights[0], rel=0.01)


def test_an_interval_that_is_not_known_is_said_not_drawn() -> None:
    svg = intervals(
        [Interval("a", 0.1, 0.0, 0.2), Interval("b", None, None, None, "few")], "t", "x"
    )
    assert svg.count("<circle") == 1
    assert ">few<" in svg


def test_nothing_to_draw_is_nothing() -> None:
    assert lines([], "t", "x", "y") == bars([], [], "t", "y") == intervals([], "t", "x") == ""


def test_words_in_a_plot_are_escaped() -> None:
    svg = lines([Series("<b>", [0, 1], [0, 1])], '"&"', "x", "y")
    assert "<b>" not in svg
    assert "&lt;b&gt;" in svg
