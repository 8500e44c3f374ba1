"""What an app's tests need beside what the app requires: a recipe whose environment has both."""

from __future__ import annotations

import difflib
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from buildpacks import manifests, redirects
from buildpacks.detect import Recipe
from buildpacks.facts import Facts
from buildpacks.foreign import LOCKS, ForeignLock
from buildpacks.groups import groups
from buildpacks.lockfile import OWN
from buildpacks.locks import Pins, render
from buildpacks.policy import Policy
from buildpacks.project import PYPROJECT, Project
from buildpacks.requirements import parse_line
from buildpacks.requirements import render as rendered
from buildpacks.steps import path_of
from core.errors import DaeError

#: Where development dependencies stand when app.yaml does not say; the first that is there counts.
FILES = ("dev-req.txt", "requirements-dev.txt")
#: Else a group of the app's lock, else of pyproject.toml (PEP 735): the first that is there.
GROUPS = ("dev", "test", "tests")

_CODE = "build/bad-requirements"
#: Among how many files one that is meant is looked for.
LOOKED_AT = 500
#: What a shell knows by itself, of that which a command begins with.
_SHELL = frozenset(("cd", "eval", "exec", "export", "false", "for", "if", "set", "test", "true", "unset", "wait"))


@dataclass(frozen=True, slots=True)
class Needs:
    """Where development dependencies stand: a ``file``, and a ``group`` in it, if it is a lock or pyproject.toml."""

    file: str
    group: str = ""
    lock: ForeignLock | None = None

    def __str__(self) -> str:
        return f"the group {self.group} of {self.file}" if self.group else self.file


def check_named(source: Path, named: str) -> None:
    """Raises ``build/bad-requirements`` unless the file that app.yaml names is there; ``named`` may be empty."""
    if not named or (source / named).is_file():
        return
    folder = source / Path(named).parent
    ours = folder.is_dir() and folder.resolve().is_relative_to(source.resolve())
    there = [entry.name for entry in folder.iterdir() if entry.suffix in (".txt", ".in")] if ours else []
    near = difflib.get_close_matches(Path(named).name, sorted(there)[:LOOKED_AT], 1, 0.5)
    near = near or [name for name in FILES if name in there]
    hint = f"name {ascii((Path(named).parent / near[0]).as_posix())[1:-1]}, which is there; or " if near else ""
    cause = f"'ci' in app.yaml requires {named}, which is not in the commit"
    raise DaeError(_CODE, cause, f"{hint}commit it, or take 'requires' out")


def needs(source: Path, named: str, policy: Policy) -> Needs | None:
    """Where they stand for the tree in ``source``, None when nowhere; ``named``: what app.yaml says.

    Raises ``build/bad-requirements`` when what it says is not there, and what :func:`buildpacks.manifests.find` does.
    """
    check_named(source, named)
    if file := named or next((name for name in FILES if (source / name).is_file()), ""):
        return Needs(file)
    lock = manifests.lock_of(source, policy)
    known = lock.groups() if lock else groups(Project.load(source).data or {})
    group = next((name for name in GROUPS if name in known), "")
    return Needs(lock.filename if lock else PYPROJECT, group, lock) if group else None


def advice(commands: Sequence[str], environment: Path, found: Needs | None) -> str:
    """What to do when one of the ``commands`` named a program that is neither in ``environment`` nor on the machine."""
    parts = [part.split() for command in commands for part in re.split(r"&&|\|\||[;|\n]", command)]
    words = [words[0] for words in parts if words and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", words[0])]
    missing = [word for word in words if word not in _SHELL and not shutil.which(word, path=path_of(environment))]
    what = f"{missing[0]} is" if missing else "the program is"
    if found is None:
        return f"{what} not installed: write {missing[0] if missing else 'its package'} into {FILES[0]}, and push again"
    then = f", run '{LOCKS[found.file]}'" if found.lock else ""
    where = f"the group {found.group} of {PYPROJECT}" if found.file in ("uv.lock", "poetry.lock") else str(found)
    where = "[dev-packages] of Pipfile" if found.file == "Pipfile.lock" else where
    return f"{what} not among what the tests get: write its package into {where}{then}, and push again"


def beside(pins: Pins, source: Path, found: Needs, policy: Policy, facts: Facts, installer: str = "") -> Recipe:
    """A recipe of the ``pins`` and of what ``found`` says of the tree in the folder ``source``.

    ``pins``: the lock of the app's own environment. It is required to the letter: what is tested is what runs, but for
    the platform's own library, of which the index has no earlier version. A group of a lock adds its versions, too.
    ``facts``: of the app's interpreter. Raises ``build/bad-requirements``, ``build/unsupported-requirement``,
    ``build/unsupported-manifest``, ``build/bad-lock`` and ``build/lock-outdated``.
    """
    kept = {project: pin for project, pin in pins.items() if project != OWN}
    if found.lock is not None:
        kept = {**found.lock.pins(facts, found.group), **kept}
        more = manifests.Manifest()
    elif found.group:
        where = f"{PYPROJECT}, the group {found.group}"
        project = Project.load(source)
        texts = groups(project.data or {})[found.group]
        lines = [parse_line(text, f"{where}, entry {number}", number) for number, text in enumerate(texts, 1)]
        for line in lines:
            if line.source is not None:
                policy.check_source(line.source, where)
        redirects.check(source, project, lines, policy)
        more = manifests.Manifest(text=rendered(lines))
    else:
        more = manifests.from_file(source, found.file, Project.load(source), policy)
    return Recipe(
        processes=(),
        requirements=_required(kept) + more.text,
        constraints=more.constraints,
        options=more.options,
        requirements_file=found.file,
        installer=installer,
    )


def _required(pins: Pins) -> str:
    """The pins as requirements, one in a line."""
    indexed = {project: pin for project, pin in pins.items() if pin.source is None}
    direct = [f"{project} @ {pin.source.address}\n" for project, pin in sorted(pins.items()) if pin.source]
    return render(indexed).replace(" \\\n    ", " ") + "".join(direct)
