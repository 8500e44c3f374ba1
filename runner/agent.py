"""The node's agent: the one part that acts with root's rights for others, in typed requests over a unix socket.

A request is one line of JSON, ``{"op": NAME, ...}``, of a peer that is root, this process's own user or the platform's
account; it names apps, releases and builds, never commands or paths. Answers are lines of JSON: ``{"line": TEXT}`` any
number of times, then ``{"ok": RESULT}`` or an error (``core.errors.DaeError.to_json``). One request per connection.
"""

from __future__ import annotations

import fcntl
import grp
import json
import logging
import os
import pwd
import select
import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from core import config
from core.config import Settings
from core.errors import DaeError, no_room
from core.nouns import COMMIT, Route, app_name, stage
from core.paths import Home
from router.apply import Applier
from runner.accounts import accounts_for
from runner.build import Builder
from runner.node import Node
from runner.supervisor import Supervisor

log = logging.getLogger("dae.agent")

_REQUEST_BYTES = 16 << 20
_REQUEST_SECONDS = 30
_MOST_GRACE = 24 * 3600
_RESTART_SECONDS = 10  # in which supervisord starts a killed nginx again


class Call:
    """One request: its arguments, checked as they are taken, and the way back to who asked."""

    def __init__(self, data: Mapping[str, Any], connection: socket.socket) -> None:
        self._data = data
        self._connection = connection

    def line(self, text: str) -> None:
        """Send one line of output on."""
        self.send({"line": text})

    def send(self, message: Mapping[str, Any]) -> None:
        self._connection.sendall(json.dumps(message).encode() + b"\n")

    def cancelled(self) -> bool:
        """Has who asked gone away?"""
        return self.gone(0)

    def gone(self, seconds: float) -> bool:
        """Wait at most so long for who asked to go away; did it?"""
        try:
            ready = select.select([self._connection], [], [], seconds)[0]
            return bool(ready) and self._connection.recv(1, socket.MSG_PEEK) == b""
        except OSError:
            return True

    def text(self, name: str) -> str:
        value = self._data.get(name)
        if not isinstance(value, str):
            raise DaeError("runner/refused", f"{name} is not a text")
        return value

    def app(self, name: str = "app") -> str:
        return app_name(self.text(name))

    def number(self, name: str, least: int, most: int) -> int:
        value = self._data.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise DaeError("runner/refused", f"{name} is not a number from {least} to {most}")
        return value

    def texts(self, name: str) -> list[str]:
        value = self._data.get(name)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise DaeError("runner/refused", f"{name} is not a list of texts")
        return value

    def routes(self) -> list[Route]:
        value = self._data.get("routes")
        if not isinstance(value, list):
            raise DaeError("runner/refused", "routes is not a list")
        return [parse_route(item) for item in value]


def parse_route(data: Any) -> Route:
    """A route from its fields; raises ``runner/refused`` or what the nouns raise."""
    names = {field.name for field in fields(Route)}
    if not isinstance(data, dict) or not {"app", "stage", "release"} <= set(data) <= names:
        raise DaeError("runner/refused", "a route has other fields than it should")
    route = Route(**{"host": "", **data, "stage": stage(str(data["stage"]))})
    numbers = (route.release, route.index, route.port)
    if any(isinstance(n, bool) or not isinstance(n, int) or not 0 <= n < 10**9 for n in numbers) or route.port > 65535:
        raise DaeError("runner/refused", "a route's numbers are not acceptable")
    if not all(isinstance(text, str) for text in (route.host, route.app, route.code)):
        raise DaeError("runner/refused", "a route's names are not texts")
    app_name(route.app)
    if route.code and not COMMIT.match(route.code):
        raise DaeError("runner/refused", "a route's code is not a tree")
    return route


def _decode(request: bytes) -> Any:
    try:
        return json.loads(request)
    except ValueError as error:
        raise DaeError("runner/refused", f"the request is not JSON: {error}") from error


