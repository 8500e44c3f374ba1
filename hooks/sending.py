"""One attempt to send one event to one webhook: a signed POST to an address that was checked, and to that very one.

Whoever may create a webhook chooses the address, and must not reach through the platform what only the platform can
reach. So the name is resolved here, each address is judged, and the connection goes to a judged address (a second
look-up could answer otherwise). No proxy, no redirect, nothing of the answer but its status.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from core.nouns import Event, canonical_json

ATTEMPT_SECONDS = 5.0
HEAD_BYTES = 64 * 1024
STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\Z")
# Prefixes of IPv6 that carry an IPv4 address in their last 32 bits: NAT64 (RFC 6052), IPv4-compatible (RFC 4291).
EMBEDDED_V4 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96"))

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Result:
    """How an attempt ended: the status of the answer (0: none), what went wrong, and if trying again makes sense."""

    status: int
    error: str = ""
    final: bool = False

    @property
    def ok(self) -> bool:
        return not self.error


def body_of(event: Event) -> bytes:
    """The event as it is posted; the same bytes at each attempt."""
    return canonical_json(
        {
            "id": event.id,
            "kind": event.kind,
            "app": event.app,
            "stage": event.stage,
            "who": event.who,
            "data": dict(event.data),
            "created": event.created.isoformat(),
        }
    )


def signature(secret: str, body: bytes) -> str:
    """The value of X-DAE-Signature-256: HMAC (RFC 2104) of the body under the webhook's secret."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def headers_of(event: Event, delivery: int, secret: str, body: bytes) -> dict[str, str]:
    """The headers of the request; X-DAE-Delivery is the same at each attempt, so that receivers can tell repeats."""
    return {
        "Content-Type": "application/json",
        "User-Agent": "dae-hooks",
        "Connection": "close",
        "X-DAE-Event": event.kind,
        "X-DAE-Delivery": str(delivery),
        "X-DAE-Signature-256": signature(secret, body),
    }


def resolve(host: str, port: int) -> list[str]:
    """The addresses of ``host``, in the resolver's order; raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def allowed(address: str, networks: Sequence[Network]) -> bool:
    """True when a webhook may be sent to ``address``: it is a public one, or inside one of ``networks``."""
    try:
        ip = unwrapped(ipaddress.ip_address(address))
    except ValueError:
        return False
    if any(ip.version == network.version and ip in network for network in networks):
        return True
    refused = ip.is_private or ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_reserved
    if isinstance(ip, ipaddress.IPv6Address):
        refused = refused or ip.is_site_local
    return ip.is_global and not refused


def unwrapped(ip: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for (mapped, 6to4, NAT64, compatible), else ``ip`` itself."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if any(ip in prefix for prefix in EMBEDDED_V4) and int(ip) > 1:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or ip


class Sender:
    """Sends to public addresses and to ``networks``. ``resolver`` and ``tls`` are passed in by tests."""

    def __init__(
        self,
        networks: Sequence[str] = (),
        resolver: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
        seconds: float = ATTEMPT_SECONDS,
    ) -> None:
        self._networks = [ipaddress.ip_network(text) for text in networks]
        self._resolve, self._seconds = resolver, seconds
        self._tls = tls or ssl.create_default_context()

    def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Result:
        """POST ``body`` to ``url``; 2xx is success. Every failure is a result, none is raised."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            addresses = self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            return Result(0, f"{host} does not resolve: {error}")
        good = [address for address in addresses if allowed(address, self._networks)]
        if not good:
            return Result(0, f"{host} is an address that webhooks are not sent to", final=True)
        tls = self._tls if parts.scheme == "https" else None
        connection = PinnedConnection(host, port, good, tls, time.monotonic() + self._seconds)
        try:
            status = connection.post(parts.path or "/", parts.query, headers, body)
        except (OSError, http.client.HTTPException, ValueError) as error:
            return Result(0, f"{type(error).__name__}: {error}"[:300])
        finally:
            connection.close()
        if 200 <= status < 300:
            return Result(status)
        redirect = ", and redirects are not followed" if 300 <= status < 400 else ""
        return Result(status, f"answered {status}{redirect}")


class PinnedConnection(http.client.HTTPConnection):
    """HTTP to given addresses under the name of ``host``; every step shares one deadline (monotonic seconds)."""

    def __init__(
        self, host: str, port: int, addresses: Sequence[str], tls: ssl.SSLContext | None, deadline: float
    ) -> None:
        super().__init__(host, port)
        self.default_port = 443 if tls else 80  # whether the Host header names the port
        self._addresses, self._tls, self._deadline = addresses, tls, deadline

    def _left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no answer in time")
        return left

    def connect(self) -> None:
        """Connect to the first address that answers; raises OSError."""
        plain = self._connect_any()
        if self._tls is None:
            self.sock = plain
            return
        try:
            plain.settimeout(self._left())
            self.sock = self._tls.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise

    def _connect_any(self) -> socket.socket:
        failure = OSError("no address")
        for number, address in enumerate(self._addresses):
            try:  # an address that swallows packets must leave time for the next one
                share = self._left() / (len(self._addresses) - number)
                return socket.create_connection((address, self.port), share)
            except OSError as error:
                failure = error
        raise failure

    def post(self, path: str, query: str, headers: Mapping[str, str], body: bytes) -> int:
        """POST and return the status; raises OSError, HTTPException, ValueError."""
        self.connect()
        self.sock.settimeout(self._left())
        self.request("POST", path + (f"?{query}" if query else ""), body, dict(headers))
        received = b""
        while True:
            head, end, received = received.partition(b"\r\n\r\n")
            if not end:
                received = head + self._receive(len(head))
                continue
            found = STATUS_LINE.match(head.split(b"\r\n", 1)[0])
            if not found:
                raise ValueError("the answer is not HTTP/1.1")
            if found[1][:1] != b"1":  # 1xx: interim, the answer follows (RFC 9110, 15.2)
                return int(found[1])

    def _receive(self, have: int) -> bytes:
        """More of the answer's head. Each read has the rest of the one deadline: a drip cannot hold us."""
        self.sock.settimeout(self._left())
        chunk = self.sock.recv(4096)
        if not chunk or have > HEAD_BYTES:
            raise ConnectionError("the answer broke off, or its head is too long")
        return bytes(chunk)
