"""Where an app's requirements stand. No file of requirements is passed over in silence.

The first that applies: ``pip-req.txt``; the one lock of another manager; ``requirements.txt``; the project's own static
description (``pyproject.toml``, ``setup.cfg``, ``setup.py``). Two managers at once are an error.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from buildpacks import foreign, includes, lockfile, redirects, setupfiles, unread
from buildpacks.foreign import LOCKS, ForeignLock
from buildpacks.policy import Policy
from buildpacks.project import PYPROJECT, Project, own_requirements
from buildpacks.requirements import Line, render
from buildpacks.sources import read_text
from core.errors import DaeError
from dae import reqfile

FILES = reqfile.NAMES

_CODE = "build/bad-requirements"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a commit requires, and where that stands.

    ``text``: the requirements, one in a line, wherever they stood; ``constraints``: in the same form; ``options``: see
    :class:`buildpacks.includes.Requirements`. With a ``lock`` they are empty. ``requires_python``: a specifier,
    which ``required_by`` says.
    ``python_path``: folders of the commit that its own code is imported from, beside the top one. ``notes``: lines on
    what is not read, or not obeyed.
    """

    filename: str = FILES[1]
    text: str = ""
    requires_python: str = ""
    required_by: str = PYPROJECT
    constraints: str = ""
    options: tuple[str, ...] = ()
    lock: ForeignLock | None = None
    python_path: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def find(source: Path, policy: Policy = Policy()) -> Manifest:  # noqa: B008 - it is frozen
    """The manifest of the tree in the folder ``source``; an empty one when it has none.

    ``dae.lock`` is enforced when it is there.

    Raises ``build/bad-requirements`` (malformed, misspelt, two of them), ``build/unsupported-requirement``,
    ``build/unsupported-manifest`` and ``build/bad-lock``.
    """
    names = _names(source)
    found = _declared(source, names, policy)
    if lockfile.FILE not in names:
        return found
    if found.lock is not None:
        cause = f"{found.filename} and {lockfile.FILE} exist side by side, and may say different things"
        raise DaeError(_CODE, cause, f"keep one: git rm {lockfile.FILE}")
    text = read_text(source, lockfile.FILE, lockfile.SIZE_CAP, "build/bad-lock", lockfile.COMMAND) or ""
    lock = lockfile.load(text, found.text, found.constraints, found.options, policy)
    return replace(found, text="", constraints="", options=(), lock=lock)


def lock_of(source: Path, policy: Policy) -> ForeignLock | None:
    """The lock of another manager that counts for the tree in ``source``, if one does; raises like :func:`find`."""
    name = _one_file(_names(source))
    return foreign.load(source, name, Project.load(source), policy) if name in LOCKS else None


def _names(source: Path) -> set[str]:
    """Of the files at the top. A folder is none, unless it stands where a file is read: that is an error of its own."""
    return {
        entry.name
        for entry in source.iterdir()
        if entry.is_symlink() or not entry.is_dir() or entry.name in FILES or entry.name in LOCKS
    }


def _declared(source: Path, names: set[str], policy: Policy) -> Manifest:
    """The manifest without regard to a lock of ours."""
    project = Project.load(source)
    name = _one_file(names)
    if name in FILES:
        found = from_file(source, name, project, policy)
    elif name:
        lock = foreign.load(source, name, project, policy)
        found = Manifest(name, lock=lock, python_path=_python_path(source, *lock.folders))
    else:
        found = _described(source, names, project, policy)
    found = _with_python(source, project, found)
    counts = found.filename in names
    return replace(found, notes=(*found.notes, *unread.notes_beside(names, found.filename))) if counts else found


def _described(source: Path, names: set[str], project: Project, policy: Policy) -> Manifest:
    """The manifest of a commit without requirements file and lock: what the project says of itself."""
    unread.refuse(names, project)
    own = own_requirements(source, project)
    if own is None:
        unread.refuse_misplaced(source, names)
        return Manifest(notes=unread.notes(source, names, project))
    notes = redirects.notes(source, project) if own[1] else unread.notes(source, names, project)
    redirects.check(source, project, own[1], policy)
    return Manifest(own[0], render(_allowed(own, policy)), python_path=_python_path(source), notes=notes)


def _with_python(source: Path, project: Project, found: Manifest) -> Manifest:
    """The manifest with the Python that it, and the project, say they require."""
    requires, by, notes = project.requires_python, PYPROJECT, found.notes
    if not project.table:  # of which setuptools knows the rest
        requires, by, note = setupfiles.python(source)
        notes = (*notes, note) if note else notes
    lock = found.lock
    if lock is not None:
        requires, by = _both(requires, lock.requires_python), by if requires else lock.python_from
    return replace(found, requires_python=requires, required_by=by or PYPROJECT, notes=notes)


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
    return locks[0] if locks and locks[0] in LOCKS else ""


def from_file(source: Path, name: str, project: Project, policy: Policy) -> Manifest:
    """The manifest that the requirements file ``name`` is; raises what :func:`find` does for such a file."""
    found = includes.load(source, name, policy) or includes.Requirements()
    lines, path, notes = found.lines, tuple[str, ...](), tuple[str, ...]()
    if found.extras is not None:
        own = own_requirements(source, project, found.extras)
        if own is None and project.data is None and not (source / "setup.py").exists():
            cause = f"{name} requires the project itself ('.'), and there is no {PYPROJECT} that describes it"
            raise DaeError(_CODE, cause, f"write {PYPROJECT} (PEP 621), or remove that line")
        if own is None:
            unread.refuse_poetry(project, name)
        else:
            redirects.check(source, project, own[1], policy, name)
        lines, path = (*lines, *(_allowed(own, policy) if own else ())), _python_path(source)
    else:
        notes = redirects.notes_beside(source, project, policy, name)
    limits, options = render(found.constraints), found.options
    return Manifest(name, render(lines), constraints=limits, options=options, python_path=path, notes=notes)


def _allowed(own: tuple[str, tuple[Line, ...]], policy: Policy) -> tuple[Line, ...]:
    """What a project requires, when each address in it is one that packages may come from."""
    for line in own[1]:
        if line.source is not None:
            policy.check_source(line.source, f"{own[0]}: {line.name}")
    return own[1]


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
