"""What the mirror's door answers: formats, validators, parts of files, and errors, as WSGI wants them (PEP 3333)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from io import BufferedReader
from typing import Any, BinaryIO
from urllib.parse import unquote
from wsgiref.types import StartResponse, WSGIEnvironment

from core.errors import DaeError
from pypi_mirror import pages
from pypi_mirror.arrivals import Incoming
from pypi_mirror.npm import Passed
from pypi_mirror.ranges import Part, asked

REASON_LENGTH = 300
RETRY_AFTER = "2"
BLOCK = 256 << 10
REASONS = {
    200: "OK", 206: "Partial Content", 301: "Moved Permanently", 304: "Not Modified", 400: "Bad Request",
    401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 406: "Not Acceptable",
    408: "Request Timeout", 413: "Content Too Large", 416: "Range Not Satisfiable", 429: "Too Many Requests",
    500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable", 507: "Insufficient Storage",
}  # fmt: skip


@dataclass(slots=True)
class Response:
    """What a route answers; ``body``: bytes, an open file (or a ``part`` of it), one that is coming, or what another
    server is sending."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes | BinaryIO | Passed | Incoming = b""
    part: Part | None = None
    reason: str = ""  # in the place of the status's own words


def as_json(data: object) -> Response:
    """200 with ``data`` as JSON."""
    return Response(200, [("Content-Type", "application/json")], json.dumps(data).encode())


def negotiate(environ: WSGIEnvironment) -> tuple[pages.Format, str]:
    """The format asked for by ``?format=`` (PEP 691), else by Accept; raises ``mirror/not-acceptable``."""
    for pair in environ.get("QUERY_STRING", "").split("&"):
        key, _, value = pair.partition("=")
        if key == "format":  # one type, no wildcard; not unquote_plus: the types' names hold a '+'
            chosen = pages.CONTENT_TYPES.get(unquote(value).lower())
            break
    else:
        chosen = pages.choose(environ.get("HTTP_ACCEPT"))
    if chosen is None:
        served = ", ".join(pages.CONTENT_TYPES)
        raise DaeError(
            "mirror/not-acceptable", "none of the formats asked for is served here", f"ask for one of {served}"
        )
    return chosen


def accepts_gzip(header: str) -> bool:
    """Whether an Accept-Encoding lets gzip through (RFC 9110, 12.5.3)."""
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


def rendered(environ: WSGIEnvironment, stream: BinaryIO, content_type: str, zipped: bool) -> Response:
    """A page that lies on the disk, with the tag that nginx gives it."""
    status = os.fstat(stream.fileno())
    tag = pages.etag(status.st_mtime, status.st_size)
    return validated(environ, stream, tag, _page_headers(content_type, "gzip" if zipped else ""))


def ranged(environ: WSGIEnvironment, whole: Response, size: int) -> Response:
    """The part of a file that was asked for, if one was: 206, or 416 when the file has no such part."""
    header = environ.get("HTTP_RANGE", "") if environ["REQUEST_METHOD"] == "GET" and whole.status == 200 else ""
    part = asked(header, environ.get("HTTP_IF_RANGE", ""), dict(whole.headers)["ETag"], size)
    if part is None or not isinstance(whole.body, BufferedReader):
        return whole
    headers = [*whole.headers, ("Content-Range", part.content_range)]
    if not part.length:
        whole.body.close()
        return Response(416, [("Content-Range", part.content_range), ("Cache-Control", "no-store")])
    return Response(206, headers, whole.body, part)


def validated(environ: WSGIEnvironment, body: BinaryIO, etag: str, headers: list[tuple[str, str]]) -> Response:
    """The body, or 304 when the client has it (RFC 9110, 13.1.2)."""
    headers = [*headers, ("ETag", etag)]
    known = [tag.strip().removeprefix("W/") for tag in environ.get("HTTP_IF_NONE_MATCH", "").split(",")]
    if etag in known or "*" in known:
        body.close()
        return Response(304, [pair for pair in headers if pair[0] not in ("Content-Type", "Content-Encoding")])
    return Response(200, headers, body)


def redirect(location: str, environ: WSGIEnvironment) -> Response:
    """301 to ``location``, with the query that came."""
    query = environ.get("QUERY_STRING", "")
    return Response(301, [("Location", location + (f"?{query}" if query else ""))])


def failure(error: DaeError) -> Response:
    """What tells of an error: its line as text, and what its status wants beside it."""
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")]
    if error.status in (429, 502, 503):
        headers.append(("Retry-After", RETRY_AFTER))
    if error.code == "auth/required":
        headers.append(("WWW-Authenticate", 'Basic realm="DAE"'))
    if error.code == "mirror/not-acceptable":
        headers.append(("Vary", "Accept"))
    response = Response(error.status, headers, (error.line() + "\n").encode("utf-8", "replace"))
    if error.code == "mirror/refused":
        # pip and uv show the words of the status line, and nothing of the page.
        words = "".join(letter if " " <= letter <= "~" else "?" for letter in f"Forbidden: {error.cause}")
        response.reason = words[:REASON_LENGTH]
    return response


def send(response: Response, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Begin the answer, and return its body; HEAD and 304 have none."""
    body, no_body = response.body, environ["REQUEST_METHOD"] == "HEAD" or response.status == 304
    headers = response.headers
    if response.status != 304 and not isinstance(body, Passed):
        headers = [*headers, ("Content-Length", str(response.part.length if response.part else _length(body)))]
    start_response(f"{response.status} {response.reason or REASONS.get(response.status, 'Error')}", headers)
    if isinstance(body, bytes):
        return [] if no_body else [body]
    if no_body:
        body.close()
        return []
    if isinstance(body, Passed | Incoming):
        return body
    if response.part:
        body.seek(response.part.start)
        return _blocks(body, response.part.length)
    wrapper: Callable[..., Any] | None = environ.get("wsgi.file_wrapper")
    if wrapper is not None:
        return wrapper(body, BLOCK)  # type: ignore[no-any-return]
    return _blocks(body, _length(body))


def _length(body: bytes | BinaryIO | Incoming) -> int:
    if isinstance(body, bytes):
        return len(body)
    return body.size if isinstance(body, Incoming) else os.fstat(body.fileno()).st_size


def _blocks(stream: BinaryIO, left: int) -> Iterable[bytes]:
    with stream:
        while block := stream.read(min(BLOCK, left)):
            left -= len(block)
            yield block
