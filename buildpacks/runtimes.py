"""Which Python a commit asks for: what its files say, in one order.

The first that is there: ``runtime`` in app.yaml, ``.python-version``, ``runtime.txt``, ``requires-python`` in
pyproject.toml; else the platform's own. ``requires-python`` holds in any case.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from buildpacks.interpreters import Interpreter, find_interpreter
from buildpacks.project import PYPROJECT
from buildpacks.sources import read_text
from core.errors import DaeError

SIZE_CAP = 4096  # bytes
#: What names a version in a line, the first that is there before the other.
FILES = (".python-version", "runtime.txt")
#: The last day of each series' security fixes: the release schedules (PEPs 537 to 745) name the day or the month.
END_OF_LIFE: Mapping[str, datetime.date] = {
    "3.4": datetime.date(2019, 3, 18),
    "2.7": datetime.date(2020, 1, 1),
    "3.5": datetime.date(2020, 9, 30),
    "3.6": datetime.date(2021, 12, 23),
    "3.7": datetime.date(2023, 6, 27),
    "3.8": datetime.date(2024, 10, 7),
    "3.9": datetime.date(2025, 10, 31),
    "3.10": datetime.date(2026, 10, 31),
    "3.11": datetime.date(2027, 10, 31),
    "3.12": datetime.date(2028, 10, 31),
    "3.13": datetime.date(2029, 10, 31),
    "3.14": datetime.date(2030, 10, 31),
}

_CODE = "build/bad-runtime"
#: A version that leaves the series open; nobody has such a Python, and who asks for it is told which there are.
_OPEN = "3.x"
_VERSION = re.compile(r"(?:c?python-?)?([23]\.[0-9]{1,2})(?:\.(?:([0-9]{1,3})|[x*]))?\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Wanted:
    """``runtime``: empty (any), ``python``, or ``python3.11``; ``where`` says so; ``patch``: a patch level or empty.

    ``requires`` is a version specifier (PEP 440), or empty; ``required_by``: the file that says it. ``passed``: files
    that do not decide, and what each says.
    """

    runtime: str = ""
    where: str = ""
    patch: str = ""
    requires: str = ""
    required_by: str = "pyproject.toml"
    passed: tuple[tuple[str, str], ...] = ()

    def interpreter(self, shared: bool, folder: Path, today: datetime.date) -> Interpreter:
        """The one on this machine; see :func:`buildpacks.interpreters.find_interpreter`, also for what is raised."""
        try:
            return find_interpreter(self.runtime, shared, self.requires, folder, self.required_by, self.where)
        except DaeError as error:
            raise self.refused(error, today) from error

    def notes(self, version: tuple[int, int, int], today: datetime.date) -> tuple[str, ...]:
        """What somebody who gets the interpreter ``version`` should know."""
        series = f"{version[0]}.{version[1]}"
        told = [
            f"{name} says {other}, and is passed over: {self.where} comes first, and says {series}"
            for name, other in self.passed
            if other != series
        ]
        if self.patch and self.patch != str(version[2]):
            have = ".".join(map(str, version))
            told.append(f"{self.where} asks for {series}.{self.patch}; this platform has {have}, of the same series")
        if series in END_OF_LIFE and today > END_OF_LIFE[series]:
            told.append(f"Python {series} has had no security fixes since {END_OF_LIFE[series]}: move to a newer one")
        return tuple(told)

    def refused(self, error: DaeError, today: datetime.date) -> DaeError:
        """The ``error`` of an interpreter that is not here, with where it was asked for, and whether it is too old."""
        series = self.runtime.removeprefix("python")
        if not series or error.code != _CODE or self.where in error.cause:
            return error
        if series == _OPEN:
            return DaeError(
                _CODE, f"{self.where} says 3, and not which one; {error.cause.partition('; ')[2]}", error.hint
            )
        end = END_OF_LIFE.get(series)
        old = f", which has had no security fixes since {end}" if end and today > end else ""
        return DaeError(_CODE, f"{self.where} asks for Python {ascii(series)[1:-1]}{old}: {error.cause}", error.hint)


def wanted(
    source: Path, runtime: str, requires_python: str, required_by: str = "pyproject.toml", exact: str = ""
) -> Wanted:
    """What the tree in ``source`` asks for; ``runtime`` is app.yaml's.

    ``requires_python`` is what the file ``required_by`` says; ``exact``: its patch level, if it names one. Raises
    ``build/bad-runtime``.
    """
    try:
        SpecifierSet(requires_python)
    except InvalidSpecifier:
        key = "python_requires" if required_by.startswith("setup.") else "requires-python"
        cause = f"{required_by}: {key} is {requires_python[:60]!a}, which is no range of versions"
        raise DaeError(_CODE, cause, f"write, say, {key} = '>=3.11'") from None
    found = Wanted(runtime, "app.yaml" if runtime else "", "", requires_python, required_by)
    for name in FILES:
        try:
            text = read_text(source, name, SIZE_CAP, _CODE)
            series, patch = _version(name, text) if text is not None else ("", "")
        except DaeError:
            if not found.runtime:
                raise
            series, patch = "no version", ""
        if series == _OPEN and found.runtime:
            continue
        if series and found.runtime:
            found = replace(found, passed=(*found.passed, (name, series)))
        elif series:
            found = replace(found, runtime=f"python{series}", where=name, patch=patch)
    if exact and not found.runtime:
        found = replace(found, where=required_by, patch=exact.rpartition(".")[2])
    return found


def _version(name: str, text: str) -> tuple[str, str]:
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    hint = f"write one line into {name}: " + ("3.11" if name.startswith(".") else "python-3.11")
    if len(lines) != 1:
        what = "names no version" if not lines else f"names {len(lines)} versions"
        raise DaeError(_CODE, f"{name} {what}", hint)
    found = _VERSION.match(lines[0])
    if found:
        return found[1], found[2] or ""
    if re.fullmatch(r"(?:c?python-?)?3(?:\.[x*])?", lines[0], re.IGNORECASE):
        return _OPEN, ""
    raise DaeError(_CODE, f"{name} says {lines[0][:60]!a}, which is no version of Python", _meant(lines[0], hint))


def _meant(said: str, hint: str) -> str:
    """What to write in place of what somebody ``said``; ``hint``: for what nobody can guess."""
    series = re.search(r"3\.[0-9]{1,2}", said)
    if series and re.search(r"3\.[0-9]+(?:\.[0-9]+)?t\Z|freethreaded", said):
        return f"builds without the global lock are not offered; write {series[0]}, the series as it is"
    if re.match(r"[<>=~!^]", said):
        return f"{hint}; a range belongs into {PYPROJECT}: requires-python = {said[:40]!a}"
    return hint
