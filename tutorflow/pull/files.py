"""The `files` reader: which files a source has, and whether each is whole and readable text."""

from __future__ import annotations

import codecs
import glob
import hashlib
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tutorflow.errors import InputError
from tutorflow.pull.formats import FORMATS, Table
from tutorflow.yaml_lines import did_you_mean

if TYPE_CHECKING:
    from tutorflow.settings import Settings, Source

FileType = Literal["csv", "parquet", "ndjson"]

FILE_TYPES: dict[str, FileType] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
}
MANIFEST_SUFFIX = ".manifest.json"

_CHUNK = 4 << 20
_SLICE = 64 << 10  # of gzip at a time: unpacked, at most a thousand times as much
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class SourceFile:
    """A file of a source: where it is, its path within the source, its type and its table."""

    location: Path
    path: str
    file_type: FileType
    table: Table


@dataclass(frozen=True)
class Inspection:
    """What one pass over a file's bytes tells; `lines` is 0 for Parquet."""

    sha256: str
    bytes: int
    modified_ns: int
    is_gzip: bool
    lines: int


@dataclass(frozen=True)
class Listing:
    """A source's files in order of path, those that cannot be taken in, and what was left out."""

    files: tuple[SourceFile, ...]
    faults: tuple[str, ...]
    notes: tuple[str, ...]


def list_files(settings: Settings, source: Source) -> Listing:
    """What lies at the source's path: the file itself, the folder's files, the glob's matches.

    Of a folder, hidden files, manifests and files of unknown type are left out. Raises InputError
    if there is no such path.
    """
    at = settings.source_path(source)
    if at.is_dir():
        candidates, is_named = _inside(at, at), False
    elif at.exists():
        candidates, is_named = [(at, at.name)], True
    elif glob.has_magic(source.path):
        candidates, is_named = _matches(settings, source), True
    else:
        raise InputError(f"{at} does not exist; check the path of the source {source.name!r}")
    files: list[SourceFile] = []
    faults: list[str] = []
    notes: list[str] = []
    for location, path in candidates:
        try:
            file = _source_file(source, location, path, is_named)
        except InputError as error:
            faults.append(str(error))
        else:
            if isinstance(file, SourceFile):
                files.append(file)
            elif file:
                notes.append(file)
    return Listing(tuple(files), tuple(faults), tuple(notes))


def _inside(folder: Path, root: Path) -> list[tuple[Path, str]]:
    found = []
    for location in sorted(folder.rglob("*")):
        path = location.relative_to(root)
        is_hidden = any(part.startswith((".", "_", "~")) for part in path.parts)
        if location.is_file() and not is_hidden:
            found.append((location, path.as_posix()))
    return found


def _matches(settings: Settings, source: Source) -> list[tuple[Path, str]]:
    parts = Path(source.path).expanduser().parts
    fixed = Path(*parts[: next(i for i, part in enumerate(parts) if glob.has_magic(part))])
    root = settings.config_path.parent / fixed
    if not root.is_dir():
        raise InputError(f"{root} does not exist; check the path of the source {source.name!r}")
    found = sorted(root.glob(str(Path(*parts[len(fixed.parts) :]))))
    return [
        (location, location.relative_to(root).as_posix())
        for location in found
        if location.is_file() and not location.name.startswith(".")
    ]


def _source_file(
    source: Source, location: Path, path: str, is_named: bool
) -> SourceFile | str | None:
    """The file, or why it is left out, or None if that goes without saying."""
    if path.endswith(MANIFEST_SUFFIX):
        return None
    name = location.name.removesuffix(".gz")
    file_type = source.file_type or FILE_TYPES.get(Path(name).suffix.lower())
    if file_type is None:
        known = ", ".join(FILE_TYPES)
        if not is_named:
            return f"{path} was left out: not one of {known}"
        raise InputError(
            f"{path}: the type of the file is unknown; name it *{known.replace(', ', ', *')} or"
            f" declare file_type for the source {source.name!r}"
        )
    format_ = FORMATS[source.format]
    stem = name.split(".", 1)[0]
    if stem in format_.never_read:
        return f"{path} was left out: {source.format} never reads it"
    for table in format_.tables:
        if table.file_stem in (None, stem):
            return SourceFile(location, path, file_type, table)
    stems = [str(table.file_stem) for table in format_.tables]
    fault = f"{path}: no table of {source.format} has this name"
    fault += did_you_mean(stem, stems, otherwise="tables are")
    if is_named:
        raise InputError(fault)
    return f"{path} was left out: no table of {source.format} has this name"


