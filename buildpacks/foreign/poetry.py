"""``poetry.lock``: from 2.1 on each package says for which group and environment it is; before, they are a graph."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from buildpacks.facts import Facts
from buildpacks.foreign.reading import Node, bad_lock, check_covers, outdated, toml
from buildpacks.locks import Pin, Pins
from buildpacks.policy import Policy, not_from_index

FILE = "poetry.lock"
COMMAND = "poetry lock"
_MAIN = "main"
_READ = (Version("1.1"), Version("2.0"), Version("2.1"))
_DIRECT = ("git", "url", "path", "file")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A dependency as poetry writes them: of which versions (``^3.1``), and in which environments."""

    name: str
    constraint: str
    marker: str
    python: str
    extras: tuple[str, ...]
    optional: bool
    direct: str = ""

    def applies(self, node: Node, facts: Facts) -> bool:
        version = facts.markers.get("python_full_version", "")
        return node.applies(self.marker, facts.markers) and (not self.python or allows(self.python, version, node))


@dataclass(frozen=True, slots=True)
class PoetryLock:
    """``packages``: all of the lock. ``poetry``: pyproject.toml's [tool.poetry]; ``required``: its [project]'s."""

    lock: Node
    packages: tuple[Node, ...]
    pyproject: Node
    required: tuple[Requirement, ...]
    policy: Policy
    filename: str = FILE
    folders: tuple[str, ...] = ()

    @property
    def requires_python(self) -> str:
        text = str(_constraint(self.lock.table("metadata").text("python-versions", "*"), self.lock))
        try:
            return str(SpecifierSet("" if text == "*" else text))
        except InvalidSpecifier:
            return ""  # a range with a hole in it, which no specifier says

    def pins(self, facts: Facts) -> Pins:
        """What it says for such an interpreter; see :class:`buildpacks.foreign.ForeignLock`."""
        found = Pins()
        for package in self._marked(facts) if self._says_groups() else self._reached(facts):
            name, version = package.name(), package.text("version")
            pin = self._pin(package, name, version, f"{FILE}: {name}")
            if found.setdefault(name, pin) != pin:
                raise bad_lock(FILE, f"it holds two versions of {name} for one Python", COMMAND)
        self._check_fresh(found, facts)
        return found

    def _says_groups(self) -> bool:
        return Version(self.lock.table("metadata").text("lock-version")) >= Version("2.1")

    def _marked(self, facts: Facts) -> Iterator[Node]:
        for package in self.packages:
            if _MAIN not in package.texts("groups"):
                continue
            by_group = isinstance(package.data.get("markers"), dict)
            marker = package.table("markers").text(_MAIN, "") if by_group else package.text("markers", "")
            if package.applies(marker, facts.markers) and (marker or not package.flag("optional")):
                yield package

    def _reached(self, facts: Facts) -> Iterator[Node]:
        """What the project's own dependencies lead to: locks of poetry 1 do not say what is for which group."""
        waiting = [(wanted, self.pyproject) for wanted in self._own() if not wanted.optional]
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
        if kind != "legacy":
            raise not_from_index(where, f"{kind} {source.text('url', '')}")
        if source.has("url"):
            self.policy.check_index(source.text("url"), where)
        return package.pin(name, version, hashes)

    def _own(self) -> list[Wanted]:
        """What [tool.poetry] requires; where [project] does, this only says where from."""
        if self.pyproject.table("project").has("dependencies"):
            return []
        table = self.pyproject.table("tool").table("poetry").table("dependencies")
        return [one for key in table.data if key != "python" for one in _wanted(table, key)]

    def _check_fresh(self, pins: Pins, facts: Facts) -> None:
        """Raises ``build/lock-outdated`` when pyproject.toml says something else than what the lock was made of."""
        check_covers(FILE, COMMAND, self.required, pins, facts.markers)
        for wanted in self._own():
            if wanted.optional or wanted.direct or not wanted.applies(self.pyproject, facts):
                continue
            what = f"{wanted.name} {wanted.constraint[:80]}"
            if wanted.name not in pins:
                raise outdated(FILE, f"{what} is required, and it holds no {wanted.name}", COMMAND)
            version = pins[wanted.name].version
            if wanted.constraint and not allows(wanted.constraint, version, self.pyproject):
                raise outdated(FILE, f"{what} is required, and it holds {wanted.name} {version}", COMMAND)
        made_of = self.lock.table("metadata").text("content-hash", "")
        known = content_hashes(self.pyproject.data)
        if made_of and known and made_of not in known:
            raise outdated(FILE, "pyproject.toml was changed after it was made", COMMAND)


