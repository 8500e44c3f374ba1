"""The one place that runs programs. Commands are argv lists that pure functions made; no shell is ever involved."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

# What every program of the platform gets. Nothing of the caller's environment leaks into it.
CLEAN_ENVIRON: Mapping[str, str] = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
}
LINE_BYTES = 64 * 1024  # a longer line is given out in pieces
LOOK_SECONDS = 0.2  # how soon the end of a program is noticed whose grandchild holds the pipe


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended: exit status (negative: the signal), its output (stdout and stderr), and if time ran out."""

    argv: tuple[str, ...]
    status: int
    output: str
    timed_out: bool = False

    @property
    def ok(self) -> bool:
        return self.status == 0 and not self.timed_out


def run(
    argv: Sequence[str | Path],
    *,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 60,
    stdin: bytes = b"",
    on_line: Callable[[str], None] | None = None,
    on_data: Callable[[bytes], None] | None = None,
    check: Callable[[], None] = lambda: None,
    output_bytes: int = 1 << 20,
    own_session: bool = True,
) -> Outcome:
    """Run ``argv`` to its end and return its outcome; raises FileNotFoundError when there is no such program.

    ``environ`` is added to CLEAN_ENVIRON. stdout and stderr arrive together, in order; ``on_line`` gets each line as
    it comes (one longer than LINE_BYTES in pieces), ``on_data`` every byte; ``check`` is called several times a second;
    what one of them raises kills the program. Of the output the last ``output_bytes`` are kept. After ``timeout``
    seconds the whole process group is killed. Without ``own_session`` the program stays in the caller's group, and ends
    with that; then it alone is killed.
    """
    with _input(stdin) as source:
        started = Started(argv, environ=environ, cwd=cwd, stdin=source, own_session=own_session)
    return started.finish(timeout, on_line=on_line, on_data=on_data, check=check, output_bytes=output_bytes)


class Started:
    """A program that runs already, and whose output is collected later; for the arguments see :func:`run`.

    ``stdin``: what it reads, a file or a descriptor. Whoever starts one calls :meth:`finish` or :meth:`kill`.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        stdin: IO[bytes] | int,
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        own_session: bool = True,
    ) -> None:
        self._words = tuple(str(word) for word in argv)
        self._process = subprocess.Popen(
            self._words,
            cwd=cwd,
            env={**CLEAN_ENVIRON, **(environ or {})},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=own_session,
        )
        self._end = partial(kill_group, self._process.pid) if own_session else self._process.kill

    def finish(
        self,
        timeout: float,
        *,
        on_line: Callable[[str], None] | None = None,
        on_data: Callable[[bytes], None] | None = None,
        check: Callable[[], None] = lambda: None,
        output_bytes: int = 1 << 20,
    ) -> Outcome:
        """Collect what it says until it ends, or until ``timeout`` seconds from now are over; see :func:`run`."""
        deadline = time.monotonic() + timeout
        output = _Output(output_bytes, on_line, on_data)
        try:
            timed_out = not (_collect(self._process, deadline, output, check) and _ended(self._process, deadline))
            if timed_out:
                self._end()
            output.close()
        except BaseException:  # on_line raised, or we are told to stop: nothing is left behind
            self._end()
            raise
        finally:
            status = self._gone()
        return Outcome(self._words, status, output.text(), timed_out)

    def kill(self) -> None:
        """End it, whatever it does."""
        self._end()
        self._gone()

    def _gone(self) -> int:
        status = self._process.wait()
        assert self._process.stdout is not None  # noqa: S101 - stdout=PIPE, for the type checker
        self._process.stdout.close()
        return status


def kill_group(pid: int) -> None:
    """Send SIGKILL to the process group that ``pid`` leads; nothing to do when it is gone."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _input(data: bytes) -> IO[bytes]:
    """A file with the input. With a pipe, a program that does not read would hold us for ever."""
    if not data:
        return open(os.devnull, "rb")  # noqa: PTH123 - of the same type as the other
    source = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    source.write(data)
    source.seek(0)
    return source


class _Output:
    """The last ``limit`` bytes; each line to ``on_line`` as it is complete, and all bytes to ``on_data``."""

    def __init__(
        self, limit: int, on_line: Callable[[str], None] | None, on_data: Callable[[bytes], None] | None
    ) -> None:
        self._limit, self._on_line, self._on_data = limit, on_line, on_data
        self._kept = bytearray()
        self._pending = bytearray()

    def feed(self, chunk: bytes) -> None:
        self._kept += chunk
        del self._kept[: max(0, len(self._kept) - self._limit)]
        if self._on_data is not None:
            self._on_data(chunk)
        if self._on_line is None:
            return
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            self._say(bytes(self._pending + line))
            self._pending.clear()
        self._pending += rest
        if len(self._pending) > LINE_BYTES:
            self.close()

    def close(self) -> None:
        """Give out a last line that has no end."""
        if self._pending:
            self._say(bytes(self._pending))
            self._pending.clear()

    def text(self) -> str:
        return self._kept.decode(errors="replace")

    def _say(self, line: bytes) -> None:
        if self._on_line is not None:
            self._on_line(line.decode(errors="replace").rstrip("\r"))


def _collect(process: subprocess.Popen[bytes], deadline: float, output: _Output, check: Callable[[], None]) -> bool:
    """Read until end of file (True) or deadline (False). Under gevent, ``poll`` is the cooperative one."""
    import select  # late: gevent replaces it when it patches

    stream = process.stdout
    assert stream is not None  # noqa: S101 - see run
    readable = select.poll()  # select() knows no descriptor above 1023
    readable.register(stream, select.POLLIN)
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        check()
        ended = process.poll() is not None  # asked first: what it wrote before its end is in the pipe by then
        if readable.poll(0 if ended else min(left, LOOK_SECONDS) * 1000):
            chunk = os.read(stream.fileno(), 65536)
            if not chunk:
                return True
            output.feed(chunk)
        elif ended:
            return True  # a grandchild holds the pipe: do not wait for that


def _ended(process: subprocess.Popen[bytes], deadline: float) -> bool:
    """True when it ends before the deadline: it may have closed its output, and go on."""
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True
