"""Which Python an app runs on: from the ``runtime`` of its app.yaml to a program that its account can run."""

from __future__ import annotations

import functools
import json
import os
import re
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from packaging.specifiers import SpecifierSet

from core import argv
from core.errors import DaeError

SYSTEM_PYTHON = Path("/usr/bin/python3")
#: Apps get the library ``dae``, and virtualenv makes their environments: neither runs on a Python older than this.
OLDEST = (3, 9)

_DEFAULT = ("", "python", "python3")
_PROGRAM = re.compile(r"python3\.[0-9]{1,2}\Z")
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


def find_interpreter(
    runtime: str = "",
    shared: bool | None = None,
    requires: str = "",
    folder: Path | None = None,
    required_by: str = "pyproject.toml",
    where: str = "",
) -> Interpreter:
    """The interpreter for a ``runtime``: empty, ``python``, ``python3``, or ``python3.11``.

    ``shared``: other accounts must be able to run it (default: when this process is root). ``requires``: a range (PEP
    440) that its version must be in; without a runtime the default one is taken if it is, else the newest that is.
    ``required_by``, ``where``: the files that say the range and the runtime. ``folder``: where the operator puts more
    of them, each in a folder of its own with ``bin/python3.N``. Raises ``build/bad-runtime``, which lists what there
    is.
    """
    here = _Here(os.geteuid() == 0 if shared is None else shared, folder)
    range_ = SpecifierSet(requires)
    found = _find(runtime, here)
    if _within(found, range_):
        return found
    if runtime in _DEFAULT and (others := here.newest(lambda other: _within(other, range_))):
        return others
    have = found.series if runtime not in _DEFAULT else ", ".join(here.series())
    who = "this platform has" if runtime in _DEFAULT else f"{where} says" if where else "the app gets"
    cause = f"{required_by} requires Python {ascii(requires[:60])[1:-1]}, and {who} {have}"
    hint = f"change that in {required_by}{f' or {where}' if where else ''}, or ask the operator for another Python"
    raise DaeError("build/bad-runtime", cause, hint)


def exact_interpreter(name: str, shared: bool, folder: Path | None = None) -> Interpreter | None:
    """The interpreter with the ``id`` of that name; None when there is none on this machine or in the ``folder``."""
    here = _Here(shared, folder)
    default = here.default()
    return default if default.id == name else here.newest(lambda other: other.id == name)


def survey(shared: bool, folder: Path) -> list[tuple[Path, Interpreter | str]]:
    """Every interpreter that there is, the default one first: what it is, or why apps cannot have it."""
    here = _Here(shared, folder)
    found = [(path, _asked(path, shared)) for path in dict.fromkeys([here.default().python, *here.paths()])]
    empty = [place for place in sorted(folder.glob("*/")) if not any(place in path.parents for path, _ in found)]
    return found + [(place, "there is no bin/python3.N in it") for place in empty]


def _within(interpreter: Interpreter, range_: SpecifierSet) -> bool:
    return range_.contains(".".join(map(str, interpreter.version)), prereleases=True)


def _find(runtime: str, here: _Here) -> Interpreter:
    default = here.default()
    wanted = _VERSIONED.match(runtime)
    series = f"{wanted[1]}.{wanted[2]}" if wanted else ""
    if runtime in _DEFAULT or default.series == series:
        return default
    if series and (found := here.newest(lambda other: other.series == series)):
        return found
    names = [f"python{series}" for series in here.series()]
    cause = f"there is no {ascii(runtime)[1:-1]} here; there is {', '.join(names)}"
    if series and tuple(_by_number(series)) < OLDEST:
        cause = f"apps run on Python {OLDEST[0]}.{OLDEST[1]} or later; {cause.partition('; ')[2]}"
    raise DaeError("build/bad-runtime", cause, f"ask for one of these; the newest is {names[-1]}")


def _by_number(series: str) -> list[int]:
    return [int(part) for part in series.split(".")]


