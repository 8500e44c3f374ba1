"""Locks that other managers made: read and enforced, never rewritten."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Protocol

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from buildpacks.facts import Facts
from buildpacks.foreign import pipenv, poetry, pylock, uv
from buildpacks.locks import Pins
from buildpacks.policy import Policy
from buildpacks.project import PYPROJECT, Project
from buildpacks.sources import read_text
from core.errors import DaeError

#: The locks that are read, and the command that makes each.
LOCKS: Mapping[str, str] = {module.FILE: module.COMMAND for module in (pylock, uv, poetry, pipenv)}
SIZE_CAP = 4 << 20  # bytes

__all__ = ["LOCKS", "ForeignLock", "Pins", "load"]


class ForeignLock(Protocol):
    """A lock of another manager. ``requires_python``: a version specifier (PEP 440), or empty."""

    @property
    def filename(self) -> str: ...

    @property
    def requires_python(self) -> str: ...

    @property
    def exact_python(self) -> str:
        """The patch level (``3.11.7``) that it asks for, or empty."""
        ...

    @property
    def python_from(self) -> str:
        """The file that ``requires_python`` stands in."""
        ...

    @property
    def folders(self) -> tuple[str, ...]:
        """Those of the commit with other projects that it requires."""
        ...

    def groups(self) -> Collection[str]:
        """The names of the groups that it holds packages for."""
        ...

    def pins(self, facts: Facts, group: str = "") -> Pins:
        """What it says for such an interpreter: the project's own dependencies, no groups, no extras; or a ``group``.

        Raises ``build/bad-lock``, ``build/lock-outdated`` and ``build/unsupported-requirement``.
        """
        ...


def load(source: Path, filename: str, project: Project, policy: Policy) -> ForeignLock:
    """The lock ``filename``, one of LOCKS, of the commit in ``source``; raises ``build/bad-lock``."""
    text = read_text(source, filename, SIZE_CAP, "build/bad-lock") or ""
    if filename == pipenv.FILE:
        return pipenv.read(text, read_text(source, pipenv.PIPFILE, SIZE_CAP, "build/bad-lock"), policy)
    if filename == uv.FILE and project.data is not None:
        return uv.read(text, project.data, source, policy)
    required = () if project.is_dynamic else tuple(Requirement(line.text) for line in project.dependencies())
    others = tuple(one for one in required if canonicalize_name(one.name) != project.name)
    if filename == pylock.FILE:
        return pylock.read(text, others, policy)
    if project.data is None:
        cause = f"there is {filename} and no {PYPROJECT}, which it is made of"
        raise DaeError("build/lock-outdated", cause, f"commit {PYPROJECT}")
    return poetry.read(text, project.data, source, others, policy)
