"""URLs that every app answers without writing code: ``/_dae/health`` and ``/_dae/release``.

The space under ``/_dae/`` is the platform's; the app never sees it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Callable

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

PREFIX = "/_dae/"


class Predefined:
    """A WSGI application that answers the predefined URLs and leaves all others to ``app``."""

    def __init__(self, app: WsgiApp, environ: Mapping[str, str]) -> None:
        self.app = app
        self.name = environ.get("DAE_APP", "")
        self.stage = environ.get("DAE_STAGE", "") or environ.get("DAE_ENV", "")
        self.release = environ.get("DAE_RELEASE", "")

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if not path.startswith(PREFIX):
            return self.app(environ, start_response)
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _answer(start_response, "405 Method Not Allowed", "text/plain", "method not allowed\n")
        if path == "/_dae/health":
            return _answer(start_response, "200 OK", "text/plain", f"ok {self.release}".rstrip() + "\n")
        if path == "/_dae/release":
            facts = {"app": self.name, "stage": self.stage, "release": self.release}
            return _answer(start_response, "200 OK", "application/json", json.dumps(facts) + "\n")
        return _answer(start_response, "404 Not Found", "text/plain", "not found\n")


def _answer(start_response: Callable[..., Any], status: str, kind: str, text: str) -> Iterable[bytes]:
    body = text.encode()
    headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
    if status.startswith("405"):
        headers.append(("Allow", "GET, HEAD"))
    start_response(status, headers)
    return [body]


def wrap(app: WsgiApp, environ: Mapping[str, str]) -> WsgiApp:
    """``app`` with the predefined URLs before it; an app that has them already is returned as it is."""
    return app if isinstance(app, Predefined) else Predefined(app, environ)
