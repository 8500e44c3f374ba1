"""One piece of work for all who ask for the same thing at once; it goes on when they leave."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Any, Generic, Self, TypeVar

from core.errors import DaeError

Result = TypeVar("Result")
F = TypeVar("F", bound="Flight[Any]")


def idle_seconds() -> float:
    """Seconds in which this process had nothing to do."""
    return time.monotonic() - time.process_time()


class Flight(Generic[Result]):
    """Work under way in its own thread (a greenlet, where gevent has patched).

    Its seconds are those in which this process has nothing to do, and count anew when another flight has landed: of
    many pages that are asked for at once most wait for the others, which is no silence of upstream's.
    """

    def __init__(self, last: Callable[[], float] = lambda: 0.0, clock: Callable[[], float] = idle_seconds) -> None:
        """``last``: when, by the ``clock``, the last flight to the same place landed."""
        self._last = last
        self._clock = clock
        self._started = clock()
        self.received = 0  # bytes so far, told by the work itself
        self.answered = False  # upstream has said all; what is left to do is our own work
        self._done = threading.Event()
        self._result: Result | None = None
        self._error: Exception | None = None

    def advance(self, count: int, patience: float, rate: float) -> None:
        """The work says that ``count`` more bytes have come; raises ``mirror/unavailable`` when it is too slow.

        It may take ``patience`` seconds, plus a second for each ``rate`` bytes.
        """
        self.received += count
        if self._left(patience, rate) <= 0:
            raise DaeError("mirror/unavailable", "upstream sends too slowly", "try again")

    def answer(self) -> None:
        """The work says that upstream has said all."""
        self.answered = True

    def wait(self, patience: float, rate: float) -> bool:
        """Wait for the end, ``patience`` seconds from the start plus a second for each ``rate`` bytes that came.

        Tells whether it has ended.
        """
        while not self._done.is_set():
            left = self._left(patience, rate)
            if left <= 0:
                return False
            self._end(left)
        return True

    def _end(self, timeout: float | None = None) -> None:
        """Wait for the end.

        One that has come is not waited for: gevent would queue who asks behind those whom it is still to wake, and
        forgets the queue when the last of them runs out of time just then.
        """
        if not self._done.is_set():
            self._done.wait(timeout)

    def is_late(self, patience: float, rate: float) -> bool:
        """Whether :meth:`advance` would give it up."""
        return self._left(patience, rate) <= 0

    def _left(self, patience: float, rate: float) -> float:
        return max(self._started, self._last()) + patience + self.received / rate - self._clock()

    def result(self) -> Result:
        """What the work returned, waiting for its end; raises what it raised."""
        self._end()
        if isinstance(self._error, DaeError):
            # A fresh one for each asker: one exception raised in many places grows one tangled traceback.
            raise DaeError(self._error.code, self._error.cause, self._error.hint) from self._error
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]  # it is set when there is no error

    def _run(self, work: Callable[[Self], Result]) -> None:
        try:
            self._result = work(self)
        except Exception as error:  # noqa: BLE001 - it is raised again in those who asked
            self._error = error

    def _land(self) -> None:
        self._done.set()


class Flights(Generic[F]):
    """The work under way, by key; ``make`` makes a flight of the kind that it is."""

    def __init__(self, make: Callable[[Callable[[], float]], F]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._flying: dict[Hashable, F] = {}
        self._landed = 0.0

    def under_way(self, key: Hashable) -> F | None:
        """The flight for ``key`` that is under way, if one is."""
        return self._flying.get(key)

    def join(self, key: Hashable, work: Callable[[F], Any]) -> F:
        """The flight for ``key``: the one under way, else a new one that does ``work``."""
        with self._lock:
            flight = self._flying.get(key)
            if flight is not None:
                return flight
            flight = self._flying[key] = self._make(lambda: self._landed)
        threading.Thread(target=self._fly, args=(key, flight, work), daemon=True).start()
        return flight

    def _fly(self, key: Hashable, flight: F, work: Callable[[F], Any]) -> None:
        flight._run(work)
        if flight._error is None:
            self._landed = idle_seconds()
        with self._lock:
            del self._flying[key]
        flight._land()
