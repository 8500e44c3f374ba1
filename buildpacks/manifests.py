"""Where an app's requirements stand. No file of requirements is passed over in silence.

The first that applies: ``pip-req.txt``; ``requirements.txt``; the static ``[project]`` table of ``pyproject.toml`` (PEP
621). Files of other managers are errors that say how to export them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildpacks.sources import read_text
from core.errors import DaeError

SIZE_CAP = 256 * 1024  # bytes
FILES = ("pip-req.txt", "requirements.txt")
PROJECT = "pyproject.toml"

_CODE = "build/bad-requirements"
#: What describes an app for another manager, and how its requirements come into a file that is read here.
_FOREIGN: Mapping[str, str] = {
    "uv.lock": "uv export --no-dev --no-emit-project -o pip-req.txt",
    "poetry.lock": "poetry export --only main -o pip-req.txt",
    "pdm.lock": "pdm export --prod -o pip-req.txt",
    "Pipfile.lock": "pipenv requirements --hash > pip-req.txt",
    "Pipfile": "pipenv requirements --hash > pip-req.txt",
    "pylock.toml": "write the packages that the app imports, one in a line, into pip-req.txt",
    "environment.yml": "write the packages that the app imports, one in a line, into pip-req.txt",
    "setup.py": "write what 'install_requires' names, one in a line, into pip-req.txt",
    "setup.cfg": "write what 'install_requires' names, one in a line, into pip-req.txt",
}
_LOCKS = ("uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "pylock.toml")
_MISSPELT: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "requirement.txt", "requirements", "requirements.text", "requirments.txt", "requirments", "requirement",
            "requirementes.txt", "requirements.in.txt", "requiremets.txt", "requirements.tx", "requriements.txt",
            "requierements.txt", "requirements.txt.txt",
        ),
        "requirements.txt",
    ),
    **dict.fromkeys(
        ("pip_req.txt", "pip-reqs.txt", "pip-req", "pipreq.txt", "pip-require.txt", "pip.req.txt", "pip-req.text"),
        "pip-req.txt",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Manifest:
    """The requirements' ``text`` (one in a line), the file they stand in, and what pyproject.toml asks of Python."""

    filename: str = FILES[1]
    text: str = ""
    requires_python: str = ""


def find(source: Path) -> Manifest:
    """The manifest of the tree in the folder ``source``; an empty one when it has none.

    Raises ``build/bad-requirements`` (malformed, misspelt, two of them) and ``build/unsupported-manifest``.
    """
    project = _project(source)
    requires = project.get("requires-python", "")
    if not isinstance(requires, str):
        raise DaeError(_CODE, f"{PROJECT}: requires-python is not a text", "write, say, requires-python = '>=3.11'")
    found = [(name, text) for name in FILES if (text := read_text(source, name, SIZE_CAP, _CODE)) is not None]
    names = {entry.name for entry in source.iterdir()}
    if len(found) > 1:
        raise DaeError(_CODE, f"both {' and '.join(FILES)} exist", "keep one of the two")
    if found:
        _one_manager(found[0][0], names)
        return Manifest(*found[0], requires_python=requires)
    _no_misspelling(names)
    if locks := [name for name in _LOCKS if name in names]:
        raise _unsupported(locks)
    if "dependencies" in project or _is_dynamic(project):
        return Manifest(PROJECT, _dependencies(project), requires)
    if foreign := [name for name in _FOREIGN if name in names and _requires(source, name)]:
        raise _unsupported(foreign)
    return Manifest(requires_python=requires)


def _requires(source: Path, name: str) -> bool:
    """Whether a file of another manager names requirements: setup.py and setup.cfg often do other things."""
    return not name.startswith("setup.") or "install_requires" in (read_text(source, name, SIZE_CAP, _CODE) or "")


def _one_manager(name: str, names: set[str]) -> None:
    """A lock of another manager beside requirements.txt: nobody can tell which of them is meant."""
    locks = [lock for lock in _LOCKS if lock in names]
    if name == FILES[1] and locks:
        cause = f"both {name} and {' and '.join(locks)} exist, and may say different things"
        raise DaeError(_CODE, cause, f"keep one: git rm {locks[0]}, or: git mv {name} {FILES[0]} (it comes first)")


def _no_misspelling(names: set[str]) -> None:
    for name in sorted(names):
        meant = _MISSPELT.get(name.lower()) or next((f for f in FILES if name.lower() == f and name != f), None)
        if meant:
            raise DaeError(_CODE, f"there is {name}, which nothing reads", f"git mv {name} {meant}")


def _unsupported(found: list[str]) -> DaeError:
    cause = f"the requirements stand in {' and '.join(found)}, which is not read here, and in no {' or '.join(FILES)}"
    return DaeError("build/unsupported-manifest", cause, _FOREIGN[found[0]])


def _project(source: Path) -> dict[str, Any]:
    """The ``[project]`` table of pyproject.toml; empty without one."""
    text = read_text(source, PROJECT, SIZE_CAP, _CODE)
    if text is None:
        return {}
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise DaeError(_CODE, f"{PROJECT} is not TOML: {str(error)[:200]}", "correct that line") from None
    tool = data.get("tool")
    poetry = tool.get("poetry") if isinstance(tool, dict) else None
    project = data.get("project", {})
    if not isinstance(project, dict):
        raise DaeError(_CODE, f"{PROJECT}: [project] is not a table", "see PEP 621")
    if not project and isinstance(poetry, dict) and "dependencies" in poetry and not _has_file(source):
        raise DaeError(
            "build/unsupported-manifest",
            f"the requirements stand in [tool.poetry] of {PROJECT}, which is not read here",
            _FOREIGN["poetry.lock"],
        )
    return project


def _has_file(source: Path) -> bool:
    return any((source / name).is_symlink() or (source / name).exists() for name in FILES)


def _is_dynamic(project: Mapping[str, Any]) -> bool:
    dynamic = project.get("dynamic")
    return isinstance(dynamic, list) and "dependencies" in dynamic


def _dependencies(project: Mapping[str, Any]) -> str:
    if _is_dynamic(project):
        cause = f"{PROJECT} calculates its dependencies when it is built ('dynamic')"
        raise DaeError(_CODE, cause, "write them into pip-req.txt, or as a list into [project]")
    found = project["dependencies"]
    if not isinstance(found, list) or not all(isinstance(text, str) and "\n" not in text for text in found):
        cause = f"{PROJECT}: 'dependencies' is not a list of requirements"
        raise DaeError(_CODE, cause, 'write, say, dependencies = ["flask>=3"]')
    return "".join(f"{text}\n" for text in found)
