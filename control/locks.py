"""One workflow per app at a time: a lock in coord, which frees itself when its holder dies."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from control.context import Context
from control.output import Output
from core.errors import DaeError

log = logging.getLogger("dae.control")

SESSION_SECONDS = 10
WAIT_SECONDS = 600
SAY_EVERY = 5


def lock_name(app: str) -> str:
    """What the app's lock is called in coord."""
    return f"app/{app}"


def app_lock(context: Context, app: str, what: str, output: Output) -> AbstractContextManager[Output]:
    """Hold the app's lock. While waiting, says who has it; raises ``app/busy`` at last.

    Yields the output to work with: its ``check`` also raises ``coord/lost`` when the lock's lease has run out, so that
    a plan stops before its commit rather than write as a holder that is one no more.
    """
    return _held(context, lock_name(app), what, f"on {app}", output)


def locking_turn(context: Context, output: Output) -> AbstractContextManager[Output]:
    """The same for making a ``dae.lock``: on the whole platform one at a time, so that pushes keep a build's place.

    Whose it is the others are not told.
    """
    return _held(context, "locking", "another dae.lock", "that is being made", output)


@contextmanager
def _held(context: Context, name: str, what: str, where: str, output: Output) -> Iterator[Output]:
    session = context.coord.session(SESSION_SECONDS)
    lock = context.coord.lock(name, session, timeout=0, who=what)
    deadline = time.monotonic() + WAIT_SECONDS
    try:
        spoken = 0.0
        while not lock.acquire(timeout=SAY_EVERY if spoken else 0.2):
            output.check()
            if time.monotonic() > deadline:
                raise DaeError("app/busy", f"{lock.holder() or 'another operation'} {where} did not end", "try later")
            spoken = time.monotonic()
            output.detail(f"waiting for {lock.holder() or 'another operation'} {where}")
        yield output.guarded(lock.check)
    finally:
        for end in (lock.release, session.close):
            try:
                end()
            except Exception:  # of a full disk: the session is renewed no more, and the lock frees itself soon
                log.warning("the lock %s could not be released", name, exc_info=True)
