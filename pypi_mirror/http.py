"""The mirror's WSGI door (PEP 3333): routes, formats, validators. One worker: see README.md.

nginx serves files that are on disk by itself; what comes here are pages, files that are not there yet, and uploads.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import secrets
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from io import BufferedReader
from typing import Any, BinaryIO
from urllib.parse import parse_qs, unquote
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from core import config
from core.cooperative import close_at_once
from core.errors import DaeError
from core.paths import Home
from pypi_mirror import pages
from pypi_mirror.arrivals import Incoming
from pypi_mirror.client import MARK
from pypi_mirror.gate import Gate
from pypi_mirror.keeping import Keeper
from pypi_mirror.lens import PolicyLens
from pypi_mirror.mirror import Mirror
from pypi_mirror.model import METADATA_SUFFIX, project_name
from pypi_mirror.npm import PREFIX as NPM
from pypi_mirror.npm import NpmDoor, Passed, registry_client
from pypi_mirror.private import Caller
from pypi_mirror.ranges import Part, asked
from pypi_mirror.rulebook import Rulebook
from pypi_mirror.shelves import VIEW
from pypi_mirror.stock import recover
from pypi_mirror.store import Store
from pypi_mirror.upload import Uploads, drain
from pypi_mirror.upstream import Upstream, index_urls, tls_context
from pypi_mirror.upstreams import Origins, Upstreams

PREFIX = "/pypi"
STATUS, KNOWN = "/mirror/status", "/mirror/known"
WHY = "why=1"  # of a project's page: why files of it are hidden
REASON_LENGTH = 300
RETRY_AFTER = "2"
BLOCK = 256 << 10
REASONS = {
    200: "OK", 206: "Partial Content", 301: "Moved Permanently", 304: "Not Modified", 400: "Bad Request",
    401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 406: "Not Acceptable",
    408: "Request Timeout", 413: "Content Too Large", 416: "Range Not Satisfiable", 429: "Too Many Requests",
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
    home.mirror.mkdir(mode=0o750, parents=True, exist_ok=True)
    rulebook = Rulebook(home, settings)
    rulebook.load()
    store = Store(home, PolicyLens(rulebook))
    recover(store)
    mirror = Mirror(store, upstreams, settings.index_ttl)
    gate = Gate(rulebook, mirror, Keeper(store, home, settings.mirror_bytes))
    gate.watch()
    uploads = Uploads(mirror, _authorizer(home), settings.upload_bytes)
    return App(mirror, NpmDoor(lambda: registry_client(settings, identity)), gate, identity, uploads)


def _authorizer(home: Home) -> Callable[[str | None], Caller]:
    """Who asks, by the platform's database, which is opened when the first one uploads: many mirrors never see any."""

    @functools.cache
    def database() -> Any:
        from core.store import Store as Database

        return Database.at(home.database)

    def authorize(header: str | None) -> Caller:
        from control.index_tokens import caller

        return caller(database(), header)

    return authorize


