"""Small hand-kept CSV files whose rows know their line, so that an error can point at it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tutorflow.errors import ConfigurationError
from tutorflow.yaml_lines import did_you_mean

# A name this close to a known one is taken for a slip; further away, for something else.
MISSPELT = 0.8


@dataclass(frozen=True)
class CsvRow:
    """One row: the file's name, the line it starts on, and text or None for every column."""

    file: str
    line: int
    values: dict[str, str | None]

    def __getitem__(self, column: str) -> str | None:
        return self.values[column]

    def text(self, column: str) -> str:
        """The value of a required column."""
        value = self.values[column]
        assert value is not None
        return value

    def fault(self, column: str, fault: str) -> ConfigurationError:
        """An error that points at a value of this row."""
        return ConfigurationError(f"{self.file}:{self.line}: {column}: {fault}")


def read_csv_lines(
    path: Path, required: Sequence[str], optional: Sequence[str] = ()
) -> list[CsvRow]:
    """The rows of a UTF-8 CSV file with a header; values are trimmed and an empty one is None.

    A column of another name is left out, unless it looks like a misspelt one. Raises
    ConfigurationError with file and line: not UTF-8, a column missing, given twice or misspelt,
    a row of another length, a required value missing.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path.name} is not UTF-8 text; save it as UTF-8") from None
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True)
    rows: list[CsvRow] = []
    header: list[str] | None = None
    line = 1
    try:
        for record in reader:
            start, line = line, reader.line_num + 1
            if not any(value.strip() for value in record):
                continue
            if header is None:
                header = [name.strip() for name in record]
                _check_header(path.name, start, header, required, optional)
                continue
            rows.append(_row(path.name, start, header, record, (*required, *optional)))
    except csv.Error as error:
        raise ConfigurationError(f"{path.name}:{line}: not readable as CSV: {error}") from None
    if header is None:
        raise ConfigurationError(f"{path.name} is empty; it needs a header with {_list(required)}")
    for row in rows:
        for column in required:
            if row[column] is None:
                raise row.fault(column, "is missing; every row needs it")
    return rows


def _check_header(
    file: str, line: int, header: list[str], required: Sequence[str], optional: Sequence[str]
) -> None:
    known = (*required, *optional)
    for name in header:
        if header.count(name) > 1:
            raise ConfigurationError(f"{file}:{line}: the column {name!r} is there twice")
        hint = did_you_mean(name, set(known) - set(header), closeness=MISSPELT)
        if hint and name not in known:
            raise ConfigurationError(f"{file}:{line}: unknown column {name!r}{hint}")
    for name in required:
        if name not in header:
            raise ConfigurationError(
                f"{file}:{line}: the column {name!r} is missing; there are {_list(header)}"
            )


def _row(
    file: str, line: int, header: list[str], record: list[str], columns: Sequence[str]
) -> CsvRow:
    if len(record) != len(header):
        raise ConfigurationError(
            f"{file}:{line}: {len(record)} values where the header names {len(header)} columns"
        )
    given = {name: value.strip() or None for name, value in zip(header, record, strict=True)}
    return CsvRow(file, line, {column: given.get(column) for column in columns})


def _list(names: Sequence[str]) -> str:
    return ", ".join(names)
