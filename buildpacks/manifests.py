"""Where an app's requirements stand. No file of requirements is passed over in silence.

The first that applies: ``pip-req.txt``; the one lock of another manager; ``requirements.txt``; the project's own static
description (``pyproject.toml``, ``setup.cfg``, ``setup.py``). Two managers at once are an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from buildpacks import foreign, includes, lockfile
from buildpacks.foreign import LOCKS, ForeignLock
from buildpacks.policy import Policy
from buildpacks.project import PYPROJECT, Project, own_requirements
from buildpacks.requirements import Line, render
from buildpacks.sources import read_text
from core.errors import DaeError
from dae import reqfile

FILES = reqfile.NAMES

_CODE, _UNREAD = "build/bad-requirements", "build/unsupported-manifest"
#: What describes an app for another manager, and what to type so that it can be read here.
_FOREIGN: Mapping[str, str] = {
    "pdm.lock": "pdm export --prod -o pip-req.txt",
    "Pipfile": "run 'pipenv lock', and commit Pipfile.lock",
    "environment.yml": "write the packages that the app imports, one in a line, into pip-req.txt",
}


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a commit requires, and where that stands.

    ``text``: the requirements, one in a line, wherever they stood; ``constraints``: in the same form; ``options``: see
    :class:`buildpacks.includes.Requirements`. With a ``lock`` they are empty. ``requires_python``: a specifier,
    which ``required_by`` says.
    ``python_path``: folders of the commit that its own code is imported from, beside the top one.
    """

    filename: str = FILES[1]
    text: str = ""
    requires_python: str = ""
    required_by: str = PYPROJECT
    constraints: str = ""
    options: tuple[str, ...] = ()
    lock: ForeignLock | None = None
    python_path: tuple[str, ...] = ()


def find(source: Path, policy: Policy = Policy()) -> Manifest:  # noqa: B008 - it is frozen
    """The manifest of the tree in the folder ``source``; an empty one when it has none.

    ``dae.lock`` is enforced when it is there.

    Raises ``build/bad-requirements`` (malformed, misspelt, two of them), ``build/unsupported-requirement``,
    ``build/unsupported-manifest`` and ``build/bad-lock``.
    """
    names = {entry.name for entry in source.iterdir()}
    found = _declared(source, names, policy)
    if lockfile.FILE not in names:
        return found
    if found.lock is not None:
        cause = f"{found.filename} and {lockfile.FILE} exist side by side, and may say different things"
        raise DaeError(_CODE, cause, f"keep one: git rm {lockfile.FILE}")
    text = read_text(source, lockfile.FILE, lockfile.SIZE_CAP, "build/bad-lock") or ""
    lock = lockfile.load(text, found.text, found.constraints, found.options, policy)
    return replace(found, text="", constraints="", options=(), lock=lock)


def lock_of(source: Path, policy: Policy) -> ForeignLock | None:
    """The lock of another manager that counts for the tree in ``source``, if one does; raises like :func:`find`."""
    name = _one_file({entry.name for entry in source.iterdir()})
    return foreign.load(source, name, Project.load(source), policy) if name in LOCKS else None


def _declared(source: Path, names: set[str], policy: Policy) -> Manifest:
    """The manifest without regard to a lock of ours."""
    project = Project.load(source)
    requires = project.requires_python
    name = _one_file(names)
    if name in FILES:
        return from_file(source, name, project, policy)
    if name:
        lock = foreign.load(source, name, project, policy)
        path = _python_path(source, *lock.folders)
        both, by = _both(requires, lock.requires_python), PYPROJECT if requires else lock.python_from
        return Manifest(name, "", both, by, lock=lock, python_path=path)
    _nothing_unread(names, project)
    own = own_requirements(source, project)
    if own is None:
        return Manifest(requires_python=requires)
    return Manifest(own[0], render(_allowed(own, policy)), requires, python_path=_python_path(source))


