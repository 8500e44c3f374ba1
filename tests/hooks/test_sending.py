"""One attempt: signed, to the checked address only, bounded, nothing followed."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from core.nouns import Event
from hooks import sending
from hooks.sending import Sender, allowed
from tests.hooks.conftest import Receiver

LOOPBACK = ("127.0.0.0/8",)
EVENT = Event(
    7, "release-live", "blog", "dev", "ann", {"a": "\u00fc"}, datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
)


def send(sender: Sender, url: str) -> sending.Result:
    body = sending.body_of(EVENT)
    return sender.send(url, sending.headers_of(EVENT, 12, "secret", body), body)


class Names:
    """A resolver with a table of its own, which counts how often it is asked."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.answers.pop(0)


def test_what_arrives(receiver: Receiver) -> None:
    """The event arrives as JSON, with its kind, the delivery's id and a signature that the secret proves."""
    assert send(Sender(LOOPBACK), receiver.url + "?x=1").status == 200
    (request,) = receiver.requests
    assert request.path == "/in?x=1"
    assert json.loads(request.body) == {
        "id": 7, "kind": "release-live", "app": "blog", "stage": "dev", "who": "ann", "data": {"a": "\u00fc"},
        "created": "2026-01-02T00:00:00+00:00",
    }  # fmt: skip
    assert request.headers["X-DAE-Event"] == "release-live"
    assert request.headers["X-DAE-Delivery"] == "12"
    assert request.headers["Content-Type"] == "application/json"
    expected = hmac.new(b"secret", request.body, hashlib.sha256).hexdigest()
    assert request.headers["X-DAE-Signature-256"] == f"sha256={expected}"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.255.255", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
        "100.64.0.1", "224.0.0.1", "239.1.1.1", "255.255.255.255", "240.0.0.1", "192.0.2.1", "198.18.0.1",
        "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1", "ff02::1", "fec0::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "::10.0.0.1",
        "64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "2002:7f00:1::", "2002:a00:1::1", "64:ff9b:1::1", "a", "",
    ],
)  # fmt: skip
def test_addresses_that_are_refused(address: str) -> None:
    """No address that only the platform can reach is allowed, in any spelling of IPv6."""
    assert not allowed(address, [])


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"])
def test_public_addresses(address: str) -> None:
    """Public addresses are allowed."""
    assert allowed(address, [])


def test_networks_open_what_they_name() -> None:
    """A network of the settings allows its own addresses, in mapped form too, and no others."""
    import ipaddress

    networks = [ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00::/8")]
    assert all(allowed(address, networks) for address in ("10.1.2.3", "::ffff:10.1.2.3", "fd00::1"))
    assert not any(allowed(address, networks) for address in ("10.2.0.1", "127.0.0.1", "fc00::1"))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]"]
)
def test_private_receivers_get_nothing(receiver: Receiver, host: str) -> None:
    """Without a network in the settings nothing reaches the loopback, however it is written; no retry is asked for."""
    result = send(Sender(), f"http://{host}:{receiver.port}/")
    assert not result.ok and result.status == 0
    assert result.final or "does not resolve" in result.error
    assert receiver.requests == []


def test_the_checked_address_is_the_one_connected_to(receiver: Receiver) -> None:
    """The name is resolved once; a later answer that points inside changes nothing. The Host header has the name."""
    names = Names(["127.0.0.1"], ["10.0.0.1"])
    assert send(Sender(LOOPBACK, names), f"http://hooks.example:{receiver.port}/").ok
    assert names.asked == ["hooks.example"]
    assert receiver.requests[0].headers["Host"] == f"hooks.example:{receiver.port}"
    result = send(Sender(LOOPBACK, names), f"http://hooks.example:{receiver.port}/")
    assert result.final and len(receiver.requests) == 1


def test_private_ones_among_public_answers_are_left_out(receiver: Receiver) -> None:
    """Of several addresses the refused ones are not tried; the next good one is when the first does not answer."""
    names = Names(["10.0.0.1", "127.0.0.2", "127.0.0.1"])
    assert send(Sender(LOOPBACK, names), f"http://hooks.example:{receiver.port}/").ok


def test_redirects_are_not_followed(make_receiver: Callable[[], Receiver]) -> None:
    """An answer that points elsewhere is a failure, and nothing goes there."""
    first, second = make_receiver(), make_receiver()
    first.statuses, first.location = [307], second.url
    result = send(Sender(LOOPBACK), first.url)
    assert (result.status, result.ok, result.final) == (307, False, False)
    assert "redirects are not followed" in result.error
    assert second.requests == []


