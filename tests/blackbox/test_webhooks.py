"""Webhooks for pushes and releases, to a real receiver."""

from __future__ import annotations

import hashlib
import hmac
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.blackbox.project import Platform, Project, eventually


class Receiver(http.server.ThreadingHTTPServer):
    """Keeps what it gets; answers the first request with an error."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.failures = 1
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.failures -= 1
        if self.server.failures >= 0:
            self.send_error(500)
            return
        self.server.got.append((dict(self.headers.items()), body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_push_is_told_signed_and_again_after_a_failure(
    platform: Platform, tmp_path: Path, receiver: Receiver
) -> None:
    """Each event of a push arrives with a signature of the secret, the one that failed as well."""
    project = Project.create(platform, tmp_path / "bell", "bell")
    url = f"http://127.0.0.1:{receiver.server_port}/told"
    added = project.dae("hooks", "add", url, "-a", "bell", "--json")
    assert added.returncode == 0, added.stderr
    hook = json.loads(added.stdout)
    project.pushed("one")

    def kinds() -> list[str]:
        return [json.loads(body)["kind"] for _, body in receiver.got]

    wanted = {"push-received", "build-started", "build-succeeded", "release-started", "release-live"}
    eventually(lambda: wanted <= set(kinds()), 60)
    for headers, body in receiver.got:
        proof = hmac.new(hook["secret"].encode(), body, hashlib.sha256).hexdigest()
        assert headers["X-DAE-Signature-256"] == f"sha256={proof}"
        assert json.loads(body)["app"] == "bell"

    def attempts() -> set[int]:
        listed = json.loads(project.dae("hooks", "deliveries", str(hook["id"]), "--json").stdout)
        return {row["attempts"] for row in listed if row["state"] == "delivered"}

    eventually(lambda: attempts() == {1, 2}, 60)


def test_private_addresses_are_refused(platform: Platform) -> None:
    """Only networks that the operator named."""
    refused = platform.dae("hooks", "add", "--all-apps", "http://169.254.169.254/latest/")
    assert refused.returncode == 1
    assert "hook/bad-url" in refused.stderr
