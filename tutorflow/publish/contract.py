"""The contract of the published tables: contract.yml, loaded, as tables, as a check and as text."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import sqlalchemy as sa
import yaml
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.compiler import compiles

from tutorflow.errors import TutorflowError
from tutorflow.hours import to_aware_utc

ColumnType = Literal["text", "integer", "real", "boolean", "timestamp", "date", "json"]
Publish = Literal["upsert", "replace", "inbox"]


class UtcTimestamp(sa.types.TypeDecorator[datetime]):
    """A naive UTC datetime: `timestamptz` on PostgreSQL, text with microseconds on SQLite."""

    impl = sa.DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """The column's type in that database."""
        return dialect.type_descriptor(sa.DateTime(timezone=dialect.name == "postgresql"))

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """The value as the database takes it: aware on PostgreSQL, naive on SQLite."""
        if value is None:
            return None
        aware = to_aware_utc(value)
        return aware if dialect.name == "postgresql" else aware.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """The value as frames hold it: naive UTC."""
        if value is None or value.tzinfo is None:
            return value
        return to_aware_utc(value).replace(tzinfo=None)


# JSON is text on SQLite, whose own JSON type would parse and re-print every value on the way.
_SQL_TYPES: dict[ColumnType, sa.types.TypeEngine[Any]] = {
    "text": sa.Text(),
    "integer": sa.BigInteger(),
    "real": sa.Double(),
    "boolean": sa.Boolean(),
    "timestamp": UtcTimestamp(),
    "date": sa.Date(),
    "json": sa.Text().with_variant(JSONB(), "postgresql"),
}

_DTYPES: dict[ColumnType, str] = {
    "text": "str",
    "integer": "int64",
    "real": "float64",
    "boolean": "bool",
    "timestamp": "datetime64[us]",
    "date": "object",
    "json": "str",
}


class _NewRowId(sa.sql.expression.ColumnElement[str]):
    """A random id of 32 hexadecimal digits, made by the database."""

    inherit_cache = True


class _WrittenNow(sa.sql.expression.ColumnElement[datetime]):
    """The instant at which a row is written, by the database's clock, in UTC."""

    inherit_cache = True


@compiles(_NewRowId, "sqlite")
def _sqlite_row_id(*_: Any, **__: Any) -> str:
    return "(lower(hex(randomblob(16))))"


@compiles(_NewRowId, "postgresql")
def _postgresql_row_id(*_: Any, **__: Any) -> str:
    return "replace(gen_random_uuid()::text, '-', '')"


@compiles(_WrittenNow, "sqlite")
def _sqlite_now(*_: Any, **__: Any) -> str:
    return "(strftime('%Y-%m-%d %H:%M:%f000', 'now'))"


@compiles(_WrittenNow, "postgresql")
def _postgresql_now(*_: Any, **__: Any) -> str:
    return "clock_timestamp()"


# What the database fills in where a coach tool leaves it out.
_FILLED_IN: dict[str, sa.sql.expression.ColumnElement[Any]] = {
    "row_id": _NewRowId(),
    "written_at": _WrittenNow(),
}


class ContractError(TutorflowError):
    """A frame does not fit the published table it was meant for."""


@dataclass(frozen=True)
class Column:
    """One column of a published table."""

    name: str
    type: ColumnType
    description: str
    nullable: bool = False
    values: tuple[Any, ...] = ()
    prose: bool = False

    @property
    def dtype(self) -> str:
        """The pandas dtype of the column in frames that are read."""
        if self.nullable and self.type in ("integer", "boolean"):
            return {"integer": "Int64", "boolean": "boolean"}[self.type]
        return _DTYPES[self.type]


@dataclass(frozen=True)
class Table:
    """One table of the serving database: its grain, its key and its columns, in order.

    `publish` says who writes it: a publish upserts or replaces its rows, or it is an inbox, where
    coach tools write and nothing is ever changed.
    """

    name: str
    grain: str
    description: str
    version: int
    publish: Publish
    key: tuple[str, ...]
    indexes: tuple[str, ...]
    columns: dict[str, Column]

    @property
    def prose_columns(self) -> list[str]:
        """The columns that hold sentences meant for people."""
        return [column.name for column in self.columns.values() if column.prose]

    def empty_frame(self) -> pd.DataFrame:
        """A frame without rows that has this table's columns and dtypes."""
        return pd.DataFrame(
            {name: pd.Series([], dtype=column.dtype) for name, column in self.columns.items()}
        )


@cache
def contract() -> dict[str, Table]:
    """The published tables by name, in the order of the contract file."""
    return {name: spec for name, spec in _tables().items() if spec.publish != "inbox"}


@cache
def inbox() -> dict[str, Table]:
    """The tables that coach tools write, by name, in the order of the contract file."""
    return {name: spec for name, spec in _tables().items() if spec.publish == "inbox"}


@cache
def _tables() -> dict[str, Table]:
    text = Path(__file__).with_name("contract.yml").read_text(encoding="utf-8")
    return {name: _table(name, spec) for name, spec in yaml.safe_load(text).items()}


def _table(name: str, spec: dict[str, Any]) -> Table:
    columns = {
        column: Column(
            name=column,
            type=facts["type"],
            description=facts["description"],
            nullable=facts.get("nullable", False),
            values=tuple(facts.get("values", ())),
            prose=facts.get("prose", False),
        )
        for column, facts in spec["columns"].items()
    }
    return Table(
        name=name,
        grain=spec["grain"],
        description=spec["description"],
        version=spec["version"],
        publish=spec["publish"],
        key=tuple(spec["key"]),
        indexes=tuple(spec.get("indexes", ())),
        columns=columns,
    )


