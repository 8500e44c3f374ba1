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
from pypi_mirror import metadata, pages
from pypi_mirror.lens import Known
from pypi_mirror.model import METADATA_SUFFIX, SHA256, File, Project, is_file_name, project_name

FOLDER_MODE = 0o750
#: The view of the index that all see who do not ask for another one.
VIEW = "default"
RECORD = "private.json"
OF = "of"


class Shelves:
    """The folder ``root`` with what is below ``files`` and ``held``."""

    root: Path

    def file_path(self, sha256: str, filename: str) -> Path:
        """Where a file, or its metadata, is or would be; raises ``mirror/unknown-file`` for what can be neither."""
        if not SHA256.match(sha256) or not is_file_name(filename.removesuffix(METADATA_SUFFIX)):
            raise DaeError("mirror/unknown-file", f"{filename[:80]!a} is not a file of this index")
        return self.root / "files" / pages.file_path(sha256, filename)

    def held_path(self, sha256: str, filename: str) -> Path:
        """Where a file lies that the default view hides; raises as :meth:`file_path`."""
        return self.root / "held" / self.file_path(sha256, filename).relative_to(self.root / "files")

    def known(self, file: File) -> Known:
        """What can be said of a file by what is here of it."""
        size = file.size
        for path in (self.file_path(file.sha256, file.filename), self.held_path(file.sha256, file.filename)):
            if size is None and path.is_file():
                size = path.stat().st_size
        text = read(self.file_path(file.sha256, file.filename + METADATA_SUFFIX)) if file.is_wheel else None
        return Known(replace(file, size=size), None if text is None else metadata.licenses(text))

    def hold(self, hidden: Iterable[File], seen: Iterable[File]) -> None:
        """Move files of upstream's out of where nginx finds them, and others back there."""
        for files, held in ((hidden, True), (seen, False)):
            for file in files:
                source = self.file_path(file.sha256, file.filename)
                target = self.held_path(file.sha256, file.filename)
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
