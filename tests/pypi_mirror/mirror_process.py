"""The mirror as it runs: a real gunicorn with a gevent worker, on a port of its own choosing."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

DEADLINE = 20.0
Found = TypeVar("Found")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class MirrorProcess:
    """``get`` asks it; ``stop`` and ``start`` restart it on the same home.

    ``bind``: where it listens besides. ``account``: the UNIX account that it runs as, this one's without. ``options``:
    more of gunicorn's.
    """

    def __init__(
        self,
        home: Path,
        upstream: str,
        ttl: int = 600,
        environ: Mapping[str, str] | None = None,
        *,
        bind: str = "",
        account: str | None = None,
        options: Sequence[str] = (),
    ) -> None:
        self.home = home
        (home / "run").mkdir(exist_ok=True)
        self._bind = ["-b", bind or f"unix:{home}/run/mirror.sock", *options]
        self._account = account
        self._environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "DAE_HOME": str(home),
            "DAE_UPSTREAM": upstream,
            "DAE_INDEX_TTL": str(ttl),
            "PIP_CONFIG_FILE": os.devnull,
            **(environ or {}),
        }
        self.start()

    def start(self, ready: int = 200) -> None:
        self.log = self.home / "mirror.log"
        (self.home / "run").mkdir(exist_ok=True)
        argv = [sys.executable, "-I", "-m", "gunicorn", "-k", "gevent", "-w", "1", "--no-control-socket"]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*argv, "-b", "127.0.0.1:0", *self._bind, "pypi_mirror.http:create_app()"],
                env=self._environ,
                cwd=self.home,
                stdout=log,
                stderr=log,
                start_new_session=True,
                umask=0o077,  # as the platform's parts have it
                user=self._account,
                group=self._account,
                extra_groups=[] if self._account else None,
            )
        found = poll(lambda: re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", self.log.read_text()))
        self.port = int(found[1])
        assert self.get("/pypi/simple/").status == ready

    def stop(self) -> None:
        """Kill it, workers and all, as a crash would."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def memory(self) -> int:
        """The bytes of memory that its processes have now: their own, and their part of what is shared (PSS)."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in (self._process.pid, *children)]
        return sum(int(re.findall(r"^Pss:\s+(\d+)", text, re.M)[0]) << 10 for text in rollups)

    def peak_memory(self) -> int:
        """The most bytes of memory that one of its processes had so far."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        status = [Path(f"/proc/{pid}/status").read_text() for pid in children]
        return max(int(re.findall(r"VmHWM:\s+(\d+)", text)[0]) << 10 for text in status)

    @property
    def pid(self) -> int:
        """The id of its group of processes."""
        return self._process.pid

    @property
    def index(self) -> str:
        return f"http://127.0.0.1:{self.port}/pypi/simple/"

    def get(self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> Answer:
        """Send the path as it is, hostile or not, and read the answer; redirects are not followed."""
        return ask(self.port, path, headers, method)


def ask(port: int, path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> Answer:
    """The answer of the server on that port of loopback, to the path as it is."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for key, value in (headers or {}).items():
            connection.putheader(key, value)
        connection.endheaders()
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


def poll(look: Callable[[], Found | None]) -> Found:
    """What ``look`` finds, as soon as it finds something."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come to pass in time")
