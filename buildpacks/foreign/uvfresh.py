"""What a ``uv.lock`` was made of, and what stands in pyproject.toml now: compared as ``uv lock --check`` does it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, Specifier
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from buildpacks.foreign import uvsources
from buildpacks.foreign.reading import Node
from buildpacks.foreign.sampled import Sampled, When
from buildpacks.foreign.uvsources import Sources
from buildpacks.groups import groups
from core.errors import DaeError

_OF_EXTRA = re.compile(r"extra == ['\"][^'\"]*['\"]")


@dataclass(frozen=True, slots=True)
class Asked:
    """A requirement, but for its marker. ``source``: where from, if not any index; no versions count then."""

    name: str
    extras: frozenset[str] = frozenset()
    versions: frozenset[Specifier] = frozenset()
    source: str = ""

    def __str__(self) -> str:
        extras = f"[{','.join(sorted(self.extras))}]" if self.extras else ""
        versions = ",".join(sorted(map(str, self.versions)))
        return f"{self.name}{extras}{versions}{f' from {self.source}' if self.source else ''}"


#: Where requirements stand (``dependencies``, ``group dev``), and when each holds.
Sections = dict[str, dict[Asked, list[When]]]


@dataclass(frozen=True, slots=True)
class Side:
    """A project of the commit: its ``package`` in the lock, its ``pyproject``, and where that says things are from."""

    package: Node
    pyproject: Node
    sources: Sources

    @property
    def project(self) -> Node:
        return self.pyproject.table("project")

    def differences(self, sampled: Sampled, *, extras: bool) -> Iterator[str]:
        """What differs; ``extras``: whether the lock's version says which there are."""
        dynamic = self.project.texts("dynamic")
        for key, same in (("name", _same_name), ("version", _same_version)):
            if self.project.has(key) or (key == "version" and self.package.has(key) and key in dynamic):
                then, now = self.package.text(key, ""), self.project.text(key, "")
                yield from () if same(then, now) else changed(key, then, now)
        if {"dependencies", "optional-dependencies"} & {*dynamic}:
            return
        metadata = self.package.table("metadata")
        if extras:
            known = {str(canonicalize_name(name)) for name in metadata.texts("provides-extras")}
            there = {str(canonicalize_name(name)) for name in self.project.table("optional-dependencies").data}
            yield from (f"it knows no extra {name}, pyproject.toml has one" for name in sorted(there - known))
            yield from (f"it has the extra {name}, pyproject.toml has none" for name in sorted(known - there))
        yield from compare(self._locked(metadata), self._wanted(), sampled)

    @property
    def _compares_groups(self) -> bool:
        """Not where the Python of a group is limited: the lock has that in the markers of all that it includes."""
        return not self.pyproject.table("tool").table("uv").table("dependency-groups").data

    def _locked(self, metadata: Node) -> Sections:
        found: Sections = {}
        for entry in metadata.tables("requires-dist"):
            add(found, _extra_in(entry.text("marker", "")), entry)
        of_groups = metadata.table("requires-dev")
        for group in of_groups.data if self._compares_groups else ():
            for entry in of_groups.tables(group):
                add(found, f"group {entry.as_name(group)}", entry)
        return found

    def _wanted(self) -> Sections:
        found: Sections = {}
        for text in self.project.texts("dependencies"):
            self.place(found, "dependencies", text)
        optional = self.project.table("optional-dependencies")
        for extra in optional.data:
            for text in optional.texts(extra):
                self.place(found, f"extra {canonicalize_name(extra)}", text)
        for group, texts in groups(self.pyproject.data).items() if self._compares_groups else ():
            for text in texts:
                self.place(found, f"group {group}", text)
        return found

    def place(self, into: Sections, section: str, text: str) -> None:
        """Take in a requirement as it stands in pyproject.toml, once for each place that it may come from."""
        asked, marker = _asked_in(text, self.pyproject.file)
        section = _extra_in(marker) if section == "dependencies" else section
        kind, _, what = section.partition(" ")
        of_extra = f"extra == '{what}'" if kind == "extra" else ""
        there = into.setdefault(section, {})
        taken: list[str] = []
        for source in self.sources.named.get(asked.name, ()):
            if any(source.has(key) and (key != kind or source.text(key) != what) for key in ("extra", "group")):
                continue
            taken.append(source.text("marker", ""))
            versions = asked.versions if source.has("index") else frozenset()
            told = replace(asked, versions=versions, source=self.sources.place(asked.name, source))
            there.setdefault(told, []).append(when(marker, of_extra, taken[-1]))
        if "" not in taken:
            there.setdefault(asked, []).append(When(when(marker, of_extra).all_of, tuple(taken)))


