"""Remembers trouble with one upstream: whether to ask it before answering with what is at hand, or at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

OPENS_AFTER = 3  # failures in a row; one that fails may be one page's affair


class Breaker:
    """Who has something to answer with asks seldom after one failure; who has nothing, after several in a row.

    Either way one asker in every ``pause`` seconds goes through, and finds out when it is over.
    """

    def __init__(self, pause: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._pause = pause
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: float | None = None
        self._failures = 0

    @property
    def trouble(self) -> bool:
        """Whether the last that was heard of upstream is a failure."""
        return self._failed is not None

    @property
    def is_open(self) -> bool:
        """Whether it failed so often in a row that nobody asks but to try."""
        return self._failures >= OPENS_AFTER

    def may_ask(self) -> bool:
        """True without trouble; in trouble true for one caller in every ``pause`` seconds."""
        with self._lock:
            return self._failed is None or self._turn(self._failed)

    def admits(self) -> bool:
        """The same for who has nothing to answer with: true until it is open."""
        with self._lock:
            return self._failed is None or not self.is_open or self._turn(self._failed)

    def pause_left(self) -> float:
        """For how many seconds upstream is to be left alone; 0 without trouble."""
        with self._lock:
            return 0.0 if self._failed is None else max(0.0, self._failed + self._pause - self._clock())

    def suspect(self) -> None:
        """Somebody waited in vain; how it ends is still to be seen."""
        with self._lock:
            self._failed = self._clock()

    def fail(self) -> None:
        with self._lock:
            self._failed = self._clock()
            self._failures += 1

    def succeed(self) -> None:
        with self._lock:
            self._failed = None
            self._failures = 0

    def _turn(self, failed: float) -> bool:
        if self._clock() - failed < self._pause:
            return False
        self._failed = self._clock()
        return True
