"""The packages of one node: each installed once, and linked into every environment that has it.

A package is a tree laid out as an environment is (``lib/python3.11/site-packages``, ``bin``, ...), with its bytecode.
Its key names the file it was installed from and the interpreter it was compiled for; its manifest names every byte. An
environment is made of hard links: two that share a package share its bytes on disk and in the page cache.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import shutil
import stat
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.errors import DaeError
from core.files import remove_tree, sync_folder, write_atomically
from core.nouns import canonical_json, digest_of
from core.paths import Home

ENVIRONMENT_MANIFEST = "environment.json"
_FORMAT = 1  # raised when the same file would give another tree than before
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Origin:
    """What a package was installed from: the release, the file's name, and the file's sha256."""

    name: str
    version: str
    filename: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Installed:
    """A package of the store: its key, where it came from, and the digest of its manifest."""

    key: str
    origin: Origin
    manifest: str


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

    def remove_unfinished(self) -> None:
        """Remove what a writer with this store's label, who was killed, left."""
        for folder in (self._home.packages, self._home.environments):
            for entry in folder.glob(f".{self._label}-*"):
                remove_tree(entry)

    def find(self, key: str) -> Installed | None:
        """The package of that key; None when it is not there or its manifest is damaged: it is then made again."""
        try:
            data = (self._home.package(key) / "manifest.json").read_bytes()
            return Installed(key, Origin(**json.loads(data)["origin"]), digest_of(data))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    @contextmanager
    def adding(self, key: str, origin: Origin) -> Iterator[Path]:
        """A folder to make the package's tree in; on leaving it is published under ``key``, or removed on an error."""
        place = self._home.package(key)
        place.parent.mkdir(parents=True, exist_ok=True)
        staged = place.with_name(f".{self._label}-{uuid.uuid4().hex}")
        tree = staged / "tree"
        tree.mkdir(parents=True)
        held = os.open(staged, os.O_RDONLY | os.O_DIRECTORY)  # while it is open, no other folder gets its number
        try:
            yield tree
            if not os.path.samestat(staged.stat(), os.fstat(held)):  # swept away; the writer made another of that name
                raise DaeError("slug/damaged", f"{origin.filename} was removed while it was installed", "push again")
            files, links = _sealed(tree)
            manifest = {"origin": asdict(origin), "files": files, "links": links}
            write_atomically(staged / "manifest.json", canonical_json(manifest), 0o444)
            if not _publish(staged, place) and self.find(key) is None:  # what is there is damaged
                self._set_aside(key)
                _publish(staged, place)
        finally:
            os.close(held)
            remove_tree(staged)

    def assemble(self, digest: str, packages: Sequence[Installed]) -> Path:
        """Make the environment ``digest`` of links to ``packages`` and return its place; of two files the later wins.

        When it is there already, that one stays. Raises ``slug/damaged`` when a package is gone.
        """
        place = self._home.environment(digest)
        place.parent.mkdir(parents=True, exist_ok=True)
        staged = place.with_name(f".{self._label}-{uuid.uuid4().hex}")
        try:
            staged.mkdir()
            folders = {staged}
            for package in packages:
                self._link(package, staged, folders)
            facts = {"packages": [[package.key, package.manifest, asdict(package.origin)] for package in packages]}
            write_atomically(staged / ENVIRONMENT_MANIFEST, canonical_json(facts), 0o444)
            for folder in folders:
                folder.chmod(0o555)
            _publish(staged, place)
        finally:
            remove_tree(staged)
        return place

    def contents(self, digest: str) -> tuple[Origin, ...]:
        """What the environment ``digest`` is made of, the empty environment aside; nothing when that is not known."""
        try:
            facts = json.loads((self._home.environment(digest) / ENVIRONMENT_MANIFEST).read_bytes())
            return tuple(Origin(**entry[2]) for entry in facts["packages"] if entry[2]["sha256"])
        except (FileNotFoundError, ValueError, KeyError, TypeError, IndexError):
            return ()

    def _link(self, package: Installed, into: Path, folders: set[Path]) -> None:
        source = self._home.package(package.key)
        try:
            manifest: dict[str, Any] = json.loads((source / "manifest.json").read_bytes())
            # Sources first: placing one removes the bytecode of the one that it replaces.
            for path, *_facts in sorted(manifest["files"], key=lambda entry: "__pycache__" in entry[0]):
                target = into / path
                _make(target.parent, folders)
                _place(source / "tree" / path, target)
            for path, goal in manifest["links"]:
                target = into / path
                _make(target.parent, folders)
                target.unlink(missing_ok=True)
                target.symlink_to(goal)
        except FileNotFoundError as error:
            if not into.is_dir():
                raise DaeError("slug/damaged", "the environment was removed while it was made", "push again") from error
            self._set_aside(package.key)  # the next push makes it anew
            cause = f"the package {package.origin.filename} was not whole: a file of it is gone"
            raise DaeError("slug/damaged", cause, "push again: it is installed anew") from error
        except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
            shown = ascii(str(error.filename2 or error.filename).removeprefix(f"{into}/"))[1:-1]
            cause = f"{package.origin.filename} and another package disagree whether {shown} is a file or a folder"
            raise DaeError("build/install-failed", cause, "require only one of the two") from error

    def _set_aside(self, key: str) -> None:
        doomed = self._home.package(key).with_name(f".{self._label}-{uuid.uuid4().hex}")
        try:
            self._home.package(key).rename(doomed)
        except FileNotFoundError:
            return  # somebody else did
        remove_tree(doomed)


def _make(folder: Path, known: set[Path]) -> None:
    if folder not in known:
        _make(folder.parent, known)
        folder.mkdir(exist_ok=True)
        known.add(folder)


def _place(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        target.unlink()
        if target.suffix == ".py":  # bytecode is not checked against its source: that of another file must not stay
            for compiled in (target.parent / "__pycache__").glob(f"{glob.escape(target.stem)}.*.pyc"):
                compiled.unlink()
        _place(source, target)
    except OSError as error:
        if error.errno != errno.EMLINK:
            raise
        shutil.copy2(source, target)  # a file has as many names as the file system lets it have


def _sealed(tree: Path) -> tuple[list[list[Any]], list[list[str]]]:
    """Everything in ``tree``, whose files are read-only from now on: [path, sha256, bytes, is a program], links."""
    files: list[list[Any]] = []
    links: list[list[str]] = []
    for folder, below, names in os.walk(tree):
        below.sort()
        for name in sorted([*names, *(entry for entry in below if (Path(folder) / entry).is_symlink())]):
            path = Path(folder) / name
            shown = str(path.relative_to(tree))
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                links.append([shown, str(path.readlink())])
                continue
            program = bool(status.st_mode & stat.S_IXUSR)
            path.chmod(0o555 if program else 0o444)
            files.append([shown, _sha256(path), status.st_size, program])
    return sorted(files), sorted(links)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _publish(staged: Path, place: Path) -> bool:
    """Give ``staged`` its name; False when something has that name already: it stays."""
    try:
        staged.rename(place)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    sync_folder(place.parent)
    return True
