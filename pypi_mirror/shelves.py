"""Folders of the mirror: where files, and pages of each view, lie or are put aside. Whoever writes holds the lock."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

from core.errors import DaeError
from pypi_mirror import pages
from pypi_mirror.lens import Known
from pypi_mirror.licenses import Licenses, named_in
from pypi_mirror.model import METADATA_SUFFIX, SHA256, File, Project, is_file_name, project_name

FOLDER_MODE = 0o750
#: The view of the index that all see who do not ask for another one.
VIEW = "default"
RECORD = "private.json"
OF = "of"


class Shelves:
    """The folder ``root`` with what is below ``files``, ``held`` and ``licenses``."""

    root: Path
    licenses: Licenses

    def file_path(self, sha256: str, filename: str) -> Path:
        """Where a file, or its metadata, is or would be; raises ``mirror/unknown-file`` for what can be neither."""
        if not SHA256.match(sha256) or not is_file_name(filename.removesuffix(METADATA_SUFFIX)):
            raise DaeError("mirror/unknown-file", f"{filename[:80]!a} is not a file of this index")
        return self.root / "files" / pages.file_path(sha256, filename)

    def held_path(self, sha256: str, filename: str) -> Path:
        """Where a file lies that the default view hides; raises as :meth:`file_path`."""
        return self.root / "held" / self.file_path(sha256, filename).relative_to(self.root / "files")

    def place(self, sha256: str, filename: str) -> Path:
        """Where a file, or its metadata, is, hidden or not; or would be, as :meth:`file_path`, which it raises as."""
        held = self.held_path(sha256, filename)
        return held if held.is_file() else self.file_path(sha256, filename)

    def metadata_path(self, file: File) -> Path:
        """:meth:`place` of a file's metadata."""
        return self.place(file.sha256, file.filename + METADATA_SUFFIX)

    def known(self, file: File) -> Known:
        """What can be said of a file by what is here of it."""
        path = self.place(file.sha256, file.filename)
        here = path if path.is_file() else None
        size = here.stat().st_size if file.size is None and here else file.size
        return Known(replace(file, size=size), self._licenses_of(file, here))

    def _licenses_of(self, file: File, path: Path | None) -> tuple[str, ...] | None:
        if not file.is_wheel:
            return self.licenses.of(file, path)
        text = read(self.metadata_path(file))
        return None if text is None else named_in(text)

    def hold(self, hidden: Iterable[File], seen: Iterable[File]) -> None:
        """Move files of upstream's, and their metadata, out of where nginx finds them; and others back there."""
        for files, held in ((hidden, True), (seen, False)):
            for file in files:
                self._move_file(file.sha256, file.filename, held)
                if file.is_wheel:
                    self._move_file(file.sha256, file.filename + METADATA_SUFFIX, held)

    def _move_file(self, sha256: str, filename: str, held: bool) -> None:
        source, target = self.file_path(sha256, filename), self.held_path(sha256, filename)
        if not held:
            source, target = target, source
        if source.is_file():
            make_folder(target.parent.parent)
            make_folder(target.parent)
            source.rename(target)

    def put_aside(self) -> Iterator[Path]:
        """What is in the folder for hidden files; nothing, for most mirrors."""
        return (self.root / "held").iterdir()

    def record(self, file: File) -> Path:
        """Where a private file's entry lies, beside it."""
        return self.file_path(file.sha256, file.filename).with_name(RECORD)

    def outdated(self, project: Project, old: Project | None) -> Iterator[tuple[Path, bytes | None]]:
        """The records beside a private project's files that are to be written, or removed (None): path and text."""
        for file in old.files if old else ():
            if file not in project.files:
                yield self.record(file), None
        for file in project.files:
            text = json.dumps({"project": project.name, "file": asdict(file)}, separators=(",", ":")).encode()
            path = self.record(file)
            if path.parent.is_dir() and read(path) != text:
                yield path, text


class PageFolders:
    """What is below ``pages``, which nginx serves, and ``old``, which it does not know."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def views(self) -> list[str]:
        """The views that have pages here, or had them."""
        return sorted({path.name for state in ("pages", "old") for path in (self.root / state).iterdir()})

    def folder(self, state: str, name: str, view: str = VIEW) -> Path:
        return self.root / state / view / project_name(name)

    def place(self, name: str, view: str = VIEW) -> Path:
        """Where the rendered pages of a project are, or will be."""
        served = self.folder("pages", name, view)
        return served if served.is_dir() else self.folder("old", name, view)

    def of(self, name: str, view: str) -> tuple[str, float]:
        """What a page was rendered from, and until when it may be served; the text is empty when there is none."""
        text = (read(self.place(name, view) / OF) or b"").decode("ascii", "replace")
        of, _, until = text.partition(" ")
        try:
            return of, float(until) if until else math.inf
        except ValueError:
            return "", math.inf

    def drop(self, name: str, but: str = "") -> None:
        for view in self.views():
            if view != but:
                for state in ("pages", "old"):
                    shutil.rmtree(self.folder(state, name, view), ignore_errors=True)


def read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def mtime(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def make_folder(path: Path) -> None:
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(FOLDER_MODE)  # whatever the umask is
