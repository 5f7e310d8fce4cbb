"""The slow readers: line by line, for files in which the fast ones met a flaw.

Each yields Arrow batches with the texts of every record (`c0`, `c1`, ...), its record number
`_row`, the line `_line` on which it starts, and `_fault`, why it is refused, if it is.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa

# A quoted value may go over several lines; one that goes on for longer was opened by mistake.
LONGEST_RECORD_LINES = 100
LONGEST_RECORD_CHARACTERS = 2_000_000

_BATCH = 50_000

_Outcome = tuple[list[str] | None, str | None]  # values or fault
_Record = tuple[int, Sequence[str | None] | None, str | None]  # line, values or fault


def open_text(location: Path, is_gzip: bool) -> TextIO:
    """The file as text, whatever its line ends, without a byte order mark."""
    if is_gzip:
        return gzip.open(location, "rt", encoding="utf-8-sig")
    return location.open(encoding="utf-8-sig")


def read_csv_carefully(
    location: Path, is_gzip: bool, delimiter: str, width: int, header_lines: int
) -> pa.RecordBatchReader:
    """The records of a CSV file with `width` columns, after the header."""

    def records() -> Iterator[_Record]:
        with open_text(location, is_gzip) as text:
            lines = _Lines((n, line) for n, line in enumerate(text, 1) if n > header_lines)
            yield from _csv_records(lines, delimiter, width)

    return _batches(records(), width)


class _Lines:
    """Numbered lines that can be looked at before they are taken."""

    def __init__(self, lines: Iterator[tuple[int, str]]) -> None:
        self._lines = lines
        self._seen: deque[tuple[int, str]] = deque()

    def ahead(self, distance: int) -> tuple[int, str] | None:
        while len(self._seen) <= distance:
            following = next(self._lines, None)
            if following is None:
                return None
            self._seen.append(following)
        return self._seen[distance]

    def take(self, number: int) -> None:
        for _ in range(number):
            self._seen.popleft()


def _csv_records(lines: _Lines, delimiter: str, width: int) -> Iterator[_Record]:
    while first := lines.ahead(0):
        number, text = first
        length = 1
        if not text.strip():
            pass
        elif '"' not in text:
            values, fault = _of_width(text.rstrip("\n").split(delimiter), width)
            yield number, values, fault
        elif (whole := _to_closing_quote(lines)) is None:
            yield number, None, "a quote is opened and never closed"
        else:
            values, fault = _parsed("".join(whole), delimiter, width)
            if len(whole) > 1 and (fault or _are_records(whole[1:-1], delimiter, width)):
                # the lines after the first are records of their own
                yield number, None, "a quote is opened and never closed"
            else:
                yield number, values, fault
                length = len(whole)
        lines.take(length)


def _to_closing_quote(lines: _Lines) -> list[str] | None:
    """The lines of the record that comes next; None if its quote is not closed within reason."""
    whole: list[str] = []
    quotes = length = 0
    while not whole or quotes % 2:
        following = lines.ahead(len(whole))
        if following is None or len(whole) == LONGEST_RECORD_LINES:
            return None
        whole.append(following[1])
        quotes += whole[-1].count('"')
        length += len(whole[-1])
        if length > LONGEST_RECORD_CHARACTERS:
            return None
    return whole


def _are_records(lines: Sequence[str], delimiter: str, width: int) -> bool:
    """Whether lines within a quoted value are records that a stray quote has swallowed."""
    return width > 2 and any(line.count(delimiter) == width - 1 for line in lines)


def _parsed(whole: str, delimiter: str, width: int) -> _Outcome:
    limit = csv.field_size_limit(LONGEST_RECORD_CHARACTERS)
    try:
        records = list(
            csv.reader(whole.splitlines(keepends=True), delimiter=delimiter, strict=True)
        )
    except csv.Error as error:
        return None, f"not readable as CSV: {error}"
    finally:
        csv.field_size_limit(limit)
    return _of_width(records[0], width)


def _of_width(values: list[str], width: int) -> _Outcome:
    if len(values) != width:
        return None, f"{len(values)} values where the header names {width} columns"
    return values, None


def read_ndjson_carefully(
    location: Path, is_gzip: bool, known: Sequence[str], extra: Sequence[str]
) -> pa.RecordBatchReader:
    """The objects of an NDJSON file: the known keys as text, then the extra keys as JSON."""

    def records() -> Iterator[_Record]:
        with open_text(location, is_gzip) as text:
            for number, line in enumerate(text, 1):
                if not line.strip():
                    continue
                found = _object(line)
                if found is None:
                    yield number, None, "not a JSON object"
                else:
                    values = [_text(found.get(key)) for key in known]
                    yield number, [*values, *(_json(found.get(key)) for key in extra)], None

    return _batches(records(), len(known) + len(extra))


def keys_of_ndjson(location: Path, is_gzip: bool) -> set[str]:
    """Every key of every object in the file."""
    keys: set[str] = set()
    with open_text(location, is_gzip) as text:
        for line in text:
            keys.update(_object(line) or ())
    return keys


def _object(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
        if "\\u" in line:
            json.dumps(found, ensure_ascii=False).encode()  # an unpaired surrogate is no text
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return _json(value)


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _batches(records: Iterable[_Record], width: int) -> pa.RecordBatchReader:
    schema = pa.schema(
        [(f"c{i}", pa.string()) for i in range(width)]
        + [("_row", pa.int64()), ("_line", pa.int64()), ("_fault", pa.string())]
    )

    def batches() -> Iterator[pa.RecordBatch]:
        nothing = (None,) * width
        rows: list[tuple[Any, ...]] = []
        for row, (line, values, fault) in enumerate(records, 1):
            rows.append((*(nothing if values is None else values), row, line, fault))
            if len(rows) == _BATCH:
                yield _batch(rows, schema)
                rows = []
        yield _batch(rows, schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _batch(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.RecordBatch:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
