"""Why a command of the app did not start, in words: from what the shell said of it. Nothing is run."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from buildpacks.project import Project
from core.errors import DaeError

#: dash, bash and env(1): ``SHELL: LINE: NAME: WHY``. A CR at NAME's end is that of a first line "#!/bin/sh\r\n".
_SHELLS = frozenset({"sh", "bash", "dash", "env"})
_WHY = ("not found", "No such file or directory", "Permission denied", "bad interpreter")
_PIP = re.compile(r"\bpip3?\s+install\b")
_NO_PIP = re.compile(r"No module named pip\b|externally-managed-environment")
_RAISED = re.compile(r"(?:[A-Za-z_]\w*\.)*\w*(?:Error|Exception)(?::|\Z)")
_MANAGERS = ("uv", "poetry", "pipenv", "pdm", "hatch", "rye")
_RUN = re.compile(r"\b(?:uv|poetry|pipenv|pdm|hatch|rye) run (?:--?\S+ )*(?P<rest>\S[^;&|]{0,200})")
#: Programs whose package is called otherwise.
_BROUGHT_BY: Mapping[str, str] = {
    "django-admin": "Django",
    "jupyter": "jupyter-core",
    "pserve": "pyramid",
    "huey_consumer": "huey",
    "rqworker": "rq",
    "waitress-serve": "waitress",
}
_KNOWN = frozenset(
    ("alembic", "celery", "daphne", "dramatiq", "fastapi", "flask", "hypercorn", "mkdocs", "rq", "streamlit", "uvicorn")
)
_TAIL = 20
_NAME_CHARS, _PATH_CHARS = 100, 200
_READ = 256 * 1024


def hint(lines: Sequence[str], command: str, code: Path, environment: Path) -> str:
    """What to write or type so that ``command`` starts; empty when it is not known.

    ``lines``: what was written, the shell's words among the last; ``code`` and ``environment``: the folders.
    """
    tail = lines[-_TAIL:]
    if _PIP.search(command) and any(_NO_PIP.search(line) for line in tail):
        return _no_pip(command)
    for line in reversed(tail):
        if _RAISED.match(line):
            return ""  # what a program raised after the shell had said something is the reason
        found = _said(line)
        if found and found[0].rstrip("\r").isprintable() and found[0].isascii() and len(found[0]) <= _NAME_CHARS:
            return _why(*found, command, code, environment)
    return ""


def _said(line: str) -> tuple[str, str] | None:
    """Which name a shell could not run, and why, in the ``line`` that says so."""
    shell, *parts = line.strip().split(": ")
    if shell.rsplit("/", 1)[-1] not in _SHELLS or len(parts) < 2 or not parts[-1].endswith(_WHY):
        return None
    words = [part for part in parts if part != "exec" and not re.fullmatch(r"(line )?\d+", part)]
    return (words[0].strip("'\u2018\u2019"), " ".join(words[1:])) if len(words) > 1 else None


def _no_pip(command: str) -> str:
    names = re.split(r"[;&|]", _PIP.split(command, maxsplit=1)[1])[0].split()
    packages = " ".join(name for name in names if not name.startswith("-") and name.isprintable())[:100]
    what = f": write {packages} into pip-req.txt" if packages else ", from what pip-req.txt names"
    return f"the platform installs the packages{what}, and take the command out"


def _why(name: str, why: str, command: str, code: Path, environment: Path) -> str:
    script = code / name.removeprefix("./")
    if name.endswith(("\\r", "\r", "^M")):
        return _line_ends(_script_of(command, code) or "the script")
    if not name.startswith("/") and ".." not in Path(name).parts and script.is_file():
        return _of_script(name, script, why)
    base = name.rsplit("/", 1)[-1]
    if base in _MANAGERS:
        return _of_manager(base, command)
    if base in ("pip", "pip3"):
        return _no_pip(command)
    if start := _own_scripts(code).get(base):
        module, _, function = start.partition(":")
        how = f"python -c 'from {module} import {function}; {function}()'" if function else f"python -m {module}"
        return f"'{base}' is a script of this project, which is not installed: write {how} in its place"
    return _of_program(base, environment)


def _of_script(name: str, script: Path, why: str) -> str:
    """A file of the commit that did not start."""
    path = name.removeprefix("./")
    if _first_line(script).endswith(b"\r"):
        return _line_ends(path)
    if "denied" in why:
        return f"it may not be executed: git update-index --chmod=+x {path} (or write: sh {path})"
    if "/" not in name:
        return f"the file {path} is at the top of the commit: write ./{path}, or: sh {path}"
    first = _first_line(script).decode(errors="replace")
    return f"its first line is {first[:60]!a}, and there is no such program here; write '#!/usr/bin/env python3', say"


def _line_ends(path: str) -> str:
    return f"its lines end in CR LF, as on Windows, and must end in LF: sed -i 's/\\r$//' {path}, then commit"


def _of_manager(name: str, command: str) -> str:
    if run := _RUN.search(command):
        return f"the environment is active: write '{run['rest'].strip()}' alone, without '{name} run'"
    return f"the packages of the lock are installed already, without {name}: take the command out"


def _of_program(name: str, environment: Path) -> str:
    there = [path.name for path in (environment / "bin").glob("*") if not path.name.startswith(("activate", "python3"))]
    if name in _KNOWN:
        return f"no package brings the program {name}: require {name}"
    if close := difflib.get_close_matches(name, there, 1, 0.75):
        return f"there is no program {name}; did you mean {close[0]}?"
    if name in _BROUGHT_BY:
        return f"no package brings the program {name}: require {_BROUGHT_BY[name]}"
    return f"there is no program {name}, neither of a package nor on the node: is it spelt rightly, is it required?"


def _own_scripts(code: Path) -> Mapping[str, str]:
    """The console scripts that the project itself would bring, each with what it calls."""
    try:
        project = Project.load(code)
    except DaeError:
        return {}
    tables: Iterable[object] = (project.table.get("scripts"), project.tool("poetry").get("scripts"))
    found = {name: start for table in tables if isinstance(table, dict) for name, start in table.items()}
    return {name: s for name, s in found.items() if isinstance(s, str) and re.fullmatch(r"[\w.]+(:\w+)?", s)}


def _script_of(command: str, code: Path) -> str:
    """The file of the commit that a command names first; empty when it names none."""
    words = (word.removeprefix("./") for word in re.findall(r"[\w./-]+", command))
    names = (word for word in words if len(word) <= _PATH_CHARS and not word.startswith("/") and ".." not in word)
    return next((name for name in names if (code / name).is_file()), "")


def _first_line(script: Path) -> bytes:
    if script.is_symlink():
        return b""
    with script.open("rb") as file:
        return file.readline(_READ).rstrip(b"\n")
