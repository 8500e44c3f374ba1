"""The process that sends: takes the deliveries that are due, tries each, and notes what became of it.

At least once: a delivery that was taken is due again ``CLAIM_SECONDS`` later unless its outcome was noted, so a worker
that dies in the middle leaves nothing behind but a repeat. Several workers may run. Order is not promised; the id of
an event is.

``python -I -m hooks.worker``
"""

from __future__ import annotations

import datetime
import logging
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from core import config, events
from core.nouns import Event, now
from core.paths import Home
from core.store import DeliveryRow, EventRow, HookRow, Store
from hooks.sending import Result, Sender, body_of, headers_of

LOG = logging.getLogger("dae.hooks")
POLL_SECONDS = 0.5
CLAIM_SECONDS = 60.0
STOP_SECONDS = 2.0
SLOTS = 8
RETRY_SECONDS = 10.0
RETRY_FACTOR = 4
RETRY_LONGEST = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery that this worker took: all that it needs to send it."""

    id: int
    hook: int
    url: str
    secret: str
    event: Event


def pause_after(attempts: int, chance: float, first: float = RETRY_SECONDS) -> float:
    """Seconds until the next attempt after ``attempts`` failed ones; ``chance`` (0 to 1) spreads it by a fifth."""
    return min(first * float(RETRY_FACTOR ** (attempts - 1)), RETRY_LONGEST) * (0.8 + 0.4 * chance)


class Worker:
    """Sends what is due. One attempt per webhook at a time, so that a slow receiver delays nobody but itself."""

    def __init__(
        self,
        store: Store,
        sender: Sender,
        attempts: int,
        *,
        clock: Callable[[], datetime.datetime] = now,
        chance: Callable[[], float] = random.random,
        claim_seconds: float = CLAIM_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._store, self._sender, self._attempts = store, sender, attempts
        self._clock, self._chance = clock, chance
        self._claim_seconds, self._retry_seconds, self._poll_seconds = claim_seconds, retry_seconds, poll_seconds
        self._busy: dict[int, threading.Thread] = {}  # webhook -> the thread that sends to it
        self._mutex = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False

    def run(self) -> None:
        """Work until :meth:`stop`; then give attempts that are under way ``STOP_SECONDS``, and leave the rest."""
        while not self._stopping:
            self._wake.clear()
            for claimed in self.claim():
                self._start(claimed)
            self._wake.wait(self._poll_seconds)
        deadline = time.monotonic() + STOP_SECONDS
        for thread in list(self._busy.values()):
            thread.join(max(0.0, deadline - time.monotonic()))

    def stop(self) -> None:
        """Ask :meth:`run` to return, which it does within ``POLL_SECONDS`` and ``STOP_SECONDS``."""
        self._stopping = True  # no more than that: in a signal handler, setting an Event can wait for itself

    def claim(self) -> list[Claimed]:
        """Take deliveries that are due: the oldest of each webhook that is idle, as many as there are free slots."""
        due = sa.and_(DeliveryRow.state == "waiting", DeliveryRow.due <= self._clock())
        with self._store.read() as db:
            if not db.scalar(sa.select(sa.exists().where(due))):
                return []
        with self._mutex:
            busy = set(self._busy)
        wanted = (
            sa.select(sa.func.min(DeliveryRow.id))
            .where(due, DeliveryRow.hook.not_in(busy))
            .group_by(DeliveryRow.hook)
            .limit(SLOTS - len(busy))
        )
        with self._store.write() as db:
            chosen = list(db.scalars(wanted))
            until = self._clock() + datetime.timedelta(seconds=self._claim_seconds)
            db.execute(sa.update(DeliveryRow).where(DeliveryRow.id.in_(chosen)).values(due=until))
            rows = (
                sa.select(DeliveryRow.id, HookRow, EventRow)
                .join(HookRow, HookRow.id == DeliveryRow.hook)
                .join(EventRow, EventRow.id == DeliveryRow.event)
                .where(DeliveryRow.id.in_(chosen))
            )
            found = db.execute(rows)
            return [Claimed(number, hook.id, hook.url, hook.secret, events.event(row)) for number, hook, row in found]

    def attempt(self, claimed: Claimed) -> Result:
        """Send one delivery and note how it went."""
        body = body_of(claimed.event)
        result = self._sender.send(claimed.url, headers_of(claimed.event, claimed.id, claimed.secret, body), body)
        self._note(claimed, result)
        return result

    def _note(self, claimed: Claimed, result: Result) -> None:
        with self._store.write() as db:
            row = db.get(DeliveryRow, claimed.id)
            if row is None or row.state != "waiting":
                return  # removed meanwhile, or another worker was faster
            row.attempts += 1
            row.status, row.error = result.status, result.error
            if result.ok or result.final or row.attempts >= self._attempts:
                row.state = "delivered" if result.ok else "failed"
                row.finished = self._clock()
            else:
                pause = pause_after(row.attempts, self._chance(), self._retry_seconds)
                row.due = self._clock() + datetime.timedelta(seconds=pause)
            LOG.info("delivery %d to webhook %d: %s %s", claimed.id, claimed.hook, row.state, result.error)

    def _start(self, claimed: Claimed) -> None:
        thread = threading.Thread(target=self._work, args=(claimed,), daemon=True)
        with self._mutex:
            self._busy[claimed.hook] = thread
        thread.start()

    def _work(self, claimed: Claimed) -> None:
        try:
            self.attempt(claimed)
        except Exception:  # a defect, or the database is unavailable: the delivery becomes due again by itself
            LOG.exception("delivery %d was not finished", claimed.id)
        finally:
            with self._mutex:
                del self._busy[claimed.hook]
            self._wake.set()


def main() -> int:
    """Run a worker on the platform's store until SIGTERM or SIGINT."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    settings = config.load()
    store = Store.at(Home(settings.home).database)
    worker = Worker(store, Sender(settings.hook_networks), settings.hook_attempts)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    while not store.ready():  # whoever starts the platform makes the schema
        time.sleep(POLL_SECONDS)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    worker.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
