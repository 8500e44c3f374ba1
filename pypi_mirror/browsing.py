"""What the pages for people are made of: what is here, read when it is asked for. Nobody upstream is asked."""

from __future__ import annotations

from urllib.parse import parse_qs
from wsgiref.types import WSGIEnvironment

from pypi_mirror import people, private
from pypi_mirror.calculation import calculated
from pypi_mirror.lens import Shown
from pypi_mirror.model import METADATA_SUFFIX, File
from pypi_mirror.people import Place
from pypi_mirror.shelves import VIEW
from pypi_mirror.store import Store

QUERY_LENGTH = 2000


class Browsing:
    """``prefix``: the path below which the index is."""

    def __init__(self, store: Store, prefix: str) -> None:
        self._store = store
        self._prefix = prefix

    def listing(self, environ: WSGIEnvironment, view: str) -> bytes:
        """The projects, as far as ``?q=`` names them."""
        query = _query(environ)
        number = query.get("page", "1")
        page = int(number) if number.isascii() and number.isdigit() and len(number) < 6 else 1
        return calculated(self._listing, self._place(environ, view), query.get("q", ""), page)

    def _listing(self, place: Place, word: str, page: int) -> bytes:
        return people.listing(place, self._store.names(), private.names(self._store), word, page)

    def project(self, environ: WSGIEnvironment, name: str, view: str) -> tuple[int, bytes]:
        """The page of a project, by its normalised name, and the status: 404 for one that is not here."""
        place = self._place(environ, view)
        body = calculated(self._project, place, name, view, _query(environ).get("all") == "1")
        return (404, people.nothing(place, name)) if body is None else (200, body)

    def _project(self, place: Place, name: str, view: str, whole: bool) -> bytes | None:
        shown = self._store.shown(name, view)
        return (
            shown
            if shown is None
            else people.project(
                place,
                name,
                shown,
                private=self._store.is_private(name),
                is_here=self._is_here,
                metadata=self._metadata(shown),
                whole=whole,
            )
        )

    def _is_here(self, file: File) -> bool:
        places = (self._store.file_path, self._store.held_path)
        return any(place(file.sha256, file.filename).is_file() for place in places)

    def _metadata(self, shown: Shown) -> bytes:
        """That of the newest wheel whose metadata is here, by the index's order."""
        for file in reversed(shown.project.offered):
            path = self._store.file_path(file.sha256, file.filename + METADATA_SUFFIX)
            if file.is_wheel and path.is_file():
                return path.read_bytes()
        return b""

    def _place(self, environ: WSGIEnvironment, view: str) -> Place:
        scheme = "https" if environ.get("HTTP_X_FORWARDED_PROTO") == "https" else "http"
        host = environ.get("HTTP_HOST") or "localhost"
        return Place(f"{scheme}://{host}", self._prefix, "" if view == VIEW else view)


def _query(environ: WSGIEnvironment) -> dict[str, str]:
    text = environ.get("QUERY_STRING", "")[:QUERY_LENGTH]
    return {key: values[0] for key, values in parse_qs(text).items()}
