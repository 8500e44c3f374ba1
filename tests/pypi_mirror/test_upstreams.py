"""Several indexes: the first that has a name is its only source, whatever happens to any of them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator

import pytest

from core.errors import DaeError
from pypi_mirror import proxies
from tests.pypi_mirror.mirror_process import MirrorProcess, poll
from tests.pypi_mirror.test_outages import break_upstream, mend_upstream
from tests.pypi_mirror.test_serving import JSON, file_url
from tests.pypi_mirror.upstream_model import UpstreamModel


@pytest.fixture
def lower() -> Iterator[UpstreamModel]:
    model = UpstreamModel()
    yield model
    model.close()


def two(new_mirror: Callable[..., MirrorProcess], upper: UpstreamModel, lower: UpstreamModel) -> MirrorProcess:
    return new_mirror("http://127.0.0.1:1/", ttl=0, DAE_UPSTREAMS=f"{upper.url},{lower.url}")


def test_never_merged(upstream: UpstreamModel, lower: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """A name that both have is the upper one's alone, though the lower one offers a higher version; others pass."""
    own, _ = upstream.add("internal", "1.0")
    lower.add("internal", "99.0")
    public, sha256 = lower.add("public")
    mirror = two(new_mirror, upstream, lower)
    page = mirror.get("/pypi/simple/internal/").text
    assert own in page and "99.0" not in page
    assert public in mirror.get("/pypi/simple/public/").text
    assert mirror.get(file_url(sha256, public)).status == 200
    assert mirror.get("/pypi/simple/nowhere/").status == 404
    assert lower.counts["/simple/internal/"] == 0


@pytest.mark.parametrize("how", ["refused", "hang", "503", "not-an-index", "truncated"])
def test_an_outage_is_no_answer(
    how: str, upstream: UpstreamModel, lower: UpstreamModel, new_mirror: Callable[..., MirrorProcess]
) -> None:
    """While the upper index is away, a name that is not held is refused, and the lower one is not asked for it."""
    upstream.add("internal", "1.0")
    lower.add("internal", "99.0")
    held, _ = lower.add("public")
    mirror = two(new_mirror, upstream, lower)
    assert held in mirror.get("/pypi/simple/public/").text
    break_upstream(upstream, how)
    for restart in (False, True):
        if restart:
            mirror.stop()
            mirror.start()
        for _ in range(5):
            answer = mirror.get("/pypi/simple/internal/")
            assert answer.status in (502, 503) and "Retry-After" in answer.headers
        assert held in mirror.get("/pypi/simple/public/").text
    assert lower.counts["/simple/internal/"] == 0
    mend_upstream(upstream, how)
    poll(lambda: "internal-1.0" in mirror.get("/pypi/simple/internal/").text)


def test_a_name_that_is_given_up_is_nobodys(
    upstream: UpstreamModel, lower: UpstreamModel, new_mirror: Callable[..., MirrorProcess]
) -> None:
    """What came from the upper index and is there no more is 404, and not what the lower one has under that name."""
    upstream.add("retired", "1.0")
    lower.add("retired", "99.0")
    mirror = two(new_mirror, upstream, lower)
    assert "retired-1.0" in mirror.get("/pypi/simple/retired/").text
    del upstream.pages["retired"]
    poll(lambda: mirror.get("/pypi/simple/retired/").status == 404)
    mirror.stop()
    mirror.start()
    assert mirror.get("/pypi/simple/retired/").status == 404
    assert lower.counts["/simple/retired/"] == 0
    (mirror.home / "mirror/origins/retired").unlink()  # the operator says that it may be
    mirror.stop()
    mirror.start()
    assert "retired-99.0" in mirror.get("/pypi/simple/retired/").text


def test_a_name_moves_up(
    upstream: UpstreamModel, lower: UpstreamModel, new_mirror: Callable[..., MirrorProcess]
) -> None:
    """When the upper index gets a name that the lower one had, it is the upper one's from then on."""
    lower.add("claimed", "99.0")
    mirror = two(new_mirror, upstream, lower)
    assert "claimed-99.0" in mirror.get("/pypi/simple/claimed/").text
    filename, sha256 = upstream.add("claimed", "1.0")
    poll(lambda: "claimed-1.0" in mirror.get("/pypi/simple/claimed/").text)
    assert "99.0" not in mirror.get("/pypi/simple/claimed/").text
    assert mirror.get(file_url(sha256, filename)).status == 200


