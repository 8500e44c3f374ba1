"""What a project says of itself: ``pyproject.toml`` (PEP 621), ``setup.cfg``, ``setup.py``. It is read, never run."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from buildpacks import setupfiles
from buildpacks.requirements import Line, parse_line
from buildpacks.sources import read_text
from core.errors import DaeError

SIZE_CAP = 256 * 1024  # bytes
PYPROJECT = "pyproject.toml"

_CODE = "build/bad-requirements"


@dataclass(frozen=True, slots=True)
class Project:
    """``data``: pyproject.toml as a whole; None without one. The other methods raise ``build/bad-requirements``."""

    data: Mapping[str, Any] | None = None
    table: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, source: Path, folder: str = "") -> Project:
        """Read the pyproject.toml of the tree ``source``, or of a ``folder`` below it.

        Raises ``build/bad-requirements``.
        """
        text = read_text(source, f"{folder}/{PYPROJECT}" if folder else PYPROJECT, SIZE_CAP, _CODE)
        if text is None:
            return cls()
        try:
            data = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise DaeError(_CODE, f"{PYPROJECT} is not TOML: {str(error)[:200]}", "correct that line") from None
        table = data.get("project", {})
        if not isinstance(table, dict):
            raise DaeError(_CODE, f"{PYPROJECT}: [project] is not a table", "see PEP 621")
        return cls(data, table)

    @property
    def requires_python(self) -> str:
        found = self.table.get("requires-python", "")
        if not isinstance(found, str):
            raise DaeError(
                _CODE, f"{PYPROJECT}: requires-python is not a text", "write, say, requires-python = '>=3.11'"
            )
        return found

    def tool(self, name: str) -> Mapping[str, Any]:
        """The table ``[tool.NAME]``; empty without one."""
        tool = (self.data or {}).get("tool")
        found = tool.get(name) if isinstance(tool, dict) else None
        return found if isinstance(found, dict) else {}

    @property
    def name(self) -> str:
        """Its normalised name; empty without one."""
        found = self.table.get("name", "")
        return str(canonicalize_name(found)) if isinstance(found, str) else ""

    @property
    def is_dynamic(self) -> bool:
        dynamic = self.table.get("dynamic")
        return isinstance(dynamic, list) and "dependencies" in dynamic

    @property
    def names_dependencies(self) -> bool:
        return "dependencies" in self.table

    def dependencies(self) -> tuple[Line, ...]:
        """The requirements of ``[project]``."""
        if self.is_dynamic:
            cause = f"{PYPROJECT} calculates its dependencies when it is built ('dynamic')"
            raise DaeError(_CODE, cause, "write them into pip-req.txt, or as a list into [project]")
        return _lines(self.table.get("dependencies", []), "dependencies")

    def of_extra(self, name: str) -> tuple[Line, ...]:
        """The requirements that the extra ``name`` adds."""
        extras = self.table.get("optional-dependencies", {})
        found = [value for key, value in extras.items() if canonicalize_name(key) == name] if _is_table(extras) else []
        if not found:
            raise DaeError(_CODE, f"{PYPROJECT} has no extra {name[:80]!a}", "see [project.optional-dependencies]")
        return _lines(found[0], f"the extra {name}")


def own_requirements(source: Path, project: Project, extras: Iterable[str] = ()) -> tuple[str, tuple[Line, ...]] | None:
    """The file that names what the project in ``source`` requires, and what that is; None when none does.

    Raises ``build/bad-requirements`` (also for requirements that would have to be calculated) and
    ``build/unsupported-requirement``.
    """
    named = project.names_dependencies or (extras and "optional-dependencies" in project.table)
    if named or project.is_dynamic:
        return PYPROJECT, tuple(_with_extras(project, extras))
    found = setupfiles.requirements(source)
    if found is None:
        return None
    name, entries = found
    if extras:
        raise DaeError(_CODE, f"extras are not read from {name}", f"describe them in {PYPROJECT} (PEP 621)")
    return name, tuple(
        parse_line(text, f"{name}, install_requires, entry {number}", number) for number, text in entries
    )


def _with_extras(project: Project, extras: Iterable[str]) -> Iterator[Line]:
    """What it requires; a requirement of itself (``shop[web]``) is its extras, and never a package of the index."""
    waiting, seen = ["", *sorted(extras)], set[str]()
    while waiting:
        extra = waiting.pop(0)
        if extra in seen:
            continue
        seen.add(extra)
        for line in project.of_extra(extra) if extra else project.dependencies():
            if line.name == project.name:
                waiting += sorted(str(canonicalize_name(name)) for name in Requirement(line.text).extras)
            else:
                yield line


def _lines(found: object, what: str) -> tuple[Line, ...]:
    if not isinstance(found, list) or not all(isinstance(text, str) and "\n" not in text for text in found):
        cause = f"{PYPROJECT}: {what} is not a list of requirements"
        raise DaeError(_CODE, cause, 'write, say, dependencies = ["flask>=3"]')
    return tuple(
        parse_line(text.strip(), f"{PYPROJECT}, {what}, entry {number}", number)
        for number, text in enumerate(found, start=1)
    )


def _is_table(value: object) -> bool:
    return isinstance(value, dict)
