"""Whether two markers say the same: they are asked about all environments that either of them tells apart.

Managers rewrite markers (``python_version < "3.12"`` is ``python_full_version < "3.12"`` in a lock), so their text
says nothing.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from packaging.markers import default_environment
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from buildpacks.foreign.reading import Node

#: Of two markers no more environments are asked about.
SAMPLES = 1000
#: Markers of more characters than this, of one requirement, are not taken apart.
LARGE = 10_000
#: Of all markers of a lock no more is read; a second's work.
CHARACTERS = 5_000_000
_VERSIONS = ("python_version", "python_full_version", "implementation_version")
_NAMES = frozenset({*default_environment(), "extra"})
_SYSTEMS = tuple(
    {"sys_platform": platform, "os_name": name, "platform_system": system}
    for platform, name, system in (
        ("linux", "posix", "Linux"),
        ("darwin", "posix", "Darwin"),
        ("win32", "nt", "Windows"),
        ("aix", "posix", "AIX"),
        ("android", "posix", "Android"),
        ("emscripten", "posix", "Emscripten"),
        ("other", "other", "Other"),
    )
)
_OP = r"\s*(?:===|==|~=|!=|<=|>=|<|>|not in|in)\s*"
_COMPARED = re.compile(rf"""(?<![a-z_])([a-z_]++){_OP}["']([^"']*)["']|["']([^"']*)["']{_OP}([a-z_]+)""")


class When(NamedTuple):
    """All markers of ``all_of`` hold, and none of ``none_of``; empty texts hold always."""

    all_of: tuple[str, ...] = ()
    none_of: tuple[str, ...] = ()


@dataclass
class Sampled:
    """Compares markers, for the Pythons of ``requires_python``.

    ``markers``: an interpreter's own, for what nothing else says. ``node`` is for messages. ``left``: how many
    characters of markers it still reads, in all; then the interpreter's own answer must do, so no text of a commit
    keeps it busy.
    """

    node: Node
    markers: Mapping[str, str]
    requires_python: SpecifierSet
    left: int = CHARACTERS

    def same(self, one: Sequence[When], other: Sequence[When]) -> bool:
        """Whether one of ``one`` holds wherever one of ``other`` does; raises ``build/bad-lock``."""
        if sorted(one) == sorted(other):
            return True
        texts = [text for when in (*one, *other) for text in (*when.all_of, *when.none_of)]
        return all(self._holds(one, sample) == self._holds(other, sample) for sample in self._samples(texts))

    def _holds(self, several: Iterable[When], sample: Mapping[str, str]) -> bool:
        return any(
            all(self.node.applies(text, sample) for text in when.all_of)
            and not any(self.node.applies(text, sample) for text in when.none_of if text)
            for when in several
        )

    def _samples(self, texts: Collection[str]) -> Iterator[Mapping[str, str]]:
        yield self.markers
        size = sum(map(len, texts))
        if size > LARGE:
            return
        for sample in itertools.islice(_samples(texts, self.markers, self.requires_python), SAMPLES):
            self.left -= size
            if self.left < 0:
                return
            yield sample


def same_pythons(one: SpecifierSet, other: SpecifierSet) -> bool:
    """Whether both allow the same versions of Python 3."""
    pythons = _pythons([str(one), str(other)])
    return all(one.contains(version) == other.contains(version) for version in pythons)


def _samples(texts: Iterable[str], markers: Mapping[str, str], requires: SpecifierSet) -> Iterator[Mapping[str, str]]:
    values: dict[str, set[str]] = {}
    for text in texts:
        for name, value, before, after in _COMPARED.findall(text):
            if (name or after) in _NAMES:
                values.setdefault(name or after, set()).add(value or before)
    pythons = sorted({v for n in _VERSIONS for text in values.pop(n, ()) for v in _pythons([text])}) or [
        markers.get("python_full_version", "3.11.0")
    ]
    pythons = [version for version in pythons if requires.contains(version)] or pythons[:1]
    named = {key: values.pop(key, set()) for key in _SYSTEMS[0]}
    known = {value for system in _SYSTEMS for value in system.values()}
    systems = [*_SYSTEMS, *({**_SYSTEMS[-1], key: value} for key, found in named.items() for value in found - known)]
    if not any(named.values()):
        systems = [{key: markers.get(key, "") for key in _SYSTEMS[0]}]
    others = [[(key, value) for value in (*sorted(found), "other")] for key, found in sorted(values.items())]
    for python, system in itertools.product(pythons, systems):
        full = {"python_full_version": python, "python_version": ".".join(python.split(".")[:2])}
        for rest in itertools.product(*others):
            yield {**markers, **full, "implementation_version": python, **system, **dict(rest)}


def _pythons(texts: Iterable[str]) -> list[str]:
    """Versions at, before and after each that the ``texts`` name, and one of each series around them."""
    found: set[tuple[int, int, int]] = set()
    for text in re.findall(r"[0-9]+(?:\.[0-9]+)*", " ".join(texts))[:50]:
        try:
            release = (*Version(text).release, 0, 0)[:3]
        except (InvalidVersion, ValueError):
            continue
        major, minor, patch = (min(number, 999) for number in release)
        found |= {(major, minor, max(patch - 1, 0)), (major, minor, patch), (major, minor, patch + 1)}
        found |= {(major, max(minor - 1, 0), 99), (major, minor, 99), (major, minor + 1, 0), (3, 0, 0), (4, 0, 0)}
    return [".".join(map(str, version)) for version in sorted(found)]
