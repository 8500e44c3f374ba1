"""A site of nothing but files: ``dae.runtime.site:application``, for apps that are a folder with an ``index.html``.

A path names a file of the commit; one that ends in ``/`` names the folder's ``index.html``. What begins with a dot is
not served (but ``/.well-known/``, RFC 8615), nor what describes the app to the platform. As for static handlers, this
finds the file and nginx sends it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Optional
from urllib.parse import quote

from dae.runtime.static import Environ, StartResponse, StaticFiles, plain

INDEX, NOT_FOUND = "index.html", "404.html"
#: The handler that serves a whole app so, as the fields of app.yaml.
HANDLER: Mapping[str, str] = {"url": "/.*", "wsgi_app": "dae.runtime.site:application"}

_PAGE_BYTES = 1 << 20  # of a 404 page, which we send ourselves: nginx would make 200 of its status
_DESCRIBING = frozenset({"app.yaml", "Procfile"})
_FILE = re.compile(r"/(.+)", re.DOTALL)


class Site:
    """The WSGI application of the folder ``root``; ``accel``: nginx sends the files."""

    def __init__(self, root: Path, accel: bool) -> None:
        self.root = root.resolve()
        self.files = StaticFiles("\\1", "", root, accel)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        try:
            path = (environ.get("PATH_INFO") or "/").encode("latin-1").decode("utf-8")
        except UnicodeError:
            return self._missing(environ, start_response)
        name = path + INDEX if path.endswith("/") else path
        match = _FILE.fullmatch(name)
        file = self._found(match) if match else None
        if match is None or file is None:
            return self._missing(environ, start_response)
        if file.is_file():
            return self.files.answer(match, environ, start_response)
        if file.is_dir() and self._found(_FILE.fullmatch(f"{name}/{INDEX}")):
            return self._to_folder(path, environ, start_response)
        return self._missing(environ, start_response)

    def _found(self, match: Optional[re.Match[str]]) -> Optional[Path]:
        """What is there under a path that may be served, or None. Links are not followed: nginx does not either."""
        path = self.files.path(match) if match else None
        if path is None or path in _DESCRIBING or _hidden(path):
            return None
        try:
            file = (self.root / path).resolve(strict=True)
        except (OSError, RuntimeError):  # RuntimeError: a loop of symlinks, before Python 3.13
            return None
        return file if file == self.root / path else None

    def _to_folder(self, path: str, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Pages of a folder refer to their neighbours by relative addresses, which begin at the last ``/``."""
        # One "/" at the beginning: two would make what follows a host (RFC 3986, 4.2).
        target = "/" + quote(path.lstrip("/")) + "/"
        query = environ.get("QUERY_STRING", "")
        location = [("Location", f"{target}?{query}" if query else target)]
        return plain(start_response, "301 Moved Permanently", target, location)

    def _missing(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        page = self._found(_FILE.fullmatch(f"/{NOT_FOUND}"))
        if page is None or not page.is_file() or environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return plain(start_response, "404 Not Found", "not found")
        with page.open("rb") as file:
            body = file.read(_PAGE_BYTES)
        headers = [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(body)))]
        start_response("404 Not Found", headers)
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]


def _hidden(path: str) -> bool:
    first, *others = path.split("/")
    return (first.startswith(".") and first != ".well-known") or any(part.startswith(".") for part in others)


def is_site(names: Iterable[str]) -> bool:
    """Whether a folder with these entries at its top, and nothing that says what to run, is a site of files.

    Where there is Python, or something that is to be built first, somebody forgot to say what to run: what they wrote
    must not be shown to everybody instead.

    >>> is_site(["index.html", "style.css"]), is_site(["index.html", "app.py"]), is_site(["style.css"])
    (True, False, False)
    """
    there = set(names)
    code = any(name.endswith(".py") for name in there)
    return INDEX in there and not code and not there & PROGRAMS


#: Files that say that something is installed or built: what a folder with one of them holds is no mere site.
PROGRAMS = frozenset(
    {
        "pip-req.txt", "requirements.txt", "pyproject.toml", "setup.cfg", "Pipfile", "Pipfile.lock", "poetry.lock",
        "uv.lock", "pylock.toml", "pdm.lock", "environment.yml", "package.json", "Procfile",
    }
)  # fmt: skip


def __getattr__(name: str) -> Site:  # PEP 562: made when a server asks for it, not when a test imports us
    if name != "application":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    made = Site(Path(os.environ.get("DAE_CODE") or Path.cwd()), os.environ.get("DAE_ACCEL") == "1")
    globals()["application"] = made
    return made
