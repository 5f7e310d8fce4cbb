"""Comparing what two homes have published."""

import pandas as pd

from tutorflow.publish import read_table
from tutorflow.publish.contract import contract
from tutorflow.settings import Settings

# Tables that tell of runs rather than of learners.
OF_RUNS = {"run_status", "gate_results", "mart_counts"}


def published(settings: Settings) -> dict[str, pd.DataFrame]:
    """Every published table but those about runs, in key order."""
    return {name: read_table(settings, name) for name in contract() if name not in OF_RUNS}


def differences(one: Settings, other: Settings) -> list[str]:
    """What differs between the published tables of two homes, in words; empty when nothing does."""
    found = []
    left, right = published(one), published(other)
    for name, frame in left.items():
        try:
            pd.testing.assert_frame_equal(frame, right[name], check_exact=False, rtol=1e-9)
        except AssertionError as error:
            found.append(f"{name}: {error}")
    return found
