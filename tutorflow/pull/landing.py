"""The landing folder: where a delivery lies, and how a file gets there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tutorflow.pull.formats import FORMATS, Table

_ARROW_TYPES = {
    "uuid": pa.uuid(),
    "varchar": pa.string(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us"),
}


def delivery_file(format_name: str, table: Table, source: str, delivery_id: str) -> str:
    """The path of a delivery's Parquet, relative to the landing."""
    return f"{format_name}/{table.name}/{source}-{delivery_id}.parquet"


def write_carriers(landing: Path) -> None:
    """Write `_empty/<format>/<table>.parquet`: no rows, the right columns and types."""
    for format_ in FORMATS.values():
        for table in format_.tables:
            path = landing / "_empty" / format_.name / f"{table.name}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            schema = pa.schema([(n, _ARROW_TYPES[t]) for n, t in table.landed_types.items()])
            being_written = path.with_suffix(".tmp")
            pq.write_table(schema.empty_table(), being_written)
            being_written.replace(path)


def put_in_place(written: Path, final: Path) -> None:
    """Make a finished temporary file durable under its final name, in one step."""
    with written.open("rb") as file:
        os.fsync(file.fileno())
    written.replace(final)
    folder = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
