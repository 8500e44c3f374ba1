"""A real platform for black-box tests: its own home, port, accounts and logins; everything is gone afterwards."""

from __future__ import annotations

import fcntl
import grp
import http.client
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings
from urllib3 import HTTPHeaderDict

from core.config import Settings
from dae.cli.credentials import Credentials

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = "TESTS_SHARED_FOLDER"
SECONDS = 150  # more than any one command of a test may take

# Tests never time things: beside others an example may take any time.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@dataclass
class RunningPlatform:
    """A platform that was brought up with ``dae up``, and the ways in that a user has."""

    folder: Path
    port: int
    checkout: Path = REPOSITORY
    account: str = ""  # runs everything as that UNIX account; empty: as whoever runs the tests
    environ: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        return self.folder / "h"

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        """The environment of the user's commands."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("DAE_", "GIT_"))}
        return {
            **inherited,
            "PATH": f"{self.checkout / '.venv' / 'bin'}:{os.environ['PATH']}",
            "DAE_HOME": str(self.home),
            "DAE_PORT": str(self.port),
            "DAE_CONFIG": str(self.folder / "config"),
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            **{f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in PERSON.items()},
            **self.environ,
        }

    def run(
        self, *argv: str | Path, cwd: Path | None = None, stdin: str = "", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end as this platform's user; stdout and stderr are text."""
        switch = ["setpriv", "--reuid", self.account, "--regid", self.account, "--init-groups"] if self.account else []
        return subprocess.run(
            [*switch, *argv],
            cwd=cwd or self.folder,
            env={**self.env, **(env or {})},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def dae(
        self, *args: str, cwd: Path | None = None, stdin: str = "", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return self.run(self.checkout / ".venv" / "bin" / "dae", *args, cwd=cwd, stdin=stdin, env=env)

    def git(self, *args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return self.run("git", *args, cwd=cwd)

    def get(
        self,
        host: str,
        path: str = "/",
        *,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Ask the public door for a host: status, headers (by name in any case), body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body=body, headers={"Host": f"{host}:{self.port}", **(headers or {})})
            answer = connection.getresponse()
            return answer.status, HTTPHeaderDict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def env_token(self) -> str:
        """The token that ``dae up`` logged the user in with."""
        login = Credentials(self.folder / "config").get(self.url)
        assert login is not None
        return login.token

    def erase(self) -> None:
        """Stop it and remove all that it made."""
        if self.home.exists():
            erased = self.dae("down", "--erase", "--confirm", str(self.home))
            assert erased.returncode == 0, erased.stdout + erased.stderr
            assert not self.home.exists()
            account = Settings(self.home).account
            assert [entry.gr_name for entry in grp.getgrall() if entry.gr_name.startswith(account)] == []
            assert [entry.pw_name for entry in pwd.getpwall() if entry.pw_name.startswith(account)] == []


PERSON = {"NAME": "Test", "EMAIL": "test@example.com"}


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def platform_folder() -> Iterator[Path]:
    """A folder with a short path, for the sake of unix sockets; closed to others, as ``mktemp -d`` makes it."""
    folder = Path(tempfile.mkdtemp(prefix="dae", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def erased(platform: RunningPlatform) -> Iterator[RunningPlatform]:
    """Whatever the block makes of the platform is gone after it."""
    try:
        yield platform
    finally:
        platform.erase()


def pytest_configure(config: pytest.Config) -> None:
    """The first process of a run makes the folder that all its workers share."""
    if SHARED not in os.environ:
        os.environ[SHARED] = tempfile.mkdtemp(prefix="daes", dir="/tmp")
        config.add_cleanup(lambda: shutil.rmtree(os.environ.pop(SHARED)))


def bring_up(platform: RunningPlatform) -> subprocess.CompletedProcess[str]:
    """``dae up``, which must succeed."""
    if platform.account or (platform.home / "platform").exists():
        return _up(platform)
    with (Path(os.environ[SHARED]) / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        first = not _lay_copy(platform)
        if first:
            up = _up(platform)
            _keep_copy(platform)
    return up if first else _up(platform)


def _up(platform: RunningPlatform) -> subprocess.CompletedProcess[str]:
    up = platform.dae("up")
    if up.returncode != 0:
        pytest.fail(f"dae up failed:\n{up.stdout}{up.stderr}", pytrace=False)
    return up


def _keep_copy(platform: RunningPlatform) -> None:
    """Keep what ``dae up`` installed, and where that was: nothing is written to it any more."""
    skipped = shutil.ignore_patterns("lock", "current")
    kept = Path(os.environ[SHARED]) / "platform"
    shutil.copytree(platform.home / "platform", kept, ignore=skipped, symlinks=True, copy_function=_link)
    (Path(os.environ[SHARED]) / "home").write_text(str(platform.home))


def _lay_copy(platform: RunningPlatform) -> bool:
    """Put what was kept where ``dae up`` looks for it, by a name that tells whether it is of this very checkout."""
    shared = Path(os.environ[SHARED])
    if not (shared / "home").exists():
        return False
    shutil.copytree(shared / "platform", platform.home / "platform", symlinks=True, copy_function=_link)
    old, new = (shared / "home").read_bytes(), bytes(platform.home)
    for script in (platform.home / "platform").glob("*/bin/*"):
        if not script.is_symlink() and old in (text := script.read_bytes()):
            script.unlink()
            script.write_bytes(text.replace(old, new))
            script.chmod(0o755)
    return True


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # another disk
        shutil.copy2(source, target, follow_symlinks=False)


@pytest.fixture(scope="session")
def platform() -> Iterator[RunningPlatform]:
    """One platform for all tests that only use it: as root when the tests run as root."""
    environ = {"DAE_HOOK_NETWORKS": "127.0.0.0/8"}  # so that webhooks may go to the tests' own receiver
    with platform_folder() as folder, erased(RunningPlatform(folder, free_port(), environ=environ)) as made:
        bring_up(made)
        yield made


@pytest.fixture
def new_platform() -> Iterator[Callable[[], RunningPlatform]]:
    """Makes platforms that are not up yet, for tests that start and stop them."""
    with ExitStack() as stack:

        def make() -> RunningPlatform:
            folder = stack.enter_context(platform_folder())
            return stack.enter_context(erased(RunningPlatform(folder, free_port())))

        yield make


@pytest.fixture(scope="session")
def plain_checkout() -> Iterator[RunningPlatform]:
    """A checkout with its ``.venv``, of a user who is not root; no platform runs in it yet."""
    if os.geteuid() != 0:
        with platform_folder() as folder:
            yield RunningPlatform(folder, free_port())
        return
    with platform_folder() as folder, _user(folder) as account:
        made = RunningPlatform(folder, free_port(), folder / "src", account, _cache(folder))
        _copy_checkout(made.checkout)
        _give(folder, account)
        ready = made.run("make", ".venv/.ready", cwd=made.checkout)
        assert ready.returncode == 0, ready.stdout + ready.stderr
        yield made


@contextmanager
def _user(folder: Path) -> Iterator[str]:
    """A UNIX account for a while."""
    name = "daet" + secrets.token_hex(3)
    subprocess.run(["useradd", "--no-create-home", "--home-dir", folder, "--user-group", name], check=True)
    try:
        yield name
    finally:
        subprocess.run(["userdel", name], check=True, capture_output=True)


def _cache(folder: Path) -> dict[str, str]:
    """A copy of what was downloaded already of our own dependencies: the tests of one run ask the index once."""
    argv = [sys.executable, "-m", "uv", "cache", "dir"]
    ours = Path(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip())
    if ours.is_dir():
        shutil.copytree(ours, folder / "cache", symlinks=True, ignore=_of_others)
    return {"HOME": str(folder), "UV_CACHE_DIR": str(folder / "cache")}


def _of_others(folder: str, names: list[str]) -> list[str]:
    """Of uv's unpacked wheels those of nothing that is installed here, and our own: each ``dae up`` left two."""
    if not Path(folder).name.startswith("archive-"):
        return []
    packages = Path(pytest.__file__).parents[1]
    wanted = {path.name.partition("-")[0] for path in packages.glob("*.dist-info")} - {"dae", "dae_platform"}

    def brings(name: str) -> set[str]:
        return {path.name.partition("-")[0] for path in (Path(folder) / name).glob("*.dist-info")}

    return [name for name in names if not wanted & brings(name)]


def _copy_checkout(target: Path) -> None:
    skipped = shutil.ignore_patterns(".git", ".venv", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis", "build")
    shutil.copytree(REPOSITORY, target, ignore=skipped, symlinks=True)


def _give(folder: Path, account: str) -> None:
    entry = pwd.getpwnam(account)
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)
