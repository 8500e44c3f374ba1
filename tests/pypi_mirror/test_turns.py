"""Uploads that crawl, or rest, or are too many: the others' come in meanwhile, and they are told what to do."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from core.errors import DaeError
from pypi_mirror import turns
from pypi_mirror.turns import Paced, Turns
from tests.pypi_mirror.mirror_process import MirrorProcess, poll
from tests.pypi_mirror.test_upload import wheel
from tests.pypi_mirror.uploading import BOUNDARY, Ground, basic, form
from tests.pypi_mirror.upstream_model import UpstreamModel

#: Read by gunicorn: the worker of these tests waits less long than others.
HASTY = """\
def post_worker_init(worker):
    from pypi_mirror import turns

    turns.GRACE, turns.DRAIN_SECONDS, turns.PATIENCE, turns.OWN_QUEUE = 1.5, 0.5, 1.0, 1
"""


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory, shared_upstream: UpstreamModel) -> Iterator[Ground]:
    home = tmp_path_factory.mktemp("hasty")
    (home / "hasty.py").write_text(HASTY)
    options = ("-c", str(home / "hasty.py"))
    made = Ground(home, lambda: MirrorProcess(home, shared_upstream.url, options=options))
    yield made
    made.mirror.stop()
    made.store.close()


def begun(ground: Ground, who: str | None, sent: int = 200, length: int = 0) -> socket.socket:
    """A connection over which an upload began, and rests."""
    body = form({":action": "file_upload"}, "resting-1.0.tar.gz", bytes(1 << 20))
    header = basic(who, ground.tokens[who]) if who else {}
    lines = "".join(f"{key}: {value}\r\n" for key, value in header.items())
    lines += f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {length or len(body)}\r\n"
    connection = socket.create_connection(("127.0.0.1", ground.mirror.port), timeout=20)
    connection.sendall(f"POST /pypi/ HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode() + body[:sent])
    return connection


def answer(connection: socket.socket) -> str:
    """All that comes until the server hangs up."""
    return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


def test_who_rests(hasty: Ground) -> None:
    """An upload that rests is ended after a while, is told why, and leaves nothing."""
    with begun(hasty, "ann") as connection:
        said = answer(connection)
    assert said.startswith("HTTP/1.1 408 "), said
    assert "mirror/too-slow: the upload comes too slowly" in said
    assert "16 KiB/s" in said
    assert hasty.temporary() == []


def test_one_account(hasty: Ground) -> None:
    """One account's uploads keep nobody else out; more of its own wait, and are told to come again."""
    with ExitStack() as stack:
        for _ in range(turns.OWN_PLACES):
            stack.enter_context(begun(hasty, "ann", sent=1 << 20))  # which gives them a minute
        poll(lambda: len(hasty.temporary()) == turns.OWN_PLACES)
        assert hasty.upload(wheel("lively"), "bob").status == 200
        refused = [stack.enter_context(begun(hasty, "ann")) for _ in range(2)]
        for connection in refused:
            said = answer(connection)
            assert said.startswith("HTTP/1.1 429 "), said
            assert "\r\nRetry-After: " in said
            assert "mirror/too-many-uploads: ann has 4 uploads under way" in said
    poll(lambda: hasty.temporary() == [])
    assert hasty.upload(wheel("lively", "1.1"), "bob").status == 200


def test_nobody(hasty: Ground) -> None:
    """Who has no token is told at once, and is not listened to for long."""
    with begun(hasty, None) as connection:
        assert answer(connection).startswith("HTTP/1.1 401 ")


def test_what_is_announced(hasty: Ground) -> None:
    """A body that says to be larger than any form is refused before it is read."""
    with begun(hasty, "ann", length=1 << 40) as connection:
        assert answer(connection).startswith("HTTP/1.1 413 ")
    assert hasty.temporary() == []


class Body:
    """So many bytes at each read, each of which takes so many seconds by its own clock."""

    def __init__(self, size: int, seconds: float, total: int) -> None:
        self.now, self._size, self._seconds, self._left = 0.0, size, seconds, total

    def clock(self) -> float:
        return self.now

    def read(self, _size: int, /) -> bytes:
        self.now += self._seconds
        block = bytes(min(self._size, self._left))
        self._left -= len(block)
        return block


@pytest.mark.parametrize(
    ("body", "received"),
    [
        (Body(64 << 10, 3.9, 10 << 20), 10 << 20),  # a little faster than it must be
        (Body(64 << 10, 16, 64 << 10), 64 << 10),  # slow, and soon over
        (Body(64 << 10, 4.5, 10 << 20), None),
        (Body(1, 1, 10 << 20), None),
        (Body(64 << 10, 3.9, 100 << 20), None),  # fast enough, for too long
    ],
)
def test_a_pace(body: Body, received: int | None) -> None:
    """A body may be slow at first, must keep a pace, and may not last for ever."""
    paced = Paced(body, clock=body.clock)
    try:
        count = sum(map(len, iter(lambda: paced.read(64 << 10), b"")))
    except DaeError as error:
        assert error.code == "mirror/too-slow"
        assert received is None
    else:
        assert count == received


def test_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are places in all and for each account; who leaves, however, gives his back."""
    monkeypatch.setattr(turns, "PATIENCE", 0.01)
    made = Turns()
    with ExitStack() as stack:
        for who in ("ann", "bob"):
            for _ in range(turns.OWN_PLACES):
                stack.enter_context(made.turn(who))
        for who, code in (("ann", "mirror/too-many-uploads"), ("eve", "mirror/busy")):
            with pytest.raises(DaeError, match=code), made.turn(who):
                raise AssertionError
    with pytest.raises(KeyError), made.turn("eve"):
        raise KeyError
    for _ in range(3 * turns.PLACES):
        with made.turn("eve"), made.turn("ann"):
            pass


def test_a_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits gets the place of who leaves."""
    made = Turns()
    monkeypatch.setattr(turns, "OWN_PLACES", 1)
    first = made.turn("ann")
    first.__enter__()

    def second() -> str:
        with made.turn("ann"):
            return "came"

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(second)
        poll(lambda: made._waiting["ann"] == 1)
        assert not waiting.done()
        first.__exit__(None, None, None)
        assert waiting.result(timeout=20) == "came"
