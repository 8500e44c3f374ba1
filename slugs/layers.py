"""What the manifest of a layer says of its tree, and whether the tree still is that.

A manifest names every byte, and when each file was made: so whoever wrote to one of them is found without reading a
byte (:func:`changed`), and what the disk itself changed is found by reading all of them (:func:`damaged`).
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import stat
import uuid
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from core.files import sync_folder

Inode = tuple[int, int]  # a device and a number on it
_CHUNK = 1 << 20
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # renameat2(2)


class File(NamedTuple):
    """A file of a layer: its path, the sha256 of its content, its size in bytes, and whether it is a program."""

    path: str
    sha256: str
    size: int
    program: bool


@dataclass(frozen=True, slots=True)
class Content:
    """Everything in a tree but its folders: ``files``, and symbolic ``links`` as (path, goal); both sorted."""

    files: tuple[File, ...]
    links: tuple[tuple[str, str], ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def paths(self) -> frozenset[str]:
        return frozenset([*(file.path for file in self.files), *(path for path, _goal in self.links)])

    def to_json(self) -> dict[str, Any]:
        return {"files": self.files, "links": self.links}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Content:
        """The inverse of :meth:`to_json`; raises ValueError, KeyError or TypeError."""
        return cls(tuple(File(*entry) for entry in data["files"]), tuple((str(a), str(b)) for a, b in data["links"]))


def record(
    tree: Path, known: Mapping[Inode, File] = MappingProxyType({}), times: dict[str, int] | None = None
) -> Content:
    """Make the files of ``tree`` read-only, and name them all; those that are ``known`` already are not read.

    ``times`` gets when each was written last, in nanoseconds, by its path.
    """
    files: list[File] = []
    links: list[tuple[str, str]] = []
    for path, name in _entries(tree):
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            links.append((name, os.readlink(path)))  # noqa: PTH115 - see _entries
            continue
        if times is not None:
            times[name] = status.st_mtime_ns
        before = known.get((status.st_dev, status.st_ino))
        if before is not None:
            files.append(before._replace(path=name))
            continue
        program = bool(status.st_mode & stat.S_IXUSR)
        if stat.S_IMODE(status.st_mode) != (0o555 if program else 0o444):
            Path(path).chmod(0o555 if program else 0o444)
        files.append(File(name, sha256_of(path), status.st_size, program))
    return Content(tuple(sorted(files)), tuple(sorted(links)))


def stamp(tree: Path, content: Content, manifest: Path) -> None:
    """Give the files of ``tree`` the time of their ``manifest``."""
    time = manifest.stat().st_mtime_ns
    for file in content.files:
        os.utime(tree / file.path, ns=(time, time))


def changed(tree: Path, content: Content, times: Iterable[int], seen: dict[Inode, File] | None = None) -> Iterator[str]:
    """What in ``tree`` is not as ``content`` says, told by names, sizes, modes and ``times`` (ns): a line for each.

    ``seen`` gets the others, by what identifies them on this disk under whatever name.
    """
    top = f"{tree}/"
    for file, time in zip(content.files, times, strict=False):  # one time for all may come as a repeat() without end
        try:
            status = os.lstat(top + file.path)
        except (FileNotFoundError, NotADirectoryError):
            yield f"{file.path} is gone"
            continue
        except OSError as error:  # the disk's own fault, or a link in the place of a folder: the layer is made anew
            yield f"{file.path} cannot be looked at: {error.strerror}"
            continue
        mode = stat.S_IFREG | (0o555 if file.program else 0o444)
        if (status.st_mode, status.st_size, status.st_mtime_ns) != (mode, file.size, time):
            yield f"{file.path} was changed"
        elif seen is not None:
            seen[status.st_dev, status.st_ino] = file
    for path, goal in content.links:
        try:
            found = os.readlink(top + path)  # noqa: PTH115 - see _entries
        except OSError:
            found = ""
        if found != goal:
            yield f"{path} is not the link that it was"


def damaged(tree: Path, files: Iterable[File]) -> Iterator[str]:
    """Which of ``files`` have other bytes than they had: all of them are read."""
    top = f"{tree}/"
    for file in files:
        try:
            if sha256_of(top + file.path) != file.sha256:
                yield f"{file.path} has other bytes than it had"
        except OSError as error:
            yield f"{file.path} cannot be read: {error.strerror}"


def added(tree: Path, known: Set[str]) -> Iterator[str]:
    """What is in ``tree`` and not among the paths ``known``."""
    yield from (f"{name} was added" for _path, name in _entries(tree) if name not in known)


def _entries(tree: Path) -> Iterator[tuple[str, str]]:
    """All files and links in ``tree``, each with its path from there.

    Texts, here and wherever each file of a layer is looked at: there are thousands, and paths take ten times as long.
    """
    top = f"{tree}/"
    for folder, below, names in os.walk(tree):
        below.sort()
        links = [name for name in below if os.path.islink(f"{folder}/{name}")]  # noqa: PTH114 - see above
        for name in sorted([*names, *links]):
            path = f"{folder}/{name}"
            yield path, path.removeprefix(top)


def sha256_of(path: Path | str) -> str:
    """The sha256 of a file, 64 hex digits. A layer has thousands of small ones: each is one read, without a buffer."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        digest = hashlib.sha256()
        while data := os.read(descriptor, _CHUNK):
            digest.update(data)
        return digest.hexdigest()
    finally:
        os.close(descriptor)


def aside(place: Path, label: str) -> Path:
    """A name beside ``place`` for what is not finished, or on its way out; it begins with a dot and ``label``."""
    return place.with_name(f".{label}-{uuid.uuid4().hex}")


def publish(staged: Path, place: Path) -> bool:
    """Give the folder ``staged`` its name; False when something has that name already: it stays."""
    try:
        staged.rename(place)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    sync_folder(place.parent)
    return True


def exchange(staged: Path, place: Path) -> None:
    """Let two folders change their names at one moment: ``place`` is never away (renameat2(2), RENAME_EXCHANGE)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(_AT_FDCWD, os.fsencode(staged), _AT_FDCWD, os.fsencode(place), _RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(staged), None, str(place))
    sync_folder(place.parent)
