"""The wall clock. Everything else is told the time."""

from datetime import UTC, datetime


def utc_now() -> datetime:
    """The present instant, aware, UTC."""
    return datetime.now(UTC)