class Agent:
    """The operations, by name."""

    def __init__(self, settings: Settings, home: Home) -> None:
        self.settings = settings
        self.home = home
        self.accounts = accounts_for(settings, home)
        self.node = Node(settings, home, self.accounts, Supervisor(home, settings))
        self.builder = Builder(settings, home, self.accounts)
        self.applier = Applier(home, settings)
        self.operations: Mapping[str, Callable[[Call], Any]] = {
            "ping": self._ping,
            "ensure_app": lambda call: self.node.ensure_app(call.app()),
            "remove_app": lambda call: self.node.remove_app(call.app()),
            "rename_app": lambda call: self.node.rename_app(call.app(), call.app("to")),
            "build": lambda call: self.builder.build(call.number("build", 1, 2**53), call.line, call.cancelled),
            "start": lambda call: self.node.start(call.text("key"), call.line, call.cancelled),
            "release_command": self._release_command,
            "warm": lambda call: self.node.warm(call.text("key"), call.number("like", 1, 10**9 - 1), call.gone),
            "stop": lambda call: self.node.stop(call.texts("keys"), call.number("grace", 0, _MOST_GRACE)),
            "reconcile": lambda call: self.node.reconcile(call.texts("desired"), call.texts("spare")),
            "instances": lambda _call: self.node.instances(),
            "route": self._route,
        }

    def _ping(self, _call: Call) -> dict[str, Any]:
        running = self.node.instances()
        return {
            "pid": os.getpid(),
            "root": self.accounts.root,
            "instances": len(running),
            "router": self.applier.master() is not None,
        }

    def _release_command(self, call: Call) -> None:
        self.node.release_command(call.app(), call.number("number", 1, 10**9 - 1), call.line, call.cancelled)

    def _route(self, call: Call) -> None:
        """Success means that the routes are served: an nginx that is being started again is waited for."""
        routes = call.routes()
        self.applier.admit(self._groups({route.app for route in routes}))
        if not self.applier.apply(routes) and not self.applier.wait_up(_RESTART_SECONDS):
            raise DaeError("router/unavailable", "nginx is not running", "see: dae status")

    def _groups(self, apps: set[str]) -> set[int]:
        """The groups of apps; one whose account is not there must not keep the others from being served."""
        found = set()
        for name in filter(None, map(self.accounts.app, sorted(apps))):
            try:
                found.add(grp.getgrnam(name).gr_gid)
            except KeyError:
                log.warning("there is no group %s, so that nginx cannot reach the app's sockets", name)
        return found

    def handle(self, request: bytes, connection: socket.socket) -> None:
        """Answer one request; nothing is raised but for a peer that went away (OSError)."""
        call = Call({}, connection)
        try:
            data = _decode(request)
            if not isinstance(data, dict) or not isinstance(data.get("op"), str):
                raise DaeError("runner/refused", "the request names no operation")
            operation = self.operations.get(data["op"])
            if operation is None:
                raise DaeError("runner/refused", f"there is no operation {data['op'][:40]!a}")
            call = Call(data, connection)
            call.send({"ok": operation(call)})
        except DaeError as error:
            call.send(error.to_json())
        except Exception as error:  # the edge: a defect is answered and logged
            if call.cancelled():
                raise
            log.exception("a request failed")
            told = no_room(error) or DaeError("platform/internal", "the agent's log has the details", "see: dae doctor")
            call.send(told.to_json())

    def resume_routes(self) -> None:
        """After a start of our own: have this version's configuration in force. The routes themselves are on disk."""
        try:
            self.applier.configure()
        except (DaeError, OSError) as error:
            log.error("nginx was not configured: %s", error)

    def resume_instances(self) -> None:
        """After a start of our own: run what was wanted last, without control."""
        try:
            self.node.reconcile(None)
        except (DaeError, OSError) as error:
            log.error("the instances were not reconciled: %s", error)


class Server(socketserver.ThreadingUnixStreamServer):
    """Listens on the agent's socket; who may speak is asked of the kernel (SO_PEERCRED, unix(7))."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, agent: Agent, path: Path) -> None:
        self.agent = agent
        self.allowed = {0, os.geteuid()}
        owner = -1
        if agent.accounts.root:
            owner = pwd.getpwnam(agent.settings.account).pw_uid
            self.allowed.add(owner)
        aside = path.with_name(path.name + ".new")
        aside.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            super().__init__(str(aside), _Handler)
        finally:
            os.umask(before)
        os.chown(aside, owner, -1)
        aside.replace(path)  # nobody meets a socket that is not yet guarded

    def verify_request(self, request: Any, _client_address: Any) -> bool:
        peer = request.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        uid = struct.unpack("3i", peer)[1]
        if uid not in self.allowed:
            log.warning("uid %s may not ask", uid)
        return uid in self.allowed


class _Handler(socketserver.StreamRequestHandler):
    server: Server
    timeout = _REQUEST_SECONDS

    def handle(self) -> None:
        try:
            request = self.rfile.readline(_REQUEST_BYTES)
            if request.endswith(b"\n"):
                self.server.agent.handle(request, self.connection)
        except OSError as error:
            log.info("a client went away: %s", error)


def main() -> int:
    """Serve until killed. A second agent of the same home ends at once."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    settings = config.load()
    home = Home(settings.home)
    home.check_lengths()
    lock = os.open(home.agent_state / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.error("an agent of this home runs already")
        return 1
    agent = Agent(settings, home)
    agent.accounts.ensure_platform()
    agent.builder.clean()
    with Server(agent, home.socket("agent")) as server:
        for resume in (agent.resume_routes, agent.resume_instances):
            threading.Thread(target=resume, daemon=True).start()
        server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
