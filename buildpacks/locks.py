"""The lock: pip's requirements format with hashes, as pip-tools writes it, in one spelling for all engines.

A package that is required by its address stands there with that (``NAME @ ADDRESS#version=VERSION``), and with the
sha256 of its file, or of its commit's files. Engines write no such lines: the platform does, which fetched it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from packaging.utils import canonicalize_name

from buildpacks.direct import Source, parse
from buildpacks.requirements import Line
from core.errors import DaeError

_PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^]]*\])?==([A-Za-z0-9.!+_-]+)")
_DIRECT = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*) @ (\S+)[#&]version=(\S*)")
_BROUGHT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[^]]*\])? @ file:")
_HASH = re.compile(r"--hash=([a-z0-9]+:[0-9a-f]+)")


@dataclass(frozen=True, slots=True)
class Release:
    """A locked version of a project: normalised name, version, and the hashes (``sha256:<hex>``) of its files.

    ``source``: the address that it comes from; without one it comes from the index.
    """

    name: str
    version: str
    hashes: tuple[str, ...]
    source: Source | None = None


class Pin(NamedTuple):
    """What a lock says of a project: the version, the hashes of its files, and the address if that is required.

    In the lock of another manager the version of what comes from an address may be empty, and so may the hashes.
    """

    version: str
    hashes: tuple[str, ...]
    source: Source | None = None


#: Of each locked project by its normalised name.
Pins = dict[str, Pin]


def canonical(text: str) -> str:
    """``text`` in its one spelling: sorted by normalised name, hashes sorted, no header, comment, option or address.

    The same resolution gives the same bytes, whichever tool wrote it and wherever it ran. Raises ``build/failed`` when
    a requirement has no exact version or no hash.
    """
    return render({release.name: _pin(release) for release in _entries(text)})


def render(pins: Mapping[str, Pin]) -> str:
    """The lock that holds ``pins``."""
    parts = []
    for name in sorted(pins):
        version, hashes, source = pins[name]
        what = f"{name}=={version}" if source is None else f"{name} @ {_placed(source, version)}"
        parts.append(" \\\n    ".join([what, *(f"--hash={value}" for value in sorted(hashes))]) + "\n")
    return "".join(parts)


def _placed(source: Source, version: str) -> str:
    """The address with the version; pip ignores what it does not know after '#'."""
    return f"{source.address}{'&' if '#' in source.address else '#'}version={version}"


def _pin(release: Release) -> Pin:
    return Pin(release.version, release.hashes, release.source)


def releases(lock: str) -> tuple[Release, ...]:
    """Everything in ``lock``, one of ours, in its order."""
    return tuple(_entries(lock, ours=True))


def beside(lock: str, more: str) -> str:
    """``lock`` with what ``more`` has beyond it: nothing that ``lock`` names is changed."""
    return render({release.name: _pin(release) for release in (*releases(more), *releases(lock))})


def allowed_hashes(lines: Iterable[Line]) -> dict[str, set[str]]:
    """The hashes that the app's own lines name, by project; of a project without any, all files will do."""
    allowed: dict[str, set[str]] = {}
    for line in lines:
        if line.hashes:
            allowed.setdefault(line.name, set()).update(line.hashes)
    return allowed


def held_to(lock: str, lines: Sequence[Line]) -> str:
    """``lock`` with only those hashes that the app's own lines allow; raises ``build/unresolvable`` for none."""
    allowed = allowed_hashes(lines)
    if not allowed:
        return lock
    pins: Pins = {}
    for release in _entries(lock):
        name, version = release.name, release.version
        kept = set(release.hashes) & allowed.get(name, set(release.hashes))
        if not kept:
            cause = f"the index has no file of {name} {version} with a hash that the requirements name"
            raise DaeError("build/unresolvable", cause, "write the hashes of that version, or none")
        pins[name] = Pin(version, tuple(kept))
    return render(pins)


def _entries(text: str, *, ours: bool = False) -> list[Release]:
    """The releases in ``text``. Only in ``ours`` an address counts: an engine was given wheels in its place."""
    entries: list[Release] = []
    for entry in re.sub(r"\\\r?\n", " ", text).splitlines():
        line = entry.strip()
        if not line or line.startswith(("#", "-")) or _BROUGHT.match(line):
            continue
        pin, direct, hashes = _PIN.match(line), _DIRECT.match(line) if ours else None, tuple(_HASH.findall(line))
        if direct:
            source = parse(direct[2], "the lock")[0]
            entries.append(Release(canonicalize_name(direct[1]), direct[3], hashes, source))
        elif pin and hashes:
            entries.append(Release(canonicalize_name(pin[1]), pin[2], hashes))
        else:
            raise DaeError("build/failed", f"the lock holds a line without version or hash: {line[:80]!a}", "")
    return entries
