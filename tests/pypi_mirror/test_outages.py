"""What the mirror answers while upstream is away: what it holds, at once; for the rest 503, never "there is none"."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.pypi_mirror.mirror_process import MirrorProcess, poll
from tests.pypi_mirror.test_serving import file_url
from tests.pypi_mirror.upstream_model import UpstreamModel


def break_upstream(upstream: UpstreamModel, how: str) -> None:
    if how == "refused":
        upstream.refuse()
    else:
        upstream.mood = how


def mend_upstream(upstream: UpstreamModel, how: str) -> None:
    if how == "refused":
        upstream.start()
    upstream.mood = "ok"


@pytest.mark.parametrize("how", ["refused", "hang", "503", "trickle"])
def test_outage(how: str, upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """In each kind of outage a cached page (expired) and file are 200, an uncached project is 503 and forgotten.

    The same after a restart; and when upstream is back, everything is there.
    """
    filename, sha256 = upstream.add("held")
    upstream.add("later")
    mirror = new_mirror(upstream.url, ttl=0)
    assert mirror.get("/pypi/simple/held/").status == 200
    assert mirror.get(file_url(sha256, filename)).status == 200
    break_upstream(upstream, how)
    for restart in (False, True):
        if restart:
            mirror.stop()
            mirror.start()
        assert filename in mirror.get("/pypi/simple/held/").text
        assert mirror.get(file_url(sha256, filename)).status == 200
        answer = mirror.get("/pypi/simple/later/")
        assert (answer.status, answer.text.split(":")[0]) == (503, "mirror/unavailable")
        assert int(answer.headers["Retry-After"]) > 0
        assert filename in mirror.get("/pypi/simple/held/").text
    mend_upstream(upstream, how)
    poll(lambda: mirror.get("/pypi/simple/later/").status == 200)
    assert mirror.get("/pypi/simple/held/").status == 200


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
        files = [f"{name}-0.{number}.tar.gz" for number in range(3000)]
        upstream.html[name] = "".join(f'<a href="/up/{file}#sha256={"0" * 64}">{file}</a>\n' for file in files)
    mirror = new_mirror(upstream.url)
    with ThreadPoolExecutor(len(names)) as pool:
        statuses = list(pool.map(lambda name: mirror.get(f"/pypi/simple/{name}/").status, names))
    assert statuses == [200] * len(names)
