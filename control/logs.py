"""Reading an app's logs: the last lines, and what comes after them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
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
    folder, pattern = home.app_logs(app), f"{stage}.{process or '*'}.log"

    def find() -> list[Path]:
        return sorted(folder.glob(pattern))

    return _follow(find, lines) if follow else _tails(find(), lines)


def _label(path: Path, several: bool) -> bytes:
    return f"{path.name.split('.')[1]}: ".encode() if several else b""


def _tails(paths: list[Path], lines: int) -> Iterator[bytes]:
    for path in paths:
        label = _label(path, len(paths) > 1)
        with path.open("rb") as stream:
            yield from (label + line for line in _last_lines(stream, lines))


def _last_lines(stream: BinaryIO, lines: int) -> list[bytes]:
    size = stream.seek(0, 2)
    stream.seek(max(0, size - TAIL_BYTES))
    return stream.read().splitlines(keepends=True)[-lines:] if lines else []


def _follow(find: Callable[[], list[Path]], lines: int) -> Iterator[bytes]:
    streams: dict[Path, BinaryIO] = {}
    deadline = time.monotonic() + FOLLOW_SECONDS
    try:
        while time.monotonic() < deadline:
            paths = find()
            for path in paths:
                label = _label(path, len(paths) > 1)
                if path not in streams:  # the first look, or a process that has begun to log meanwhile
                    streams[path] = path.open("rb")
                    yield from (label + line for line in _last_lines(streams[path], lines))
                yield _new_lines(path, streams, label)
            yield b""  # so that a reader that went away is noticed
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
