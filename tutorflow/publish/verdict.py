"""The verdict of the quality gate, as publishing needs to know it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal

from tutorflow.errors import TutorflowError

Severity = Literal["critical", "warning"]


class UnknownCheck(TutorflowError):
    """Somebody accepted a check that does not exist, or gave no reason."""


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
    """What the gate found and what a person made of it.

    Attributes:
        results: every check's result.
        accepted: check id -> reason for which a person lets its failure pass, once.
        mart_counts: rows of every mart, to compare the next hour with.

    Raises UnknownCheck when what is accepted is no check's id or the reason is empty.
    """

    results: Sequence[CheckResult]
    accepted: Mapping[str, str] = field(default_factory=dict)
    mart_counts: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checks = {result.check_id for result in self.results}
        for check_id, reason in self.accepted.items():
            if check_id not in checks:
                near = get_close_matches(check_id, checks, cutoff=0.4)
                failing = ", ".join(result.check_id for result in self.failures) or "none"
                hint = f"did you mean {' or '.join(near)}" if near else f"failing: {failing}"
                raise UnknownCheck(f"there is no check {check_id!r} to accept; {hint}")
            if not reason.strip():
                raise UnknownCheck(f"to accept {check_id} give a reason; it is kept with the run")

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
