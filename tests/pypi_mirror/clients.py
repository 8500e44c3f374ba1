"""Real clients of the index, cut off from this machine's configuration, each installed once in a run of the tests."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.pypi_mirror.front import Front
from tests.pypi_mirror.mirror_process import poll

HERE = Path(sys.executable)
#: The oldest pip that runs on this interpreter: pips before it import what Python has no more.
OLDEST = "19.2.3" if sys.version_info < (3, 12) else "23.2"
CLIENTS = {"old-pip": f"pip=={OLDEST}", "new-pip": "pip"}
PIPS: Sequence[str] = ("old-pip", "own-pip", "new-pip")
UV = HERE.with_name("uv")
#: The virtual environment in which a client is.
Clients = Callable[[str], Path]


def run(tmp_path: Path, *argv: str | Path) -> str:
    """What a client says that is run in a folder; it must succeed."""
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "UV_NO_CONFIG": "1",
        "UV_CACHE_DIR": str(tmp_path / "uv-cache"),
    }
    done = subprocess.run(argv, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def installed(folder: Path, name: str) -> Path:
    """A client's virtual environment in ``folder``; who comes first makes it, from the index of this machine."""
    place = folder / name
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "ready").exists():
            _install([HERE.with_name("virtualenv"), "-q", "--clear", "--no-seed", "--python", HERE, place])
            _install([UV, "pip", "install", "-q", "--python", place / "bin" / "python", CLIENTS.get(name, name)])
            (place / "ready").touch()
    return place


def _install(argv: list[str | Path]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


class Ground:
    """Runs clients in a folder of their own, with nothing of this machine's settings."""

    def __init__(self, folder: Path, site: Front, clients: Clients) -> None:
        self.folder = folder
        self.site = site
        self.clients = clients

    def run(self, *argv: str | Path, fails: bool = False, **environ: str) -> str:
        """What the program says, on both of its streams."""
        clean = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "UV_NO_CONFIG": "1",
            "UV_CACHE_DIR": str(self.folder / "uv-cache"),
            "UV_PYTHON_DOWNLOADS": "never",
        }
        done = subprocess.run(
            argv, env=clean | environ, cwd=self.folder, capture_output=True, text=True, timeout=100, check=False
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    def pip(self, name: str, *argv: str | Path, fails: bool = False) -> str:
        python = HERE if name == "own-pip" else self.clients(name) / "bin" / "python"
        command, *rest = argv
        index = ["--no-cache-dir", "-i", self.site.index]
        return self.run(python, "-m", "pip", "--isolated", command, *index, *rest, fails=fails)

    def uv(self, *argv: str | Path, fails: bool = False, **environ: str) -> str:
        return self.run(HERE.with_name("uv"), *argv, fails=fails, UV_INDEX_URL=self.site.index, **environ)

    def write_poetry(self, requires: str) -> None:
        """A project of poetry's that has the index as its only source."""
        index = self.site.index
        self.write(
            "pyproject.toml",
            f'[project]\nname = "mine"\nversion = "1"\nrequires-python = ">=3.11,<3.99"\n'
            f'dependencies = ["{requires}"]\n'
            f'[tool.poetry]\npackage-mode = false\n[[tool.poetry.source]]\nname = "dae"\nurl = "{index}"\n',
        )

    def poetry(self, *argv: str, fails: bool = False) -> str:
        return self.run(
            self.clients("poetry") / "bin" / "poetry",
            *argv,
            fails=fails,
            POETRY_VIRTUALENVS_IN_PROJECT="true",
            POETRY_CACHE_DIR=str(self.folder / "cache"),
            PYTHON_KEYRING_BACKEND="keyring.backends.null.Keyring",
        )

    def write_pipenv(self, requires: str) -> None:
        """A project of pipenv's, the same."""
        source = f'[[source]]\nname = "dae"\nurl = "{self.site.index}"\nverify_ssl = false\n'
        self.write("Pipfile", f'{source}[packages]\n{requires} = "*"\n')

    def pipenv(self, *argv: str, fails: bool = False) -> str:
        return self.run(
            self.clients("pipenv") / "bin" / "pipenv",
            *argv,
            fails=fails,
            PIPENV_VENV_IN_PROJECT="1",
            PIPENV_CACHE_DIR=str(self.folder / "cache"),
            LANG="C.UTF-8",
            PIPENV_NOSPIN="1",
            PIPENV_YES="1",
        )

    def names(self, folder: str) -> list[str]:
        return sorted(path.name for path in (self.folder / folder).iterdir())

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def statuses(self, word: str) -> list[int]:
        """The statuses that nginx answered with for addresses that hold the word."""
        log = self.site.nginx.home.logs / "nginx-access.log"
        end = f"/end-of-{word}"
        self.site.nginx.get("localhost", end)

        def lines() -> list[str]:
            return log.read_text().splitlines()

        poll(lambda: any(end in line for line in lines()))  # the log is written once a second
        found = [json.loads(line) for line in lines()]
        return [entry["status"] for entry in found if word in entry["path"] and end not in entry["path"]]
