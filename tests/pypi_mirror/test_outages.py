"""What the mirror answers while upstream is away: what it holds, at once; for the rest 503, never "there is none"."""

from __future__ import annotations

import hashlib
import http.client
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.pypi_mirror.front import Front, front
from tests.pypi_mirror.mirror_process import DEADLINE, MirrorProcess, poll
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


@dataclass(frozen=True)
class Got:
    """What a client has in the end: the status, a refusal's code, the body; ``whole`` if all of it came."""

    status: int
    code: str
    body: bytes
    whole: bool


def fetch(port: int, path: str) -> Got:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        try:
            body, whole = answer.read(), True
        except http.client.IncompleteRead as error:
            body, whole = error.partial, False
        refused = answer.status >= 400
        assert not refused or int(answer.headers["Retry-After"]) > 0
        return Got(answer.status, body.decode().partition(":")[0] if refused else "", body, whole)
    finally:
        connection.close()


AWAY, FORGED = "mirror/unavailable", "mirror/hash-mismatch"
#: In each kind of trouble, what becomes of a file whose page is here, of a page that is not here, and of its file: the
#: code of the refusal; "whole": it comes; "cut": it comes, or breaks off, or is refused, but is never taken for whole.
MATRIX = {
    "refused": (AWAY, AWAY, AWAY),
    "hang": (AWAY, AWAY, AWAY),
    "503": (AWAY, AWAY, AWAY),
    "wrong-hash": (FORGED, "whole", FORGED),
    "truncated": ("cut", AWAY, AWAY),
    "slow": ("whole", AWAY, AWAY),
}


@pytest.fixture(scope="module")
def expired() -> Iterator[Front]:
    """A mirror behind nginx whose pages are to be asked for again at once."""
    with front(ttl=0) as made:
        yield made


@contextmanager
def trouble(upstream: UpstreamModel, how: str) -> Iterator[None]:
    break_upstream(upstream, how)
    try:
        yield
    finally:
        mend_upstream(upstream, how)


@pytest.mark.parametrize("how", MATRIX)
def test_matrix(how: str, expired: Front) -> None:
    """Trouble by what is here, before and after a restart: what is here is 200 and whole, all else what MATRIX says.

    Where upstream hangs it still does when the answer is there. When it is back everything comes.
    """
    site, upstream = expired, expired.upstream
    held = {}
    for name in (f"{how}-a", f"{how}-b"):
        filename, sha256 = upstream.add_file(name, f"{name}-1.0.tar.gz", name.encode() * 10_000)
        held[f"/pypi/simple/{name}/"] = filename.encode()
        held[file_url(sha256, filename)] = upstream.bodies[f"/up/{filename}"]
    known = file_url(*reversed(upstream.add_file(f"{how}-known", f"{how}-known-1.0.tar.gz", b"known" * 400)))
    for path in (*held, f"/pypi/simple/{how}-known/"):
        poll(lambda: fetch(site.port, path).status == 200)  # noqa: B023 - used before the loop goes on
    unheld: list[list[str]] = [[], []]  # before a restart, and after it
    for moment, paths in enumerate(unheld):
        later = f"{how}-later{moment}"
        page, path = upstream.add_file(later, f"{later}-1.0.tar.gz", b"later" * 400)
        paths += [known, f"/pypi/simple/{later}/", file_url(path, page)]
        for old in range(100):  # at 1 kB/s the page takes too long
            upstream.add_file(later, f"{later}-0.{old}.tar.gz", b"x")
    with trouble(upstream, how):
        for moment, paths in enumerate(unheld):
            if moment:
                site.mirror.stop()
                site.mirror.start()
            with ThreadPoolExecutor(8) as pool:  # all at once: nobody waits for somebody else's trouble
                cells = {path: pool.submit(fetch, site.port, path) for path in (*held, *paths)}
                got = {path: cell.result() for path, cell in cells.items()}
            for path, content in held.items():
                assert (got[path].status, got[path].whole, content in got[path].body) == (200, True, True), path
            for path, means in zip(paths, MATRIX[how], strict=True):
                check(got[path], means, path)
            assert how != "hang" or upstream.hanging
    if how != "503":  # that one shows that it comes to itself
        site.mirror.stop()
        site.mirror.start()
    for path in (*unheld[0], *unheld[1]):
        poll(lambda: fetch(site.port, path).status == 200)  # noqa: B023


def check(got: Got, means: str, path: str) -> None:
    """Hold what came against a cell of the matrix."""
    intact = "/files/" not in path or hashlib.sha256(got.body).hexdigest() in path
    if means == "whole":
        assert (got.status, got.whole, intact) == (200, True, True), path
    elif means == "cut" and got.status == 200:
        assert (got.whole, intact) == (False, False), path
    else:
        assert got.code == (AWAY if means == "cut" else means), (path, got)


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
    assert {mirror.get(f"/pypi/simple/more-{number}/").status for number in range(20)} == {503}
    assert upstream.counts.total() - asked <= 5  # now and then one asks whether it is over


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
