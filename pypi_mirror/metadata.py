"""The metadata inside a wheel or an sdist, from files that anybody may have made: bounded, and nothing is unpacked."""

from __future__ import annotations

import gzip
import tarfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from packaging.metadata import parse_email

from pypi_mirror.model import normalize

METADATA_BYTES = 4 << 20
WHEEL_ENTRIES = 200_000
SDIST_UNPACKED_BYTES = 256 << 20
SDIST_ENTRIES = 50_000
BLOCK = 1 << 20


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
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, NotImplementedError):
        return None  # zipfile raises all of these for archives that are damaged, encrypted or exotic
    return _parse(text)


def of_sdist(path: Path, filename: str) -> CoreMetadata | None:
    """The PKG-INFO (PEP 643) of the ``.tar.gz`` sdist at ``path`` that is called ``filename``; None likewise."""
    folder = filename.removesuffix(".tar.gz")
    try:
        with _Bounded(path) as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            for count, member in enumerate(archive):
                if count > SDIST_ENTRIES:
                    return None
                if member.name == f"{folder}/PKG-INFO" and member.isreg() and member.size <= METADATA_BYTES:
                    content = archive.extractfile(member)
                    return _parse(content.read()) if content else None
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError):
        return None
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


class _Bounded(gzip.GzipFile):
    """A stream that ends with an error after SDIST_UNPACKED_BYTES: a small archive can hold a huge one."""

    _left = SDIST_UNPACKED_BYTES

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(BLOCK if size is None or size < 0 else min(size, BLOCK))
        self._left -= len(data)
        if self._left < 0:
            raise ValueError("the archive is too large")
        return data
