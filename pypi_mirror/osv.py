"""Vulnerabilities in the Open Source Vulnerability format (OSV schema 1.x) -> what is known of a version (pure)."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from packaging.version import InvalidVersion, Version

from core.errors import DaeError
from pypi_mirror.model import PROJECT_NAME, PROJECT_NAME_LENGTH, normalize

ECOSYSTEM = "PyPI"
SUMMARY_LENGTH = 200
VERSION_LENGTH = 100
REMEMBERED = 2000  # versions, of what they are known for


def _order(version: Version, bound: Version) -> int:
    """-1, 0 or 1, as the version is before, at or after the bound.

    A build of 1.0 that somebody called 1.0+cpu (PEP 440, "local version identifiers") has what 1.0 has. So it counts
    as 1.0 wherever the bound names no such build itself.
    """
    if version.local is not None and bound.local is None:
        version = Version(version.public)
    return (version > bound) - (version < bound)


@dataclass(frozen=True, slots=True)
class Span:
    """Versions from ``introduced`` (None: the first) up to, not with, ``fixed``; or up to and with ``last``.

    ``limit``: from there on the range says nothing (the schema's BeforeLimits).
    """

    introduced: Version | None = None
    fixed: Version | None = None
    last: Version | None = None
    limit: Version | None = None

    def holds(self, version: Version) -> bool:
        return (
            (self.introduced is None or _order(version, self.introduced) >= 0)
            and (self.fixed is None or _order(version, self.fixed) < 0)
            and (self.last is None or _order(version, self.last) <= 0)
            and (self.limit is None or _order(version, self.limit) < 0)
        )


@dataclass(frozen=True, slots=True)
class Advisory:
    """One vulnerability of one project."""

    id: str
    summary: str = ""
    aliases: tuple[str, ...] = ()
    versions: frozenset[Version] = frozenset()
    spans: tuple[Span, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """What it is known by."""
        return frozenset((self.id, *self.aliases))

    def affects(self, version: Version) -> bool:
        named = version in self.versions or (version.local is not None and Version(version.public) in self.versions)
        return named or any(span.holds(version) for span in self.spans)

    def fixed_after(self, version: Version) -> str:
        """The least version above this one in which it is fixed; empty when none is known."""
        found = {span.fixed for span in self.spans if span.fixed is not None and span.fixed > version}
        return next((str(fixed) for fixed in sorted(found) if not self.affects(fixed)), "")


@dataclass(frozen=True, slots=True)
class Hit:
    """A vulnerability that a version has, and the version that has it no more."""

    advisory: Advisory
    fixed: str

    def words(self) -> str:
        one = self.advisory
        names = ", ".join((one.id, *one.aliases[:2]))
        fixed = f"fixed in {self.fixed}" if self.fixed else "no fixed version is known"
        return f"{names}{f' ({one.summary})' if one.summary else ''}: {fixed}"


@dataclass(frozen=True, slots=True)
class Advisories:
    """All that is known, by normalised name."""

    by_name: Mapping[str, tuple[Advisory, ...]] = field(default_factory=dict)
    _found: dict[tuple[str, Version], tuple[Hit, ...]] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, found: Iterable[tuple[str, Advisory]]) -> Advisories:
        by_name: defaultdict[str, dict[str, Advisory]] = defaultdict(dict)
        for name, advisory in found:
            known = by_name[name].get(advisory.id)
            by_name[name][advisory.id] = _joined(known, advisory) if known else advisory
        return cls({name: tuple(items[key] for key in sorted(items)) for name, items in by_name.items()})

    def of_project(self, name: str) -> tuple[Advisory, ...]:
        """What is known of any version of the project."""
        return self.by_name.get(name, ())

    def affecting(self, name: str, version: Version) -> tuple[Hit, ...]:
        """What that version of the project is known for; found once for all of its files."""
        known = self.of_project(name)
        found = self._found.get((name, version)) if known else ()
        if found is None:
            found = tuple(Hit(one, one.fixed_after(version)) for one in known if one.affects(version))
            if len(self._found) >= REMEMBERED:
                self._found.clear()
            self._found[name, version] = found
        return found


def _joined(first: Advisory, second: Advisory) -> Advisory:
    """A project can stand several times in a document, each with versions of its own."""
    spans = tuple(dict.fromkeys((*first.spans, *second.spans)))
    return Advisory(second.id, second.summary, second.aliases, first.versions | second.versions, spans)


def parse(text: bytes, where: str) -> list[tuple[str, Advisory]]:
    """The advisories of a document, or of a list of them, by project.

    What is withdrawn, or about another ecosystem, is left out. Raises ``mirror/bad-policy`` when it is no such thing.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise _bad(where, "is not JSON") from None
    documents = data if isinstance(data, list) else [data]
    return [pair for document in documents for pair in _document(document, where)]


def _document(data: Any, where: str) -> list[tuple[str, Advisory]]:
    if not isinstance(data, dict) or not isinstance(data.get("id"), str) or not data["id"].strip():
        raise _bad(where, "has no id: it is not an OSV document")
    if data.get("withdrawn"):
        return []
    entries = data.get("affected", [])
    if not isinstance(entries, list):
        raise _bad(where, "says 'affected', which is not a list")
    return [found for entry in entries if (found := _affected(entry, data, where))]


def _affected(entry: Any, data: dict[str, Any], where: str) -> tuple[str, Advisory] | None:
    package = entry.get("package") if isinstance(entry, dict) else None
    if not isinstance(package, dict) or not isinstance(package.get("name"), str):
        return None
    ecosystem = package.get("ecosystem")
    if not isinstance(ecosystem, str) or ecosystem.partition(":")[0] != ECOSYSTEM:  # a suffix may follow the colon
        return None
    name = package["name"]
    if len(name) > PROJECT_NAME_LENGTH or not PROJECT_NAME.match(name):
        raise _bad(where, "names a package that cannot be one")
    spans, versions = _spans(entry.get("ranges", []), where), _versions(entry.get("versions", []), where)
    summary, aliases = data.get("summary"), data.get("aliases")
    words = _line(summary) if isinstance(summary, str) else ""
    others = tuple(_line(one) for one in aliases if isinstance(one, str)) if isinstance(aliases, list) else ()
    return normalize(name), Advisory(_line(data["id"]), words, others, versions, spans)


def _versions(found: Any, where: str) -> frozenset[Version]:
    if not isinstance(found, list):
        raise _bad(where, "says 'versions', which is not a list")
    # A version that is none (PEP 440) is one of a time before; no file that is served has it.
    return frozenset(version for text in found if (version := _version(text)) is not None)


def _spans(ranges: Any, where: str) -> tuple[Span, ...]:
    """The spans of events of type ECOSYSTEM; those of commits say nothing of versions."""
    if not isinstance(ranges, list) or not all(isinstance(one, dict) for one in ranges):
        raise _bad(where, "says 'ranges', which is not a list of objects")
    spans: list[Span] = []
    for one in ranges:
        if one.get("type") != "ECOSYSTEM":
            continue
        events = one.get("events")
        if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
            raise _bad(where, "has a range without events")
        limit = _limit([event["limit"] for event in events if set(event) == {"limit"}], where)
        found = _of_events([_event(event, where) for event in events if set(event) != {"limit"}])
        spans += [replace(span, limit=limit) for span in found]
    return tuple(spans)


def _limit(texts: list[Any], where: str) -> Version | None:
    """The greatest limit: a version is before the limits when it is before one of them. ``*`` is the end of all."""
    if not texts or "*" in texts:
        return None
    return max(_bound(text, where) for text in texts)


def _event(event: dict[str, Any], where: str) -> tuple[str, Version | None]:
    for kind in ("introduced", "fixed", "last_affected"):
        if kind in event:
            if kind == "introduced" and event[kind] == "0":
                return kind, None
            return kind, _bound(event[kind], where)
    raise _bad(where, "has an event of no known kind")


def _bound(text: Any, where: str) -> Version:
    version = _version(text)
    if version is None:
        raise _bad(where, f"has a version {str(text)[:40]!a} that is none")
    return version


def _of_events(events: list[tuple[str, Version | None]]) -> list[Span]:
    lowest = Version("0.dev0")
    order = {"introduced": 0, "last_affected": 1, "fixed": 2}
    spans: list[Span] = []
    opened: Version | None = None
    is_open = False
    for kind, version in sorted(events, key=lambda event: (event[1] or lowest, event[1] is not None, order[event[0]])):
        if kind == "introduced" and not is_open:
            opened, is_open = version, True
        elif kind != "introduced" and is_open:
            spans.append(Span(opened, version if kind == "fixed" else None, version if kind != "fixed" else None))
            is_open = False
    return [*spans, Span(opened)] if is_open else spans


def _version(text: Any) -> Version | None:
    if not isinstance(text, str) or len(text) > VERSION_LENGTH:
        return None
    try:
        return Version(text)
    except (InvalidVersion, ValueError):  # ValueError: more digits than Python takes for a number
        return None


def _line(text: str) -> str:
    """One line that a terminal and a header can show."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:SUMMARY_LENGTH]


def _bad(where: str, what: str) -> DaeError:
    return DaeError("mirror/bad-policy", f"{where} {what}", "mend or remove the file; see docs/mirror-policy.md")
