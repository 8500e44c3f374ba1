"""The door to npm's registry: what is passed on, what is refused."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.pypi_mirror.mirror_process import MirrorProcess
from tests.pypi_mirror.upstream_model import UpstreamModel


class Registry:
    """A server that answers every path below /repo/npm/ with that path, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.asked.append((self.path, {key.lower(): value for key, value in self.headers.items()}))
                short = self.path.removeprefix("/repo/npm/")
                status = {"missing": 404, "broken": 500, "moved": 302}.get(short, 200)
                body = short.encode()
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/repo/npm/there")
                self.send_header("Content-Type", "application/x-test")
                self.send_header("Set-Cookie", "a=b")
                self.send_header("Content-Length", str(len(body) + (short == "cut")))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://me:secret@127.0.0.1:{self._server.server_port}/repo/npm"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def registry() -> Iterator[Registry]:
    model = Registry()
    yield model
    model.close()


@pytest.fixture
def mirror(
    registry: Registry, shared_upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]
) -> MirrorProcess:
    return new_mirror(shared_upstream.url, DAE_NPM_REGISTRY=registry.url)


def test_what_npm_asks_is_passed_on(mirror: MirrorProcess, registry: Registry) -> None:
    """A path goes to the registry as it came, with its user; the answer comes back without what is not npm's affair."""
    answer = mirror.get("/npm/@scope%2fname", {"Accept": "application/vnd.npm.install-v1+json"})
    assert (answer.status, answer.text) == (200, "@scope%2Fname")
    assert answer.headers["Content-Type"] == "application/x-test"
    assert "Set-Cookie" not in answer.headers
    assert answer.headers["Content-Security-Policy"].startswith("sandbox"), "nothing of it runs in a browser"
    path, headers = registry.asked[-1]
    assert path == "/repo/npm/@scope%2Fname"
    assert headers["accept"] == "application/vnd.npm.install-v1+json"
    assert headers["authorization"].startswith("Basic ")
    assert mirror.get("/npm/repo/npm/ms/-/ms-2.1.3.tgz").text == "ms/-/ms-2.1.3.tgz", "a lock's path has the registry's"
    assert mirror.get("/npm/moved").text == "there"


@pytest.mark.parametrize(
    "path",
    ["../../secret", "a/../../x", "%2e%2e/x", "a%2f..%2f..%2fx", "a//b", "/x", "a%5c..%5cb", "", "a%00b", "a%0d%0ab"],
)
def test_no_path_leaves_the_registry(mirror: MirrorProcess, registry: Registry, path: str) -> None:
    """Whatever a build writes behind /npm/, nothing above the registry's own address is asked for."""
    assert mirror.get("/npm/" + path).status in (400, 404)
    assert registry.asked == []


def test_trouble(mirror: MirrorProcess) -> None:
    """What the registry does not have is 404, its failures are 503, a body cut short is not taken for whole."""
    assert mirror.get("/npm/missing").status == 404
    assert mirror.get("/npm/broken").status == 503
    with pytest.raises(http.client.IncompleteRead):
        mirror.get("/npm/cut")
    assert mirror.get("/npm/fine").status == 200


def test_a_registry_that_is_away(shared_upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """A registry that nobody can reach is an error that says so."""
    mirror = new_mirror(shared_upstream.url, DAE_NPM_REGISTRY="http://127.0.0.1:1/")
    answer = mirror.get("/npm/ms")
    assert answer.status == 503
    assert "mirror/unavailable" in answer.text
