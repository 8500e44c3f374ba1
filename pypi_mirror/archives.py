"""Whether a wheel or sdist is what it should be, before it is published. Anybody may have made it: nothing is unpacked.

Every function raises ``mirror/bad-upload`` and says what is wrong.
"""

from __future__ import annotations

import base64
import binascii
import csv
import hashlib
import io
import posixpath
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from packaging.metadata import InvalidMetadata, Metadata
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from core.errors import DaeError
from pypi_mirror import layout, metadata
from pypi_mirror.inside import is_inside
from pypi_mirror.layout import Entry
from pypi_mirror.metadata import SDISTS, CoreMetadata, stem
from pypi_mirror.model import is_file_name, normalize

WHEEL_UNPACKED_BYTES = 4 << 30
RECORD_BYTES = 32 << 20
SHOWN = 5  # of many faults
_UNHASHED = ("RECORD", "RECORD.jws", "RECORD.p7s")
# What may make a wheel's record stronger, not weaker: "md5 and sha1 may not be used" (binary distribution format).
_HASHES = ("sha256", "sha384", "sha512")


def check(path: Path, filename: str) -> CoreMetadata:
    """The core metadata of the file at ``path`` that is to be published as ``filename``, after all that is checked."""
    name, version = named(filename)
    if filename.endswith(".whl"):
        check_wheel(path, filename)
        found = metadata.of_wheel(path, filename)
    else:
        check_sdist(path, filename)
        found = metadata.of_sdist(path, filename)
    if found is None:
        raise bad(filename, "holds no metadata of the project that its name states")
    _check_metadata(found.text, filename)
    if normalize(found.name) != name:
        raise bad(filename, f"is a file of {found.name[:80]}: its metadata and its name state different projects")
    try:
        stated = Version(found.version)
    except InvalidVersion:
        raise bad(filename, f"states the version {found.version[:40]!a}, which is none") from None
    if stated != version:
        raise bad(filename, f"holds version {stated}, and its name states {version}")
    return found


def named(filename: str) -> tuple[str, Version]:
    """The normalised name and the version that the file's name states."""
    if not is_file_name(filename) or not filename.endswith((".whl", *SDISTS)):
        endings = ", ".join(SDISTS)
        raise bad(filename, f"is neither a wheel (.whl) nor an sdist ({endings}): not every installer takes others")
    try:
        if filename.endswith(".whl"):
            name, version, _, _ = parse_wheel_filename(filename)
        else:
            name, version = parse_sdist_filename(filename)
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion) as error:
        raise bad(filename, f"is not called as a distribution is: {str(error)[:200]}") from None
    return str(name), version


def _check_metadata(text: bytes, filename: str) -> None:
    try:
        Metadata.from_email(text, validate=True)
    except ExceptionGroup as group:
        faults = [str(fault) for fault in _leaves(group) if not _is_harmless(fault)]
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        faults = [f"{type(error).__name__}: {error}"]  # what the parser of e-mail trips over
    else:
        return
    if faults:
        raise bad(filename, f"has metadata that break the standard: {_some(faults)}")


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for fault in group.exceptions:
        if isinstance(fault, BaseExceptionGroup):
            yield from _leaves(fault)
        else:
            yield fault


def _is_harmless(fault: BaseException) -> bool:
    """Setuptools wrote License-File for years before the version of the standard that has it."""
    return isinstance(fault, InvalidMetadata) and fault.field == "license-file" and "introduced in" in str(fault)


# wheels


def check_wheel(path: Path, filename: str) -> None:
    """A wheel holds what its RECORD lists, byte for byte, and nothing outside of it."""
    try:
        with path.open("rb") as stream:
            entries = layout.read(stream, WHEEL_UNPACKED_BYTES)
            record = _record(stream, entries, filename)
            _compare(stream, entries, record, filename)
    except layout.LayoutError as fault:
        raise bad(filename, str(fault)) from None
    except UnicodeDecodeError:
        raise bad(filename, "has a RECORD that is not in UTF-8") from None


def _record(stream: BinaryIO, entries: Mapping[str, Entry], filename: str) -> dict[str, tuple[str, str]]:
    """Path -> (hash, size), as RECORD lists them; RECORD itself and its signatures are left out."""
    folders = {path.partition("/")[0] for path in entries if path.partition("/")[0].endswith(".dist-info")}
    place = f"{folders.pop()}/RECORD" if len(folders) == 1 else ""
    if place not in entries or entries[place].size > RECORD_BYTES:
        raise bad(filename, "has no RECORD in its one .dist-info folder")
    text = b"".join(layout.content(stream, entries[place])).decode()
    listed: dict[str, tuple[str, str]] = {}
    try:
        for row in csv.reader(io.StringIO(text)):
            if not row:
                continue
            path, digest, size = (*row, "", "")[:3]
            if not is_inside(path) or path in listed:
                raise bad(filename, f"lists {path[:80]!a} in its RECORD twice, or outside of it")
            listed[path] = digest, size
    except csv.Error as error:
        raise bad(filename, f"has a RECORD that cannot be read: {error}") from None
    folder = posixpath.dirname(place)
    return {path: row for path, row in listed.items() if path not in [f"{folder}/{name}" for name in _UNHASHED]}


