"""A real HTTP proxy on loopback that connects (RFC 9110, 9.3.6), always to the same server, and knows its users."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Proxy(ThreadingHTTPServer):
    """``asked``: what it was asked to connect to, ``credentials``: those for others that came with that. ``password``:
    ``user:password`` of who may.
    """

    daemon_threads = True

    def __init__(self, port: int, password: str = "") -> None:
        self.leads_to, self.password, self.asked = port, password, set[str]()
        self.credentials: set[str | None] = set()
        super().__init__(("127.0.0.1", 0), _Handler)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self.shutdown()
        self.server_close()

    def address(self, credentials: str = "") -> str:
        return f"http://{credentials}127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Proxy
    wbufsize = 0

    def do_CONNECT(self) -> None:
        self.server.credentials.add(self.headers["Authorization"])
        pair = base64.b64encode(self.server.password.encode()).decode()
        if self.server.password and self.headers["Proxy-Authorization"] != f"Basic {pair}":
            self.send_error(407)
            return
        self.server.asked.add(self.path)
        with socket.create_connection(("127.0.0.1", self.server.leads_to)) as there:
            self.send_response(200)
            self.end_headers()
            back = threading.Thread(target=_copy, args=(there, self.connection))
            back.start()
            _copy(self.connection, there)
            back.join()
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        return None


def _copy(source: socket.socket, target: socket.socket) -> None:
    """Hand on what comes until no more does, and say that."""
    with contextlib.suppress(OSError):
        while block := source.recv(65536):
            target.sendall(block)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
