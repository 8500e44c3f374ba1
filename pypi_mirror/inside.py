"""Whether the paths of an archive stay inside of it, and mean the same on every system."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

LENGTH = 1024


def is_inside(path: str) -> bool:
    """Whether a path can lead nowhere but into its archive, on every system, and hides nothing from who reads it."""
    if not path or len(path) > LENGTH or not path.isprintable() or "\\" in path or path[1:2] == ":":
        return False
    return not any(part in ("", ".", "..") for part in path.split("/"))


def clash(files: Iterable[str], folders: Iterable[str] = ()) -> str:
    """The first path that is there twice, or as a file and as a folder, where case or Unicode's forms mean nothing.

    Empty when there is none; the paths of folders have no slash at their end.
    """
    seen: set[str] = set()
    above = {_plain(path) for path in folders}
    for path in files:
        plain = _plain(path)
        if plain in seen:
            return path
        seen.add(plain)
    for path in (*seen, *above):
        while (path := path.rpartition("/")[0]) and path not in above:
            above.add(path)
    return min(seen & above, default="")


def shown(path: str | bytes) -> str:
    """A path as it is told to people."""
    return ascii(path[:80]).removeprefix("b")


def _plain(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
