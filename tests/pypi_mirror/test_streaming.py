"""Files that are not here yet: one fetch, which all who ask read while it comes, and which nobody can spoil."""

from __future__ import annotations

import http.client
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.pypi_mirror.clients import UV
from tests.pypi_mirror.front import front
from tests.pypi_mirror.mirror_process import DEADLINE, MirrorProcess, poll
from tests.pypi_mirror.test_serving import file_url
from tests.pypi_mirror.upstream_model import UpstreamModel
from tests.router.conftest import router_home

NOISE = random.Random(1).randbytes(2 << 20)


@dataclass
class Streamed:
    status: int
    body: bytes
    whole: bool  # whether it was as long as it said


def stream(mirror: MirrorProcess, path: str, port: int = 0, begun: Callable[[], object] = lambda: None) -> Streamed:
    """Read an answer as it comes; ``begun`` is called after the first byte."""
    connection = http.client.HTTPConnection("127.0.0.1", port or mirror.port, timeout=DEADLINE)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read(1)
        begun()
        try:
            body += answer.read()
        except (http.client.IncompleteRead, ConnectionError) as error:
            body += getattr(error, "partial", b"")
            return Streamed(answer.status, body, False)
        return Streamed(answer.status, body, True)
    finally:
        connection.close()


def stored(mirror: MirrorProcess) -> list[Path]:
    folders = (mirror.home / "mirror" / "files", mirror.home / "mirror" / "tmp")
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]


def offer(upstream: UpstreamModel, name: str, size: int, claim: str = "") -> tuple[str, str, str]:
    filename, sha256 = upstream.add_file(name, f"{name}-1.0.tar.gz", NOISE[:size], claim)
    return filename, sha256, file_url(sha256, filename)


