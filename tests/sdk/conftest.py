"""The command as its user types it: a process of its own, in a folder of its own, with nobody else's configuration."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.sdk.platform import TOKEN, Platform, running

DAE = Path(sys.executable).parent / "dae"


@dataclass
class Person:
    """Somebody at a shell: a home, a current folder, an environment."""

    home: Path
    folder: Path
    environ: dict[str, str] = field(default_factory=dict)

    def dae(self, *words: str, stdin: str = "", status: int = 0) -> subprocess.CompletedProcess[str]:
        """Type ``dae WORDS``; the exit status must be ``status``."""
        done = self.run([str(DAE), *words], stdin)
        assert done.returncode == status, f"status {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def run(self, argv: list[str], stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv,
            cwd=self.folder,
            env=self.environ,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def git(self, *words: str) -> str:
        done = self.run(["git", *words])
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture
def person(tmp_path: Path) -> Person:
    home, folder = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    folder.mkdir()
    (home / ".gitconfig").write_text("[user]\nname = Ann\nemail = ann@example.com\n[init]\ndefaultBranch = trunk\n")
    environ = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "GIT_CONFIG_NOSYSTEM": "1"}
    return Person(home, folder, environ)


@pytest.fixture
def platform() -> Iterator[Platform]:
    with running() as found:
        yield found


@pytest.fixture
def ann(person: Person, platform: Platform) -> Person:
    """A person who is logged in to ``platform``."""
    person.dae("login", "--url", platform.url, "--token-stdin", stdin=TOKEN + "\n")
    return person
