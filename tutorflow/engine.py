"""How DuckDB is configured, wherever tutorflow uses it, and how text becomes SQL."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb

DEFAULT_MEMORY_LIMIT = "4GB"


def duckdb_config(spill: Path) -> dict[str, str | bool | int | float | list[str]]:
    """Configuration of a connection that may spill larger work into the folder `spill`.

    memory_limit: TUTORFLOW_MEMORY_LIMIT, default 4GB; threads: TUTORFLOW_THREADS, default all
    cores.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": os.environ.get("TUTORFLOW_MEMORY_LIMIT") or DEFAULT_MEMORY_LIMIT,
        "temp_directory": str(spill),
    }
    if threads := os.environ.get("TUTORFLOW_THREADS"):
        config["threads"] = threads
    return config


@contextmanager
def open_scratch(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """An in-memory connection in UTC whose spill, below `folder`, is gone afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix="scratch-") as spill:
        connection = duckdb.connect(config=duckdb_config(Path(spill)))
        try:
            connection.execute("set TimeZone = 'UTC'")
            connection.execute("set enable_progress_bar = false")
            # a filter that is pushed below the expressions it tests computes them twice
            connection.execute("set disabled_optimizers = 'filter_pushdown'")
            yield connection
        finally:
            connection.close()


def literal(text: str) -> str:
    """The text as an SQL string."""
    return "'" + text.replace("'", "''") + "'"


def one_file(path: Path) -> str:
    """The path as an SQL string that stands for this file alone, whatever signs are in its name."""
    return literal(glob.escape(str(path)))


def identifier(name: str) -> str:
    """The name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