def _compare(
    stream: BinaryIO,
    entries: Mapping[str, Entry],
    record: dict[str, tuple[str, str]],
    filename: str,
) -> None:
    folder = next(path.partition("/")[0] for path in entries if path.partition("/")[0].endswith(".dist-info"))
    present = set(entries) - {f"{folder}/{name}" for name in _UNHASHED}
    faults = [f"{path!a} is not listed" for path in sorted(present - set(record))]
    faults += [f"{path!a} is listed and missing" for path in sorted(set(record) - present)]
    if faults:
        raise bad(filename, f"is not what its RECORD says: {_some(faults)}")
    for path, (digest, size) in record.items():
        kind, _, wanted = digest.partition("=")
        if kind not in _HASHES:
            raise bad(filename, f"lists {path[:80]!a} without a hash of {', '.join(_HASHES)}")
        if (size and size != str(entries[path].size)) or _hash(stream, entries[path], kind) != _decoded(wanted):
            raise bad(filename, f"is not what its RECORD says: {path[:80]!a} has another content")
    for path in set(entries) - set(record):
        for _ in layout.content(stream, entries[path]):
            pass  # nothing tells its hash, but its header what it is


def _hash(stream: BinaryIO, entry: Entry, kind: str) -> bytes:
    digest = hashlib.new(kind, usedforsecurity=False)
    for block in layout.content(stream, entry):
        digest.update(block)
    return digest.digest()


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""


# sdists


def check_sdist(path: Path, filename: str) -> None:
    """An sdist holds one folder, called as the file is, and nothing that leads out of it (PEP 625, PEP 721)."""
    if filename.endswith(".zip"):
        _check_zip(path, filename)
        return
    folder = stem(filename)
    files: set[str] = set()
    links: dict[str, str] = {}
    try:
        with metadata.opened_sdist(path) as archive:
            for count, member in enumerate(archive):
                if count > metadata.SDIST_ENTRIES:
                    raise bad(filename, "holds more files than an sdist may")
                _take(member, folder, files, links, filename)
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError) as error:
        raise bad(filename, f"is no whole .tar.gz archive: {str(error)[:200]!a}") from None
    # A link to a file that is there, and under no name that is a link itself, leads nowhere else.
    for place, target in links.items():
        if target not in files:
            raise bad(filename, f"holds a link that leads to no file of it: {place[:80]!a}")
    if any(parent in links for place in (*files, *links) for parent in _parents(place)):
        raise bad(filename, "holds a file below a link")


def _check_zip(path: Path, filename: str) -> None:
    folder = stem(filename)
    try:
        with path.open("rb") as stream:
            for place, entry in layout.read(stream, metadata.SDIST_UNPACKED_BYTES).items():
                if place.partition("/")[0] != folder:
                    raise bad(filename, f"holds {place[:80]!a}, which is not in the folder {folder}")
                for _ in layout.content(stream, entry):
                    pass
    except layout.LayoutError as fault:
        raise bad(filename, str(fault)) from None


def _take(member: tarfile.TarInfo, folder: str, files: set[str], links: dict[str, str], filename: str) -> None:
    name = member.name.removeprefix("./") or "."
    if not is_inside(name) or name.partition("/")[0] != folder:
        raise bad(filename, f"holds {member.name[:80]!a}, which is not in the folder {folder}")
    if name in files or name in links:
        raise bad(filename, f"holds {member.name[:80]!a} twice")
    if member.isreg() and not member.issparse():
        files.add(name)
    elif member.issym():
        links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname))
    elif member.islnk():
        links[name] = posixpath.normpath(member.linkname)
    elif not member.isdir():
        raise bad(filename, f"holds a device or something else that is no file: {member.name[:80]!a}")


def _parents(place: str) -> Iterator[str]:
    while place := posixpath.dirname(place):
        yield place


def _some(faults: list[str]) -> str:
    shown = "; ".join(fault[:200] for fault in faults[:SHOWN])
    return shown + (f"; and {len(faults) - SHOWN} more" if len(faults) > SHOWN else "")


def bad(filename: str, what: str) -> DaeError:
    shown = filename[:120] if is_file_name(filename) else ascii(filename[:80])
    return DaeError("mirror/bad-upload", f"{shown} {what}", "build it anew")
