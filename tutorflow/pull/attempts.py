"""One pull: an attempt at every source, each with an outcome, whatever happens."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from tutorflow.engine import open_scratch
from tutorflow.errors import InputError
from tutorflow.hours import to_aware_utc, to_naive_utc
from tutorflow.privacy.pseudonyms import load_pseudonyms, remember_identities
from tutorflow.pull.catalog import Delivery, last_complete_until, open_catalog, to_text
from tutorflow.pull.delivering import Intake, Written, remember_file
from tutorflow.pull.files import Listing, SourceFile, inspect, list_files
from tutorflow.pull.watermarks import complete_until, declared_end, is_retired
from tutorflow.roster import roster_users

if TYPE_CHECKING:
    from tutorflow.settings import Settings


@dataclass(frozen=True)
class PullAttempt:
    """The outcome of one attempt at one source. Times are aware UTC.

    `files`, `rows`, `bytes`, `quarantined` count what was new; `deliveries` are its ids.
    `complete_until`: up to when the source is known to be complete, after this attempt; None if
    it never was. `error`: what went wrong, one line per file; None if nothing did. `notes`: what
    was left out on purpose.
    """

    source: str
    started_at: datetime
    finished_at: datetime
    files: int = 0
    rows: int = 0
    bytes: int = 0
    quarantined: int = 0
    complete_until: datetime | None = None
    error: str | None = None
    deliveries: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def pull(settings: Settings, now: datetime) -> list[PullAttempt]:
    """Take in what is new at every source; one attempt per source, in the order of the settings.

    A source that cannot be reached, or a file that cannot be read, is that attempt's `error` and
    stops nothing else. Raises TutorflowError only for what concerns all sources: the pseudonym
    key, a faulty roster.
    """
    to_naive_utc(now)  # refuses a naive `now` before anything is written
    pseudonyms = load_pseudonyms(settings)
    for namespace, users in roster_users(settings).items():
        # whoever never started has no events, but a coach has to know who it is
        remember_identities(settings.identity_path, pseudonyms, namespace, sorted(users), now)
    spill = settings.home / "spill"
    for left_behind in spill.glob("scratch-*"):  # by a run that was killed
        shutil.rmtree(left_behind, ignore_errors=True)
    with (
        open_catalog(settings.catalog_path) as catalog,
        open_scratch(spill) as scratch,
    ):
        return [
            _attempt(Intake(settings, source, pseudonyms, scratch, now), catalog)
            for source in settings.sources
        ]


def _attempt(intake: Intake, catalog: sqlite3.Connection) -> PullAttempt:
    started = time.monotonic()
    name = intake.source.name
    with catalog:
        attempt_id = catalog.execute(
            "insert into pull_attempts (source, started_at) values (?, ?)",
            [name, to_text(intake.now)],
        ).lastrowid
    taken: list[Delivery] = []
    errors: list[str] = []
    notes: list[str] = []
    try:
        listing = list_files(intake.settings, intake.source)
    except (InputError, OSError) as error:
        # a retired source may well be gone
        gone = is_retired(intake.source, intake.settings, intake.now)
        (notes if gone else errors).append(str(error))
    else:
        errors += listing.faults
        notes += listing.notes
        for file in listing.files:
            try:
                if written := _take(intake, catalog, file, listing):
                    taken.append(written.delivery)
                    notes += written.notes
                _note_declared_end(intake, catalog, file)
            except (InputError, OSError) as error:
                errors.append(str(error))
    attempt = PullAttempt(
        source=name,
        started_at=intake.now,
        finished_at=intake.now + timedelta(seconds=time.monotonic() - started),
        files=len(taken),
        rows=sum(delivery.rows for delivery in taken),
        bytes=sum(delivery.bytes for delivery in taken),
        quarantined=sum(delivery.quarantined for delivery in taken),
        complete_until=_complete_until(intake, catalog, failed=bool(errors)),
        error="\n".join(errors) or None,
        deliveries=tuple(delivery.delivery_id for delivery in taken),
        notes=tuple(notes),
    )
    _finish(attempt, attempt_id, catalog)
    return attempt


def _take(
    intake: Intake, catalog: sqlite3.Connection, file: SourceFile, listing: Listing
) -> Written | None:
    """Land a file if its bytes are new; None if they are known."""
    source = intake.source.name
    known = catalog.execute(
        "select bytes, modified_ns, delivery_id from source_files where source = ? and path = ?",
        [source, file.path],
    ).fetchone()
    status = file.location.stat()
    if known and (known["bytes"], known["modified_ns"]) == (status.st_size, status.st_mtime_ns):
        return None
    inspection = inspect(file)
    in_force = catalog.execute(
        "select delivery_id from deliveries as delivery"
        " where source = ? and sha256 = ? and table_name = ? and not exists ("
        " select 1 from deliveries as later where later.replaces = delivery.delivery_id)",
        [source, inspection.sha256, file.table.name],
    ).fetchone()
    if in_force:
        with catalog:
            remember_file(
                catalog,
                source,
                file.path,
                inspection.bytes,
                inspection.modified_ns,
                in_force["delivery_id"],
            )
        # an hour without events may be the same bytes as another, but it ends later
        _declare_end(intake, catalog, file, in_force["delivery_id"])
        return None
    replaces = known["delivery_id"] if known else None
    if replaces and _is_elsewhere(catalog, source, replaces, file, listing):
        replaces = None
    written = intake.write(file, inspection, replaces)
    intake.record(written, catalog)
    return written


def _is_elsewhere(
    catalog: sqlite3.Connection, source: str, delivery_id: str, file: SourceFile, listing: Listing
) -> bool:
    """Whether another file that is still there holds the same bytes."""
    paths = catalog.execute(
        "select path from source_files where source = ? and delivery_id = ? and path <> ?",
        [source, delivery_id, file.path],
    ).fetchall()
    return bool({row["path"] for row in paths} & {other.path for other in listing.files})


def _note_declared_end(intake: Intake, catalog: sqlite3.Connection, file: SourceFile) -> None:
    """What the file, or its manifest, which may come later, says of the source's completeness."""
    if intake.source.complete_until == "max_event":
        return
    waiting = catalog.execute(
        "select delivery_id from deliveries join source_files using (delivery_id)"
        " where source_files.source = ? and source_files.path = ?"
        " and declared_complete_until is null",
        [intake.source.name, file.path],
    ).fetchone()
    if waiting:
        _declare_end(intake, catalog, file, waiting["delivery_id"])


