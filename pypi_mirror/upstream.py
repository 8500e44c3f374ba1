"""The index behind the mirror: which one it is, and asking it, within bounds of time and size.

A host name of an index stands in no file of ours: it comes from the operator, from pip's configuration, or from pip.
"""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

import urllib3
from urllib3.util import Timeout, make_headers

from core.config import Settings
from core.errors import DaeError
from pypi_mirror.model import File, Project
from pypi_mirror.parse import parse_html, parse_json

CONNECT_SECONDS = 2.0
PAGE_READ_SECONDS = 2.5  # between two packets; who asks for a page waits less, see mirror.py
FILE_READ_SECONDS = 10.0
PAGE_BYTES = 64 << 20
FILE_BYTES = 8 << 30
REDIRECTS = 5
CHUNK = 256 << 10
JSON_TYPE = "application/vnd.pypi.simple.v1+json"
ACCEPT = f"{JSON_TYPE}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"
MARK = "dae-mirror-"  # how a mirror names itself in Via


def pip_setting(option: str) -> str:
    """What pip is configured with, as ``pip config get`` reads it: PIP_* variables, else its files; "" when nothing is.

    Raises ``settings/invalid`` when one of the files cannot be read.
    """
    from pip._internal.configuration import Configuration  # late: a hundred modules, and often not needed
    from pip._internal.exceptions import ConfigurationError, PipError

    configuration = Configuration(isolated=False)
    try:
        configuration.load()
    except PipError as error:
        raise DaeError("settings/invalid", f"pip's configuration cannot be read: {error}", "mend the file") from error
    for section in (":env:", "global"):
        try:
            value = str(configuration.get_value(f"{section}.{option}")).strip()
        except ConfigurationError:
            continue
        if value:
            return value
    return ""


def index_url(settings: Settings) -> str:
    """The simple index behind the mirror, ending in a slash: the setting, else pip's configuration, else pip's default.

    Raises ``settings/invalid`` when that is not an HTTP address.
    """
    url = settings.upstream or pip_setting("index-url")
    if not url:
        from pip._internal.models.index import PyPI

        url = PyPI.simple_url
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise DaeError("settings/invalid", f"upstream is {url!r}, which is not an HTTP address", "set DAE_UPSTREAM")
    return url.rstrip("/") + "/"


def tls_context() -> ssl.SSLContext:
    """Trust as pip is told to (``global.cert``, PIP_CERT), else as the system does."""
    cert = pip_setting("cert")
    try:
        if cert and os.path.isdir(cert):  # noqa: PTH112 - as the text is, for OpenSSL
            return ssl.create_default_context(capath=cert)
        return ssl.create_default_context(cafile=cert or None)
    except OSError as error:
        raise DaeError("settings/invalid", f"pip's cert {cert!r} cannot be used: {error}", "set PIP_CERT") from error


