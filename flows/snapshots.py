"""A Parquet copy of the marts that analysts can read while a run writes.

A reader of the DuckDB file itself would lock the hourly writer out. `snapshot/current` is swapped
in one step; the copy before stays, so that a query that began on it can end.
"""

import os
import shutil
from datetime import datetime
from pathlib import Path
from typing import Literal, get_args

import duckdb

from tutorflow import warehouse
from tutorflow.engine import identifier, literal
from tutorflow.errors import TutorflowError
from tutorflow.hours import floor_tick
from tutorflow.settings import Settings

Frequency = Literal["hour", "day", "never"]

KEPT = 2
_BUILD_MARK = "_build"


def frequency() -> Frequency:
    """How often a snapshot is taken: TUTORFLOW_SNAPSHOT, else once a day.

    Once a day, because a snapshot costs a pass over the whole history (about a second per million
    events) while the hour costs a pass over the learners of that hour.
    """
    wanted = os.environ.get("TUTORFLOW_SNAPSHOT", "day")
    for known in get_args(Frequency):
        if wanted == known:
            return known  # type: ignore[no-any-return]
    raise TutorflowError(f"TUTORFLOW_SNAPSHOT is {wanted!r}; it must be hour, day or never.")


def current_snapshot(settings: Settings) -> Path | None:
    """The folder that readers see now; None before the first snapshot."""
    pointer = settings.snapshot_path / "current"
    return pointer.resolve() if pointer.exists() else None


def take_snapshot(settings: Settings, as_of: datetime, force: bool = False) -> bool:
    """Write a snapshot named after `as_of` if one is due; whether one was written.

    Due is the first tick of a day (with `hour`, every tick), if anything was built since the last.
    """
    wanted = frequency()
    if not force and (wanted == "never" or not settings.warehouse_path.exists()):
        return False
    before = current_snapshot(settings)
    if before is not None and not force and wanted == "day":
        day = floor_tick(as_of, "day", settings.timezone)
        if _taken_at(before) >= day:
            return False
    with warehouse.open_warehouse(settings, read_only=True) as connection:
        build = str(_build_number(connection))
        if not force and before is not None and (before / _BUILD_MARK).read_text() == build:
            return False
        partial = settings.snapshot_path / f".partial-{os.getpid()}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for (table,) in connection.execute(
            "select table_name from information_schema.tables where table_schema = 'marts'"
        ).fetchall():
            connection.execute(
                f"copy marts.{identifier(table)} to {literal(str(partial / f'{table}.parquet'))}"
                " (format parquet, compression zstd)"
            )
    (partial / _BUILD_MARK).write_text(build)
    final = settings.snapshot_path / as_of.strftime(_NAME)
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    _point_at(settings.snapshot_path, final)
    _forget_old(settings.snapshot_path, final)
    return True


_NAME = "%Y-%m-%dT%H%MZ"


def _taken_at(folder: Path) -> datetime:
    return datetime.strptime(folder.name + "+0000", _NAME + "%z")


def _build_number(connection: duckdb.DuckDBPyConnection) -> int:
    row = connection.execute("select max(builds) from operations.marts_built").fetchone()
    return int(row[0]) if row and row[0] is not None else 0


def _point_at(folder: Path, target: Path) -> None:
    """Swap `current`: a rename replaces the old pointer in one step."""
    new = folder / ".current-new"
    new.unlink(missing_ok=True)
    new.symlink_to(target.name)
    new.replace(folder / "current")


def _forget_old(folder: Path, newest: Path) -> None:
    taken = sorted(path for path in folder.iterdir() if path.is_dir() and not path.is_symlink())
    others = [path for path in taken if path != newest]
    for old in others[: max(0, len(others) - (KEPT - 1))]:
        shutil.rmtree(old, ignore_errors=True)
