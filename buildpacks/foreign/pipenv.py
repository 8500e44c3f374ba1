"""``Pipfile.lock``: everything in its ``default`` section is installed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from buildpacks.direct import is_address
from buildpacks.facts import Facts
from buildpacks.foreign.reading import Node, bad_lock, check_covers, json_object, outdated, toml
from buildpacks.locks import Pin, Pins
from buildpacks.policy import Policy, not_from_index, shown_url

FILE = "Pipfile.lock"
PIPFILE = "Pipfile"
COMMAND = "pipenv lock"
_DIRECT = ("git", "hg", "svn", "bzr", "file", "path", "ref")
_MARKERS = ("os_name", "sys_platform", "platform_machine", "platform_system", "python_version", "python_full_version")
_NO_CATEGORIES = ("packages", "dev-packages", "default", "develop")
_NO_PACKAGES = ("requires", "scripts", "pipfile", "pipenv", "source")
_SECTIONS = {"packages": "default", "dev-packages": "develop"}
_PYTHONS = ("python_full_version", "python_version")
#: How many differences an error names.
SHOWN = 3


@dataclass(frozen=True, slots=True)
class PipfileLock:
    """``pipfile``: what it was made of; None when the commit has none."""

    lock: Node
    pipfile: Node | None
    policy: Policy
    filename: str = FILE
    folders: tuple[str, ...] = ()

    @property
    def requires_python(self) -> str:
        wanted = self._wanted()
        series = re.match(r"3\.[0-9]{1,2}(?=\.|\Z)", wanted)
        if series:
            return f"=={series[0]}.*"
        if wanted not in ("", "3", "*"):
            raise bad_lock(
                self.python_from,
                f"it asks for Python {wanted[:40]!a}",
                f"write, say, python_version = '3.11' into [requires] of {PIPFILE}",
            )
        return ""

    @property
    def python_from(self) -> str:
        return FILE if self.pipfile is None else PIPFILE

    @property
    def exact_python(self) -> str:
        return self._wanted() if re.fullmatch(r"3\.[0-9]{1,2}\.[0-9]{1,3}", self._wanted()) else ""

    def _wanted(self) -> str:
        """What the Pipfile wants now (its lock is compared with it), the full version before the series."""
        requires = (
            self.lock.table("_meta").table("requires") if self.pipfile is None else self.pipfile.table("requires")
        )
        return next((text for key in _PYTHONS if (text := requires.text(key, ""))), "")

    def groups(self) -> tuple[str, ...]:
        """See :class:`buildpacks.foreign.ForeignLock`; ``develop`` is called ``dev``."""
        of = {"dev" if key == "develop" else key for key, value in self.lock.data.items() if value}
        return tuple(sorted(of - {"_meta", "default"}))

    def pins(self, facts: Facts, group: str = "") -> Pins:
        """What it says for such an interpreter; see :class:`buildpacks.foreign.ForeignLock`."""
        if self.pipfile is not None:
            self._check_fresh(self.pipfile)
        section = {"": "default", "dev": "develop"}.get(group, group)
        found = Pins()
        for key, package in self.lock.table(section).entries().items():
            name = package.as_name(key)
            if package.data.get("path", package.data.get("file")) in (".", "./", "file:."):
                continue  # the project itself
            markers = [f"({package.text('markers')})"] if package.has("markers") else []
            markers += [f"{variable} {package.text(variable)}" for variable in _MARKERS if package.has(variable)]
            if not package.applies(" and ".join(markers), facts.markers):
                continue
            found[name] = self._pin(name, package)
        if self.pipfile is not None and not group:
            check_covers(FILE, COMMAND, _required(self.pipfile.table("packages")), found, facts.markers)
        return found

    def _pin(self, name: str, package: Node) -> Pin:
        where, hashes = f"{FILE}: {name}", package.texts("hashes")
        version = package.text("version", "").removeprefix("==")
        folder = package.text("subdirectory", "")
        ending = f"#subdirectory={folder}" if folder else ""
        if package.has("git"):
            address = f"git+{package.text('git')}@{package.text('ref', '')}{ending}"
            return package.direct(self.policy, where, address, version)
        if is_address(package.text("file", "")):
            return package.direct(self.policy, where, package.text("file") + ending, version, hashes)
        if direct := next((key for key in _DIRECT if package.has(key)), ""):
            raise not_from_index(where, f"{direct} {package.text(direct, '')}")
        sources = self.lock.table("_meta").tables("sources")
        named = [source for source in sources if source.text("name", "") == package.text("index", "")]
        if package.has("index") and not named:
            raise bad_lock(FILE, f"{name} is from the index {package.text('index')[:40]!a}, which it does not describe")
        for source in named or sources[:1]:
            self.policy.check_index(source.text("url"), where)
        return package.pin(name, version, hashes)

    def _check_fresh(self, pipfile: Node) -> None:
        made_of = self.lock.table("_meta").table("hash").text("sha256", "")
        known = content_hashes(pipfile.data, self.lock.table("_meta").data.get("sources"))
        if made_of and known and made_of not in known:
            told = list(islice(_differences(self.lock, pipfile), SHOWN))
            raise outdated(FILE, "; ".join(told) or f"{PIPFILE} was changed after it was made", COMMAND)


def read(text: str, pipfile: str | None, policy: Policy) -> PipfileLock:
    """The lock in ``text``, made of the Pipfile with the text ``pipfile``; raises ``build/bad-lock``."""
    lock = json_object(text, FILE)
    spec = lock.table("_meta").data.get("pipfile-spec")
    if spec != 6 or isinstance(spec, bool):
        raise bad_lock(FILE, f"its version is {str(spec)[:20]!a}; version 6 is read here", COMMAND)
    return PipfileLock(lock, None if pipfile is None else toml(pipfile, PIPFILE), policy)


def content_hashes(pipfile: Mapping[str, Any], sources: object) -> tuple[str, ...]:
    """What the versions of pipenv hash a Pipfile to; ``sources``: those that it has when it names none."""
    found = []
    for spell in (str, canonicalize_name):
        sections = {
            key: {spell(name): wanted for name, wanted in value.items()}
            for key, value in pipfile.items()
            if isinstance(value, dict) and key not in _NO_PACKAGES
        }
        data: dict[str, Any] = {key: value for key, value in sections.items() if key not in _NO_CATEGORIES}
        data |= {"default": sections.get("packages", {}), "develop": sections.get("dev-packages", {})}
        data["_meta"] = {"sources": pipfile.get("source", sources), "requires": pipfile.get("requires", {})}
        try:
            content = json.dumps(data, sort_keys=True, separators=(",", ":"))
        except (TypeError, ValueError, RecursionError):
            return ()
        found.append(hashlib.sha256(content.encode()).hexdigest())
    return tuple(found)


def _differences(lock: Node, pipfile: Node) -> Iterator[str]:
    """What can be told of how the lock differs from the Pipfile, once their checksums do."""
    meta = lock.table("_meta")
    for key in _PYTHONS:
        then, now = (node.table("requires").text(key, "") for node in (meta, pipfile))
        if then != now:
            yield f"{key}: it has {then[:40] or 'none'}, {PIPFILE} {now[:40] or 'none'}"
    if pipfile.has("source"):
        was, is_ = (
            {shown_url(one.text("url", "")) for one in at} for at in (meta.tables("sources"), pipfile.tables("source"))
        )
        if was != is_:
            yield f"source: it has {', '.join(sorted(was))}, {PIPFILE} {', '.join(sorted(is_))}"
    for section, table in pipfile.data.items():
        if not isinstance(table, dict) or section in _NO_PACKAGES:
            continue
        held = lock.table(_SECTIONS.get(section, section))
        versions = {
            held.as_name(key): node.text("version", "").removeprefix("==") for key, node in held.entries().items()
        }
        for one in _required(pipfile.table(section)):
            name = held.as_name(one.name)
            version = versions.get(name)
            if version is None or (version and not one.specifier.contains(held.version(version), prereleases=True)):
                has = f"no {name}" if version is None else f"{name} {version}"
                yield f"[{section}]: {one.name}{one.specifier} is required, and it holds {has}"


def _required(table: Node) -> tuple[Requirement, ...]:
    """What a section of a Pipfile asks of the index."""
    found = []
    for key, value in table.data.items():
        node = Node(PIPFILE, {"version": value}) if isinstance(value, str) else table.table(key)
        if any(node.has(direct) for direct in _DIRECT):
            continue
        version = node.text("version", "*").strip()
        markers = [f"({node.text('markers')})"] if node.has("markers") else []
        markers += [f"{variable} {node.text(variable)}" for variable in _MARKERS if node.has(variable)]
        text = f"{table.as_name(key)}{'' if version == '*' else version}"
        try:
            found.append(Requirement(text + (f" ; {' and '.join(markers)}" if markers else "")))
        except (InvalidRequirement, RecursionError):
            raise bad_lock(PIPFILE, f"{text[:100]!a} is not a requirement", "correct that line") from None
    return tuple(found)
