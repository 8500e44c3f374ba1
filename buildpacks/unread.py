"""What stands in a commit as if it said what the app requires, and is not read.

It is refused when nothing that is read says it, and told when something else does: it is never passed over.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from buildpacks.project import PYPROJECT, Project
from core.errors import DaeError
from dae import reqfile

_CODE = "build/unsupported-manifest"
#: What describes an app for another manager, and what to type so that it can be read here.
_FOREIGN: Mapping[str, str] = {
    "pdm.lock": "pdm export --prod -o pip-req.txt",
    "Pipfile": "run 'pipenv lock', and commit Pipfile.lock",
    "environment.yml": "write the packages that the app imports, one in a line, into pip-req.txt",
    "environment.yaml": "write the packages that the app imports, one in a line, into pip-req.txt",
}
FOLDER = "requirements"
#: Files of FOLDER, the one that an app is deployed with before the others.
_FIRST = ("production", "prod", "deploy", "base", "main", "common", "requirements", "app", "web")
#: How people call a file of requirements.
_LIKE = re.compile(
    r"(?:[\w.]+[-_.])?(?:pip[-_.]?)?req(?:uire(?:ment)?)?s?(?:[-_.][\w.-]+)?\.(?:txt|in|pip|lock)", re.ASCII
)
_PIXI = ("pixi.lock", "pixi.toml")
_TESTS = re.compile(r"(?:\b|_)(?:dev|devel|development|tests?|testing|docs?|lint|ci|local)(?:\b|_)")
_SHOWN = 8


def refuse(names: Collection[str], project: Project) -> None:
    """Raises ``build/unsupported-manifest`` when the requirements stand in what another manager reads."""
    if unread := [
        name for name in _FOREIGN if name in names and (name == "pdm.lock" or not project.names_dependencies)
    ]:
        cause = f"the requirements stand in {' and '.join(unread)}, which is not read here by itself"
        raise DaeError(_CODE, cause, _FOREIGN[unread[0]])
    refuse_poetry(project)
    named = sorted(name for name in names if name.startswith("pylock.") and name.endswith(".toml"))
    if named and not project.names_dependencies:
        cause = f"there is {', '.join(ascii(name)[1:-1] for name in named[:5])}, and no pylock.toml"
        raise DaeError(_CODE, cause, f"git mv {ascii(named[0])[1:-1]} pylock.toml")


def refuse_poetry(project: Project, by: str = "") -> None:
    """The same for ``[tool.poetry]`` alone; ``by``: a requirements file that leads to it, in place of a lock."""
    if "dependencies" in project.tool("poetry") and not project.names_dependencies:
        cause = f"the requirements stand in [tool.poetry] of {PYPROJECT}, and there is no poetry.lock"
        instead = f", and: git rm {by}" if by else ""
        raise DaeError(_CODE, cause, f"run 'poetry lock', and commit poetry.lock{instead}")


def refuse_misplaced(source: Path, names: Collection[str]) -> None:
    """Raises ``build/bad-requirements`` for files that nothing reads, in a commit that says nowhere else what it needs.

    They are called nearly as those that are read, or stand in a folder.
    """
    for name, meant in _misspelt(names):
        raise DaeError("build/bad-requirements", f"there is {name}, which nothing reads", f"git mv {name} {meant}")
    files = _in_folder(source)
    if files and not _TESTS.search(files[0]):
        cause = f"there is {FOLDER}/ with {_listed(files)}, and no requirements.txt that names one of them"
        how = f"write '-r {FOLDER}/{files[0]}' into requirements.txt, and commit it"
        raise DaeError("build/bad-requirements", cause, how)


def notes_beside(names: Collection[str], filename: str) -> tuple[str, ...]:
    """A line for each file that nothing reads, where ``filename`` is what counts."""
    return tuple(
        f"there is {name}, which nothing reads: {filename} says what the app requires" for name, _ in _misspelt(names)
    )


def notes(source: Path, names: Collection[str], project: Project) -> tuple[str, ...]:
    """A line on what nothing reads, of a commit that requires nothing."""
    files = sorted(name for name in names if _LIKE.fullmatch(name.lower()) and name not in reqfile.NAMES)
    files += [f"{FOLDER}/{name}" for name in _in_folder(source)]
    tables = [f"[{key}]" for key in ("dependency-groups",) if (project.data or {}).get(key)]
    tables += [f"[project.{key}]" for key in ("optional-dependencies",) if project.table.get(key)]
    found = [*files, *(name for name in _PIXI if name in names), *(f"{table} of {PYPROJECT}" for table in tables)]
    if not found:
        return ()
    ours = [name for name in files if not _TESTS.search(name.lower())]
    how = "write what the app imports into requirements.txt"
    if ours:
        how = f"if that is what the app requires, write '-r {ours[0]}' into requirements.txt"
    elif tables and not files:
        how = f"write what the app imports into 'dependencies' of [project] in {PYPROJECT}"
    which = "is" if len(found) == 1 else "are"
    return (f"{_listed(found)} {which} not read for the app, and nothing is installed but what every app gets; {how}",)


def _misspelt(names: Collection[str]) -> Iterator[tuple[str, str]]:
    return ((name, meant) for name in sorted(names) if (meant := reqfile.meant(name)))


def _in_folder(source: Path) -> list[str]:
    """The files of requirements in FOLDER, that which is deployed first."""
    folder = source / FOLDER
    if folder.is_symlink() or not folder.is_dir():
        return []
    names = [entry.name for entry in folder.iterdir() if entry.is_file() and entry.suffix in (".txt", ".in")]
    plain = sorted(name for name in names if re.fullmatch(r"[A-Za-z0-9][\w.-]*", name, re.ASCII))
    return sorted(plain, key=_rank)


def _rank(name: str) -> tuple[int, bool]:
    stem = name.rpartition(".")[0].lower()
    place = _FIRST.index(stem) if stem in _FIRST else len(_FIRST) + bool(_TESTS.search(name.lower()))
    return place, name.endswith(".in")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
