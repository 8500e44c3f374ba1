"""``poetry.lock``: from 2.1 on each package says for which group and environment it is; before, they are a graph."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from buildpacks.facts import Facts
from buildpacks.foreign.poetryasked import (
    Wanted,
    allows,
    constraint,
    content_hashes,
    differences,
    grouped,
    own,
    wanted_in,
)
from buildpacks.foreign.reading import Node, bad_lock, check_covers, is_inside, outdated, outside, toml
from buildpacks.locks import Pin, Pins
from buildpacks.policy import Policy, not_from_index

FILE = "poetry.lock"
COMMAND = "poetry lock"
_MAIN = "main"
_READ = (Version("1.1"), Version("2.0"), Version("2.1"))
#: How many differences an error names.
SHOWN = 3


@dataclass(frozen=True, slots=True)
class PoetryLock:
    """``packages``: all of the lock. ``poetry``: pyproject.toml's [tool.poetry]; ``required``: its [project]'s."""

    lock: Node
    packages: tuple[Node, ...]
    pyproject: Node
    required: tuple[Requirement, ...]
    source: Path
    policy: Policy
    filename: str = FILE
    python_from: str = FILE
    exact_python: str = ""

    @property
    def requires_python(self) -> str:
        text = str(constraint(self.lock.table("metadata").text("python-versions", "*"), self.lock))
        try:
            return str(SpecifierSet("" if text == "*" else text))
        except InvalidSpecifier:
            return ""  # a range with a hole in it, which no specifier says

    def groups(self) -> tuple[str, ...]:
        """See :class:`buildpacks.foreign.ForeignLock`."""
        return tuple(name for name, asked in grouped(self.pyproject) if asked)

    def pins(self, facts: Facts, group: str = "") -> Pins:
        """What it says for such an interpreter; see :class:`buildpacks.foreign.ForeignLock`."""
        self._check_fresh()
        found = Pins()
        for package in self._chosen_for(facts, group):
            if self._folder(package):
                continue
            name, version = package.name(), package.text("version")
            pin = self._pin(package, name, version, f"{FILE}: {name}")
            if found.setdefault(name, pin) != pin:
                raise bad_lock(FILE, f"it holds two versions of {name} for one Python", COMMAND)
        if not group:
            self._check_covers(found, facts)
        return found

    def _chosen_for(self, facts: Facts, group: str) -> Iterator[Node]:
        if self._says_groups():
            return self._marked(facts, group or _MAIN)
        of_group = [one for name, asked in grouped(self.pyproject) if name == group for one in asked]
        return self._reached(facts, of_group if group else own(self.pyproject))

    @property
    def folders(self) -> tuple[str, ...]:
        """Those of the commit that packages are taken from, for whatever group."""
        return tuple(sorted(filter(None, map(self._folder, self.packages))))

    def _folder(self, package: Node) -> str:
        """The folder of the commit that a package is taken from; empty for what comes from elsewhere."""
        source = package.table("source")
        folder = posixpath.normpath(source.text("url", "")) if source.data.get("type") == "directory" else ""
        return folder if is_inside(folder) and (self.source / folder).is_dir() else ""

    def _says_groups(self) -> bool:
        return Version(self.lock.table("metadata").text("lock-version")) >= Version("2.1")

    def _marked(self, facts: Facts, group: str) -> Iterator[Node]:
        for package in self.packages:
            if group not in {str(canonicalize_name(name)) for name in package.texts("groups")}:
                continue
            by_group = isinstance(package.data.get("markers"), dict)
            marker = package.table("markers").text(group, "") if by_group else package.text("markers", "")
            if package.applies(marker, facts.markers) and (marker or not package.flag("optional")):
                yield package

    def _reached(self, facts: Facts, asked: Iterable[Wanted]) -> Iterator[Node]:
        """What is ``asked``, and what that leads to: locks of poetry 1 do not say what is for which group."""
        waiting = [(wanted, self.pyproject) for wanted in asked if not wanted.optional]
        walked = set[tuple[int, str]]()
        while waiting:
            wanted, by = waiting.pop()
            if not wanted.applies(by, facts):
                continue
            package = self._chosen(wanted)
            for extra in ("", *wanted.extras):
                if (id(package), extra) not in walked:
                    walked.add((id(package), extra))
                    waiting += [(one, package) for one in _dependencies(package, extra)]
            yield package

    def _chosen(self, wanted: Wanted) -> Node:
        here = [p for p in self.packages if p.name() == wanted.name]
        if wanted.constraint:
            here = [p for p in here if allows(wanted.constraint, p.text("version"), p)]
        if len(here) != 1:
            raise outdated(FILE, f"{wanted.name} {wanted.constraint[:80]} is required, and not in it", COMMAND)
        return here[0]

    def _hashes(self, package: Node) -> list[str]:
        files = package.tables("files")
        if not package.has("files"):  # poetry 1.0 to 1.2 wrote them all at the end
            files = self.lock.table("metadata").table("files").tables(package.text("name"))
        return [file.text("hash", "") for file in files]

    def _pin(self, package: Node, name: str, version: str, where: str) -> Pin:
        source, hashes = package.table("source"), self._hashes(package)
        kind, folder = source.text("type", "legacy"), source.text("subdirectory", "")
        ending = f"#subdirectory={folder}" if folder else ""
        if kind == "git":
            address = f"git+{source.text('url')}@{source.text('resolved_reference')}{ending}"
            return package.direct(self.policy, where, address, version)
        if kind == "url":
            return package.direct(self.policy, where, source.text("url") + ending, version, hashes)
        if kind == "directory":
            raise outside(where, source.text("url", ""))
        if kind != "legacy":
            raise not_from_index(where, f"{kind} {source.text('url', '')}")
        if source.has("url"):
            self.policy.check_index(source.text("url"), where)
        return package.pin(name, version, hashes)

    def _check_covers(self, pins: Pins, facts: Facts) -> None:
        """Raises ``build/lock-outdated`` unless ``pins`` are within what pyproject.toml requires."""
        own_folders = {package.name() for package in self.packages if self._folder(package)}
        required = [one for one in self.required if canonicalize_name(one.name) not in own_folders]
        check_covers(FILE, COMMAND, required, pins, facts.markers)
        for wanted in own(self.pyproject):
            if wanted.optional or wanted.direct or not wanted.applies(self.pyproject, facts):
                continue
            what = f"{wanted.name} {wanted.constraint[:80]}"
            if wanted.name not in pins:
                raise outdated(FILE, f"{what} is required, and it holds no {wanted.name}", COMMAND)
            version = pins[wanted.name].version
            if wanted.constraint and not allows(wanted.constraint, version, self.pyproject):
                raise outdated(FILE, f"{what} is required, and it holds {wanted.name} {version}", COMMAND)

    def _check_fresh(self) -> None:
        """Raises ``build/lock-outdated`` when pyproject.toml is another than the one that the lock was made of."""
        made_of = self.lock.table("metadata").text("content-hash", "")
        known = content_hashes(self.pyproject.data)
        if made_of and known and made_of not in known:
            told = list(islice(differences(self.lock, self.pyproject, self.packages), SHOWN))
            what = "what pyproject.toml requires, or where it comes from, was changed after it was made"
            raise outdated(FILE, "; ".join(told) or what, COMMAND)


def read(
    text: str, pyproject: Mapping[str, Any], source: Path, required: tuple[Requirement, ...], policy: Policy
) -> PoetryLock:
    """The lock in ``text``, of a project with that ``pyproject`` (empty: none); raises ``build/bad-lock``."""
    lock = toml(text, FILE)
    version = lock.version(lock.table("metadata").text("lock-version", "0"))
    if Version(version) not in _READ:
        readable = ", ".join(map(str, _READ))
        raise bad_lock(FILE, f"its version is {version[:20]}; {readable} are read here", COMMAND)
    return PoetryLock(lock, lock.tables("package"), Node("pyproject.toml", pyproject), required, source, policy)


def _dependencies(package: Node, extra: str) -> Iterator[Wanted]:
    table = package.table("dependencies")
    if not extra:
        yield from (one for key in table.data for one in wanted_in(table, key) if not one.optional)
        return
    extras = package.table("extras")
    texts = [
        text for key in extras.data if canonicalize_name(key) == canonicalize_name(extra) for text in extras.texts(key)
    ]
    for text in texts:
        try:
            name = canonicalize_name(Requirement(text).name)
        except (InvalidRequirement, RecursionError):
            raise bad_lock(FILE, f"{text[:80]!a} is not a requirement") from None
        yield from (one for key in table.data if canonicalize_name(key) == name for one in wanted_in(table, key))
