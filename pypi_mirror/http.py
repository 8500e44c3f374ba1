"""The mirror's WSGI door (PEP 3333): which address is what. One worker: see README.md.

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
from typing import Any
from urllib.parse import parse_qs
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from core import config
from core.cooperative import close_at_once
from core.errors import DaeError
from core.kernel import give_memory_back
from core.paths import Home
from pypi_mirror import pages, people
from pypi_mirror.archives import named
from pypi_mirror.arrivals import Incoming
from pypi_mirror.browsing import Browsing
from pypi_mirror.calculation import calculated
from pypi_mirror.client import MARK
from pypi_mirror.gate import Gate
from pypi_mirror.imports import Imports
from pypi_mirror.keeping import Keeper
from pypi_mirror.lens import PolicyLens
from pypi_mirror.mirror import Mirror
from pypi_mirror.model import METADATA_SUFFIX, project_name
from pypi_mirror.npm import PREFIX as NPM
from pypi_mirror.npm import NpmDoor, registry_client
from pypi_mirror.proxies import chosen_proxies
from pypi_mirror.responses import (
    Response,
    accepts_gzip,
    as_json,
    failure,
    negotiate,
    ranged,
    redirect,
    rendered,
    send,
    validated,
)
from pypi_mirror.rights import Caller
from pypi_mirror.rulebook import Rulebook
from pypi_mirror.shelves import VIEW
from pypi_mirror.stock import recover
from pypi_mirror.store import Store
from pypi_mirror.upload import Uploads, drain
from pypi_mirror.upstream import Upstream, index_urls, tls_context
from pypi_mirror.upstreams import Origins, Upstreams

PREFIX = "/pypi"
# Control's: nginx leads nobody there.
STATUS, KNOWN, REFUSED, IMPORTS = "/mirror/status", "/mirror/known", "/mirror/refused", "/mirror/imports/"
QUESTION_BYTES = 4 << 20
WHY = "why=1"  # of a project's page: why files of it are hidden
log = logging.getLogger("dae.mirror")


def create_app() -> WSGIApplication:
    """The application on this machine's settings; raises ``settings/invalid`` when they name no usable upstream."""
    close_at_once()
    give_memory_back()  # a page of 5 MB takes ten times that while it is read and rendered
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    settings = config.load()
    identity = MARK + secrets.token_hex(8)
    home, context = Home(settings.home), tls_context()
    urls = index_urls(settings)
    ways = chosen_proxies(settings.upstream_proxies, urls)
    indexes = [Upstream(url, context, identity, ways.get(url)) for url in urls]
    upstreams = Upstreams(indexes, Origins(home.mirror / "origins"))
    home.mirror.mkdir(mode=0o750, parents=True, exist_ok=True)
    rulebook = Rulebook(home, settings)
    rulebook.load()
    store = Store(home, PolicyLens(rulebook))
    recover(store)
    mirror = Mirror(store, upstreams, settings.index_ttl)
    gate = Gate(rulebook, mirror, Keeper(store, home, settings.mirror_bytes))
    gate.watch()
    database = _database(home)
    uploads = Uploads(mirror, _authorizer(database), settings.upload_bytes)
    imports = Imports(store, lambda name: rulebook.reserved(VIEW, name))
    imports.settle()
    return App(
        mirror,
        NpmDoor(lambda: registry_client(settings, identity)),
        gate,
        identity,
        uploads,
        imports,
        _teller(database, store),
    )


def _database(home: Home) -> Callable[[], Any]:
    """The platform's database, which is opened when the first one uploads: many mirrors never see any."""

    @functools.cache
    def database() -> Any:
        from core.store import Store as Database

        return Database.at(home.database)

    return database


def _authorizer(database: Callable[[], Any]) -> Callable[[str | None], Caller]:
    """Who asks, by the platform's database."""

    def authorize(header: str | None) -> Caller:
        from control.index_tokens import caller

        if not header:
            hint = "send one as the password, with the user __token__: dae tokens create --project NAME --action upload"
            raise DaeError("auth/required", "no token was sent", hint)
        return caller(database(), header)

    return authorize


def _teller(database: Callable[[], Any], store: Store) -> Callable[[str], None]:
    """Has events tell what was done to a project."""

    def tell(name: str) -> None:
        from control.index_events import tell

        tell(database(), store, name)

    return tell


