"""Classic buildpacks as an operator has them: a folder with one subfolder each. No commit names a path.

A buildpack is known by the digest of what it consists of, and copied into each build: what is under way is not changed
by an operator who updates it, and no build can change what others get.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import DaeError
from core.nouns import BUILDPACK_NAME

#: The platform's own, by name, as slugs call them. A version is raised when the same commit would be built otherwise.
OWN = {"python": "python/3", "static": "static/1"}
DIGITS = 16  # of a buildpack's digest in a slug
_VERSIONS = frozenset({".git"})  # the operator's checkout moves on without the files being others


@dataclass(frozen=True, slots=True)
class Pack:
    """A classic buildpack, where it is installed, and the digest (64 hex digits) of its content."""

    name: str
    place: Path
    digest: str


@dataclass(frozen=True, slots=True)
class Chosen:
    """The buildpacks of a commit in their order: names of the platform's own, and classic ones."""

    names: tuple[str, ...]
    classic: tuple[Pack, ...] = ()

    @property
    def text(self) -> str:
        """How a slug names them, see :class:`core.nouns.Slug`."""
        known = {pack.name: f"{pack.name}@{pack.digest[:DIGITS]}" for pack in self.classic}
        return "+".join(OWN.get(name) or known[name] for name in self.names)


def names_in(text: str) -> tuple[str, ...]:
    """The names that :attr:`Chosen.text` was made of.

    >>> names_in("node@0123456789abcdef+python/3")
    ('node', 'python')
    """
    return tuple(part.partition("@")[0].partition("/")[0] for part in text.split("+"))


def choose(folder: Path, names: Sequence[str]) -> Chosen:
    """The buildpacks of these names, the classic ones among those in ``folder``; raises ``build/unknown-buildpack``."""
    wanted = [name for name in names if name not in OWN]
    try:
        there = _installed(folder) if wanted else {}
        for name in wanted:
            if name not in there:
                listed = ", ".join(sorted([*OWN, *there]))
                raise DaeError(
                    "build/unknown-buildpack", f"there is no buildpack {name[:60]!a}", f"there are: {listed}"
                )
        return Chosen(tuple(names), tuple(Pack(name, there[name], _digest(there[name])) for name in wanted))
    except OSError as error:
        cause = f"the operator's buildpacks cannot be read: {error.strerror}"
        raise DaeError("build/unknown-buildpack", cause, f"the operator types: chmod -R a+rX {folder}") from error


def copy(pack: Pack, place: Path) -> None:
    """Copy a buildpack to ``place``, where its programs can be run; raises ``build/failed`` when it just changed."""
    shutil.copytree(pack.place, place, symlinks=True, ignore=lambda folder, _names: _left_out(pack.place, folder))
    if _digest(place) != pack.digest:
        raise DaeError("build/failed", f"the buildpack {pack.name} was changed just now", "push again")
    for program in (place / "bin").iterdir():
        if program.is_file() and not program.is_symlink():
            program.chmod(0o755)


def _installed(folder: Path) -> dict[str, Path]:
    """A subfolder with ``bin/detect`` and ``bin/compile`` is a buildpack; the names of our own stay ours."""
    try:
        entries = sorted(folder.iterdir())
    except FileNotFoundError:
        return {}
    return {
        entry.name: entry
        for entry in entries
        if BUILDPACK_NAME.match(entry.name) and entry.name not in OWN and not entry.is_symlink()
        if all((entry / "bin" / program).is_file() for program in ("detect", "compile"))
    }


def _left_out(top: Path, folder: str) -> frozenset[str]:
    return _VERSIONS if Path(folder) == top else frozenset()


def _digest(place: Path) -> str:
    """The sha256 of a buildpack's names, modes, bytes; raises ``build/unknown-buildpack`` when others can write it."""
    digest = hashlib.sha256()
    for path, found in _entries(place):
        name = os.fsencode(path.relative_to(place))
        if found.st_uid not in (0, os.geteuid()) or (found.st_mode & stat.S_IWOTH and not path.is_symlink()):
            cause = f"the buildpack {place.name} is not the operator's alone: others can write {os.fsdecode(name)!a}"
            raise DaeError("build/unknown-buildpack", cause, "the operator types: chown -R root, chmod -R o-w")
        if stat.S_ISLNK(found.st_mode):
            content = b"link " + hashlib.sha256(os.fsencode(path.readlink())).digest()
        elif stat.S_ISREG(found.st_mode):
            program = found.st_mode & stat.S_IXUSR
            content = (b"program " if program else b"file ") + hashlib.sha256(path.read_bytes()).digest()
        else:
            continue
        digest.update(b"%d %s %s\n" % (len(name), name, content))
    return digest.hexdigest()


def _entries(place: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Everything in a buildpack, its own folder first, in one order."""
    yield place, place.lstat()
    for folder, folders, files in os.walk(place):
        if Path(folder) == place:
            folders[:] = [name for name in folders if name not in _VERSIONS]
        folders.sort()
        for name in sorted([*folders, *files]):
            path = Path(folder, name)
            yield path, path.lstat()
