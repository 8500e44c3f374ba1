"""An upstream index for benchmarks: made-up projects of real sizes, on loopback, counted, and slow on demand."""

from __future__ import annotations

import hashlib
import io
import json
import random
import socket
import threading
import time
import zipfile
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

JSON_TYPE = "application/vnd.pypi.simple.v1+json"
#: The same shape as flask's: what it needs, and the kilobytes of each wheel.
TREE = {"": 100, "werkzeug": 220, "jinja": 130, "itsdangerous": 16, "click": 100, "blinker": 8, "markupsafe": 24}
#: Files on the pages of well-known projects, which give pages of the sizes seen: 43 KB, 1.7, 1.9 and 4.9 MB of JSON.
FILES = {"flask": 120, "boto3": 4400, "numpy": 5000, "grpcio": 12700}


class Index:
    """``delay``: seconds before each answer. ``rate``: bytes a second. ``mood``: ok, hang or 503."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.sent = 0
        self.delay, self.rate, self.mood = 0.0, 0, "ok"
        self._random = random.Random(1)
        self._pages: dict[str, list[dict[str, Any]]] = {}
        self._bodies: dict[str, bytes] = {}
        self._released = threading.Event()
        self.port = 0
        self.listen()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/simple/"

    def listen(self) -> None:
        self._server = _Server(("127.0.0.1", self.port), self)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def refuse(self) -> None:
        """Stop listening, and hang up."""
        self._server.shutdown()
        self._server.server_close()
        for connection in list(self._server.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._released.set()
        self.refuse()

    def tree(self, prefix: str) -> None:
        """Seven projects that need one another as flask's do; the first is called ``prefix`` and no more."""
        for part, size in TREE.items():
            needs = [f"{prefix}{other}" for other in TREE if other] if not part else []
            self.wheel(f"{prefix}{part}", size << 10, needs)

    def wheel(self, name: str, size: int, needs: list[str] | None = None, *, forged: bool = False) -> str:
        """Offer a wheel of that many bytes; returns the path that a mirror has it at, below /pypi/."""
        filename = f"{name}-1.0-py3-none-any.whl"
        body = _wheel(name, self._random.randbytes(size), needs or [])
        sha256 = "0" * 64 if forged else hashlib.sha256(body).hexdigest()
        self._bodies[f"/up/{filename}"] = body
        self._entry(name, filename, sha256, len(body))
        return f"files/{sha256[:2]}/{sha256}/{filename}"

    def page(self, name: str, files: int) -> None:
        """Offer a page of that many files, which are not there, after those that are."""
        for number in range(files):
            filename = f"{name}-{number // 40 + 2}.{number % 40}-cp311-cp311-manylinux_2_17_x86_64.whl"
            self._entry(name, filename, f"{self._random.getrandbits(256):064x}", 100_000 + number)

    def _entry(self, name: str, filename: str, sha256: str, size: int) -> None:
        entry = {
            "filename": filename,
            "url": f"../../up/{filename}",
            "hashes": {"sha256": sha256},
            "size": size,
            "requires-python": ">=3.8",
            "upload-time": f"2024-05-06T07:08:09.{size % 1_000_000:06d}Z",
            "yanked": False,
        }
        self._pages.setdefault(name, []).append(entry)

    def answer(self, path: str) -> tuple[int, str, bytes]:
        if path in self._bodies:
            return 200, "application/octet-stream", self._bodies[path]
        name = path.removeprefix("/simple/").strip("/")
        meta = {"api-version": "1.1"}
        if not name:
            listed: dict[str, Any] = {"meta": meta, "projects": [{"name": name} for name in self._pages]}
            return 200, JSON_TYPE, json.dumps(listed).encode()
        if name not in self._pages:
            return 404, "text/plain", b"no"
        page: dict[str, Any] = {"meta": meta, "name": name, "files": self._pages[name], "versions": ["1.0"]}
        return 200, JSON_TYPE, json.dumps(page, separators=(",", ":")).encode()


def _wheel(name: str, padding: bytes, needs: list[str]) -> bytes:
    info = f"{name}-1.0.dist-info"
    lines = "".join(f"Requires-Dist: {other}\n" for other in needs)
    members = {
        f"{name}/__init__.py": b"",
        f"{name}/data": padding,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{lines}".encode()
        + b"\n"
        + b"x" * 2000,
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: bench\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    members[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*members, f"{info}/RECORD"]).encode()
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path, data in members.items():
            archive.writestr(zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0)), data)
    return stream.getvalue()


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def __init__(self, address: tuple[str, int], index: Index) -> None:
        self.index = index
        self.connections: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that hangs up is part of the game


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
        index = self.server.index
        index.counts[self.path] += 1
        if index.mood == "hang":
            index._released.wait(60)
            self.close_connection = True
            return
        time.sleep(index.delay)
        status, kind, body = index.answer(self.path) if index.mood == "ok" else (503, "text/plain", b"later")
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        step = 64 << 10
        for start in range(0, len(body), step):
            self.wfile.write(body[start : start + step])
            index.sent += len(body[start : start + step])
            if index.rate:
                time.sleep(step / index.rate)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass
