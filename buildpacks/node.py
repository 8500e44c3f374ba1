"""What a commit's ``package.json`` requires, and which lock says in what versions. Only npm's is read."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from buildpacks.sources import read_text
from core.errors import DaeError

FILE = "package.json"
LOCKS = ("package-lock.json", "npm-shrinkwrap.json")
#: Locks of other managers, and what installs from each.
_OTHERS = {
    "yarn.lock": "npx --yes yarn install --frozen-lockfile",
    "pnpm-lock.yaml": "npx --yes pnpm install --frozen-lockfile",
    "bun.lock": "npx --yes bun install --frozen-lockfile",
    "bun.lockb": "npx --yes bun install --frozen-lockfile",
}
_KEYS = ("dependencies", "devDependencies", "optionalDependencies", "workspaces")
_CAP = 1 << 20  # bytes


def check(source: Path) -> tuple[str, ...]:
    """A line on packages that no lock holds, of the tree in ``source``.

    Raises ``build/unsupported-manifest`` when another manager's lock holds them: npm would install without a word what
    is newest today.
    """
    if not (source / FILE).is_file() or _there(source, LOCKS) or not _requires(source):
        return ()
    if others := _there(source, _OTHERS):
        cause = f"{' and '.join(others)}, which npm does not read, says what {FILE} gets, and there is no {LOCKS[0]}"
        own = f"write '{_OTHERS[others[0]]}' into bin/pre_compile and 'assets: off' into app.yaml"
        raise DaeError("build/unsupported-manifest", cause, f"npm install --package-lock-only, and commit it; or {own}")
    return (
        f"no {LOCKS[0]} says what {FILE} gets: npm takes the newest that fits, another one with each build;"
        " type 'npm install --package-lock-only', and commit it",
    )


def _there(source: Path, names: Collection[str]) -> list[str]:
    return [name for name in names if (source / name).is_file()]


def _requires(source: Path) -> bool:
    """Whether it names packages; what cannot be read npm judges."""
    try:
        data = json.loads(read_text(source, FILE, _CAP, "build/unsupported-manifest") or "")
    except (DaeError, ValueError, RecursionError):
        return False
    return isinstance(data, dict) and any(data.get(key) for key in _KEYS)