@pytest.mark.parametrize("size", [100_000, 2 << 20])
def test_fifty_askers(size: int, tmp_path: Path, upstream: UpstreamModel) -> None:
    """50 who ask nginx for a cold file cost one fetch, and all have its first byte before upstream sends its last."""
    filename, _, url = offer(upstream, "slow", size)
    rest = threading.Event()  # upstream sends it when all have begun to read
    upstream.gates[f"/up/{filename}"] = (size // 2, rest)
    begun = threading.Barrier(50, rest.set)
    with behind_nginx(tmp_path, upstream) as (mirror, port):
        mirror.get("/pypi/simple/slow/")
        with ThreadPoolExecutor(50) as pool:
            answers = list(pool.map(lambda _: stream(mirror, url, port, lambda: begun.wait(DEADLINE)), range(50)))
        on_disk = mirror.home / "mirror" / url.removeprefix("/pypi/")
        assert on_disk.read_bytes() == NOISE[:size]
    assert {(answer.status, answer.whole, answer.body == NOISE[:size]) for answer in answers} == {(200, True, True)}
    assert upstream.counts[f"/up/{filename}"] == 1 and upstream.ranges == []


def test_the_first_client_hangs_up(upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """The fetch goes on when the client that began it leaves in the middle; others get the rest from it."""
    filename, _, url = offer(upstream, "left", 400_000)
    mirror = new_mirror(upstream.url)
    mirror.get("/pypi/simple/left/")
    upstream.rate = 400_000
    with socket.create_connection(("127.0.0.1", mirror.port)) as client:
        client.sendall(f"GET {url} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert client.recv(100).startswith(b"HTTP/1.1 200")
    assert stream(mirror, url).body == NOISE[:400_000]
    assert upstream.counts[f"/up/{filename}"] == 1


@pytest.mark.parametrize("size", [10, 30_000, 2 << 20])
def test_wrong_hash(size: int, upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """A file that is not the one its index names reaches nobody whole, with a slow upstream or not; none is stored."""
    _, _, url = offer(upstream, "forged", size, claim="ab" * 32)
    mirror = new_mirror(upstream.url)
    for rate in (None, max(size, 20)):
        upstream.rate = rate
        answer = stream(mirror, url)
        assert answer.status == 502 or (not answer.whole and len(answer.body) < size)
        poll(lambda: stored(mirror) == [])


def test_truncated(upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """An upstream that always breaks off at the same place is asked a few times; its file reaches nobody whole."""
    filename, _, url = offer(upstream, "short", 300_000)
    mirror = new_mirror(upstream.url)
    upstream.parts = False
    upstream.cuts[f"/up/{filename}"] = [250_000] * 20
    answer = stream(mirror, url)
    assert (answer.status, answer.whole) == (200, False)
    assert 0 < len(answer.body) <= 250_000
    assert 2 <= upstream.counts[f"/up/{filename}"] + len(upstream.ranges) <= 8
    poll(lambda: stored(mirror) == [])


@pytest.mark.parametrize("lie", [-1000, 1000])
def test_wrong_length(lie: int, upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """A file that is announced as longer or shorter than the index says is refused before a byte of it is sent."""
    filename, _, url = offer(upstream, "odd", 50_000)
    upstream.lengths[f"/up/{filename}"] = 50_000 + lie
    mirror = new_mirror(upstream.url)
    answer = mirror.get(url)
    assert (answer.status, answer.text.split(":")[0]) == (502, "mirror/hash-mismatch")
    assert stored(mirror) == []


@pytest.mark.parametrize("parts", [True, False])
def test_resume(parts: bool, upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """What breaks off goes on where it ended, by Range where upstream can; the client notices nothing."""
    filename, _, url = offer(upstream, "torn", 600_000)
    upstream.parts = parts
    upstream.cuts[f"/up/{filename}"] = [200_000, 50_000 if parts else 400_000]
    mirror = new_mirror(upstream.url)
    answer = stream(mirror, url)
    assert (answer.status, answer.whole, answer.body == NOISE[:600_000]) == (200, True, True)
    assert upstream.counts[f"/up/{filename}"] == 1
    starts = [asked for _, asked in upstream.ranges]
    assert starts == (["bytes=200000-", "bytes=250000-"] if parts else ["bytes=200000-", "bytes=400000-"])


def test_another_file_after_the_break(upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """When upstream's file changes between the two halves, nothing is put together from both."""
    filename, _, url = offer(upstream, "swapped", 600_000)
    upstream.cuts[f"/up/{filename}"] = [300_000]
    mirror = new_mirror(upstream.url)
    mirror.get("/pypi/simple/swapped/")
    upstream.rate = 600_000
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(stream, mirror, url)
        poll(lambda: upstream.counts[f"/up/{filename}"])
        upstream.bodies[f"/up/{filename}"] = NOISE[1:600_001]
    assert not answer.result().whole
    poll(lambda: stored(mirror) == [])


def test_very_slow(upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """A file that takes its time delays nobody who asks for something else; HEAD says its length meanwhile."""
    filename, _, url = offer(upstream, "crawling", 3000)
    other, sha256 = upstream.add("quick")
    mirror = new_mirror(upstream.url)
    mirror.get("/pypi/simple/crawling/")
    mirror.get(file_url(sha256, other))
    rest = threading.Event()
    upstream.gates[f"/up/{filename}"] = (1000, rest)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(stream, mirror, url)
        poll(lambda: upstream.counts[f"/up/{filename}"])
        for path in ("/pypi/simple/quick/", "/pypi/simple/crawling/", file_url(sha256, other)):
            assert stream(mirror, path).whole
        answer = mirror.get(url, method="HEAD")
        assert (answer.status, answer.headers["Content-Length"], answer.body) == (200, "3000", b"")
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert "ETag" not in answer.headers  # that of a file is nginx's, which has not seen it yet
        assert not slow.done()
        rest.set()
        assert (slow.result().body, slow.result().whole) == (NOISE[:3000], True)


@pytest.mark.parametrize(
    ("headers", "status", "part", "extent"),
    [
        ({"Range": "bytes=0-0"}, 206, slice(0, 1), "bytes 0-0/100000"),
        ({"Range": "bytes=99990-"}, 206, slice(99_990, None), "bytes 99990-99999/100000"),
        ({"Range": "bytes=-10"}, 206, slice(99_990, None), "bytes 99990-99999/100000"),
        ({"Range": "bytes=10-200000"}, 206, slice(10, None), "bytes 10-99999/100000"),
        ({"Range": "bytes=100000-"}, 416, slice(0, 0), "bytes */100000"),
        ({"Range": "bytes=5-1"}, 200, slice(None), None),
        ({"Range": "bytes=0-1,5-6"}, 200, slice(None), None),
        ({"Range": "bytes=0-9", "If-Range": '"another"'}, 200, slice(None), None),
    ],
    ids=str,
)
def test_range_of_what_is_not_here(
    headers: dict[str, str],
    status: int,
    part: slice,
    extent: str | None,
    upstream: UpstreamModel,
    new_mirror: Callable[..., MirrorProcess],
) -> None:
    """A part of a file that is not here is the right part, verified, or the whole file; the same when it is here."""
    _, _, url = offer(upstream, "parted", 100_000)
    mirror = new_mirror(upstream.url)
    for _ in range(2):
        answer = mirror.get(url, headers)
        assert answer.status == status
        assert answer.body == NOISE[:100_000][part]
        assert answer.headers.get("Content-Range") == extent


def test_range_of_a_forged_file(upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """No part of a file is sent before the hash of the whole is known."""
    _, _, url = offer(upstream, "unsure", 100_000, claim="cd" * 32)
    mirror = new_mirror(upstream.url)
    assert mirror.get(url, {"Range": "bytes=0-9"}).status == 502


@contextmanager
def behind_nginx(folder: Path, upstream: UpstreamModel) -> Iterator[tuple[MirrorProcess, int]]:
    """A mirror, and the port of an nginx in front of it."""
    with router_home() as nginx:
        nginx.start()
        bind = f"unix:{nginx.home.socket('mirror')}"
        mirror = MirrorProcess(folder, upstream.url, bind=bind, options=["--umask", "0"])
        try:
            yield mirror, nginx.settings.port
        finally:
            mirror.stop()
            nginx.stop()


def test_nginx_breaks_off(upstream: UpstreamModel, tmp_path: Path) -> None:
    """nginx breaks off where the mirror does: nobody takes what came of a forged file for the whole."""
    filename, _, forged = offer(upstream, "refused", 60_000, claim="ab" * 32)
    rest = threading.Event()
    upstream.gates[f"/up/{filename}"] = (50_000, rest)
    with behind_nginx(tmp_path, upstream) as (mirror, port):
        answer = stream(mirror, forged, port, rest.set)
        assert (answer.status, answer.whole) == (200, False)
        assert len(answer.body) < 60_000


def test_a_hundred_builds_on_a_cold_mirror(tmp_path: Path) -> None:
    """100 installs of 10 apps at once, by real clients: upstream sees each page and file once, nobody an error."""
    with front() as site:
        upstream = site.upstream
        for name in ("commona", "commonb"):
            upstream.add(name, padding=60_000)
        for app in range(10):
            parts = [f"part{app}x{number}" for number in range(3)]
            for name in parts:
                upstream.add(name, padding=20_000, requires="commona")
            upstream.add(f"app{app}", requires=["commonb", *parts])

        def build(number: int) -> str:
            """What an install fails with, or where what it installed is not whole."""
            target = tmp_path / str(number)
            argv = ["pip", "install", "-q", "--no-cache", "--no-config", "--python", sys.executable]
            environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "UV_INDEX_URL": site.index}
            done = subprocess.run(
                [UV, *argv, "--target", target, f"app{number % 10}"], env=environ, capture_output=True, text=True
            )
            found = sorted(path.parent.name for path in target.glob("*/__init__.py"))
            there = sorted([f"app{number % 10}", "commona", "commonb", *(f"part{number % 10}x{n}" for n in range(3))])
            return done.stderr if done.returncode else "" if found == there else str(found)

        with ThreadPoolExecutor(100) as pool:
            assert set(pool.map(build, range(100))) == {""}
        assert set(upstream.counts.values()) == {1} and len(upstream.counts) == 2 * 42
        assert site.mirror.memory() < 100 << 20
