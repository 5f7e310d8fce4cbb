"""What people read for the id of a skill, an item or a module."""

from __future__ import annotations

from collections.abc import Mapping


def name_of(titles: Mapping[str, str], some_id: str) -> str:
    """The roster's title; without one the id, of an id that is a link only its last part."""
    if some_id in titles:
        return titles[some_id]
    if "://" in some_id:
        return some_id.rstrip("/").rsplit("/", 1)[-1]
    return some_id
