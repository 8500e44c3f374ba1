"""Running a program whose output goes to somebody who waits, line by line, within bounds."""

from __future__ import annotations

import os
import re
import select
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from core.argv import CLEAN_ENVIRON, kill_group

LINE_CHARS = 2000
TOTAL_BYTES = 4 << 20
#: What would move a terminal's cursor or colour it: these lines are shown to people.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_TICK = 0.5


def _nothing() -> None:
    """Who has nothing to say to a flood of output has it cut off."""


class Lines:
    """Cuts bytes into lines of at most LINE_CHARS, and falls silent, saying so, after ``most`` bytes.

    Then it calls ``flooded``, which may raise.
    """

    def __init__(self, most: int = TOTAL_BYTES, flooded: Callable[[], None] = _nothing) -> None:
        self._pending = b""
        self._total = 0
        self._most = most
        self._flooded = flooded

    def feed(self, data: bytes) -> Iterator[str]:
        """The lines that ``data`` completes."""
        if self._total > self._most:
            return
        self._total += len(data)
        *whole, self._pending = (self._pending + data).split(b"\n")
        self._pending = self._pending[: LINE_CHARS * 4]
        for line in whole:
            yield _clean(line)
        if self._total > self._most:
            self._pending = b""
            yield f"(more than {self._most >> 10} KiB of output: the rest is not shown)"
            self._flooded()

    def rest(self) -> Iterator[str]:
        """What came after the last newline."""
        if self._pending:
            yield _clean(self._pending)


def _clean(line: bytes) -> str:
    text = _CONTROL.sub("", line.decode(errors="replace"))
    return text if len(text) <= LINE_CHARS else text[: LINE_CHARS - 3] + "..."


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: its status (negative: the signal), and whether we ended it."""

    status: int
    timed_out: bool = False
    cancelled: bool = False


def stream(
    argv: Sequence[str],
    on_line: Callable[[str], None],
    *,
    timeout: float,
    environ: Mapping[str, str] = CLEAN_ENVIRON,
    cancelled: Callable[[], bool] = lambda: False,
    lines: Lines | None = None,
) -> Ended:
    """Run ``argv`` in a process group of its own; ``on_line`` gets stdout and stderr.

    The group is killed when ``timeout`` seconds are over, when ``cancelled`` says so (it is asked about twice a
    second) or raises, when ``on_line`` or ``lines`` raises, and when the leader has ended and left others behind.
    """
    process = subprocess.Popen(
        argv,
        env=dict(environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
        start_new_session=True,
    )
    timed_out = stopped = False
    try:
        timed_out, stopped = _read(process, lines or Lines(), on_line, time.monotonic() + timeout, cancelled)
    finally:
        # Not yet waited for: the group's number cannot be somebody else's.
        kill_group(process.pid)
        status = process.wait()
        if process.stdout is not None:
            process.stdout.close()
    return Ended(status, timed_out, stopped)


def _read(
    process: subprocess.Popen[bytes],
    lines: Lines,
    on_line: Callable[[str], None],
    deadline: float,
    cancelled: Callable[[], bool],
) -> tuple[bool, bool]:
    """Hand on the output until the leader ends; returns (timed out, cancelled)."""
    pipe = process.stdout
    assert pipe is not None  # noqa: S101 - stdout=PIPE, for the type checker
    os.set_blocking(pipe.fileno(), False)
    leader = os.pidfd_open(process.pid)
    try:
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or cancelled():
                return left <= 0, left > 0
            ready = select.select([pipe.fileno(), leader], [], [], min(left, _TICK))[0]
            if not ready:
                continue
            data = pipe.read(65536)
            for line in lines.feed(data or b""):
                on_line(line)
            # End of file with a living leader: it closed its output. Its end is what we wait for then.
            if data == b"" or (leader in ready and data is None):
                _await(leader, deadline, cancelled)
                for line in lines.rest():
                    on_line(line)
                return time.monotonic() >= deadline, cancelled()
    finally:
        os.close(leader)


def _await(leader: int, deadline: float, cancelled: Callable[[], bool]) -> None:
    while not select.select([leader], [], [], _TICK)[0]:
        if time.monotonic() >= deadline or cancelled():
            return
