"""The door through which builds reach the registry of npm, as they reach the index: they have no other network.

Nothing is kept: what npm asks for is passed on as it comes. npm itself compares it with the hashes of its lock.
"""

from __future__ import annotations

import json
import logging
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from urllib.parse import unquote, urlsplit
from wsgiref.types import WSGIEnvironment

import urllib3

from core import argv
from core.config import Settings
from core.errors import DaeError
from pypi_mirror.client import Client, check_status, chunks

log = logging.getLogger("dae.mirror")

PREFIX = "/npm/"
#: Whatever the registry sends, no browser is to run it as a page of the platform's.
_INERT = (("X-Content-Type-Options", "nosniff"), ("Content-Security-Policy", "sandbox; default-src 'none'"))
READ_SECONDS = 30.0  # a package's page is made when it is asked for, and can be 10 MB
NPM_SECONDS = 20
_PATH = re.compile(r"[A-Za-z0-9@._~!$'()*+,;=:%/-]+\Z")  # as it is sent
_SEGMENT = re.compile(r"(?!\.{1,2}\Z)[!-.0-\[\]-~]+\Z")  # as it is meant: printable ASCII, no slash either way
_PASSED = ("Content-Type", "Content-Encoding", "Content-Length", "ETag", "Last-Modified", "Cache-Control")


def registry_client(settings: Settings, identity: str) -> Client:
    """A client of the operator's ``npm_registry``; else of what npm on this machine is configured with for everybody.

    Raises ``settings/invalid`` when there is neither.
    """
    configured = _npm_settings()
    url = settings.npm_registry or str(configured.get("registry") or "")
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        cause = "no registry of npm packages is known on this node: npm is not installed, or not configured"
        raise DaeError("settings/invalid", cause, "the operator installs npm, or sets npm_registry")
    cert = configured.get("cafile")
    try:
        context = ssl.create_default_context(cafile=str(cert) if cert else None)
    except OSError as error:
        log.error("npm's cafile %r cannot be used: %s", cert, error)
        raise DaeError("settings/invalid", "npm's cafile cannot be used", "the operator mends npm's setting") from error
    return Client(url.rstrip("/") + "/", context, identity)


def _npm_settings() -> dict[str, object]:
    """What npm is configured with for the whole machine; nothing where there is no npm. It knows its own default."""
    environ = {"HOME": "/nonexistent", "npm_config_loglevel": "silent", "npm_config_update_notifier": "false"}
    try:
        told = argv.run(["npm", "config", "list", "--json"], environ=environ, timeout=NPM_SECONDS)
        found = json.loads(told.output) if told.ok else {}
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


class Passed:
    """An answer on its way through: its headers, and its body, which is to be closed however it ends (PEP 3333)."""

    def __init__(self, response: urllib3.BaseHTTPResponse, opened: ExitStack) -> None:
        passed = [(name, response.headers[name]) for name in _PASSED if name in response.headers]
        self.headers = [*passed, *_INERT]
        self._response = response
        self._opened = opened

    def __iter__(self) -> Iterator[bytes]:
        return chunks(self._response, lambda _bytes: None, decode=False)

    def close(self) -> None:
        """Give up what is left of it."""
        self._opened.close()


class NpmDoor:
    """Passes GET requests below /npm/ on to the registry that ``connect`` gives a client of, when first asked."""

    def __init__(self, connect: Callable[[], Client]) -> None:
        self._connect = connect
        self._client: Client | None = None
        self._lock = threading.Lock()

    def get(self, environ: WSGIEnvironment) -> Passed:
        """The registry's answer to this request.

        Raises ``input/unknown-path``, ``settings/invalid``, ``mirror/unknown-file`` and ``mirror/unavailable``.
        """
        with self._lock:
            client = self._client = self._client or self._connect()
        path = _below(environ.get("RAW_URI") or environ.get("PATH_INFO", ""), client.base)
        headers = {
            "Accept": environ.get("HTTP_ACCEPT", "*/*"),
            "Accept-Encoding": environ.get("HTTP_ACCEPT_ENCODING", "identity"),
        }
        with ExitStack() as stack:
            response, _url = stack.enter_context(client.get(client.base + path, headers, READ_SECONDS))
            if response.status in (404, 410):
                raise DaeError("mirror/unknown-file", f"the registry of npm has no {path[:200]}", "check the spelling")
            check_status(response, f"{path[:200]} of npm")
            return Passed(response, stack.pop_all())


def _below(raw: str, base: str) -> str:
    """The registry's path in a request of ours; npm puts our host for the registry's, and keeps the path it had."""
    path = raw.partition("?")[0].removeprefix(PREFIX)
    own = urlsplit(base).path.lstrip("/")
    path = path.removeprefix(own) if own else path
    segments = unquote(path).split("/")
    if not _PATH.match(path) or not all(_SEGMENT.match(segment) for segment in segments):
        raise DaeError("input/unknown-path", "that is no address of an npm package", f"packages are below {PREFIX}")
    return path