def _one_file(names: set[str]) -> str:
    """The requirements file or the lock that counts, or an empty text; raises ``build/bad-requirements``."""
    found = [name for name in FILES if name in names]
    locks = [name for name in (*LOCKS, "pdm.lock") if name in names]
    if len(found) > 1:
        raise DaeError(_CODE, f"both {' and '.join(FILES)} exist", "keep one of the two")
    if found == [FILES[0]]:
        return FILES[0]
    if len(found + locks) > 1:
        cause = f"{' and '.join(found + locks)} exist side by side, and may say different things"
        mine = f", or: git mv {found[0]} {FILES[0]} (it comes first)" if found else ""
        raise DaeError(_CODE, cause, f"keep one: git rm {locks[-1]}{mine}")
    if found:
        return found[0]
    _no_misspelling(names)
    return locks[0] if locks and locks[0] in LOCKS else ""


def from_file(source: Path, name: str, project: Project, policy: Policy) -> Manifest:
    """The manifest that the requirements file ``name`` is; raises what :func:`find` does for such a file."""
    found = includes.load(source, name, policy) or includes.Requirements()
    lines, path = found.lines, tuple[str, ...]()
    if found.extras is not None:
        own = own_requirements(source, project, found.extras)
        if own is None and project.data is None and not (source / "setup.py").exists():
            cause = f"{name} requires the project itself ('.'), and there is no {PYPROJECT} that describes it"
            raise DaeError(_CODE, cause, f"write {PYPROJECT} (PEP 621), or remove that line")
        lines, path = (*lines, *(_allowed(own, policy) if own else ())), _python_path(source)
    limits, options = render(found.constraints), found.options
    return Manifest(name, render(lines), project.requires_python, constraints=limits, options=options, python_path=path)


def _allowed(own: tuple[str, tuple[Line, ...]], policy: Policy) -> tuple[Line, ...]:
    """What a project requires, when each address in it is one that packages may come from."""
    for line in own[1]:
        if line.source is not None:
            policy.check_source(line.source, f"{own[0]}: {line.name}")
    return own[1]


def _nothing_unread(names: set[str], project: Project) -> None:
    """Raises ``build/unsupported-manifest`` when the requirements stand in a file that is not read."""
    if unread := [
        name for name in _FOREIGN if name in names and (name == "pdm.lock" or not project.names_dependencies)
    ]:
        cause = f"the requirements stand in {' and '.join(unread)}, which is not read here by itself"
        raise DaeError(_UNREAD, cause, _FOREIGN[unread[0]])
    if "dependencies" in project.tool("poetry") and not project.names_dependencies:
        cause = f"the requirements stand in [tool.poetry] of {PYPROJECT}, and there is no poetry.lock"
        raise DaeError(_UNREAD, cause, "run 'poetry lock', and commit poetry.lock")
    named = sorted(name for name in names if name.startswith("pylock.") and name.endswith(".toml"))
    if named and not project.names_dependencies:
        cause = f"there is {', '.join(ascii(name)[1:-1] for name in named[:5])}, and no pylock.toml"
        raise DaeError(_UNREAD, cause, f"git mv {ascii(named[0])[1:-1]} pylock.toml")


def _no_misspelling(names: set[str]) -> None:
    for name in sorted(names):
        if meant := reqfile.meant(name):
            raise DaeError(_CODE, f"there is {name}, which nothing reads", f"git mv {name} {meant}")


def _python_path(source: Path, *others: str) -> tuple[str, ...]:
    """What installing the project, and those of the folders ``others``, would put on the path.

    That is ``src`` when it keeps its code there; the top itself always is.
    """
    found = [path for folder in ("", *others) if (path := _code_of(source, folder))]
    return tuple(dict.fromkeys(found))


def _code_of(source: Path, folder: str) -> str:
    inner = source / folder / "src"
    is_layout = inner.is_dir() and not inner.is_symlink() and not (inner / "__init__.py").exists()
    return f"{folder}/src".lstrip("/") if is_layout else folder


def _both(one: str, other: str) -> str:
    """The specifier that both say; each may be empty."""
    try:
        return str(SpecifierSet(one) & SpecifierSet(other)) if one and other else one or other
    except InvalidSpecifier:
        return one  # the project's own is wrong, and what reads it says so
