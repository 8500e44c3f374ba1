"""The layers and slugs of one node. What is in here is complete, named by its digest, and never changes again.

A tree is moved in under a name that begins with a dot, made read-only there, and renamed: whoever looks sees all of a
layer or none of it, whenever the process may be killed. What a killed process left, :meth:`SlugStore.sweep`
removes.
"""

from __future__ import annotations

import errno
import grp
import json
import os
import uuid
from pathlib import Path

from core.errors import DaeError
from core.files import remove_tree, sync_folder, write_atomically
from core.nouns import Slug, canonical_json, digest_of
from core.paths import Home
from slugs import trees

MANIFEST_CAP = 4 << 20  # bytes
_AGAIN = "push the commit again"


class SlugStore:
    """Environment layers (shared by apps), code layers (one folder per app) and manifests under ``home``."""

    def __init__(self, home: Home) -> None:
        self.home = home

    # --- layers

    def has_environment(self, digest: str) -> bool:
        """Whether the environment of that digest is there; raises ``slug/unknown`` when it is not a digest."""
        return self.home.environment(digest).is_dir()

    def has_code(self, app: str, tree: str) -> bool:
        """Whether the app has the code of that git tree."""
        return self.home.code(app, tree).is_dir()

    def add_code(self, app: str, tree_sha: str, path: Path, group: str | None = None) -> Path:
        """Keep the folder ``path`` as the code ``tree_sha`` of ``app`` and return its place; ``path`` is then gone.

        When it is there already, that one stays and ``path`` is left alone. Raises ``build/unsafe-tree``.
        ``group``: the UNIX group (the app's) that may read it; None: only this account. Raises ``runner/account`` when
        the folder cannot be given to that group.
        """
        place = self.home.code(app, tree_sha)
        _app_folder(place.parent, group)
        return _publish(path, place)

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
        place = self.home.slug(slug.digest)
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(place, canonical_json(slug.to_json()), 0o640)
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

        A layer is named by what it was made from; so its presence is checked, not its bytes.
        """
        self.load(slug.digest)
        if not (self.home.environment(slug.environment) / "bin" / "python").exists():
            cause = f"the environment {slug.environment[:12]} of slug {slug.digest[:12]} is gone"
            raise DaeError("slug/damaged", cause, _AGAIN)
        if not self.has_code(app, slug.code):
            cause = f"the code {slug.code[:12]} of slug {slug.digest[:12]} is gone"
            raise DaeError("slug/damaged", cause, _AGAIN)


def _folders(parent: Path) -> list[Path]:
    return [entry for entry in parent.iterdir() if entry.is_dir()] if parent.is_dir() else []


def _publish(tree: Path, place: Path) -> Path:
    if place.is_dir():
        return place
    staged = place.with_name(f".{place.name[:16]}-{uuid.uuid4().hex}")
    tree.rename(staged)  # first of all: a read-only folder could not change its parent
    try:
        trees.seal(staged, _owner_of(place.parent) if os.geteuid() == 0 else None)
        staged.rename(place)
    except OSError as error:
        remove_tree(staged)
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # those: somebody else was first with the same
            raise
    except DaeError:
        remove_tree(staged)
        raise
    sync_folder(place.parent)
    return place


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
