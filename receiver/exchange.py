"""One request and one git process: the body streams in, the answer streams out, neither is ever held as a whole.

gunicorn's gevent worker has patched the standard library: the request's own greenlet reads git's output, a second one
feeds it the body and then watches whether the client is still there. Pipes and sockets are bounded, so whoever is slow
slows the other end down.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import gevent
import gevent.socket
from gunicorn.http.errors import ParseException

from core.errors import DaeError
from receiver.packets import Read, frames
from receiver.process import Program, close

CHUNK = 1 << 16
TOO_LARGE_HINT = "take large files out of the history; the operator can raise DAE_PUSH_BYTES"

_spawn: Callable[..., Any] = gevent.spawn  # gevent has no types
_wait_read: Callable[[int], None] = gevent.socket.wait_read  # type: ignore[attr-defined]


@dataclass(slots=True)
class Body:
    """What the client sends: ``head`` was read already, ``read`` gives the rest.

    ``limit``: the most bytes that git gets (0: no limit); beyond it the push is refused with ``push/too-large``.
    ``connection``: where a client that leaves is noticed, once all is read.
    """

    read: Read
    head: bytes = b""
    limit: int = 0
    connection: socket.socket | None = None


@dataclass(slots=True)
class Exchange:
    """The answer of a WSGI request: iterate over it, then ``close`` it.

    ``settles`` says that git must be left to end by itself when the client is gone (a push: the ref follows what
    became of the deploy, see ``receiver.hook``); otherwise it is killed.
    """

    program: Program
    body: Body
    settles: bool = False
    #: The end of the pipe that tells the hook, by closing, that nobody waits for the push any more.
    alive: int = -1
    #: Why the door itself ended the push.
    error: DaeError | None = None
    feeder: Any = field(init=False)

    def __post_init__(self) -> None:
        self.feeder = _spawn(self._feed)

    def __iter__(self) -> Iterator[bytes]:
        read = self.program.read
        if self.settles:
            for frame in frames(read):  # whole frames, so that a refusal can follow any of them
                if self.error is None:
                    yield frame
        else:
            while chunk := read(CHUNK):
                yield chunk
        self.program.wait()
        self._let_go()

    def drained(self) -> None:
        """Wait until the body was read to its end: a client that still sends would not see the answer otherwise."""
        self.feeder.join()

    def close(self) -> None:
        """gunicorn calls this at the end, also when the client went away in the middle."""
        self.feeder.kill()
        self.program.close_stdin()  # a feeder that never got to run has not done it
        self._let_go()
        if self.program.ended:
            self.program.close_stdout()
        elif self.settles:
            _spawn(self._drain)
        else:
            self.program.kill()
            self._drain()

    def _feed(self) -> None:
        """Copy the body to git, then wait for the client to leave."""
        try:
            self._copy()
        except (OSError, EOFError, ParseException):  # the client left, or broke its own framing
            self._leave()
            return
        finally:
            self.program.close_stdin()
        watch = self.body.connection if self.error is None else None
        if watch is not None and _wait_for_end(watch):
            self._leave()

    def _copy(self) -> None:
        taken = 0
        chunk = self.body.head or self.body.read(CHUNK)
        while chunk:
            taken += len(chunk)
            if self.body.limit and taken > self.body.limit:
                return self._refuse()
            if not self.program.write(chunk):
                break
            chunk = self.body.read(CHUNK)
        return self._skip(self.body.limit or CHUNK)

    def _refuse(self) -> None:
        limit = self.body.limit
        self.error = DaeError("push/too-large", f"the push is larger than {limit:,} bytes", TOO_LARGE_HINT)
        self.program.close_stdin()  # for git the pack breaks off: it ends, and takes its quarantine away itself
        self._skip(2 * limit)

    def _skip(self, limit: int) -> None:
        """Read on, for nothing: up to ``limit`` bytes, then the client is left alone."""
        while limit > 0 and (chunk := self.body.read(CHUNK)):
            limit -= len(chunk)

    def _leave(self) -> None:
        self._let_go()
        if not self.settles:
            self.program.kill()

    def _let_go(self) -> None:
        alive, self.alive = self.alive, -1
        if alive >= 0:
            close(alive)

    def _drain(self) -> None:
        """Keep reading for nobody: git must not be stopped by a full or broken pipe before it has moved the ref."""
        while self.program.read(CHUNK):
            pass
        self.program.wait()
        self.program.close_stdout()


def _wait_for_end(connection: socket.socket) -> bool:
    """Wait for the client to close; False when it sends something more instead (then its next request waits)."""
    _wait_read(connection.fileno())
    try:
        return not connection.recv(1, socket.MSG_PEEK)
    except OSError:
        return True
