"""Scores: many small things that add up, although no single rule has fired."""

from __future__ import annotations

from typing import Annotated

import pandas as pd
from pydantic import Field

from tutorflow.decide.rule import Condition, rule
from tutorflow.decide.rules.compliance import ACTIVITY

ScorePoints = Annotated[float, Field(gt=0, le=100)]
Parts = Annotated[int, Field(ge=1, le=10)]


@rule(mart="score_days", any_of=ACTIVITY, is_absence=True)
def score_threshold(
    score_days: pd.DataFrame, *, at_least: ScorePoints = 70, leading_parts: Parts = 2
) -> Condition:
    """A score is high at the end of the day, and several leading parts say so.

    It fires on the first such day; its kind of difficulty is that of the score's largest part.
    """
    rows = score_days
    is_over = (rows["value"] >= at_least) & (rows["leading_count"] >= leading_parts)
    was_over = (rows["value_before"] >= at_least) & (rows["leading_count_before"] >= leading_parts)
    rows = rows.assign(is_over=is_over)
    return Condition(
        rows,
        is_over & ~was_over,
        rows["value"],
        at_least,
        rows["leading_count"],
        rows["words"],
        by=(),
        anchor="score_day_id",
        layer="layer",
    )
