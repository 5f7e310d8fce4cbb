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
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from tutorflow.engine import identifier, literal
from tutorflow.errors import InputError
from tutorflow.hours import to_naive_utc
from tutorflow.privacy.pseudonyms import Pseudonyms, remember_identities
from tutorflow.pull.casting import Casting
from tutorflow.pull.catalog import Delivery, to_text
from tutorflow.pull.files import Inspection, SourceFile, is_unchanged
from tutorflow.pull.formats import ORIGIN_COLUMNS, SQL_TYPES, Column
from tutorflow.pull.landing import delivery_file, put_in_place
from tutorflow.pull.records import Records, first_line, open_records

if TYPE_CHECKING:
    from tutorflow.settings import Settings, Source

# The catalog keeps this many reasons of one file; the number of refused rows is always complete.
MOST_REASONS = 10_000


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
            records, users = self._survey(file, inspection.is_gzip)
            user_ids = self._map_learners(users)
            casting = self._casting(file, records)
            self._copy(file, records, casting, delivery_id, being_written)
            rows, first, last = self._measure(file, being_written)
            total = sum(users.values())
            quarantined, refused = (0, []) if rows == total else self._refuse(records, casting)
            if rows + quarantined != total or not is_unchanged(file, inspection):
                raise InputError(f"{file.path}: changed while it was read; the next pull takes it")
            if quarantined and self.source.timezone is None:
                self._demand_offsets(file, records, casting)
        except duckdb.Error as error:
            being_written.unlink(missing_ok=True)
            raise InputError(f"{file.path}: cannot be read: {first_line(error)}") from error
        except InputError:
            being_written.unlink(missing_ok=True)
            raise
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
        return Written(delivery, inspection.modified_ns, refused, user_ids, _notes(file, records))

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

    def _survey(self, file: SourceFile, is_gzip: bool) -> tuple[Records, dict[str | None, int]]:
        """The file's records, read once from end to end, and the records of each user."""
        try:
            records = open_records(self.scratch, file, is_gzip)
            users, is_plain = self._count_by_user(file, records)
        except duckdb.Error:
            if file.file_type == "parquet":
                raise
            is_plain = False
        if not is_plain:
            records = open_records(self.scratch, file, is_gzip, careful=True)
            users, _ = self._count_by_user(file, records)
        return records, users

    def _count_by_user(
        self, file: SourceFile, records: Records
    ) -> tuple[dict[str | None, int], bool]:
        """The records of each user, and whether no value of a CSV goes over several lines: such
        a value is meant, or the work of two stray quotes, which the careful reader tells apart.
        """
        learner = file.table.learner
        user = f"nullif(trim({identifier(learner.name)}), '')" if learner else "null::varchar"
        if learner and learner.name not in records.present:
            user = "null::varchar"
        values = [identifier(name) for name in sorted(records.present)]
        is_long = " or ".join(f"contains({value}, chr(10))" for value in values)
        if file.file_type != "csv":
            is_long = "false"
        rows = self.scratch.execute(
            # the hash has every value looked at, also those that later queries do not need
            f"select {user} as user_id, count(*), coalesce(bool_or({is_long or 'false'}), false),"
            f" bit_xor(hash({', '.join(values) or '1'}))"
            f" from ({records.select(self.scratch)}) group by user_id"
        ).fetchall()
        return {row[0]: row[1] for row in rows}, not any(row[2] for row in rows)

    def _map_learners(self, users: dict[str | None, int]) -> list[str]:
        user_ids = [user for user in users if user is not None]
        learner_ids = [self.pseudonyms.of(self.source.namespace, user) for user in user_ids]
        mapping = pa.table(
            {
                "user_id": pa.array(user_ids, pa.string()),
                "learner_id": pa.array(learner_ids, pa.string()),
            }
        )
        self.scratch.register("mapping", mapping)
        self.scratch.execute(
            "create or replace temp table learners as"
            " select user_id, cast(learner_id as uuid) as learner_id from mapping"
        )
        self.scratch.unregister("mapping")
        return user_ids

    def _casting(self, file: SourceFile, records: Records) -> Casting:
        return Casting(
            table=file.table,
            present=records.present,
            timezone=self.source.timezone,
            day_zone=self.source.timezone or self.settings.timezone,
            now=f"timestamp {literal(str(to_naive_utc(self.now)))}",
        )

    def _copy(
        self,
        file: SourceFile,
        records: Records,
        casting: Casting,
        delivery_id: str,
        being_written: Path,
    ) -> None:
        table = file.table
        origin = {
            "_source": literal(self.source.name),
            "_delivery_id": literal(delivery_id),
            "_path": literal(file.path),
            "_row": "_row",
            "_landed_at": casting.now,
        }
        shown = [f"{_landed(c, table.event_id)} as {identifier(c.name)}" for c in table.columns]
        shown += [f"{origin[name]}::{type_} as {name}" for name, type_ in ORIGIN_COLUMNS.items()]
        rows = f"({casting.rows(records.select(self.scratch))})"
        if table.learner:
            rows = (
                f"(select * exclude (learner_id, user_id), learner_id_1 as learner_id from ("
                f"select typed.*, learners.learner_id as learner_id_1, learners.user_id"
                f" from {rows} as typed"
                f" left join learners on learners.user_id = typed.learner_id))"
            )
        self.scratch.execute(
            f"copy (select {', '.join(shown)} from {rows} where _is_good)"
            f" to {literal(str(being_written))} (format parquet, compression zstd)"
        )

    def _measure(
        self, file: SourceFile, being_written: Path
    ) -> tuple[int, datetime | None, datetime | None]:
        """Rows written, and the first and last time at which one of them happened."""
        occurred_at = file.table.occurred_at
        if file.table.occurred_on:
            zone = literal(self.source.timezone or self.settings.timezone)
            start = f"cast({file.table.occurred_on} as timestamp)"
            occurred_at = f"cast(timezone({zone}, {start}) as timestamp)"
        occurred_at = occurred_at or "null::timestamp"
        measured = self.scratch.execute(
            f"select count(*), min({occurred_at}),"
            f" max({occurred_at}) filter (not coalesce({file.table.planned_when}, false))"
            f" from read_parquet({literal(str(being_written))})"
        ).fetchone()
        assert measured is not None
        return measured

    def _refuse(self, records: Records, casting: Casting) -> tuple[int, list[tuple[int, str]]]:
        """The number of refused rows and the line and reason of the first of them."""
        self.scratch.execute(
            "create or replace temp table refused as select _line, _reason"
            f" from ({casting.rows(records.select(self.scratch))}) where not _is_good"
        )
        counted = self.scratch.execute("select count(*) from refused").fetchone()
        assert counted is not None
        total: int = counted[0]
        refused = self.scratch.execute(
            f"select _line, _reason from refused order by _line limit {MOST_REASONS}"
        ).fetchall()
        if total > len(refused):
            refused.append((0, f"and {total - len(refused)} more rows"))
        self.scratch.execute("drop table refused")
        return total, refused

    def _demand_offsets(self, file: SourceFile, records: Records, casting: Casting) -> None:
        """A column in which no time has an offset is not a fault of rows."""
        found = self.scratch.execute(
            casting.times_without_offset(records.select(self.scratch))
        ).fetchone()
        for name, line, has_offsets in found[0] if found else ():
            if line is not None and not has_offsets:
                raise InputError(
                    f"{file.path}:{line}: the times in {name!r} have no offset; declare the"
                    f" timezone of the source {self.source.name!r} in tutorflow.yml"
                )


def _landed(column: Column, event_id: str | None) -> str:
    value = identifier(column.name)
    if column.name == "source_event_id" and event_id:
        value = f"coalesce({value}, {event_id})"
    if column.name == "attributes":
        value = f"coalesce(json_merge_patch(_extra, {value})::varchar, {value}, _extra)"
    if column.default is not None:
        value = f"coalesce({value}, {column.default})"
    return f"cast({value} as {SQL_TYPES[column.type]})"


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
