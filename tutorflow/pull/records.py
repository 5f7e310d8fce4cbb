"""A file's records as an SQL relation of texts: one column per known column, and where it stood.

CSV and NDJSON are read by DuckDB as long as the file is flawless. At its first flaw the file is
read again by a slower reader that goes line by line, so that a stray quote costs one line and not
the rest of the file, and every refused record is known by its true line.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import duckdb

from tutorflow.engine import identifier, literal, one_file
from tutorflow.errors import InputError
from tutorflow.pull.careful import (
    keys_of_ndjson,
    open_text,
    read_csv_carefully,
    read_ndjson_carefully,
)
from tutorflow.pull.files import SourceFile
from tutorflow.pull.formats import Table
from tutorflow.yaml_lines import did_you_mean

# Columns that name or describe a person are never landed, not even among the attributes.
_PERSONAL = re.compile(
    "(student|learner|user|account|full|first|last|given|family|middle|screen|display)?name"
    "|(student|learner|user|account)(id|no|number)?|surname|nickname|login"
    "|email(address)?|mail|(tele|mobile)?phone(number)?|mobile|address|street|postcode|zip(code)?"
    "|birthday|birthdate|dateofbirth|dob|age|gender|sex|race|ethnicity|religion|nationality"
    "|disability|income|ip(address)?|ssn"
)


@dataclass(frozen=True)
class Records:
    """The records of one file.

    `select(connection)` is the SQL of the relation; ask for it anew for every query. Its columns:
    the table's columns by their landed names, as text, those that the file has (`present`);
    `_extra`, the further columns as JSON; `_row`, the record's number; `_line`, its line in the
    file, header and quoted line breaks counted where they are known; `_fault`, why it is no record.
    """

    select: Callable[[duckdb.DuckDBPyConnection], str]
    present: frozenset[str]
    kept: tuple[str, ...]
    dropped: tuple[str, ...]
    header_lines: int = 0


def open_records(
    connection: duckdb.DuckDBPyConnection, file: SourceFile, is_gzip: bool, careful: bool = False
) -> Records:
    """The file's records; `careful` chooses the slow reader that survives flaws.

    Raises InputError if the file as a whole is not what the format needs: no header, a required
    column missing, JSON in another shape, damaged Parquet.
    """
    match file.file_type:
        case "csv":
            return _csv(file, is_gzip, careful)
        case "ndjson":
            return _ndjson(connection, file, is_gzip, careful)
        case "parquet":
            return _parquet(connection, file)


def _csv(file: SourceFile, is_gzip: bool, careful: bool) -> Records:
    names, delimiter, lines = _header(file, is_gzip)
    for name in names:
        if name and names.count(name) > 1:
            raise InputError(f"{file.path}:{lines}: the header names the column {name!r} twice")
    columns = {name: f"nullif(c{i}, '')" for i, name in enumerate(names) if name}
    if careful:
        return _records(
            file,
            columns,
            lambda connection: _Raw.registered(
                connection,
                read_csv_carefully(file.location, is_gzip, delimiter, len(names), lines),
            ),
        )
    types = ", ".join(f"'c{i}': 'varchar'" for i in range(len(names)))
    compression = f"compression = '{'gzip' if is_gzip else 'none'}'"
    read = (
        f"read_csv({one_file(file.location)}, auto_detect = false, header = false,"
        f" skip = {lines}, delim = {literal(delimiter)}, quote = '\"', escape = '\"',"
        f" columns = {{{types}}}, {compression}, hive_partitioning = false)"
    )
    records = _records(file, columns, lambda connection: _Raw.numbered(read, header_lines=lines))
    return replace(records, header_lines=lines)


def _header(file: SourceFile, is_gzip: bool) -> tuple[list[str], str, int]:
    """The header's names, the delimiter, and the lines up to and including the header."""
    wanted = {column.in_file for column in file.table.columns}
    with open_text(file.location, is_gzip) as text:
        lines = 0
        first = ""
        for first in text:
            lines += 1
            if first.strip():
                break
    if not first.strip():
        raise InputError(f"{file.path}: empty; a CSV file starts with the names of its columns")
    candidates = []
    for delimiter in ",;\t|":
        try:
            names = [name.strip() for name in next(csv.reader([first], delimiter=delimiter))]
        except csv.Error as error:
            raise InputError(f"{file.path}:{lines}: the header is unreadable: {error}") from None
        candidates.append((len(wanted.intersection(names)), len(names), names, delimiter))
    _, _, names, delimiter = max(candidates, key=lambda c: c[:2])
    return names, delimiter, lines


def _ndjson(
    connection: duckdb.DuckDBPyConnection, file: SourceFile, is_gzip: bool, careful: bool
) -> Records:
    _demand_one_object_per_line(file, is_gzip)
    compression = f"compression = '{'gzip' if is_gzip else 'uncompressed'}'"
    options = f"{compression}, hive_partitioning = false"
    path = one_file(file.location)
    if careful:
        keys = keys_of_ndjson(file.location, is_gzip)
    else:
        found = connection.execute(
            "select distinct unnest(keys) from (select distinct json_keys(json) as keys"
            f" from read_ndjson_objects({path}, {options}))"
        ).fetchall()
        keys = {key for (key,) in found}
    known = [c.in_file for c in file.table.columns if c.in_file in keys]
    extra = sorted(keys.difference(known, [""]))
    names = [*known, *extra]
    if careful:
        return _records(
            file,
            {
                name: identifier(f"c{i}") + ("" if name in known else "::json")
                for i, name in enumerate(names)
            },
            lambda connection: _Raw.registered(
                connection, read_ndjson_carefully(file.location, is_gzip, known, extra)
            ),
            is_empty=not keys,
        )
    types = ", ".join(
        f"{literal(name)}: '{'varchar' if name in known else 'json'}'" for name in names
    )
    read = (
        f"read_json({path}, format = 'newline_delimited', columns = {{{types}}}, {options})"
        if names
        else "(select 1 where false)"
    )
    columns = {name: identifier(name) for name in names}
    return _records(file, columns, lambda connection: _Raw.numbered(read), is_empty=not keys)


