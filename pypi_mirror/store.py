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
import fcntl
import math
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from core.errors import DaeError
from core.files import sync_folder
from core.paths import Home
from pypi_mirror import metadata, pages, record
from pypi_mirror.calculation import calculated
from pypi_mirror.lens import OPEN, Known, Lens, Shown
from pypi_mirror.licenses import Licenses, named_in
from pypi_mirror.listing import Listing
from pypi_mirror.model import METADATA_SUFFIX, File, Project, project_name
from pypi_mirror.shelves import FOLDER_MODE, OF, VIEW, PageFolders, Shelves, make_folder, mtime, read, sha256

FILE_MODE = 0o640
TEMPORARY = "write-"
_POLL = 0.005


class Store(Shelves):
    """The mirror's files. Every name that comes in is validated here or in the nouns that carry it."""

    def __init__(self, home: Home, lens: Lens = OPEN) -> None:
        """``lens``: what the views show of projects from upstream; only who has one may render their pages."""
        self.root = home.mirror
        self.lens = lens
        self.licenses = Licenses(self.root, self._write)
        self._folders = PageFolders(self.root)
        self._writing = threading.Lock()
        for name in ("files", "held", "projects", "private", "pages", "old", f"pages/{VIEW}", f"old/{VIEW}", "tmp"):
            make_folder(self.root / name)
        self._listing = Listing(self.root / "pages" / VIEW, self._write)

    # files

    @contextlib.contextmanager
    def new_file(self) -> Iterator[tuple[BinaryIO, Path]]:
        """A file to write to, for :meth:`publish_file`; it is removed on leaving if it was not published."""
        descriptor, name = tempfile.mkstemp(prefix=TEMPORARY, dir=self.root / "tmp")
        try:
            os.fchmod(descriptor, FILE_MODE)
            with os.fdopen(descriptor, "wb") as stream:
                yield stream, Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _new_folder(self) -> Iterator[Path]:
        """A folder to write to, for others; it is removed on leaving if it was not put in its place."""
        path = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=self.root / "tmp"))
        try:
            path.chmod(FOLDER_MODE)
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def publish_file(self, stream: BinaryIO, temporary: Path, file: File) -> Path:
        """Give a verified file its place, its metadata first; returns the place."""
        stream.flush()
        os.fsync(stream.fileno())
        text = found.text if file.is_wheel and (found := metadata.of_wheel(temporary, file.filename)) else None
        hidden = self._hides(file, text, temporary)
        if text is not None:
            self._write(self._make_place(file, file.filename + METADATA_SUFFIX, hidden), text)
        target = self._make_place(file, file.filename, hidden)
        temporary.rename(target)
        sync_folder(target.parent)
        return target

    def withdraw(self, file: File) -> None:
        """Take a file back that was published, and that no page names yet."""
        place = self.file_path(file.sha256, file.filename)
        for path in (place, place.with_name(place.name + METADATA_SUFFIX), self.record(file)):
            path.unlink(missing_ok=True)
        for folder in (place.parent, place.parent.parent):
            with contextlib.suppress(OSError):  # other files are in it
                folder.rmdir()

    def publish_metadata(self, file: File, text: bytes) -> Path:
        """Put the metadata of a file, which need not be here, in its place; pages tell of it when rendered anew."""
        target = self._make_place(file, file.filename + METADATA_SUFFIX, self._hides(file, text))
        self._write(target, text)
        return target

    def has_metadata(self, file: File) -> bool:
        """Whether the metadata of a file is here."""
        return self.metadata_path(file).is_file()

    def _hides(self, file: File, text: bytes | None, path: Path | None = None) -> bool:
        """Whether the default view hides a file of upstream's that comes with that metadata, and lies at ``path``."""

        def known() -> Known:
            size = path.stat().st_size if file.size is None and path else file.size
            return Known(replace(file, size=size), self.licenses.of(file, path) if text is None else named_in(text))

        return bool(file.url) and self.lens.hides(VIEW, file, known)

    def _make_place(self, file: File, filename: str, hidden: bool) -> Path:
        """Where a file, or its metadata, goes; what another view asked for is not for nginx."""
        target = (self.held_path if hidden else self.file_path)(file.sha256, filename)
        make_folder(target.parent.parent)
        make_folder(target.parent)
        return target

    # projects

    def is_private(self, name: str) -> bool:
        return self._data_path(name, private=True).exists()

    def private_stamp(self, name: str) -> object:
        """What changes when a private project's record does; None when the name is not private."""
        with contextlib.suppress(FileNotFoundError):
            found = self._data_path(name, private=True).stat()
            return found.st_mtime_ns, found.st_ino, found.st_size
        return None

    def fetched(self, name: str) -> float | None:
        """When upstream's page of a project was fetched (seconds since 1970); None when it is not here."""
        made = mtime(self._data_path(name))
        return None if made is None else made / 1e9

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

    def open_list(self, kind: pages.Format, zipped: bool) -> BinaryIO:
        """The list of projects, rendered."""
        with self.locked():
            return self._listing.open(self.names, kind, zipped)

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
        self._write(path, data, fetched_ns)
        self._render(project, data)

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
        with self.new_file() as (stream, temporary), self._new_folder() as folder:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
            self._write_pages(folder, Shown(project), sha256(data))
            for beside, text in outdated:
                if text is not None:
                    self._write(beside, text)

            def commit() -> None:
                self._move(project.name, "pages", "old")
                self._listing.drop()
                temporary.rename(path)
                sync_folder(path.parent)
                self._data_path(project.name).unlink(missing_ok=True)
                self._folders.drop(project.name)
                folder.rename(self._folders.folder("pages", project.name))
                for beside, text in outdated:
                    if text is None:
                        beside.unlink(missing_ok=True)

            yield commit

    def release(self, name: str) -> None:
        """Let a private project go: upstream's of that name is seen again. Hold :meth:`locked`."""
        self._folders.drop(name)  # before the record: it is rendered anew while that is there
        self._listing.drop()
        self._data_path(name, private=True).unlink()

    def forget(self, name: str) -> None:
        """Drop upstream's page of a project; its files stay, since locks name them by hash."""
        with self.locked():
            self._listing.drop()
            self._data_path(name).unlink(missing_ok=True)
            if not self.is_private(name):
                self._folders.drop(name)

    def drop_pages(self, name: str) -> None:
        """Have a project's pages rendered anew by who has the lens for it, when they are asked for."""
        with self.locked():
            self._folders.drop(name)

    def is_whole(self, name: str, view: str = VIEW) -> bool:
        """Whether the project is here, with a page that was rendered from what is known of it; renders it if not."""
        if read(self._data_path(name, private=self.is_private(name))) is None:
            return False
        return self._is_current(name, view) or self.render(name, view)

    def open_page(self, name: str, kind: pages.Format, zipped: bool, view: str = VIEW) -> BinaryIO | None:
        """The rendered page of a project; None when the project is not here or its record is damaged."""
        while self.is_whole(name, view):
            with contextlib.suppress(FileNotFoundError):
                return (self._folders.place(name, view) / (kind.value + (".gz" if zipped else ""))).open("rb")
            self.render(name, view)  # it was lost; or it was renewed, or expired, just now
        return None

    def render(self, name: str, view: str | None = None) -> bool:
        """Render a project's page anew, because what it says of its files has changed; False when it is not here.

        Without a ``view`` those of all views are: the default one at once, the others when they are asked for.
        """
        with self.locked():
            project = self.load(name)
            data = read(self._data_path(name, private=self.is_private(name)))
            if project is None or data is None:
                return False
            if view is None:
                self._render(project, data)
            else:
                self._render_view(project, data, view)
            return True

    def shown(self, name: str, view: str = VIEW) -> Shown | None:
        """What the view shows of a project; None when that is not here."""
        project = self.load(name)
        if project is None or self.is_private(name):
            return None if project is None else Shown(project)
        return self.lens.shown(view, project, self.known)

    def until(self, name: str) -> float:
        """When the first of a project's pages changes by itself (seconds since 1970)."""
        return min((self._folders.of(name, view)[1] for view in self._folders.views()), default=math.inf)

    # what nginx serves by itself

    def renew(self, name: str) -> None:
        """Let nginx serve the project's pages unasked, until :meth:`expire`: those that are right as they are."""
        with self.locked():
            for view in self._folders.views():
                if self._folders.folder("pages", name, view).is_dir() and not self._is_current(name, view):
                    shutil.rmtree(self._folders.folder("pages", name, view), ignore_errors=True)
            self._move(name, "old", "pages")

    def expire(self, name: str) -> None:
        """Have the project's page asked for again; that of a private project never is."""
        with self.locked():
            if not self.is_private(name):
                self._move(name, "pages", "old")

    def served(self) -> list[str]:
        """The projects whose pages nginx serves without asking."""
        pages_of = (self.root / "pages" / view for view in self._folders.views())
        return sorted({path.name for folder in pages_of for path in folder.glob("*") if path.is_dir()})

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other writers out, in this process and others. Nothing inside may wait for the network.

        Asked for again and again: waiting inside flock(2) would keep the greenlet waiting that has the lock.
        """
        with self._writing, (self.root / "lock").open("ab") as stream:
            while True:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(_POLL)
            yield

    def sweep(self, before: float) -> None:
        """Remove what killed writers left behind: temporary files last written before that time."""
        for path in (self.root / "tmp").glob(TEMPORARY + "*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _data_path(self, name: str, private: bool = False) -> Path:
        folder = "private" if private else "projects"
        return self.root / folder / f"{project_name(name)}.json"

    def _source(self, name: str, data: bytes, view: str) -> str:
        """What a page of that data is rendered from."""
        return sha256(data) + ("" if self.is_private(name) else self.lens.mark(view))

    def _is_current(self, name: str, view: str) -> bool:
        data = read(self._data_path(name, private=self.is_private(name)))
        of, until = self._folders.of(name, view)
        return data is not None and of == self._source(name, data, view) and self.lens.clock() < until

    def _move(self, name: str, before: str, after: str) -> None:
        for view in self._folders.views():
            source, target = self._folders.folder(before, name, view), self._folders.folder(after, name, view)
            if not source.is_dir():
                continue
            shutil.rmtree(target, ignore_errors=True)  # of a writer that was killed between two renames
            if after == "pages" and not self._is_current(name, view):
                shutil.rmtree(source, ignore_errors=True)
                continue
            make_folder(target.parent)
            source.rename(target)

    def _render(self, project: Project, data: bytes) -> None:
        self._folders.drop(project.name, but=VIEW)
        self._render_view(project, data, VIEW)

    def _render_view(self, project: Project, data: bytes, view: str) -> None:
        private, source = self.is_private(project.name), self._source(project.name, data, view)
        judged = not private and self.lens.mark(view)
        shown = calculated(self.lens.shown, view, project, self.known) if judged else Shown(project)
        if view == VIEW and not private:
            self.hold(shown.hidden, shown.project.files if judged or any(self.put_aside()) else ())
        place = self._folders.place(project.name, view)
        make_folder(place.parent)
        with self._new_folder() as folder, self._new_folder() as before:
            self._write_pages(folder, shown, source)
            if place.is_dir():
                place.rename(before)
            folder.rename(place)  # whoever is killed before that leaves no page: it is rendered when it is asked for

    def _write_pages(self, folder: Path, shown: Shown, source: str) -> None:
        files = calculated(_rendered, shown.project, self._metadata(shown.project), shown.notes)
        for name, content in files.items():
            self._write(folder / name, content, pages.stamp(content))
        until = "" if shown.until is None else f" {shown.until!r}"
        self._write(folder / OF, f"{source}{until}".encode())

    def _metadata(self, project: Project) -> dict[str, str]:
        found = {}
        for file in project.files:
            if file.is_wheel:
                text = read(self.metadata_path(file))
                if text is not None:
                    found[file.sha256] = sha256(text)
                elif file.core_metadata:
                    found[file.sha256] = file.core_metadata
        return found

    def _write(self, path: Path, data: bytes, mtime_ns: int | None = None) -> None:
        with self.new_file() as (stream, temporary):
            stream.write(data)
            stream.flush()
            if mtime_ns is not None:
                os.utime(stream.fileno(), ns=(mtime_ns, mtime_ns))
            os.fsync(stream.fileno())
            temporary.rename(path)


def _rendered(project: Project, metadata: dict[str, str], notes: tuple[str, ...] = ()) -> dict[str, bytes]:
    """A project's page in every form, by the name of its file."""
    return pages.with_twins({kind.value: body for kind, body in pages.render(project, metadata, notes).items()})
