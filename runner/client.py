"""The agent's client: what control calls. Plain sockets, so it works in threads and under gevent alike."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from core.errors import DaeError

OnLine = Callable[[str], None]
Check = Callable[[], None]
_LOOK_SECONDS = 0.5
_CONNECT_SECONDS = 5
_SHORT, _LONG = 120, 4 * 3600  # the agent bounds every operation itself; these are for an agent that hangs
_MESSAGE_BYTES = 16 << 20


def _nothing() -> None:
    """Most callers see an operation through."""


class Agent:
    """One method per operation of the agent; a connection per call, so any thread or greenlet may call.

    Every method raises ``runner/unavailable`` when the agent does not answer, and the errors that it answers with.
    """

    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path

    def ping(self) -> dict[str, Any]:
        """``{"pid", "root", "instances", "router"}``: the agent answers, and what it sees."""
        return self._object(self._call("ping"))

    def ensure_app(self, app: str) -> str | None:
        """Make the app's account and folders; returns its group's name, None on a plain-user install."""
        group = self._call("ensure_app", app=app)
        return None if group is None else str(group)

    def remove_app(self, app: str) -> None:
        """Stop all that runs of the app, remove its account, folders, data and logs."""
        self._call("remove_app", app=app)

    def rename_app(self, app: str, to: str) -> None:
        """Move the app's account and folders; what still runs of it is stopped. May be repeated."""
        self._call("rename_app", app=app, to=to)

    def build(self, build_id: int, on_line: OnLine, check: Check = _nothing) -> dict[str, Any]:
        """Run a prepared build; ``on_line`` gets its output; returns its result; raises ``build/*``.

        ``check`` is called several times a second; what it raises ends the build.
        """
        return self._object(self._call("build", on_line, _LONG, check, build=build_id))

    def start(self, instance_key: str, on_line: OnLine, check: Check = _nothing) -> None:
        """Start an instance; a web instance is healthy when this returns. What ``check`` raises ends it.

        Raises ``release/crashed``, ``release/unhealthy`` or ``release/silent`` after ``on_line`` got its last lines.
        """
        self._call("start", on_line, _LONG, check, key=instance_key)

    @contextmanager
    def warm(self, instance_key: str, like: int) -> Iterator[None]:
        """Have what an instance like those of release ``like`` needs first got ready, while the block runs.

        It is ended then, unless :meth:`start` was called for it.
        """
        with self._connect("warm") as connection:
            self._ask(connection, "warm", key=instance_key, like=like)
            yield
            with suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
            self._answer(connection, "warm")

    def release_command(self, app: str, number: int, on_line: OnLine, check: Check = _nothing) -> None:
        """Run the release command of a release, if it has one; raises ``release/command-failed``.

        ``check`` is called several times a second; what it raises ends the command.
        """
        self._call("release_command", on_line, _LONG, check, app=app, number=number)

    def stop(self, instance_keys: Sequence[str], grace: int) -> None:
        """Stop instances: SIGTERM, ``grace`` seconds, SIGKILL."""
        self._call("stop", seconds=_SHORT + grace, keys=list(instance_keys), grace=grace)

    def reconcile(self, desired: Sequence[str], spare: Sequence[str] = ()) -> dict[str, Any]:
        """Make exactly these instances run, and leave ``spare`` as they are.

        Returns ``{"started": keys, "stopped": keys, "failed": {key: error}}``.
        """
        return self._object(self._call("reconcile", seconds=_LONG, desired=list(desired), spare=list(spare)))

    def instances(self) -> list[dict[str, Any]]:
        """``{"key", "pid", "state", "since"}`` of each instance; ``since`` in seconds since 1970."""
        return list(self._call("instances"))

    def route(self, routes: Sequence[dict[str, Any]]) -> None:
        """Serve exactly these routes (fields of core.nouns.Route); returns when no new request takes an old one."""
        self._call("route", routes=list(routes))

    def _call(
        self, op: str, on_line: OnLine | None = None, seconds: int = _SHORT, check: Check = _nothing, **arguments: Any
    ) -> Any:
        with self._connect(op) as connection:
            self._ask(connection, op, **arguments)
            return self._answer(connection, op, on_line, seconds, check)

    def _ask(self, connection: socket.socket, op: str, **arguments: Any) -> None:
        try:
            connection.sendall(json.dumps({"op": op, **arguments}).encode() + b"\n")
        except OSError as error:
            raise _unavailable(f"it broke off at the beginning of {op}: {error!r}") from error

    def _answer(
        self,
        connection: socket.socket,
        op: str,
        on_line: OnLine | None = None,
        seconds: int = _SHORT,
        check: Check = _nothing,
    ) -> Any:
        try:
            for line in _lines(connection, seconds, check):
                message = self._object(json.loads(line))
                if "line" in message:
                    if on_line is not None:
                        on_line(str(message["line"]))
                    continue
                if "error" in message:
                    raise DaeError.from_json(message)
                return message["ok"]
        except (OSError, ValueError, KeyError) as error:
            raise _unavailable(f"it broke off in the middle of {op}: {error!r}") from error
        raise _unavailable(f"it ended in the middle of {op}")

    def _connect(self, op: str) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(_CONNECT_SECONDS)
            connection.connect(str(self._path))
            connection.settimeout(_SHORT)
        except OSError as error:
            connection.close()
            raise _unavailable(f"{op}: {error}") from error
        return connection

    @staticmethod
    def _object(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _unavailable("it answered something that is not an object")
        return value


def _lines(connection: socket.socket, seconds: int, check: Check) -> Iterator[bytes]:
    """The lines that arrive, each within ``seconds`` of the one before; raises TimeoutError, or as ``check`` does."""
    pending, deadline = bytearray(), time.monotonic() + seconds
    connection.settimeout(_LOOK_SECONDS)
    while True:
        try:
            check()
        except BaseException:
            _hang_up(connection)
            raise
        try:
            data = connection.recv(65536)
        except TimeoutError:
            if time.monotonic() > deadline:
                raise
            continue
        if not data:
            return
        *whole, rest = data.split(b"\n")
        for line in whole:
            yield bytes(pending + line)
            pending.clear()
        pending += rest
        if len(pending) > _MESSAGE_BYTES:
            raise ValueError("a message has no end")
        deadline = time.monotonic() + seconds


def _hang_up(connection: socket.socket) -> None:
    """Let the agent know that nobody waits, and wait until it has ended what it did: then all is in our hands again."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(_SHORT)
        while connection.recv(65536):
            pass


def _unavailable(cause: str) -> DaeError:
    return DaeError("runner/unavailable", f"the node's agent does not answer: {cause}", "type: dae status")
