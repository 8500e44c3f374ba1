"""Remembers trouble with one upstream: whether to ask it before answering with what is at hand, or at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

OPENS_AFTER = 3  # failures in a row; one that fails may be one page's affair


@dataclass(frozen=True, slots=True)
class Health:
    """How an upstream is: ``state`` is answers, in trouble, or left alone; times in seconds since 1970, None: never."""

    state: str = "answers"
    failures: int = 0  # in a row
    last_success: float | None = None
    last_failure: float | None = None
    last_error: str = ""

    def to_json(self) -> dict[str, object]:
        return asdict(self)


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
        self._succeeded: float | None = None  # these are told, and decide nothing
        self._error: tuple[float | None, str] = (None, "")

    @property
    def health(self) -> Health:
        """What a person is told of it."""
        with self._lock:
            state = "left alone" if self.is_open else "answers" if self._failed is None else "in trouble"
            return Health(state, self._failures, self._succeeded, *self._error)

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

    def suspect(self, why: str = "somebody waited in vain") -> None:
        """Somebody waited in vain; how it ends is still to be seen."""
        with self._lock:
            self._failed = self._clock()
            self._error = time.time(), why

    def fail(self, why: str = "") -> None:
        """It failed; ``why``: what a person is told."""
        with self._lock:
            self._failed = self._clock()
            self._failures += 1
            self._error = time.time(), why

    def succeed(self) -> None:
        with self._lock:
            self._failed = None
            self._failures = 0
            self._succeeded = time.time()

    def _turn(self, failed: float) -> bool:
        if self._clock() - failed < self._pause:
            return False
        self._failed = self._clock()
        return True
