"""What the mirror has on disk, under ``home.mirror``; whole at every moment, whoever is killed at whichever line.

====================================  ===========================================================================
files/<sha[:2]>/<sha>/<filename>      a file, and its core metadata beside it as <filename>.metadata; nginx serves
                                      both, and the address below /pypi/ is the path below ``home.mirror``
files/<sha[:2]>/<sha>/private.json    of a private file: its project and entry, should private/ be lost
held/<sha[:2]>/<sha>/<filename>       a file that the default view hides, and its metadata: nginx finds none of it
licenses/<sha[:2]>/<sha>.json         what an sdist says of its license, once that was asked (licenses.py)
projects/<name>.json                  a project page of upstream as data; its mtime is when it was fetched
private/<name>.json                   a private project; as long as it is there, upstream's is never looked at
records/<name>.json                   whose a private name is, and what was done to it (records.py)
pages/<view>/<name>/                  rendered pages, index.{html,json}[.gz], and "of": the sha256 of the data that
                                      they were rendered from, the mark of the policy, and until when that lets
                                      the same through. nginx serves what stands here, and asks nobody
pages/<view>/index.{html,json}[.gz]   the list of projects, if it was asked for since the last one came or went
old/<view>/<name>/                    the same of a page that is to be asked for again; a rename leads back and forth
tmp/                                  what is being written, moved into place by rename
====================================  ===========================================================================

A page's mtime is no time: it is taken from its content, and so is the entity tag, which nginx makes of mtime and size.

Folders are 0750 and files 0640: nginx's workers are in the folder's group.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from core.errors import DaeError
from core.files import sync_folder
from core.paths import Home
from pypi_mirror import pages, record
from pypi_mirror.lens import OPEN, Lens, Shown
from pypi_mirror.listing import Listing
from pypi_mirror.model import Project, project_name
from pypi_mirror.rendering import Kept, Rendering
from pypi_mirror.shelves import VIEW, Shelves, read, sha256, status
from pypi_mirror.writing import make_folder


class Store(Shelves):
    """The mirror's files. Every name that comes in is validated here or in the nouns that carry it."""

    def __init__(self, home: Home, lens: Lens = OPEN) -> None:
        super().__init__(home.mirror, lens)
        for name in ("projects", "private"):
            make_folder(self.root / name)
        self._pages = Rendering(self)
        self._listing = Listing(self.root / "pages" / VIEW, self.write)

    # what is here

    def is_private(self, name: str) -> bool:
        return self._data_path(name, private=True).exists()

    def private_stamp(self, name: str) -> object:
        """What changes when a private project's record does; None when the name is not private."""
        found = status(self._data_path(name, private=True))
        return None if found is None else (found.st_mtime_ns, found.st_ino, found.st_size)

    def fetched(self, name: str) -> float | None:
        """When upstream's page of a project was fetched (seconds since 1970); None when it is not here."""
        found = status(self._data_path(name))
        return None if found is None else found.st_mtime_ns / 1e9

    def fetched_record(self, name: str) -> bytes | None:
        """The record of upstream's page of a project, as it is on the disk; None when it is not here."""
        return read(self._data_path(name))

    def load(self, name: str) -> Project | None:
        """A project, the private one before upstream's; None when neither is here, or when it is damaged."""
        for private in (True, False):
            try:
                return record.load(self._data_path(name, private).read_bytes())
            except FileNotFoundError:
                continue
            except (ValueError, TypeError, KeyError, DaeError):
                return None
        return None

    def names(self) -> list[str]:
        """The projects that are here, private or not."""
        folders = (self.root / "projects", self.root / "private")
        return sorted({path.stem for folder in folders for path in folder.glob("*.json")})

    def shown(self, name: str, view: str = VIEW) -> Shown | None:
        """What the view shows of a project; None when that is not here."""
        project = self.load(name)
        if project is None or self.is_private(name):
            return None if project is None else Shown(project)
        return self.lens.shown(view, project, self.known)

    # changes

    def save(self, project: Project, fetched_ns: int) -> None:
        """Keep a page of upstream, fetched at that time, and render it; nothing happens when the name is private."""
        with self.locked():
            self.put(project, fetched_ns)

    def put(self, project: Project, fetched_ns: int) -> None:
        """:meth:`save` for who looks first what is here. Hold :meth:`locked`."""
        if self.is_private(project.name):
            return
        path, data = self._data_path(project.name), record.dump(project)
        if read(path) == data:
            os.utime(path, ns=(fetched_ns, fetched_ns))
            return
        if not path.exists():
            self._listing.drop()
        self.write(path, data, fetched_ns)
        self._render(project, Kept(project.name, False, data))

    def save_private(self, project: Project) -> None:
        """Keep a private project and render it; see :meth:`change`."""
        with self.change(project) as commit:
            commit()

    @contextlib.contextmanager
    def change(self, project: Project) -> Iterator[Callable[[], None]]:
        """Write all that a change of a private project needs; what is given makes it be. Hold :meth:`locked`.

        Upstream's project of that name is forgotten then. A disk that is full is met before anything has changed. Nor
        is there a moment at which nginx serves a page of both before and after: whoever is killed leaves none to it.
        """
        path, data = self._data_path(project.name, private=True), record.dump(project)
        outdated = [*self.outdated(project, self.load(project.name) if self.is_private(project.name) else None)]
        with self.new_file() as (stream, temporary), self.new_folder() as folder:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
            self._pages.write(folder, Shown(project), sha256(data))
            for beside, text in outdated:
                if text is not None:
                    self.write(beside, text)

            def commit() -> None:
                self._pages.expire(project.name)
                self._listing.drop()
                temporary.rename(path)
                sync_folder(path.parent)
                self._data_path(project.name).unlink(missing_ok=True)
                self._pages.drop(project.name)
                folder.rename(self._pages.folder("pages", project.name))
                for beside, text in outdated:
                    if text is None:
                        beside.unlink(missing_ok=True)

            yield commit

    def release(self, name: str) -> None:
        """Let a private project go: upstream's of that name is seen again. Hold :meth:`locked`."""
        self._pages.drop(name)  # before the record: it is rendered anew while that is there
        self._listing.drop()
        self._data_path(name, private=True).unlink()

    def forget(self, name: str) -> None:
        """Drop upstream's page of a project; its files stay, since locks name them by hash."""
        with self.locked():
            self._listing.drop()
            self._data_path(name).unlink(missing_ok=True)
            if not self.is_private(name):
                self._pages.drop(name)

    # pages

    def open_list(self, kind: pages.Format, zipped: bool) -> BinaryIO:
        """The list of projects, rendered."""
        with self.locked():
            return self._listing.open(self.names, kind, zipped)

    def drop_pages(self, name: str) -> None:
        """Have a project's pages rendered anew by who has the lens for it, when they are asked for."""
        with self.locked():
            self._pages.drop(name)

    def is_whole(self, name: str, view: str = VIEW) -> bool:
        """Whether the project is here, with a page that was rendered from what is known of it; renders it if not."""
        kept = self._kept(name)
        return kept.data is not None and (self._pages.is_current(kept, view) or self.render(name, view))

    def open_page(self, name: str, kind: pages.Format, zipped: bool, view: str = VIEW) -> BinaryIO | None:
        """The rendered page of a project; None when the project is not here or its record is damaged."""
        while self.is_whole(name, view):
            with contextlib.suppress(FileNotFoundError):
                return (self._pages.place(name, view) / (kind.value + (".gz" if zipped else ""))).open("rb")
            self.render(name, view)  # it was lost; or it was renewed, or expired, just now
        return None

    def render(self, name: str, view: str | None = None) -> bool:
        """Render a project's page anew, because what it says of its files has changed; False when it is not here.

        Without a ``view`` those of all views are: the default one at once, the others when they are asked for.
        """
        with self.locked():
            project, kept = self.load(name), self._kept(name)
            if project is None or kept.data is None:
                return False
            if view is None:
                self._render(project, kept)
            else:
                self._pages.render(project, kept, view)
            return True

    def _render(self, project: Project, kept: Kept) -> None:
        self._pages.drop(project.name, but=VIEW)
        self._pages.render(project, kept, VIEW)

    def until(self, name: str) -> float:
        """When the first of a project's pages changes by itself (seconds since 1970)."""
        return self._pages.until(name)

    def renew(self, name: str) -> None:
        """Let nginx serve the project's pages unasked, until :meth:`expire`: those that are right as they are."""
        with self.locked():
            self._pages.renew(self._kept(name))

    def expire(self, name: str) -> None:
        """Have the project's page asked for again; that of a private project never is."""
        with self.locked():
            if not self.is_private(name):
                self._pages.expire(name)

    def served(self) -> list[str]:
        """The projects whose pages nginx serves without asking."""
        return sorted(set(self._pages.served()))

    def _kept(self, name: str) -> Kept:
        private = self.is_private(name)
        return Kept(name, private, read(self._data_path(name, private)))

    def _data_path(self, name: str, private: bool = False) -> Path:
        folder = "private" if private else "projects"
        return self.root / folder / f"{project_name(name)}.json"
