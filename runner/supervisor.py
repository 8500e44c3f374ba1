"""The agent's side of supervisord: typed calls over its unix socket (XML-RPC)."""

from __future__ import annotations

import http.client
import socket
import xmlrpc.client
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.config import Settings
from core.errors import DaeError
from core.nouns import Instance
from core.paths import Home

_TIMEOUT = 30
_GONE = (10, 70)  # supervisor.xmlrpc.Faults: BAD_NAME, NOT_RUNNING
#: supervisord's words for an instance that has a process and is not being stopped.
_UP = frozenset({"STARTING", "RUNNING"})


@dataclass(frozen=True, slots=True)
class Running:
    """An instance that supervisord keeps. ``state``: ``running``, ``backoff`` (it crashed and will be tried again),
    ``stopping``, ``exited`` or ``stopped``. ``since``: seconds since 1970 of its latest start; ``pid`` 0: none."""

    key: str
    state: str
    pid: int
    since: int


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class UnixTransport(xmlrpc.client.Transport):
    """XML-RPC over the unix socket ``path``; each step of a call takes at most ``seconds``."""

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__()
        self._path, self._seconds = path, seconds

    def make_connection(self, _host: Any) -> http.client.HTTPConnection:
        return _Connection(self._path, self._seconds)


class Supervisor:
    """supervisord, as the agent uses it. A connection per call: safe from any thread.

    Every method raises ``runner/unavailable`` when supervisord does not answer, ``runner/refused`` when it says no.
    """

    def __init__(self, home: Home, settings: Settings) -> None:
        self._home = home
        self._log_bytes = settings.log_bytes

    def start(self, instance: Instance, *, waiting: bool = False) -> int:
        """Add an instance, whose spec is saved, and start it now; returns its pid.

        ``waiting``: its program waits to be told what it is, and is not started again when it ends before.
        """
        log = self._home.instance_log(instance)
        return int(self._call("start", instance.key, str(self._home.root), str(log), self._log_bytes, waiting))

    def tell(self, key: str, line: str) -> int:
        """Write to the standard input of an instance that waits; returns its pid, 0 when it has ended."""
        return int(self._call("tell", key, line, missing=0))

    def stop(self, key: str, grace: int) -> bool:
        """Begin to stop; True when it is gone already."""
        return bool(self._call("stop", key, grace, missing=True))

    def kill(self, key: str) -> bool:
        """SIGKILL the instance's group; True when it is gone already."""
        return bool(self._call("kill", key, missing=True))

    def remove(self, key: str) -> bool:
        """Forget an instance that stopped; False while it has not. One that is not there counts as removed."""
        return bool(self._call("remove", key, missing=True))

    def instances(self) -> dict[str, Running]:
        """All instances by key."""
        rows = self._call("instances")
        return {
            str(key): Running(str(key), "running" if state in _UP else str(state).lower(), int(pid), int(since))
            for key, state, pid, since in rows
        }

    def _call(self, method: str, *arguments: Any, missing: Any = None) -> Any:
        """Call a method of the plug-in; ``missing`` is the answer when there is no such instance (any more)."""
        transport = UnixTransport(self._home.socket("supervisor"), _TIMEOUT)
        proxy = xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=transport)
        try:
            with proxy:
                return getattr(proxy.dae, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if missing is not None and fault.faultCode in _GONE:
                return missing
            raise DaeError("runner/refused", f"supervisor: {fault.faultString}") from fault
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            raise DaeError("runner/unavailable", f"supervisord does not answer: {error}", "type: dae up") from error