class Upstream:
    """A client of one simple index. ``identity`` is sent in Via, so that a mirror that asks itself notices."""

    def __init__(self, index: str, context: ssl.SSLContext | None = None, identity: str = MARK + "0") -> None:
        parts = urlsplit(index)
        self._index = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        self._host = parts.hostname
        self._headers = {"User-Agent": "dae-mirror", "Via": f"1.1 {identity}"}
        self._credentials: dict[str, str] = {}
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._credentials = make_headers(basic_auth=pair)
        self._pool = urllib3.PoolManager(num_pools=8, maxsize=16, retries=False, ssl_context=context)

    def project(self, name: str, advance: Callable[[int], None]) -> Project:
        """Fetch a project's page; ``advance`` gets the number of bytes as they come.

        Raises ``mirror/unknown-project`` when upstream says that there is none, ``mirror/unavailable`` when it does
        not answer or not properly, ``mirror/bad-upstream`` when what it answers is not an index's page.
        """
        headers = {"Accept": ACCEPT, "Accept-Encoding": "gzip"}
        with self._get(f"{self._index}{name}/", headers, PAGE_READ_SECONDS) as (response, url):
            if response.status in (404, 410):
                raise DaeError("mirror/unknown-project", f"no index has a project {name}", "check the spelling")
            _check_status(response, name)
            body = bytearray()
            for chunk in _chunks(response, advance, decode=True):
                body += chunk
                if len(body) > PAGE_BYTES:
                    raise DaeError(
                        "mirror/bad-upstream", f"upstream's page of {name} is larger than {PAGE_BYTES} bytes"
                    )
            kind = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
        if kind == JSON_TYPE:
            return parse_json(bytes(body), name, url)
        if kind in ("text/html", "application/vnd.pypi.simple.v1+html"):
            return parse_html(bytes(body), name, url)
        raise DaeError(
            "mirror/bad-upstream", f"upstream answered {kind[:80]!r} for {name}", "check the upstream setting"
        )

    @contextmanager
    def file(self, file: File, advance: Callable[[int], None]) -> Iterator[Iterator[bytes]]:
        """The chunks of a file's content, unverified.

        Raises ``mirror/unknown-file`` when upstream has it no more, ``mirror/unavailable`` when it does not answer,
        ``mirror/hash-mismatch`` when it sends more than it should.
        """
        with self._get(file.url, {"Accept-Encoding": "identity"}, FILE_READ_SECONDS) as (response, _):
            if response.status in (404, 410):
                raise DaeError("mirror/unknown-file", f"upstream has no {file.filename} any more")
            _check_status(response, file.filename)
            limit = FILE_BYTES if file.size is None else file.size
            yield _limited(_chunks(response, advance, decode=False), limit, file.filename)

    @contextmanager
    def _get(
        self, url: str, headers: dict[str, str], read_seconds: float
    ) -> Iterator[tuple[urllib3.BaseHTTPResponse, str]]:
        """The answer to a GET after redirects, and its URL; errors of the network become ``mirror/unavailable``."""
        timeout = Timeout(connect=CONNECT_SECONDS, read=read_seconds)
        try:
            for _ in range(REDIRECTS + 1):
                response = self._once(url, headers, timeout)
                if response.status not in (301, 302, 303, 307, 308):
                    break
                response.close()
                url = self._next(url, response.headers.get("Location", ""))
            try:
                yield response, url
            finally:
                # A body that was read to its end has given its connection back; any other must not be used again.
                response.close()
        except urllib3.exceptions.HTTPError as error:
            raise _unavailable(f"{type(error).__name__} at {urlsplit(url).hostname}") from error

    def _once(self, url: str, headers: dict[str, str], timeout: Timeout) -> urllib3.BaseHTTPResponse:
        own = self._credentials if urlsplit(url).hostname == self._host else {}
        headers = {**self._headers, **own, **headers}
        for last in (False, True):
            try:
                return self._pool.request(
                    "GET", url, headers=headers, timeout=timeout, redirect=False, preload_content=False
                )
            except urllib3.exceptions.ProtocolError:
                if last:  # once is a kept connection that upstream had closed, twice is trouble
                    raise
        raise AssertionError("the second attempt returns or raises")

    @staticmethod
    def _next(url: str, location: str) -> str:
        target = urljoin(url, location)
        old, new = urlsplit(url), urlsplit(target)
        if new.scheme not in ("http", "https") or (old.scheme == "https" and new.scheme != "https") or not location:
            raise DaeError("mirror/bad-upstream", "upstream redirects to where the mirror does not go")
        return target


class Breaker:
    """Remembers trouble with upstream: whether to ask it before answering with what is at hand."""

    def __init__(self, pause: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._pause = pause
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: float | None = None

    @property
    def trouble(self) -> bool:
        """Whether the last that was heard of upstream is a failure."""
        return self._failed is not None

    def may_ask(self) -> bool:
        """True without trouble; in trouble true for one caller in every ``pause`` seconds."""
        with self._lock:
            if self._failed is None:
                return True
            if self._clock() - self._failed < self._pause:
                return False
            self._failed = self._clock()
            return True

    def fail(self) -> None:
        with self._lock:
            self._failed = self._clock()

    def succeed(self) -> None:
        with self._lock:
            self._failed = None


def _check_status(response: urllib3.BaseHTTPResponse, what: str) -> None:
    if response.status != 200:
        raise _unavailable(f"upstream answered {response.status} for {what}")


def _unavailable(cause: str) -> DaeError:
    return DaeError("mirror/unavailable", cause, "try again; if it lasts, check the upstream setting and the network")


def _chunks(response: urllib3.BaseHTTPResponse, advance: Callable[[int], None], decode: bool) -> Iterator[bytes]:
    """The body as it comes. A body shorter than announced raises urllib3's IncompleteRead."""
    while chunk := response.read1(CHUNK, decode_content=decode):
        advance(len(chunk))
        yield chunk


def _limited(chunks: Iterator[bytes], limit: int, filename: str) -> Iterator[bytes]:
    left = limit
    for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            raise DaeError("mirror/hash-mismatch", f"upstream sends more than {limit} bytes for {filename}")
        yield chunk
