"""The holder's side of a session: renew in time, and know by one's own clock when it is too late."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from core.errors import DaeError

LOG = logging.getLogger("dae.coord")
# Of the time to live: renew this often, and give up this long after the last renewal began. The gap between the
# second figure and 1 is what makes the holder stop before anybody else may take over.
RENEW_AFTER = 0.3
LOST_AFTER = 0.8


class Lease:
    """A session whose server side is two functions.

    ``renew`` extends it by ``ttl`` seconds and returns False when it has ended; ``end`` ends it. Both may raise what
    they like: a failed renewal is tried again until the time is up. ``clock`` gives seconds and never goes back;
    ``began`` is its reading from before the session was made.
    """

    def __init__(
        self,
        id: str,  # noqa: A002 - the interface's word
        ttl: float,
        began: float,
        clock: Callable[[], float],
        renew: Callable[[], bool],
        end: Callable[[], None],
    ) -> None:
        self._id, self._ttl, self._clock = id, ttl, clock
        self._renew, self._end = renew, end
        self._deadline = began + ttl * LOST_AFTER
        self._mutex = threading.Lock()
        self._over = False
        self._closed = threading.Event()
        threading.Thread(target=self._keep, name=f"coord-{id[:8]}", daemon=True).start()

    @property
    def id(self) -> str:
        return self._id

    @property
    def lost(self) -> bool:
        with self._mutex:
            # Once said it stays so, even if a late renewal gets through: the holder may have stopped its work by then.
            self._over = self._over or self._clock() >= self._deadline
            return self._over

    def check(self) -> None:
        """Raise ``coord/lost`` when the session is lost."""
        if self.lost:
            raise DaeError("coord/lost", "the coordination session ended", "try again")

    def close(self) -> None:
        """End the session now; closing again does nothing."""
        if self._closed.is_set():
            return
        self._closed.set()
        with self._mutex:
            self._over = True
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _keep(self) -> None:
        """Renew until closed or lost. Runs in a thread of its own (a greenlet when gevent patched threading)."""
        while not self._closed.wait(self._ttl * RENEW_AFTER) and not self.lost:
            self._renew_once()

    def _renew_once(self) -> None:
        began = self._clock()
        try:
            alive = self._renew()
        except Exception:  # whatever it is: the next attempt or the deadline settles it
            LOG.warning("session %s could not be renewed", self._id, exc_info=True)
            return
        with self._mutex:
            if alive:
                self._deadline = began + self._ttl * LOST_AFTER
            else:
                self._over = True
