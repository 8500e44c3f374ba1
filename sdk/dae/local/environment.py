"""The app's environment on this machine: ``.venv`` in its folder, filled from the platform's mirror."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from dae.cli import output
from dae.cli.errors import CliError
from dae.local import lockfile, requirements
from dae.local.files import write_atomically

#: What every app gets on the platform, too. The extra brings what gunicorn's gevent worker imports.
RUNTIME = ("gunicorn[gevent]>=22", "dae")
STAMP = ".dae-stamp"
# Of the surrounding environment these would change which Python runs and where pip looks.
UNWANTED = ("PYTHONHOME", "PYTHONPATH", "__PYVENV_LAUNCHER__", "VIRTUAL_ENV", "PIP_CONFIG_FILE")


def index_of(platform: str) -> str:
    """The address of the mirror's simple index as pip can reach it.

    glibc does not know ``*.localhost`` (RFC 6761), and pip cannot send a Host header of its own; the platform answers
    to 127.0.0.1 as well.
    """
    parts = urlsplit(platform)
    host = parts.hostname or ""
    if host.endswith(".localhost"):
        platform = f"{parts.scheme}://127.0.0.1" + (f":{parts.port}" if parts.port else "")
    return f"{platform}/pypi/simple/"


def pip_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """``environ`` without what would make pip look elsewhere; ``--isolated`` alone still reads /etc/pip.conf."""
    kept = {k: v for k, v in environ.items() if k not in UNWANTED and not k.startswith("PIP_")}
    return {**kept, "PIP_CONFIG_FILE": os.devnull}


@dataclass(frozen=True)
class Environment:
    """The local environment of the app in ``folder``."""

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / ".venv"

    @property
    def python(self) -> Path:
        return self.path / "bin" / "python"

    @property
    def lock(self) -> Path:
        return self.folder / lockfile.FILE

    def wanted_stamp(self) -> str:
        """What the environment should be made of, as one text: the files' hashes and the runtime."""
        file = requirements.path_in(self.folder)
        contents = (path.read_bytes() if path.is_file() else b"" for path in (file, self.lock))
        digests = [hashlib.sha256(content).hexdigest() for content in contents]
        return json.dumps({"requirements": digests, "runtime": list(RUNTIME)}, sort_keys=True)

    def is_current(self) -> bool:
        """Whether the environment is there and was filled from these very requirements."""
        stamp = self.path / STAMP
        return os.access(self.python, os.X_OK) and stamp.is_file() and stamp.read_text() == self.wanted_stamp()

    def make(self, python: str) -> None:
        """Make an empty environment unless there is one; raises ``local/no-python`` or ``local/environment``."""
        if os.access(self.python, os.X_OK):
            return
        if self.path.is_symlink() or (self.path.exists() and not (self.path / "pyvenv.cfg").exists()):
            hint = f"move {self.path} away"
            raise CliError("local/environment", f"{self.path} is there and is no virtual environment", hint)
        found = find_python(python)
        output.step(f"Making .venv with {found}")
        argv = [found, "-m", "venv", "--clear", str(self.path)]
        done = subprocess.run(argv, capture_output=True, text=True, env=pip_environ(os.environ), check=False)
        if done.returncode:
            _show(done.stdout + done.stderr)
            hint = "Debian and Ubuntu: apt-get install python3-venv\nanother Python: dae venv --python PYTHON ..."
            raise CliError("local/environment", f"{found} -m venv failed", hint)
        keep_out_of_git(self.path)

    def install(self, platform: str) -> None:
        """Fill the environment from the platform's mirror; raises ``local/install-failed``."""
        output.step(f"Installing from {index_of(platform)}")
        file = requirements.path_in(self.folder)
        argv = install_argv(self.python, index_of(platform), file if file.is_file() else None)
        if self.lock.is_file():
            limits = self.path / ".dae-versions"
            write_atomically(limits, lockfile.constraints(self.lock.read_text(encoding="utf-8")).encode())
            argv += ["-c", str(limits)]
        environ = {**pip_environ(os.environ), "VIRTUAL_ENV": str(self.path)}
        stamp, wanted = self.path / STAMP, self.wanted_stamp()
        if stamp.exists():
            stamp.unlink()  # from here on, and until pip is done, the environment is of no requirements at all
        with subprocess.Popen(argv, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as pip:
            for line in pip.stdout or ():
                output.detail(line.rstrip())
        if pip.returncode:
            hint = "the lines above say why; is the platform up? dae status"
            raise CliError("local/install-failed", f"pip ended with status {pip.returncode}", hint)
        write_atomically(stamp, wanted.encode())

    def environ(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The environment variables of a program that runs in this environment."""
        kept = {k: v for k, v in environ.items() if k not in ("PYTHONHOME", "__PYVENV_LAUNCHER__")}
        search = os.pathsep.join([str(self.python.parent), environ.get("PATH", os.defpath)])
        permdir = self.folder / ".dae" / "permdir"
        mine = {"VIRTUAL_ENV": str(self.path), "PATH": search, "DAE_ENV": "SDK", "DAE_PERMDIR": str(permdir)}
        return {**kept, **mine}


def keep_out_of_git(folder: Path) -> None:
    """Make ``folder``, if it is not there, one that git does not see: ``git add .`` must not deploy an environment."""
    folder.mkdir(exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        write_atomically(ignore, b"*\n")


def install_argv(python: Path, index: str, file: Path | None) -> list[str]:
    """pip's command line: this index and no other, whatever the machine's configuration says."""
    argv = [str(python), "-m", "pip", "--isolated", "install", "--no-input", "--disable-pip-version-check", "-q"]
    argv += ["--index-url", index]
    parts = urlsplit(index)
    if parts.scheme == "http":  # the platform that was logged in to speaks plain HTTP; pip asks for that to be said
        argv += ["--trusted-host", parts.netloc]
    return [*argv, *(["-r", str(file)] if file else []), *RUNTIME]


def find_python(given: str) -> str:
    """The interpreter to make environments with: the one given, ``python3``, our own; raises ``local/no-python``."""
    found = shutil.which(given or "python3") or ("" if given else sys.executable)
    if not found:
        raise CliError("local/no-python", f"there is no program {given!r}", "see which there are: ls /usr/bin/python3*")
    return found


def _show(text: str) -> None:
    for line in text.splitlines():
        output.detail(line)


def run(environment: Environment, command: Sequence[str]) -> None:
    """Become ``command`` in the environment; returns only by raising ``local/no-command``."""
    environ = environment.environ(os.environ)
    try:
        os.execvpe(command[0], list(command), environ)  # noqa: S606 - the user's own command
    except OSError as error:
        cause = f"{command[0]!r} cannot be run: {error.strerror}"
        raise CliError("local/no-command", cause, f"install it: dae install {command[0]}") from None
