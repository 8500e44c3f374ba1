"""Until when nginx may serve a page without asking: a clock for each, and one thread that looks at them."""

from __future__ import annotations

import heapq
import logging
import threading
from collections.abc import Callable

log = logging.getLogger("dae.mirror")

AGAIN = 5.0  # seconds until what failed is tried once more
_LONGEST_SLEEP = 60.0  # seconds; the clock may be set while one sleeps


class Expiry:
    """Calls ``expire(name)`` when a name's time has come. A later time that is set replaces the earlier one."""

    def __init__(self, expire: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._expire = expire
        self._clock = clock
        self._times: dict[str, float] = {}
        self._queue: list[tuple[float, str]] = []
        self._changed = threading.Condition()
        threading.Thread(target=self._run, daemon=True).start()

    def at(self, name: str, time: float) -> None:
        """Expire ``name`` at ``time``, by the clock."""
        with self._changed:
            self._times[name] = time
            heapq.heappush(self._queue, (time, name))
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                left = self._queue[0][0] - self._clock() if self._queue else _LONGEST_SLEEP
                if left > 0:
                    self._changed.wait(min(left, _LONGEST_SLEEP))
                    continue
                time, name = heapq.heappop(self._queue)
                if self._times.get(name) != time:
                    continue  # it was given more time meanwhile
                del self._times[name]
            try:
                self._expire(name)
            except Exception:
                log.exception("the page of %s could not be expired", name)
                self.at(name, self._clock() + AGAIN)  # or nginx would serve it for ever