def test_proxies_of_the_environment_are_ignored(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would resolve the name again: none is used."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9/")
    assert send(Sender(LOOPBACK), receiver.url).ok


@pytest.mark.parametrize(("status", "ok"), [(200, True), (204, True), (299, True), (404, False), (500, False)])
def test_statuses(receiver: Receiver, status: int, ok: bool) -> None:
    """2xx is success, everything else a failure that is tried again."""
    receiver.statuses = [status]
    result = send(Sender(LOOPBACK), receiver.url)
    assert (result.status, result.ok, result.final) == (status, ok, False)


def test_nobody_there() -> None:
    """A name that does not resolve and a port where nobody listens are failures that are tried again."""
    for url in ("http://no-such-name.invalid/", "http://127.0.0.1:1/"):
        result = send(Sender(LOOPBACK), url)
        assert (result.status, result.ok, result.final) == (0, False, False)


@pytest.fixture
def raw() -> Iterator[Callable[[Sequence[bytes], float], str]]:
    """A server that sends the given pieces, with pauses between them, and holds the connection."""
    sockets: list[socket.socket] = []
    over = threading.Event()

    def start(pieces: Sequence[bytes], pause: float) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        sockets.append(server)

        def serve() -> None:
            connection, _ = server.accept()
            sockets.append(connection)
            try:
                for piece in pieces:
                    connection.sendall(piece)
                    if over.wait(pause):
                        return
                over.wait(30)
            except OSError:
                pass

        threading.Thread(target=serve, daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}/"

    yield start
    over.set()
    for one in sockets:
        one.close()


@pytest.mark.parametrize(
    ("pieces", "pause"),
    [
        ([], 0.0),
        ([b"HTTP/1.1 200 OK\r\n"], 0.0),
        ([b"x"] * 1000, 0.05),
        ([b"HTTP/1.1 103 Early Hints\r\n\r\n"] * 1000, 0.05),
    ],
    ids=["silent", "half", "drip", "interim"],
)
def test_slow_receivers_are_bounded(
    raw: Callable[[Sequence[bytes], float], str], pieces: Sequence[bytes], pause: float
) -> None:
    """All steps of an attempt share one deadline: neither silence nor a drip of bytes holds it."""
    result = send(Sender(LOOPBACK, seconds=0.5), raw(pieces, pause))
    assert not result.ok and "Timeout" in result.error


@pytest.mark.parametrize(
    ("pieces", "ok"),
    [
        ([b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"], True),
        ([b"HTTP/1.1 2", b"00 OK\r", b"\n\r", b"\n"], True),
        ([b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_000_000], True),
        ([b"SSH-2.0-x\r\n\r\n"], False),
        ([b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000], False),
        ([b"HTTP/1.1 20\xff OK\r\n\r\n"], False),
    ],
    ids=["interim", "pieces", "long-body", "not-http", "long-head", "bad-status"],
)
def test_odd_answers(raw: Callable[[Sequence[bytes], float], str], pieces: Sequence[bytes], ok: bool) -> None:
    """Only the status counts, the body is not read, and what is not HTTP or has no end is a failure."""
    assert send(Sender(LOOPBACK), raw(pieces, 0.01)).ok is ok


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for hooks.example, with its key, that it signs itself."""
    file = tmp_path / "cert.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=hooks.example",
            "-addext", "subjectAltName=DNS:hooks.example", "-keyout", str(tmp_path / "key.pem"), "-out", str(file),
        ],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return file


def test_tls_is_for_the_name(receiver: Receiver, certificate: Path) -> None:
    """Over https the pinned address must prove the name, which SNI tells it; an unknown or other one is refused."""
    asked: list[str] = []
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, certificate.with_name("key.pem"))
    server.sni_callback = lambda _socket, name, _context: asked.append(name)
    receiver.server.socket = server.wrap_socket(receiver.server.socket, server_side=True)
    known = ssl.create_default_context(cafile=str(certificate))
    for name, tls, ok in (("hooks.example", known, True), ("a.example", known, False), ("hooks.example", None, False)):
        result = send(Sender(LOOPBACK, Names(["127.0.0.1"]), tls), f"https://{name}:{receiver.port}/")
        assert result.ok is ok, result.error
        assert ok or "CERTIFICATE_VERIFY_FAILED" in result.error
    assert asked == ["hooks.example", "a.example", "hooks.example"]
    assert len(receiver.requests) == 1
