"""``dae serve``: runs the app, reloads it when its files change, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any, Optional

from dae.appfile import GrammarError
from dae.cli import output
from dae.cli.errors import CliError
from dae.local import plan
from dae.local.watch import Watcher

STOP_SECONDS = 5
QUIET_SECONDS = 0.15  # an editor that saves several files makes one reload
LOOK_SECONDS = 0.5


class Stopped(Exception):  # noqa: N818 - it is no error
    """Somebody wants the server to end."""


def require_free(port: int) -> None:
    """Raise ``local/port-taken`` when something listens on the loopback port: gunicorn would try again for seconds."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            hint = f"another port: dae serve --port {port + 1}"
            raise CliError("local/port-taken", f"port {port}: {error.strerror}", hint) from None


class DevServer:
    """One app on one loopback port."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self._changes: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._running: Optional[plan.Server] = None

    def run(self) -> None:
        """Serve until a signal; raises what is wrong with the files when the first start is not possible."""
        wanted = plan.read(self.folder, os.environ, self.port)
        require_free(self.port)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _stop)
        watcher = Watcher(self.folder, self._changes.put)
        try:
            watcher.start()
            self._start(wanted)
            while True:
                self._look()
        except Stopped:
            output.step("Stopping")
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not leave children behind
            self._stop()
            watcher.stop()

    def _look(self) -> None:
        """Wait a moment for a change, and act on it; notice when the server ended by itself."""
        try:
            changed = self._changes.get(timeout=LOOK_SECONDS)
        except queue.Empty:
            self._notice_end()
            return
        while True:
            try:
                later = self._changes.get(timeout=QUIET_SECONDS)
            except queue.Empty:
                break
            if not Path(changed).exists():  # what an editor wrote aside, and renamed
                changed = later
        self._reload(os.path.relpath(changed, self.folder))

    def _reload(self, changed: str) -> None:
        try:
            wanted = plan.read(self.folder, os.environ, self.port)
        except (GrammarError, CliError) as error:
            output.error(CliError(error.code, error.cause, error.hint))
            output.detail("what ran before goes on")
            return
        output.step(f"{changed} changed, reloading")
        if self._process and self._process.poll() is None and wanted == self._running and wanted.reloads:
            self._process.send_signal(signal.SIGHUP)
            return
        self._stop()
        self._start(wanted)

    def _start(self, wanted: plan.Server) -> None:
        output.step(f"Serving {self.folder.name} (SDK) at http://localhost:{self.port}/")
        # In a session of its own: Ctrl-C reaches us alone, and we stop the whole group in order.
        self._process = subprocess.Popen(
            wanted.argv, cwd=self.folder, env=dict(wanted.environ), stdin=subprocess.DEVNULL, start_new_session=True
        )
        self._running = wanted

    def _notice_end(self) -> None:
        if self._process and self._process.poll() is not None:
            status = self._process.returncode
            self._stop()
            output.warn(f"the app ended with status {status}; it is started again when a file changes")

    def _stop(self) -> None:
        """Stop the process group: SIGTERM, a while, SIGKILL for what is left of it."""
        if self._process is None:
            return
        _signal_group(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            output.warn(f"the app did not stop within {STOP_SECONDS} s, and is killed")
        _signal_group(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # all of them ended
        os.killpg(pid, number)


def _stop(_number: int, _frame: Any) -> None:
    raise Stopped
