"""The health check: one GET over the instance's own socket, repeated until it answers well, badly, or not in time."""

from __future__ import annotations

import re
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.errors import DaeError
from core.nouns import Health

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])[ \r\n]")  # RFC 9112, 4
_PATH = re.compile(r"/[!-~]*\Z")
# Seconds. Most apps listen within half a second of their start, and whoever pushed waits for it.
_FIRST_PAUSE, _LONGEST_PAUSE, _EAGER = 0.005, 0.1, 2
_BAD_ANSWERS, _BAD_PAUSE = 3, 0.3
_LINE_BYTES = 1024
_DRAIN_BYTES, _DRAIN_SECONDS = 1 << 20, 0.5
GARBAGE = 0  # what stands for the status of an answer that is not HTTP


@dataclass(frozen=True, slots=True)
class Target:
    """Where an instance listens: a unix socket, or (``socket`` None) a port of 127.0.0.1.

    ``host`` is the Host header; ``uid`` the account that must be the one listening, None when there are no accounts.
    """

    socket: Path | None
    port: int
    host: str
    uid: int | None


def wait_healthy(
    target: Target, health: Health, ended: Callable[[float], bool], clock: Callable[[], float] = time.monotonic
) -> None:
    """Return when the instance passes its check.

    ``ended(seconds)`` waits at most so long for the process to end and tells whether it did. Raises
    ``release/crashed`` when it ends, ``release/unhealthy`` after three bad answers in a row, ``release/silent`` when
    there is none within ``health.timeout`` seconds.
    """
    if not _PATH.match(health.path):
        raise DaeError("release/unhealthy", f"{health.path[:80]!a} is not a path", "mend health_check in app.yaml")
    started = clock()
    deadline = started + health.timeout
    pause, bad = _FIRST_PAUSE, 0
    while not ended(pause):
        left = deadline - clock()
        if left <= 0:
            raise _silent(health)
        status = ask(target, health.path, left, clock)
        if status is None:
            pause = _FIRST_PAUSE if clock() - started < _EAGER else _LONGEST_PAUSE
            continue
        if passes(status, health):
            return
        bad, pause = bad + 1, _BAD_PAUSE
        if bad == _BAD_ANSWERS:
            raise _unhealthy(status, health)
    raise DaeError("release/crashed", "the process ended before it answered", "its last lines are above")


def passes(status: int, health: Health) -> bool:
    """Under 500 passes; under 400 when the app itself named the path."""
    return 0 < status < (400 if health.strict else 500)


def ask(target: Target, path: str, seconds: float, clock: Callable[[], float] = time.monotonic) -> int | None:
    """The status of one GET; GARBAGE when the answer is not HTTP; None when nobody answers (yet)."""
    deadline = clock() + seconds
    request = f"GET {path} HTTP/1.1\r\nHost: {target.host}\r\nConnection: close\r\nX-DAE-Health: 1\r\n"
    try:
        with _connect(target, seconds) as connection:
            connection.sendall((request + "User-Agent: dae-health\r\nAccept: */*\r\n\r\n").encode())
            return _read_status(connection, deadline, clock)
    except OSError:
        return None


def _connect(target: Target, seconds: float) -> socket.socket:
    """A connection to the instance and to nobody else; raises OSError.

    The app owns the folder of its socket: it could lay a link to somebody else's socket there, and we are root.
    """
    family = socket.AF_INET if target.socket is None else socket.AF_UNIX
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        if target.socket is None:
            connection.connect(("127.0.0.1", target.port))
            owner = _listener(target.port)
        else:
            connection.connect(str(target.socket))
            peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            owner = struct.unpack("3i", peer)[1]
        if target.uid is not None and owner != target.uid:
            raise ConnectionRefusedError("another account listens there")
    except BaseException:
        connection.close()
        raise
    return connection


def _listener(port: int) -> int | None:
    """The user id that listens on a TCP port (proc_net_tcp: state 0A is LISTEN, column 7 the uid)."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                return int(fields[7])
    return None


def _read_status(connection: socket.socket, deadline: float, clock: Callable[[], float]) -> int | None:
    data = b""
    while b"\n" not in data and len(data) < _LINE_BYTES:
        left = deadline - clock()
        if left <= 0:
            return None
        connection.settimeout(left)
        chunk = connection.recv(4096)
        if not chunk:
            break
        data += chunk
    if not data:
        return None
    match = _STATUS_LINE.match(data)
    if match is None:
        return GARBAGE
    _drain(connection, clock)
    return int(match[1])


def _drain(connection: socket.socket, clock: Callable[[], float]) -> None:
    """Read the rest, within bounds: an app whose client goes away in the middle may log an error."""
    deadline, count = clock() + _DRAIN_SECONDS, 0
    try:
        while count < _DRAIN_BYTES and (left := deadline - clock()) > 0:
            connection.settimeout(left)
            chunk = connection.recv(65536)
            if not chunk:
                return
            count += len(chunk)
    except OSError:
        return  # the status is what counts, and it is known


def _silent(health: Health) -> DaeError:
    cause = f"no answer to GET {health.path} within {health.timeout} s"
    return DaeError(
        "release/silent",
        cause,
        "a web command must listen on $PORT; one that starts slowly needs a longer health timeout in app.yaml",
    )


def _unhealthy(status: int, health: Health) -> DaeError:
    what = f"status {status}" if status else "something that is not HTTP"
    return DaeError(
        "release/unhealthy", f"GET {health.path} was answered with {what}", "the app's last lines are above"
    )
