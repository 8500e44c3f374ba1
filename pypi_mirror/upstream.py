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
from urllib.parse import urlsplit

from core.config import Settings
from core.errors import DaeError
from pypi_mirror.calculation import calculated
from pypi_mirror.client import MARK, Client, check_status, chunks
from pypi_mirror.model import File, Project
from pypi_mirror.parse import parse_html, parse_json

PAGE_READ_SECONDS = 2.5  # between two packets; who asks for a page waits less, see mirror.py
FILE_READ_SECONDS = 10.0
PAGE_BYTES = 64 << 20
FILE_BYTES = 8 << 30
JSON_TYPE = "application/vnd.pypi.simple.v1+json"
ACCEPT = f"{JSON_TYPE}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"


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
        self._client = Client(index, context, identity)

    def project(self, name: str, advance: Callable[[int], None]) -> Project:
        """Fetch a project's page; ``advance`` gets the number of bytes as they come.

        Raises ``mirror/unknown-project`` when upstream says that there is none, ``mirror/unavailable`` when it does
        not answer or not properly, ``mirror/bad-upstream`` when what it answers is not an index's page.
        """
        headers = {"Accept": ACCEPT, "Accept-Encoding": "gzip"}
        with self._client.get(f"{self._client.base}{name}/", headers, PAGE_READ_SECONDS) as (response, url):
            if response.status in (404, 410):
                raise DaeError("mirror/unknown-project", f"no index has a project {name}", "check the spelling")
            check_status(response, name)
            body = bytearray()
            for chunk in chunks(response, advance, decode=True):
                body += chunk
                if len(body) > PAGE_BYTES:
                    raise DaeError(
                        "mirror/bad-upstream", f"upstream's page of {name} is larger than {PAGE_BYTES} bytes"
                    )
            kind = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
        if kind == JSON_TYPE:
            return calculated(parse_json, bytes(body), name, url)
        if kind in ("text/html", "application/vnd.pypi.simple.v1+html"):
            return calculated(parse_html, bytes(body), name, url)
        raise DaeError(
            "mirror/bad-upstream", f"upstream answered {kind[:80]!r} for {name}", "check the upstream setting"
        )

    @contextmanager
    def file(self, file: File, advance: Callable[[int], None]) -> Iterator[Iterator[bytes]]:
        """The chunks of a file's content, unverified.

        Raises ``mirror/unknown-file`` when upstream has it no more, ``mirror/unavailable`` when it does not answer,
        ``mirror/hash-mismatch`` when it sends more than it should.
        """
        with self._client.get(file.url, {"Accept-Encoding": "identity"}, FILE_READ_SECONDS) as (response, _):
            if response.status in (404, 410):
                raise DaeError("mirror/unknown-file", f"upstream has no {file.filename} any more")
            check_status(response, file.filename)
            limit = FILE_BYTES if file.size is None else file.size
            yield _limited(chunks(response, advance, decode=False), limit, file.filename)


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

    def pause_left(self) -> float:
        """For how many seconds upstream is to be left alone; 0 without trouble."""
        with self._lock:
            return 0.0 if self._failed is None else max(0.0, self._failed + self._pause - self._clock())

    def fail(self) -> None:
        with self._lock:
            self._failed = self._clock()

    def succeed(self) -> None:
        with self._lock:
            self._failed = None


def _limited(pieces: Iterator[bytes], limit: int, filename: str) -> Iterator[bytes]:
    left = limit
    for chunk in pieces:
        left -= len(chunk)
        if left < 0:
            raise DaeError("mirror/hash-mismatch", f"upstream sends more than {limit} bytes for {filename}")
        yield chunk
