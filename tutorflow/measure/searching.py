"""Searching a long window: what policies find in it, one group of learners after the other.

What is found of a learner depends on nobody else's rows, but for the calendar's cohorts and the
marts of items, which are whole for every group. So memory is that of a group, however many learners
there are, and groups are searched side by side in processes of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context

import duckdb
import pandas as pd

from tutorflow.decide.episodes import OF_A_SUBJECT, OF_ITS_RULE
from tutorflow.decide.frames import Frames, Seen, frame, load_calendar
from tutorflow.decide.inputs import Span, last_words
from tutorflow.decide.signals import Findings, find
from tutorflow.decide.window import read_frames
from tutorflow.policy import Policy
from tutorflow.roster import Roster
from tutorflow.settings import Settings
from tutorflow.warehouse import open_warehouse

EVENTS_AT_ONCE = 500_000
SIDE_BY_SIDE = 2
MEMORY_OF_EACH = "1GB"  # of DuckDB; the frames come on top
WHAT = ["kind", "learner_id", "course_id", "subject_id"]

LEARNERS = """
    select cast(learner_id as varchar) as learner_id, count(*) as events
    from marts.events
    group by all
    order by learner_id
"""


@dataclass(frozen=True)
class Search:
    """A policy to search with; ``settling``: see :func:`tutorflow.decide.signals.find`."""

    policy: Policy
    settling: Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Found:
    """What each search found, without words, and what the ticks need besides."""

    findings: list[Findings]
    seen: Seen


@dataclass(frozen=True)
class _Group:
    settings: Settings
    roster: Roster
    span: Span
    calendar: pd.DataFrame
    searches: Sequence[Search]


def search(
    warehouse: duckdb.DuckDBPyConnection,
    settings: Settings,
    roster: Roster,
    span: Span,
    searches: Sequence[Search],
) -> Found:
    """What the searches find of everybody in the span, whatever ``span.learners`` says.

    Of recoveries only those that settle a signal of one of the searches, and all work.
    """
    calendar = load_calendar(warehouse, span.start, span.ends[-1], settings.timezone)
    events = frame(warehouse, LEARNERS)
    groups = [
        _Group(
            settings,
            roster,
            replace(span, learners=learners),
            calendar[calendar["learner_id"].isin(learners)],
            searches,
        )
        for learners in _groups(events, set(roster.enrolments["learner_id"]))
    ]
    if len(groups) == 1:
        return _search(warehouse, groups[0])
    with ProcessPoolExecutor(SIDE_BY_SIDE, mp_context=get_context("spawn")) as processes:
        return _joined(list(processes.map(_search_apart, groups)))


def _groups(events: pd.DataFrame, enrolled: set[str]) -> list[list[str]]:
    """Everybody who sent events or is enrolled, in groups of about EVENTS_AT_ONCE events."""
    number = (events["events"].cumsum() - events["events"]) // EVENTS_AT_ONCE
    groups = [list(learners) for _, learners in events["learner_id"].groupby(number)] or [[]]
    groups[-1] += sorted(enrolled - set(events["learner_id"]))
    return groups


def _search_apart(group: _Group) -> Found:
    with open_warehouse(group.settings, read_only=True) as warehouse:
        warehouse.execute("set threads = 1")  # the other core searches another group
        warehouse.execute(f"set memory_limit = '{MEMORY_OF_EACH}'")
        return _search(warehouse, group)


def _search(warehouse: duckdb.DuckDBPyConnection, group: _Group) -> Found:
    span = group.span
    frames = read_frames(warehouse, group.settings, group.roster, span, group.calendar)
    start, end = pd.Timestamp(span.start), pd.Timestamp(span.ends[-1])
    found = [find(frames, one.policy, start, end, None, one.settling) for one in group.searches]
    settled_by = pd.concat(
        [
            _settled_by(findings.signals, one.policy)
            for findings, one in zip(found, group.searches, strict=True)
        ]
    )
    heard = [replace(one, recoveries=_worth_hearing(one.recoveries, settled_by)) for one in found]
    return Found(heard, _seen(frames, found, span))


def _seen(frames: Frames, found: Iterable[Findings], span: Span) -> Seen:
    """The last answer of each learner and tick, and those that signals hang on."""
    answers = last_words(
        frames.answer_facts.rename(columns={"known_at": "at"}), span.first, span.ends
    )
    anchors = pd.concat([one.signals["anchor_id"] for one in found])
    responses = frames.responses[["event_id", "item_id"]]
    return Seen(
        responses=responses[responses["event_id"].isin(anchors)].astype("str"),
        days=frames.days,
        answer_facts=answers.rename(columns={"at": "known_at"}).drop(columns="tick"),
        enrolments=frames.enrolments,
    )


def _settled_by(signals: pd.DataFrame, policy: Policy) -> pd.DataFrame:
    """What settles the signals under the policy: WHAT, how often in a row, and since when.

    ``subject_id`` is empty where anything of the kind will do.
    """
    rules = {name: policy.recovery_of(name) for name in policy.rules}
    kind = signals["rule_id"].map({name: rule.kind for name, rule in rules.items()})
    times = signals["rule_id"].map({name: rule.times for name, rule in rules.items()})
    subject = signals["subject_id"].where(kind.isin(OF_A_SUBJECT), "")
    return signals[["learner_id", "course_id"]].assign(
        kind=kind,
        subject_id=subject.where(kind != OF_ITS_RULE, signals["rule_id"]),
        times=times,
        fired_at=signals["fired_at"],
    )


def _worth_hearing(recoveries: pd.DataFrame, settled_by: pd.DataFrame) -> pd.DataFrame:
    """The recoveries that may settle a signal, and all work.

    Nobody listens to others, such as right answers on a skill that no signal has been about.
    """
    least = settled_by.groupby(WHAT, as_index=False)[["times", "fired_at"]].min()
    is_of_one = recoveries["kind"].isin([*OF_A_SUBJECT, OF_ITS_RULE])
    subject = recoveries["subject_id"].where(is_of_one, "").fillna("")
    about = recoveries.assign(subject_id=subject)[[*WHAT, "run", "since"]]
    asked = about.astype(dict.fromkeys(WHAT, "str")).merge(
        least.astype(dict.fromkeys(WHAT, "str")), how="left", on=WHAT
    )
    settles = (asked["run"] >= asked["times"]) & (asked["since"] >= asked["fired_at"])
    is_work = recoveries["kind"] == "worked_session"
    return recoveries[settles.to_numpy() | is_work.to_numpy()]


def _joined(parts: Sequence[Found]) -> Found:
    """What was found of several groups, in the order in which ``find`` gives it."""
    findings = [
        Findings(
            stacked(one.signals for one in of_search).sort_values(
                ["fired_at", "signal_id"], ignore_index=True
            ),
            stacked(one.recoveries for one in of_search).sort_values(
                ["at", "learner_id", "kind"], ignore_index=True
            ),
            of_search[0].start,
        )
        for of_search in zip(*(part.findings for part in parts), strict=True)
    ]
    seen = [part.seen for part in parts]
    return Found(
        findings,
        Seen(
            responses=stacked(one.responses for one in seen),
            days=stacked(one.days for one in seen),
            answer_facts=stacked(one.answer_facts for one in seen),
            enrolments=stacked(one.enrolments for one in seen),
        ),
    )


def stacked(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """The rows of all parts; parts without rows have no say in the types."""
    every = list(parts)
    filled = [part for part in every if not part.empty]
    return pd.concat(filled, ignore_index=True) if filled else every[0]
