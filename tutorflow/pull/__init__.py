"""From the sources' files to immutable Parquet in the landing, with one outcome per attempt."""

from tutorflow.pull.attempts import PullAttempt, pull
from tutorflow.pull.catalog import read_attempts, read_faults, read_quarantined
from tutorflow.pull.watermarks import source_watermarks

__all__ = [
    "PullAttempt",
    "pull",
    "read_attempts",
    "read_faults",
    "read_quarantined",
    "source_watermarks",
]
