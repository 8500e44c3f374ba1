"""What files say of their license, for the policy.

A wheel's metadata lie beside it; an sdist is read once, to its end if need be, and what was found is kept:

====================================  ===========================================================================
licenses/<sha[:2]>/<sha>.json         what the sdist with that sha256 says: a list of texts
====================================  ===========================================================================
"""

from __future__ import annotations

import bz2
import errno
import gzip
import json
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from packaging.metadata import parse_email

from core.cooperative import aside
from pypi_mirror.metadata import METADATA_BYTES, SDIST_ENTRIES, opened_sdist
from pypi_mirror.model import File, sdist_stem

LENGTH = 200  # of the old field, in which some projects have the whole text: its first line says which
_OPENERS: tuple[tuple[Callable[[Path], Any], tuple[str, ...]], ...] = (
    (gzip.open, (".tar.gz", ".tgz")),
    (bz2.open, (".tar.bz2", ".tbz", ".tbz2")),
    (lzma.open, (".tar.xz", ".txz", ".tar.lzma", ".tlz")),
    (partial(open, mode="rb"), (".tar",)),
)
_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError, RuntimeError,
    NotImplementedError,
)  # fmt: skip


def named_in(text: bytes) -> tuple[str, ...]:
    """What core metadata says of the license: the expression (PEP 639) and its parts, classifiers, the old field."""
    raw, _ = parse_email(text)
    expression, old = raw.get("license_expression"), raw.get("license")
    found = [expression, *re.findall(r"[A-Za-z0-9.+:-]+", expression)] if expression else []
    for classifier in raw.get("classifiers", []):
        if classifier.startswith("License ::"):
            found += [classifier, classifier.rpartition("::")[2].strip()]
    if old and (first := old.strip().partition("\n")[0].strip()[:LENGTH]):
        found.append(first)
    return tuple(dict.fromkeys(word for word in found if word not in ("AND", "OR", "WITH")))


class Licenses:
    """What sdists say, kept below ``root``. ``write`` writes a file whole or not at all."""

    def __init__(self, root: Path, write: Callable[[Path, bytes], None]) -> None:
        self._root = root / "licenses"
        self._write = write

    def of(self, file: File, path: Path | None) -> tuple[str, ...] | None:
        """What an sdist says, which is at ``path`` if it is here; empty for nothing, None when nobody knows yet."""
        kept = self._root / file.sha256[:2] / f"{file.sha256}.json"
        try:
            return tuple(map(str, json.loads(kept.read_bytes())))
        except FileNotFoundError:
            pass
        except (ValueError, TypeError):  # damaged: it is read again
            kept.unlink(missing_ok=True)
        if path is None:
            return None
        try:
            text = aside(_package_info, path, file.filename)
        except OSError:  # it went away, say: what it says is not known by that
            return None
        found = () if text is None else named_in(text)
        kept.parent.mkdir(parents=True, exist_ok=True)
        self._write(kept, json.dumps(found).encode())
        return found


def _package_info(path: Path, filename: str) -> bytes | None:
    """The PKG-INFO (PEP 643) of the sdist at ``path``; None when it has none that can be read. Raises OSError."""
    stem = sdist_stem(filename)
    ending = "" if stem is None else filename[len(stem) :].lower()
    try:
        if ending == ".zip":
            return _in_zip(path)
        unpack = next((unpack for unpack, endings in _OPENERS if ending in endings), None)
        return _in_tar(path, unpack) if unpack else None
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # of the disk, not of what is in the file
        return None


def _in_zip(path: Path) -> bytes | None:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        found = next((entry for entry in entries[:SDIST_ENTRIES] if _is_info(entry.filename)), None)
        if found is None or found.file_size > METADATA_BYTES:
            return None
        with archive.open(found) as stream:
            return stream.read(METADATA_BYTES)


def _in_tar(path: Path, unpack: Callable[[Path], Any]) -> bytes | None:
    with opened_sdist(path, unpack) as archive:
        for count, member in enumerate(archive):
            if count > SDIST_ENTRIES:
                return None
            if _is_info(member.name.removeprefix("./")) and member.isreg() and member.size <= METADATA_BYTES:
                content = archive.extractfile(member)
                return content.read() if content else None
    return None


def _is_info(name: str) -> bool:
    return name.count("/") == 1 and name.endswith("/PKG-INFO")
