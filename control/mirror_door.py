"""Asking the mirror's process at its socket: what only it knows, or does."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any

from core.errors import CATALOG, DaeError

SECONDS = 120.0
PAGE_BYTES = 128 << 20
JSON_TYPE = "application/vnd.pypi.simple.v1+json"


class _Door(http.client.HTTPConnection):
    """HTTP over the mirror's unix socket."""

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("mirror", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(
    door: Path, method: str, path: str, headers: dict[str, str] | None = None, seconds: float = SECONDS
) -> tuple[int, bytes]:
    """Status and body; raises OSError and HTTPException."""
    connection = _Door(door, seconds)
    said = {"Accept": f"{JSON_TYPE}, text/plain;q=0.1", "Connection": "close", **(headers or {})}
    try:
        connection.request(method, path, headers=said)
        response = connection.getresponse()
        return response.status, response.read(PAGE_BYTES)
    finally:
        connection.close()


def answer(door: Path, method: str, path: str, seconds: float = SECONDS) -> dict[str, Any]:
    """The mirror's answer, JSON; raises its error, and ``mirror/unavailable``."""
    body = _good(door, method, path, {}, seconds)
    return dict(json.loads(body)) if body else {}


def have(door: Path, path: str, seconds: float) -> None:
    """Return when the file at that address is here, whole; raises as :func:`answer`."""
    _good(door, "GET", path, {"Range": "bytes=0-0"}, seconds)  # who asks for a part gets none before all has come


def _good(door: Path, method: str, path: str, headers: dict[str, str], seconds: float) -> bytes:
    try:
        status, body = ask(door, method, path, headers, seconds)
    except (OSError, http.client.HTTPException) as error:
        raise DaeError("mirror/unavailable", f"the mirror does not answer: {error}", "see: dae status") from error
    if status in (200, 206, 416):  # an empty file has no part
        return body
    words = body.decode(errors="replace").strip() or f"the mirror answers {status}"
    code, _, rest = words.partition(": ")
    cause, _, hint = rest.partition(" -- ")
    raise DaeError(code, cause, hint) if code in CATALOG else DaeError("mirror/unavailable", words, "try again")
