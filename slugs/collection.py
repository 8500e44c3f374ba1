"""Mark and sweep: what no slug that is kept needs is moved aside while nobody builds, and removed afterwards.

The order is that of the references: manifests, code, environments, packages. Whoever is killed in between leaves layers
that nothing names, which the next collection finds; what is already aside, :meth:`SlugStore.sweep` removes.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from core.errors import DaeError
from core.files import remove_tree
from core.nouns import Slug
from slugs.environments import EnvironmentStore
from slugs.store import SlugStore


@dataclass(frozen=True, slots=True)
class Garbage:
    """What can go: paths of each kind. A code layer's path stands for its manifest, too."""

    slugs: tuple[Path, ...]
    codes: tuple[Path, ...]
    environments: tuple[Path, ...]
    packages: tuple[Path, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How much of each kind."""
        return {
            "slugs": len(self.slugs),
            "codes": len(self.codes),
            "environments": len(self.environments),
            "packages": len(self.packages),
        }


def mark(store: SlugStore, keep: Iterable[tuple[str, str]], environments: Iterable[str] = ()) -> Garbage:
    """What none of the slugs in ``keep``, pairs of app and digest, needs, and none of these ``environments``.

    Only while nobody builds.

    Raises ``slug/damaged`` when the manifest of one that is kept cannot be read: what it needs is then not known.
    """
    needed = _Needed(store)
    for app, digest in keep:
        needed.add(app, digest)
    for name in environments:
        needed.add_environment(name)
    home = store.home
    return Garbage(
        slugs=tuple(path for path in _entries(home.slugs) if path.stem not in needed.slugs),
        codes=tuple(
            path
            for folder in _entries(home.codes)
            for path in _entries(folder)
            if path.suffix != ".json" and (folder.name, path.name) not in needed.codes
        ),
        environments=tuple(path for path in _entries(home.environments) if path.name not in needed.environments),
        packages=tuple(path for path in _entries(home.packages) if path.name not in needed.packages),
    )


def set_aside(garbage: Garbage) -> list[Path]:
    """Give everything of ``garbage`` a name that nobody looks for; returns the new names. Only while nobody builds."""
    aside, codes = [], set(garbage.codes)
    for path in (*garbage.slugs, *garbage.codes, *garbage.environments, *garbage.packages):
        doomed = path.with_name(f".{uuid.uuid4().hex}")
        with suppress(FileNotFoundError):  # its app was destroyed meanwhile
            if path in codes:  # first: a layer without a manifest is found again, a manifest without a layer is not
                path.with_name(f"{path.name}.json").unlink(missing_ok=True)
            path.rename(doomed)
            aside.append(doomed)
    return aside


def remove(aside: Iterable[Path]) -> int:
    """Remove what was set aside; returns the bytes that the disk has back."""
    freed = 0
    for path in aside:
        freed += sum(_last_name_bytes(entry) for entry in (path, *path.rglob("*")))
        remove_tree(path)
        time.sleep(0)  # others have their turn
    return freed


class _Needed:
    def __init__(self, store: SlugStore) -> None:
        self._store = store
        self._made_of = EnvironmentStore(store.home)
        self.slugs: set[str] = set()
        self.codes: set[tuple[str, str]] = set()
        self.environments: set[str] = set()
        self.packages: set[str] = set()

    def add(self, app: str, digest: str) -> None:
        self.slugs.add(digest)
        try:
            slug: Slug = self._store.load(digest)
        except DaeError as error:
            if error.code != "slug/unknown":
                raise
            return  # it was removed when the policy kept less than now
        self.codes.add((app, slug.code))
        self.add_environment(slug.environment)

    def add_environment(self, name: str) -> None:
        if name not in self.environments:
            self.environments.add(name)
            found = self._made_of.environment(name)
            self.packages.update(package.key for package in (found.packages if found else ()))


def _entries(folder: Path) -> Iterator[Path]:
    """What stands in a folder under a name of its own, sorted."""
    if folder.is_dir():
        yield from (path for path in sorted(folder.iterdir()) if not path.name.startswith("."))


def _last_name_bytes(path: Path) -> int:
    """What the disk gets back when this name goes: nothing while the file has another one."""
    status = path.lstat()
    return status.st_blocks * 512 if path.is_dir() or status.st_nlink == 1 else 0
