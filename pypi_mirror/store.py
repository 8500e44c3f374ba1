"""What the mirror has on disk, under ``home.mirror``; whole at every moment, whoever is killed at whichever line.

====================================  ===========================================================================
files/<sha[:2]>/<sha>/<filename>      a file, and its core metadata beside it as <filename>.metadata; nginx serves
                                      both, and the address below /pypi/ is the path below ``home.mirror``
projects/<name>.json                  a project page of upstream as data; its mtime is when it was fetched
private/<name>.json                   a private project; as long as it is there, upstream's is never looked at
pages/<view>/<name>/                  rendered pages, index.{html,json}[.gz], and "of": the sha256 of the data that
                                      they were rendered from. nginx serves what stands here, and asks nobody
old/<view>/<name>/                    the same of a page that is to be asked for again; a rename leads back and forth
tmp/                                  what is being written, moved into place by rename
====================================  ===========================================================================

A page's mtime is no time: it is taken from its content, and so is the entity tag, which nginx makes of mtime and size.

Folders are 0750 and files 0640: nginx's workers are in the folder's group.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

from core.errors import DaeError
from core.files import sync_folder
from core.paths import Home
from pypi_mirror import metadata, pages
from pypi_mirror.calculation import calculated
from pypi_mirror.model import METADATA_SUFFIX, SHA256, File, Project, is_file_name, project_name

FOLDER_MODE, FILE_MODE = 0o750, 0o640
#: The view of the index that all see who do not ask for another one.
VIEW = "default"
_OF = "of"
GZIP_LEVEL = 4  # of a page of 2 MB: 20 ms instead of 60 for 6, and 10 % larger
TEMPORARY = "write-"
_POLL = 0.005


class Store:
    """The mirror's files. Every name that comes in is validated here or in the nouns that carry it."""

    def __init__(self, home: Home) -> None:
        self.root = home.mirror
        self._writing = threading.Lock()
        for name in ("files", "projects", "private", "pages", f"pages/{VIEW}", "old", f"old/{VIEW}", "tmp"):
            _make_folder(self.root / name)

    # files

    def file_path(self, sha256: str, filename: str) -> Path:
        """Where a file, or its metadata, is or would be; raises ``mirror/unknown-file`` for what can be neither."""
        if not SHA256.match(sha256) or not is_file_name(filename.removesuffix(METADATA_SUFFIX)):
            raise DaeError("mirror/unknown-file", f"{filename[:80]!a} is not a file of this index")
        return self.root / "files" / pages.file_path(sha256, filename)

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

    def publish_file(self, stream: BinaryIO, temporary: Path, file: File) -> Path:
        """Give a verified file its place, its metadata first; returns the place."""
        stream.flush()
        os.fsync(stream.fileno())
        target = self.file_path(file.sha256, file.filename)
        _make_folder(target.parent.parent)
        _make_folder(target.parent)
        if file.is_wheel and (found := metadata.of_wheel(temporary, file.filename)):
            self._write(target.with_name(target.name + METADATA_SUFFIX), found.text)
        temporary.rename(target)
        sync_folder(target.parent)
        return target

    def publish_metadata(self, file: File, text: bytes) -> Path:
        """Put the metadata of a file, which need not be here, in its place; pages tell of it when rendered anew."""
        target = self.file_path(file.sha256, file.filename + METADATA_SUFFIX)
        _make_folder(target.parent.parent)
        _make_folder(target.parent)
        self._write(target, text)
        return target

    def has_metadata(self, file: File) -> bool:
        """Whether the metadata of a file is here."""
        return self.file_path(file.sha256, file.filename + METADATA_SUFFIX).is_file()

    # projects

    def is_private(self, name: str) -> bool:
        return self._data_path(name, private=True).exists()

    def fetched(self, name: str) -> float | None:
        """When upstream's page of a project was fetched (seconds since 1970); None when it is not here."""
        made = _mtime(self._data_path(name))
        return None if made is None else made / 1e9

    def load(self, name: str) -> Project | None:
        """A project, the private one before upstream's; None when neither is here, or when it is damaged."""
        for private in (True, False):
            try:
                return _project(self._data_path(name, private).read_bytes())
            except FileNotFoundError:
                continue
            except (ValueError, TypeError, KeyError, DaeError):
                return None
        return None

    def names(self) -> list[str]:
        """The projects that are here, private or not."""
        folders = (self.root / "projects", self.root / "private")
        return sorted({path.stem for folder in folders for path in folder.glob("*.json")})

    def save(self, project: Project, fetched_ns: int) -> None:
        """Keep a page of upstream, fetched at that time, and render it; nothing happens when the name is private."""
        with self.locked():
            if self.is_private(project.name):
                return
            path, data = self._data_path(project.name), _dump(project)
            if _read(path) == data:
                os.utime(path, ns=(fetched_ns, fetched_ns))
                return
            self._write(path, data, fetched_ns)
            self._render(project, data)

    def save_private(self, project: Project) -> None:
        """Keep a private project and render it; upstream's project of that name is forgotten. Hold :meth:`locked`."""
        path = self._data_path(project.name, private=True)
        data = _dump(project)
        if _read(path) != data:
            self._write(path, data)
            sync_folder(path.parent)
        self._data_path(project.name).unlink(missing_ok=True)
        self._render(project, data)
        self._move(project.name, "old", "pages")

    def forget(self, name: str) -> None:
        """Drop upstream's page of a project; its files stay, since locks name them by hash."""
        with self.locked():
            self._data_path(name).unlink(missing_ok=True)
            if not self.is_private(name):
                for state in ("pages", "old"):
                    shutil.rmtree(self._folder(state, name), ignore_errors=True)

    def is_whole(self, name: str) -> bool:
        """Whether the project is here, with a page that was rendered from what is known of it; renders it if not."""
        data = _read(self._data_path(name, private=self.is_private(name)))
        if data is None:
            return False
        of = _read(self._pages(name) / _OF)
        return (of is not None and of.decode("ascii", "replace") == _sha256(data)) or self.render(name)

    def open_page(self, name: str, kind: pages.Format, zipped: bool) -> BinaryIO | None:
        """The rendered page of a project; None when the project is not here or its record is damaged."""
        while self.is_whole(name):
            with contextlib.suppress(FileNotFoundError):
                return (self._pages(name) / (kind.value + (".gz" if zipped else ""))).open("rb")
            self.render(name)  # it was lost; or it was renewed, or expired, just now
        return None

    def render(self, name: str) -> bool:
        """Render a project's page anew, because what it says of its files has changed; False when it is not here."""
        with self.locked():
            project = self.load(name)
            data = _read(self._data_path(name, private=self.is_private(name)))
            if project is None or data is None:
                return False
            self._render(project, data)
            return True

    # what nginx serves by itself

    def renew(self, name: str) -> None:
        """Let nginx serve the project's page without asking, until :meth:`expire`."""
        with self.locked():
            self._move(name, "old", "pages")

    def expire(self, name: str) -> None:
        """Have the project's page asked for again; that of a private project never is."""
        with self.locked():
            if not self.is_private(name):
                self._move(name, "pages", "old")

    def served(self) -> list[str]:
        """The projects whose pages nginx serves without asking."""
        return sorted(path.name for path in (self.root / "pages" / VIEW).iterdir() if not path.name.startswith("."))

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
                    path.unlink()

    def _data_path(self, name: str, private: bool = False) -> Path:
        folder = "private" if private else "projects"
        return self.root / folder / f"{project_name(name)}.json"

    def _folder(self, state: str, name: str) -> Path:
        return self.root / state / VIEW / project_name(name)

    def _pages(self, name: str) -> Path:
        """Where the rendered pages of a project are, or will be."""
        served = self._folder("pages", name)
        return served if served.is_dir() else self._folder("old", name)

    def _move(self, name: str, before: str, after: str) -> None:
        source, target = self._folder(before, name), self._folder(after, name)
        if source.is_dir():
            shutil.rmtree(target, ignore_errors=True)  # of a writer that was killed between two renames
            source.rename(target)

    def _render(self, project: Project, data: bytes) -> None:
        folder = self._pages(project.name)
        _make_folder(folder)
        for name, content in calculated(_rendered, project, self._metadata(project)).items():
            self._write(folder / name, content, pages.stamp(content))
        self._write(folder / _OF, _sha256(data).encode())

    def _metadata(self, project: Project) -> dict[str, str]:
        found = {}
        for file in project.files:
            if file.is_wheel:
                text = _read(self.file_path(file.sha256, file.filename + METADATA_SUFFIX))
                if text is not None:
                    found[file.sha256] = _sha256(text)
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


def _rendered(project: Project, metadata: dict[str, str]) -> dict[str, bytes]:
    """A project's page in every form, by the name of its file."""
    found = {kind.value: body for kind, body in pages.render(project, metadata).items()}
    return found | {f"{name}.gz": gzip.compress(body, GZIP_LEVEL, mtime=0) for name, body in found.items()}


def _dump(project: Project) -> bytes:
    return json.dumps(asdict(project), separators=(",", ":")).encode()


def _project(data: bytes) -> Project:
    fields = json.loads(data)
    files = tuple(File(**entry) for entry in fields["files"])
    return Project(fields["name"], files, tuple(fields["versions"]))


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _mtime(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _make_folder(path: Path) -> None:
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(FOLDER_MODE)  # whatever the umask is