@dataclass(slots=True)
class Response:
    """What a route answers; ``body``: bytes, an open file (or a ``part`` of it), one that is coming, or what another
    server is sending."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes | BinaryIO | Passed | Incoming = b""
    part: Part | None = None
    reason: str = ""  # in the place of the status's own words


class App:
    """The mirror as a WSGI application. ``identity`` is what its own requests to upstream carry in Via."""

    def __init__(
        self, mirror: Mirror, npm: NpmDoor, gate: Gate, identity: str = MARK + "0", uploads: Uploads | None = None
    ) -> None:
        self._mirror = mirror
        self._npm = npm
        self._gate = gate
        self._identity = identity
        self._uploads = uploads

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
        if environ["REQUEST_METHOD"] == "POST" and environ.get("PATH_INFO") == PREFIX + "/" and self._uploads:
            return _upload(self._uploads, environ)
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            hint = f"uploads go to {PREFIX}/"
            response = _error(DaeError("input/invalid", "the index is read with GET and HEAD", hint))
            return Response(405, [*response.headers, ("Allow", "GET, HEAD")], response.body)
        if self._identity in environ.get("HTTP_VIA", ""):
            raise DaeError("mirror/unavailable", "the upstream index is this mirror itself", "set DAE_UPSTREAM")
        path = environ.get("PATH_INFO", "")
        if path.startswith(NPM):
            passed = self._npm.get(environ)
            return Response(200, passed.headers, passed)
        match path.removeprefix(PREFIX).split("/") if path.startswith(PREFIX + "/") else []:
            case ["", "view", view, *rest]:
                self._gate.rulebook.view(view)
                return self._below(rest, view, environ, path)
            case ["", *rest]:
                self._gate.rulebook.view(VIEW)
                return self._below(rest, VIEW, environ, path)
        if path == STATUS:
            return Response(200, [("Content-Type", "application/json")], json.dumps(self._status()).encode())
        if path == KNOWN:
            asked = parse_qs(environ.get("QUERY_STRING", ""), max_num_fields=1000)
            found = self._gate.warnings((asked.get("view") or [VIEW])[0], asked.get("of", []))
            return Response(200, [("Content-Type", "application/json")], json.dumps(found).encode())
        raise _nothing()

    def _status(self) -> dict[str, object]:
        """What only this process knows; nginx leads nobody here."""
        book = self._gate.rulebook
        upstream = "in trouble" if self._mirror.trouble() else "answers"
        policy = {"views": list(book.views), "problems": list(book.problems), "in_force": book.is_good}
        return {"upstream": upstream, "policy": policy}

    def _below(self, rest: list[str], view: str, environ: WSGIEnvironment, path: str) -> Response:
        """What the index has at an address below that of a view."""
        match rest:
            case ["simple", ""]:
                return self._list(environ)
            case ["simple", name] | ["simple", name, ""]:
                return self._page(name, environ, is_folder=path.endswith("/"), view=view)
            case ["files", start, sha256, filename] if sha256.startswith(start) and len(start) == 2:
                return self._file(sha256, filename, environ, view)
            case ["simple"]:
                return _redirect(f"{_prefix(view)}/simple/", environ)
        raise _nothing()

    def _list(self, environ: WSGIEnvironment) -> Response:
        kind, content_type = _negotiate(environ)
        zipped = _accepts_gzip(environ.get("HTTP_ACCEPT_ENCODING", ""))
        return _rendered(environ, self._mirror.store.open_list(kind, zipped), content_type, zipped)

    def _page(self, text: str, environ: WSGIEnvironment, is_folder: bool, view: str) -> Response:
        name = project_name(text)
        if name != text or not is_folder:
            return _redirect(f"{_prefix(view)}/simple/{name}/", environ)
        self._gate.page(view, name)
        if environ.get("QUERY_STRING") == WHY:
            headers = [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")]
            return Response(200, headers, self._gate.why(view, name).encode("utf-8", "replace"))
        kind, content_type = _negotiate(environ)
        zipped = _accepts_gzip(environ.get("HTTP_ACCEPT_ENCODING", ""))
        return _rendered(environ, self._mirror.page(name, kind, zipped, view), content_type, zipped)

    def _file(self, sha256: str, filename: str, environ: WSGIEnvironment, view: str) -> Response:
        wanted = environ.get("HTTP_RANGE", "") if environ["REQUEST_METHOD"] == "GET" else ""
        found = self._gate.file(view, sha256, filename, whole=bool(wanted))
        is_metadata = filename.endswith(METADATA_SUFFIX)
        headers = [
            ("Content-Type", "text/plain; charset=utf-8" if is_metadata else "application/octet-stream"),
            ("Cache-Control", "public, max-age=31536000, immutable"),
            ("X-Content-Type-Options", "nosniff"),
            ("Accept-Ranges", "bytes"),
        ]
        if isinstance(found, Incoming):  # nginx hands it on as it comes; its tag is known when it has come
            return Response(200, [*headers, ("X-Accel-Buffering", "no")], found)
        stream = found.open("rb")
        status = os.fstat(stream.fileno())
        # The tag that nginx gives it, which serves it from now on: what was begun here is resumed there.
        tag = pages.etag(status.st_mtime, status.st_size)
        return _ranged(environ, _validated(environ, stream, tag, headers), status.st_size)


def _upload(uploads: Uploads, environ: WSGIEnvironment) -> Response:
    """Publish the file in a form. What is wrong stands in the status line, too: some clients show nothing else."""
    body = environ["wsgi.input"]
    try:
        said = environ.get("CONTENT_LENGTH", "")
        length = int(said) if said.isdecimal() and len(said) < 20 else 0
        file = uploads.take(body, environ.get("CONTENT_TYPE", ""), environ.get("HTTP_AUTHORIZATION"), length)
    except DaeError as error:
        drain(body, uploads.limit)
        response = _error(error)
        if environ.get("HTTP_ACCEPT") == "application/json":
            response.headers[0] = ("Content-Type", "application/json")
            response.body = json.dumps(error.to_json()).encode()
        words = error.line().removeprefix("mirror/file-exists: ")
        response.reason = "".join(letter for letter in words if " " <= letter <= "~")[:400]
        return response
    log.info("published %s", file.filename)
    return Response(200, [("Content-Type", "application/json")], json.dumps({"file": file.filename}).encode())


def _negotiate(environ: WSGIEnvironment) -> tuple[pages.Format, str]:
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


def _rendered(environ: WSGIEnvironment, stream: BinaryIO, content_type: str, zipped: bool) -> Response:
    status = os.fstat(stream.fileno())
    tag = pages.etag(status.st_mtime, status.st_size)
    return _validated(environ, stream, tag, _page_headers(content_type, "gzip" if zipped else ""))


def _ranged(environ: WSGIEnvironment, whole: Response, size: int) -> Response:
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


def _validated(environ: WSGIEnvironment, body: BinaryIO, etag: str, headers: list[tuple[str, str]]) -> Response:
    """The body, or 304 when the client has it (RFC 9110, 13.1.2)."""
    headers = [*headers, ("ETag", etag)]
    known = [tag.strip().removeprefix("W/") for tag in environ.get("HTTP_IF_NONE_MATCH", "").split(",")]
    if etag in known or "*" in known:
        body.close()
        return Response(304, [pair for pair in headers if pair[0] not in ("Content-Type", "Content-Encoding")])
    return Response(200, headers, body)


def _prefix(view: str) -> str:
    return PREFIX if view == VIEW else f"{PREFIX}/view/{view}"


def _nothing() -> DaeError:
    return DaeError("input/unknown-path", "there is nothing at that address", f"the index is at {PREFIX}/simple/")


def _redirect(location: str, environ: WSGIEnvironment) -> Response:
    query = environ.get("QUERY_STRING", "")
    return Response(301, [("Location", location + (f"?{query}" if query else ""))])


def _error(error: DaeError) -> Response:
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


def _send(response: Response, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
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