def read(text: str, pyproject: Mapping[str, Any], required: tuple[Requirement, ...], policy: Policy) -> PoetryLock:
    """The lock in ``text``, of a project with that ``pyproject`` (empty: none); raises ``build/bad-lock``."""
    lock = toml(text, FILE)
    version = lock.version(lock.table("metadata").text("lock-version", "0"))
    if Version(version) not in _READ:
        readable = ", ".join(map(str, _READ))
        raise bad_lock(FILE, f"its version is {version[:20]}; {readable} are read here", COMMAND)
    return PoetryLock(lock, lock.tables("package"), Node("pyproject.toml", pyproject), required, policy)


def content_hashes(pyproject: Mapping[str, Any]) -> tuple[str, ...]:
    """What the versions of poetry hash a pyproject.toml to; none when it holds what they cannot hash."""
    poetry = _table(_table(pyproject.get("tool")).get("poetry"))
    table = _table(pyproject.get("project"))
    relevant = ("requires-python", "dependencies", "optional-dependencies")
    project = {key: table[key] for key in relevant if table.get(key) is not None}
    groups = _table(pyproject.get("dependency-groups"))
    legacy = ("dependencies", "source", "extras", "dev-dependencies")
    found = []
    for keys, with_groups in (((*legacy, "group"), groups), ((*legacy, "group"), {}), (legacy, {})):
        # The four old keys count even when they are missing, as long as there is nothing of the newer standards.
        bare = not project and not with_groups
        content = {k: poetry.get(k) for k in keys if poetry.get(k) is not None or (k in legacy and bare)}
        if not bare:
            groups_part = {"dependency-groups": with_groups} if with_groups else {}
            content = {"tool": {"poetry": content}, **({"project": project} if project else {}), **groups_part}
        try:
            found.append(hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest())
        except (TypeError, ValueError, RecursionError):
            return ()
    return tuple(found)


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def allows(constraint: str, version: str, node: Node) -> bool:
    """Whether a ``constraint`` of poetry's allows the ``version``."""
    from poetry.core.constraints.version import Version as PoetryVersion

    try:
        return bool(_constraint(constraint, node).allows(PoetryVersion.parse(version)))
    except ValueError:
        raise bad_lock(node.file, f"{version[:80]!a} is not a version") from None


def _constraint(text: str, node: Node) -> Any:
    from poetry.core.constraints.version import parse_constraint  # late: few apps are poetry's

    try:
        return parse_constraint(text)
    except (ValueError, InvalidVersion, RecursionError):
        raise bad_lock(node.file, f"{text[:80]!a} is no range of versions") from None


def _wanted(table: Node, key: str) -> list[Wanted]:
    """The dependency ``key`` of the table; poetry writes a text, a table, or a list of tables."""
    value = table.data[key]
    several = table.tables(key) if isinstance(value, list) else None
    if several is None:
        several = (Node(table.file, {"version": value}) if isinstance(value, str) else table.table(key),)
    return [_one_wanted(node, table.as_name(key)) for node in several]


def _one_wanted(node: Node, name: str) -> Wanted:
    marker = node.text("markers", "")
    if platform := node.text("platform", ""):
        own = f"sys_platform == '{platform}'" if re.fullmatch(r"[a-z0-9]+", platform) else "''"
        marker = f"({marker}) and {own}" if marker else own
    constraint = node.text("version", "")
    return Wanted(
        name=name,
        constraint="" if constraint == "*" else constraint,
        marker=marker,
        python=node.text("python", ""),
        extras=node.texts("extras"),
        optional=node.flag("optional"),
        direct=next((key for key in _DIRECT if node.has(key)), ""),
    )


def _dependencies(package: Node, extra: str) -> Iterator[Wanted]:
    table = package.table("dependencies")
    if not extra:
        yield from (one for key in table.data for one in _wanted(table, key) if not one.optional)
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
        yield from (one for key in table.data if canonicalize_name(key) == name for one in _wanted(table, key))
