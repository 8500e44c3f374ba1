"""The environments of one node: trees of hard links to packages, which two that share a package share.

What runs in an environment runs in files that nobody may write to; what was changed in spite of that is found, and the
environment replaced at one moment.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path, PurePosixPath
from typing import Any

from core.errors import DaeError
from core.files import remove_tree, write_atomically
from core.nouns import canonical_json
from core.paths import Home
from slugs import layers
from slugs.layers import Content, File, Inode
from slugs.looks import Look
from slugs.packages import Installed, Origin, PackageStore

ENVIRONMENT_MANIFEST = "environment.json"
_CACHE = "__pycache__"


@dataclass(frozen=True, slots=True)
class Environment:
    """What an environment is made of: its packages in order, and the lock that it was made of."""

    packages: tuple[Installed, ...]
    lock: str

    def to_json(self) -> dict[str, Any]:
        packages = [[package.key, package.manifest, asdict(package.origin)] for package in self.packages]
        return {"packages": packages, "lock": self.lock}

    @property
    def origins(self) -> tuple[Origin, ...]:
        """Where its packages come from, the empty environment aside."""
        return tuple(package.origin for package in self.packages if package.origin.sha256)


class EnvironmentStore:
    """The environments under ``home``. One that stands under its digest is complete."""

    def __init__(self, home: Home, label: str = "new") -> None:
        """``label``: what the names of unfinished environments and packages begin with, so that they can be found."""
        self._home = home
        self._label = label
        self._packages = PackageStore(home, label)

    def remove_unfinished(self) -> None:
        """Remove what a writer of this label, who was killed, left: environments, and packages."""
        for folder in (self._home.packages, self._home.environments):
            for entry in folder.glob(f".{self._label}-*"):
                remove_tree(entry)

    def assemble(self, digest: str, packages: Sequence[Installed], lock: str = "") -> Path:
        """Make the environment ``digest`` of links to ``packages`` and return its place; of two files the later wins.

        When it is there already and whole, that one stays; a damaged one is replaced at one moment, so that what runs
        in it never looks for a file in vain. ``lock``: what the packages were chosen by; it is kept in the manifest.
        Raises ``slug/damaged`` when a package is gone, ``build/install-failed`` when two do not fit together.
        """
        place = self._home.environment(digest)
        place.parent.mkdir(parents=True, exist_ok=True)
        staged = layers.aside(place, self._label)
        try:
            staged.mkdir()
            folders = {staged}
            made = Environment(tuple(packages), lock)
            for part in self._needed(made):
                self._fill(part, staged, folders)
            write_atomically(staged / ENVIRONMENT_MANIFEST, canonical_json(made.to_json()), 0o444)
            for folder in folders:
                folder.chmod(0o555)
            if not layers.publish(staged, place) and self.faults(digest):
                layers.exchange(staged, place)
        finally:
            remove_tree(staged)
        return place

    def environment(self, digest: str) -> Environment | None:
        """What the environment ``digest`` is made of; None when it is not there, or that cannot be told."""
        try:
            facts = json.loads((self._home.environment(digest) / ENVIRONMENT_MANIFEST).read_bytes())
            packages = [Installed(key, Origin(**origin), manifest) for key, manifest, origin in facts["packages"]]
            return Environment(tuple(packages), str(facts["lock"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def contents(self, digest: str) -> tuple[Origin, ...]:
        """Where the packages of the environment ``digest`` come from; nothing when that is not known."""
        found = self.environment(digest)
        return found.origins if found else ()

    def faults(self, digest: str, look: Look | None = None) -> list[str]:
        """What of an environment is not as it was made, no byte being read; nothing when it is whole.

        ``look``: one that was begun at it, and may spare looking at each file.
        """
        place = self._home.environment(digest)
        if look is not None and look.tree == place and look.unchanged():
            return []
        parts = self._parts(self.environment(digest))
        if parts is None:
            return ["a manifest is gone"]
        found = [line for part in parts for line in layers.changed(place, part.content, repeat(part.time))]
        if look is not None and look.tree == place and not found:
            look.remember()
        return found

    def damage(self, digest: str) -> list[str]:
        """The same, every byte being read that is not one of a package's: for those see :meth:`PackageStore.damage`."""
        parts = self._parts(self.environment(digest))
        if parts is None:
            return ["a manifest is gone"]
        place, known, told = self._home.environment(digest), {ENVIRONMENT_MANIFEST}, list[str]()
        for part in parts:
            sound = dict[Inode, File]()
            told += layers.changed(place, part.content, repeat(part.time), sound)
            top = f"{self._packages.tree(part.package.key)}/"
            told += layers.damaged(place, [file for inode, file in sound.items() if _inode(top + file.path) != inode])
            known |= part.content.paths
        return told + list(layers.added(place, known))

    def refuse(self, digest: str) -> None:
        """Have a damaged environment count as damaged from now on, for whoever does not read its bytes."""
        place = self._home.environment(digest)
        place.chmod(0o755)
        (place / ENVIRONMENT_MANIFEST).unlink(missing_ok=True)
        place.chmod(0o555)

    def size(self, digest: str) -> int:
        """Bytes of the files of an environment, wherever else they are linked to; 0 when it is not known."""
        return sum(part.content.size for part in self._parts(self.environment(digest)) or ())

    def _parts(self, environment: Environment | None) -> list[_Part] | None:
        """What each package brings to an environment; None when one of them is not the package it was made of."""
        parts = []
        for package in environment.packages if environment else ():
            found = self._packages.manifest(package.key)
            if found is None or found.digest != package.manifest:
                return None
            parts.append(_Part(package, found.content, found.time))
        return _share_out(parts) if environment else None

    def _needed(self, environment: Environment) -> list[_Part]:
        parts = self._parts(environment)
        if parts is None:
            raise DaeError("slug/damaged", "a package was removed while an environment was made of it", "push again")
        return parts

    def _fill(self, part: _Part, into: Path, folders: set[Path]) -> None:
        """Link what a package brings; raises ``slug/damaged`` and ``build/install-failed``."""
        try:
            self._link(part, into, folders)
        except FileNotFoundError as error:
            if not into.is_dir():
                raise DaeError("slug/damaged", "the environment was removed while it was made", "push again") from error
            self._packages.remove(part.package.key)  # the next push makes it anew
            cause = f"a package was not whole: {_shown(error.filename)} of it is gone"
            raise DaeError("slug/damaged", cause, "push again: it is installed anew") from error
        except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
            shown = _shown(str(error.filename2 or error.filename).removeprefix(f"{into}/"))
            cause = f"{part.package.origin.filename} and another package disagree whether {shown} is a file or a folder"
            raise DaeError("build/install-failed", cause, "require only one of the two") from error

    def _link(self, part: _Part, into: Path, folders: set[Path]) -> None:
        source = self._packages.tree(part.package.key)
        for file in part.content.files:
            target = into / file.path
            _make(target.parent, folders)
            _place(source / file.path, target)
        for path, goal in part.content.links:
            target = into / path
            _make(target.parent, folders)
            target.symlink_to(goal)


