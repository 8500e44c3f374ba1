"""A program with two pipes, for gevent: started fast, read and written without stopping anybody else.

gevent's own Popen forks, which takes 9 ms in a process of the door's size; posix_spawn(3) takes 0.7 ms, and a push
starts git twice. Only for programs that stream both ways: everything else goes through ``core.argv``.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gevent
import gevent.monkey
import gevent.os

from core.argv import CLEAN_ENVIRON, kill_group

_read: Callable[[int, int], bytes] = gevent.os.nb_read  # gevent has no types
_write: Callable[[int, Any], int] = gevent.os.nb_write
_sleep: Callable[[float], None] = gevent.sleep

_original: Callable[[str, str], Any] = gevent.monkey.get_original

# gevent's own posix_spawn and waitpid hand children to its loop, which reaps them when it pleases. And its os.close
# takes effect when the loop next wakes: too late for whoever waits for the end of a pipe, or for a lock that goes with
# the last copy of a file.
_posix_spawn = _original("os", "posix_spawn")
_waitpid = _original("os", "waitpid")
_close = _original("os", "close")


def close(descriptor: int) -> None:
    """Close a file at once; no greenlet may be waiting for it."""
    _close(descriptor)


class Program:
    """A running program, the leader of its own session.

    ``pass_fds`` are open in it under the same numbers; of all other files it has only its pipes and our stderr. Raises
    FileNotFoundError when there is no such program.
    """

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str], pass_fds: Sequence[int] = ()) -> None:
        path = shutil.which(argv[0], path=CLEAN_ENVIRON["PATH"])
        if path is None:
            raise FileNotFoundError(argv[0])
        theirs_in, self._stdin = os.pipe()
        self._stdout, theirs_out = os.pipe()
        try:
            # All of Python's files close on exec; a dup2 of one onto itself keeps it open (POSIX.1-2024).
            actions = [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in pass_fds]
            actions += [(os.POSIX_SPAWN_DUP2, theirs_in, 0), (os.POSIX_SPAWN_DUP2, theirs_out, 1)]
            self.pid: int = _posix_spawn(
                path, list(argv), dict(environ), file_actions=actions, setsid=True, setsigdef=[signal.SIGPIPE]
            )
        except BaseException:
            self.close_stdin()
            self.close_stdout()
            raise
        finally:
            close(theirs_in)
            close(theirs_out)
        os.set_blocking(self._stdin, False)
        os.set_blocking(self._stdout, False)
        self._ended = False

    def read(self, size: int) -> bytes:
        """What it wrote, up to ``size`` bytes; none at the end, or once stdout was closed."""
        return _read(self._stdout, size) if self._stdout >= 0 else b""

    def write(self, data: bytes) -> bool:
        """Give it all of ``data``; False when it no longer reads."""
        view = memoryview(data)
        try:
            while view and self._stdin >= 0:
                view = view[_write(self._stdin, view) :]
        except BrokenPipeError:
            return False
        return not view

    def close_stdin(self) -> None:
        descriptor, self._stdin = self._stdin, -1
        if descriptor >= 0:
            close(descriptor)

    def close_stdout(self) -> None:
        descriptor, self._stdout = self._stdout, -1
        if descriptor >= 0:
            close(descriptor)

    @property
    def ended(self) -> bool:
        """Whether it is gone; reaps it."""
        if not self._ended:
            try:
                self._ended = _waitpid(self.pid, os.WNOHANG)[0] == self.pid
            except ChildProcessError:  # gevent's own watcher of children was faster
                self._ended = True
        return self._ended

    def wait(self) -> None:
        """Until it is gone. Its output has ended as a rule, so that this takes no time."""
        pause = 0.001
        while not self.ended:
            _sleep(pause)
            pause = min(2 * pause, 0.1)

    def kill(self) -> None:
        """SIGKILL to it and to what it started."""
        if not self.ended:
            kill_group(self.pid)