def inspect(file: SourceFile) -> Inspection:
    """Read the file once: its hash, and proof that it is whole and, unless Parquet, UTF-8 text.

    Raises InputError for a truncated or damaged gzip, another encoding, or a file that is not
    what its type says.
    """
    try:
        with file.location.open("rb") as opened:
            status = os.fstat(opened.fileno())
            start = opened.read(8)
            opened.seek(0)
            is_gzip = start.startswith(b"\x1f\x8b")
            _check_start(file, start, is_gzip)
            digest = hashlib.sha256()
            lines = 0
            chunks = _hashed(iter(lambda: opened.read(_CHUNK), b""), digest)
            if file.file_type == "parquet":
                last = b"".join(chunk[-4:] for chunk in chunks)[-4:]
                if last != b"PAR1":
                    raise InputError(f"{file.path}: cut off: the end of the Parquet is missing")
            else:
                lines = _checked_lines(file, _unzipped(file, chunks) if is_gzip else chunks)
    except OSError as error:
        raise InputError(f"{file.path}: cannot be read: {error.strerror}") from None
    return Inspection(digest.hexdigest(), status.st_size, status.st_mtime_ns, is_gzip, lines)


def _check_start(file: SourceFile, start: bytes, is_gzip: bool) -> None:
    found = None
    if file.file_type == "parquet":
        if is_gzip:
            found = "gzip; Parquet is compressed inside, send it as it is"
        elif not start.startswith(b"PAR1"):
            found = "not Parquet"
    elif start.startswith(b"PAR1"):
        found = "Parquet; name it *.parquet or declare file_type: parquet"
    elif start.startswith(b"PK\x03\x04"):
        found = "a zip archive or spreadsheet; send the CSV itself, plain or gzip"
    elif start.startswith(_UTF16):
        found = "UTF-16 text; save it as UTF-8"
    if found:
        raise InputError(f"{file.path}: declared as {file.file_type}, but it is {found}")


def _hashed(chunks: Iterator[bytes], digest: hashlib._Hash) -> Iterator[bytes]:
    for chunk in chunks:
        digest.update(chunk)
        yield chunk


def _unzipped(file: SourceFile, chunks: Iterator[bytes]) -> Iterator[bytes]:
    inflate = zlib.decompressobj(wbits=31)
    try:
        for chunk in chunks:
            for start in range(0, len(chunk), _SLICE):
                data = chunk[start : start + _SLICE]
                while data and not (inflate.eof and not data.strip(b"\0")):  # zeros are padding
                    if inflate.eof:  # a further member follows
                        inflate = zlib.decompressobj(wbits=31)
                    yield inflate.decompress(data)
                    data = inflate.unused_data
    except zlib.error as error:
        raise InputError(f"{file.path}: damaged gzip ({error}); send it again") from None
    if not inflate.eof:
        raise InputError(f"{file.path}: truncated gzip: its end is missing; send it again")


def _checked_lines(file: SourceFile, chunks: Iterator[bytes]) -> int:
    """The number of lines of a file that is text throughout."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    line = 1
    last = b"\n"
    try:
        for chunk in chunks:
            if b"\0" in chunk:
                line += chunk[: chunk.index(b"\0")].count(b"\n")
                raise InputError(f"{file.path}:{line}: holds a zero byte, so it is not text")
            decoder.decode(chunk)
            line += chunk.count(b"\n")
            last = chunk[-1:] or last
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        line += error.object[: error.start].count(b"\n")
        raise InputError(
            f"{file.path}:{line}: not UTF-8 (byte 0x{error.object[error.start]:02x});"
            f" convert the file, for example: iconv -f latin1 -t utf-8 {file.location.name}"
        ) from None
    return line - 1 if last == b"\n" else line


def is_unchanged(file: SourceFile, inspection: Inspection) -> bool:
    """Whether the file is still the one that was inspected."""
    status = file.location.stat()
    return (status.st_size, status.st_mtime_ns) == (inspection.bytes, inspection.modified_ns)


def captured_end(pattern: str, path: str) -> str | None:
    """The group `end` of a `delivered_pattern` in a path; None if the pattern is not in it."""
    found = re.search(pattern, path)
    return found["end"] if found else None
