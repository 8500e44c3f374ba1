"""Whose upload comes in now: so many at once, so many of one account; and a body comes at a pace, or not at all.

An upload that crawls keeps its place from others, and one account can begin any number of them. So who comes waits for
a while when the places are taken, not at all behind too many of his own, and whoever has a place must use it. Nobody
gets a place unless more are left than he has: one account leaves half of them to others, and two a quarter.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from core.cooperative import at_most
from core.errors import DaeError

PLACES = 8
QUEUE, OWN_QUEUE = 64, 16  # who wait for a place
PATIENCE = 20.0  # seconds of waiting for one
GRACE = 30.0  # seconds for which a body may rest;
PACE = 64 << 10  # they come back, a second for each so many bytes that come, and no more of them
MOST_SECONDS = 1800.0  # of waiting for one body, however large it is
DRAIN_SECONDS = 30.0  # for the rest of one that is refused


class Source(Protocol):
    """What the bytes of a body are read from."""

    def read(self, size: int, /) -> bytes: ...


class Turns:
    """The places for uploads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._placed: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()

    @contextmanager
    def turn(self, who: str) -> Iterator[None]:
        """A place for an upload of that account; raises ``mirror/too-many-uploads`` or ``mirror/busy``."""
        with self._changed:
            if not self._is_free(who):
                self._queue(who)
            self._placed[who] += 1
        try:
            yield
        finally:
            with self._changed:
                self._placed[who] -= 1
                self._placed = +self._placed  # none of who has no place
                self._changed.notify_all()

    def _is_free(self, who: str) -> bool:
        return self._placed[who] < PLACES - self._placed.total()

    def _queue(self, who: str) -> None:
        if self._waiting[who] >= OWN_QUEUE:
            cause = f"{who} has {self._placed[who]} uploads under way, and {OWN_QUEUE} that wait"
            raise DaeError("mirror/too-many-uploads", cause, "upload fewer files at once, or try again in a while")
        if self._waiting.total() >= QUEUE:
            raise DaeError("mirror/busy", "many uploads are under way, and many wait", "try again in a while")
        self._waiting[who] += 1
        try:
            came = self._changed.wait_for(lambda: self._is_free(who), PATIENCE)
        finally:
            self._waiting[who] -= 1
            self._waiting = +self._waiting
        if came:
            return
        if held := self._placed[who]:
            cause = f"{who} has {held} uploads under way, none of which has ended for a while; other places are others'"
            raise DaeError("mirror/too-many-uploads", cause, "end them, or try again when they have ended")
        raise DaeError("mirror/busy", f"{PLACES} uploads are under way, none of which ends", "try again in a while")


class Paced:
    """A request's body, which its client must send at a pace; only the time of waiting for it counts.

    Reading raises ``mirror/too-slow``, and OSError as the body itself does.
    """

    def __init__(self, body: Source, most: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._body = body
        self._most = MOST_SECONDS if most is None else most
        self._clock = clock
        self._waited = 0.0
        self._patience = GRACE
        self._received = 0

    def read(self, size: int, /) -> bytes:
        began = self._clock()
        try:
            with at_most(max(0.0, self._left())):
                block = self._body.read(size)
        except TimeoutError:
            raise self._slow() from None
        took = self._clock() - began
        self._waited += took
        self._patience -= took
        self._received += len(block)
        if self._left() < 0:
            raise self._slow()
        self._patience = min(GRACE, self._patience + len(block) / PACE)
        return block

    def _left(self) -> float:
        return min(self._patience, self._most - self._waited)

    def _slow(self) -> DaeError:
        cause = f"the upload comes too slowly, or rests: {self._received} bytes in {self._waited:.0f} s"
        return DaeError("mirror/too-slow", cause, f"upload from where {PACE >> 10} KiB/s get through; nothing is kept")