@dataclass(frozen=True, slots=True)
class _Part:
    """What a package brings to an environment, and the time (ns) of its files."""

    package: Installed
    content: Content
    time: int


def _share_out(parts: Sequence[_Part]) -> list[_Part]:
    """Of files that several packages bring, only the last one is left, in its package.

    Bytecode is not checked against its source when it is imported: that of a source which was replaced goes too.
    """
    owner: dict[str, int] = {}
    for number, part in enumerate(parts):
        for path in sorted(part.content.paths, key=_is_bytecode):  # sources first: then their bytecode may come
            if path in owner and path.endswith(".py"):
                for stale in [other for other in owner if _is_bytecode_of(other, path)]:
                    del owner[stale]
            owner[path] = number
    return [
        _Part(
            part.package,
            Content(
                tuple(file for file in part.content.files if owner.get(file.path) == number),
                tuple(link for link in part.content.links if owner.get(link[0]) == number),
            ),
            part.time,
        )
        for number, part in enumerate(parts)
    ]


def _is_bytecode(path: str) -> bool:
    return _CACHE in path


def _is_bytecode_of(path: str, source: str) -> bool:
    """Whether ``path`` is ``__pycache__/NAME.TAG.pyc`` beside the ``source`` NAME.py."""
    if not _is_bytecode(path):
        return False
    folder, _, name = path.rpartition("/")
    beside = PurePosixPath(source)
    return folder == str(beside.parent / _CACHE) and name.startswith(f"{beside.stem}.") and name.endswith(".pyc")


def _make(folder: Path, known: set[Path]) -> None:
    if folder not in known:
        _make(folder.parent, known)
        folder.mkdir(exist_ok=True)
        known.add(folder)


def _place(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno != errno.EMLINK:
            raise
        shutil.copy2(source, target)  # a file has as many names as the file system lets it have


def _inode(path: str) -> Inode | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _shown(path: str) -> str:
    return ascii(path)[1:-1]
