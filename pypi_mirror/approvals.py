"""What administrators let out of quarantine, and who did.

====================================  ===========================================================================
mirror/approved.json                  {"name": {"version": {"by": "ann", "at": "2026-11-30T12:00:00Z"}}}
====================================  ===========================================================================

The version ``*`` is all of them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from core.errors import DaeError
from core.files import sync_folder, write_atomically

FILE = "approved.json"


@dataclass(frozen=True, slots=True)
class Approval:
    """Who approved, and when (ISO 8601, UTC); both are empty where that is not known."""

    by: str = ""
    at: str = ""


def read_approvals(folder: Path) -> dict[str, dict[str, Approval]]:
    """What holds, by project and version; raises ``mirror/bad-policy``, OSError."""
    try:
        data = json.loads((folder / FILE).read_bytes())
        return {str(name): _versions(found) for name, found in data.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError):
        raise DaeError("mirror/bad-policy", "it is damaged", "remove it, and approve again what is needed") from None


def approve(folder: Path, name: str, version: str, by: str = "") -> None:
    """Let a version (or ``*``: all) of a project out of quarantine. One caller at a time; raises as above."""
    found = read_approvals(folder)
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    found.setdefault(name, {}).setdefault(version, Approval(by, at))
    _write(folder, found)


def revoke(folder: Path, name: str, version: str) -> None:
    """Take an approval back; raises ``mirror/unknown-version`` when there is none, and as above."""
    found = read_approvals(folder)
    if version not in found.get(name, {}):
        others = ", ".join(sorted(found.get(name, {}))) or "nothing"
        cause = f"{name} {version} is not approved; approved of it is {others}"
        raise DaeError("mirror/unknown-version", cause, "see: dae mirror policy")
    del found[name][version]
    _write(folder, found)


def _versions(found: object) -> dict[str, Approval]:
    if isinstance(found, list):  # of a time when nobody's name was kept
        return {str(version): Approval() for version in found}
    if not isinstance(found, dict):
        raise TypeError
    return {str(version): Approval(str(one["by"]), str(one["at"])) for version, one in found.items()}


def _write(folder: Path, found: dict[str, dict[str, Approval]]) -> None:
    data = {name: {key: asdict(one) for key, one in versions.items()} for name, versions in found.items() if versions}
    write_atomically(folder / FILE, json.dumps(data, indent=1).encode(), 0o640)
    sync_folder(folder)
