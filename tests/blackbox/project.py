"""An app's repository as a developer has it: written, committed and pushed with real git."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.conftest import RunningPlatform

Platform = RunningPlatform

APP_YAML = """\
handlers:
- url: /static/(.*)
  static_files: static/\\1
  upload: static/.*
- url: /.*
  wsgi_app: app:app
"""

APP = """\
from flask import Flask, request

app = Flask(__name__)


@app.route("/")
def home():
    return "{version}"


@app.route("/echo", methods=["POST"])
def echo():
    return request.get_data()
"""


@dataclass
class Project:
    """A working tree whose remote ``dae`` is an app on the platform."""

    platform: Platform
    folder: Path
    name: str

    @classmethod
    def create(cls, platform: Platform, folder: Path, name: str, files: Mapping[str, str] | None = None) -> Project:
        folder.mkdir(parents=True)
        project = cls(platform, folder, name)
        project.git("init", "--quiet", "--initial-branch=master")
        project.write(files or project.flask("one"))
        created = platform.dae("create", name, cwd=folder)
        assert created.returncode == 0, created.stderr
        project.commit("first")
        return project

    @staticmethod
    def flask(version: str) -> dict[str, str]:
        return {
            "app.yaml": APP_YAML,
            "app.py": APP.replace("{version}", version),
            "pip-req.txt": "flask\n",
            "static/hello.txt": f"static {version}\n",
        }

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def git(self, *args: str) -> subprocess.CompletedProcess[str]:
        return self.platform.git(*args, cwd=self.folder)

    def commit(self, message: str) -> str:
        self.git("add", "-A")
        done = self.git("commit", "--quiet", "--allow-empty", "-m", message)
        assert done.returncode == 0, done.stderr
        return self.head()

    def head(self) -> str:
        return self.git("rev-parse", "HEAD").stdout.strip()

    def push(self, refspec: str = "master") -> subprocess.CompletedProcess[str]:
        return self.git("push", "dae", refspec)

    def pushed(self, version: str) -> subprocess.CompletedProcess[str]:
        """Commit and push a version of the Flask app; it must go live."""
        self.write(self.flask(version))
        self.commit(version)
        done = self.push()
        assert done.returncode == 0, done.stderr
        return done

    def dae(self, *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return self.platform.dae(*args, cwd=self.folder, stdin=stdin)

    def get(self, path: str = "/", stage: str = "dev", **options: Any) -> tuple[int, Mapping[str, str], bytes]:
        host = f"{self.name}.localhost" if stage == "stable" else f"{self.name}.{stage}.localhost"
        return self.platform.get(host, path, **options)

    def remote_head(self, branch: str = "master") -> str:
        return self.git("ls-remote", "dae", f"refs/heads/{branch}").stdout.split("\t")[0]


@dataclass
class Seen:
    """What a loop of requests saw."""

    statuses: dict[str, int] = field(default_factory=dict)
    releases: list[str] = field(default_factory=list)

    def add(self, status: str, release: str) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if release and (not self.releases or self.releases[-1] != release):
            self.releases.append(release)


@contextmanager
def watched(project: Project, stage: str = "dev") -> Iterator[Seen]:
    """Ask the app for its page again and again while the block runs."""
    seen, stop = Seen(), threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                status, headers, _ = project.get("/", stage)
                seen.add(str(status), headers.get("X-DAE-Release", ""))
            except OSError as error:
                seen.add(type(error).__name__, "")
            stop.wait(0.02)

    asker = threading.Thread(target=ask, daemon=True)
    asker.start()
    try:
        yield seen
    finally:
        stop.set()
        asker.join(timeout=30)


def eventually(what: Any, seconds: float = 30) -> Any:
    """Call ``what`` until it returns something true, and return that; fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        asked = time.monotonic()
        try:
            found = what()
        except (OSError, AssertionError):
            found = None
        if found:
            return found
        assert time.monotonic() < deadline, f"{what} did not become true in {seconds} s"
        time.sleep(max(0.1, time.monotonic() - asked))  # the machine is for what is waited for, not for the asking
