"""Pages that are fetched again: upstream is asked whether they changed, where it said how to."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.pypi_mirror.mirror_process import MirrorProcess, poll
from tests.pypi_mirror.upstream_model import UpstreamModel

DATE = {"Last-Modified": "Mon, 06 May 2024 07:08:09 GMT"}


@pytest.mark.parametrize("said", [{"ETag": '"one"'}, {"ETag": 'W/"one"'}, DATE], ids=str)
def test_unchanged(said: dict[str, str], upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """A page that did not change is answered 304, is served on, and counts as fetched; one that did comes whole."""
    upstream.add("steady", "1.0")
    upstream.validators["/simple/steady/"] = said
    mirror = new_mirror(upstream.url, ttl=0)
    record = mirror.home / "mirror" / "projects" / "steady.json"
    assert "steady-1.0" in mirror.get("/pypi/simple/steady/").text
    before = record.stat()
    poll(lambda: "steady-1.0" in mirror.get("/pypi/simple/steady/").text and upstream.unchanged)
    poll(lambda: record.stat().st_mtime > before.st_mtime)
    assert record.stat().st_ino == before.st_ino
    upstream.add("steady", "2.0")
    upstream.validators["/simple/steady/"] = {"ETag": '"two"'}
    poll(lambda: "steady-2.0" in mirror.get("/pypi/simple/steady/").text)


def test_lies(upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """304 for what is not here, or was asked for whole, is no answer: nothing comes of it, and what is here stays."""
    upstream.add("here", "1.0")
    mirror = new_mirror(upstream.url, ttl=0)
    assert "here-1.0" in mirror.get("/pypi/simple/here/").text
    upstream.statuses |= {"/simple/here/": 304, "/simple/absent/": 304}
    answer = mirror.get("/pypi/simple/absent/")
    assert (answer.status, answer.text.split(":")[0]) == (503, "mirror/unavailable")
    assert "here-1.0" in mirror.get("/pypi/simple/here/").text


def test_a_record_that_is_lost(upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """What is not here any more, or is damaged, is asked for whole, though upstream's page is the same."""
    upstream.add("mislaid", "1.0")
    upstream.validators["/simple/mislaid/"] = {"ETag": '"one"'}
    mirror = new_mirror(upstream.url, ttl=0)
    record = mirror.home / "mirror" / "projects" / "mislaid.json"
    for damage in (record.unlink, lambda: record.write_text("{")):
        assert "mislaid-1.0" in mirror.get("/pypi/simple/mislaid/").text
        damage()
        poll(lambda: "mislaid-1.0" in mirror.get("/pypi/simple/mislaid/").text)
