"""What the parts that serve under gevent must set right before they work."""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def close_at_once() -> None:
    """Let ``os.close`` close when it is called, also where gevent has patched it; call it once, at the start.

    Since 25.8 gevent's own waits for the next turn of its loop. Work that does not yield, such as a walk over a tree,
    would keep each folder's descriptor until its end, and an end of file that somebody waits for would not come. No
    descriptor that is closed by number here is one that a greenlet waits for.
    """
    import gevent.monkey  # late: not every process of the platform has a loop

    original: Callable[[str, str], Any] = gevent.monkey.get_original  # gevent has no types
    os.close = original("os", "close")


def aside(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Do ``work`` that never waits for anything, such as removing a large tree, without holding others up.

    Where gevent runs, that is in a thread of the system's; ``work`` must not touch what greenlets share.
    """
    if "gevent" not in sys.modules:
        return work(*arguments, **named)
    import gevent

    def outcome() -> tuple[T, None] | tuple[None, Exception]:
        try:
            return work(*arguments, **named), None
        except Exception as error:  # noqa: BLE001 - raised below: gevent would print it, whoever handles it
            return None, error

    hub: Any = gevent.get_hub()  # type: ignore[no-untyped-call]  # gevent has no types
    done, error = hub.threadpool.apply(outcome)
    if error is not None:
        raise error
    return done  # type: ignore[no-any-return]


def take_flock(
    file: int | IO[bytes],
    how: int = fcntl.LOCK_EX,
    *,
    every: float = 0.005,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Wait for flock(2) on an open file; it is freed when that is closed, or its holder dies.

    It is asked for again ``every`` so many seconds, with ``meanwhile`` done in between: waiting inside the system call
    would keep every greenlet of this process waiting, the one that has the lock as well.
    """
    while True:
        try:
            return fcntl.flock(file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            meanwhile()
            time.sleep(every)


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the block, where it waits for something, once it has taken so long; only gevent can."""
    if "gevent" not in sys.modules:
        yield
        return
    import gevent

    timeout: Any = gevent.Timeout  # gevent has no types
    with timeout(seconds, TimeoutError(f"it took more than {seconds} s")):
        yield
