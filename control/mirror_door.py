"""The mirror's own process, asked at its socket: pages and files, and what only it knows."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from core.errors import CATALOG, DaeError
from core.paths import Home

SECONDS, PATIENT, SOON = 120.0, 30.0, 5.0
PAGE_BYTES = 128 << 20
ASKED_AT_ONCE = 20  # an address of HTTP has to stay below 4 kB
JSON_TYPE = "application/vnd.pypi.simple.v1+json"


def status(home: Home) -> dict[str, Any] | None:
    """How upstream and the policy stand; None when the mirror does not answer."""
    return _told(home, "/mirror/status")


def problems(home: Home) -> list[str]:
    """What the mirror could not read of the operator's files; nothing when it does not answer."""
    told = status(home)
    return [] if told is None else list(told["policy"]["problems"])


def warnings(home: Home, view: str, releases: Iterable[tuple[str, str]]) -> Iterator[str]:
    """A line for each of these releases (name and version) that has known vulnerabilities which count in the view."""
    wanted = [f"of={quote(f'{name}=={version}'[:180], safe='')}" for name, version in releases]
    for start in range(0, len(wanted), ASKED_AT_ONCE):
        query = "&".join([*([f"view={view}"] if view else []), *wanted[start : start + ASKED_AT_ONCE]])
        told = _told(home, f"/mirror/known?{query}")
        if told is None:
            return  # whoever pushes waits for an answer that does not come once, not for each part of the question
        for release, words in told.items():
            yield f"{release.replace('==', ' ')} has a known vulnerability: {'; '.join(words[:5])}"


def refusals(
    home: Home, view: str, files: Sequence[tuple[str, str, str]], seconds: float = PATIENT
) -> list[dict[str, str]]:
    """What the view lets through no more of these files (project, file name, sha256): ``cause``, ``advice`` of each.

    Raises ``mirror/unavailable``, ``mirror/bad-policy``, and ``mirror/unknown-view``.
    """
    question = json.dumps({"view": view, "files": files}).encode()
    return list(json.loads(_good(home.socket("mirror"), "POST", "/mirror/refused", seconds, body=question)))


def _told(home: Home, path: str) -> dict[str, Any] | None:
    try:
        code, body = _ask(home.socket("mirror"), "GET", path, SOON)
        return dict(json.loads(body)) if code == 200 else None
    except (OSError, http.client.HTTPException, ValueError):
        return None


class _Door(http.client.HTTPConnection):
    """HTTP over the mirror's unix socket."""

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("mirror", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _ask(
    door: Path, method: str, path: str, seconds: float, part: str = "", body: bytes | None = None
) -> tuple[int, bytes]:
    connection = _Door(door, seconds)
    headers = {"Accept": f"{JSON_TYPE}, text/plain;q=0.1", "Connection": "close", **({"Range": part} if part else {})}
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read(PAGE_BYTES)
    finally:
        connection.close()


def answer(door: Path, method: str, path: str, seconds: float = SECONDS) -> dict[str, Any]:
    """The mirror's answer, JSON; raises its error, and ``mirror/unavailable``."""
    body = _good(door, method, path, seconds)
    return dict(json.loads(body)) if body else {}


def have(door: Path, path: str, seconds: float) -> None:
    """Return when the file at that address is here, whole; raises as :func:`answer`."""
    _good(door, "GET", path, seconds, "bytes=0-0")  # who asks for a part gets none before all has come


def _good(door: Path, method: str, path: str, seconds: float, part: str = "", body: bytes | None = None) -> bytes:
    try:
        code, told = _ask(door, method, path, seconds, part, body)
    except (OSError, http.client.HTTPException) as error:
        raise DaeError("mirror/unavailable", "the mirror does not answer", "see: dae status") from error
    if code in (200, 206, 416):  # an empty file has no part
        return told
    words = told.decode(errors="replace").strip() or f"the mirror answers {code}"
    name, _, rest = words.partition(": ")
    cause, _, hint = rest.partition(" -- ")
    raise DaeError(name, cause, hint) if name in CATALOG else DaeError("mirror/unavailable", words, "try again")
