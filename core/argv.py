"""The one place that runs programs. Commands are argv lists that pure functions made; no shell is ever involved."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# What every program of the platform gets. Nothing of the caller's environment leaks into it.
CLEAN_ENVIRON: Mapping[str, str] = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
}


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
    output_bytes: int = 1 << 20,
) -> Outcome:
    """Run ``argv`` to its end and return its outcome; raises FileNotFoundError when there is no such program.

    ``environ`` is added to CLEAN_ENVIRON. stdout and stderr arrive together, in order; ``on_line`` gets each line as
    it comes. Of the output the last ``output_bytes`` are kept. After ``timeout`` seconds the whole process group is
    killed.
    """
    words = tuple(str(word) for word in argv)
    process = subprocess.Popen(
        words,
        cwd=cwd,
        env={**CLEAN_ENVIRON, **(environ or {})},
        stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None  # noqa: S101 - stdout=PIPE, for the type checker
    deadline = time.monotonic() + timeout
    if stdin and process.stdin is not None:
        try:
            process.stdin.write(stdin)
            process.stdin.close()
        except BrokenPipeError:
            pass  # it ended without reading; its status tells
    kept, timed_out = _collect(process, deadline, on_line, output_bytes)
    if timed_out:
        kill_group(process.pid)
    status = process.wait()
    process.stdout.close()
    return Outcome(words, status, kept.decode(errors="replace"), timed_out)


def kill_group(pid: int) -> None:
    """Send SIGKILL to the process group that ``pid`` leads; nothing to do when it is gone."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _collect(
    process: subprocess.Popen[bytes], deadline: float, on_line: Callable[[str], None] | None, limit: int
) -> tuple[bytes, bool]:
    """Read until end of file or deadline. Under gevent, ``select`` is the cooperative one."""
    import select  # late: gevent replaces it when it patches

    stream = process.stdout
    assert stream is not None  # noqa: S101 - see run
    kept = bytearray()
    pending = b""
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return bytes(kept), True
        ready, _, _ = select.select([stream], [], [], min(left, 1.0))
        if not ready:
            if process.poll() is not None and not select.select([stream], [], [], 0)[0]:
                return bytes(kept), False  # it ended, and a grandchild holds the pipe: do not wait for that
            continue
        chunk = os.read(stream.fileno(), 65536)
        if not chunk:
            break
        kept += chunk
        del kept[: max(0, len(kept) - limit)]
        if on_line is not None:
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                on_line(line.decode(errors="replace").rstrip("\r"))
    if on_line is not None and pending:
        on_line(pending.decode(errors="replace"))
    return bytes(kept), False
