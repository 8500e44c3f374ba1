"""What the mirror answers while upstream is away: what it holds, at once; for the rest 503, never "there is none"."""

from __future__ import annotations

import hashlib
import http.client
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.pypi_mirror.mirror_process import Answer, MirrorProcess, poll
from tests.pypi_mirror.test_serving import file_url
from tests.pypi_mirror.upstream_model import UpstreamModel

REFUSALS = {(503, "mirror/unavailable"), (502, "mirror/hash-mismatch"), (502, "mirror/bad-upstream")}


def break_upstream(upstream: UpstreamModel, how: str) -> None:
    if how == "refused":
        upstream.refuse()
    else:
        upstream.mood = how


def mend_upstream(upstream: UpstreamModel, how: str) -> None:
    if how == "refused":
        upstream.start()
    upstream.mood = "ok"


def timed(mirror: MirrorProcess, path: str) -> tuple[Answer | None, float]:
    """The answer, None when the mirror hung up in the middle of it, and the seconds that it took."""
    began = time.monotonic()
    try:
        answer = mirror.get(path)
    except (http.client.HTTPException, ConnectionError):
        return None, time.monotonic() - began
    return answer, time.monotonic() - began


def nobody_waits(mirror: MirrorProcess, held: dict[str, str]) -> None:
    """What is held is 200 within 50 ms; on a busy machine later, but sooner than by waiting for upstream."""
    times = []
    for _ in range(2):
        for path, text in held.items():
            answer, seconds = timed(mirror, path)
            assert answer is not None and answer.status == 200
            assert text.encode() in answer.body
            times.append(seconds)
    assert sorted(times)[len(times) // 2] < 0.05
    assert max(times) < 0.4


@pytest.mark.parametrize("how", ["refused", "hang", "503", "wrong-hash", "truncated", "slow", "trickle"])
def test_outage(how: str, upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """In each kind of outage pages (expired) and files that are held are 200 at once; the rest is 503 within 3 s.

    Nothing is remembered as absent, and nothing half or wrong comes through. The same after a restart; and when
    upstream is back, everything is there.
    """
    held = {}
    for name in ("held-a", "held-b", "held-c"):
        filename, sha256 = upstream.add_file(name, f"{name}-1.0.tar.gz", name.encode() * 10_000)
        held[f"/pypi/simple/{name}/"] = filename
        held[file_url(sha256, filename)] = name
    filename, sha256 = upstream.add_file("later", "later-1.0.tar.gz", b"later" * 400)
    for number in range(100):  # at 1 kB/s it takes too long
        upstream.add_file("later", f"later-0.{number}.tar.gz", b"x")
    known, known_hash = upstream.add_file("known", "known-1.0.tar.gz", b"known" * 400)
    mirror = new_mirror(upstream.url, ttl=0)
    for path in [*held, "/pypi/simple/known/"]:
        assert mirror.get(path).status == 200
    break_upstream(upstream, how)
    for restart in (False, True):
        if restart:
            mirror.stop()
            mirror.start()
        nobody_waits(mirror, held)
        for path in ("/pypi/simple/later/", file_url(sha256, filename), file_url(known_hash, known)):
            answer, seconds = timed(mirror, path)
            if how in ("wrong-hash", "truncated", "slow") and (answer is None or answer.status == 200):
                assert answer is None or how != "truncated"
                assert answer is None or hashlib.sha256(answer.body).hexdigest() in path or "simple" in path
                continue
            assert answer is not None
            assert (answer.status, answer.text.split(":")[0]) in REFUSALS
            assert int(answer.headers["Retry-After"]) > 0
            assert seconds < 3.3
        nobody_waits(mirror, held)
    mend_upstream(upstream, how)
    for path in ("/pypi/simple/later/", file_url(sha256, filename), file_url(known_hash, known), *held):
        poll(lambda: mirror.get(path).status == 200)  # noqa: B023 - used before the loop goes on


@pytest.mark.parametrize("how", ["redirects", "huge", "endless"])
def test_hostile_pages(how: str, upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """Redirects in a circle and a page of 10 GB, announced or not, are refused, cost little memory, hurt nobody."""
    filename, _ = upstream.add("unhurt")
    mirror = new_mirror(upstream.url, ttl=0)
    mirror.get("/pypi/simple/unhurt/")
    upstream.mood = how
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda number: mirror.get(f"/pypi/simple/large-{number}/"), range(6)))
    assert {(answer.status, answer.text.split(":")[0]) for answer in answers} <= REFUSALS
    assert filename in mirror.get("/pypi/simple/unhurt/").text
    assert mirror.peak_memory() < 350 << 20
    upstream.mood = "ok"
    poll(lambda: mirror.get("/pypi/simple/large-0/").status == 404)


@pytest.mark.parametrize("status", [401, 403, 451, 302])
def test_one_page_is_no_outage(status: int, upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """An index that refuses one project is there for all others, however often that one is asked for."""
    upstream.add("allowed")
    upstream.statuses["/simple/blocked/"] = status
    mirror = new_mirror(upstream.url)
    for _ in range(4):
        answer = mirror.get("/pypi/simple/blocked/")
        assert (answer.status, answer.text.split(":")[0]) == (502, "mirror/bad-upstream")
    assert mirror.get("/pypi/simple/allowed/").status == 200


def test_many_askers_in_an_outage(upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """Once upstream has failed several times, who asks for what is not held is told so at once, and asks nobody."""
    mirror = new_mirror(upstream.url)
    upstream.mood = "503"
    for number in range(3):
        assert mirror.get(f"/pypi/simple/first-{number}/").status == 503
    asked = upstream.counts.total()
    times = [timed(mirror, f"/pypi/simple/more-{number}/")[1] for number in range(20)]
    assert sorted(times)[10] < 0.05
    assert upstream.counts.total() - asked <= 3  # one asks whether it is over


def test_upstream_is_left_alone_in_trouble(upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """After a failure the next requests for what is held do not ask upstream at all."""
    upstream.add("spared")
    mirror = new_mirror(upstream.url, ttl=0)
    mirror.get("/pypi/simple/spared/")
    upstream.mood = "503"
    mirror.get("/pypi/simple/spared/")
    asked = upstream.counts["/simple/spared/"]
    for _ in range(10):
        assert mirror.get("/pypi/simple/spared/").status == 200
    assert upstream.counts["/simple/spared/"] == asked


def test_file_not_held_in_an_outage(upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """A file that is not here is 503 in an outage, known project or not, and comes when upstream is back."""
    filename, sha256 = upstream.add("heavy")
    mirror = new_mirror(upstream.url)
    mirror.get("/pypi/simple/heavy/")
    upstream.mood = "503"
    assert mirror.get(file_url(sha256, filename)).status == 503
    assert mirror.get(file_url(sha256, "unseen-1.0-py3-none-any.whl")).status == 503
    upstream.mood = "ok"
    assert mirror.get(file_url(sha256, filename)).status == 200


def test_login_page_is_no_index(upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """A page that is no index leaves what is held untouched, and is 502 for the rest."""
    filename, _ = upstream.add("kept")
    mirror = new_mirror(upstream.url, ttl=0)
    mirror.get("/pypi/simple/kept/")
    upstream.mood = "not-an-index"
    assert filename in mirror.get("/pypi/simple/kept/").text
    answer = mirror.get("/pypi/simple/other/")
    assert (answer.status, answer.text.split(":")[0]) == (502, "mirror/bad-upstream")


def test_absent_is_remembered_shortly(shared_upstream: UpstreamModel, shared_mirror: MirrorProcess) -> None:
    """Upstream's own 404 is passed on, and asked for once in a while only."""
    for _ in range(3):
        answer = shared_mirror.get("/pypi/simple/no-such-project/")
        assert (answer.status, answer.text.split(":")[0]) == (404, "mirror/unknown-project")
    assert shared_upstream.counts["/simple/no-such-project/"] == 1


def test_many_pages_at_once_are_no_outage(upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """Reading the pages of a large first build keeps the mirror busy; that is not taken for upstream's silence."""
    names = [f"large-{number}" for number in range(70)]
    for name in names:
        files = [f"{name}-0.{number}.tar.gz" for number in range(1500)]
        upstream.html[name] = "".join(f'<a href="/up/{file}#sha256={"0" * 64}">{file}</a>\n' for file in files)
    mirror = new_mirror(upstream.url)
    with ThreadPoolExecutor(len(names)) as pool:
        statuses = list(pool.map(lambda name: mirror.get(f"/pypi/simple/{name}/").status, names))
    assert statuses == [200] * len(names), mirror.log.read_text()[-3000:]
