"""How what was started ends: waiting for it, and what is said of a command that failed."""

from __future__ import annotations

import os
import select
from collections.abc import Callable

from core.errors import DaeError
from runner.stream import Ended

HasEnded = Callable[[float], bool]


class Ending:
    """Waits for a process to end; it need not be our child (pidfd_open(2))."""

    def __init__(self, pid: int) -> None:
        try:
            self._descriptor: int | None = os.pidfd_open(pid)
        except ProcessLookupError:
            self._descriptor = None

    def __call__(self, seconds: float) -> bool:
        """Wait at most ``seconds``; did it end?"""
        return self._descriptor is None or bool(select.select([self._descriptor], [], [], seconds)[0])

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)


def command_failed(command: str, ended: Ended, seconds: int) -> DaeError:
    """The error of a release command that did not end with status 0; ``seconds``: what it had."""
    hint = "its output is above"
    if ended.cancelled:
        how = "was cancelled"
    elif ended.timed_out:
        how, hint = f"was stopped after {seconds} s", "give it more: release_timeout: SECONDS in app.yaml"
    else:
        how = f"was killed by signal {-ended.status}" if ended.status < 0 else f"ended with status {ended.status}"
    return DaeError("release/command-failed", f"the release command {how}: {command}", hint)
