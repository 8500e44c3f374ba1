"""The way to upstream through a real proxy: over TLS, with a user of its own, and another way for each index."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.errors import DaeError
from pypi_mirror import proxies
from tests.pypi_mirror.mirror_process import MirrorProcess
from tests.pypi_mirror.proxy import Proxy
from tests.pypi_mirror.test_serving import file_url
from tests.pypi_mirror.upstream_model import UpstreamModel

INDEX = "https://index.test/simple/"  # a name that only the proxy knows
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for index.test, with its key, that it signs itself."""
    file = tmp_path_factory.mktemp("tls") / "cert.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=index.test",
            "-addext", "subjectAltName=DNS:index.test", "-keyout", str(file.with_name("key.pem")), "-out", str(file),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return file


@pytest.fixture
def beyond(upstream: UpstreamModel, certificate: Path) -> Iterator[tuple[UpstreamModel, Proxy]]:
    """An index that speaks TLS, and the proxy that leads to it and wants a password."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    upstream.wrap(context)
    proxy = Proxy(upstream.port, "ann:s@cret")
    yield upstream, proxy
    proxy.close()


def test_tls_through_the_environments(
    beyond: tuple[UpstreamModel, Proxy], certificate: Path, new_mirror: Callable[..., MirrorProcess]
) -> None:
    """HTTPS_PROXY is asked to connect, with its own user; the index's user it does not get to see."""
    upstream, proxy = beyond
    upstream.password = "bob:other"
    filename, sha256 = upstream.add("far")
    url = INDEX.replace("//", "//bob:other@")
    mirror = new_mirror(url, HTTPS_PROXY=proxy.address("ann:s%40cret@"), PIP_CERT=str(certificate))
    assert filename in mirror.get("/pypi/simple/far/").text
    assert mirror.get(file_url(sha256, filename)).status == 200
    assert proxy.asked == {"index.test:443"}
    assert None not in upstream.credentials
    assert proxy.credentials == {None}


def test_a_way_for_each(
    beyond: tuple[UpstreamModel, Proxy], certificate: Path, new_mirror: Callable[..., MirrorProcess]
) -> None:
    """An index has the proxy that the settings name for it, or none, whatever the environment says; files as well."""
    upstream, proxy = beyond
    near = UpstreamModel()
    try:
        far, far_sha = upstream.add("far")
        close, close_sha = near.add("near")
        ways = f"{INDEX} {proxy.address('ann:s%40cret@')}, {near.url} direct"
        mirror = new_mirror(
            NOWHERE,
            DAE_UPSTREAMS=f"{INDEX},{near.url}",
            DAE_UPSTREAM_PROXIES=ways,
            ALL_PROXY=NOWHERE,
            NO_PROXY="index.test",
            PIP_CERT=str(certificate),
        )
        for name, filename, sha256 in (("far", far, far_sha), ("near", close, close_sha)):
            assert filename in mirror.get(f"/pypi/simple/{name}/").text
            assert mirror.get(file_url(sha256, filename)).status == 200
        assert proxy.asked == {"index.test:443"}
    finally:
        near.close()


@pytest.mark.parametrize("wrong", ["password", "certificate"])
def test_a_way_that_is_closed(
    wrong: str, beyond: tuple[UpstreamModel, Proxy], certificate: Path, new_mirror: Callable[..., MirrorProcess]
) -> None:
    """A proxy that refuses, and an index that is not the one it says, are no answer; no password is told."""
    upstream, proxy = beyond
    upstream.add("far")
    user = "ann:s%40cret@" if wrong == "certificate" else "ann:guess@"
    trusted = str(certificate) if wrong == "password" else ""
    mirror = new_mirror(INDEX, DAE_UPSTREAM_PROXIES=f"{INDEX} {proxy.address(user)}", PIP_CERT=trusted)
    answer = mirror.get("/pypi/simple/far/")
    assert answer.status == 503
    assert "at index.test" in answer.text
    assert not upstream.counts
    for text in (answer.text, mirror.log.read_text()):
        assert "guess" not in text and "cret" not in text


def test_what_the_settings_name() -> None:
    """Credentials and a last slash of an index's address make no difference; one that is no index behind is said."""
    indexes = ("https://ann:secret@a.example/simple/", "http://b.example/")
    found = proxies.chosen_proxies(["https://a.example/simple  http://p:1", "http://b.example/ direct"], indexes)
    assert found == {indexes[0]: {"all": "http://p:1"}, indexes[1]: {}}
    with pytest.raises(DaeError, match=r"names http://c\.example/") as caught:
        proxies.chosen_proxies(["http://c.example direct"], indexes)
    assert "secret" not in caught.value.line()
