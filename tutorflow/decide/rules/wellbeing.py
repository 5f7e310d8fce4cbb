"""Wellbeing: what learners say of themselves, and whom they ask for help."""

from __future__ import annotations

from typing import Annotated

import pandas as pd
from pydantic import Field

from tutorflow.decide.rule import Condition, Count, Share, rule
from tutorflow.decide.rules.series import REACH, trailing_sum

# How far a report may fall, on its scale of 0 to 1.
Fall = Annotated[float, Field(gt=0, le=1)]
# A report looks back on the assessments of a week (tutorflow.decide.contacts).
HoursAfter = Annotated[float, Field(gt=0, le=24 * 7)]


@rule(mart="check_ins", needs=("check_in", "response_submitted"), reach_days=28)
def low_confidence(
    check_ins: pd.DataFrame,
    *,
    at_most: Share = 0.4,
    times: Count = 2,
    mastery_at_least: Share = 0.7,
) -> Condition:
    """Low confidence in a skill that is in fact going well: can, but does not believe it.

    The mastery is that of the skill the report names, else of the skill practised last.
    """
    rows = check_ins[check_ins["measure"] == "confidence"]
    low = (rows["self_report"] <= at_most) & (rows["p_mastery"] >= mastery_at_least)
    return _reports_in_a_row(rows, low, times, at_most)


@rule(mart="check_ins", needs=("check_in",))
def low_mood(check_ins: pd.DataFrame, *, at_most: Share = 0.4, times: Count = 3) -> Condition:
    """A low mood in one check-in after the other."""
    rows = check_ins[check_ins["measure"] == "mood"]
    return _reports_in_a_row(rows, rows["self_report"] <= at_most, times, at_most)


@rule(mart="check_ins", needs=("check_in", "assessment_scored"), reach_days=35)
def confidence_drop(
    check_ins: pd.DataFrame, *, points: Fall = 0.3, hours: HoursAfter = 72
) -> Condition:
    """Confidence falls sharply after an assessment, compared with the last report before it."""
    rows = check_ins[check_ins["measure"] == "confidence"]
    # rounded: 0.7 - 0.4 is a hair below 0.3
    fall = (rows["report_before"] - rows["self_report"]).round(7)
    soon = rows["known_at"] - rows["assessed_at"] <= pd.Timedelta(hours=hours)
    return Condition(
        rows,
        (fall >= points) & soon,
        fall,
        points,
        pd.Series(2, index=rows.index),
        f"{hours:g} hours after an assessment",
        evidence=2,
    )


@rule(mart="requests", needs=("help_requested",), subject="skill", is_request=True)
def help_requested(requests: pd.DataFrame, *, for_a_person: bool = False) -> Condition:
    """The learner asked for help.

    With ``for_a_person`` only requests that ask for one (attribute ``asks_for``: person, human,
    coach, tutor or call). A request on a skill is about content.
    """
    rows = requests
    asked = rows["asks_for_a_person"] if for_a_person else pd.Series(True, index=rows.index)
    one = pd.Series(1.0, index=rows.index)
    return Condition(
        rows, asked, one, 1, one, "request of the learner", by=(), subject="skill_id", layer="layer"
    )


@rule(mart="manual_flags", is_request=True)
def manual_flag(flags: pd.DataFrame, *, contact_today: bool = False) -> Condition:
    """A person saw something that no rule sees.

    With ``contact_today`` only flags that ask for contact the same day. The flag's own layer
    counts; its reason is never read.
    """
    rows = flags
    asked = rows["asks_for_contact_today"] if contact_today else pd.Series(True, index=rows.index)
    one = pd.Series(1.0, index=rows.index)
    return Condition(
        rows, asked, one, 1, one, "flag of a person", by=(), anchor="row_id", layer="layer"
    )


def _reports_in_a_row(
    rows: pd.DataFrame, low: pd.Series, times: int, threshold: float
) -> Condition:
    learner = rows["learner_id"] + rows["course_id"]
    count = trailing_sum(low, rows["known_at"], learner, REACH, last=times)
    n = trailing_sum(pd.Series(1, index=rows.index), rows["known_at"], learner, REACH)
    return Condition(
        rows,
        count >= times,
        rows["self_report"],
        threshold,
        n,
        f"{times} check-ins in a row",
        evidence=times,
    )
