"""Safety: somebody may be at risk. People judge; the system only makes sure that they know."""

from __future__ import annotations

import pandas as pd

from tutorflow.decide.rule import Condition, rule


@rule(
    mart="safety_flags", any_of=("check_in", "message_sent", "message_replied"), subject="category"
)
def safety_concern(flags: pd.DataFrame) -> Condition:
    """A safety category was set on something the learner wrote or reported.

    The category alone is known here, never the text. Every flag counts, and nothing the learner
    does undoes one: a person closes it.
    """
    one = pd.Series(1.0, index=flags.index)
    return Condition(
        flags,
        pd.Series(True, index=flags.index),
        one,
        1,
        one,
        "safety category set by the source",
        by=(),
        subject="category",
    )