def test_credentials_of_each(
    upstream: UpstreamModel, lower: UpstreamModel, new_mirror: Callable[..., MirrorProcess]
) -> None:
    """Each index gets its own user and password, for pages and files, and not those of another on the same host."""
    upstream.password, lower.password = "ann:a@b", "bob:secret"
    filename, sha256 = upstream.add("internal")
    public, public_hash = lower.add("public")
    urls = (upstream.url.replace("//", "//ann:a%40b@"), lower.url.replace("//", "//bob:secret@"))
    mirror = new_mirror("http://127.0.0.1:1/", DAE_UPSTREAMS=",".join(urls))
    assert mirror.get(file_url(sha256, filename)).status == 200
    assert mirror.get(file_url(public_hash, public)).status == 200
    for model in (upstream, lower):
        assert model.credentials == {"Basic " + base64.b64encode(model.password.encode()).decode()}
    for how in ("401", "503", "truncated", "refused"):
        if how == "401":
            lower.password = "bob:another"
        else:
            break_upstream(lower, how)
        for path in ("/pypi/simple/other/", file_url("ab" * 32, public)):
            assert "secret" not in mirror.get(path).text
    assert "secret" not in mirror.get("/pypi/simple/public/", JSON).text
    records = [path for path in mirror.home.rglob("*") if path.is_file()]
    assert mirror.log in records
    words = (b"secret", base64.b64encode(b"bob:secret"))
    assert [path for path in records if any(word in path.read_bytes() for word in words)] == []


def test_through_a_proxy(upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """HTTP_PROXY is the way to upstream, for pages and files."""
    filename, sha256 = upstream.add("beyond")
    mirror = new_mirror("http://index.example/simple/", HTTP_PROXY=f"http://127.0.0.1:{upstream.port}")
    assert filename in mirror.get("/pypi/simple/beyond/").text
    assert mirror.get(file_url(sha256, filename)).status == 200


def test_past_a_proxy(upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """NO_PROXY names what is reached straight."""
    filename, _ = upstream.add("near")
    mirror = new_mirror(upstream.url, HTTP_PROXY="127.0.0.1:1", NO_PROXY="127.0.0.1")
    assert filename in mirror.get("/pypi/simple/near/").text


@pytest.mark.parametrize(
    ("url", "environ", "proxy"),
    [
        ("http://a.example/", {}, None),
        ("http://a.example/", {"http_proxy": "http://p:1"}, "http://p:1"),
        ("https://a.example/", {"http_proxy": "http://p:1"}, None),
        ("https://a.example/", {"HTTPS_PROXY": "p:1"}, "http://p:1"),
        ("https://a.example/", {"ALL_PROXY": "http://p:1"}, "http://p:1"),
        ("https://a.example/", {"https_proxy": "http://p:1", "no_proxy": "example"}, None),
        ("https://a.example/", {"https_proxy": "http://p:1", "NO_PROXY": "b.example, a.example"}, None),
        ("https://a.example/", {"https_proxy": "http://p:1", "no_proxy": "*"}, None),
        ("https://10.1.2.3/", {"https_proxy": "http://p:1", "no_proxy": "10.0.0.0/8"}, None),
        ("https://11.1.2.3/", {"https_proxy": "http://p:1", "no_proxy": "10.0.0.0/8,x/y"}, "http://p:1"),
        ("https://user:x@a.example/", {"https_proxy": "http://p:1", "no_proxy": "a.example"}, None),
    ],
)
def test_ways(url: str, environ: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's proxies are obeyed as urllib and pip do."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert proxies.proxy_for(url, proxies.environment_proxies()) == proxy


@pytest.mark.parametrize("value", ["socks5://p:1", "http://", "http://p:x"])
def test_other_proxies(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that cannot be used is said at the start, not passed by."""
    monkeypatch.setenv("https_proxy", value)
    with pytest.raises(DaeError, match="settings/invalid"):
        proxies.environment_proxies()
