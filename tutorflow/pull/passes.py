"""The passes over one file's records: count them, copy the good ones, list the refused ones.

Each pass streams the file through DuckDB; nothing of it is held in memory but its distinct users.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa

from tutorflow.engine import identifier, literal, one_file
from tutorflow.errors import InputError
from tutorflow.pull.casting import Casting
from tutorflow.pull.files import Inspection, SourceFile
from tutorflow.pull.formats import ORIGIN_COLUMNS, SQL_TYPES, Column
from tutorflow.pull.records import Records, open_records

if TYPE_CHECKING:
    from tutorflow.settings import Source

# Of one file this many refusals are listed one by one; their number is always complete.
MOST_REASONS = 10_000


@dataclass(frozen=True)
class Survey:
    """A file that was read once from end to end: its records, and how many each user has."""

    records: Records
    users: Mapping[str | None, int]

    @property
    def total(self) -> int:
        return sum(self.users.values())


def survey(scratch: duckdb.DuckDBPyConnection, file: SourceFile, inspection: Inspection) -> Survey:
    """Read the file once, with the fast reader, or, if that meets a flaw, with the careful one.

    A value of a CSV that goes over several lines counts as a flaw: it is meant, or the work of two
    stray quotes, which the careful reader tells apart.
    """
    try:
        records = open_records(scratch, file, inspection.is_gzip)
        found = Survey(records, _count_by_user(scratch, file, records))
        has_further_lines = inspection.lines > found.total + records.header_lines
        if file.file_type != "csv" or not has_further_lines or not _has_breaks(scratch, records):
            return found
    except duckdb.Error:
        if file.file_type == "parquet":
            raise
    records = open_records(scratch, file, inspection.is_gzip, careful=True)
    return Survey(records, _count_by_user(scratch, file, records))


def _count_by_user(
    scratch: duckdb.DuckDBPyConnection, file: SourceFile, records: Records
) -> dict[str | None, int]:
    learner = file.table.learner
    user = "null::varchar"
    if learner and learner.name in records.present:
        user = f"nullif(trim({identifier(learner.name)}), '')"
    values = ", ".join(identifier(name) for name in sorted(records.present)) or "1"
    rows = scratch.execute(
        # the hash has every value looked at, also those that later passes do not need
        f"select {user} as user_id, count(*), bit_xor(hash({values}))"
        f" from ({records.select(scratch)}) group by user_id"
    ).fetchall()
    return {user_id: count for user_id, count, _ in rows}


def _has_breaks(scratch: duckdb.DuckDBPyConnection, records: Records) -> bool:
    """Whether any value holds a line break (further lines may just be blank)."""
    breaks = [f"contains({identifier(name)}, chr(10))" for name in sorted(records.present)]
    found = scratch.execute(
        f"select bool_or({' or '.join(breaks)}) from ({records.select(scratch)})"
    ).fetchone()
    return bool(found and found[0])


def map_learners(
    scratch: duckdb.DuckDBPyConnection, user_ids: Iterable[str], learner_ids: Iterable[str]
) -> None:
    """Make the mapping that `copy_good` looks learners up in."""
    mapping = pa.table(
        {
            "user_id": pa.array(user_ids, pa.string()),
            "learner_id": pa.array(learner_ids, pa.string()),
        }
    )
    scratch.register("mapping", mapping)
    scratch.execute(
        "create or replace temp table learners as"
        " select user_id, cast(learner_id as uuid) as mapped_learner_id from mapping"
    )
    scratch.unregister("mapping")


def copy_good(
    scratch: duckdb.DuckDBPyConnection,
    casting: Casting,
    records: Records,
    origin: Mapping[str, str],
    to: Path,
) -> None:
    """Write the good rows as Parquet; `origin` is the SQL of each of ORIGIN_COLUMNS."""
    table = casting.table
    shown = [f"{_landed(c, table.event_id)} as {identifier(c.name)}" for c in table.columns]
    shown += [f"{origin[name]}::{type_} as {name}" for name, type_ in ORIGIN_COLUMNS.items()]
    rows = f"({casting.rows(records.select(scratch))})"
    if table.learner:
        name = identifier(table.learner.name)
        rows = (
            f"(select typed.* exclude ({name}), mapped_learner_id as {name} from {rows} as typed"
            f" left join learners on learners.user_id = typed.{name})"
        )
    scratch.execute(
        f"copy (select {', '.join(shown)} from {rows} where _is_good)"
        f" to {literal(str(to))} (format parquet, compression zstd)"
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


def measure(
    scratch: duckdb.DuckDBPyConnection, casting: Casting, written: Path
) -> tuple[int, datetime | None, datetime | None]:
    """Rows written, and the first and last time (naive UTC) at which one of them happened."""
    at = casting.occurred_at()
    measured = scratch.execute(
        f"select count(*), min({at}),"
        f" max({at}) filter (not coalesce({casting.table.planned_when}, false))"
        f" from read_parquet({one_file(written)})"
    ).fetchone()
    assert measured is not None
    return measured


def refuse(
    scratch: duckdb.DuckDBPyConnection, casting: Casting, records: Records
) -> tuple[int, list[tuple[int, str]]]:
    """The number of refused rows, and line and reason of the first of them.

    Line 0 stands for those beyond MOST_REASONS.
    """
    scratch.execute(
        "create or replace temp table refused as select _line, _reason"
        f" from ({casting.rows(records.select(scratch))}) where not _is_good"
    )
    counted = scratch.execute("select count(*) from refused").fetchone()
    assert counted is not None
    total: int = counted[0]
    listed = scratch.execute(
        f"select _line, _reason from refused order by _line limit {MOST_REASONS}"
    ).fetchall()
    if total > len(listed):
        listed.append((0, f"and {total - len(listed)} more rows"))
    scratch.execute("drop table refused")
    return total, listed


def demand_offsets(
    scratch: duckdb.DuckDBPyConnection,
    casting: Casting,
    records: Records,
    file: SourceFile,
    source: Source,
) -> None:
    """Raise InputError if a column's times have no offset at all: not a fault of single rows."""
    query = casting.times_without_offset(records.select(scratch))
    found = scratch.execute(query).fetchone()
    for name, line, has_offsets in found[0] if found else ():
        if line is not None and not has_offsets:
            raise InputError(
                f"{file.path}:{line}: the times in {name!r} have no offset; declare the timezone"
                f" of the source {source.name!r} in tutorflow.yml"
            )
