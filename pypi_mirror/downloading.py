"""The bytes of a file from upstream, from as many answers as it takes: what breaks off goes on where it ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from core.errors import DaeError
from pypi_mirror.client import unavailable
from pypi_mirror.flights import Flight
from pypi_mirror.model import File
from pypi_mirror.retrying import pause
from pypi_mirror.upstream import Upstream

ATTEMPTS = 5  # without progress, that is a MB
PROGRESS = 1 << 20

log = logging.getLogger("dae.mirror")


class Download:
    """Fetches one file. ``expect`` is told its size as soon as it is known, ``take`` gets the bytes in order, once."""

    def __init__(
        self,
        file: File,
        expect: Callable[[int | None], None],
        take: Callable[[bytes], None],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.taken = 0
        self._file = file
        self._expect = expect
        self._take = take
        self._sleep = sleep
        self._size = file.size
        self._validator = ""

    def run(self, upstream: Upstream, flight: Flight[Any], patience: float, rate: float) -> None:
        """Fetch it; the flight's patience bounds it as a whole. The caller compares the hash.

        Raises ``mirror/unavailable``, ``mirror/unknown-file`` or ``mirror/hash-mismatch``.
        """
        failures = 0
        while True:
            before = self.taken
            try:
                self._part(upstream, lambda count: flight.advance(count, patience, rate))
                return
            except DaeError as error:
                failures = 1 if self.taken - before >= PROGRESS else failures + 1
                late = flight.is_late(patience, rate)
                if error.code != "mirror/unavailable" or failures >= ATTEMPTS or late or upstream.files.is_open:
                    raise
                log.info("%s broke off after %d bytes: %s", self._file.filename, self.taken, error.cause)
            self._sleep(pause(failures))

    def _part(self, upstream: Upstream, advance: Callable[[int], None]) -> None:
        with upstream.file(self._file, advance, self.taken, self._validator) as part:
            if None not in (part.size, self._size) and part.size != self._size:
                raise DaeError("mirror/hash-mismatch", f"upstream's {self._file.filename} is not as long as it was")
            self._size = part.size if self._size is None else self._size
            self._validator = part.validator or self._validator
            self._expect(self._size)
            skip = self.taken - part.start  # upstream began anew: the hash tells whether it is the same file
            for chunk in part.chunks:
                rest = chunk[skip:]
                skip = max(0, skip - len(chunk))
                if rest:
                    self._take(rest)
                    self.taken += len(rest)
        if self._size is not None and self.taken < self._size:
            raise unavailable(f"upstream's {self._file.filename} broke off")
