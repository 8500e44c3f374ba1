"""Reading the index as an installer does: a project's files (PEP 691, PEP 503), and one file with its hash checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import urllib3

from buildpacks.deadline import Deadline
from core.errors import DaeError

ACCEPT = "application/vnd.pypi.simple.v1+json, text/html;q=0.1"
PAGE_BYTES = 128 << 20
FILE_BYTES = 8 << 30
BLOCK = 256 << 10
REASON_BYTES = 256 << 10
_CONNECT, _READ = 10.0, 60.0  # seconds; the mirror is near, but may have to fetch a file first


@dataclass(frozen=True, slots=True)
class IndexFile:
    """A file of a project: what it is called, where it is, and its sha256."""

    filename: str
    url: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Page:
    """What a project's page lists: the files that the index gives a sha256 for. ``etag``: empty where it has none."""

    files: tuple[IndexFile, ...]
    etag: str


class Index:
    """A client of one simple index; may be used from several threads. ``deadline`` bounds everything it does."""

    def __init__(self, url: str, deadline: Deadline) -> None:
        self._url = url.rstrip("/") + "/"
        self._deadline = deadline
        self._pool = urllib3.PoolManager(maxsize=8, retries=urllib3.Retry(connect=1, read=0, redirect=3, status=0))

    def page(self, name: str, etag: str = "") -> Page | None:
        """The page of the project with that normalised name; None when it is still the one with that ``etag``.

        Raises ``build/install-failed`` when the index has no such project, ``build/refused`` when its policy does not
        let it through, ``build/mirror-unavailable`` when it does not answer properly, and ``build/timeout``.
        """
        with _answers(f"the page of {name}"):
            response = self._get(self._url + name + "/", name, {"If-None-Match": etag} if etag else {})
            if response.status == 304:
                response.drain_conn()
                return None
            body = bytearray()
            while chunk := response.read(BLOCK, decode_content=True):
                body += chunk
                if len(body) > PAGE_BYTES:
                    raise _silent(f"the page of {name} is larger than {PAGE_BYTES >> 20} MiB")
            kind, fresh = (response.headers.get(header, "") for header in ("Content-Type", "ETag"))
        base = urljoin(self._url + name + "/", response.geturl() or "")
        return Page(_json_files(bytes(body), base) if "json" in kind else _html_files(bytes(body), base), fresh)

    def download(self, file: IndexFile, path: Path) -> None:
        """Write the file to ``path``; raises like :meth:`files`, and for content of another hash."""
        digest, size = hashlib.sha256(), 0
        with _answers(file.filename), path.open("wb") as stream:
            response = self._get(file.url, file.filename)
            while chunk := response.read(BLOCK, decode_content=False):
                self._deadline.left()
                digest.update(chunk)
                size += len(chunk)
                if size > FILE_BYTES:
                    raise DaeError("build/install-failed", f"{file.filename} is larger than {FILE_BYTES >> 30} GiB", "")
                stream.write(chunk)
        if digest.hexdigest() != file.sha256:
            cause = f"the index sent another {file.filename} than the lock names (sha256 {digest.hexdigest()[:12]})"
            raise DaeError("build/install-failed", cause, "push again; if it stays, tell an operator")

    def reasons(self, name: str) -> tuple[str, ...]:
        """Why the index does not show files of that project, a line for each; empty where it gives no reasons."""
        timeout = urllib3.Timeout(connect=_CONNECT, read=min(_READ, self._deadline.left()))
        try:
            response = self._pool.request("GET", f"{self._url}{name}/?why=1", timeout=timeout, preload_content=False)
            with response:
                kind = response.headers.get("Content-Type", "")
                text = (
                    response.read(REASON_BYTES)
                    if response.status in (200, 403) and kind.startswith("text/plain")
                    else b""
                )
        except urllib3.exceptions.HTTPError:
            return ()
        lines = ("".join(filter(str.isprintable, line)) for line in text.decode(errors="replace").splitlines())
        return tuple(line for line in lines if line)

    def _get(self, url: str, what: str, asked: Mapping[str, str] | None = None) -> urllib3.BaseHTTPResponse:
        """The answer: one with the content, or where ``asked`` has a condition, 304."""
        timeout = urllib3.Timeout(connect=_CONNECT, read=min(_READ, self._deadline.left()))
        headers = {"Accept": ACCEPT, "Accept-Encoding": "gzip" if url.endswith("/") else "identity"}
        headers.update(asked or {})
        response = self._pool.request("GET", url, headers=headers, timeout=timeout, preload_content=False)
        if response.status == 200 or (asked and response.status == 304):
            return response
        words = response.read(2000).decode(errors="replace").strip()
        response.close()
        if response.status >= 500:
            raise _silent(f"it answered {response.status} for {what}")
        if response.status == 403 and words.startswith("mirror/refused: "):
            said, _, advice = words.splitlines()[0].removeprefix("mirror/refused: ").partition(" -- ")
            raise DaeError("build/refused", said, advice)
        cause = f"the index answered {response.status} for {what}" + (f": {words.splitlines()[0]}" if words else "")
        raise DaeError("build/install-failed", cause, "lock again: push a changed requirements file")


@contextmanager
def _answers(what: str) -> Iterator[None]:
    """Errors of the network become ``build/mirror-unavailable``."""
    try:
        yield
    except urllib3.exceptions.HTTPError as error:
        raise _silent(f"{type(error).__name__} for {what}") from error


def _silent(cause: str) -> DaeError:
    hint = "push again in a moment; if it stays, an operator has to look at the mirror"
    return DaeError("build/mirror-unavailable", f"the index does not answer ({cause})", hint)


def _json_files(body: bytes, base: str) -> tuple[IndexFile, ...]:
    try:
        entries = json.loads(body)["files"]
        return tuple(file for entry in entries if (file := _json_file(entry, base)))
    except (ValueError, KeyError, TypeError) as error:
        raise _silent("its page is not an index's") from error


def _json_file(entry: Mapping[str, Any], base: str) -> IndexFile | None:
    return _file(str(entry["filename"]), str(entry["url"]), str(entry["hashes"].get("sha256", "")), base)


def _html_files(body: bytes, base: str) -> tuple[IndexFile, ...]:
    reader = _Links()
    reader.feed(body.decode("utf-8", "replace"))
    reader.close()
    found = []
    for link in reader.links:
        url, fragment = urldefrag(link)
        algorithm, _, digest = fragment.partition("=")
        name = unquote(urlsplit(url).path.rpartition("/")[2])
        if algorithm == "sha256" and (file := _file(name, url, digest, base)):
            found.append(file)
    return tuple(found)


def _file(filename: str, url: str, sha256: str, base: str) -> IndexFile | None:
    """None for what no lock can name or no folder may hold."""
    if not sha256 or "/" in filename or "\0" in filename or filename.startswith("."):
        return None
    return IndexFile(filename, urljoin(base, url), sha256)


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.links += [value for key, value in attrs if key == "href" and value]
