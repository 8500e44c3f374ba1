"""The other index servers, installed into an environment of their own and started before the same upstream."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks import _bench

PACKAGES = {"devpi": "devpi-server", "proxpi": "proxpi"}


@dataclass(frozen=True)
class Rival:
    """A server that runs: its index is at ``path`` on ``port``."""

    port: int
    path: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.path}"


@contextmanager
def rival(name: str, folder: Path, upstream: str) -> Iterator[Rival]:
    """Install and run it. Raises RuntimeError with the reason when it cannot be had here."""
    place = folder / name
    _run(_bench.PYTHON.with_name("virtualenv"), "-q", "--no-seed", "--python", _bench.PYTHON, place)
    pip: list[str | Path] = [_bench.PYTHON, "-m", "pip", "--python", place / "bin" / "python", "install", "-q"]
    _run(*pip, "--disable-pip-version-check", PACKAGES[name])
    port = _bench.free_port()
    argv, environ = (_devpi if name == "devpi" else _proxpi)(place, port, upstream)
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, env={**os.environ, **environ}, start_new_session=True)
    try:
        _wait(port)
        if name == "devpi":
            _devpi_index(port, upstream)
        yield Rival(port, "/root/up/+simple/" if name == "devpi" else "/index/")
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _devpi(place: Path, port: int, _upstream: str) -> tuple[list[str], dict[str, str]]:
    data = str(place / "data")
    _run(place / "bin" / "devpi-init", "--serverdir", data)
    return [str(place / "bin" / "devpi-server"), "--serverdir", data, "--port", str(port)], {}


def _devpi_index(port: int, upstream: str) -> None:
    token = _ask(port, "POST", "/+login", {"user": "root", "password": ""}, "")["password"]
    secret = base64.b64encode(f"root:{token}".encode()).decode()
    _ask(port, "PUT", "/root/up", {"type": "mirror", "mirror_url": upstream, "volatile": True}, secret)


def _proxpi(place: Path, port: int, upstream: str) -> tuple[list[str], dict[str, str]]:
    python = str(place / "bin" / "python")
    argv = [python, "-m", "flask", "--app", "proxpi.server", "run", "--with-threads", "--port", str(port)]
    return argv, {"PROXPI_INDEX_URL": upstream, "PROXPI_DISABLE_INDEX_SSL_VERIFICATION": "1"}


def _ask(port: int, method: str, path: str, body: dict[str, object], secret: str) -> dict[str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    connection.request(method, path, json.dumps(body), headers | ({"X-Devpi-Auth": secret} if secret else {}))
    answer = connection.getresponse()
    text = answer.read()
    if answer.status not in (200, 201):
        raise RuntimeError(f"{path} answered {answer.status}: {text[:200]!r}")
    found: dict[str, str] = json.loads(text).get("result", {})
    return found


def _wait(port: int, seconds: float = 40) -> None:
    _until(lambda: _answers(port), seconds)


def _until(look: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            raise RuntimeError("it did not start")
        time.sleep(0.1)


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status < 500
    except OSError:
        return False
    finally:
        connection.close()


def _run(*argv: str | Path) -> None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{Path(argv[0]).name} took too long") from error
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["it failed"])[-1][:200])
