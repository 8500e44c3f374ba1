"""From a lock to files: which file of each locked release this interpreter takes, and a wheel unpacked.

Installing a wheel runs nothing of it, so the platform does it itself, with a library that installs wheels (PEP 427) and
nothing else. What has no wheel is built into one before, in an account of its own.
"""

from __future__ import annotations

import errno
import io
import os
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO

import installer
from installer.destinations import SchemeDictionaryDestination
from installer.records import RecordEntry
from installer.scripts import Script
from installer.sources import WheelFile
from installer.utils import Scheme
from packaging.tags import Tag, parse_tag
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from buildpacks import locks
from buildpacks.index import IndexFile
from buildpacks.interpreters import Interpreter
from core.errors import DaeError, no_room
from core.layout import is_foreign

if TYPE_CHECKING:
    from installer.scripts import ScriptSection

ENTRIES = 100_000  # files and folders
UNPACKED_BYTES = 4 << 30
METADATA_BYTES = 16 << 20  # of a file that is read into memory as a whole
SCRIPT_BYTES = 4 << 20
DEPTH, PATH_BYTES, NAME_BYTES = 60, 1000, 240
_HOST = (errno.EIO, errno.EMFILE, errno.ENFILE, errno.EROFS)

# Shell and Python both read it: sh runs the python beside the script, Python sees a string (uv's relocatable form).
TRAMPOLINE = b"""#!/bin/sh
'''exec' "$(dirname -- "$(realpath -- "$0")")"/'python' "$0" "$@"
' '''
"""


@dataclass(frozen=True, slots=True)
class Choice:
    """The file that is installed for one locked release."""

    name: str
    version: str
    file: IndexFile

    @property
    def is_direct(self) -> bool:
        """Whether it comes from an address: that is what the file is called then, as no file of an index is."""
        return not self.file.url

    @property
    def is_wheel(self) -> bool:
        return not self.is_direct and self.file.filename.endswith(".whl")

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Choice:
        """The inverse of ``dataclasses.asdict``."""
        return cls(fields["name"], fields["version"], IndexFile(**fields["file"]))


def direct(release: locks.Release) -> Choice:
    """What is installed for a locked release that comes from an address; raises ``build/failed``."""
    if release.source is None or len(release.hashes) != 1:
        raise DaeError(
            "build/failed", f"the lock does not say which {release.name} is meant", "change the requirements"
        )
    file = IndexFile(release.source.address, "", release.hashes[0].removeprefix("sha256:"))
    return Choice(release.name, release.version, file)


def fits(filename: str, tags: Sequence[str]) -> bool:
    """Whether the wheel of that name is for an interpreter with these tags; raises InvalidWheelFilename."""
    return not parse_wheel_filename(filename)[3].isdisjoint(tag for text in tags for tag in parse_tag(text))


def choose(release: locks.Release, files: Iterable[IndexFile], tags: Sequence[str]) -> Choice:
    """The best file of a locked release: the wheel whose tag stands first in ``tags``, else a source distribution.

    Only files with a hash of the lock count; two wheels of one tag are told apart by their build numbers. Raises
    ``build/install-failed`` when none is left.
    """
    rank = {parsed: number for number, tag in enumerate(tags) for parsed in parse_tag(tag)}
    allowed = {value.removeprefix("sha256:") for value in release.hashes}
    here = [file for file in files if file.sha256 in allowed]
    wheels = [(score, file) for file in here if (score := _score(release, file.filename, rank)) is not None]
    if wheels:
        return Choice(release.name, release.version, max(wheels, key=lambda pair: pair[0])[1])
    sources = sorted((f for f in here if _is_source(release, f.filename)), key=lambda f: f.filename.endswith(".zip"))
    if sources:
        return Choice(release.name, release.version, sources[0])
    what = f"{release.name} {release.version}"
    if here:
        names = ", ".join(sorted(file.filename for file in here)[:3])
        hint = "require a version that has a wheel for this Python, or another 'runtime'"
        cause = f"no file of {what} fits this Python and machine; there is {names}"
        raise DaeError("build/install-failed", cause, hint)
    cause = f"the index has no file of {what} with a hash of the lock"
    hint = "have it locked again: change the requirements file, or make the committed lock anew"
    raise DaeError("build/install-failed", cause, hint)


def _score(release: locks.Release, filename: str, rank: Mapping[Tag, int]) -> tuple[int, tuple[int, str], str] | None:
    """How good a wheel is, the greater the better; None when it is not one of the release for this interpreter."""
    try:
        name, version, build, tags = parse_wheel_filename(filename)
    except InvalidWheelFilename:
        return None
    places = [rank[tag] for tag in tags if tag in rank]
    if not places or not _is_of(release, name, version):
        return None
    return -min(places), (build[0], build[1]) if build else (-1, ""), filename


