"""Rows into and out of the published tables."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from tutorflow.publish import contract
from tutorflow.publish.database import exists, reading
from tutorflow.settings import Settings

Condition = Mapping[str, Any] | Callable[[sa.Table], sa.ColumnElement[bool]]


def upsert(connection: sa.Connection, name: str, frame: pd.DataFrame) -> int:
    """Insert the rows, or update those whose key exists; returns how many were written.

    A row that is already there, equal in every column, is not written again.
    """
    if frame.empty:
        return 0
    spec = contract.table(name)
    if connection.dialect.name == "postgresql":
        # COPY cannot resolve conflicts, so it fills a side table; LIKE gives that one no indexes.
        incoming = f"incoming_{name}"
        connection.exec_driver_sql(
            f"CREATE TEMPORARY TABLE {incoming} (LIKE {name}) ON COMMIT DROP"
        )
        _copy(connection, incoming, spec, frame)
        columns = ", ".join(map(_quoted, spec.columns))
        written = connection.exec_driver_sql(
            f"{_insert(spec, name)} SELECT {columns} FROM {incoming} "
            + _on_conflict(spec, "IS DISTINCT FROM")
        )
        connection.exec_driver_sql(f"DROP TABLE {incoming}")
        return written.rowcount
    statement = f"{_values(spec)} {_on_conflict(spec, 'IS NOT')}"
    return _execute_many(connection, statement, _rows(spec, frame))


def replace(connection: sa.Connection, name: str, frame: pd.DataFrame) -> int:
    """Make the rows the whole content of the table; returns how many there are.

    Deletes rather than truncates: a reader in the middle of a query keeps its rows and waits for
    nothing.
    """
    spec = contract.table(name)
    connection.exec_driver_sql(f"DELETE FROM {name}")
    if frame.empty:
        return 0
    if connection.dialect.name == "postgresql":
        _copy(connection, name, spec, frame)
        return len(frame)
    return _execute_many(connection, _values(spec), _rows(spec, frame))


def read_table(settings: Settings, name: str, where: Condition | None = None) -> pd.DataFrame:
    """The published rows of a table in key order, with the contract's columns and dtypes.

    Times are naive UTC, JSON is text. `where` is either columns and the values they must have (a
    list means any of them, None means null), or a function of the SQLAlchemy table that returns a
    condition. Nothing published yet is an empty frame with the same columns.
    """
    if not exists(settings):
        return contract.table(name).empty_frame()
    with reading(settings) as connection:
        return select_rows(connection, name, where)


def read_records(
    settings: Settings, name: str, where: Condition | None = None
) -> list[dict[str, Any]]:
    """As `read_table`, row by row and in plain Python values; None where nothing is known."""
    if not exists(settings):
        return []
    columns = list(contract.table(name).columns)
    with reading(settings) as connection:
        rows = _select(connection, name, where)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def select_rows(
    connection: sa.Connection, name: str, where: Condition | None = None
) -> pd.DataFrame:
    """As `read_table`, in a transaction that is already open."""
    spec = contract.table(name)
    rows = _select(connection, name, where)
    if not rows:
        return spec.empty_frame()
    columns = zip(*rows, strict=True)
    return pd.DataFrame(
        {
            column.name: _series(column, values)
            for column, values in zip(spec.columns.values(), columns, strict=True)
        }
    )


def _select(connection: sa.Connection, name: str, where: Condition | None) -> Sequence[Any]:
    spec = contract.table(name)
    if not sa.inspect(connection).has_table(name):
        return []
    source = contract.metadata().tables[name]
    query = sa.select(*(_as_read(spec, source.c[column]) for column in spec.columns))
    if where is not None:
        query = query.where(_condition(source, where))
    return connection.execute(query.order_by(*(source.c[column] for column in spec.key))).all()


def _as_read(spec: contract.Table, column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    if spec.columns[column.name].type == "json":
        return sa.cast(column, sa.Text).label(column.name)
    return column


def _condition(source: sa.Table, where: Condition) -> sa.ColumnElement[bool]:
    if callable(where):
        return where(source)
    terms = [
        source.c[name].in_(list(value))
        if isinstance(value, list | tuple | set | frozenset)
        else source.c[name].is_not_distinct_from(value)
        for name, value in where.items()
    ]
    return sa.and_(sa.true(), *terms)


def _insert(spec: contract.Table, target: str) -> str:
    return f"INSERT INTO {target} ({', '.join(map(_quoted, spec.columns))})"


def _values(spec: contract.Table) -> str:
    return f"{_insert(spec, spec.name)} VALUES ({', '.join('?' * len(spec.columns))})"


def _on_conflict(spec: contract.Table, differs_from: str) -> str:
    rest = [_quoted(name) for name in spec.columns if name not in spec.key]
    changes = ", ".join(f"{name} = excluded.{name}" for name in rest)
    differs = " OR ".join(f"{spec.name}.{name} {differs_from} excluded.{name}" for name in rest)
    key = ", ".join(map(_quoted, spec.key))
    return f"ON CONFLICT ({key}) DO UPDATE SET {changes} WHERE {differs}"


def _quoted(name: str) -> str:
    return f'"{name}"'


def _execute_many(connection: sa.Connection, statement: str, rows: list[tuple[Any, ...]]) -> int:
    # Straight to the driver: SQLAlchemy's own types would convert every value once more.
    return connection.exec_driver_sql(statement, rows).rowcount


def _copy(
    connection: sa.Connection, target: str, spec: contract.Table, frame: pd.DataFrame
) -> None:
    cursor = connection.connection.cursor()
    statement = f"COPY {target} ({', '.join(map(_quoted, spec.columns))}) FROM STDIN"
    with cursor.copy(statement) as copy:
        for row in _rows(spec, frame):
            copy.write_row(row)


def _rows(spec: contract.Table, frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    """The frame as the drivers take it; times as text, which both databases read as UTC."""
    columns = [_driver_values(column, frame[name]) for name, column in spec.columns.items()]
    return list(zip(*columns, strict=True))


def _driver_values(column: contract.Column, values: "pd.Series[Any]") -> list[Any]:
    missing = values.isna().to_numpy()
    if column.type == "timestamp":
        moments = values.to_numpy(dtype="datetime64[us]")
        found = [text.replace("T", " ") for text in np.datetime_as_string(moments).tolist()]
    elif column.type == "integer":
        found = values.mask(values.isna(), 0).astype("int64").tolist()
    elif column.type == "real":
        found = values.astype("float64").tolist()
    elif column.type == "boolean":
        found = values.mask(values.isna(), False).astype(bool).tolist()
    elif column.type == "date":
        found = values.map(str).tolist()
    else:
        found = values.tolist()
    if missing.any():
        return [
            None if is_missing else value
            for value, is_missing in zip(found, missing.tolist(), strict=True)
        ]
    return found


def _series(column: contract.Column, values: tuple[Any, ...]) -> "pd.Series[Any]":
    return pd.Series(list(values), dtype=column.dtype)
