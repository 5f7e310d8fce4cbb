"""The verdict of the quality gate, as publishing needs to know it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["critical", "warning"]


@dataclass(frozen=True)
class CheckResult:
    """What one check found.

    Attributes:
        suite: the suite it belongs to, such as `candidates`.
        check_id: stable and readable, such as `candidates.due_dates`.
        severity: `critical` blocks the publish, `warning` publishes with a note.
        is_success: whether the check holds.
        failed_count: rows that break it.
        message: what was found, in plain words.
        failed_rows: up to 20 of those rows, as records.
    """

    suite: str
    check_id: str
    severity: Severity
    is_success: bool
    failed_count: int
    message: str
    failed_rows: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Verdict:
    """Every check's result, and which critical checks a person accepted, with their reason."""

    results: Sequence[CheckResult]
    accepted: Mapping[str, str] = field(default_factory=dict)
    mart_counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def failures(self) -> list[CheckResult]:
        """The checks that do not hold, critical ones first."""
        failed = [result for result in self.results if not result.is_success]
        return sorted(failed, key=lambda result: result.severity != "critical")

    @property
    def blocking(self) -> list[CheckResult]:
        """The critical checks that do not hold and that nobody accepted."""
        return [
            result
            for result in self.failures
            if result.severity == "critical" and result.check_id not in self.accepted
        ]

    @property
    def blocked(self) -> bool:
        """Whether these candidates must not be published."""
        return bool(self.blocking)
