"""Bundles of other platforms come in: checked against what is here, then entered; a kill in between is made up for.

Whoever unpacked and verified one has left it in ``tmp/import-ID``: ``bundle.json``, and ``files/<sha256>``. The rename
to ``imports/`` is the decision; all that follows may be done again from the start, and is, when the mirror starts.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.cooperative import aside
from core.errors import DaeError
from core.files import remove_tree, sync_folder
from pypi_mirror import private
from pypi_mirror.bundle import Bundle
from pypi_mirror.model import File, Project, versions_of
from pypi_mirror.store import Store
from pypi_mirror.writing import make_folder

DOCUMENT, FILES = "bundle.json", "files"
NAME = re.compile(r"import-[0-9a-f]{32}\Z")

log = logging.getLogger("dae.mirror")


class Imports:
    """``reserved``: whether upstream's project of a name is never served."""

    def __init__(self, store: Store, reserved: Callable[[str], bool]) -> None:
        self._store = store
        self._reserved = reserved
        self._folder = store.root / "imports"
        make_folder(self._folder)

    def settle(self) -> None:
        """Enter what was decided before; what fails is tried again when the mirror starts again."""
        for folder in sorted(self._folder.iterdir()):
            try:
                self._enter(folder, aside(_read, folder))
            except (OSError, DaeError):
                log.exception("%s could not be entered", folder.name)

    def take(self, name: str) -> dict[str, Any]:
        """Enter the bundle that was unpacked as ``name``: ``{"projects", "files", "kept"}``, the last with the reasons.

        Raises ``mirror/file-exists`` when a file of it has other bytes here: then nothing is changed.
        """
        staged = self._store.root / "tmp" / name
        if not NAME.match(name) or not staged.is_dir():
            raise DaeError("mirror/bad-archive", f"nothing was unpacked as {name[:60]!a}", "import it again")
        bundle = aside(_read, staged)
        kept = self._kept(bundle)
        for project in (*bundle.upstream, *bundle.private):
            if project.name not in kept:
                self._require_same(project)
        for project in bundle.private:
            private.require_fits(self._store, project)
        staged.rename(self._folder / name)
        sync_folder(self._folder)
        self._enter(self._folder / name, bundle)
        came = [p for p in (*bundle.upstream, *bundle.private) if p.name not in kept]
        return {"projects": len(came), "files": sum(len(project.files) for project in came), "kept": kept}

    def _kept(self, bundle: Bundle) -> dict[str, str]:
        """The projects that stay as they are, and why."""
        names = [project.name for project in bundle.upstream]
        kept = {name: "the policy reserves the name" for name in names if self._reserved(name)}
        return kept | {name: "the name is private here" for name in names if self._store.is_private(name)}

    def _require_same(self, project: Project) -> None:
        old = self._store.load(project.name)
        if old is None and self._store.is_private(project.name):
            raise DaeError("mirror/unavailable", f"the listing of {project.name} is damaged", "mend it first")
        here = _names(old)
        for file in project.files:
            if here.get(file.filename, file.sha256) != file.sha256:
                cause = f"{file.filename} is here with other bytes than in the archive"
                raise DaeError("mirror/file-exists", cause, "nothing was changed; find out which of the two is right")

    def _enter(self, folder: Path, bundle: Bundle) -> None:
        kept = self._kept(bundle)
        for project in bundle.upstream:
            if project.name not in kept:
                self._enter_upstream(project, folder)
        for project in bundle.private:
            private.bring(self._store, project, lambda file: self._place(file, folder))
        remove_tree(folder)

    def _enter_upstream(self, project: Project, folder: Path) -> None:
        """The files come first: what a page names is here. Upstream's page may be renewed meanwhile."""
        known = _names(self._store.load(project.name))
        for file in project.files:
            if known.get(file.filename, file.sha256) == file.sha256:
                self._place(file, folder)
        with self._store.locked():
            if self._list(project):
                return
        self._store.render(project.name)  # metadata that pages could not promise before

    def _list(self, project: Project) -> bool:
        """Add the files whose names no page has yet to that of upstream's; False when there are none such."""
        old = self._store.load(project.name)
        known = _names(old)
        new = tuple(file for file in project.files if file.filename not in known)
        if old is None:
            self._store.put(replace(project, files=new, versions=versions_of(new)), 1)  # fetched in 1970
        elif new:
            versions = tuple(dict.fromkeys((*old.versions, *versions_of(new))))
            fetched = int((self._store.fetched(project.name) or 0.0) * 1e9) or 1
            self._store.put(replace(old, files=(*old.files, *new), versions=versions), fetched)
        return old is None or bool(new)

    def _place(self, file: File, folder: Path) -> None:
        """Put a file where it belongs, unless it is there; what was placed before a kill is."""
        place = self._store.file_path(file.sha256, file.filename)
        source = folder / FILES / file.sha256
        if place.is_file() or self._store.held_path(file.sha256, file.filename).is_file() or not source.is_file():
            return
        link = source.with_name(f".{secrets.token_hex(8)}")
        os.link(source, link)  # the same bytes may have two names
        with link.open("rb") as stream:
            self._store.publish_file(stream, link, file)
        time.sleep(0)  # others are served meanwhile


def _read(folder: Path) -> Bundle:
    """The document of what was unpacked there, which may be tens of megabytes; raises ``mirror/bad-archive``."""
    return Bundle.from_bytes((folder / DOCUMENT).read_bytes())


def _names(project: Project | None) -> dict[str, str]:
    """The files of a project, as far as it is here: filename -> sha256."""
    return {file.filename: file.sha256 for file in project.files} if project else {}
