"""``uv.lock``: a graph of packages, of which those that the project itself leads to are installed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from buildpacks.facts import Facts
from buildpacks.foreign.reading import Node, bad_lock, check_covers, is_asked, outdated, toml
from buildpacks.locks import Pin, Pins
from buildpacks.policy import Policy, not_from_index

FILE = "uv.lock"
COMMAND = "uv lock"
_OWN = ("virtual", "editable", "directory")


@dataclass(frozen=True, slots=True)
class UvLock:
    """``required``: of pyproject.toml, None when that calculates it."""

    root: Node
    packages: Mapping[str, tuple[Node, ...]]
    required: tuple[Requirement, ...] | None
    requires_python: str
    policy: Policy
    filename: str = FILE

    def pins(self, facts: Facts) -> Pins:
        """What it says for such an interpreter; see :class:`buildpacks.foreign.ForeignLock`."""
        if self.required is not None:
            self._same_requirements(self.required, facts.markers)
        found, walked = Pins(), set[tuple[int, str]]()
        waiting = [(self.root, "")]
        while waiting:
            package, extra = waiting.pop()
            if (id(package), extra) in walked:
                continue
            walked.add((id(package), extra))
            if package is not self.root and not _is_own(package):
                name, pin = self._pin(package)
                if found.setdefault(name, pin) != pin:
                    raise bad_lock(FILE, f"it holds two versions of {name} for one Python")
            for wanted in _dependencies(package, extra):
                if wanted.applies(wanted.text("marker", ""), facts.markers):
                    chosen = self._chosen(wanted, facts.markers)
                    waiting += [(chosen, name) for name in ("", *wanted.texts("extra"))]
        others = [one for one in self.required or () if canonicalize_name(one.name) != self.root.name()]
        check_covers(FILE, COMMAND, others, found, facts.markers)
        return found

    def _pin(self, package: Node) -> tuple[str, Pin]:
        name, source = package.name(), package.table("source")
        where = f"{FILE}: {name}"
        files = [*package.tables("wheels"), *([package.table("sdist")] if package.has("sdist") else [])]
        hashes = [file.text("hash", "") for file in files]
        if source.has("git"):
            return name, package.direct(self.policy, where, _git(source.text("git")), package.text("version", ""))
        if source.has("url"):
            return name, package.direct(self.policy, where, _with_folder(source), package.text("version", ""), hashes)
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

    def _same_requirements(self, required: tuple[Requirement, ...], markers: Mapping[str, str]) -> None:
        """Raises ``build/lock-outdated`` when the lock is of other requirements than pyproject.toml has."""
        now = {_key(one) for one in required if is_asked(one, "pyproject.toml", markers)}
        locked = {
            (
                entry.name(),
                frozenset(canonicalize_name(extra) for extra in entry.texts("extras")),
                str(entry.specifiers(entry.text("specifier", ""))),
            )
            for entry in self.root.table("metadata").tables("requires-dist")
            if entry.applies(entry.text("marker", ""), markers)
        }
        for name, extras, specifier in sorted(now - locked, key=str):
            shown = f"{name}{'[' + ','.join(sorted(extras)) + ']' if extras else ''}{specifier}"
            raise outdated(FILE, f"pyproject.toml requires {shown[:120]}, it was made for something else", COMMAND)
        for name, _extras, _specifier in sorted(locked - now, key=str):
            raise outdated(FILE, f"pyproject.toml requires {name} no more", COMMAND)


def read(text: str, required: tuple[Requirement, ...] | None, policy: Policy) -> UvLock:
    """The lock in ``text``; raises ``build/bad-lock``."""
    lock = toml(text, FILE)
    version = lock.data.get("version")
    if version != 1 or isinstance(version, bool):
        raise bad_lock(FILE, f"its version is {str(version)[:20]!a}; version 1 is read here", COMMAND)
    packages: dict[str, tuple[Node, ...]] = {}
    for package in lock.tables("package"):
        packages[package.name()] = (*packages.get(package.name(), ()), package)
    roots = [package for several in packages.values() for package in several if _is_own(package)]
    if len(roots) != 1:
        raise bad_lock(FILE, "it holds no project that stands at the commit's top", "commit the project's own folder")
    requires = lock.text("requires-python", "")
    lock.specifiers(requires)
    return UvLock(roots[0], packages, required, requires, policy)


def _is_own(package: Node) -> bool:
    source = package.table("source")
    return any(source.data.get(key) == "." for key in _OWN)


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


def _key(requirement: Requirement) -> tuple[str, frozenset[str], str]:
    extras = frozenset(str(canonicalize_name(extra)) for extra in requirement.extras)
    return str(canonicalize_name(requirement.name)), extras, str(requirement.specifier)
