"""Starting programs by posix_spawn(3), and waiting for them without stopping anybody else where gevent runs.

gevent's own Popen forks, which takes 9 ms in a process of control's size, and a build starts several programs;
posix_spawn takes 0.7 ms. ``os.posix_spawn``, ``os.waitpid``, ``time.sleep`` and ``select.poll`` are gevent's where that
has patched them: its loop collects the children that it was shown.
"""

from __future__ import annotations

import io
import os
import select
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Any

_PAUSES = (0.001, 0.02)  # seconds between two looks whether a program has ended: the first, the longest


class Child:
    """A running program, the leader of a session of its own.

    ``stdin``: a file or descriptor that it reads; ``stdout``: one that it writes to, else there is a pipe for
    :meth:`reader`; with ``errors``, its standard error is the same. All else is the null device; of other files of ours
    it has none. Raises FileNotFoundError when there is no such program on the PATH of ``environ``.
    """

    def __init__(
        self,
        argv: Sequence[str],
        environ: Mapping[str, str],
        stdin: IO[bytes] | int | None = None,
        stdout: IO[bytes] | None = None,
        *,
        errors: bool = False,
    ) -> None:
        path = shutil.which(argv[0], path=environ.get("PATH", os.defpath))
        if path is None:
            raise FileNotFoundError(f"there is no program {argv[0]}")
        _listen()
        self._status: int | None = None
        self._pipe, theirs = os.pipe() if stdout is None else (-1, -1)
        try:
            actions: list[tuple[Any, ...]] = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 2)]
            if stdin is not None:
                source = stdin if isinstance(stdin, int) else stdin.fileno()
                actions.append((os.POSIX_SPAWN_DUP2, source, 0))
            actions.append((os.POSIX_SPAWN_DUP2, theirs if stdout is None else stdout.fileno(), 1))
            if errors:
                actions.append((os.POSIX_SPAWN_DUP2, 1, 2))
            # Python ignores these signals, and what is ignored stays ignored in the next program.
            defaults = [signal.SIGPIPE, signal.SIGXFSZ]
            self.pid = os.posix_spawn(
                path, list(argv), dict(environ), file_actions=actions, setsid=True, setsigdef=defaults
            )
        except BaseException:
            self._close(self._pipe)
            raise
        finally:
            self._close(theirs)

    @staticmethod
    def _close(descriptor: int) -> None:
        if descriptor >= 0:
            os.close(descriptor)

    def poll(self) -> int | None:
        """Its exit status (negative: the signal) when it has ended, else None."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid == self.pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def wait(self, seconds: float = float("inf")) -> int | None:
        """The same, once it has ended, or ``seconds`` are over."""
        deadline, pause = time.monotonic() + seconds, _PAUSES[0]
        while self.poll() is None and time.monotonic() < deadline:
            time.sleep(pause)
            pause = min(2 * pause, _PAUSES[1])
        return self._status

    def kill(self) -> None:
        """SIGKILL to its group; nothing to do when it is gone."""
        if self.poll() is None:  # and so not yet collected: its number is nobody else's
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def reader(self) -> io.BufferedReader:
        """What it writes, to be read while others go on. Closing it closes the pipe."""
        return io.BufferedReader(_Pipe(self._pipe), 1 << 17)


def _listen() -> None:
    """Have gevent's loop hear of children that end, before the first one is started.

    gevent's posix_spawn sees to that after it has started one: a first child that ended by then was never reported.
    """
    if os.waitpid.__module__ == "gevent.os":
        import gevent  # late: not every process of the platform has a loop

        hub: Any = gevent.get_hub()  # type: ignore[no-untyped-call]  # gevent has no types
        hub.loop.install_sigchld()


class _Pipe(io.RawIOBase):
    """The end of a pipe that is read; waiting for it is ``select.poll``'s, which lets others go on under gevent."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._ready = select.poll()  # select() knows no descriptor above 1023
        self._ready.register(descriptor, select.POLLIN)

    def fileno(self) -> int:
        return self._descriptor

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed says Buffer
        self._ready.poll()
        return os.readv(self._descriptor, [buffer])

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._descriptor)
