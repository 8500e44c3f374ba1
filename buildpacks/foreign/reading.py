"""What the readers of other managers' locks share: data that nobody vouches for, read key by key."""

from __future__ import annotations

import functools
import json
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from packaging.markers import InvalidMarker, Marker, UndefinedComparison, UndefinedEnvironmentName
from packaging.requirements import Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import InvalidName, canonicalize_name
from packaging.version import InvalidVersion, Version

from buildpacks import direct
from buildpacks.locks import Pin, Pins
from buildpacks.policy import Policy
from core.errors import DaeError

PACKAGES = 5000
TEXT = 4000  # characters of a marker, a version, a name
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}\Z")


_marker = functools.lru_cache(maxsize=1024)(Marker)


def bad_lock(file: str, cause: str, hint: str = "make the lock anew, and commit it") -> DaeError:
    return DaeError("build/bad-lock", f"{file}: {cause}", hint)


@dataclass(frozen=True, slots=True)
class Node:
    """A table of a lock file. All its methods raise ``build/bad-lock`` for what is not of the kind they return."""

    file: str
    data: Mapping[str, Any]
    place: str = ""

    def has(self, key: str) -> bool:
        return key in self.data

    def text(self, key: str, default: str | None = None) -> str:
        value = self.data.get(key, default)
        if not isinstance(value, str) or len(value) > TEXT:
            raise self._wrong(key, "text")
        return value

    def flag(self, key: str) -> bool:
        value = self.data.get(key, False)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self.data.get(key, [])
        if not isinstance(value, list) or not all(isinstance(text, str) and len(text) <= TEXT for text in value):
            raise self._wrong(key, "list of texts")
        return tuple(value)

    def table(self, key: str) -> Node:
        """The table; an empty one when it is not there."""
        return self._node(key, self.data.get(key, {}))

    def tables(self, key: str) -> tuple[Node, ...]:
        value = self.data.get(key, [])
        if not isinstance(value, list) or len(value) > PACKAGES:
            raise self._wrong(key, f"list of at most {PACKAGES} tables")
        return tuple(self._node(f"{key}[{number}]", entry) for number, entry in enumerate(value))

    def entries(self) -> dict[str, Node]:
        """All that it holds, which must be tables."""
        if len(self.data) > PACKAGES:
            raise self._wrong("", f"table of at most {PACKAGES} entries")
        return {key: self._node(key, value) for key, value in self.data.items()}

    def name(self, key: str = "name") -> str:
        """The text as a project's normalised name."""
        return self.as_name(self.text(key))

    def as_name(self, text: str) -> str:
        try:
            return str(canonicalize_name(text, validate=True))
        except InvalidName:
            raise bad_lock(self.file, f"{text[:80]!a} is not a project's name") from None

    def version(self, text: str) -> str:
        try:
            return str(Version(text))
        except InvalidVersion:
            raise bad_lock(self.file, f"{text[:80]!a} is not a version") from None

    def applies(self, marker: str, markers: Mapping[str, str]) -> bool:
        """Whether the ``marker`` (empty: always) is true in an environment without extras."""
        if not marker:
            return True
        try:
            return _marker(marker).evaluate({"extra": "", **markers})
        except (InvalidMarker, UndefinedComparison, UndefinedEnvironmentName, ValueError, KeyError, RecursionError):
            raise bad_lock(self.file, f"{marker[:80]!a} is not a marker") from None

    def pin(self, name: str, version: str, hashes: Iterable[str]) -> Pin:
        """A locked release; nothing but sha256 is compared with the index."""
        known = tuple(sorted({value for value in hashes if _SHA256.match(value)}))
        if not known:
            raise bad_lock(self.file, f"{name} {version[:40]} has no sha256 of a file")
        return Pin(self.version(version), known)

    def direct(self, policy: Policy, where: str, address: str, version: str, hashes: Iterable[str] = ()) -> Pin:
        """A release that comes from an address; ``version`` may be empty.

        Raises ``build/unsupported-requirement`` when it may not come from there.
        """
        try:
            source = direct.parse(address, where)[0]
            policy.check_source(source, where)
            source = direct.held(source, (value for value in hashes if _SHA256.match(value)), where)
        except DaeError as error:
            code = "build/bad-lock" if error.code == "build/bad-requirements" else error.code
            raise DaeError(code, error.cause, error.hint) from None
        held = (f"sha256:{source.sha256}",) if source.sha256 else ()
        return Pin(self.version(version) if version else "", held, source)

    def specifiers(self, text: str) -> SpecifierSet:
        try:
            return SpecifierSet(text)
        except InvalidSpecifier:
            raise bad_lock(self.file, f"{text[:80]!a} is no range of versions") from None

    def _node(self, key: str, value: object) -> Node:
        if not isinstance(value, dict):
            raise self._wrong(key, "table")
        return Node(self.file, value, f"{self.place}.{key}".lstrip("."))

    def _wrong(self, key: str, expected: str) -> DaeError:
        place = f"{self.place}.{key}".strip(".")[:80] or "it"
        return bad_lock(self.file, f"{place!a} is not a {expected}")


def toml(text: str, file: str) -> Node:
    try:
        return Node(file, tomllib.loads(text))
    except (ValueError, RecursionError) as error:
        raise bad_lock(file, f"it is not TOML: {str(error)[:120]!a}") from None


def json_object(text: str, file: str) -> Node:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise bad_lock(file, f"it is not JSON: {str(error)[:120]!a}") from None
    if not isinstance(data, dict):
        raise bad_lock(file, "it is not a JSON object")
    return Node(file, data)


def outdated(file: str, what: str, command: str) -> DaeError:
    """The lock is not of what the commit requires now."""
    shown = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in what)
    return DaeError("build/lock-outdated", f"{file} is out of date: {shown}", f"run '{command}', and commit {file}")


def is_inside(folder: str) -> bool:
    """Whether a relative path names a folder below the commit's top."""
    parts = folder.split("/")
    return bool(folder) and folder != "." and ".." not in parts and parts[0] != "" and folder.isprintable()


def outside(where: str, folder: str) -> DaeError:
    """The error for a project in a folder that is not of the commit."""
    cause = f"{where}: the folder {ascii(folder[:100])[1:-1]} is outside the repository, and is not pushed with it"
    hint = "move it into the repository; or upload its wheel to the internal index, and require that version"
    return DaeError("build/unsupported-requirement", cause, hint)


def is_asked(requirement: Requirement, file: str, markers: Mapping[str, str]) -> bool:
    """Whether the requirement's marker is true; raises ``build/bad-lock``."""
    return Node(file, {}).applies(str(requirement.marker or ""), markers)


def check_covers(
    file: str, command: str, required: Sequence[Requirement], pins: Pins, markers: Mapping[str, str]
) -> None:
    """Raises ``build/lock-outdated`` for the first of ``required`` that ``pins`` do not satisfy."""
    for requirement in required:
        if not is_asked(requirement, file, markers):
            continue
        name = canonicalize_name(requirement.name)
        if name not in pins:
            raise outdated(file, f"{str(requirement)[:120]} is required, and it holds no {name}", command)
        version = pins[name].version  # what comes from an address may have none before it is fetched
        if version and not requirement.specifier.contains(version, prereleases=True):
            raise outdated(file, f"{str(requirement)[:120]} is required, and it holds {name} {version}", command)
