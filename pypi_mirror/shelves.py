"""Folders of the mirror where files lie, with what belongs to them, or are put aside."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import BinaryIO

from core.errors import DaeError
from core.files import sync_folder
from pypi_mirror import metadata, pages
from pypi_mirror.lens import OPEN, Known, Lens
from pypi_mirror.licenses import Licenses, named_in
from pypi_mirror.model import METADATA_SUFFIX, SHA256, File, Project, is_file_name
from pypi_mirror.writing import Writing, make_folder

#: The view of the index that all see who do not ask for another one.
VIEW = "default"
RECORD = "private.json"


class Shelves(Writing):
    """The folder ``root`` with what is below ``files``, ``held`` and ``licenses``."""

    def __init__(self, root: Path, lens: Lens = OPEN) -> None:
        """``lens``: what the views show of projects from upstream; only who has one may render their pages."""
        super().__init__(root)
        self.lens = lens
        self.licenses = Licenses(root, self.write)
        for name in ("files", "held"):
            make_folder(root / name)

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
        found = status(path)
        size = found.st_size if file.size is None and found else file.size
        return Known(replace(file, size=size), self._licenses_of(file, path if found else None))

    def _licenses_of(self, file: File, path: Path | None) -> tuple[str, ...] | None:
        if not file.is_wheel:
            return self.licenses.of(file, path)
        text = read(self.metadata_path(file))
        return None if text is None else named_in(text)

    def publish_file(self, stream: BinaryIO, temporary: Path, file: File) -> Path:
        """Give a verified file its place, its metadata first; returns the place."""
        stream.flush()
        os.fsync(stream.fileno())
        text = found.text if file.is_wheel and (found := metadata.of_wheel(temporary, file.filename)) else None
        hidden = self._hides(file, text, temporary)
        if text is not None:
            self.write(self._make_place(file, file.filename + METADATA_SUFFIX, hidden), text)
        target = self._make_place(file, file.filename, hidden)
        temporary.rename(target)
        sync_folder(target.parent)
        return target

    def withdraw(self, file: File) -> None:
        """Take a file away that no page names: not yet, or not any more."""
        place = self.file_path(file.sha256, file.filename)
        for path in (place, place.with_name(place.name + METADATA_SUFFIX), self.record(file)):
            path.unlink(missing_ok=True)
        for folder in (place.parent, place.parent.parent):
            with contextlib.suppress(OSError):  # other files are in it
                folder.rmdir()

    def publish_metadata(self, file: File, text: bytes) -> Path:
        """Put the metadata of a file, which need not be here, in its place; pages tell of it when rendered anew."""
        target = self._make_place(file, file.filename + METADATA_SUFFIX, self._hides(file, text))
        self.write(target, text)
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


def read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None
