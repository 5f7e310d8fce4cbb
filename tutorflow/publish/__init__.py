"""Publishing: what coach tools read, and the one transaction that makes it visible."""

from tutorflow.publish.candidates import Candidates
from tutorflow.publish.contract import ContractError, check_fit, contract_markdown, misfits
from tutorflow.publish.database import ServingError
from tutorflow.publish.publisher import (
    Run,
    forget_mart_counts,
    last_committed_tick,
    publish,
    record_run,
)
from tutorflow.publish.queue import queue, render_queue
from tutorflow.publish.status import Status, read_status
from tutorflow.publish.tables import read_records, read_table
from tutorflow.publish.verdict import CheckResult, Verdict

__all__ = [
    "Candidates",
    "CheckResult",
    "ContractError",
    "Run",
    "ServingError",
    "Status",
    "Verdict",
    "check_fit",
    "contract_markdown",
    "forget_mart_counts",
    "last_committed_tick",
    "misfits",
    "publish",
    "queue",
    "read_records",
    "read_status",
    "read_table",
    "record_run",
    "render_queue",
]