def _demand_one_object_per_line(file: SourceFile, is_gzip: bool) -> None:
    with open_text(file.location, is_gzip) as text:
        first = next((line.strip() for line in text if line.strip()), "{}")
    shape = None
    if first.startswith("["):
        shape = "a JSON array"
    elif first == "{":
        shape = "JSON over several lines"
    elif not first.startswith("{"):
        shape = "not JSON"
    if shape:
        raise InputError(f"{file.path}: {shape}; write one object per line (NDJSON)")


def _parquet(connection: duckdb.DuckDBPyConnection, file: SourceFile) -> Records:
    options = "file_row_number = true, hive_partitioning = false"
    read = f"read_parquet({one_file(file.location)}, {options})"
    try:
        described = connection.execute(f"describe select * from {read}").fetchall()
    except duckdb.Error as error:
        raise InputError(f"{file.path}: damaged Parquet: {first_line(error)}") from None
    types = {row[0]: row[1] for row in described if row[0] != "file_row_number"}
    columns = {name: _as_text(identifier(name), type_) for name, type_ in types.items()}

    raw = _Raw(read, "file_row_number + 1", "file_row_number + 1", "null::varchar")
    return _records(file, columns, lambda connection: raw)


def _as_text(column: str, type_: str) -> str:
    if type_ in ("DOUBLE", "FLOAT"):  # whole numbers beside nulls, as pandas writes them
        return (
            f"case when {column} = trunc({column}) and abs({column}) < 1e15"
            f" then {column}::bigint::varchar else {column}::varchar end"
        )
    if type_.endswith("[]") or type_.startswith(("STRUCT", "MAP")):
        return f"to_json({column})::varchar"
    return f"{column}::varchar"


@dataclass(frozen=True)
class _Raw:
    """What to select from, and the SQL of a record's number, its line and its fault."""

    source: str
    row: str
    line: str
    fault: str

    @staticmethod
    def numbered(read: str, header_lines: int = 0) -> _Raw:
        """Records that DuckDB reads in order, none of them at fault."""
        number = identifier("the number of the record")
        source = f"(select *, row_number() over () as {number} from {read})"
        return _Raw(source, number, f"{number} + {header_lines}", "null::varchar")

    @staticmethod
    def registered(connection: duckdb.DuckDBPyConnection, reader: object) -> _Raw:
        """Records of a careful reader, which can be run through once."""
        connection.register("records_read_carefully", reader)
        return _Raw("records_read_carefully", "_row", "_line", "_fault")


def _records(
    file: SourceFile,
    columns: dict[str, str],
    raw: Callable[[duckdb.DuckDBPyConnection], _Raw],
    is_empty: bool = False,
) -> Records:
    table = file.table
    if not is_empty:
        _demand_required(file, table, columns)
    known = {c.name: columns[c.in_file] for c in table.columns if c.in_file in columns}
    extra = set(columns) - {column.in_file for column in table.columns}
    personal = {name for name in extra if _PERSONAL.fullmatch(re.sub("[^a-z]", "", name.lower()))}
    kept = tuple(sorted(extra - personal)) if table.extra_to else ()
    dropped = tuple(sorted(extra.difference(kept)))
    shown = [f"{expression} as {identifier(name)}" for name, expression in known.items()]
    shown.append(f"{_as_json({name: columns[name] for name in kept})} as _extra")

    def select(connection: duckdb.DuckDBPyConnection) -> str:
        found = raw(connection)
        return (
            f"select {', '.join(shown)}, {found.row} as _row, {found.line} as _line,"
            f" {found.fault} as _fault from {found.source}"
        )

    return Records(select, frozenset(known), kept, dropped)


def _as_json(extra: dict[str, str]) -> str:
    """SQL for one JSON object of all values that there are; null without any."""
    if not extra:
        return "null::varchar"
    pairs = ", ".join(f"{literal(name)}, {value}" for name, value in extra.items())
    return f"nullif(json_merge_patch('{{}}', json_object({pairs}))::varchar, '{{}}')"


def _demand_required(file: SourceFile, table: Table, found: Iterable[str]) -> None:
    missing = [c.in_file for c in table.columns if c.required and c.in_file not in found]
    if missing:
        hint = did_you_mean(missing[0], set(found), otherwise="the file has")
        raise InputError(
            f"{file.path}: the required column {missing[0]!r} is missing"
            f"{f' (and {len(missing) - 1} more)' if missing[1:] else ''}{hint}"
        )


def first_line(error: Exception) -> str:
    """What DuckDB says, without the advice on its own options."""
    return str(error).split("\n", 1)[0]
