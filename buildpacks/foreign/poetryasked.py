"""What a project asks of poetry, in poetry's own grammar and in PEP 621's, and whether its lock was made of that."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion

from buildpacks.facts import Facts
from buildpacks.foreign.reading import Node, bad_lock
from buildpacks.groups import groups

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


def wanted_in(table: Node, key: str) -> list[Wanted]:
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
    range_ = node.text("version", "")
    return Wanted(
        name=name,
        constraint="" if range_ == "*" else range_,
        marker=marker,
        python=node.text("python", ""),
        extras=node.texts("extras"),
        optional=node.flag("optional"),
        direct=next((key for key in _DIRECT if node.has(key)), ""),
    )


def allows(range_: str, version: str, node: Node) -> bool:
    """Whether a range of versions in poetry's grammar has the ``version``; raises ``build/bad-lock``."""
    from poetry.core.constraints.version import Version as PoetryVersion

    try:
        return bool(constraint(range_, node).allows(PoetryVersion.parse(version)))
    except ValueError:
        raise bad_lock(node.file, f"{version[:80]!a} is not a version") from None


def constraint(text: str, node: Node) -> Any:
    """The range of versions that ``text`` says in poetry's grammar; raises ``build/bad-lock``."""
    from poetry.core.constraints.version import parse_constraint  # late: few apps are poetry's

    try:
        return parse_constraint(text)
    except (ValueError, InvalidVersion, RecursionError):
        raise bad_lock(node.file, f"{text[:80]!a} is no range of versions") from None


def own(pyproject: Node) -> list[Wanted]:
    """What [tool.poetry] requires; where [project] does, this only says where from."""
    if pyproject.table("project").has("dependencies"):
        return []
    return _of_table(pyproject.table("tool").table("poetry").table("dependencies"))


def differences(lock: Node, pyproject: Node, packages: Sequence[Node]) -> Iterator[str]:
    """What can be told of how the lock differs from ``pyproject``, once their checksums do.

    The lock does not hold what it was made of, but of which Python, with which extras, and which versions.
    """
    poetry, project = pyproject.table("tool").table("poetry"), pyproject.table("project")
    then = lock.table("metadata").text("python-versions", "*")
    now = project.text("requires-python", "") or _text_of(poetry.table("dependencies"), "python")
    if now and constraint(then, lock) != constraint(now, pyproject):
        yield f"python: it has {then[:60]}, pyproject.toml {now[:60]}"
    locked = {str(canonicalize_name(name)) for name in lock.table("extras").data}
    extras = {**poetry.table("extras").data, **project.table("optional-dependencies").data}
    for name in sorted({str(canonicalize_name(name)) for name in extras} ^ locked):
        has, not_ = ("one", "not") if name in locked else ("none", "one")
        yield f"extra {name[:60]}: it has {has}, pyproject.toml {not_}"
    for group, asked in _by_group(pyproject, project):
        for one in asked:
            held = [package for package in packages if package.name() == one.name]
            versions = [package.text("version") for package in held]
            what = f"{one.name} {one.constraint[:80]}".rstrip()
            if not one.direct and not any(not one.constraint or allows(one.constraint, v, pyproject) for v in versions):
                has = f"{one.name} {' and '.join(versions)}" if held else f"no {one.name}"
                yield f"{group}: {what} is required, and it holds {has}"
            elif (
                held and held[0].has("groups") and not any(_short(group) in package.texts("groups") for package in held)
            ):
                yield f"{group}: {what} is required, and it holds that for {' and '.join(held[0].texts('groups'))}"


def _by_group(pyproject: Node, project: Node) -> Iterator[tuple[str, list[Wanted]]]:
    yield "dependencies", own(pyproject) or [_plain(text) for text in project.texts("dependencies")]
    optional = project.table("optional-dependencies")
    for extra in optional.data:
        yield f"extra {extra}", [_plain(text) for text in optional.texts(extra)]
    for group, asked in grouped(pyproject):
        yield f"group {group}", asked


def grouped(pyproject: Node) -> Iterator[tuple[str, list[Wanted]]]:
    """What each group requires, by its normalised name; poetry's older ``dev-dependencies`` are of ``dev``."""
    poetry = pyproject.table("tool").table("poetry")
    yield "dev", _of_table(poetry.table("dev-dependencies"))
    for group, node in poetry.table("group").entries().items():
        yield str(canonicalize_name(group)), _of_table(node.table("dependencies"))
    for group, texts in groups(pyproject.data).items():
        yield group, [_plain(text) for text in texts]


def _short(section: str) -> str:
    """What a lock calls the group of a section."""
    kind, _, name = section.partition(" ")
    return name if kind == "group" else "main"


def _plain(text: str) -> Wanted:
    """A requirement of PEP 508, whose grammar of versions poetry knows as well."""
    try:
        found = Requirement(text)
    except (InvalidRequirement, RecursionError):
        raise bad_lock("pyproject.toml", f"{text[:80]!a} is not a requirement", "correct that line") from None
    return Wanted(str(canonicalize_name(found.name)), str(found.specifier), "", "", (), False, found.url or "")


def _of_table(table: Node) -> list[Wanted]:
    return [one for key in table.data if key != "python" for one in wanted_in(table, key)]


def _text_of(table: Node, key: str) -> str:
    return table.text(key) if isinstance(table.data.get(key), str) else ""


def content_hashes(pyproject: Mapping[str, Any]) -> tuple[str, ...]:
    """What the versions of poetry hash a pyproject.toml to; none when it holds what they cannot hash."""
    poetry = _table(_table(pyproject.get("tool")).get("poetry"))
    table = _table(pyproject.get("project"))
    relevant = ("requires-python", "dependencies", "optional-dependencies")
    project = {key: table[key] for key in relevant if table.get(key) is not None}
    newer_groups = _table(pyproject.get("dependency-groups"))
    legacy = ("dependencies", "source", "extras", "dev-dependencies")
    found = []
    # Poetry 1 reads neither [project] nor [dependency-groups], and before 1.2 knew no groups.
    for keys, with_project, with_groups in itertools.product(
        ((*legacy, "group"), legacy), (project, {}), (newer_groups, {})
    ):
        # The four old keys count even when they are missing, as long as there is nothing of the newer standards.
        bare = not with_project and not with_groups
        content = {k: poetry.get(k) for k in keys if poetry.get(k) is not None or (k in legacy and bare)}
        if not bare:
            newer = {"project": with_project, "dependency-groups": with_groups}
            content = {"tool": {"poetry": content}, **{key: value for key, value in newer.items() if value}}
        try:
            found.append(hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest())
        except (TypeError, ValueError, RecursionError):
            return ()
    return tuple(found)


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
