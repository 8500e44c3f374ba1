"""How anything comes to be on the mirror's disk: written aside, whole, and renamed into place; one writer at a time."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from core.cooperative import take_flock

FILE_MODE, FOLDER_MODE = 0o640, 0o750
TEMPORARY = "write-"


class Writing:
    """The folder ``root``, in whose ``tmp`` all is written first."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._writing = threading.Lock()
        make_folder(root / "tmp")

    @contextlib.contextmanager
    def new_file(self) -> Iterator[tuple[BinaryIO, Path]]:
        """A file to write to, for who gives it its place; it is removed on leaving if nobody did."""
        descriptor, name = tempfile.mkstemp(prefix=TEMPORARY, dir=self.root / "tmp")
        try:
            os.fchmod(descriptor, FILE_MODE)
            with os.fdopen(descriptor, "wb") as stream:
                yield stream, Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def new_folder(self) -> Iterator[Path]:
        """The same of a folder."""
        path = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=self.root / "tmp"))
        try:
            path.chmod(FOLDER_MODE)
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def write(self, path: Path, data: bytes, mtime_ns: int | None = None) -> None:
        """Have these bytes at that path, with that mtime, if one is given."""
        with self.new_file() as (stream, temporary):
            stream.write(data)
            stream.flush()
            if mtime_ns is not None:
                os.utime(stream.fileno(), ns=(mtime_ns, mtime_ns))
            os.fsync(stream.fileno())
            temporary.rename(path)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other writers out, in this process and others. Nothing inside may wait for the network."""
        with self._writing, (self.root / "lock").open("ab") as stream:
            take_flock(stream)
            yield

    def sweep(self, before: float) -> None:
        """Remove what killed writers left behind: temporary files last written before that time."""
        for path in (self.root / "tmp").glob(TEMPORARY + "*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


def make_folder(path: Path) -> None:
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(FOLDER_MODE)  # whatever the umask is
