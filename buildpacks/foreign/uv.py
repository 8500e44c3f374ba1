"""``uv.lock``: a graph of packages, of which those that the project itself leads to are installed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qsl

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from buildpacks.facts import Facts
from buildpacks.foreign import uvfresh, uvwhole
from buildpacks.foreign.reading import Node, bad_lock, check_covers, is_inside, outdated, outside, toml
from buildpacks.foreign.sampled import Sampled
from buildpacks.foreign.uvsources import Sources
from buildpacks.locks import Pin, Pins
from buildpacks.policy import Policy, not_from_index
from buildpacks.project import PYPROJECT, Project
from buildpacks.sources import read_text

FILE = "uv.lock"
SETTINGS, SETTINGS_CAP = "uv.toml", 256 << 10
COMMAND = "uv lock"
#: How many differences an error names.
SHOWN = 3
_OWN = ("virtual", "editable", "directory")


@dataclass(frozen=True, slots=True)
class UvLock:
    """``lock``: all of it. ``root``: the project at the commit's top, whose pyproject.toml is ``top``.

    ``projects``: those of the others in the commit, by their folder. ``unknown``: what differs of which there are.
    ``settings``: uv.toml, which counts in place of [tool.uv].
    """

    lock: Node
    root: Node
    packages: Mapping[str, tuple[Node, ...]]
    top: Node
    projects: Mapping[str, Node]
    unknown: tuple[str, ...]
    settings: Node | None
    policy: Policy
    filename: str = FILE
    python_from: str = FILE
    exact_python: str = ""

    @property
    def requires_python(self) -> str:
        return self.lock.text("requires-python", "")

    @property
    def folders(self) -> tuple[str, ...]:
        """Those of the commit's other projects that the root leads to, whatever the markers say.

        Here versions of one name are not told apart: each package is looked at once, however many lead to it.
        """
        found, waiting, seen = set[str](), [(self.root.name(), "")], set[tuple[str, str]]()
        while waiting:
            name, extra = wanted = waiting.pop()
            if wanted in seen:
                continue
            seen.add(wanted)
            for package in self.packages.get(name, ()):
                found.add(_folder(package))
                for one in _dependencies(package, extra):
                    waiting += [(one.name(), more) for more in ("", *one.texts("extra"))]
        return tuple(sorted(found - {"", "."}))

    def groups(self) -> tuple[str, ...]:
        """See :class:`buildpacks.foreign.ForeignLock`."""
        return tuple(self.root.table("dev-dependencies").data)

    def pins(self, facts: Facts, group: str = "") -> Pins:
        """What it says for such an interpreter; see :class:`buildpacks.foreign.ForeignLock`."""
        if changes := [*self._differences(facts.markers)]:
            more = f"; and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
            raise outdated(FILE, "; ".join(line[:300] for line in changes[:SHOWN]) + more, COMMAND)
        found = Pins()
        for package, extra in self._walked(facts.markers, group):
            if not extra and _folder(package) not in (".", *self.projects):
                name, pin = self._pin(package)
                if found.setdefault(name, pin) != pin:
                    raise bad_lock(FILE, f"it holds two versions of {name} for one Python")
        if not group:
            check_covers(FILE, COMMAND, self._required(), found, facts.markers)
        return found

    def _required(self) -> list[Requirement]:
        """What the root requires of indexes."""
        project = self.top.table("project")
        if "dependencies" in project.texts("dynamic"):
            return []
        own = {one.name() for one in (self.root, *self._of_commit())}
        asked = [Requirement(text) for text in project.texts("dependencies")]  # they were found to be some
        return [one for one in asked if canonicalize_name(one.name) not in own and not one.url]

    def _differences(self, markers: Mapping[str, str]) -> Iterator[str]:
        sampled = Sampled(self.lock, markers, self.lock.specifiers(self.requires_python))
        folders = {package.name(): _folder(package) for package in (self.root, *self._of_commit())}
        sides = {"": self._side(self.root, self.top, folders)}
        for package in self._of_commit():
            folder = _folder(package)
            if folder in self.projects:
                sides[f"{folder}: "] = self._side(package, self.projects[folder], folders)
            elif is_inside(folder):
                yield f"it holds the project {folder}, of which the commit has no {PYPROJECT}"
        projects = [side.project for side in sides.values()]
        yield from uvwhole.differences(self.lock, sides[""], projects, self.settings, sampled)
        yield from self.unknown
        revision = self.lock.data.get("revision", 0)
        extras = isinstance(revision, int) and revision >= 1
        for where, side in sides.items():
            yield from (f"{where}{line}" for line in side.differences(sampled, extras=extras))

    def _side(self, package: Node, pyproject: Node, folders: Mapping[str, str]) -> uvfresh.Side:
        return uvfresh.Side(package, pyproject, Sources.of(pyproject, self.top, self.settings, folders))

    def _of_commit(self) -> Iterator[Node]:
        """The projects that are taken from folders, but for the root."""
        yield from (p for several in self.packages.values() for p in several if _folder(p) not in ("", "."))

    def _walked(self, markers: Mapping[str, str], group: str = "") -> Iterator[tuple[Node, str]]:
        """Each package that the root, or a ``group`` of it, leads to, with each extra of it that is asked for."""
        walked, waiting = set[tuple[int, str]](), [(self.root, "")]
        if group:
            waiting = [*self._asked(self.root.table("dev-dependencies").tables(group), markers)]
        while waiting:
            package, extra = waiting.pop()
            if (id(package), extra) in walked:
                continue
            walked.add((id(package), extra))
            yield package, extra
            waiting += self._asked(_dependencies(package, extra), markers)

    def _asked(self, entries: Iterable[Node], markers: Mapping[str, str]) -> Iterator[tuple[Node, str]]:
        for wanted in entries:
            if wanted.applies(wanted.text("marker", ""), markers):
                chosen = self._chosen(wanted, markers)
                yield from ((chosen, name) for name in ("", *wanted.texts("extra")))

    def _pin(self, package: Node) -> tuple[str, Pin]:
        name, source = package.name(), package.table("source")
        where = f"{FILE}: {name}"
        files = [*package.tables("wheels"), *([package.table("sdist")] if package.has("sdist") else [])]
        hashes = [file.text("hash", "") for file in files]
        if source.has("git"):
            return name, package.direct(self.policy, where, _git(source.text("git")), package.text("version", ""))
        if source.has("url"):
            return name, package.direct(self.policy, where, _with_folder(source), package.text("version", ""), hashes)
        if folder := _folder(package):
            raise outside(where, folder)
        if not source.has("registry"):
            raise not_from_index(where, " ".join(f"{key} {source.data[key]}" for key in list(source.data)[:1]))
        self.policy.check_index(source.text("registry"), where)
        return name, package.pin(name, package.text("version"), hashes)

    def _chosen(self, wanted: Node, markers: Mapping[str, str]) -> Node:
        """The package that a dependency means; several of a name are told apart by what it says."""
        name = wanted.name()
        here = [
            package
            for package in self.packages.get(name, ())
            if all(wanted.data[key] == package.data.get(key) for key in ("version", "source") if wanted.has(key))
        ]
        if len(here) > 1:
            here = [p for p in here if any(p.applies(m, markers) for m in p.texts("resolution-markers"))]
        if len(here) != 1:
            raise bad_lock(FILE, f"{name} is required, and it holds {len(here)} packages that fit", COMMAND)
        return here[0]


def read(text: str, pyproject: Mapping[str, Any], source: Path, policy: Policy) -> UvLock:
    """The lock in ``text``, of the commit in the folder ``source`` with that ``pyproject`` at its top.

    Raises ``build/bad-lock``, and ``build/bad-requirements`` for the pyproject.toml of another project in it.
    """
    lock = toml(text, FILE)
    version = lock.data.get("version")
    if version != 1 or isinstance(version, bool):
        raise bad_lock(FILE, f"its version is {str(version)[:20]!a}; version 1 is read here", COMMAND)
    packages: dict[str, tuple[Node, ...]] = {}
    for package in lock.tables("package"):
        packages[package.name()] = (*packages.get(package.name(), ()), package)
    folders = [(_folder(package), package) for several in packages.values() for package in several]
    roots = [package for folder, package in folders if folder == "."]
    if len(roots) != 1:
        hint = f"give the {PYPROJECT} at the top a [project] that requires what the app needs, and run '{COMMAND}'"
        raise bad_lock(FILE, "it holds no project that stands at the commit's top", hint)
    lock.specifiers(lock.text("requires-python", ""))
    projects = {
        folder: Node(f"{folder}/{PYPROJECT}", data)
        for folder, _package in folders
        if is_inside(folder) and (data := Project.load(source, folder).data) is not None
    }
    top = Node(PYPROJECT, pyproject)
    unknown = tuple(uvwhole.members(source, top, [folder for folder, _package in folders]))
    said = read_text(source, SETTINGS, SETTINGS_CAP, "build/bad-requirements")
    settings = None if said is None else toml(said, SETTINGS)
    return UvLock(lock, roots[0], packages, top, projects, unknown, settings, policy)


def _folder(package: Node) -> str:
    """The folder that a project is taken from: ``.`` the top; empty for what comes from elsewhere."""
    source = package.table("source")
    return next((str(PurePosixPath(source.text(key))) for key in _OWN if source.has(key)), "")


def _dependencies(package: Node, extra: str) -> Iterator[Node]:
    if not extra:
        yield from package.tables("dependencies")
        return
    extras = package.table("optional-dependencies")
    for key in extras.data:
        if canonicalize_name(key) == canonicalize_name(extra):
            yield from extras.tables(key)


def _git(text: str) -> str:
    """uv's spelling, ``https://HOST/REPO?subdirectory=DIR&rev=main#COMMIT``, in pip's."""
    place, _, commit = text.partition("#")
    url, _, query = place.partition("?")
    folder = dict(parse_qsl(query)).get("subdirectory", "")
    return f"git+{url}@{commit}" + (f"#subdirectory={folder}" if folder else "")


def _with_folder(source: Node) -> str:
    folder = source.text("subdirectory", "")
    return source.text("url") + (f"#subdirectory={folder}" if folder else "")
