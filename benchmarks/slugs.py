#!/usr/bin/env python3
"""What a hundred apps with ten releases each take on disk, against a virtual environment for each of those releases.

The apps share five distinct locks. The reference is measured in the same run: for each lock, pip installs it into a
virtual environment of its own, which counts once for each release; the app's files are counted with it. Also: how long
it takes to read every byte, and to collect what is beyond the policy. Runs alone from a fresh clone.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import _bench
from benchmarks._bench import OwnPlatform, Row

LOCKS = (
    ("flask", "requests"),
    ("django", "psycopg[binary]"),
    ("bottle", "jinja2", "redis"),
    ("falcon", "pydantic", "httpx"),
    ("pyramid", "sqlalchemy", "alembic"),
)
KEPT = 2  # releases that the policy keeps when the rest is collected
SHARE = 0.03  # of separate environments, bytes and inodes
PUSHES_AT_ONCE = 2
APP_YAML = "handlers:\n- url: /.*\n  wsgi_app: app:app\n"
APP = """\
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"release {release}"]
"""


@dataclass(frozen=True)
class Space:
    """Bytes that files take on the disk, and how many inodes."""

    bytes: int = 0
    inodes: int = 0

    def __add__(self, other: Space) -> Space:
        return Space(self.bytes + other.bytes, self.inodes + other.inodes)

    def times(self, number: int) -> Space:
        return Space(self.bytes * number, self.inodes * number)


def space(folders: Iterable[Path]) -> Space:
    """What everything below ``folders`` takes; a file with several names counts once."""
    seen: dict[tuple[int, int], int] = {}
    for folder in folders:
        for path in (folder, *folder.rglob("*")):
            status = path.lstat()
            seen[status.st_dev, status.st_ino] = status.st_blocks * 512
    return Space(sum(seen.values()), len(seen))


@dataclass(frozen=True)
class App:
    """One app: its folder on the developer's side, and which of LOCKS it has."""

    platform: OwnPlatform
    number: int

    @property
    def name(self) -> str:
        return f"app{self.number}"

    @property
    def lock(self) -> int:
        return self.number % len(LOCKS)

    @property
    def folder(self) -> Path:
        return self.platform.folder / self.name

    def create(self) -> None:
        self.folder.mkdir()
        self.platform.git("init", "--quiet", "--initial-branch=master", cwd=self.folder)
        (self.folder / "app.yaml").write_text(APP_YAML)
        (self.folder / "pip-req.txt").write_text("".join(f"{name}\n" for name in LOCKS[self.lock]))
        package = self.folder / "lib"
        package.mkdir()
        for number in range(10):
            (package / f"m{number}.py").write_text(f"def f(x):\n    return x + {self.number} + {number}\n" * 30)
        self.platform.dae("create", self.name, cwd=self.folder)

    def push(self, release: int) -> None:
        (self.folder / "app.py").write_text(APP.replace("{release}", str(release)))
        self.platform.git("add", "-A", cwd=self.folder)
        self.platform.git("commit", "--quiet", "-m", f"release {release}", cwd=self.folder)
        self.platform.git("push", "--quiet", "dae", "master", cwd=self.folder)

    def code(self) -> Space:
        """The files of a release with their bytecode, as the platform has them."""
        layers = self.platform.home / "layers" / "code" / self.name
        return space([next(path for path in layers.iterdir() if path.is_dir())])

    def environment(self) -> Space:
        """A virtual environment of its own with the very lock that the platform installed."""
        slug = json.loads(self.platform.dae("slugs", "--json", cwd=self.folder).stdout)[0]["slug"]
        lock, place = self.folder / "lock.txt", self.platform.folder / f"venv{self.lock}"
        lock.write_text(self.platform.dae("slugs", "lock", slug, cwd=self.folder).stdout)
        self.platform.run(str(_bench.PYTHON), "-m", "venv", str(place))
        index = f"http://127.0.0.1:{self.platform.port}/pypi/simple/"
        pip = [str(place / "bin" / "pip"), "install", "--quiet", "--no-deps", "--require-hashes"]
        self.platform.run(*pip, "--index-url", index, "-r", str(lock))
        return space([place])


