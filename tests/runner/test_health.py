"""The health check against real sockets."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from core.errors import DaeError
from core.nouns import Health
from runner.health import GARBAGE, Target, ask, passes, wait_healthy
from tests.runner.ground import until


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dh", dir="/tmp") as name:
        yield Path(name)


@contextmanager
def answering(path: Path, *answers: bytes) -> Iterator[list[bytes]]:
    """A server that gives one answer per connection, the last one for ever; yields the requests."""
    requests: list[bytes] = []
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def serve() -> None:
        while True:
            try:
                connection = server.accept()[0]
            except OSError:
                return
            with connection:
                requests.append(connection.recv(65536))
                if requests[-1]:
                    connection.sendall(answers[min(len(requests), len(answers)) - 1])

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield requests
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


def reply(status: int) -> bytes:
    return f"HTTP/1.1 {status} Word\r\nContent-Length: 2\r\n\r\nok".encode()


def target(path: Path) -> Target:
    return Target(path, 0, "blog.dev.localhost", os.getuid())


def living(_seconds: float) -> bool:
    """A process that goes on: waits in truth, as the real one does."""
    threading.Event().wait(_seconds)
    return False


def test_it_asks_for_the_app(folder: Path) -> None:
    """One GET of the path with the stage's host."""
    with answering(folder / "s", reply(200)) as requests:
        assert ask(target(folder / "s"), "/up?x=1", 5) == 200
    assert requests[0].startswith(b"GET /up?x=1 HTTP/1.1\r\nHost: blog.dev.localhost\r\n")


@pytest.mark.parametrize(
    ("status", "strict", "good"),
    [
        (200, False, True),
        (404, False, True),
        (500, False, False),
        (302, True, True),
        (404, True, False),
        (GARBAGE, False, False),
    ],
)
def test_what_passes(status: int, strict: bool, good: bool) -> None:
    """Under 500; under 400 when the app named the path itself."""
    assert passes(status, Health(strict=strict)) is good


def test_it_waits_for_the_socket(folder: Path) -> None:
    """Nobody listens at first: that is no failure."""
    calls = []

    def ended(seconds: float) -> bool:
        calls.append(seconds)
        if len(calls) == 3:
            stack.enter_context(answering(folder / "s", reply(200)))
        return living(seconds)

    with ExitStack() as stack:
        wait_healthy(target(folder / "s"), Health(), ended)
    assert len(calls) >= 3


def test_one_bad_answer_is_forgiven(folder: Path) -> None:
    """A first request may fail while the app warms up."""
    with answering(folder / "s", reply(503), reply(200)) as requests:
        wait_healthy(target(folder / "s"), Health(), living)
    assert len(requests) == 2


@pytest.mark.parametrize("answer", [reply(500), b"SSH-2.0-OpenSSH_9.2\r\n", b"\0" * 3000])
def test_three_bad_answers_are_enough(folder: Path, answer: bytes) -> None:
    """The rest of the time-out is not waited for."""
    with answering(folder / "s", answer) as requests, pytest.raises(DaeError, match="release/unhealthy"):
        wait_healthy(target(folder / "s"), Health(timeout=600), living)
    assert len(requests) == 3


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 2"])
def test_no_answer_is_silence(folder: Path, answer: bytes) -> None:
    """A connection that is taken and given nothing of use."""
    with answering(folder / "s", answer), pytest.raises(DaeError) as caught:
        wait_healthy(target(folder / "s"), Health(timeout=1), living)
    assert caught.value.code == ("release/unhealthy" if answer else "release/silent")


def test_nobody_ever_listens(folder: Path) -> None:
    """Silence ends with the time-out."""
    with pytest.raises(DaeError, match="release/silent"):
        wait_healthy(target(folder / "s"), Health(timeout=1), living)


def test_an_end_is_seen_at_once(folder: Path) -> None:
    """A process that ended is not asked any more."""
    answers: Callable[[float], bool] = iter([False, True]).__next__  # type: ignore[assignment]
    with pytest.raises(DaeError, match="release/crashed"):
        wait_healthy(target(folder / "s"), Health(timeout=600), lambda _seconds: bool(answers()))  # type: ignore[call-arg]


LISTEN = """\
import socket, sys
s = socket.socket(socket.AF_INET if sys.argv[1].isdigit() else socket.AF_UNIX)
s.bind(("127.0.0.1", int(sys.argv[1])) if sys.argv[1].isdigit() else sys.argv[1])
s.listen()
print(flush=True)
while True:
    with s.accept()[0] as c:
        c.recv(9999)
        c.sendall(b"HTTP/1.1 200 OK\\r\\n\\r\\n")
"""


@pytest.mark.root
@pytest.mark.parametrize("kind", ["socket", "port"])
def test_only_the_app_itself_is_asked(folder: Path, kind: str) -> None:
    """A link to another account's socket, or another account on the port, is not the app."""
    folder.chmod(0o777)
    port = 0
    if kind == "port":
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
    place = str(port or folder / "theirs")
    argv = [sys.executable, "-I", "-c", LISTEN, place]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, user="nobody", extra_groups=[])
    try:
        assert process.stdout is not None
        process.stdout.readline()
        link = folder / "link"
        link.symlink_to(place)
        theirs = pwd.getpwnam("nobody").pw_uid
        for uid, answer in ((theirs, 200), (theirs + 1, None)):
            found = Target(None if port else link, port, "x", uid)
            assert ask(found, "/", 5) == answer
    finally:
        process.kill()
        process.wait()
        process.stdout.close() if process.stdout else None
    until(lambda: process.returncode is not None, "it ended")
