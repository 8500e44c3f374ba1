"""The lock: pip's requirements format with hashes, as pip-tools writes it, in one spelling for all engines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from packaging.utils import canonicalize_name

from buildpacks.requirements import Line
from core.errors import DaeError

_PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^]]*\])?==([A-Za-z0-9.!+_-]+)")
_HASH = re.compile(r"--hash=([a-z0-9]+:[0-9a-f]+)")


@dataclass(frozen=True, slots=True)
class Release:
    """A locked version of a project: normalised name, version, and the hashes (``sha256:<hex>``) of its files."""

    name: str
    version: str
    hashes: tuple[str, ...]


def canonical(text: str) -> str:
    """``text`` in its one spelling: sorted by normalised name, hashes sorted, no header, comment, option or address.

    The same resolution gives the same bytes, whichever tool wrote it and wherever it ran. Raises ``build/failed`` when
    a requirement has no exact version or no hash.
    """
    return render({name: (version, hashes) for name, version, hashes in _entries(text)})


def render(pins: Mapping[str, tuple[str, Iterable[str]]]) -> str:
    """The lock that holds ``pins``: name -> (version, hashes)."""
    parts = []
    for name in sorted(pins):
        version, hashes = pins[name]
        parts.append(" \\\n    ".join([f"{name}=={version}", *(f"--hash={value}" for value in sorted(hashes))]) + "\n")
    return "".join(parts)


def releases(lock: str) -> tuple[Release, ...]:
    """Everything in ``lock``, in its order."""
    return tuple(Release(*entry) for entry in _entries(lock))


def beside(lock: str, more: str) -> str:
    """``lock`` with what ``more`` has beyond it: nothing that ``lock`` names is changed."""
    return render({release.name: (release.version, release.hashes) for release in (*releases(more), *releases(lock))})


def held_to(lock: str, lines: Sequence[Line]) -> str:
    """``lock`` with only those hashes that the app's own lines allow; raises ``build/unresolvable`` for none."""
    allowed: dict[str, set[str]] = {}
    for line in lines:
        if line.hashes:
            allowed.setdefault(line.name, set()).update(line.hashes)
    if not allowed:
        return lock
    pins: dict[str, tuple[str, Iterable[str]]] = {}
    for name, version, hashes in _entries(lock):
        kept = set(hashes) & allowed[name] if name in allowed else set(hashes)
        if not kept:
            cause = f"the index has no file of {name} {version} with a hash that the requirements name"
            raise DaeError("build/unresolvable", cause, "write the hashes of that version, or none")
        pins[name] = (version, kept)
    return render(pins)


def _entries(text: str) -> list[tuple[str, str, tuple[str, ...]]]:
    entries: list[tuple[str, str, tuple[str, ...]]] = []
    for entry in re.sub(r"\\\r?\n", " ", text).splitlines():
        line = entry.strip()
        if not line or line.startswith(("#", "-")):
            continue
        pin, hashes = _PIN.match(line), _HASH.findall(line)
        if not pin or not hashes:
            raise DaeError("build/failed", f"the lock holds a line without version or hash: {line[:80]!a}", "")
        entries.append((canonicalize_name(pin[1]), pin[2], tuple(hashes)))
    return entries
