"""What the benchmarks share: a platform of their own, rows, and the table."""

from __future__ import annotations

import http.client
import json
import os
import platform as machine
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PYTHON = REPOSITORY / ".venv" / "bin" / "python"


def ensure_environment() -> None:
    """Run under the checkout's environment; make it first when this is a fresh clone."""
    if Path(sys.prefix) == REPOSITORY / ".venv":
        return
    subprocess.run(
        ["make", "-C", str(REPOSITORY), ".venv/.ready"], check=True, stdout=sys.stderr, stdin=subprocess.DEVNULL
    )
    os.execv(PYTHON, [str(PYTHON), *sys.argv])


@dataclass(frozen=True)
class Row:
    """One figure. ``ratio`` is value / reference; ``ok`` says whether the target is met (None: there is none)."""

    metric: str
    value: float
    unit: str
    reference: float | None = None
    ratio: float | None = None
    target: str = ""
    ok: bool | None = None


def row(
    metric: str,
    value: float,
    unit: str,
    *,
    floor: float | None = None,
    most: float | None = None,
    most_floors: float | None = None,
) -> Row:
    """A row whose reference is a floor of the same run, and whose target is an upper bound: in the same unit, or in
    floors."""
    bound = floor * most_floors if floor and most_floors else most
    shown = f"<= {most_floors:g}x" if most_floors else f"<= {most:g}" if most is not None else ""
    return Row(
        metric,
        round(value, 3),
        unit,
        round(floor, 3) if floor else None,
        round(value / floor, 2) if floor else None,
        shown,
        value <= bound if bound is not None else None,
    )


def print_table(title: str, rows: Sequence[Row]) -> None:
    cores, memory = os.cpu_count(), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    print(
        f"\n{title}\n{time.strftime('%Y-%m-%d')}, {cores} cores, {memory:.0f} GiB, Python {machine.python_version()}\n"
    )
    print(f"{'metric':58} {'value':>9} {'unit':6} {'floor':>8} {'ratio':>6}  target")
    for item in rows:
        reference = "" if item.reference is None else f"{item.reference:.3f}"
        ratio = "" if item.ratio is None else f"{item.ratio:.2f}"
        verdict = {True: "met", False: "MISSED", None: ""}[item.ok]
        print(f"{item.metric:58} {item.value:9.3f} {item.unit:6} {reference:>8} {ratio:>6}  {item.target} {verdict}")


def write_json(path: str, rows: Sequence[Row]) -> None:
    Path(path).write_text(json.dumps([asdict(item) for item in rows], indent=1) + "\n")


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class OwnPlatform:
    """A real platform with a home and a port of its own, started for the benchmark and erased after it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="daeb", dir="/tmp"))  # short: sockets live below
        self.folder.chmod(0o755)
        self.home = self.folder / "h"
        self.port = free_port()
        self.env = {
            **os.environ,
            "DAE_HOME": str(self.home),
            "DAE_PORT": str(self.port),
            "DAE_CONFIG": str(self.folder / "config"),
            "GIT_AUTHOR_NAME": "bench",
            "GIT_AUTHOR_EMAIL": "bench@localhost",
            "GIT_COMMITTER_NAME": "bench",
            "GIT_COMMITTER_EMAIL": "bench@localhost",
            "GIT_TERMINAL_PROMPT": "0",
        }

    def __enter__(self) -> OwnPlatform:
        self.dae("up")
        return self

    def __exit__(self, *_: object) -> None:
        self.dae("down", "--erase", "--confirm", str(self.home))
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *argv: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program to its end; a failure ends the benchmark with what it said."""
        done = subprocess.run(
            argv, cwd=cwd, env=self.env, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(argv)} failed:\n{done.stdout}{done.stderr}")
        return done

    def dae(self, *args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return self.run(str(PYTHON.with_name("dae")), *args, cwd=cwd)

    def git(self, *args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        return self.run("git", *args, cwd=cwd)

    def get(self, host: str, path: str = "/") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path, headers={"Host": host})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def wait_served(self, host: str, text: bytes, seconds: float = 60) -> None:
        """Return as soon as the host's page is ``text``."""
        deadline = time.monotonic() + seconds
        while self.get(host) != (200, text):
            if time.monotonic() > deadline:
                raise SystemExit(f"{host} does not serve {text!r}: {self.get(host)}")
            time.sleep(0.005)
