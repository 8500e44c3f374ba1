"""Real clients of the index, cut off from this machine's configuration, each installed once in a run of the tests."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

UV = Path(sys.executable).with_name("uv")
#: The oldest pip that runs on this interpreter: pips before it import what Python has no more.
OLDEST = "19.2.3" if sys.version_info < (3, 12) else "23.2"
CLIENTS = {"old-pip": f"pip=={OLDEST}", "new-pip": "pip"}
#: The virtual environment in which a client is.
Clients = Callable[[str], Path]


def installed(folder: Path, name: str) -> Path:
    """A client's virtual environment in ``folder``; who comes first makes it, from the index of this machine."""
    place = folder / name
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "ready").exists():
            virtualenv = Path(sys.executable).with_name("virtualenv")
            _install([virtualenv, "-q", "--clear", "--no-seed", "--python", sys.executable, place])
            _install([UV, "pip", "install", "-q", "--python", place / "bin" / "python", CLIENTS.get(name, name)])
            (place / "ready").touch()
    return place


def _install(argv: list[str | Path]) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


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
