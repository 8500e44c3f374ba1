"""``dae.lock``: what describes the app in a folder, for the platform to lock; and the lock, for pip here."""

from __future__ import annotations

import re
from pathlib import Path

from dae.cli.errors import CliError

FILE = "dae.lock"
SIZE_CAP = 1 << 20  # bytes of one file
COUNT_CAP = 200
# What says which packages an app requires, and what is likely a misspelling of it. Nothing else leaves the machine.
_NAME = re.compile(
    r"app\.yaml|Procfile|Pipfile(\.lock)?|setup\.(py|cfg)|pyproject\.toml|pylock(\.[\w-]+)?\.toml|(uv|poetry|pdm|dae)\.lock"
    r"|\.python-version|runtime\.txt|environment\.yml|(?i:pip|req)[\w.-]*\Z"
)
_INCLUDE = re.compile(r"^\s*(?:-r|-c|--requirement|--constraint)(?:\s+|=|(?=[^\s=]))(\S+)", re.MULTILINE)
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*==[^\s\\]+)", re.MULTILINE)


def described(folder: Path) -> dict[str, str]:
    """The texts of the files that describe the app, by their paths; raises ``local/file``."""
    names = sorted(path.name for path in folder.iterdir() if _NAME.fullmatch(path.name))
    found: dict[str, str] = {}
    waiting = [folder / name for name in names]
    while waiting:
        path = waiting.pop(0)
        inside = _inside(folder, path)
        if inside is None or inside in found:
            continue
        if len(found) == COUNT_CAP:
            raise CliError("local/file", f"more than {COUNT_CAP} files describe this app", "move some away")
        text = _read(path)
        found[inside] = text
        if path.suffix in (".txt", ".in"):
            waiting += [path.parent / name for name in _INCLUDE.findall(text)]
    return found


def constraints(text: str) -> str:
    """The versions that a lock holds, as pip's constraints; hashes and addresses are left out."""
    return "".join(f"{pin}\n" for pin in _PIN.findall(text))


def _inside(folder: Path, path: Path) -> str | None:
    """The path as the platform knows it; None for what is no file, or not below the folder."""
    try:
        whole = path.resolve()
        return whole.relative_to(folder.resolve()).as_posix() if whole.is_file() else None
    except (OSError, ValueError):
        return None


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > SIZE_CAP:
            raise CliError("local/file", f"{path.name} is larger than {SIZE_CAP} bytes", "make it smaller")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CliError("local/file", f"{path.name} cannot be read: {error}", "write it as UTF-8 text") from error