def _same_name(one: str, other: str) -> bool:
    return canonicalize_name(one) == canonicalize_name(other)


def _same_version(one: str, other: str) -> bool:
    try:
        return Version(one) == Version(other)  # the lock has them in their normal form (PEP 440)
    except InvalidVersion:
        return one == other


def compare(locked: Sections, wanted: Sections, sampled: Sampled) -> Iterator[str]:
    """What differs between the requirements that the lock was made of and those of today."""
    for section in sorted({*locked, *wanted}):
        then, now = locked.get(section, {}), wanted.get(section, {})
        told: dict[str, tuple[list[str], list[str]]] = {}
        for asked in sorted({*then, *now}, key=str):
            sides = then.get(asked, []), now.get(asked, [])
            if sampled.same(*sides):
                continue
            for of_name, side in zip(told.setdefault(asked.name, ([], [])), sides, strict=True):
                of_name += [_shown(asked, side)] if side else []
        for _name, (gone, new) in sorted(told.items()):
            yield from changed(section, ", ".join(gone), ", ".join(new))


def add(into: Sections, section: str, entry: Node) -> None:
    """Take in an ``entry`` of a lock's list of requirements."""
    extras = frozenset(str(canonicalize_name(extra)) for extra in entry.texts("extras"))
    source = uvsources.locked(entry)
    versions = frozenset(entry.specifiers(entry.text("specifier", "")))
    asked = Asked(entry.name(), extras, versions, source)
    into.setdefault(section, {}).setdefault(asked, []).append(when(entry.text("marker", "")))


def _extra_in(marker: str) -> str:
    _, found, rest = marker.partition("extra == ")
    return f"extra {canonicalize_name(rest[1:].partition(rest[0])[0])}" if found and rest else "dependencies"


def when(*texts: str) -> When:
    """When all markers in ``texts`` hold."""
    return When(tuple(sorted(text for text in texts if text)))


def _shown(asked: Asked, several: Iterable[When]) -> str:
    """All of it; of which extra it is, the section says."""
    told = [[*w.all_of, *(f"not ({text})" for text in w.none_of)] for w in several]
    marks = " or ".join(" and ".join(text for text in texts if not _OF_EXTRA.fullmatch(text)) for texts in told)
    return f"{asked}{f' ; {marks}' if marks.strip() else ''}"


def changed(entry: str, then: str, now: str) -> Iterator[str]:
    """The line for an ``entry`` that differs."""
    if then != now:
        yield f"{entry}: it has {then or 'nothing'}, pyproject.toml {now or 'nothing'}"


def _asked_in(text: str, file: str) -> tuple[Asked, str]:
    """What a requirement in PEP 508's form asks for, and its marker; raises ``build/bad-requirements``."""
    try:
        requirement = Requirement(text)
    except (InvalidRequirement, InvalidSpecifier, RecursionError):
        cause = f"{file}: {text[:80]!a} is not a requirement"
        raise DaeError("build/bad-requirements", cause, "write, say, 'flask>=3,<4'") from None
    extras = frozenset(str(canonicalize_name(extra)) for extra in requirement.extras)
    source = uvsources.direct(requirement.url) if requirement.url else ""
    asked = Asked(str(canonicalize_name(requirement.name)), extras, frozenset(requirement.specifier), source)
    return asked, str(requirement.marker or "")
