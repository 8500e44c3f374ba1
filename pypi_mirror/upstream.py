"""The index behind the mirror: which one it is, and asking it, within bounds of time and size.

A host name of an index stands in no file of ours: it comes from the operator, from pip's configuration, or from pip.
"""

from __future__ import annotations

import hashlib
import os
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import urllib3

from core.config import Settings
from core.errors import DaeError
from pypi_mirror import ranges, record
from pypi_mirror.breaker import Breaker
from pypi_mirror.calculation import calculated
from pypi_mirror.client import MARK, Client, check_status, chunks, unavailable
from pypi_mirror.model import METADATA_SUFFIX, File, Project
from pypi_mirror.parse import parse_html, parse_json
from pypi_mirror.validators import Validators

PAGE_READ_SECONDS = 2.5  # between two packets; who asks for a page waits less, see mirror.py
FILE_READ_SECONDS = 10.0
PAGE_BYTES = 32 << 20
LARGE_BYTES = 8 << 20  # of pages beyond this size two are read at a time
FILE_BYTES = 8 << 30
METADATA_BYTES = 4 << 20
BREAK = 5.0  # seconds that an upstream is left alone after a failure
JSON_TYPE = "application/vnd.pypi.simple.v1+json"
PARSERS = {JSON_TYPE: parse_json, "application/vnd.pypi.simple.v1+html": parse_html, "text/html": parse_html}
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

    Raises ``settings/invalid`` when that is not an HTTP address. Of several (``upstreams``) it is the first.
    """
    return index_urls(settings)[0]


def index_urls(settings: Settings) -> tuple[str, ...]:
    """The indexes behind the mirror, each ending in a slash, in the order of their priority."""
    return tuple(url.rstrip("/") + "/" for url in settings.upstreams) or (_single(settings),)


def _single(settings: Settings) -> str:
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


_large = threading.BoundedSemaphore(2)


@dataclass(frozen=True, slots=True)
class Part:
    """What upstream sends of a file: from ``start`` on; ``size`` is the whole file's, None when it is not told.

    ``validator`` is for If-Range, so that the rest is of the same file; "" when upstream gave none that is good for it.
    """

    start: int
    size: int | None
    validator: str
    chunks: Iterator[bytes]


class Upstream:
    """A client of one simple index; the arguments are those of :class:`Client`."""

    def __init__(
        self,
        index: str,
        context: ssl.SSLContext | None = None,
        identity: str = MARK + "0",
        proxies: dict[str, str] | None = None,
    ) -> None:
        self._client = Client(index, context, identity, proxies)
        self.base = self._client.base
        self.pages = Breaker(BREAK)
        self.files = Breaker(BREAK)
        self._validators = Validators()

    def project(
        self,
        name: str,
        advance: Callable[[int], None],
        answered: Callable[[], None] = lambda: None,
        at_hand: bytes | None = None,
    ) -> Project:
        """Fetch a project's page; ``advance`` gets the number of bytes as they come, ``answered`` is told of the last.

        ``at_hand``: the record of what is here of it; if upstream says that it is still the same, that is returned.

        Raises ``mirror/unknown-project`` when upstream says that there is none, ``mirror/unavailable`` when it does
        not answer or not properly, ``mirror/bad-upstream`` when what it answers is not an index's page.
        """
        asked = self._validators.headers(name, at_hand)
        headers = {"Accept": ACCEPT, "Accept-Encoding": "gzip", **asked}
        with self._client.get(f"{self.base}{name}/", headers, PAGE_READ_SECONDS) as (response, url):
            if response.status == 304 and asked and at_hand is not None:
                answered()
                return calculated(record.load, at_hand)
            if response.status in (404, 410):
                raise DaeError("mirror/unknown-project", f"no index has a project {name}", "check the spelling")
            check_status(response, name)
            body = _body(response, advance, PAGE_BYTES, f"page of {name}")
            kind = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
        answered()
        parse = PARSERS.get(kind)
        if parse is None:
            cause = f"upstream answered {kind[:80]!r} for {name}"
            raise DaeError("mirror/bad-upstream", cause, "check the upstream setting")
        project = calculated(parse, body, name, url)
        self._validators.keep(name, response.headers, project)
        return project

    @contextmanager
    def file(self, file: File, advance: Callable[[int], None], start: int = 0, validator: str = "") -> Iterator[Part]:
        """A file's content, unverified; from ``start`` on, if upstream can.

        Raises ``mirror/unknown-file`` when upstream has it no more, ``mirror/unavailable`` when it does not answer,
        ``mirror/hash-mismatch`` when it sends more than it should, or says that it will not be what its page says.
        """
        asked = {"Range": f"bytes={start}-", **({"If-Range": validator} if validator else {})} if start else {}
        with self._client.get(file.url, {"Accept-Encoding": "identity", **asked}, FILE_READ_SECONDS) as (response, _):
            if response.status in (404, 410):
                raise DaeError("mirror/unknown-file", f"upstream has no {file.filename} any more")
            begins, size = _extent(response, start, file.filename)
            if size is not None and (size > FILE_BYTES or file.size not in (None, size)):
                raise DaeError(
                    "mirror/hash-mismatch",
                    f"upstream's {file.filename} has {size} bytes, its index says {file.size}",
                    "nothing was stored; try again later, and tell whoever runs the upstream index if it lasts",
                )
            limit = next(number for number in (file.size, size, FILE_BYTES) if number is not None)
            pieces = chunks(response, advance, decode=False)
            yield Part(begins, size, _validator(response), _limited(pieces, limit - begins, file.filename))

    def piece(self, file: File, spec: str, most: int, advance: Callable[[int], None]) -> tuple[int, int, bytes] | None:
        """A part of a file, unverified: where it begins, the file's size, and at most ``most`` bytes.

        ``spec`` is what stands in Range after ``bytes=``. None when upstream does not send it.
        """
        headers = {"Accept-Encoding": "identity", "Range": f"bytes={spec}"}
        with self._client.get(file.url, headers, FILE_READ_SECONDS) as (response, _):
            if response.status >= 500:
                check_status(response, file.filename)
            found = ranges.received(response.headers.get("Content-Range", "")) if response.status == 206 else None
            if found is None or found[2] is None or file.size not in (None, found[2]):
                return None
            length = found[1] - found[0] + 1
            if length > most:
                return None
            data = b"".join(_limited(chunks(response, advance, decode=False), length, file.filename))
        return (found[0], found[2], data) if len(data) == length else None

    def metadata(self, file: File, advance: Callable[[int], None]) -> bytes:
        """The core metadata that upstream has beside a file (PEP 658), verified by the hash that its page states.

        Raises ``mirror/unavailable``, or ``mirror/hash-mismatch`` when it is another one, or not there.
        """
        parts = urlsplit(file.url)
        url = urlunsplit(parts._replace(path=parts.path + METADATA_SUFFIX))
        with self._client.get(url, {"Accept-Encoding": "gzip"}, FILE_READ_SECONDS) as (response, _):
            if response.status not in (404, 410):
                check_status(response, f"the metadata of {file.filename}")
                text = _body(response, advance, METADATA_BYTES, f"metadata of {file.filename}")
                if hashlib.sha256(text).hexdigest() == file.core_metadata:
                    return text
        raise DaeError("mirror/hash-mismatch", f"upstream's metadata of {file.filename} is not what its index names")


def _body(response: urllib3.BaseHTTPResponse, advance: Callable[[int], None], limit: int, what: str) -> bytes:
    """A body that is small enough to be held in memory."""
    too_large = DaeError("mirror/bad-upstream", f"upstream's {what} is larger than {limit} bytes")
    announced = response.headers.get("Content-Length", "")
    if announced.isascii() and announced.isdigit() and len(announced) < 19 and int(announced) > limit:
        raise too_large
    body = bytearray()
    with ExitStack() as stack:
        for chunk in chunks(response, advance, decode=True):
            if len(body) <= LARGE_BYTES < len(body) + len(chunk):
                stack.enter_context(_large)
            body += chunk
            if len(body) > limit:
                raise too_large
        return bytes(body)


def _extent(response: urllib3.BaseHTTPResponse, start: int, filename: str) -> tuple[int, int | None]:
    """Where the body begins in the file, and the file's size, if that is told."""
    if response.status == 206 and start:
        found = ranges.received(response.headers.get("Content-Range", ""))
        if found is None or found[0] != start or (found[2] is not None and found[1] != found[2] - 1):
            raise unavailable(f"upstream sent another part of {filename} than it was asked for")
        return start, found[2]
    check_status(response, filename)
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isascii() and length.isdigit() and len(length) < 19 else None


def _validator(response: urllib3.BaseHTTPResponse) -> str:
    """A strong entity tag, else the date (RFC 9110, 13.1.5)."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _limited(pieces: Iterator[bytes], limit: int, filename: str) -> Iterator[bytes]:
    left = limit
    for chunk in pieces:
        left -= len(chunk)
        if left < 0:
            raise DaeError("mirror/hash-mismatch", f"upstream sends more than {limit} bytes for {filename}")
        yield chunk