def _declare_end(
    intake: Intake, catalog: sqlite3.Connection, file: SourceFile, delivery_id: str
) -> None:
    if intake.source.complete_until == "max_event":
        return
    end = declared_end(intake.source, file, intake.settings.timezone)
    if end:
        with catalog:
            catalog.execute(
                "update deliveries set declared_complete_until ="
                " max(coalesce(declared_complete_until, ''), ?) where delivery_id = ?",
                [to_text(end), delivery_id],
            )


def _complete_until(intake: Intake, catalog: sqlite3.Connection, failed: bool) -> datetime | None:
    if not failed:
        return complete_until(catalog, intake.source, intake.now, intake.settings.timezone)
    before = last_complete_until(catalog).get(intake.source.name)
    return None if before is None else to_aware_utc(before)


def _finish(attempt: PullAttempt, attempt_id: int | None, catalog: sqlite3.Connection) -> None:
    with catalog:
        catalog.execute(
            "update pull_attempts set finished_at = ?, files = ?, rows = ?, bytes = ?,"
            " quarantined = ?, complete_until = ?, error = ?, notes = ?, deliveries = ?"
            " where attempt_id = ?",
            [
                to_text(attempt.finished_at),
                attempt.files,
                attempt.rows,
                attempt.bytes,
                attempt.quarantined,
                to_text(attempt.complete_until),
                attempt.error,
                json.dumps(attempt.notes),
                json.dumps(attempt.deliveries),
                attempt_id,
            ],
        )
