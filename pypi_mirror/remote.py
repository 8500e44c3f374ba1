"""A wheel that stays where it is: its metadata is read out of it by requests for parts (RFC 9110, 14)."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from pypi_mirror import metadata
from pypi_mirror.model import File, normalize, possible_projects, version_of
from pypi_mirror.upstream import Upstream

TAIL = 32 << 10  # of most wheels that holds the directory, and the metadata, which is written last
AHEAD = 16 << 10
REQUESTS = 6
MOST_BYTES = 8 << 20  # of one wheel; the directory of the largest has half of that


class NoPartsError(OSError):
    """Upstream sends no parts of this file, or it would take too many of them."""


class RemoteFile(io.RawIOBase):
    """A file at upstream, to be read like one that is here; what was read once is kept."""

    def __init__(self, upstream: Upstream, file: File, advance: Callable[[int], None]) -> None:
        super().__init__()
        self._upstream = upstream
        self._file = file
        self._advance = advance
        self._spans: list[tuple[int, bytes]] = []
        self._place = 0
        self.fetched = 0
        if file.size == 0:
            raise NoPartsError("it is empty")
        self._size = self._fetch(f"-{TAIL}" if file.size is None else f"{max(0, file.size - TAIL)}-{file.size - 1}")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("before the beginning")  # as files do; zipfile tries it on small archives
        self._place = base + offset
        return self._place

    def readinto(self, buffer: Any, /) -> int:
        end = min(self._size, self._place + len(buffer))
        if end <= self._place:
            return 0
        if (found := self._at_hand(end)) is None:
            self._fetch(f"{self._place}-{min(self._size, max(end, self._place + AHEAD)) - 1}")
            found = self._at_hand(end)
        if found is None:
            raise NoPartsError("upstream sent another part than it was asked for")
        buffer[: len(found)] = found
        self._place = end
        return len(found)

    def _at_hand(self, end: int) -> bytes | None:
        for start, data in self._spans:
            if start <= self._place and end <= start + len(data):
                return data[self._place - start : end - start]
        return None

    def _fetch(self, spec: str) -> int:
        left = MOST_BYTES - self.fetched
        first, _, last = spec.partition("-")
        if len(self._spans) >= REQUESTS or (first and int(last) - int(first) >= left):
            raise NoPartsError("its metadata would take too many requests")
        answer = self._upstream.piece(self._file, spec, left, self._advance)
        if answer is None:
            raise NoPartsError("upstream sends no parts of it")
        start, size, data = answer
        self.fetched += len(data)
        self._spans.append((start, data))
        return size


def read_metadata(upstream: Upstream, file: File, advance: Callable[[int], None]) -> bytes | None:
    """The METADATA of a wheel at upstream, byte for byte; None when it cannot be had this way.

    Raises ``mirror/unavailable`` when upstream does not answer.
    """
    try:
        remote = RemoteFile(upstream, file, advance)
    except NoPartsError:
        return None
    found = metadata.of_wheel(io.BufferedReader(remote, AHEAD), file.filename)
    if found is None or normalize(found.name) not in possible_projects(file.filename):
        return None
    return found.text if version_of(file.filename) == version_of(f"x-{found.version}-py3-none-any.whl") else None
