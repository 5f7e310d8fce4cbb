"""The serving database: connections, transactions and what can go wrong with them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from tutorflow.errors import TutorflowError
from tutorflow.publish.contract import metadata
from tutorflow.settings import Settings

WAIT_SECONDS = 30.0

# Any constant does; it only has to be the same in every process that publishes.
_ADVISORY_LOCK = 0x7475_746F


class ServingError(TutorflowError):
    """The serving database cannot be used; the message says why and what to do."""


@contextmanager
def writing(settings: Settings, wait_seconds: float = WAIT_SECONDS) -> Iterator[sa.Connection]:
    """A connection inside the one writing transaction; committed at the end, else rolled back.

    Creates the database file and missing tables. Readers go on seeing what was committed before.
    Raises ServingError when the database is out of reach, held by another writer for longer than
    `wait_seconds`, or older than the contract.
    """
    engine = _engine(settings, wait_seconds, read_only=False)
    with _explained(engine, wait_seconds), engine.begin() as connection:
        _create_tables(connection)
        yield connection


@contextmanager
def reading(settings: Settings, wait_seconds: float = WAIT_SECONDS) -> Iterator[sa.Connection]:
    """A connection inside one read transaction: every query in it sees the same publish.

    Raises ServingError when the database is out of reach.
    """
    engine = _engine(settings, wait_seconds, read_only=True)
    with _explained(engine, wait_seconds), engine.begin() as connection:
        yield connection


def exists(settings: Settings) -> bool:
    """Whether there can be anything to read: a SQLite file that is absent must not be created."""
    path = _sqlite_path(sa.make_url(settings.database_url))
    return path is None or path.exists()


def _sqlite_path(url: sa.URL) -> Path | None:
    if url.get_backend_name() != "sqlite":
        return None
    if not url.database or url.database == ":memory:":
        raise ServingError(
            f"{url.render_as_string()} has no file, so no other process could read it; "
            "give a path, such as sqlite:////srv/tutorflow/serving.sqlite"
        )
    return Path(url.database)


def _engine(settings: Settings, wait_seconds: float, read_only: bool) -> sa.Engine:
    url = _url(settings.database_url)
    path = _sqlite_path(url)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _sqlite_engine(url, wait_seconds, read_only)
    engine = sa.create_engine(
        url,
        poolclass=NullPool,
        isolation_level="REPEATABLE READ" if read_only else "READ COMMITTED",
        connect_args={"connect_timeout": max(2, round(wait_seconds)), "options": "-c timezone=UTC"},
    )

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        if read_only:
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        else:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{round(wait_seconds * 1000)}ms'")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")

    return engine


def _url(text: str) -> sa.URL:
    try:
        url = sa.make_url(text)
    except sa.exc.ArgumentError:
        raise ServingError(
            "the database URL is not a URL; write it like sqlite:////srv/tutorflow/serving.sqlite "
            "or postgresql://user:password@host/database (TUTORFLOW_DATABASE_URL or database_url)"
        ) from None
    if url.get_backend_name() == "sqlite":
        return url.set(drivername="sqlite")
    if url.get_backend_name() != "postgresql":
        raise ServingError(
            f"the serving database cannot be {url.get_backend_name()}; it is SQLite or PostgreSQL"
        )
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise ServingError(
            "PostgreSQL needs its driver: pip install 'tutorflow[postgres]'"
        ) from None
    return url.set(drivername="postgresql+psycopg")


def _sqlite_engine(url: sa.URL, wait_seconds: float, read_only: bool) -> sa.Engine:
    # The driver's own transactions would begin late and as readers; ours begin as what they are.
    engine = sa.create_engine(url, poolclass=NullPool, connect_args={"isolation_level": None})

    @sa.event.listens_for(engine, "connect")
    def _connect(raw: sa.engine.interfaces.DBAPIConnection, _: object) -> None:
        cursor = raw.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {round(wait_seconds * 1000)}")
        if read_only:
            cursor.execute("PRAGMA query_only = ON")
        else:
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute("PRAGMA synchronous = NORMAL")
            cursor.execute("PRAGMA foreign_keys = OFF")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def _create_tables(connection: sa.Connection) -> None:
    """Create the tables that are missing; raise ServingError when one lacks a column."""
    existing = sa.inspect(connection).get_multi_columns()
    for (_, name), columns in existing.items():
        if name in metadata().tables:
            wanted = set(metadata().tables[name].columns.keys())
            lacking = sorted(wanted - {column["name"] for column in columns})
            if lacking:
                raise ServingError(_older_database(connection, name, lacking))
    metadata().create_all(connection)


def _older_database(connection: sa.Connection, name: str, lacking: list[str]) -> str:
    dialect = connection.dialect
    columns = metadata().tables[name].columns
    additions = [
        f"ALTER TABLE {name} ADD COLUMN {column} {columns[column].type.compile(dialect)};"
        for column in lacking
    ]
    return (
        f"the serving database was made by an older version: {name} has no {', '.join(lacking)}. "
        f"Add what is missing and run again: {' '.join(additions)} "
        "(a column that may not be null also needs a DEFAULT; the changelog names it). "
        f"Database: {connection.engine.url.render_as_string()}"
    )


@contextmanager
def _explained(engine: sa.Engine, wait_seconds: float) -> Iterator[None]:
    driver = engine.dialect.loaded_dbapi  # COPY talks to it directly, past SQLAlchemy's wrapping
    try:
        yield
    except (sa.exc.DBAPIError, driver.Error) as error:
        reason = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        explanation = _explanation(engine.url, str(reason).strip(), wait_seconds)
        if explanation is None:
            raise
        raise ServingError(explanation) from error


def _explanation(url: sa.URL, reason: str, wait_seconds: float) -> str | None:
    """The fault in words, or None when it is a fault of the program."""
    shown = url.render_as_string()
    path = _sqlite_path(url)
    if path is None:
        if "lock timeout" in reason:
            return (
                f"another run is publishing to {shown}; waited {wait_seconds:.0f} s for it. "
                "Let it finish and run again."
            )
        if any(sign in reason for sign in ("connection", "connect", "server", "authentication")):
            return (
                f"cannot reach the serving database {shown}: {reason.splitlines()[0]}. Check that "
                "the server runs and that TUTORFLOW_DATABASE_URL (or database_url in "
                "tutorflow.yml) names it; what coaches read stays as it was."
            )
        return None
    if "locked" in reason:
        holders = ", ".join(_holders(path)) or "a process that could not be seen from here"
        return (
            f"{path} is locked: another process has been writing for {wait_seconds:.0f} s. "
            f"It is open in {holders}. End that transaction or process and run again; "
            "what coaches read stays as it was."
        )
    if any(sign in reason for sign in ("unable to open", "readonly", "not a database", "disk")):
        return (
            f"cannot use the serving database {path}: {reason}. Check the path, its permissions "
            "and the free space, or name another one with TUTORFLOW_DATABASE_URL."
        )
    return None


def _holders(path: Path) -> list[str]:
    """Processes that have the file open, as `name (pid n)`; empty where /proc cannot tell."""
    target = path.resolve()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(link.readlink() == target for link in (process / "fd").iterdir()):
                name = (process / "comm").read_text().strip()
                found.append(f"{name} (pid {process.name})")
        except OSError:  # ended meanwhile, or not ours to look into
            continue
    return sorted(found)
