"""What a ``uv.lock`` was made of, and what stands in pyproject.toml now: compared as ``uv lock --check`` does it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, Specifier
from packaging.utils import canonicalize_name

from buildpacks.foreign.reading import Node
from buildpacks.foreign.sampled import Sampled, When
from buildpacks.groups import groups
from core.errors import DaeError

_FOLDERS = ("editable", "directory", "virtual", "path")
_OF_EXTRA = re.compile(r"extra == ['\"][^'\"]*['\"]")
_REFERENCES = ("rev", "branch", "tag")


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
    """A project of the commit: its ``package`` in the lock, and its ``pyproject``. ``top``: the pyproject.toml of the
    commit's top, whose sources and indexes hold for all; ``folders``: where the lock has projects of the commit."""

    package: Node
    pyproject: Node
    top: Node
    folders: Mapping[str, str] = field(default_factory=dict)

    @property
    def project(self) -> Node:
        return self.pyproject.table("project")

    def differences(self, sampled: Sampled, *, extras: bool) -> Iterator[str]:
        """What differs; ``extras``: whether the lock's version says which there are."""
        dynamic = self.project.texts("dynamic")
        for key in ("name", "version"):
            if self.project.has(key) or (key == "version" and self.package.has(key) and key in dynamic):
                yield from changed(key, self.package.text(key, ""), self.project.text(key, ""))
        if {"dependencies", "optional-dependencies"} & {*dynamic}:
            return
        metadata = self.package.table("metadata")
        if extras:
            then = {str(canonicalize_name(name)) for name in metadata.texts("provides-extras")}
            now = {str(canonicalize_name(name)) for name in self.project.table("optional-dependencies").data}
            yield from (f"it knows no extra {name}, pyproject.toml has one" for name in sorted(now - then))
            yield from (f"it has the extra {name}, pyproject.toml has none" for name in sorted(then - now))
        yield from compare(self._locked(metadata), self._wanted(), sampled)

    def _locked(self, metadata: Node) -> Sections:
        found: Sections = {}
        for entry in metadata.tables("requires-dist"):
            add(found, _extra_in(entry.text("marker", "")), entry)
        for group in metadata.table("requires-dev").data:
            for entry in metadata.table("requires-dev").tables(group):
                add(found, f"group {entry.as_name(group)}", entry)
        return found

    def _wanted(self) -> Sections:
        found: Sections = {}
        for text in self.project.texts("dependencies"):
            self._place(found, "dependencies", text)
        optional = self.project.table("optional-dependencies")
        for extra in optional.data:
            for text in optional.texts(extra):
                self._place(found, f"extra {canonicalize_name(extra)}", text)
        for group, texts in groups(self.pyproject.data).items():
            for text in texts:
                self._place(found, f"group {group}", text)
        return found

    def _place(self, into: Sections, section: str, text: str) -> None:
        asked, marker = asked_in(text, self.pyproject.file)
        kind, _, what = section.partition(" ")
        of_extra = f"extra == '{what}'" if kind == "extra" else ""
        there = into.setdefault(section, {})
        taken: list[str] = []
        for source in self._sources(asked.name):
            if any(source.has(key) and (key != kind or source.text(key) != what) for key in ("extra", "group")):
                continue
            taken.append(source.text("marker", ""))
            versions = asked.versions if source.has("index") else frozenset()
            told = replace(asked, versions=versions, source=self._from(asked.name, source))
            there.setdefault(told, []).append(when(marker, of_extra, taken[-1]))
        if "" not in taken:
            there.setdefault(asked, []).append(When(when(marker, of_extra).all_of, tuple(taken)))

    def _sources(self, name: str) -> tuple[Node, ...]:
        for pyproject in (self.pyproject, self.top):
            table = pyproject.table("tool").table("uv").table("sources")
            for key, value in table.data.items():
                if canonicalize_name(key) == name:
                    return table.tables(key) if isinstance(value, list) else (table.table(key),)
        return ()

    def _from(self, name: str, source: Node) -> str:
        if source.has("git"):
            return _git(source.text("git"), {key: source.text(key) for key in (*_REFERENCES, "subdirectory")
                                             if source.has(key)})  # fmt: skip
        if source.has("url"):
            return _url(source.text("url"), source.text("subdirectory", ""))
        if source.has("path"):
            return f"the folder {_folder(source.text('path'), source.file)}"
        if source.has("index"):
            for pyproject in (self.pyproject, self.top):
                for index in pyproject.table("tool").table("uv").tables("index"):
                    if index.text("name", "") == source.text("index"):
                        return f"the index {_plain(index.text('url', ''))}"
            return f"the index {source.text('index')}"
        return f"the folder {self.folders.get(name, 'of a workspace')}"


