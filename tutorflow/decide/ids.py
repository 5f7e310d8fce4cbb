"""Ids and lots that are content hashes: the same thing has the same, whoever asks and when."""

from __future__ import annotations

import hashlib


def content_id(*parts: str) -> str:
    """32 hex digits that stand for the parts, in their order."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]


def fraction(salt: str, *parts: str) -> float:
    """The lot of the parts: a number in [0, 1), always the same and spread evenly.

    Each question has its own ``salt``, so that its lots are independent of all others.
    """
    return int(content_id(salt, *parts)[:13], 16) / 16**13