class App:
    """The mirror as a WSGI application. ``identity`` is what its own requests to upstream carry in Via."""

    def __init__(
        self,
        mirror: Mirror,
        npm: NpmDoor,
        gate: Gate,
        identity: str = MARK + "0",
        uploads: Uploads | None = None,
        imports: Imports | None = None,
        tell: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self._mirror = mirror
        self._npm = npm
        self._gate = gate
        self._identity = identity
        self._uploads = uploads
        self._imports = imports
        self._tell = tell
        self._browsing = Browsing(mirror.store, PREFIX)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            response = self._answer(environ)
        except DaeError as error:
            response = failure(error)
        except Exception:  # the edge: whatever it is, the client gets an answer and the log the details
            log.exception("%s failed", ascii(environ.get("PATH_INFO", "")))
            response = failure(DaeError("platform/internal", "the mirror failed", "see the mirror's log"))
        return send(response, environ, start_response)

    def _answer(self, environ: WSGIEnvironment) -> Response:
        if environ["REQUEST_METHOD"] == "POST" and environ.get("PATH_INFO") == PREFIX + "/" and self._uploads:
            return _upload(self._uploads, environ, self._tell)
        path = environ.get("PATH_INFO", "")
        if environ["REQUEST_METHOD"] == "POST" and path.startswith(IMPORTS) and self._imports:
            return as_json(self._imports.take(path.removeprefix(IMPORTS)))
        if environ["REQUEST_METHOD"] == "POST" and path == REFUSED:
            asked = json.loads(environ["wsgi.input"].read(QUESTION_BYTES))
            return as_json(self._gate.refusals(asked["view"], asked["files"]))
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            hint = f"uploads go to {PREFIX}/"
            response = failure(DaeError("input/invalid", "the index is read with GET and HEAD", hint))
            return Response(405, [*response.headers, ("Allow", "GET, HEAD")], response.body)
        if self._identity in environ.get("HTTP_VIA", ""):
            raise DaeError("mirror/unavailable", "the upstream index is this mirror itself", "set DAE_UPSTREAM")
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
            return as_json(self._status())
        if path == KNOWN:
            query = parse_qs(environ.get("QUERY_STRING", ""), max_num_fields=1000)
            return as_json(self._gate.warnings((query.get("view") or [VIEW])[0], query.get("of", [])))
        raise _nothing()

    def _status(self) -> dict[str, object]:
        """What only this process knows; nginx leads nobody here."""
        book = self._gate.rulebook
        upstream = "in trouble" if self._mirror.trouble() else "answers"
        policy = {"views": list(book.views), "problems": list(book.problems), "in_force": book.is_good}
        return {"upstream": upstream, "upstreams": self._mirror.health(), "policy": policy}

    def _below(self, rest: list[str], view: str, environ: WSGIEnvironment, path: str) -> Response:
        """What the index has at an address below that of a view."""
        match rest:
            case ["simple", ""]:
                return self._list(environ)
            case ["simple", name] | ["simple", name, ""]:
                return self._page(name, environ, is_folder=path.endswith("/"), view=view)
            case ["files", start, sha256, filename] if sha256.startswith(start) and len(start) == 2:
                return self._file(sha256, filename, environ, view)
            case [""]:
                return Response(200, list(people.HEADERS), self._browsing.listing(environ, view))
            case ["project", name] | ["project", name, ""]:
                if (normal := project_name(name)) != name or not path.endswith("/"):
                    return redirect(f"{_prefix(view)}/project/{normal}/", environ)
                status, body = self._browsing.project(environ, name, view)
                return Response(status, list(people.HEADERS), body)
            case ["simple"]:
                return redirect(f"{_prefix(view)}/simple/", environ)
        raise _nothing()

    def _list(self, environ: WSGIEnvironment) -> Response:
        kind, content_type = negotiate(environ)
        zipped = accepts_gzip(environ.get("HTTP_ACCEPT_ENCODING", ""))
        return rendered(environ, self._mirror.store.open_list(kind, zipped), content_type, zipped)

    def _page(self, text: str, environ: WSGIEnvironment, is_folder: bool, view: str) -> Response:
        name = project_name(text)
        if name != text or not is_folder:
            return redirect(f"{_prefix(view)}/simple/{name}/", environ)
        self._gate.page(view, name)
        if environ.get("QUERY_STRING") == WHY:
            return self._why(name, view)
        kind, content_type = negotiate(environ)
        zipped = accepts_gzip(environ.get("HTTP_ACCEPT_ENCODING", ""))
        return rendered(environ, self._mirror.page(name, kind, zipped, view), content_type, zipped)

    def _why(self, name: str, view: str) -> Response:
        """Why files of a project are hidden. What nobody asked for yet is fetched first, to tell of it, too."""
        if not self._mirror.upstream_has(name):
            raise DaeError("mirror/unknown-project", f"no index has a project {name}", "check the spelling")
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")]
        return Response(200, headers, calculated(self._gate.why, view, name).encode("utf-8", "replace"))

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
        return ranged(environ, validated(environ, stream, tag, headers), status.st_size)


def _upload(uploads: Uploads, environ: WSGIEnvironment, tell: Callable[[str], None]) -> Response:
    """Publish the file in a form. What is wrong stands in the status line, too: some clients show nothing else."""
    body = environ["wsgi.input"]
    try:
        said = environ.get("CONTENT_LENGTH", "")
        length = int(said) if said.isdecimal() and len(said) < 20 else 0
        file = uploads.take(body, environ.get("CONTENT_TYPE", ""), environ.get("HTTP_AUTHORIZATION"), length)
    except DaeError as error:
        drain(body, uploads.limit)
        response = failure(error)
        if environ.get("HTTP_ACCEPT") == "application/json":
            response.headers[0] = ("Content-Type", "application/json")
            response.body = json.dumps(error.to_json()).encode()
        words = error.line().removeprefix("mirror/file-exists: ")
        response.reason = "".join(letter for letter in words if " " <= letter <= "~")[:400]
        return response
    log.info("published %s", file.filename)
    tell(named(file.filename)[0])
    return as_json({"file": file.filename})


def _prefix(view: str) -> str:
    return PREFIX if view == VIEW else f"{PREFIX}/view/{view}"


def _nothing() -> DaeError:
    return DaeError("input/unknown-path", "there is nothing at that address", f"the index is at {PREFIX}/simple/")
