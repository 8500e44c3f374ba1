"""A platform as the command sees it: a real HTTP server with the API's shapes, which remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TOKEN = "dae_secret"
LIVE = {
    "release": "v3",
    "number": 3,
    "slug": "f" * 64,
    "commit": "c" * 40,
    "who": "ann",
    "created": "2026-01-02T03:04:05.6+00:00",
}
BLOG = {
    "name": "blog",
    "owner": "ann",
    "created": "2026-01-01T00:00:00+00:00",
    "url": "http://blog.localhost/",
    "git": "http://localhost/git/blog.git",
    "stages": {"dev": {**LIVE, "url": "http://blog.dev.localhost/"}, "beta": None, "stable": None},
}


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Platform:
    """``answers``: (method, path without query) -> (status, JSON) or a list of pieces that are streamed."""

    url: str = ""
    answers: dict[tuple[str, str], Any] = field(default_factory=dict)
    asked: list[Request] = field(default_factory=list)
    #: Files below /pypi/simple/, by path.
    files: dict[str, bytes] = field(default_factory=dict)
    #: A streamed answer waits for this before each piece that is None.
    go_on: threading.Event = field(default_factory=threading.Event)

    def last(self) -> Request:
        return self.asked[-1]


def ndjson(*messages: object) -> list[bytes | None]:
    return [None if message is None else json.dumps(message).encode() + b"\n" for message in messages]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    platform: Platform

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path.startswith("/pypi/"):
            self._file(path)
            return
        length = int(self.headers.get("Content-Length") or 0)
        content = self.rfile.read(length)
        body = json.loads(content) if content else None
        self.platform.asked.append(Request(self.command, self.path, dict(self.headers), body))
        if path != "/api/v1/status" and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._json(
                401, {"error": "auth/required", "cause": "the token is not known", "hint": "log in with: dae login"}
            )
            return
        answer = self.platform.answers.get((self.command, path.removeprefix("/api/v1/")))
        if answer is None:
            self._json(404, {"error": "input/unknown-path", "cause": "nothing there", "hint": ""})
        elif isinstance(answer, list):
            self._stream(answer)
        else:
            self._json(*answer)

    do_POST = do_DELETE = do_GET  # noqa: N815

    def _file(self, path: str) -> None:
        content = self.platform.files.get(path)
        self.send_response(200 if content is not None else 404)
        self.send_header("Content-Type", "text/html" if path.endswith("/") else "application/octet-stream")
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        self.wfile.write(content or b"")

    def _json(self, status: int, data: object) -> None:
        content = data if isinstance(data, bytes) else json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, pieces: list[bytes | None]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in pieces:
            if piece is None:
                assert self.platform.go_on.wait(30)
            else:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def running() -> Iterator[Platform]:
    platform = Platform()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"platform": platform}))
    platform.url = f"http://localhost:{server.server_address[1]}"
    platform.answers["GET", "whoami"] = (200, {"user": "ann", "admin": False})
    platform.answers["GET", "apps/blog"] = (200, BLOG)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield platform
    finally:
        platform.go_on.set()
        server.shutdown()
        server.server_close()
        thread.join()


def simple_index(platform: Platform, *wheels: Path) -> None:
    """Put wheels into the platform's index (PEP 503)."""
    by_project: dict[str, list[Path]] = {}
    for wheel in wheels:
        by_project.setdefault(wheel.name.split("-")[0].lower().replace("_", "-"), []).append(wheel)
    for project, found in by_project.items():
        links = "".join(f'<a href="../../files/{wheel.name}">{wheel.name}</a>' for wheel in found)
        platform.files[f"/pypi/simple/{project}/"] = f"<!doctype html><html><body>{links}</body></html>".encode()
        for wheel in found:
            platform.files[f"/pypi/files/{wheel.name}"] = wheel.read_bytes()
