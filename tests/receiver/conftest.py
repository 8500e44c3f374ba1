"""A real door (gunicorn, gevent), a real git client, and a stand-in for control (see standin.py)."""

import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from control.accounts import add_user
from core.nouns import now
from core.paths import Home
from core.store import AppRow, Store
from receiver.repository import Repository
from tests.receiver.standin import KEY

ROOT = Path(__file__).parents[2]
DEADLINE = 20.0


def until(condition: Callable[[], object]) -> None:
    """Poll until the condition holds."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it did not become true"
        time.sleep(0.02)


def git_environ(home: Path) -> dict[str, str]:
    """A client without the configuration of whoever runs the tests."""
    who = {
        f"GIT_{role}_{key}": value
        for role in ("AUTHOR", "COMMITTER")
        for key, value in (("NAME", "Ann"), ("EMAIL", "a@b.c"))
    }
    clean = {"PATH": os.environ["PATH"], "HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    return {**clean, **who, "LC_ALL": "C.UTF-8"}


def kill_all(process: "subprocess.Popen[str]") -> None:
    """As Ctrl-C does it: git push and its helpers together."""
    os.killpg(process.pid, 9)
    process.wait()


class Clone:
    """A work tree and the git command in it."""

    def __init__(self, path: Path, url: str) -> None:
        self.path, self.url = path, url
        if not path.exists():
            path.mkdir(parents=True)
            self.git("init", "--quiet", "--initial-branch=master")
        self.git("remote", "add", "dae", url)

    def run(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        environ = {**git_environ(self.path.parent), **more}
        return subprocess.run(
            ["git", "-C", self.path, *words], env=environ, capture_output=True, text=True, errors="replace", timeout=60
        )

    def git(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["git", "-C", self.path, *words],
            env=git_environ(self.path.parent), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip

    def commit(self, scenario: str = "ok", files: Mapping[str, str | bytes] = {}) -> str:
        """Commit files (text, bytes); returns the commit."""
        for name, content in {"scenario": scenario, **files}.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.git("add", "--all", "--force")
        self.git("commit", "--quiet", "--allow-empty", "--message", "change")
        return self.git("rev-parse", "HEAD")

    def push(self, refspec: str = "HEAD:master", *flags: str) -> subprocess.CompletedProcess[str]:
        return self.run("push", *flags, "dae", refspec)


class Platform:
    """A home with a store, a door and the stand-in control."""

    def __init__(self, root: Path, **settings: str) -> None:
        self.home = Home(root)
        for folder in (self.home.repos, self.home.run, self.home.state):
            folder.mkdir(mode=0o700)
        (self.home.state / "internal.key").write_text(KEY + "\n")
        self.store = Store.at(self.home.database)
        self.store.migrate()
        self.tokens = {name: add_user(self.store, name) for name in ("ann", "bob")}
        self.environ = {"DAE_HOME": str(root), "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **settings}
        self.control = self.start_control()
        self.door, self.port = self.start_door()

    def start_control(self) -> "subprocess.Popen[bytes]":
        argv = [sys.executable, "-m", "tests.receiver.standin", str(self.home.root)]
        process = subprocess.Popen(argv, env=self.environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.stdout.close()
        return process

    def start_door(self) -> "tuple[subprocess.Popen[bytes], int]":
        log = self.home.root / "door.log"
        argv = [sys.executable, "-m", "gunicorn", "-k", "gevent", "-b", "127.0.0.1:0", "receiver.http:create_app()"]
        with log.open("wb") as stream:
            process = subprocess.Popen(argv, env=self.environ, stderr=stream, stdout=stream, cwd=ROOT)
        until(lambda: b"Booting worker" in log.read_bytes() or process.poll() is not None)
        found = re.search(r"Listening at: http://127.0.0.1:(\d+)", log.read_text())
        assert found, log.read_text()
        connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=DEADLINE)
        connection.request("GET", "/git/")
        assert connection.getresponse().status == 401, log.read_text()
        connection.close()
        return process, int(found[1])

    def kill_door(self) -> None:
        """SIGKILL to gunicorn's master and its worker at once."""
        children = Path(f"/proc/{self.door.pid}/task/{self.door.pid}/children").read_text().split()
        for pid in (self.door.pid, *map(int, children)):
            os.kill(pid, 9)
        self.door.wait()

    def close(self) -> None:
        if self.door.poll() is None:
            self.kill_door()
        self.control.kill()
        self.control.wait()
        for stream in (self.control.stdin,):
            if stream is not None:
                stream.close()
        self.store.close()

    def app(self, name: str, owner: str = "ann") -> Repository:
        repository = Repository(self.home, name)
        repository.create()
        with self.store.write() as session:
            session.add(AppRow(name=name, owner=owner, next_release=1, destroyed=False, created=now()))
        return repository

    def url(self, app: str, user: str = "ann", token: str = "") -> str:
        return f"http://{user}:{token or self.tokens[user]}@127.0.0.1:{self.port}/git/{app}.git"

    def clone(self, app: str, name: str = "work", user: str = "ann") -> Clone:
        return Clone(self.home.root / "clients" / app / name, self.url(app, user))

    def live(self, app: str) -> str | None:
        path = self.home.root / "live" / app
        return path.read_text() if path.exists() else None

    def push_states(self) -> list[dict[str, str]]:
        """What control has on record, one for each push."""
        return [json.loads(path.read_text()) for path in (self.home.root / "pushes").iterdir() if path.suffix != ".new"]

    def gate(self, name: str) -> Path:
        return self.home.root / "gates" / name

    def reached(self, name: str) -> bool:
        return (self.home.root / "gates" / f"{name}.reached").exists()


@pytest.fixture(scope="session")
def platform() -> Iterator[Platform]:
    yield from _platform()


@pytest.fixture
def own_platform() -> Iterator[Platform]:
    """One that the test may break."""
    yield from _platform()


@pytest.fixture(scope="session")
def small_platform() -> Iterator[Platform]:
    """One that takes pushes of 200 kB at most."""
    yield from _platform(DAE_PUSH_BYTES="200000")


def _platform(**settings: str) -> Iterator[Platform]:
    root = Path(tempfile.mkdtemp(prefix="dae-rcv-", dir="/tmp"))
    platform = Platform(root, **settings)
    yield platform
    platform.close()
    if os.environ.get("KEEP_LOG"):
        print((root / "door.log").read_text())
    shutil.rmtree(root)
