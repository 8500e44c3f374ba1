"""A real nginx over a home of its own, and small servers where apps' instances would listen."""

from __future__ import annotations

import http.client
import http.server
import json
import os
import shutil
import signal
import socket
import socketserver
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from core.argv import CLEAN_ENVIRON
from core.config import Settings
from core.nouns import Route, Stage
from core.paths import Home
from router.apply import Applier
from runner.accounts import UnixAccounts, remove_platform
from tests.runner.ground import until

ROOT = os.geteuid() == 0
TREE = "c" * 40


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with what it got, as JSON; ``/accel/PATH`` as a static handler does, ``/status/N`` with a status."""

    protocol_version = "HTTP/1.1"
    server: Instance

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Upgrade") == "websocket":
            return self._websocket()
        status = int(self.path[8:11]) if self.path.startswith("/status/") else 200
        data = {"name": self.server.name, "path": self.path, "headers": dict(self.headers), "body": body.decode()}
        text = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.send_header("X-DAE-Release", "forged")
        if self.path.startswith("/accel/"):
            self.send_header("X-Accel-Redirect", "/_dae_static/" + self.path.removeprefix("/accel/"))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)
        return None

    def _websocket(self) -> None:
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "upgrade")
        self.end_headers()
        while word := self.rfile.readline():
            self.wfile.write(self.server.name.encode() + b" " + word)

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_HEAD = do_GET  # noqa: N815 - http.server's names

    def address_string(self) -> str:
        return "-"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        return None


class Instance(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self.connections: list[socket.socket] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        super().__init__(str(path), Echo)
        path.chmod(0o777)

    def finish_request(self, request: Any, client_address: Any) -> None:
        self.connections.append(request)
        super().finish_request(request, client_address)

    def hang_up(self) -> None:
        """End the connections that nginx keeps, as the end of a process does."""
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, object]:
        data: dict[str, object] = json.loads(self.body)
        return data

    @property
    def seen(self) -> dict[str, str]:
        """The request's headers as the instance saw them, by lower-case name."""
        headers = self.json["headers"]
        assert isinstance(headers, dict)
        return {str(key).lower(): str(value) for key, value in headers.items()}


@dataclass
class Nginx:
    """The router of a home, and what listens behind it."""

    home: Home
    settings: Settings
    stack: ExitStack
    process: subprocess.Popen[bytes] | None = None
    applier: Applier = field(init=False)

    def __post_init__(self) -> None:
        self.applier = Applier(self.home, self.settings)

    def start(self) -> None:
        self.applier.configure()
        current = f"{self.home.router}/current/"
        argv = ["nginx", "-p", current, "-c", "nginx.conf", "-e", "stderr", "-g", "daemon off;"]
        log = (self.home.logs / "nginx.log").open("ab")
        with log:
            self.process = subprocess.Popen(argv, stderr=log, env=dict(CLEAN_ENVIRON))  # with /usr/sbin
        until(lambda: self.applier.master() == (self.process and self.process.pid), "nginx runs")
        until(lambda: self.get("nobody").status, "nginx answers")

    def stop(self, number: int = signal.SIGQUIT) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM if number == signal.SIGQUIT else number)
            self.process.wait(20)
            self.process = None

    def instance(self, app: str, release: int, stage: Stage = Stage.DEV) -> Route:
        """Something that listens where the release's web instance does; its route."""
        self.listen(self.home.app_socket(app, stage, release, 1), f"{app} v{release}")
        return Route("", app, stage, release, code=TREE)

    def listen(self, path: Path, name: str) -> None:
        self.stack.enter_context(serving(Instance(path, name)))

    def get(
        self,
        host: str,
        path: str = "/",
        *,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.settings.port, timeout=20)
        sent = {"Host": host, **(headers or {})}
        try:
            connection.request(method, path, body=body, headers=sent)
            found = connection.getresponse()
            return Answer(found.status, {k.lower(): v for k, v in found.getheaders()}, found.read())
        except ConnectionError:
            return Answer(0, {}, b"")
        finally:
            connection.close()


@contextmanager
def serving(server: Instance) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        server.hang_up()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def router_home() -> Iterator[Nginx]:
    """A home with folders and, as root, accounts; nginx does not run yet."""
    root = Path(tempfile.mkdtemp(prefix="dn", dir="/tmp"))
    root.chmod(0o755)
    settings, home = Settings(home=root, port=free_port(), domain="apps.localhost"), Home(root)
    for path in (home.run, home.agent_state, home.router, home.logs, home.mirror / "files", home.codes):
        path.mkdir(parents=True)
    try:
        if ROOT:
            UnixAccounts(settings, home).ensure_platform()
        with ExitStack() as stack:
            made = Nginx(home, settings, stack)
            try:
                yield made
            finally:
                made.stop()
    finally:
        if ROOT:
            remove_platform(settings)
        shutil.rmtree(root)


@pytest.fixture(scope="session")
def common_nginx() -> Iterator[Nginx]:
    with router_home() as made:
        made.start()
        yield made


@pytest.fixture
def nginx(common_nginx: Nginx) -> Iterator[Nginx]:
    """The common nginx, without routes; what a test lets listen goes with it."""
    with ExitStack() as stack:
        common_nginx.stack = stack
        yield common_nginx
    common_nginx.applier.apply([])


@pytest.fixture
def stopped_nginx() -> Iterator[Nginx]:
    """A home of its own whose nginx does not run yet."""
    with router_home() as made:
        yield made
