"""Talking to the platform's supervisord over its unix socket, and starting it."""

from __future__ import annotations

import http.client
import os
import signal
import time
import xmlrpc.client
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from control.platform.processes import config_file, pid_file
from core.argv import run
from core.errors import DaeError
from core.paths import Home
from runner.supervisor import UnixTransport

#: Seconds within which a stop is over: SIGTERM, supervisor's stopwaitsecs, SIGKILL, and some air.
STOP_SECONDS = 15.0
CALL_SECONDS = 10.0
RUNNING = "RUNNING"
STOPPED = frozenset({"STOPPED", "EXITED", "FATAL", "UNKNOWN"})


class Supervisord:
    """One platform's supervisord. All methods but :meth:`running` raise ``platform/not-running`` when it is away."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def running(self) -> bool:
        """Does it answer?"""
        try:
            self._call("supervisor.getState")
        except DaeError:
            return False
        return True

    def pid(self) -> int:
        return int(self._call("supervisor.getPID"))

    def processes(self) -> list[dict[str, Any]]:
        """All processes, apps' instances included: ``name, group, statename, pid, start, spawnerr``..."""
        return [dict(info) for info in self._call("supervisor.getAllProcessInfo")]

    def states(self) -> dict[str, str]:
        """State by the process's name, such as ``RUNNING``."""
        return {str(info["name"]): str(info["statename"]) for info in self.processes()}

    def start(self, name: str) -> None:
        """Start a part without waiting; nothing to do when it runs."""
        with suppress(xmlrpc.client.Fault):  # ALREADY_STARTED; whether it serves is asked of the part itself
            self._call("supervisor.startProcess", name, False)

    def stop(self, names: Sequence[str]) -> None:
        """Stop these together, and return when they are stopped or the bound for stopping has passed."""
        for name in names:
            with suppress(xmlrpc.client.Fault):  # NOT_RUNNING, BAD_NAME: the state below tells
                self._call("supervisor.stopProcess", name, False)
        self._await_stopped(frozenset(names))

    def stop_everything(self) -> None:
        """Stop all parts and all apps together, bounded."""
        with suppress(xmlrpc.client.Fault):
            self._call("supervisor.stopAllProcesses", False)
        self._await_stopped(None)

    def sync(self) -> None:
        """Take a new configuration file over: parts that are gone stop, new ones start, changed ones do both.

        Apps' instances are not in the file; their names have dots, and they are let be.
        """
        added, changed, removed = self._call("supervisor.reloadConfig")[0]
        leaving = [name for name in [*changed, *removed] if "." not in name]
        self.stop(leaving)
        for name in leaving:
            self._call("supervisor.removeProcessGroup", name)
        for name in [*added, *changed]:
            self._call("supervisor.addProcessGroup", name)

    def shutdown(self) -> None:
        """Ask it to end. It stops what still runs; see :func:`end`."""
        self._call("supervisor.shutdown")

    def _await_stopped(self, names: frozenset[str] | None) -> None:
        def stopped() -> bool:
            states = self.states()
            return all(states[name] in STOPPED for name in (states if names is None else names & set(states)))

        wait_for(stopped, STOP_SECONDS)

    def _call(self, method: str, *arguments: object) -> Any:
        transport = UnixTransport(self._home.socket("supervisor"), CALL_SECONDS)
        try:
            return getattr(xmlrpc.client.ServerProxy("http://supervisor", transport=transport), method)(*arguments)
        except (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError) as error:
            raise DaeError("platform/not-running", f"supervisord does not answer: {error}", "type: dae up") from error
        finally:
            transport.close()


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Ask until it is true, at most for ``seconds``; returns whether it became true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def start(home: Home, python: Path) -> None:
    """Start supervisord in the background with a clean environment; raises ``platform/start-failed``."""
    (home.agent_state / "supervisord.copy").write_text(python.parent.parent.name)
    outcome = run([python, "-I", "-m", "supervisor.supervisord", "-c", config_file(home)], cwd=Path("/"), timeout=30)
    if not outcome.ok:
        cause = f"supervisord did not start: {outcome.output.strip()[-500:]}"
        raise DaeError("platform/start-failed", cause, f"see {home.logs / 'supervisord.log'}")


def recorded_pid(home: Home) -> int:
    """The process that the pid file names and that is this home's supervisord; 0 when there is none."""
    try:
        pid = int(pid_file(home).read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return 0
    return pid if str(config_file(home)).encode() in words else 0


def end(home: Home, seconds: float) -> None:
    """Wait until the recorded supervisord has gone, and kill it when ``seconds`` have passed."""
    pid = recorded_pid(home)
    if pid and not wait_for(lambda: recorded_pid(home) != pid, seconds):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: recorded_pid(home) != pid, 5.0)
