"""A file on its way here, which all who asked for it read while it grows, from the one temporary file."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from pypi_mirror.flights import Flight, idle_seconds

BLOCK = 256 << 10
SMALL = 1 << 20
GRACE = 0.05  # seconds in which a small file may still come whole, so that what is wrong with it can be said in words
HELD_BACK = 64 << 10  # of the end, until the hash is known to be right; of a small file the half


class Arrival(Flight[Path]):
    """The fetch of a file. Nobody gets its last bytes before its sha256 is known to be right."""

    def __init__(self, last: Callable[[], float] = lambda: 0.0, clock: Callable[[], float] = idle_seconds) -> None:
        super().__init__(last, clock)
        self.size: int | None = None
        self._moved = threading.Condition()
        self._descriptor = -1
        self._written = 0
        self._verified = False

    # the fetch tells

    def begin(self, temporary: Path) -> None:
        """The file is written there."""
        self._descriptor = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC)

    def expect(self, size: int | None) -> None:
        """So long it will be; None: nobody knows."""
        self.size = size

    def grow(self, count: int) -> None:
        """So many bytes more can be read from the file."""
        with self._moved:
            self._written += count
            self._moved.notify_all()

    def verify(self) -> None:
        """It is whole, and what it should be."""
        with self._moved:
            self._verified = True
            self._moved.notify_all()

    def _land(self) -> None:
        super()._land()
        with self._moved:
            if self._descriptor >= 0:
                os.close(self._descriptor)
            self._descriptor = -1
            self._moved.notify_all()

    # the askers

    def await_start(self, patience: float) -> bool:
        """Wait for the first byte, or the end; False when neither came within ``patience`` seconds of the start."""
        with self._moved:
            while not (self._written or self._done.is_set()):
                left = self._left(patience, BLOCK)
                if left <= 0:
                    return False
                self._moved.wait(left)
        if self.size is not None and self.size <= SMALL:
            self._end(GRACE)
        return True

    def open(self) -> Incoming | None:
        """The file to read from as it comes; None when it has ended, or its length is not known before."""
        with self._moved:
            if self._done.is_set() or self._descriptor < 0 or self.size is None:
                return None
            return Incoming(self, os.dup(self._descriptor), self.size)

    def sendable(self, sent: int, size: int) -> int:
        """Wait until more than ``sent`` bytes may be sent; returns how many. Raises BrokenPipeError when it failed."""
        with self._moved:
            while True:
                may = size if self._verified else min(self._written, size - min(HELD_BACK, (size + 1) // 2))
                if may > sent:
                    return may
                if self._done.is_set():
                    # The server hangs up before the promised length is reached, so that nobody takes it for the file.
                    raise BrokenPipeError(errno.EPIPE, "the file did not arrive whole")
                self._moved.wait()


class Incoming:
    """One asker's view of an arrival: a body of ``size`` bytes, to be closed however it ends (PEP 3333)."""

    def __init__(self, arrival: Arrival, descriptor: int, size: int) -> None:
        self.size = size
        self._arrival = arrival
        self._stream = os.fdopen(descriptor, "rb", buffering=0)

    def __iter__(self) -> Iterator[bytes]:
        sent = 0
        while sent < self.size:
            may = self._arrival.sendable(sent, self.size)
            # Its own offset: all descriptors of one opening share one.
            block = os.pread(self._stream.fileno(), min(BLOCK, may - sent), sent)
            sent += len(block)
            yield block

    def close(self) -> None:
        self._stream.close()