def table(name: str) -> Table:
    """The table of that name, published or inbox; ContractError when the contract has none."""
    try:
        return _tables()[name]
    except KeyError:
        known = ", ".join(_tables())
        raise ContractError(f"no published table is called {name!r}; there are: {known}") from None


@cache
def metadata() -> sa.MetaData:
    """The contract as SQLAlchemy tables, for SQLite and PostgreSQL."""
    result = sa.MetaData()
    for spec in _tables().values():
        sa.Table(
            spec.name,
            result,
            *(_sql_column(spec, column) for column in spec.columns.values()),
            *(sa.Index(f"{spec.name}_{column}", column) for column in spec.indexes),
            comment=f"{spec.description} {_sentence(spec.grain)}",
        )
    return result


def _sql_column(spec: Table, column: Column) -> sa.Column[Any]:
    """An inbox takes incomplete rows, so that they can be answered in words."""
    is_inbox = spec.publish == "inbox"
    return sa.Column(
        column.name,
        _SQL_TYPES[column.type],
        primary_key=column.name in spec.key,
        nullable=column.nullable or (is_inbox and column.name not in _FILLED_IN),
        server_default=_FILLED_IN.get(column.name) if is_inbox else None,
        autoincrement=False,
        comment=column.description,
    )


_WRITTEN: dict[Publish, str] = {
    "upsert": "upserted",
    "replace": "rewritten by each publish",
    "inbox": "written by coach tools",
}


def contract_markdown() -> str:
    """The contract as Markdown: one section per table, one table row per column."""
    return "\n".join(line for spec in _tables().values() for line in _markdown(spec))


def _markdown(spec: Table) -> Iterator[str]:
    yield f"### `{spec.name}` (version {spec.version})\n"
    yield f"{_sentence(spec.grain)} {spec.description}"
    yield f"Key: {', '.join(f'`{name}`' for name in spec.key)}; {_WRITTEN[spec.publish]}.\n"
    yield "| column | type | null | meaning |"
    yield "|---|---|---|---|"
    for column in spec.columns.values():
        values = f" ({', '.join(map(str, column.values))})" if column.values else ""
        null = "yes" if column.nullable else ""
        yield f"| `{column.name}` | {column.type} | {null} | {column.description}{values} |"
    yield ""


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def misfits(name: str, frame: pd.DataFrame) -> list[str]:
    """What keeps `frame` from being published as table `name`; empty when it fits.

    Checked are columns, types, nulls, listed values and that the key is unique.
    """
    spec = table(name)
    found = [f"column {c} is missing" for c in spec.columns if c not in frame.columns]
    found += [f"column {c} is not in the contract" for c in frame.columns if c not in spec.columns]
    for column in spec.columns.values():
        if column.name in frame.columns:
            found += _column_misfits(column, frame[column.name])
    if set(spec.key) <= set(frame.columns):
        repeated = frame.duplicated(list(spec.key))
        if repeated.any():
            example = frame.loc[repeated, list(spec.key)].iloc[0].to_dict()
            found.append(f"{repeated.sum()} rows repeat a key, such as {example}")
    return found


def check_fit(name: str, frame: pd.DataFrame) -> None:
    """Raise ContractError, naming every misfit, unless `frame` fits table `name`."""
    found = misfits(name, frame)
    if found:
        raise ContractError(
            f"the rows for {name} break its contract (tutorflow/publish/contract.yml): "
            + "; ".join(found)
        )


def _column_misfits(column: Column, values: "pd.Series[Any]") -> Iterator[str]:
    missing = values.isna()
    if missing.any() and not column.nullable:
        yield f"column {column.name} is null in {missing.sum()} of {len(values)} rows"
    present = values[~missing]
    if present.empty:
        return
    if not _has_type(column.type, present):
        example = present.iloc[0]
        yield (
            f"column {column.name} must be {column.type} but has dtype {values.dtype}, "
            f"such as {example!r}"
        )
    elif column.values:
        others = present[~present.isin(column.values)]
        if not others.empty:
            yield (
                f"column {column.name} has {sorted(map(str, others.unique()))[:5]}; "
                f"allowed: {', '.join(map(str, column.values))}"
            )


def _has_type(kind: ColumnType, present: "pd.Series[Any]") -> bool:
    """Whether values without nulls are of the type; a null-capable float may hold whole numbers."""
    inferred = pd.api.types.infer_dtype(present, skipna=True)
    if kind == "text":
        return inferred == "string"
    if kind == "json":
        return inferred == "string" and bool(present.map(_is_json).all())
    if kind == "integer":
        whole = inferred == "floating" and np.equal(np.mod(present.astype(float), 1), 0).all()
        return inferred == "integer" or bool(whole)
    if kind == "real":
        return inferred in ("floating", "integer", "mixed-integer-float")
    if kind == "timestamp":
        # Naive only: an aware column would be off by its offset in silence.
        return inferred in ("datetime64", "datetime") and not _is_aware(present)
    return inferred == kind


def _is_aware(present: "pd.Series[Any]") -> bool:
    return getattr(present.iloc[0], "tzinfo", None) is not None


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
