"""Reading an app's logs: the last lines, and what comes after them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from core.errors import DaeError
from core.nouns import PROCESS_NAME, Stage
from core.paths import Home

MOST_LINES = 10_000
TAIL_BYTES = 4 << 20
POLL_SECONDS = 0.3
FOLLOW_SECONDS = 3600  # a forgotten follower ends


def read(home: Home, app: str, stage: Stage, process: str, lines: int, *, follow: bool) -> Iterator[bytes]:
    """The last ``lines`` lines of a process's log, of all processes when ``process`` is empty; then as they come.

    Raises ``input/invalid`` for a process name that cannot be.
    """
    if process and not PROCESS_NAME.match(process):
        raise DaeError("input/invalid", f"{process[:40]!a} is not a process's name", "see: dae ps")
    folder = home.app_logs(app)
    pattern = f"{stage}.{process or '*'}.log"
    paths = sorted(folder.glob(pattern)) if folder.exists() else []
    return _follow(paths, lines) if follow else _tails(paths, lines)


def _label(path: Path, paths: list[Path]) -> bytes:
    return f"{path.name.split('.')[1]}: ".encode() if len(paths) > 1 else b""


def _tails(paths: list[Path], lines: int) -> Iterator[bytes]:
    for path in paths:
        label = _label(path, paths)
        with path.open("rb") as stream:
            yield from (label + line for line in _last_lines(stream, lines))


def _last_lines(stream: BinaryIO, lines: int) -> list[bytes]:
    size = stream.seek(0, 2)
    stream.seek(max(0, size - TAIL_BYTES))
    return stream.read().splitlines(keepends=True)[-lines:] if lines else []


def _follow(paths: list[Path], lines: int) -> Iterator[bytes]:
    streams: dict[Path, BinaryIO] = {path: path.open("rb") for path in paths}
    try:
        for path, stream in streams.items():
            yield from (_label(path, paths) + line for line in _last_lines(stream, lines))
        deadline = time.monotonic() + FOLLOW_SECONDS
        while time.monotonic() < deadline:
            fresh = b"".join(_new_lines(path, streams, _label(path, paths)) for path in paths)
            yield fresh  # also when empty: so a reader that went away is noticed
            time.sleep(POLL_SECONDS)
    finally:
        for stream in streams.values():
            stream.close()


def _new_lines(path: Path, streams: dict[Path, BinaryIO], label: bytes) -> bytes:
    data = streams[path].read()
    if not data and path.exists() and path.stat().st_ino != _inode(streams[path]):  # rotated: go on with the new file
        streams[path].close()
        streams[path] = path.open("rb")
        data = streams[path].read()
    return b"".join(label + line for line in data.splitlines(keepends=True))


def _inode(stream: BinaryIO) -> int:
    return os.fstat(stream.fileno()).st_ino
