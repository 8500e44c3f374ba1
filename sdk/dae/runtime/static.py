"""Static handlers: from a request's path to a file of the commit, which nginx (or, under ``dae serve``, we) send."""

from __future__ import annotations

import email.utils
import mimetypes
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Callable, Optional
from urllib.parse import quote
from wsgiref.util import FileWrapper

Environ = dict[str, Any]
StartResponse = Callable[..., Any]

GROUP = re.compile(r"\\([1-9][0-9]?)")
ACCEL_PREFIX = "/_dae_static/"
# Folders of the developer's machine that no handler serves, however wide its pattern is.
PRIVATE = frozenset({".git", ".venv", ".dae"})
# Built-in tables only: the type of a file must not depend on the machine's /etc/mime.types.
TYPES = mimetypes.MimeTypes()
for _type, _suffix in (
    ("text/javascript", ".js"),
    ("text/javascript", ".mjs"),
    ("application/json", ".map"),
    ("application/wasm", ".wasm"),
    ("font/woff", ".woff"),
    ("font/woff2", ".woff2"),
    ("image/avif", ".avif"),
    ("image/svg+xml", ".svg"),
    ("image/webp", ".webp"),
):
    TYPES.add_type(_type, _suffix)


def expand(template: str, match: re.Match[str]) -> str:
    r"""Put the groups of ``match`` where ``template`` says ``\1`` to ``\99``; a group that took no part is empty."""
    return GROUP.sub(lambda digit: match.group(int(digit.group(1))) or "", template)


def acceptable(path: str) -> bool:
    """Whether ``path`` names a file below the commit's top in the one plain way (POSIX, relative, no dots)."""
    parts = path.split("/")
    if "\\" in path or any(ord(letter) < 32 or ord(letter) == 127 for letter in path):
        return False
    return parts[0] not in PRIVATE and not any(part in ("", ".", "..") for part in parts)


def content_type(path: str) -> str:
    """The media type of a file by its name; text is said to be UTF-8."""
    kind, encoding = TYPES.guess_type(path)
    if encoding == "gzip":
        return "application/gzip"  # the file is sent as it is, so its type is that of the outer layer
    if kind is None or encoding is not None:
        return "application/octet-stream"
    return kind + "; charset=utf-8" if kind.startswith("text/") else kind


def plain(
    start_response: StartResponse, status: str, text: str, headers: Iterable[tuple[str, str]] = ()
) -> list[bytes]:
    """Answer with a status and a line of text."""
    body = (text + "\n").encode()
    start_response(
        status,
        [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body))), *headers],
    )
    return [body]


class StaticFiles:
    """Answers requests that a static handler matched.

    ``template`` is the path in the commit with group references, ``upload`` a regular expression that the whole
    resulting path must match (empty: any), ``root`` the commit's folder; ``accel``: nginx sends the file.
    """

    def __init__(self, template: str, upload: str, root: Path, accel: bool) -> None:
        self.template = template
        self.upload = re.compile(upload) if upload else None
        self.root = root
        self.accel = accel

    def path(self, match: re.Match[str]) -> Optional[str]:
        """The path in the commit that ``match`` asks for, or None when it may not be served."""
        path = expand(self.template, match)
        if not acceptable(path) or (self.upload and not self.upload.fullmatch(path)):
            return None
        return path

    def answer(self, match: re.Match[str], environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """The response to GET and HEAD; 404 for what may not be served or is not there, 405 for other methods."""
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return plain(start_response, "405 Method Not Allowed", "method not allowed", [("Allow", "GET, HEAD")])
        path = self.path(match)
        if path is None:
            return plain(start_response, "404 Not Found", "not found")
        if self.accel:
            location = ACCEL_PREFIX + quote(path)
            start_response("200 OK", [("Content-Type", content_type(path)), ("X-Accel-Redirect", location)])
            return [b""]
        return self._send(path, environ, start_response)

    def _send(self, path: str, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        root = self.root.resolve()
        try:
            file = (root / path).resolve(strict=True)
        except (OSError, RuntimeError):  # RuntimeError: a loop of symlinks, before Python 3.13
            return plain(start_response, "404 Not Found", "not found")
        if root not in file.parents or not file.is_file():
            return plain(start_response, "404 Not Found", "not found")
        try:
            opened = file.open("rb")
        except OSError:
            return plain(start_response, "404 Not Found", "not found")
        facts = os.fstat(opened.fileno())
        changed = int(facts.st_mtime)
        headers = [("Last-Modified", email.utils.formatdate(changed, usegmt=True)), ("Cache-Control", "no-cache")]
        if not_modified(environ.get("HTTP_IF_MODIFIED_SINCE", ""), changed):
            opened.close()
            start_response("304 Not Modified", headers)
            return []
        headers += [("Content-Type", content_type(path)), ("Content-Length", str(facts.st_size))]
        start_response("200 OK", headers)
        if environ["REQUEST_METHOD"] == "HEAD":
            opened.close()
            return []
        wrapper: Callable[[Any, int], Iterator[bytes]] = environ.get("wsgi.file_wrapper", FileWrapper)
        return wrapper(opened, 65536)


def not_modified(since: str, changed: int) -> bool:
    """Whether a file of time ``changed`` (seconds) is no newer than an If-Modified-Since (RFC 9110, 13.1.3) says."""
    if not since:
        return False
    try:
        return changed <= email.utils.parsedate_to_datetime(since).timestamp()
    except (TypeError, ValueError, OverflowError):
        return False  # "A recipient MUST ignore the header field if it is not a valid HTTP-date"
