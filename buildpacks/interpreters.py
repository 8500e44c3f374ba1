"""Which Python an app runs on: from the ``runtime`` of its app.yaml to a program that its account can run."""

from __future__ import annotations

import functools
import json
import os
import re
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from packaging.specifiers import SpecifierSet

from core import argv
from core.errors import DaeError

SYSTEM_PYTHON = Path("/usr/bin/python3")

_DEFAULT = ("", "python", "python3")
_VERSIONED = re.compile(r"python(3)\.?([0-9]{1,2})\Z")

# Asked of the interpreter itself; it must run on every Python 3.
_PROBE = """
import json, os, platform, sys
print(json.dumps({
    "python": os.path.realpath(getattr(sys, "_base_executable", sys.executable)),
    "prefix": sys.base_prefix,
    "name": sys.implementation.name,
    "version": list(sys.version_info[:3]),
    "machine": platform.machine(),
    "platform": sys.platform,
    "libc": "gnu" if platform.libc_ver()[0] == "glibc" else "musl",
}))
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A base interpreter: its program, its version, and the ``id`` under which its environments are kept."""

    python: Path
    version: tuple[int, int, int]
    id: str

    @property
    def series(self) -> str:
        """``3.11``."""
        return f"{self.version[0]}.{self.version[1]}"


def find_interpreter(runtime: str = "", shared: bool | None = None, requires: str = "") -> Interpreter:
    """The interpreter for a ``runtime``: empty, ``python``, ``python3``, or ``python3.11``.

    ``shared``: other accounts must be able to run it (default: when this process is root). ``requires``: a range (PEP
    440) that its version must be in; without a runtime the default one is taken if it is, else the newest that is.
    Raises ``build/bad-runtime``, which lists what there is.
    """
    shared = os.geteuid() == 0 if shared is None else shared
    range_ = SpecifierSet(requires)
    found = _find(runtime, shared)
    if _within(found, range_):
        return found
    others = [other for other in _discover(None, shared) if runtime in _DEFAULT and _within(other, range_)]
    if others:
        return max(others, key=lambda other: other.version)
    have = found.series if runtime not in _DEFAULT else ", ".join(_series_here(shared))
    who = "this platform has" if runtime in _DEFAULT else "the app gets"
    cause = f"pyproject.toml requires Python {ascii(requires[:60])[1:-1]}, and {who} {have}"
    raise DaeError("build/bad-runtime", cause, "change 'requires-python', or ask the operator for another Python")


def _within(interpreter: Interpreter, range_: SpecifierSet) -> bool:
    return range_.contains(".".join(map(str, interpreter.version)), prereleases=True)


def _series_here(shared: bool) -> list[str]:
    found = {_default(shared).series, *(other.series for other in _discover(None, shared))}
    return sorted(found, key=_by_number)


@functools.lru_cache(maxsize=64)
def _find(runtime: str, shared: bool) -> Interpreter:
    default = _default(shared)
    wanted = _VERSIONED.match(runtime)
    if runtime in _DEFAULT or (wanted and default.series == f"{wanted[1]}.{wanted[2]}"):
        return default
    if wanted and (candidates := _discover(f"{wanted[1]}.{wanted[2]}", shared)):
        return candidates[0]
    names = ", ".join(f"python{series}" for series in _series_here(shared))
    raise DaeError(
        "build/bad-runtime", f"there is no {ascii(runtime)[1:-1]} here; there is {names}", "ask for one of these"
    )


def _by_number(series: str) -> list[int]:
    return [int(part) for part in series.split(".")]


def _default(shared: bool) -> Interpreter:
    """The interpreter that the platform itself runs on, else the system's."""
    for python in (Path(getattr(sys, "_base_executable", sys.executable)), SYSTEM_PYTHON):
        found = _probe(python, shared)
        if found is not None:
            return found
    raise DaeError("build/bad-runtime", f"neither {sys.executable} nor {SYSTEM_PYTHON} can be used by apps")


@functools.lru_cache(maxsize=64)
def _discover(version: str | None, shared: bool) -> tuple[Interpreter, ...]:
    """What virtualenv's discovery finds: on the search path, and where version managers put them."""
    from python_discovery import iter_interpreters  # late: it is rarely needed and slow to import

    paths = [Path(info.system_executable) for info in iter_interpreters(version) if info.system_executable]
    probed = [_probe(path, shared) for path in dict.fromkeys(paths)]
    return tuple(found for found in probed if found is not None and found.version[0] == 3)


def _probe(python: Path, shared: bool) -> Interpreter | None:
    """What the interpreter says about itself; None when it does not run, or is ``shared`` and not open to others."""
    try:
        outcome = argv.run([python, "-I", "-S", "-c", _PROBE], timeout=10)
        facts = json.loads(outcome.output) if outcome.ok else None
    except (OSError, ValueError):
        return None
    if facts is None or (
        shared and not (usable_by_all(Path(facts["python"])) and usable_by_all(Path(facts["prefix"])))
    ):
        return None
    version = tuple(facts["version"])
    place = f"{facts['machine']}-{facts['platform']}-{facts['libc']}"
    return Interpreter(Path(facts["python"]), version, f"{facts['name']}-{'.'.join(map(str, version))}-{place}")


def usable_by_all(path: Path) -> bool:
    """Whether every account may reach and run ``path`` (a program or a folder), going by the modes of its parents."""
    real = path.resolve()
    try:
        return all(part.stat().st_mode & stat.S_IXOTH for part in (real, *real.parents))
    except OSError:
        return False
