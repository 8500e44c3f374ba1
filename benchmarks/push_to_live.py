#!/usr/bin/env python3
"""From `git push` to the first page of the new release, against the floor measured in the same run.

The floor is what no platform on this machine can avoid: a raw push of the same commit to a bare repository, an archive
of it unpacked, and gunicorn started in the same environment until it answers. Runs alone from a fresh clone.
"""

from __future__ import annotations

import argparse
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import _bench
from benchmarks._bench import OwnPlatform, Row, median, row

APP_YAML = "handlers:\n- url: /.*\n  wsgi_app: app:app\n"
SMALL = ("flask",)
#: What many apps ask for together. Not python-dateutil: boto3 does not take its newest version, and every resolver then
#: walks back through a thousand versions of boto3.
LARGE = (
    "django",
    "flask",
    "sqlalchemy",
    "requests",
    "jinja2",
    "pyyaml",
    "redis",
    "celery",
    "pillow",
    "lxml",
    "cryptography",
    "numpy",
    "pydantic",
    "alembic",
    "httpx",
    "rich",
    "beautifulsoup4",
    "psycopg[binary]",
    "boto3",
    "marshmallow",
    "babel",
    "sentry-sdk",
    "prometheus-client",
    "orjson",
    "tenacity",
)
ADDED = ("markdown", "toolz", "tabulate", "humanize", "xmltodict")
#: What the small app must keep to, in seconds, and what the large one's one-line change may take in floors.
TARGETS = {"first": 1.5, "line": 1.0, "added": 1.2, "rollback": 0.5}
LARGE_LINE = 1.3


