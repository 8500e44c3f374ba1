"""The packages of one node: each installed once, and linked into every environment that has it.

A package is a tree laid out as an environment is (``lib/python3.11/site-packages``, ``bin``, ...), with its bytecode.
Its key names the file it was installed from and the interpreter it was compiled for; its manifest names every byte.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import repeat
from pathlib import Path

from core.errors import DaeError
from core.files import remove_tree, write_atomically
from core.nouns import canonical_json, digest_of
from core.paths import Home
from slugs import layers
from slugs.layers import Content, File, Inode

_MANIFEST = "manifest.json"
_FORMAT = 1  # raised when the same file would give another tree than before


@dataclass(frozen=True, slots=True)
class Origin:
    """What a package was installed from: the release, the file's name, and the file's sha256.

    What was required by its address has that in the place of a name, so that it is never taken for a file of an index.
    """

    name: str
    version: str
    filename: str
    sha256: str

    @property
    def address(self) -> str:
        """Where it was fetched from; empty for what comes from an index."""
        return self.filename if "://" in self.filename else ""


@dataclass(frozen=True, slots=True)
class Installed:
    """A package of the store: its key, where it came from, and the digest of its manifest."""

    key: str
    origin: Origin
    manifest: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """A package's manifest as it lies on disk: what it says, its digest, and the time (ns) of the package's files."""

    origin: Origin
    content: Content
    digest: str
    time: int


def package_key(origin: Origin, interpreter: str) -> str:
    """The name (64 hex digits) of the package of a file for an interpreter.

    The file's name is part of it: where a wheel's data go depends on what it is called.
    """
    return digest_of(canonical_json(["package", _FORMAT, asdict(origin), interpreter]))


class PackageStore:
    """The packages under ``home``. What stands under a key is complete and never changes."""

    def __init__(self, home: Home, label: str = "new") -> None:
        """``label``: what the names of unfinished packages and environments begin with, so that they can be found."""
        self._home = home
        self._label = label

    def find(self, key: str) -> Installed | None:
        """The package of that key; None when it is not there, or not as it was made: it is then made again."""
        found = self.manifest(key)
        if found is None or any(layers.changed(self.tree(key), found.content, repeat(found.time))):
            return None
        return Installed(key, found.origin, found.digest)

    @contextmanager
    def adding(self, key: str, origin: Origin) -> Iterator[Path]:
        """A folder to make the package's tree in; on leaving it is published under ``key``, or removed on an error."""
        place = self._home.package(key)
        place.parent.mkdir(parents=True, exist_ok=True)
        staged = layers.aside(place, self._label)
        tree = staged / "tree"
        tree.mkdir(parents=True)
        held = os.open(staged, os.O_RDONLY | os.O_DIRECTORY)  # while it is open, no other folder gets its number
        try:
            yield tree
            if not os.path.samestat(staged.stat(), os.fstat(held)):  # swept away; the writer made another of that name
                raise DaeError("slug/damaged", f"{origin.filename} was removed while it was installed", "push again")
            content = layers.record(tree)
            manifest = {"origin": asdict(origin), **content.to_json()}
            write_atomically(staged / _MANIFEST, canonical_json(manifest), 0o444)
            layers.stamp(tree, content, staged / _MANIFEST)
            if not layers.publish(staged, place) and self.find(key) is None:  # what is there is damaged
                self.remove(key)
                layers.publish(staged, place)
        finally:
            os.close(held)
            remove_tree(staged)

    def damage(self, key: str) -> list[str]:
        """What of a package is not as it was made, every byte being read: a line for each; nothing when it is whole.

        A damaged package is removed: the next environment that needs it has it made anew.
        """
        found = self.manifest(key)
        told = ["its manifest is gone"]
        if found is not None:
            tree, content = self.tree(key), found.content
            sound = dict[Inode, File]()
            told = [*layers.changed(tree, content, repeat(found.time), sound)]
            told += [*layers.damaged(tree, sound.values()), *layers.added(tree, content.paths)]
        if told:
            self.remove(key)
        return told

    def manifest(self, key: str) -> Manifest | None:
        """What the manifest of a package says; None when it is not there or cannot be read."""
        place = self._home.package(key) / _MANIFEST
        try:
            found = place.stat()
            return _read(place, (found.st_dev, found.st_ino, found.st_ctime_ns, found.st_mtime_ns))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def tree(self, key: str) -> Path:
        """Where the package's files are."""
        return self._home.package(key) / "tree"

    def remove(self, key: str) -> None:
        """Remove a package; environments that were made of it keep its files."""
        place = self._home.package(key)
        doomed = layers.aside(place, self._label)
        try:
            place.rename(doomed)
        except FileNotFoundError:
            return  # somebody else did
        remove_tree(doomed)


@lru_cache(maxsize=128)
def _read(place: Path, identity: tuple[int, int, int, int]) -> Manifest:
    """A manifest as it is read; once, while the file is the same: each build asks for those of its environment."""
    data = place.read_bytes()
    facts = json.loads(data)
    return Manifest(Origin(**facts["origin"]), Content.from_json(facts), digest_of(data), identity[-1])
