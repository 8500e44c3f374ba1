"""Asking a server on behalf of others: GET, redirects, credentials, within bounds of time."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

import urllib3
from urllib3.util import Timeout, make_headers

from core.errors import DaeError
from pypi_mirror.proxies import environment_proxies, proxy_for, without_credentials

CONNECT_SECONDS = 2.0
REDIRECTS = 5
CHUNK = 256 << 10
PASSING = (408, 425, 429)  # not now, they say
MARK = "dae-mirror-"  # how a mirror names itself in Via


class Client:
    """Asks one server, and those it redirects to. The user and password of its address go to no other server.

    ``base``: the server's address without them. ``identity`` is sent in Via, so that a mirror that asks itself notices.
    ``proxies``: the way there, and to all that it redirects to; the environment's if nothing is said.
    """

    def __init__(
        self,
        base: str,
        context: ssl.SSLContext | None = None,
        identity: str = MARK + "0",
        proxies: dict[str, str] | None = None,
    ) -> None:
        parts = urlsplit(base)
        self.base = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        self._origin = _origin(base)
        self._headers = {"User-Agent": "dae-mirror", "Via": f"1.1 {identity}"}
        self._credentials: dict[str, str] = {}
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._credentials = make_headers(basic_auth=pair)
        self._context = context
        self._proxies = environment_proxies() if proxies is None else proxies
        self._pools: dict[str | None, urllib3.PoolManager] = {}

    @contextmanager
    def get(
        self, url: str, headers: dict[str, str], read_seconds: float
    ) -> Iterator[tuple[urllib3.BaseHTTPResponse, str]]:
        """The answer to a GET after redirects, and its URL.

        Raises ``mirror/unavailable`` for whatever goes wrong in the network, also while the answer is read, and
        ``mirror/bad-upstream`` for redirects to where the mirror does not go.
        """
        timeout = Timeout(connect=CONNECT_SECONDS, read=read_seconds)
        try:
            for _ in range(REDIRECTS + 1):
                response = self._once(url, headers, timeout)
                if response.status not in (301, 302, 303, 307, 308):
                    break
                response.close()
                url = self._next(url, response.headers.get("Location", ""))
            else:
                raise DaeError("mirror/bad-upstream", f"upstream redirects more than {REDIRECTS} times")
            try:
                yield response, url
            finally:
                # A body that was read to its end has given its connection back; any other must not be used again.
                response.close()
        except urllib3.exceptions.HTTPError as error:
            raise unavailable(f"{type(error).__name__} at {urlsplit(url).hostname}") from error

    def _once(self, url: str, headers: dict[str, str], timeout: Timeout) -> urllib3.BaseHTTPResponse:
        own = self._credentials if _origin(url) == self._origin else {}
        headers = {**self._headers, **own, **headers}
        pool = self._pool(proxy_for(url, self._proxies))
        for last in (False, True):
            try:
                return pool.request("GET", url, headers=headers, timeout=timeout, redirect=False, preload_content=False)
            except urllib3.exceptions.ProtocolError:
                if last:  # once is a kept connection that upstream had closed, twice is trouble
                    raise
        raise AssertionError("the second attempt returns or raises")

    def _pool(self, proxy: str | None) -> urllib3.PoolManager:
        if proxy not in self._pools:
            self._pools[proxy] = _pool(proxy, self._context)
        return self._pools[proxy]

    @staticmethod
    def _next(url: str, location: str) -> str:
        try:
            target = urljoin(url, location)
            old, new = urlsplit(url), urlsplit(target)
        except ValueError:
            raise DaeError("mirror/bad-upstream", "upstream redirects to what is no address") from None
        if new.scheme not in ("http", "https") or (old.scheme == "https" and new.scheme != "https") or not location:
            raise DaeError("mirror/bad-upstream", "upstream redirects to where the mirror does not go")
        return target


def _pool(proxy: str | None, context: ssl.SSLContext | None) -> urllib3.PoolManager:
    if proxy is None:
        return urllib3.PoolManager(num_pools=8, maxsize=16, retries=False, ssl_context=context)
    address, pair = without_credentials(proxy)
    headers = make_headers(proxy_basic_auth=pair) if pair else None
    return urllib3.ProxyManager(
        address, num_pools=8, maxsize=16, proxy_headers=headers, retries=False, ssl_context=context
    )


def _origin(url: str) -> tuple[str, str | None, int | None]:
    """Scheme, host and port: what makes one server (RFC 9110, 4.3.1)."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1  # nobody's
    return parts.scheme, parts.hostname, port or {"http": 80, "https": 443}.get(parts.scheme)


def check_status(response: urllib3.BaseHTTPResponse, what: str) -> None:
    """Raise unless the answer is 200: ``mirror/bad-upstream`` for a refusal, ``mirror/unavailable`` for the rest."""
    if 400 <= response.status < 500 and response.status not in PASSING:
        cause = f"upstream refuses {what} with {response.status}"
        raise DaeError("mirror/bad-upstream", cause, "check the upstream setting and the credentials in it")
    if response.status != 200:
        raise unavailable(f"upstream answered {response.status} for {what}")


def unavailable(cause: str) -> DaeError:
    return DaeError("mirror/unavailable", cause, "try again; if it lasts, check the upstream setting and the network")


def chunks(response: urllib3.BaseHTTPResponse, advance: Callable[[int], None], decode: bool) -> Iterator[bytes]:
    """The body as it comes. A body shorter than announced raises urllib3's IncompleteRead."""
    while chunk := response.read1(CHUNK, decode_content=decode):
        advance(len(chunk))
        yield chunk
