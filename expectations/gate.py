"""The gate: suites and frames in, a verdict out.

Great Expectations judges pandas frames. What decides is the severity of what fails: `critical`
blocks the publish, `warning` lets it pass with a note. An expectation that cannot be evaluated
counts as failed. GX is imported when the first check runs, because that takes seconds.
"""

import logging
import os
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import groupby
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from expectations import candidates as candidate_frames
from expectations import landed_events, marts, outcomes
from expectations.checks import SUITES, Check, checks
from tutorflow.publish import Candidates, CheckResult, Verdict
from tutorflow.settings import Settings
from tutorflow.warehouse import open_warehouse

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuiteValidationResult

SHOWN_ROWS = 20

_RESULT_FORMAT = {"result_format": "SUMMARY", "partial_unexpected_count": SHOWN_ROWS}


def check(
    settings: Settings, candidates: Candidates, accept: Mapping[str, str] | None = None
) -> Verdict:
    """Whether the candidates may be published, and everything that was found.

    Reads the marts of this hour from the warehouse, the landing's catalog, committed state from
    the serving database, and the ids of the learners concerned from the identity map. `accept`
    maps check ids to the reason for which a person lets their failure pass. Raises UnknownCheck
    for an id that is none, TutorflowError when one of the stores cannot be read.
    """
    with open_warehouse(settings, read_only=True) as warehouse:
        frames = {
            "landed_events": landed_events.frames(settings, warehouse),
            "marts": marts.frames(settings, warehouse),
            "candidates": candidate_frames.frames(settings, candidates, warehouse),
            "outcomes": outcomes.frames(settings, candidates),
        }
    results = [result for suite in SUITES for result in check_suite(suite, frames[suite])]
    counts = frames["marts"]["row_counts"]
    return Verdict(
        results=results,
        accepted=dict(accept or {}),
        mart_counts=dict(zip(counts["mart"], counts["row_count"].astype(int), strict=True)),
    )


def check_suite(suite: str, frames: Mapping[str, pd.DataFrame]) -> list[CheckResult]:
    """The results of every check of a suite over its frames, in the order of the suite's file."""
    found: dict[str, CheckResult] = {}
    by_frame = sorted(checks(suite), key=lambda one: one.frame)
    for frame_name, group in groupby(by_frame, key=lambda one: one.frame):
        for result in _judge(list(group), frames[frame_name].reset_index(drop=True)):
            found[result.check_id] = result
    return [found[one.check_id] for one in checks(suite)]


def _judge(group: list[Check], frame: pd.DataFrame) -> Iterator[CheckResult]:
    by_id = {one.check_id: one for one in group}
    for evaluated in _validated(group, frame).results:
        one = by_id[evaluated.expectation_config.meta["check_id"]]
        yield _result(one, frame, evaluated)


def _validated(group: list[Check], frame: pd.DataFrame) -> "ExpectationSuiteValidationResult":
    gx, frames_of = _great_expectations()
    suite = gx.ExpectationSuite(
        name=f"{group[0].suite}.{group[0].frame}",
        expectations=[
            getattr(gx.expectations, f"Expect{one.expect}")(
                **one.arguments, severity=one.severity, meta={"check_id": one.check_id}
            )
            for one in group
        ],
    )
    # Only the columns in question: GX takes a fingerprint of every value it is given, twice.
    asked = {one.arguments.get("column") for one in group}
    narrow = frame[[name for name in frame.columns if name in asked] or list(frame.columns[:1])]
    return frames_of.get_batch({"dataframe": narrow}).validate(
        suite, result_format=_RESULT_FORMAT, expectation_parameters=dict(frame.attrs)
    )


@cache
def _great_expectations() -> tuple[Any, Any]:
    """The package, silenced and off the network, and what makes batches of frames."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "False")
    import great_expectations as gx

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("tutorflow").add_dataframe_asset("frame")
    return gx, asset.add_batch_definition_whole_dataframe("whole")


def _result(one: Check, frame: pd.DataFrame, evaluated: Any) -> CheckResult:
    found = evaluated.result or {}
    if not found:
        return _failed(one, 1, f"could not be evaluated: {_exception(evaluated)}", [])
    if evaluated.success:
        checked = frame.attrs.get("checked", len(frame))
        note = frame.attrs.get("note", "")
        return CheckResult(
            one.suite,
            one.check_id,
            one.severity,
            True,
            0,
            f"holds for {checked} rows{note}" if checked else "holds",
        )
    if "unexpected_count" in found:
        count = int(found["unexpected_count"])
        rows = frame.iloc[list(found.get("partial_unexpected_index_list") or [])[:SHOWN_ROWS]]
    else:  # an expectation about the whole frame: every row in it is a violation
        count = len(frame)
        rows = frame.head(SHOWN_ROWS)
    shown = rows[list(one.show)] if one.show else rows
    return _failed(one, count, f"{count} {one.fails}", _records(shown))


def _failed(one: Check, count: int, message: str, rows: list[dict[str, Any]]) -> CheckResult:
    return CheckResult(
        one.suite, one.check_id, one.severity, False, count, f"{message}; {one.remedy}", rows
    )


def _exception(evaluated: Any) -> str:
    info = evaluated.exception_info or {}
    nested = info if "exception_message" in info else next(iter(info.values()), {})
    return str(nested.get("exception_message", "no reason given")).strip().splitlines()[-1]


def _records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {str(name): _plain(value) for name, value in record.items()}
        for record in rows.to_dict("records")
    ]


def _plain(value: Any) -> Any:
    """The value as JSON can hold it; what is no number is null."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not isfinite(value):
        return None
    if isinstance(value, pd.Timestamp):
        return value.isoformat(sep=" ")
    if isinstance(value, list | tuple | dict | str | bool | int | float):
        return value
    return None if pd.isna(value) else str(value)
