"""The layers and slugs of one node. What is in here is complete, named by its digest, and never changes again.

A tree is moved in under a name that begins with a dot, made read-only there, and renamed: whoever looks sees all of a
layer or none of it, whenever the process may be killed. What a killed process left, :meth:`SlugStore.sweep`
removes. The manifest of a code layer lies beside it; a layer without one is not whole, and is made again.
"""

from __future__ import annotations

import fcntl
import grp
import json
import os
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from core.cooperative import take_flock
from core.errors import DaeError
from core.files import remove_tree, sync_folder, write_atomically
from core.nouns import Slug, canonical_json, digest_of
from core.paths import Home
from slugs import layers, trees
from slugs.environments import EnvironmentStore
from slugs.layers import Content, File, Inode
from slugs.looks import Look

MANIFEST_CAP = 4 << 20  # bytes
_AGAIN = "push the commit again"
_POLL = 0.05

Check = Callable[[], None]


@dataclass(frozen=True, slots=True)
class CodeLayer:
    """A code layer that is whole: its place, what it consists of, its files by what identifies them on this disk."""

    place: Path
    content: Content
    files: Mapping[Inode, File]


class SlugStore:
    """Environment layers (shared by apps), code layers (one folder per app) and manifests under ``home``."""

    def __init__(self, home: Home) -> None:
        self.home = home

    # --- who works here

    @contextmanager
    def in_use(self, check: Check = lambda: None) -> Iterator[None]:
        """Keep everything that is there, named by something yet or not, until the block ends; many may at once.

        ``check`` is called while it waits for somebody who works :meth:`alone`.
        """
        with self._held(fcntl.LOCK_SH, check):
            yield

    @contextmanager
    def alone(self, check: Check = lambda: None) -> Iterator[None]:
        """Wait until nobody uses the store, and let nobody begin to until the block ends."""
        with self._held(fcntl.LOCK_EX, check):
            yield

    @contextmanager
    def _held(self, how: int, check: Check) -> Iterator[None]:
        """flock(2) on the layers' folder."""
        folder = self.home.environments.parent
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            take_flock(descriptor, how, every=_POLL, meanwhile=check)
            yield
        finally:
            os.close(descriptor)

    # --- layers

    def environment_faults(self, digest: str, look: Look | None = None) -> list[str]:
        """What keeps the environment of that digest from being used, a line for each; nothing when it is whole.

        ``look``: one that was begun at it, if there is one. Raises ``slug/unknown`` when it is not a digest.
        """
        return EnvironmentStore(self.home).faults(digest, look)

    def code_faults(self, app: str, code: str) -> list[str]:
        """The same of a code layer of ``app``."""
        found = self._code_manifest(app, code)
        if found is None:
            return ["its manifest is gone"]
        return list(layers.changed(self.home.code(app, code), *found))

    def code_damage(self, app: str, code: str) -> list[str]:
        """The same, every byte being read."""
        found, place = self._code_manifest(app, code), self.home.code(app, code)
        if found is None:
            return ["its manifest is gone"]
        content, times = found
        sound = dict[Inode, File]()  # each fault is told once: what was changed is not read as well
        told = [*layers.changed(place, content, times, sound), *layers.damaged(place, sound.values())]
        return [*told, *layers.added(place, content.paths)]

    def refuse_code(self, app: str, code: str) -> None:
        """Have a damaged code layer count as damaged from now on, for whoever does not read its bytes."""
        _manifest_of(self.home.code(app, code)).unlink(missing_ok=True)

    def code_size(self, app: str, code: str) -> int:
        """Bytes of a code layer; 0 when it is not there."""
        found = self._code_manifest(app, code)
        return found[0].size if found else 0

    def code_layer(self, app: str, code: str) -> CodeLayer | None:
        """A code layer with what it consists of; None when it is not there or not whole."""
        found, place, files = self._code_manifest(app, code), self.home.code(app, code), dict[Inode, File]()
        if found is None or any(layers.changed(place, *found, files)):
            return None
        return CodeLayer(place, found[0], files)

    @staticmethod
    def link_bytecode(base: CodeLayer, path: Path, linked: Collection[str]) -> list[str]:
        """Link the bytecode of sources in ``path`` that are links into the code layer ``base``.

        ``linked``: their paths. Returns those whose bytecode is there now. The interpreter must be the same.
        """
        done, closed = [], dict[str, bool]()
        source_top, top = f"{base.place}/", f"{path}/"
        for file in base.content.files:
            folder, cache, name = file.path.rpartition("__pycache__/")
            source = f"{folder}{name.rsplit('.', 2)[0]}.py"
            if not cache or not name.endswith(".pyc") or source not in linked:
                continue
            if folder not in closed:
                below = Path(top + folder, "__pycache__")
                closed[folder] = below.is_symlink() or below.is_file()
                if not closed[folder]:
                    below.mkdir(mode=0o755, exist_ok=True)
            with suppress(FileExistsError):  # the commit brings something of its own there
                if not closed[folder]:
                    os.link(source_top + file.path, top + file.path)
                    done.append(source)
        return done

    def _code_manifest(self, app: str, code: str) -> tuple[Content, list[int]] | None:
        """What a code layer's manifest says, and the times of its files."""
        try:
            facts = json.loads(_manifest_of(self.home.code(app, code)).read_bytes())
            return Content.from_json(facts), [int(time) for time in facts["times"]]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def add_code(
        self, app: str, code: str, path: Path, group: str | None = None, base: CodeLayer | None = None
    ) -> Path:
        """Keep the folder ``path`` as the layer ``code`` of ``app`` and return its place; ``path`` is then gone.

        When it is there already and whole, that one stays and ``path`` is left alone; one that is not is replaced, and
        whoever runs in it goes on. ``base``: another code layer of the app, of which files in ``path`` may be links.
        ``group``: the UNIX group (the app's) that may read it; None: only this account. Raises ``build/unsafe-tree``;
        ``runner/account`` when the folder cannot be given to that group.
        """
        place = self.home.code(app, code)
        _app_folder(place.parent, group)
        if not self.code_faults(app, code):
            return place
        staged = layers.aside(place, code[:16])
        path.rename(staged)  # first of all: a read-only folder could not change its parent
        try:
            known, times = base.files if base else {}, dict[str, int]()
            trees.seal(staged, _owner_of(place.parent) if os.geteuid() == 0 else None, known)
            content = layers.record(staged, known, times)
            facts = canonical_json({**content.to_json(), "times": [times[file.path] for file in content.files]})
            self.refuse_code(app, code)  # while there is no manifest, nobody takes it for whole
            if not layers.publish(staged, place):
                layers.exchange(staged, place)
            write_atomically(_manifest_of(place), facts, 0o440)
        finally:
            remove_tree(staged)
        return place

    def remove_app(self, app: str) -> None:
        """Delete all code layers of ``app``; nothing to do when there are none."""
        folder = self.home.app_codes(app)
        doomed = folder.with_name(f".{app}-{uuid.uuid4().hex}")
        try:
            folder.rename(doomed)
        except FileNotFoundError:
            return
        remove_tree(doomed)

    def sweep(self) -> None:
        """Remove what a killed process left half done. Only for when nobody else adds or removes: at the start."""
        home = self.home
        for folder in (home.environments, home.packages, home.codes, home.slugs, *_folders(home.codes)):
            for entry in folder.glob(".*") if folder.is_dir() else ():
                # Renamed first: a writer that is still alive must not publish what is left of it meanwhile.
                remove_tree(entry.rename(folder / f".{uuid.uuid4().hex}"))

    # --- manifests

    def save(self, slug: Slug) -> str:
        """Keep the manifest of ``slug`` and return its digest."""
        place, data = self.home.slug(slug.digest), canonical_json(slug.to_json())
        if not place.exists() or place.read_bytes() != data:
            place.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(place, data, 0o640)
            sync_folder(place.parent)
        return slug.digest

    def load(self, digest: str) -> Slug:
        """The slug of that digest; raises ``slug/unknown``, or ``slug/damaged`` when its manifest is not that one."""
        place = self.home.slug(digest)
        try:
            with place.open("rb") as file:
                data = file.read(MANIFEST_CAP)
        except FileNotFoundError:
            raise DaeError("slug/unknown", f"there is no slug {digest[:12]}", _AGAIN) from None
        if digest_of(data) != digest:
            raise DaeError("slug/damaged", f"the manifest of slug {digest[:12]} was changed on disk", _AGAIN)
        return Slug.from_json(json.loads(data))

    def verify(self, slug: Slug, app: str) -> None:
        """Raise ``slug/unknown`` or ``slug/damaged`` unless the manifest and both layers of ``slug`` are whole.

        No byte of a layer is read: its files' names, sizes, modes and times tell who wrote to it.
        """
        self.load(slug.digest)
        for what, name, faults in (
            ("environment", slug.environment, self.environment_faults(slug.environment)),
            ("code", slug.code, self.code_faults(app, slug.code)),
        ):
            if faults:
                more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
                cause = f"the {what} {name[:12]} of slug {slug.digest[:12]} is damaged: {ascii(faults[0])[1:-1]}{more}"
                raise DaeError("slug/damaged", cause, _AGAIN)


def _folders(parent: Path) -> list[Path]:
    return [entry for entry in parent.iterdir() if entry.is_dir()] if parent.is_dir() else []


def _manifest_of(place: Path) -> Path:
    return place.with_name(f"{place.name}.json")


def _owner_of(folder: Path) -> tuple[int, int]:
    """What lies in a folder belongs to the owner of that folder, never to the account that built it."""
    status = folder.stat()
    return status.st_uid, status.st_gid


def _app_folder(folder: Path, group: str | None) -> None:
    """Have the folder of an app's code layers: 0750, of the app's group."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        wanted = grp.getgrnam(group).gr_gid if group is not None else -1
        folder.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(folder, folder.parent.stat().st_uid, wanted)
        elif wanted not in (-1, folder.stat().st_gid):
            os.chown(folder, -1, wanted)
    except (KeyError, PermissionError) as error:
        cause = f"the code of an app cannot be given to its group {group!a}: {error}"
        raise DaeError("runner/account", cause, "let the agent make the app's account first") from error
    if folder.stat().st_mode & 0o777 != 0o750:
        folder.chmod(0o750)