def _is_source(release: locks.Release, filename: str) -> bool:
    try:
        return _is_of(release, *parse_sdist_filename(filename))
    except InvalidSdistFilename:
        return False


def _is_of(release: locks.Release, name: str, version: Version) -> bool:
    try:
        return canonicalize_name(name) == release.name and version == Version(release.version)
    except InvalidVersion:
        return False


def unpack(wheel: Path, release: locks.Release, tree: Path, interpreter: Interpreter) -> None:
    """Install the wheel into the folder ``tree``, which is laid out as an environment; no bytecode, nothing is run.

    Nothing is written outside ``tree`` whatever the wheel holds. Raises ``build/install-failed`` when it is not a wheel
    of ``release``, or one that cannot be installed.
    """
    packages = tree / "lib" / f"python{interpreter.series}" / "site-packages"
    packages.mkdir(parents=True)
    headers = tree / "include" / "site" / f"python{interpreter.series}" / release.name
    folders = {"purelib": packages, "platlib": packages, "scripts": tree / "bin", "headers": headers, "data": tree}
    destination = _Destination({scheme: str(folder) for scheme, folder in folders.items()}, "python", "posix")
    try:
        _check(wheel, release)
        with WheelFile.open(wheel) as source, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of bytecode that the wheel brings: it is left out
            installer.install(source, destination, {"INSTALLER": b"dae\n"})
    except Exception as error:  # there is no end to what is wrong with wheels that somebody made to be wrong
        if full := no_room(error):
            raise full from error
        if isinstance(error, OSError) and error.errno in _HOST:
            raise DaeError(
                "build/failed", f"{error.strerror}", "the operator has to look at the node's disk"
            ) from error
        reason = ascii(
            str(error).replace(f"{tree}/", "").replace(f"{wheel.parent}/", "")[:200] or type(error).__name__
        )[1:-1]
        cause = f"{ascii(wheel.name)[1:-1]} is not a wheel that can be installed: {reason}"
        raise DaeError("build/install-failed", cause, "require another version of it") from None
    _refuse_foreign(tree, wheel.name)


def _check(wheel: Path, release: locks.Release) -> None:
    name, version = parse_wheel_filename(wheel.name)[:2]
    if not _is_of(release, name, version):
        raise ValueError(f"it is not {release.name} {release.version}")
    with zipfile.ZipFile(wheel) as archive:
        entries = archive.infolist()
    folders: set[PurePosixPath] = set()
    for entry in entries:
        path = PurePosixPath(entry.filename)
        sizes = [len(os.fsencode(part)) for part in path.parts]
        if len(sizes) > DEPTH or sum(sizes) + len(sizes) > PATH_BYTES or max(sizes, default=0) > NAME_BYTES:
            raise ValueError("it holds a path that is too long")
        if path.parts[:1] and path.parts[0].endswith(".dist-info") and entry.file_size > METADATA_BYTES:
            raise ValueError("its metadata is too large")
        folders.update(path.parents)
    size = sum(entry.file_size for entry in entries)
    if len(entries) + len(folders) > ENTRIES or size > UNPACKED_BYTES:
        raise ValueError("it holds more than any package should")


def _refuse_foreign(tree: Path, wheel: str) -> None:
    """What makes an environment one is not a package's to bring: its interpreter and its configuration."""
    found = [path for where in ("*", "bin/*", "lib/*", "lib/*/*") for path in tree.glob(where)]
    names = [f"{path.relative_to(tree).as_posix()}{'/' if path.is_dir() else ''}" for path in found]
    wrong = [name.rstrip("/") for name in names if is_foreign(name)]
    if wrong:
        cause = f"{ascii(wheel)[1:-1]} would replace {ascii(wrong[0])[1:-1]} of the environment"
        raise DaeError("build/install-failed", cause, "require another version of it")


class _Destination(SchemeDictionaryDestination):
    """Console scripts find the Python beside themselves: a tree stands in many places, and in none of them yet."""

    def write_script(self, name: str, module: str, attr: str, section: ScriptSection) -> RecordEntry:
        body = Script(name, module, attr, section).generate("python", "posix")[1]
        return self._script(name, body.partition(b"\n")[2])

    def write_file(
        self, scheme: Scheme, path: str | os.PathLike[str], stream: BinaryIO, is_executable: bool
    ) -> RecordEntry:
        if scheme == "scripts" and stream.read(8) == b"#!python":
            stream.seek(0)
            data = stream.read(SCRIPT_BYTES + 1)
            if len(data) > SCRIPT_BYTES:
                raise ValueError("it holds a script that is too large")
            return self._script(os.fspath(path), data.partition(b"\n")[2])
        stream.seek(0)
        return self.write_to_fs(scheme, os.fspath(path), stream, is_executable)

    def _script(self, name: str, body: bytes) -> RecordEntry:
        return self.write_to_fs(Scheme("scripts"), name, io.BytesIO(TRAMPOLINE + body), is_executable=True)
