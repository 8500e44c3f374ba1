"""supervisord's side of the runner: ``supervisor.rpcinterface_factory = runner.supervisor_plugin:make``.

supervisor can only add a program by reading its whole configuration again, which grows with the square of the number
of programs. These methods add, stop and remove one program in memory and list only those. supervisord runs them in
its one thread: none of them waits. Works with supervisor 4.2 and 4.3.
"""

# supervisor has no types.
# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path
from typing import Any

from supervisor.datatypes import RestartUnconditionally
from supervisor.options import ProcessConfig, ProcessGroupConfig
from supervisor.process import Subprocess
from supervisor.states import STOPPED_STATES, ProcessStates, getProcessStateDescription
from supervisor.xmlrpc import Faults, RPCError

from core.errors import DaeError
from core.nouns import Instance

#: An instance that ends within so many seconds of its start counts as a failed start, and supervisor backs off.
START_SECONDS = 10
#: supervisor waits one second more after each failed start, without end; we stop lengthening at this many.
BACKOFF_SECONDS = 30


class InstanceProcess(Subprocess):
    """A process that is tried again for ever, with at most BACKOFF_SECONDS between two tries."""

    config: Any

    def change_state(self, new_state: int, expected: bool = True) -> Any:
        if new_state == ProcessStates.BACKOFF:
            self.backoff = min(self.backoff, BACKOFF_SECONDS - 1)
        return super().change_state(new_state, expected)


class InstanceConfig(ProcessConfig):
    autorestart: Any

    def make_process(self, group: Any = None) -> InstanceProcess:
        process = InstanceProcess(self)
        process.group = group
        return process


class Instances:
    """The methods under ``dae.`` in supervisord's XML-RPC."""

    def __init__(self, supervisord: Any) -> None:
        self._supervisord = supervisord

    def start(self, key: str, home: str, logfile: str, log_bytes: int, waiting: bool = False) -> int:
        """Add the instance ``key`` and start it at once; returns its pid.

        ``waiting``: it is not the instance yet, and not started again when it ends, until it is told (:meth:`tell`).
        Faults: BAD_NAME (no instance's key), ALREADY_STARTED (there is one), SPAWN_ERROR.
        """
        _check(key)
        if key in self._supervisord.process_groups:
            raise RPCError(Faults.ALREADY_STARTED, key)
        options = self._supervisord.options
        command = shlex.join([sys.executable, "-I", "-m", "runner.launch", home, key])
        config = InstanceConfig(options, **_program(key, command, logfile, log_bytes))
        config.autorestart = False if waiting else RestartUnconditionally
        self._supervisord.add_process_group(ProcessGroupConfig(options, key, 999, [config]))
        process = self._process(key)
        process.spawn()
        if not process.pid:
            del self._supervisord.process_groups[key]
            raise RPCError(Faults.SPAWN_ERROR, f"{key}: {process.spawnerr}")
        return int(process.pid)

    def tell(self, key: str, line: str) -> int:
        """Write to the standard input of an instance that waits, which is an instance like any other from then on.

        Returns its pid. Faults: BAD_NAME, NOT_RUNNING (it has ended).
        """
        process = self._process(key)
        try:
            process.write(line.encode())
        except OSError as error:
            raise RPCError(Faults.NOT_RUNNING, key) from error
        process.config.autorestart = RestartUnconditionally
        return int(process.pid)

    def stop(self, key: str, grace: int) -> bool:
        """Send the group SIGTERM, and SIGKILL after ``grace`` seconds; True when it is gone and removed already."""
        process = self._process(key)
        process.config.stopwaitsecs = grace
        if process.get_state() not in (*STOPPED_STATES, ProcessStates.STOPPING):
            process.stop()
        return self.remove(key)

    def kill(self, key: str) -> bool:
        """Send the group SIGKILL; True when it is gone and removed already."""
        process = self._process(key)
        if process.pid:
            if process.get_state() != ProcessStates.STOPPING:
                process.stop()
            process.kill(signal.SIGKILL)
        return self.remove(key)

    def remove(self, key: str) -> bool:
        """Forget an instance that has stopped; False while it has not."""
        process = self._process(key)
        self._supervisord.reap()
        if process.get_state() not in STOPPED_STATES:
            return False
        self._supervisord.remove_process_group(key)
        return True

    def instances(self) -> list[list[Any]]:
        """``[key, state's name, pid, start in seconds since 1970]`` for each instance."""
        found = []
        for key, group in self._supervisord.process_groups.items():
            process = group.processes.get(key)
            if isinstance(process, InstanceProcess):
                state = getProcessStateDescription(process.get_state())
                found.append([key, state, process.pid, int(process.laststart)])
        return found

    def _process(self, key: str) -> InstanceProcess:
        group = self._supervisord.process_groups.get(key)
        process = group and group.processes.get(key)
        if not isinstance(process, InstanceProcess):
            raise RPCError(Faults.BAD_NAME, key)
        return process


def _check(key: str) -> None:
    try:
        Instance.from_key(key)
    except DaeError as error:
        raise RPCError(Faults.BAD_NAME, str(error)) from error


def _program(key: str, command: str, logfile: str, log_bytes: int) -> dict[str, Any]:
    """The program's configuration, in supervisor's own terms."""
    return {
        "name": key,
        "command": command,
        "uid": None,  # the launcher gives up root
        "directory": "/",
        "umask": None,
        "priority": 999,
        "autostart": False,  # it is spawned by start(), not by the loop's next turn
        "autorestart": False,  # start() decides
        "startsecs": START_SECONDS,
        "startretries": BACKOFF_SECONDS + 1,  # more than backoff ever gets: never given up
        "stopsignal": signal.SIGTERM,
        "stopwaitsecs": 10,
        "stopasgroup": True,
        "killasgroup": True,
        "exitcodes": [0],
        "redirect_stderr": True,
        "stdout_logfile": str(Path(logfile)),
        "stdout_logfile_maxbytes": log_bytes,
        "stdout_logfile_backups": 3,
        "stdout_capture_maxbytes": 0,
        "stdout_events_enabled": False,
        "stdout_syslog": False,
        "stderr_logfile": None,
        "stderr_logfile_maxbytes": 0,
        "stderr_logfile_backups": 0,
        "stderr_capture_maxbytes": 0,
        "stderr_events_enabled": False,
        "stderr_syslog": False,
        "environment": {},
        "serverurl": None,
    }


def make(supervisord: Any, **_config: Any) -> Instances:
    """What supervisord calls once, when it starts."""
    return Instances(supervisord)
