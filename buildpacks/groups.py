"""Dependency groups of pyproject.toml (PEP 735), and what they include."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from packaging.utils import canonicalize_name

from core.errors import DaeError

DEPTH = 20
_CODE = "build/bad-requirements"


def groups(pyproject: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The requirements of each group by its normalised name; uv's older ``dev-dependencies`` are of ``dev``.

    Raises ``build/bad-requirements``.
    """
    table = pyproject.get("dependency-groups", {})
    if not isinstance(table, dict):
        raise DaeError(_CODE, "pyproject.toml: [dependency-groups] is not a table", "see PEP 735")
    known = {str(canonicalize_name(name)): entries for name, entries in table.items()}
    found = {name: tuple(_expanded(known, name, (), set())) for name in known}
    tool = pyproject.get("tool")
    uv = tool.get("uv") if isinstance(tool, dict) else None
    older = uv.get("dev-dependencies") if isinstance(uv, dict) else None
    if isinstance(older, list) and older:
        found["dev"] = (*found.get("dev", ()), *(text for text in older if isinstance(text, str)))
    return found


def _expanded(known: Mapping[str, object], name: str, above: tuple[str, ...], seen: set[str]) -> Iterator[str]:
    """``above``: the groups that include it; ``seen``: those that are in already, for twice says no more than once."""
    entries = known.get(name)
    if name in above or len(above) > DEPTH or not isinstance(entries, list):
        what = "includes itself" if name in above else "is not a list that is there"
        cause = f"pyproject.toml: the dependency group {name[:60]!a} {what}"
        raise DaeError(_CODE, cause, "see [dependency-groups]")
    for entry in entries:
        if isinstance(entry, str):
            yield entry
        elif isinstance(entry, dict) and isinstance(entry.get("include-group"), str):
            inner = str(canonicalize_name(entry["include-group"]))
            if inner not in seen or inner in (*above, name):
                seen.add(inner)
                yield from _expanded(known, inner, (*above, name), seen)
        else:
            cause = f"pyproject.toml: the dependency group {name[:60]!a} holds what is neither requirement nor group"
            raise DaeError(_CODE, cause, 'write requirements, or {include-group = "NAME"}')
