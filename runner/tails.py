"""The end of an instance's log: what one start of it wrote."""

from __future__ import annotations

import os
from pathlib import Path

LAST_LINES = 120  # a traceback through a framework is long; who asked shows less of it
_LOG_BYTES = 64 * 1024


def place(path: Path) -> int:
    """Where the log ends now, in bytes."""
    return path.stat().st_size if path.exists() else 0


def since(path: Path, place: int) -> list[str]:
    """The last lines that were logged after ``place``; all of the file when it was rotated since."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(place if size >= place else 0, size - _LOG_BYTES))
        return file.read().decode(errors="replace").splitlines()[-LAST_LINES:]