@dataclass
class Bench:
    """One app on the platform, and its measured pushes."""

    platform: OwnPlatform
    name: str
    requirements: tuple[str, ...]
    modules: int
    version: int = 0
    served: bytes = b""  # what was served before the last push, to which a rollback goes back

    @property
    def folder(self) -> Path:
        return self.platform.folder / self.name

    @property
    def host(self) -> str:
        return f"{self.name}.dev.localhost"

    @property
    def text(self) -> bytes:
        return f"version {self.version}".encode()

    def create(self) -> None:
        self.folder.mkdir()
        self.platform.git("init", "--quiet", "--initial-branch=master", cwd=self.folder)
        (self.folder / "app.yaml").write_text(APP_YAML)
        package = self.folder / "lib"
        package.mkdir()
        for number in range(self.modules):
            (package / f"m{number}.py").write_text(f"def f(x):\n    return x + {number}\n" * 20)
        self.platform.dae("create", self.name, cwd=self.folder)

    def change(self, requirements: tuple[str, ...]) -> None:
        """Change one line (and the requirements when they differ) and commit."""
        self.version += 1
        (self.folder / "app.py").write_text(
            f"from flask import Flask\n\napp = Flask(__name__)\napp.route('/')(lambda: 'version {self.version}')\n"
        )
        (self.folder / "pip-req.txt").write_text("\n".join(requirements) + "\n")
        self.platform.git("add", "-A", cwd=self.folder)
        self.platform.git("commit", "--quiet", "-m", f"version {self.version}", cwd=self.folder)

    def push(self, requirements: tuple[str, ...] | None = None) -> float:
        """Seconds from the push to the first page of the new release."""
        before = self.text
        self.change(requirements or self.requirements)
        start = time.perf_counter()
        self.platform.git("push", "--quiet", "dae", "master", cwd=self.folder)
        self.served = before
        self.platform.wait_served(self.host, self.text)
        return time.perf_counter() - start

    def roll_back(self) -> float:
        """Seconds from `dae rollback` to the first page of the old release, then forward again."""
        old = self.served
        start = time.perf_counter()
        process = subprocess.Popen(
            [str(_bench.PYTHON.with_name("dae")), "rollback"], cwd=self.folder, env=self.platform.env,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.platform.wait_served(self.host, old)
        seconds = time.perf_counter() - start
        if process.wait():
            raise SystemExit("the rollback failed")
        self.push()  # on to the next version, so that the next rollback has something to go back from
        self.served = old  # not the one that was rolled back from
        return seconds

    def forget_builds(self, *, packages: bool = False) -> None:
        """As with another app: nothing is locked, this environment is not there, nor (``packages``) what is in it."""
        for folder in ("layers/env", "locks", *(["layers/pkg"] if packages else [])):
            path = self.platform.home / folder
            for entry in path.iterdir():
                if entry.name == "chosen" and not packages:
                    continue  # notes on the index's pages: what has these packages for another app has them, too
                # Folders only: a file here is the package's own, and one that anybody touched is not used again.
                subprocess.run(["find", str(entry), "-type", "d", "-exec", "chmod", "u+w", "{}", "+"], check=True)
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def floor(self) -> float:
        """Raw push + archive + gunicorn boot of the last version, in seconds."""
        bare, tree = self.platform.folder / f"{self.name}.bare", self.platform.folder / f"{self.name}.tree"
        if not bare.exists():
            self.platform.git("init", "--quiet", "--bare", str(bare), cwd=self.folder)
            self.platform.git("push", "--quiet", str(bare), "master", cwd=self.folder)
        shutil.rmtree(tree, ignore_errors=True)
        tree.mkdir()
        self.change(self.requirements)
        (environment,) = [e for e in (self.platform.home / "layers" / "env").iterdir() if self._is_mine(e)][:1]
        start = time.perf_counter()
        self.platform.git("push", "--quiet", str(bare), "master", cwd=self.folder)
        archive = subprocess.Popen(["git", "--git-dir", str(bare), "archive", "master"], stdout=subprocess.PIPE)
        subprocess.run(["tar", "-x", "-C", str(tree)], stdin=archive.stdout, check=True)
        archive.wait()
        seconds = time.perf_counter() - start + self._boot(environment, tree)
        self.platform.git("push", "--quiet", "dae", "master", cwd=self.folder)
        return seconds

    def _is_mine(self, environment: Path) -> bool:
        return next(environment.glob("lib/python*/site-packages/flask"), None) is not None

    def _boot(self, environment: Path, tree: Path) -> float:
        path = self.platform.folder / "floor.sock"
        start = time.perf_counter()
        process = subprocess.Popen(
            [str(environment / "bin" / "python"), "-m", "gunicorn", "-k", "gevent", "--no-control-socket", "-b",
             f"unix:{path}", "app:app"],
            cwd=tree, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            while not _answers(path):
                if process.poll() is not None:
                    raise SystemExit("the floor's gunicorn did not start")
                time.sleep(0.005)
            return time.perf_counter() - start
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def _answers(path: Path) -> bool:
    connection = http.client.HTTPConnection("localhost", timeout=5)
    connection.sock = socket.socket(socket.AF_UNIX)
    try:
        connection.sock.connect(str(path))
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def measure(bench: Bench, label: str, times: int, *, small: bool) -> list[Row]:
    """All rows of one app. Floor and one-line change take turns: what else the machine does meets both."""
    bench.create()
    cold = bench.push()
    bench.push((*bench.requirements, *ADDED))  # so that the mirror holds what is added one by one below
    firsts: dict[bool, list[float]] = {True: [], False: []}
    for packages, seconds in firsts.items():
        for _ in range(times):
            bench.forget_builds(packages=packages)
            seconds.append(bench.push())
    added = [bench.push((*bench.requirements, package)) for package in ADDED[:times]]
    bench.push()
    turns = [(bench.push(), bench.floor()) for _ in range(times)]
    bench.push()  # so that a rollback has something to go back from
    rollbacks = [bench.roll_back() for _ in range(times)]
    floor = median([seconds for _line, seconds in turns])
    line = median([seconds for seconds, _floor in turns])

    def against(what: str, value: float, target: str = "", most_floors: float | None = None) -> Row:
        most = TARGETS[target] if small and target else None
        return row(f"{label}: {what}", value, "s", floor=floor, most=most, most_floors=most_floors)

    return [
        Row(f"{label}: floor (raw push + archive + gunicorn boot)", round(floor, 3), "s"),
        against("first push, cold mirror", cold),
        against("first push, only the mirror warm", median(firsts[True])),
        against("first push, caches warm", median(firsts[False]), "first"),
        against("one-line change", line, "line", None if small else LARGE_LINE),
        against("one requirement added", median(added), "added"),
        against("rollback, asked -> served", median(rollbacks), "rollback"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", metavar="FILE", help="also write the rows there")
    parser.add_argument("--quick", action="store_true", help="the small app only, once each")
    arguments = parser.parse_args()
    times = 1 if arguments.quick else 5
    with OwnPlatform() as platform:
        rows = measure(Bench(platform, "small", SMALL, modules=5), "small app", times, small=True)
        if not arguments.quick:
            rows += measure(Bench(platform, "large", LARGE, modules=800), "large app", times, small=False)
    _bench.print_table("push to live", rows)
    if arguments.json:
        _bench.write_json(arguments.json, rows)


if __name__ == "__main__":
    _bench.ensure_environment()
    main()