def releases(apps: list[App], number: int) -> float:
    """Push all apps ``number`` times; returns the seconds that it took."""
    started = time.perf_counter()
    done = 0
    with ThreadPoolExecutor(PUSHES_AT_ONCE) as pool:
        for release in range(1, number + 1):
            for _ in pool.map(lambda app, r=release: app.push(r), apps):
                done += 1
            print(f"{done} releases, {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return time.perf_counter() - started


def separate(apps: list[App], number: int) -> Space:
    """What the releases would take if each had a virtual environment and a folder of its own."""
    environments = [apps[lock].environment() for lock in range(len(LOCKS))]
    return sum(((environments[app.lock] + app.code()).times(number) for app in apps), Space())


def timed(platform: OwnPlatform, *command: str) -> tuple[float, dict[str, object]]:
    """Seconds that a command of the platform took, and its result."""
    started = time.perf_counter()
    answer: dict[str, object] = json.loads(platform.dae(*command, "--json").stdout)
    return time.perf_counter() - started, answer


def age(platform: OwnPlatform) -> None:
    """Let all builds have ended yesterday: what was built within the hour is never collected."""
    with closing(sqlite3.connect(platform.home / "state" / "dae.db", timeout=10)) as database, database:
        database.execute("update builds set finished = datetime(finished, '-1 day')")


def measure(platform: OwnPlatform, count: int, number: int) -> Iterator[Row]:
    apps = [App(platform, index) for index in range(count)]
    for app in apps:
        app.create()
    seconds = releases(apps, number)
    yield Row(f"{count * number} pushes, {PUSHES_AT_ONCE} at a time", round(seconds, 1), "s")
    home = platform.home
    ours, theirs = space([home / "layers", home / "slugs", home / "locks"]), separate(apps, number)
    for what, value, reference in (("bytes", ours.bytes, theirs.bytes), ("inodes", ours.inodes, theirs.inodes)):
        unit, scale = ("MB", 1e6) if what == "bytes" else ("k", 1e3)
        share = value / reference
        label = f"{what} on disk, {count} apps x {number} releases, {len(LOCKS)} locks"
        yield Row(label, round(value / scale, 1), unit, round(reference / scale, 1), round(share, 4),
                  f"<= {SHARE} of them", share <= SHARE)  # fmt: skip
    took, verdict = timed(platform, "slugs", "verify", "--all-apps")
    if verdict["damaged"]:
        raise SystemExit(f"layers are damaged: {verdict['damaged']}")
    yield Row("read and compare every byte of them", round(took, 2), "s")
    age(platform)
    took, removed = timed(platform, "gc")
    if removed["slugs"] != count * max(0, number - KEPT):
        raise SystemExit(f"collected something else than what was to be: {removed}")
    yield Row(f"collect {removed['slugs']} slugs and their layers, {KEPT} for each app stay", round(took, 2), "s")
    took, _ = timed(platform, "gc")
    yield Row("collect again: nothing to remove", round(took, 2), "s")


def main() -> None:
    _bench.ensure_environment()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="10 apps with 3 releases each")
    parser.add_argument("--json", metavar="FILE")
    arguments = parser.parse_args()
    os.environ.update(DAE_KEEP_RELEASES=str(KEPT), DAE_COLLECT_EVERY="0", DAE_VERIFY_EVERY="0")
    with OwnPlatform() as platform:
        rows = list(measure(platform, *((10, 3) if arguments.quick else (100, 10))))
    _bench.print_table("Slugs on disk", rows)
    if arguments.json:
        _bench.write_json(arguments.json, rows)


if __name__ == "__main__":
    main()
