"""Ids that are content hashes: the same thing has the same id, whoever finds it and when."""

from __future__ import annotations

import hashlib


def content_id(*parts: str) -> str:
    """32 hex digits that stand for the parts, in their order."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]
