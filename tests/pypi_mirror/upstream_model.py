"""A real HTTP server on loopback that behaves as an upstream index does, well or badly, and counts what it is asked."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import io
import json
import re
import socket
import ssl
import threading
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

JSON_TYPE = "application/vnd.pypi.simple.v1+json"
HELD_SECONDS = 30


def build_wheel(
    name: str, version: str, requires: str | Sequence[str] = (), python: str = ">=3.8", padding: int = 0
) -> bytes:
    """An installable wheel of a package of one module, the same bytes each time."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Python: {python}\n"
    requires = [requires] if isinstance(requires, str) else requires
    metadata += "".join(f"Requires-Dist: {requirement}\n" for requirement in requires if requirement)
    members = {
        f"{name}/__init__.py": f"VERSION = {version!r}\n" + "#" * padding,
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    members[f"{info}/RECORD"] = "".join(record(path, text) for path, text in members.items()) + f"{info}/RECORD,,\n"
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path, text in members.items():
            archive.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), text)
    return stream.getvalue()


@functools.cache
def bomb() -> bytes:
    """A GB of spaces in a MB."""
    press = zlib.compressobj(9, wbits=31)
    return b"".join(press.compress(b" " * (1 << 20)) for _ in range(1 << 10)) + press.flush()


def record(path: str, text: str) -> str:
    """A file's line of RECORD (binary distribution format)."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
    return f"{path},sha256={digest},{len(text.encode())}\n"


class UpstreamModel:
    """Projects to serve, a mood, and counters.

    ``mood`` is ok, hang, 503, not-an-index, trickle, redirects, another-scheme, huge, endless, headers (without end),
    bomb (a page that unpacks to a GB), wrong-hash, truncated or slow. Of files it sends ``rate`` bytes a second, and
    hangs up after as many bytes as ``cuts`` says next for the path; parts of them unless ``parts`` is False.
    ``password``: what Basic credentials it asks for.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.credentials: set[str | None] = set()  # that were sent
        self.ranges: list[tuple[str, str]] = []  # requests for parts are counted here
        self.rate: float | None = None
        self.cuts: dict[str, list[int]] = {}
        self.parts = True
        self.password = ""
        self.gates: dict[str, tuple[int, threading.Event]] = {}  # after so many bytes of a path it waits
        self.validators: dict[str, dict[str, str]] = {}  # what a page is told to be known by
        self.unchanged = 0  # pages that were answered 304
        self.statuses: dict[str, int] = {}  # what a path is answered with instead
        self.lengths: dict[str, int] = {}  # what Content-Length says of a path, if it lies
        self.pages: dict[str, dict[str, Any]] = {}
        self.bodies: dict[str, bytes] = {}
        self.html: dict[str, str] = {}
        self.mood = "ok"
        self.hanging = 0  # requests that are not being answered just now
        self.hold: threading.Event | None = None  # answers wait for it
        self._released = threading.Event()  # lets hanging ones go when the test ends
        self.port = 0
        self.start()

    def start(self) -> None:
        """Listen, again on the same port after :meth:`refuse`."""
        self._server = _Server(("127.0.0.1", self.port), self)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def wrap(self, context: ssl.SSLContext) -> None:
        """Speak TLS from now on."""
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def refuse(self) -> None:
        """Stop listening and hang up: connections are refused."""
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self._server.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._released.set()
        self.refuse()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/simple/"

    def add(self, name: str, version: str = "1.0", *, claim: str = "", **wheel: Any) -> tuple[str, str]:
        """Offer a wheel; returns its file name and the sha256 that the page states (``claim``, if given)."""
        body = build_wheel(name, version, **wheel)
        return self.add_file(name, f"{name}-{version}-py3-none-any.whl", body, claim)

    def add_file(self, name: str, filename: str, body: bytes, claim: str = "", **fields: Any) -> tuple[str, str]:
        """Offer a file of any kind; ``fields`` go into its entry of the page."""
        sha256 = claim or hashlib.sha256(body).hexdigest()
        self.bodies[f"/up/{filename}"] = body
        entry = {
            "filename": filename,
            "url": f"../../up/{filename}",
            "hashes": {"sha256": sha256},
            "size": len(body),
            "upload-time": "2024-05-06T07:08:09.123456Z",
            "requires-python": ">=3.8",
            "yanked": False,
            **fields,
        }
        page = self.pages.setdefault(
            name, {"meta": {"api-version": "1.1"}, "name": name, "files": [], "versions": ["1.0"]}
        )
        page["files"].append(entry)
        return filename, sha256


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], model: UpstreamModel) -> None:
        self.model = model
        self.connections: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that hangs up is what some of the tests are about


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        super().finish()

    def do_GET(self) -> None:
        model = self.server.model
        self.path = re.sub("^http://[^/]+", "", self.path)  # as a proxy is asked
        model.credentials.add(self.headers["Authorization"])
        if "Range" in self.headers:
            model.ranges.append((self.path, self.headers["Range"]))
        else:
            model.counts[self.path] += 1
        pair = base64.b64encode(model.password.encode()).decode()
        if model.password and self.headers["Authorization"] != f"Basic {pair}":
            self._reply(401, "text/plain", b"who are you?")
            return
        if self.path in model.statuses:
            self._reply(model.statuses[self.path], "text/plain", b"no")
            return
        if model.mood == "hang":
            model.hanging += 1
            model._released.wait(HELD_SECONDS)
            model.hanging -= 1
            self.close_connection = True
            return
        if model.hold is not None:
            model.hold.wait(HELD_SECONDS)
        if model.mood == "503":
            self._reply(503, "text/plain", b"later")
        elif model.mood == "not-an-index":
            self._reply(200, "text/html", b"<html><body>Please log in</body></html>")
        elif model.mood == "trickle":
            self._trickle()
        elif model.mood == "redirects":
            self._reply(302, "text/plain", b"", Location=self.path)
        elif model.mood == "another-scheme":
            self._reply(302, "text/plain", b"", Location="ftp://127.0.0.1/simple/")
        elif model.mood in ("huge", "endless", "headers"):
            self._endless(model.mood)
        elif model.mood == "bomb":
            self._reply(200, JSON_TYPE, bomb(), None, **{"Content-Encoding": "gzip"})
        elif self.path in model.bodies:
            self._file(model.bodies[self.path])
        else:
            self._page(self.path.removeprefix("/simple/").strip("/"))

    def _page(self, name: str) -> None:
        model = self.server.model
        validators = model.validators.get(self.path, {})
        asked = self.headers["If-None-Match"] or self.headers["If-Modified-Since"]
        if asked in validators.values():
            model.unchanged += 1
            self.send_response(304)
            self.end_headers()
            return
        if name in model.html:
            self._reply(200, "text/html; charset=utf-8", model.html[name].encode())
        elif name in model.pages:
            self._reply(200, JSON_TYPE, json.dumps(model.pages[name]).encode(), None, **validators)
        else:
            self._reply(404, "text/plain", b"no")

    def _file(self, body: bytes) -> None:
        model = self.server.model
        body = body[::-1] if model.mood == "wrong-hash" else body
        tag = f'"{hashlib.md5(body).hexdigest()}"'
        asked = re.match(r"bytes=(\d*)-(\d*)$", self.headers.get("Range", "")) if model.parts else None
        if asked is None or self.headers.get("If-Range", tag) != tag:
            length = model.lengths.get(self.path)
            self._reply(200, "application/octet-stream", body, length, ETag=tag)
            return
        start = int(asked[1]) if asked[1] else max(0, len(body) - int(asked[2]))
        end = int(asked[2]) if asked[1] and asked[2] else len(body) - 1
        extent = {"ETag": tag, "Content-Range": f"bytes {start}-{end}/{len(body)}"}
        self._reply(206, "application/octet-stream", body[start : end + 1], None, **extent)

    def _endless(self, mood: str) -> None:
        """A page of 10 GB, which says so or does not, or headers that do not end."""
        self.send_response(200)
        self.send_header("Content-Type", JSON_TYPE)
        if mood == "huge":
            self.send_header("Content-Length", str(10 << 30))
        self.close_connection = True
        piece = b" " * (1 << 20)
        if mood == "headers":
            self.flush_headers()
            piece = b"X-Endless: yes\r\n" * 1000
        else:
            self.end_headers()
        while not self.server.model._released.is_set():
            self.wfile.write(piece)

    def _trickle(self) -> None:
        """A byte now and then: every read of the client succeeds, and nothing ever gets done."""
        self.send_response(200)
        self.send_header("Content-Type", JSON_TYPE)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        while not self.server.model._released.wait(0.2):
            self.wfile.write(b" ")

    def _reply(self, status: int, kind: str, body: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        cuts = self.server.model.cuts.get(self.path)
        cut = cuts.pop(0) if cuts else None
        cut = len(body) // 2 if self.server.model.mood == "truncated" else cut
        self._send(body if cut is None else body[:cut])
        if cut is not None or length is not None:
            self.close_connection = True

    def _send(self, body: bytes) -> None:
        """At the model's rate, where it is a file, and past its gate when that is opened."""
        place, gate = self.server.model.gates.get(self.path, (0, None))
        if gate is not None:
            self.wfile.write(body[:place])
            gate.wait(HELD_SECONDS)
            body = body[place:]
        rate = self.server.model.rate if self.path.startswith("/up/") else None
        rate = 1000 if self.server.model.mood == "slow" else rate
        step = len(body) if rate is None else max(1, int(rate / 20))
        for place in range(0, len(body), max(1, step)):
            self.wfile.write(body[place : place + step])
            if rate is not None and self.server.model._released.wait(step / rate):
                return

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass
