"""The mirror's WSGI door (PEP 3333): routes, formats, validators. One worker: see README.md.

nginx serves files that are on disk by itself; what comes here are pages, and files that are not there yet.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from core import config
from core.cooperative import close_at_once
from core.errors import DaeError
from core.paths import Home
from pypi_mirror import pages, ranges
from pypi_mirror.arrivals import Incoming
from pypi_mirror.client import MARK
from pypi_mirror.mirror import Mirror
from pypi_mirror.model import METADATA_SUFFIX, project_name
from pypi_mirror.npm import PREFIX as NPM
from pypi_mirror.npm import NpmDoor, Passed, registry_client
from pypi_mirror.store import Store
from pypi_mirror.upstream import Upstream, index_urls, tls_context
from pypi_mirror.upstreams import Origins, Upstreams

PREFIX = "/pypi"
RETRY_AFTER = "2"
BLOCK = 256 << 10
REASONS = {
    200: "OK", 206: "Partial Content", 301: "Moved Permanently", 304: "Not Modified", 400: "Bad Request",
    404: "Not Found", 405: "Method Not Allowed", 406: "Not Acceptable", 416: "Range Not Satisfiable",
    500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable", 507: "Insufficient Storage",
}  # fmt: skip

log = logging.getLogger("dae.mirror")


def create_app() -> WSGIApplication:
    """The application on this machine's settings; raises ``settings/invalid`` when they name no usable upstream."""
    close_at_once()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    settings = config.load()
    identity = MARK + secrets.token_hex(8)
    home, context = Home(settings.home), tls_context()
    indexes = [Upstream(url, context, identity) for url in index_urls(settings)]
    upstreams = Upstreams(indexes, Origins(home.mirror / "origins"))
    mirror = Mirror(Store(home), upstreams, settings.index_ttl)
    return App(mirror, NpmDoor(lambda: registry_client(settings, identity)), identity)


@dataclass(slots=True)
class Response:
    """What a route answers; ``body``: bytes, a file to send (open, or its path), or what another server is sending.

    ``length``: how much of an open file is sent, from where it stands; all of it when that is None.
    """

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes | Path | BinaryIO | Passed | Incoming = b""
    length: int | None = None


class App:
    """The mirror as a WSGI application. ``identity`` is what its own requests to upstream carry in Via."""

    def __init__(self, mirror: Mirror, npm: NpmDoor, identity: str = MARK + "0") -> None:
        self._mirror = mirror
        self._npm = npm
        self._identity = identity

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            response = self._answer(environ)
        except DaeError as error:
            response = _error(error)
        except Exception:  # the edge: whatever it is, the client gets an answer and the log the details
            log.exception("%s failed", ascii(environ.get("PATH_INFO", "")))
            response = _error(DaeError("platform/internal", "the mirror failed", "see the mirror's log"))
        return _send(response, environ, start_response)

    def _answer(self, environ: WSGIEnvironment) -> Response:
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            response = _error(DaeError("input/invalid", "the index is read with GET and HEAD"))
            return Response(405, [*response.headers, ("Allow", "GET, HEAD")], response.body)
        if self._identity in environ.get("HTTP_VIA", ""):
            raise DaeError("mirror/unavailable", "the upstream index is this mirror itself", "set DAE_UPSTREAM")
        path = environ.get("PATH_INFO", "")
        if path.startswith(NPM):
            passed = self._npm.get(environ)
            return Response(200, passed.headers, passed)
        match path.removeprefix(PREFIX).split("/") if path.startswith(PREFIX + "/") else []:
            case ["", "simple", ""]:
                return self._list(environ)
            case ["", "simple", name] | ["", "simple", name, ""]:
                return self._page(name, environ, is_folder=path.endswith("/"))
            case ["", "files", start, sha256, filename] if sha256.startswith(start) and len(start) == 2:
                return self._file(sha256, filename, environ)
            case ["", "simple"]:
                return _redirect(PREFIX + "/simple/", environ)
        raise DaeError("input/unknown-path", "there is nothing at that address", f"the index is at {PREFIX}/simple/")

    def _list(self, environ: WSGIEnvironment) -> Response:
        kind, content_type = _negotiate(environ)
        body = pages.render_list(self._mirror.store.names())[kind]
        return _validated(environ, body, _etag(body), [*_page_headers(content_type, "")])

    def _page(self, text: str, environ: WSGIEnvironment, is_folder: bool) -> Response:
        name = project_name(text)
        if name != text or not is_folder:
            return _redirect(f"{PREFIX}/simple/{name}/", environ)
        kind, content_type = _negotiate(environ)
        zipped = _accepts_gzip(environ.get("HTTP_ACCEPT_ENCODING", ""))
        stream = self._mirror.page(name, kind, zipped)
        status = os.fstat(stream.fileno())
        tag = pages.etag(status.st_mtime, status.st_size)
        return _validated(environ, stream, tag, _page_headers(content_type, "gzip" if zipped else ""))

    def _file(self, sha256: str, filename: str, environ: WSGIEnvironment) -> Response:
        wanted = environ.get("HTTP_RANGE", "") if environ["REQUEST_METHOD"] == "GET" else ""
        found = self._mirror.file(sha256, filename, whole=bool(wanted))
        is_metadata = filename.endswith(METADATA_SUFFIX)
        headers = [
            ("Content-Type", "text/plain; charset=utf-8" if is_metadata else "application/octet-stream"),
            ("Cache-Control", "public, max-age=31536000, immutable"),
            ("X-Content-Type-Options", "nosniff"),
            ("Accept-Ranges", "bytes"),
        ]
        if isinstance(found, Incoming):
            headers.append(("X-Accel-Buffering", "no"))  # nginx hands on what comes as it comes
        tag = f'"{sha256}{"-m" if is_metadata else ""}"'
        response = _validated(environ, found, tag, headers)
        if wanted and isinstance(found, Path) and environ.get("HTTP_IF_RANGE", tag) == tag:
            return _part(response, found, wanted)
        return response


def _negotiate(environ: WSGIEnvironment) -> tuple[pages.Format, str]:
    """The format asked for by ``?format=`` (PEP 691), else by Accept; raises ``mirror/not-acceptable``."""
    wanted = environ.get("HTTP_ACCEPT")
    for pair in environ.get("QUERY_STRING", "").split("&"):
        key, _, value = pair.partition("=")
        if key == "format":
            wanted = unquote(value) or "none"  # not unquote_plus: the types' names hold a '+'
            break
    chosen = pages.choose(wanted)
    if chosen is None:
        served = ", ".join(pages.CONTENT_TYPES)
        raise DaeError(
            "mirror/not-acceptable", "none of the formats asked for is served here", f"ask for one of {served}"
        )
    return chosen


def _accepts_gzip(header: str) -> bool:
    for part in header.lower().split(","):
        coding, _, parameters = part.partition(";")
        if coding.strip() == "gzip":
            return parameters.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _page_headers(content_type: str, encoding: str) -> list[tuple[str, str]]:
    headers = [
        ("Content-Type", content_type),
        ("Vary", "Accept, Accept-Encoding"),
        ("Cache-Control", "no-cache"),  # asking again costs a 304, and a build must see what was just published
        ("X-Content-Type-Options", "nosniff"),
    ]
    return [*headers, ("Content-Encoding", encoding)] if encoding else headers


def _validated(
    environ: WSGIEnvironment, body: bytes | Path | BinaryIO | Incoming, etag: str, headers: list[tuple[str, str]]
) -> Response:
    """The body, or 304 when the client has it (RFC 9110, 13.1.2)."""
    headers = [*headers, ("ETag", etag)]
    known = [tag.strip().removeprefix("W/") for tag in environ.get("HTTP_IF_NONE_MATCH", "").split(",")]
    if etag in known or "*" in known:
        if not isinstance(body, bytes | Path):
            body.close()
        return Response(304, [pair for pair in headers if pair[0] not in ("Content-Type", "Content-Encoding")])
    return Response(200, headers, body)


def _part(response: Response, path: Path, header: str) -> Response:
    """The same with the part of the file that is asked for, where one is (RFC 9110, 14.2)."""
    if response.status != 200:
        return response
    stream = path.open("rb")
    size = os.fstat(stream.fileno()).st_size
    part = ranges.wanted(header, size)
    if part is None:
        return Response(200, response.headers, stream)
    if part.length == 0:
        stream.close()
        return Response(416, [("Content-Range", f"bytes */{size}"), ("Cache-Control", "no-store")])
    stream.seek(part.start)
    extent = ("Content-Range", f"bytes {part.start}-{part.start + part.length - 1}/{size}")
    return Response(206, [*response.headers, extent], stream, part.length)


def _etag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _redirect(location: str, environ: WSGIEnvironment) -> Response:
    query = environ.get("QUERY_STRING", "")
    return Response(301, [("Location", location + (f"?{query}" if query else ""))])


def _error(error: DaeError) -> Response:
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")]
    if error.status in (502, 503):
        headers.append(("Retry-After", RETRY_AFTER))
    if error.code == "mirror/not-acceptable":
        headers.append(("Vary", "Accept"))
    return Response(error.status, headers, (error.line() + "\n").encode("utf-8", "replace"))


def _send(response: Response, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    body, no_body = response.body, environ["REQUEST_METHOD"] == "HEAD" or response.status == 304
    if isinstance(body, Path):
        body = body.open("rb")
    headers = response.headers
    if response.status != 304 and not isinstance(body, Passed):
        headers = [*headers, ("Content-Length", str(_length(body) if response.length is None else response.length))]
    start_response(f"{response.status} {REASONS.get(response.status, 'Error')}", headers)
    if isinstance(body, bytes):
        return [] if no_body else [body]
    if no_body:
        body.close()
        return []
    if isinstance(body, Passed | Incoming):
        return body
    wrapper: Callable[..., Any] | None = environ.get("wsgi.file_wrapper")
    if wrapper is not None:
        return wrapper(body, BLOCK)  # type: ignore[no-any-return]  # the server sends no more than Content-Length
    return _blocks(body, response.length)


def _length(body: bytes | BinaryIO | Incoming) -> int:
    if isinstance(body, bytes):
        return len(body)
    return body.size if isinstance(body, Incoming) else os.fstat(body.fileno()).st_size


def _blocks(stream: BinaryIO, length: int | None) -> Iterable[bytes]:
    with stream:
        while length != 0 and (block := stream.read(BLOCK if length is None else min(BLOCK, length))):
            length = None if length is None else length - len(block)
            yield block
