"""What changed between the packages of two environments, as lines for whoever pushed."""

from __future__ import annotations

from collections.abc import Mapping


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """One line for each package that was added, removed or replaced; both map names to versions.

    >>> changes({"flask": "3.0", "six": "1.16"}, {"flask": "3.1", "toolz": "1.0"})
    ['flask 3.0 -> 3.1', 'six 1.16 removed', 'toolz 1.0 added']
    """
    lines = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old is None:
            lines.append(f"{name} {new} added")
        elif new is None:
            lines.append(f"{name} {old} removed")
        elif old != new:
            lines.append(f"{name} {old} -> {new}")
    return lines
