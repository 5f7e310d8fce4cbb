"""Pseudonyms: keyed, the same everywhere, made before anything lands.

A pseudonym is the first 128 bits of HMAC-SHA256 over the namespace and the source's user id.
Without the key nobody can compute it from an id, or an id from it. The identity map, a file of its
own, is the only place where both stand together.
"""

from __future__ import annotations

import hmac
import os
import secrets
import sqlite3
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tutorflow.csv_lines import read_csv_lines
from tutorflow.errors import TutorflowError
from tutorflow.hours import to_naive_utc

if TYPE_CHECKING:
    from tutorflow.settings import Settings

# The roster's own user ids, and the ids of persons that aliases lead to.
ROSTER_NAMESPACE = "programme"

_SHORTEST_KEY = 16
_BATCH = 50_000

_SCHEMA = """
create table if not exists identities (
    learner_id text not null,
    namespace text not null,
    source_user_id text not null,
    first_seen_at text not null,
    primary key (learner_id, namespace, source_user_id)
) without rowid;
create table if not exists key_check (fingerprint text primary key);
"""


@dataclass(frozen=True)
class Pseudonyms:
    """The key and the aliases: everything needed to turn user ids into learner ids."""

    key: bytes = field(repr=False)
    aliases: Mapping[tuple[str, str], str] = field(default_factory=dict, repr=False)

    def of(self, namespace: str, user_id: str) -> str:
        """The learner id of a user id; an alias leads to the person it stands for."""
        person = self.aliases.get((namespace, user_id))
        if person is not None:
            return learner_id(self.key, ROSTER_NAMESPACE, person)
        return learner_id(self.key, namespace, user_id)


def learner_id(key: bytes, namespace: str, source_user_id: str) -> str:
    """The pseudonym as the text of a uuid: 128 bits of HMAC-SHA256(key, namespace + 0x1f + id)."""
    message = f"{namespace}\x1f{source_user_id}".encode()
    digest = hmac.digest(key, message, "sha256")[:16].hex()
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:]}"


def load_pseudonyms(settings: Settings) -> Pseudonyms:
    """The home's key (made on first use) and the roster's aliases.

    Raises TutorflowError if the key is missing, is not the one that made the pseudonyms already
    in the home, or can be read by others; ConfigurationError for a faulty `aliases.csv`.
    """
    key = pseudonym_key(settings)
    _check_fingerprint(settings.identity_path, key)
    return Pseudonyms(key, read_aliases(settings.roster_path))


def pseudonym_key(settings: Settings) -> bytes:
    """TUTORFLOW_KEY, else the home's key file, which is made with mode 0600 on first use."""
    given = os.environ.get("TUTORFLOW_KEY")
    if given:
        return _checked(given.encode(), "TUTORFLOW_KEY")
    path = settings.key_path
    if not path.exists():
        if settings.identity_path.exists() or settings.catalog_path.exists():
            raise TutorflowError(
                f"the pseudonym key {path} is gone, and TUTORFLOW_KEY is not set; with a new key"
                " every learner would become another one. Restore it from a backup, or start in"
                " an empty home"
            )
        _create_key(path)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise TutorflowError(f"others can read {path} (mode {mode:o}); run: chmod 600 {path}")
    return _checked(path.read_bytes().strip(), str(path))


def _create_key(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # written under a name of its own and linked, so that of two processes one wins, whole
    own = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_hex(32).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        path.hardlink_to(own)
    except FileExistsError:
        pass
    finally:
        own.unlink()


def _checked(key: bytes, origin: str) -> bytes:
    if len(key) < _SHORTEST_KEY:
        raise TutorflowError(
            f"{origin} is too short for a key: {len(key)} bytes, at least {_SHORTEST_KEY} needed"
        )
    return key


def _fingerprint(key: bytes) -> str:
    return hmac.digest(key, b"tutorflow key check", "sha256")[:8].hex()


def _check_fingerprint(identity_path: Path, key: bytes) -> None:
    if not identity_path.exists():
        return
    with open_identities(identity_path) as identities:
        known = identities.execute("select fingerprint from key_check").fetchone()
    if known and known[0] != _fingerprint(key):
        raise TutorflowError(
            "the pseudonym key is not the one that made the pseudonyms in this home; set"
            " TUTORFLOW_KEY to that key, or restore the key file"
        )


def read_aliases(roster_path: Path | None) -> dict[tuple[str, str], str]:
    """`aliases.csv` of the roster (namespace, user_id, person_id); empty without that file.

    Raises ConfigurationError, with file and line, if it is faulty or contradicts itself.
    """
    path = roster_path and roster_path / "aliases.csv"
    if path is None or not path.exists():
        return {}
    aliases: dict[tuple[str, str], str] = {}
    for row in read_csv_lines(path, required=("namespace", "user_id", "person_id")):
        user = (row.text("namespace"), row.text("user_id"))
        person = row.text("person_id")
        if aliases.setdefault(user, person) != person:
            raise row.fault("person_id", "the same user is another person further up")
    return aliases


@contextmanager
def open_identities(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to the identity map, created with mode 0600 if absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    with closing(sqlite3.connect(path, timeout=60)) as connection:
        connection.executescript(_SCHEMA)
        yield connection


def remember_identities(
    path: Path,
    pseudonyms: Pseudonyms,
    namespace: str,
    user_ids: Sequence[str],
    seen_at: datetime,
) -> None:
    """Add users to the identity map; whoever is in it already keeps the time first seen."""
    at = to_naive_utc(seen_at).isoformat(sep=" ")
    with open_identities(path) as identities:
        for start in range(0, len(user_ids), _BATCH):
            batch = user_ids[start : start + _BATCH]
            with identities:
                identities.execute(
                    "insert or ignore into key_check values (?)", [_fingerprint(pseudonyms.key)]
                )
                identities.executemany(
                    "insert or ignore into identities values (?, ?, ?, ?)",
                    ((pseudonyms.of(namespace, user), namespace, user, at) for user in batch),
                )


def source_users(path: Path, learner_ids: Iterable[str]) -> dict[str, list[tuple[str, str]]]:
    """Who stands behind pseudonyms: learner id -> its (namespace, source user id) pairs.

    A learner id that the map does not know is absent from the answer.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    if not path.exists():
        return found
    with open_identities(path) as identities:
        for learner in learner_ids:
            rows = identities.execute(
                "select namespace, source_user_id from identities where learner_id = ?"
                " order by namespace, source_user_id",
                [learner],
            ).fetchall()
            if rows:
                found[learner] = rows
    return found
