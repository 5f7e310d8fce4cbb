"""One file's way into the landing.

First the Parquet, whole, under its final name; then who is behind the pseudonyms; last the catalog,
in one transaction. Killed in between, the next pull does it again under the same names.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import duckdb

from tutorflow.engine import literal
from tutorflow.errors import InputError
from tutorflow.hours import to_naive_utc
from tutorflow.privacy.pseudonyms import Pseudonyms, remember_identities
from tutorflow.pull.casting import Casting
from tutorflow.pull.catalog import Delivery, to_text
from tutorflow.pull.files import Inspection, SourceFile, is_unchanged
from tutorflow.pull.landing import delivery_file, put_in_place
from tutorflow.pull.passes import (
    Survey,
    copy_good,
    demand_offsets,
    map_learners,
    measure,
    refuse,
    survey,
)
from tutorflow.pull.records import Records, first_line

if TYPE_CHECKING:
    from tutorflow.settings import Settings, Source


@dataclass(frozen=True)
class Written:
    """A file's Parquet in its final place, not yet in the catalog."""

    delivery: Delivery
    modified_ns: int
    refused: Sequence[tuple[int, str]]  # line, reason
    user_ids: Sequence[str]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Intake:
    """What taking in the files of a source needs: `scratch` is an in-memory connection."""

    settings: Settings
    source: Source
    pseudonyms: Pseudonyms
    scratch: duckdb.DuckDBPyConnection
    now: datetime

    def write(self, file: SourceFile, inspection: Inspection, replaces: str | None) -> Written:
        """Put the file's Parquet in its final place.

        Raises InputError if the file as a whole cannot be taken in; nothing is left behind then.
        """
        delivery_id = _delivery_id(self.source.name, inspection.sha256, replaces)
        relative = delivery_file(self.source.format, file.table, self.source.name, delivery_id)
        final = self.settings.landing / relative
        being_written = final.with_suffix(".tmp")
        final.parent.mkdir(parents=True, exist_ok=True)
        try:
            found = survey(self.scratch, file, inspection)
            user_ids = [user for user in found.users if user is not None]
            learner_ids = [self.pseudonyms.of(self.source.namespace, user) for user in user_ids]
            map_learners(self.scratch, user_ids, learner_ids)
            casting = self._casting(file, found.records)
            origin = self._origin(file, delivery_id, casting.now)
            copy_good(self.scratch, casting, found.records, origin, being_written)
            rows, first, last = measure(self.scratch, casting, being_written)
            quarantined, refused = self._refuse(file, found, casting, rows)
            if rows + quarantined != found.total or not is_unchanged(file, inspection):
                raise InputError(f"{file.path}: changed while it was read; the next pull takes it")
        except (duckdb.Error, InputError) as error:
            being_written.unlink(missing_ok=True)
            if isinstance(error, InputError):
                raise
            raise InputError(f"{file.path}: cannot be read: {first_line(error)}") from error
        put_in_place(being_written, final)
        delivery = Delivery(
            delivery_id=delivery_id,
            source=self.source.name,
            format=self.source.format,
            table_name=file.table.name,
            file=relative,
            path=file.path,
            sha256=inspection.sha256,
            replaces=replaces,
            rows=rows,
            quarantined=quarantined,
            bytes=inspection.bytes,
            landed_at=to_naive_utc(self.now),
            min_occurred_at=first,
            max_occurred_at=last,
            declared_complete_until=None,
        )
        return Written(
            delivery, inspection.modified_ns, refused, user_ids, _notes(file, found.records)
        )

    def record(self, written: Written, catalog: sqlite3.Connection) -> None:
        """Make a written Parquet count: the identity map first, then the catalog."""
        remember_identities(
            self.settings.identity_path,
            self.pseudonyms,
            self.source.namespace,
            written.user_ids,
            self.now,
        )
        delivery = written.delivery
        values = {
            name: to_text(value) if isinstance(value, datetime) else value
            for name, value in vars(delivery).items()
        }
        marks = ", ".join(f":{name}" for name in values)
        with catalog:
            catalog.execute(
                f"insert or ignore into deliveries ({', '.join(values)}) values ({marks})", values
            )
            catalog.execute(
                "delete from quarantined_rows where delivery_id = ?", [delivery.delivery_id]
            )
            catalog.executemany(
                "insert into quarantined_rows values (?, ?, ?, ?, ?)",
                (
                    (delivery.source, delivery.delivery_id, delivery.path, line, reason)
                    for line, reason in written.refused
                ),
            )
            remember_file(
                catalog,
                delivery.source,
                delivery.path,
                delivery.bytes,
                written.modified_ns,
                delivery.delivery_id,
            )

    def _casting(self, file: SourceFile, records: Records) -> Casting:
        return Casting(
            table=file.table,
            present=records.present,
            timezone=self.source.timezone,
            day_zone=self.source.timezone or self.settings.timezone,
            now=f"timestamp {literal(str(to_naive_utc(self.now)))}",
        )

    def _origin(self, file: SourceFile, delivery_id: str, now: str) -> dict[str, str]:
        return {
            "_source": literal(self.source.name),
            "_delivery_id": literal(delivery_id),
            "_path": literal(file.path),
            "_row": "_row",
            "_landed_at": now,
        }

    def _refuse(
        self, file: SourceFile, found: Survey, casting: Casting, rows: int
    ) -> tuple[int, list[tuple[int, str]]]:
        if rows == found.total:
            return 0, []
        quarantined, refused = refuse(self.scratch, casting, found.records)
        if self.source.timezone is None:
            demand_offsets(self.scratch, casting, found.records, file, self.source)
        return quarantined, refused


def _delivery_id(source: str, sha256: str, replaces: str | None) -> str:
    """Of the bytes, for this source; bytes that come back after others are a new delivery."""
    return hashlib.sha256(f"{source}\x1f{sha256}\x1f{replaces or ''}".encode()).hexdigest()[:16]


def _notes(file: SourceFile, records: Records) -> tuple[str, ...]:
    notes = []
    if records.kept:
        kept = ", ".join(records.kept)
        notes.append(f"{file.path}: columns kept in {file.table.extra_to}: {kept}")
    if records.dropped:
        notes.append(f"{file.path}: columns not landed: {', '.join(records.dropped)}")
    return tuple(notes)


def remember_file(
    catalog: sqlite3.Connection,
    source: str,
    path: str,
    size: int,
    modified_ns: int,
    delivery_id: str,
) -> None:
    """Note, inside the caller's transaction, which delivery a path's present bytes are."""
    catalog.execute(
        "insert or replace into source_files values (?, ?, ?, ?, ?)",
        [source, path, size, modified_ns, delivery_id],
    )
