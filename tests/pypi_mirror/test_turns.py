"""Uploads that crawl, or rest, or are too many: the others' come in meanwhile, and they are told what to do."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from core.errors import DaeError
from pypi_mirror import turns
from pypi_mirror.turns import Paced, Turns
from tests.pypi_mirror.desk import serving_as
from tests.pypi_mirror.front import front
from tests.pypi_mirror.mirror_process import MirrorProcess, poll
from tests.pypi_mirror.test_upload import wheel
from tests.pypi_mirror.uploading import BOUNDARY, Ground, basic, form, post, sdist_bytes
from tests.pypi_mirror.upstream_model import UpstreamModel

#: Read by gunicorn: the worker of these tests waits less long than others.
HASTY = """\
def post_worker_init(worker):
    from pypi_mirror import turns

    turns.GRACE, turns.DRAIN_SECONDS, turns.PATIENCE, turns.OWN_QUEUE = 2.5, 0.5, 1.0, 1
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
    return begun_at(ground.mirror.port, basic(who, ground.tokens[who]) if who else {}, sent, length)


def begun_at(port: int, header: Mapping[str, str], sent: int = 200, length: int = 0) -> socket.socket:
    body = form({":action": "file_upload"}, "resting-1.0.tar.gz", bytes(1 << 20))
    lines = "".join(f"{key}: {value}\r\n" for key, value in header.items())
    lines += f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {length or len(body)}\r\n"
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.sendall(f"POST /pypi/ HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode() + body[:sent])
    return connection


@contextmanager
def lively(connections: Sequence[socket.socket]) -> Iterator[None]:
    """More of these uploads comes all the time."""
    over = threading.Event()

    def feed() -> None:
        while not over.wait(0.1):
            for connection in connections:
                connection.sendall(bytes(16 << 10))

    with ThreadPoolExecutor(1) as pool:
        feeding = pool.submit(feed)
        try:
            yield
        finally:
            over.set()
            feeding.result()


def answer(connection: socket.socket) -> str:
    """All that comes until the server hangs up."""
    return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


def test_who_rests(hasty: Ground) -> None:
    """An upload that rests is ended after a while, is told why, and leaves nothing."""
    with begun(hasty, "ann") as connection:
        said = answer(connection)
    assert said.startswith("HTTP/1.1 408 "), said
    assert "mirror/too-slow: the upload comes too slowly" in said
    assert "64 KiB/s" in said
    assert hasty.temporary() == []


def test_one_account(hasty: Ground) -> None:
    """One account's uploads keep nobody else out; more of its own wait, and are told to come again."""
    with ExitStack() as stack:
        ours = [stack.enter_context(begun(hasty, "ann", length=1 << 28)) for _ in range(turns.PLACES // 2)]
        stack.enter_context(lively(ours))
        poll(lambda: len(hasty.temporary()) == len(ours))
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
        said = answer(connection)
    assert said.startswith("HTTP/1.1 401 ")
    assert "no token was sent -- send one as the password" in said


def test_what_is_announced(hasty: Ground) -> None:
    """A body that says to be larger than any form is refused before it is read."""
    with begun(hasty, "ann", length=1 << 40) as connection:
        assert answer(connection).startswith("HTTP/1.1 413 ")
    assert hasty.temporary() == []


def test_through_nginx() -> None:
    """The same reaches clients through nginx, to which an answer comes amidst the body that it passes on."""

    def told(connection: socket.socket) -> tuple[int, str | None, str]:
        response = http.client.HTTPResponse(connection)
        response.begin()
        return response.status, response.getheader("Retry-After"), response.read().decode()

    with front(configuration=HASTY) as there, ExitStack() as stack:
        desk = stack.enter_context(serving_as(there.nginx.home.root, there.account))
        resting = begun_at(there.port, basic("ann", desk.tokens["ann"]))
        with resting:
            status, _, words = told(resting)
        assert (status, words.partition(":")[0]) == (408, "mirror/too-slow")
        bob = basic("bob", desk.tokens["bob"])
        ours = [stack.enter_context(begun_at(there.port, bob, length=1 << 28)) for _ in range(turns.PLACES // 2)]
        stack.enter_context(lively(ours))
        temporary = there.nginx.home.mirror / "tmp"
        poll(lambda: len(list(temporary.iterdir())) == len(ours))
        with begun_at(there.port, bob) as another:
            status, again, words = told(another)
        assert (status, words.partition(":")[0]) == (429, "mirror/too-many-uploads")
        assert again
        body = form({":action": "file_upload"}, "lively-1.0.tar.gz", sdist_bytes("lively"))
        assert post(there.port, body, basic("ann", desk.tokens["ann"])).status == 200


class Body:
    """So many bytes at each read, each of which takes so many seconds by its own clock."""

    def __init__(self, size: int, seconds: float, total: int) -> None:
        self.now, self._size, self.seconds, self._left = 0.0, size, seconds, total

    def clock(self) -> float:
        return self.now

    def read(self, _size: int, /) -> bytes:
        self.now += self.seconds
        block = bytes(min(self._size, self._left))
        self._left -= len(block)
        return block


@pytest.mark.parametrize(
    ("body", "received"),
    [
        (Body(64 << 10, 0.9, 10 << 20), 10 << 20),  # a little faster than it must be
        (Body(64 << 10, 14, 64 << 10), 64 << 10),  # slow, and soon over
        (Body(64 << 10, 1.5, 10 << 20), None),
        (Body(1, 1, 10 << 20), None),
        (Body(64 << 10, 0.9, 200 << 20), None),  # fast enough, for too long
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


def test_a_rest() -> None:
    """However much came at once: who rests then for long is ended."""
    body = Body(64 << 10, 0, 1 << 30)
    paced = Paced(body, clock=body.clock)
    for _ in range(1000):
        paced.read(64 << 10)
    body.seconds = turns.GRACE + 0.1
    with pytest.raises(DaeError, match="mirror/too-slow"):
        paced.read(64 << 10)


def test_places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody gets more places than he leaves to others; who leaves, however, gives his back."""
    monkeypatch.setattr(turns, "PATIENCE", 0.01)
    made = Turns()
    with ExitStack() as stack:
        for who, places in (("ann", 4), ("bob", 2), ("eve", 1), ("dan", 1)):
            for _ in range(places):
                stack.enter_context(made.turn(who))
            with pytest.raises(DaeError, match="mirror/too-many-uploads"), made.turn(who):
                raise AssertionError
        with pytest.raises(DaeError, match="mirror/busy"), made.turn("fay"):
            raise AssertionError
    with pytest.raises(KeyError), made.turn("eve"):
        raise KeyError
    for _ in range(3 * turns.PLACES):
        with made.turn("eve"), made.turn("ann"):
            pass


def test_a_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits gets the place of who leaves."""
    made = Turns()
    monkeypatch.setattr(turns, "PLACES", 2)
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