@dataclass(frozen=True, slots=True)
class _Here:
    """The interpreters of this machine, and those in ``folder``, that can be used."""

    shared: bool
    folder: Path | None

    def default(self) -> Interpreter:
        """The interpreter that the platform itself runs on, else the system's."""
        for python in (Path(getattr(sys, "_base_executable", sys.executable)), SYSTEM_PYTHON):
            found = _probe(python, self.shared)
            if found is not None:
                return found
        raise DaeError("build/bad-runtime", f"neither {sys.executable} nor {SYSTEM_PYTHON} can be used by apps")

    def all(self) -> list[Interpreter]:
        """Each of them, those in the folder first."""
        probed = [_probe(path, self.shared) for path in self.paths()]
        return [found for found in probed if found is not None and found.version[0] == 3]

    def paths(self) -> list[Path]:
        """Their programs, whether they can be used or not."""
        mine = sorted(self.folder.glob("*/bin/python3.*")) if self.folder else []
        return list(dict.fromkeys([*(path for path in mine if _PROGRAM.match(path.name)), *_on_this_machine()]))

    def newest(self, fits: Callable[[Interpreter], bool]) -> Interpreter | None:
        """The newest that fits. When none does the machine is looked through again: one may have been installed."""
        if not any(map(fits, self.all())):
            _on_this_machine.cache_clear()
        return max(filter(fits, self.all()), key=lambda found: found.version, default=None)

    def series(self) -> list[str]:
        """``["3.9", "3.11"]``."""
        return sorted({self.default().series, *(other.series for other in self.all())}, key=_by_number)


@functools.lru_cache(maxsize=1)
def _on_this_machine() -> tuple[Path, ...]:
    """What virtualenv's discovery finds: on the search path, and where version managers put them."""
    from python_discovery import iter_interpreters  # late: it is rarely needed and slow to import

    return tuple(Path(info.system_executable) for info in iter_interpreters() if info.system_executable)


def _probe(python: Path, shared: bool) -> Interpreter | None:
    """What the interpreter says about itself; None when it does not run, or is ``shared`` and not open to others."""
    try:
        found = python.stat()
    except OSError:
        return None
    return _probed(python, shared, (found.st_dev, found.st_ino, found.st_ctime_ns))


@functools.lru_cache(maxsize=256)
def _probed(python: Path, shared: bool, _identity: tuple[int, int, int]) -> Interpreter | None:
    """It is asked once, and again when another program stands in its place: an update brings another version."""
    found = _asked(python, shared)
    return None if isinstance(found, str) else found


def _asked(python: Path, shared: bool) -> Interpreter | str:
    """What the interpreter says about itself, or why it cannot be had."""
    try:
        outcome = argv.run([python, "-I", "-S", "-c", _PROBE], timeout=10)
    except OSError as error:
        return f"it cannot be started: {error.strerror}"
    if not outcome.ok:
        last = (outcome.output.strip().splitlines() or [f"status {outcome.status}"])[-1]
        return f"it does not start: {ascii(last[:200])[1:-1]}"
    try:
        facts = json.loads(outcome.output)
    except ValueError:
        return "it does not say what it is"
    if shared and not (usable_by_all(Path(facts["python"])) and usable_by_all(Path(facts["prefix"]))):
        return "other accounts may not run it"
    version = tuple(facts["version"])
    if version < OLDEST:
        return f"it is {'.'.join(map(str, version))}, and apps run on {OLDEST[0]}.{OLDEST[1]} or later"
    place = f"{facts['machine']}-{facts['platform']}-{facts['libc']}"
    return Interpreter(Path(facts["python"]), version, f"{facts['name']}-{'.'.join(map(str, version))}-{place}")


def usable_by_all(path: Path) -> bool:
    """Whether every account may reach and run ``path`` (a program or a folder), going by the modes of its parents."""
    real = path.resolve()
    try:
        return all(part.stat().st_mode & stat.S_IXOTH for part in (real, *real.parents))
    except OSError:
        return False
