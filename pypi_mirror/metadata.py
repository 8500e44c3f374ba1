"""The metadata inside a wheel or an sdist, from files that anybody may have made: bounded, and nothing is unpacked."""

from __future__ import annotations

import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from packaging.metadata import parse_email

from pypi_mirror.model import normalize

METADATA_BYTES = 4 << 20
SDISTS = (".tar.gz", ".zip")  # what packaging and all installers know; PEP 625 wants the first
WHEEL_ENTRIES = 200_000
SDIST_UNPACKED_BYTES = 256 << 20
SDIST_ENTRIES = 50_000
BLOCK = 1 << 20
HEADER_BYTES = 1 << 20  # of a long name or an extended header in a tar archive
_LONG = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
#: zipfile raises all of these for archives that are damaged, encrypted or exotic.
_ZIP_ERRORS = (
    zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, NotImplementedError, LookupError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CoreMetadata:
    """What the index needs of a file's core metadata; ``text`` is the metadata file, byte for byte."""

    name: str
    version: str
    requires_python: str | None
    text: bytes


def of_wheel(path: Path | IO[bytes], filename: str) -> CoreMetadata | None:
    """The METADATA of the wheel at ``path``, or open, that is called ``filename``; None when none can be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > WHEEL_ENTRIES:
                return None
            found = [entry for entry in entries if _is_metadata(entry.filename, filename)]
            if len(found) != 1 or found[0].file_size > METADATA_BYTES:
                return None
            with archive.open(found[0]) as stream:
                text = stream.read(METADATA_BYTES + 1)
    except _ZIP_ERRORS:
        return None
    return _parse(text)


def of_sdist(path: Path, filename: str) -> CoreMetadata | None:
    """The PKG-INFO (PEP 643) of the sdist at ``path`` that is called ``filename``; None likewise."""
    place = f"{stem(filename)}/PKG-INFO"
    try:
        text = _of_zip(path, place) if filename.endswith(".zip") else _of_tar(path, place)
    except (*_ZIP_ERRORS, tarfile.TarError):
        return None
    return None if text is None else _parse(text)


def stem(sdist: str) -> str:
    """What an sdist's file and its one folder are called."""
    return next((sdist.removesuffix(ending) for ending in SDISTS if sdist.endswith(ending)), sdist)


def _of_zip(path: Path, place: str) -> bytes | None:
    with zipfile.ZipFile(path) as archive, archive.open(place) as stream:
        return stream.read(METADATA_BYTES + 1)


def _of_tar(path: Path, place: str) -> bytes | None:
    with opened_sdist(path) as archive:
        for count, member in enumerate(archive):
            if count > SDIST_ENTRIES:
                return None
            if member.name == place and member.isreg() and member.size <= METADATA_BYTES:
                content = archive.extractfile(member)
                return content.read() if content else None
    return None


def _is_metadata(member: str, wheel: str) -> bool:
    folder, _, name = member.partition("/")
    project = folder.split("-", 1)[0]
    return (
        name == "METADATA" and folder.endswith(".dist-info") and normalize(project) == normalize(wheel.split("-", 1)[0])
    )


def _parse(text: bytes) -> CoreMetadata | None:
    if len(text) > METADATA_BYTES:
        return None
    raw, _ = parse_email(text)
    name, version = raw.get("name"), raw.get("version")
    if not name or not version:
        return None
    return CoreMetadata(name, version, raw.get("requires_python"), text)


class _Member(tarfile.TarInfo):
    """A member whose long name or extended header is no longer than it may be: tarfile reads those into memory."""

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> _Member:
        member = super().frombuf(buf, encoding, errors)
        if member.type in _LONG and member.size > HEADER_BYTES:
            raise ValueError("a header in it is too large")
        return member


@contextmanager
def opened_sdist(path: Path, unpack: Callable[[Path], Any] = gzip.open) -> Iterator[tarfile.TarFile]:
    """The archive at ``path``, to be read once from its beginning, within bounds of memory and size.

    ``unpack`` opens it as a tar archive's bytes. Reading it raises TarError, EOFError, OSError, ValueError, or what
    belongs to the packer (zlib.error for gzip), when it is damaged or too large.
    """
    with unpack(path) as stream:
        bounded: Any = _Bounded(stream)  # all that a stream of tarfile's is asked for is read()
        with tarfile.open(fileobj=bounded, mode="r|", tarinfo=_Member) as archive:
            yield archive


class _Bounded:
    """A stream that ends with an error after SDIST_UNPACKED_BYTES: a small archive can hold a huge one."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._left = SDIST_UNPACKED_BYTES

    def read(self, size: int) -> bytes:
        data = self._stream.read(min(size, BLOCK))
        self._left -= len(data)
        if self._left < 0:
            raise ValueError("the archive is too large")
        return data