def compare(locked: Sections, wanted: Sections, sampled: Sampled) -> Iterator[str]:
    """What differs between the requirements that the lock was made of and those of today."""
    for section in sorted({*locked, *wanted}):
        then, now = locked.get(section, {}), wanted.get(section, {})
        gone, new = [], []
        for asked in sorted({*then, *now}, key=str):
            one, other = then.get(asked, []), now.get(asked, [])
            if sampled.same(one, other):
                continue
            gone += [_shown(asked, one)] if one else []
            new += [_shown(asked, other)] if other else []
        for name in sorted({text[0] for text in gone + new}):
            before = ", ".join(text for key, text in gone if key == name)
            after = ", ".join(text for key, text in new if key == name)
            yield from changed(section, before, after)


def add(into: Sections, section: str, entry: Node) -> None:
    """Take in an ``entry`` of a lock's list of requirements."""
    extras = frozenset(str(canonicalize_name(extra)) for extra in entry.texts("extras"))
    source = _locked_source(entry)
    versions = frozenset(entry.specifiers(entry.text("specifier", "")))
    asked = Asked(entry.name(), extras, versions, source)
    into.setdefault(section, {}).setdefault(asked, []).append(when(entry.text("marker", "")))


def _locked_source(entry: Node) -> str:
    if entry.has("git"):
        url, _, query = entry.text("git").partition("#")[0].partition("?")
        return _git(url, dict(parse_qsl(query)))
    if entry.has("url"):
        return _url(entry.text("url"), entry.text("subdirectory", ""))
    if entry.has("index"):
        return f"the index {_plain(entry.text('index'))}"
    return next((f"the folder {_folder(entry.text(key))}" for key in _FOLDERS if entry.has(key)), "")


def _direct(address: str) -> str:
    place, _, fragment = address.partition("#")
    folder = dict(parse_qsl(fragment)).get("subdirectory", "")
    if not place.startswith("git+"):
        return _url(place, folder)
    url, at, revision = place.removeprefix("git+").rpartition("@")
    if not at or "/" not in url.partition("://")[2]:  # without a revision: what stood before '@' is the user
        url, revision = place.removeprefix("git+"), ""
    return _git(url, {key: value for key, value in (("rev", revision), ("subdirectory", folder)) if value})


def _git(url: str, said: Mapping[str, str]) -> str:
    more = " ".join(f"{key} {said[key]}" for key in (*_REFERENCES, "subdirectory") if said.get(key))
    return f"{_plain(url).removesuffix('.git')} {more}".rstrip()


def _url(url: str, folder: str) -> str:
    return _plain(url) + (f" subdirectory {folder}" if folder else "")


def _plain(url: str) -> str:
    """An address without credentials, fragment, and slash at the end."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl().rstrip("/")


def _folder(path: str, file: str = "") -> str:
    """The path of a folder from the commit's top; that of a pyproject.toml is from where its ``file`` is."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(file), path.removeprefix("file://")))


def _extra_in(marker: str) -> str:
    _, found, rest = marker.partition("extra == ")
    return f"extra {rest[1:].partition(rest[0])[0]}" if found and rest else "dependencies"


def when(*texts: str) -> When:
    """When all markers in ``texts`` hold."""
    return When(tuple(sorted(text for text in texts if text)))


def _shown(asked: Asked, several: Iterable[When]) -> tuple[str, str]:
    """Its name, and all of it; of which extra it is, the section says."""
    told = [[*w.all_of, *(f"not ({text})" for text in w.none_of)] for w in several]
    marks = " or ".join(" and ".join(text for text in texts if not _OF_EXTRA.fullmatch(text)) for texts in told)
    return asked.name, f"{asked}{f' ; {marks}' if marks.strip() else ''}"


def changed(entry: str, then: str, now: str) -> Iterator[str]:
    """The line for an ``entry`` that differs."""
    if then != now:
        yield f"{entry}: it has {then or 'nothing'}, pyproject.toml {now or 'nothing'}"


def asked_in(text: str, file: str) -> tuple[Asked, str]:
    """What a requirement in PEP 508's form asks for, and its marker; raises ``build/bad-requirements``."""
    try:
        requirement = Requirement(text)
    except (InvalidRequirement, InvalidSpecifier, RecursionError):
        cause = f"{file}: {text[:80]!a} is not a requirement"
        raise DaeError("build/bad-requirements", cause, "write, say, 'flask>=3,<4'") from None
    extras = frozenset(str(canonicalize_name(extra)) for extra in requirement.extras)
    source = _direct(requirement.url) if requirement.url else ""
    asked = Asked(str(canonicalize_name(requirement.name)), extras, frozenset(requirement.specifier), source)
    return asked, str(requirement.marker or "")
