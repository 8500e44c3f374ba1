"""Whether anything at a path has changed, found by a bounded number of looks, however many files are below it.

Who makes, renames or removes a file changes its folder: folders are looked at each time. What is written in place
changes nothing but itself, and is met in turn.
"""

from __future__ import annotations

import os
import time
from itertools import cycle, islice
from pathlib import Path

LOOKS = 2000  # of each kind: at folders, the upper ones first, and at all else in turn
SETTLED = 3 * 10**9  # nanoseconds after which a folder's time is another one when it changes again, on any file system

Stamp = tuple[int, ...]
Stamps = dict[str, Stamp | None]


class Watched:
    """What is at ``path``: a file, or a folder, in which files count that end so and are not hidden, ``most`` of them.

    A file is met in turn after as many calls as there are times LOOKS of them, or at once when its folder changes.
    """

    def __init__(self, path: Path, endings: tuple[str, ...], most: int) -> None:
        self._path, self._endings, self._most = path, endings, most
        self._seen: object = self  # nothing that can be seen
        self._changes = 0
        self._always: Stamps = {}
        self._others: Stamps = {}
        self._turn = cycle(self._others)
        self._settled = False

    def changes(self) -> int:
        """A number that grows when a change is found; the first look finds one."""
        if self._settled and self._is_same():
            return self._changes
        seen = self._look()
        if seen != self._seen:
            self._seen = seen
            self._changes += 1
        return self._changes

    def _is_same(self) -> bool:
        turn = list(islice(self._turn, min(LOOKS, len(self._others))))
        return all(stamp(path) == known for path, known in self._always.items()) and all(
            stamp(path) == self._others[path] for path in turn
        )

    def _look(self) -> object:
        """Look at everything."""
        now = time.time_ns()
        self._settled = False
        try:
            folders, files = walk(self._path, self._endings, self._most)
        except OSError as error:
            return error.errno
        folders.sort(key=lambda path: path.count(os.sep))
        stamps = {path: stamp(path) for path in (*folders, *files)}
        first = max(1, len(folders[:LOOKS]))
        self._always = dict(islice(stamps.items(), first))
        self._others = dict(islice(stamps.items(), first, None))
        self._turn = cycle(self._others)
        times = [found[0] if (found := stamps[path]) else now for path in folders]
        self._settled = all(moment < now - SETTLED for moment in times)
        return stamps


def walk(path: Path, endings: tuple[str, ...], most: int) -> tuple[list[str], list[str]]:
    """The folders, itself included, and the files at a path; where no folder is, that path. Raises OSError."""
    if not path.is_dir():
        return [], [str(path)]
    folders: list[str] = []
    files: list[str] = []
    for folder, _folders, names in os.walk(path, onerror=_raise):
        folders.append(folder)
        files += [f"{folder}/{name}" for name in names if name.endswith(endings) and not name.startswith(".")]
        if len(files) > most:
            break
    return folders, sorted(files)[:most]


def stamp(path: str | Path) -> Stamp | None:
    """What changes when a file does, or who may read it; None when it cannot be looked at."""
    try:
        found = os.stat(path)  # noqa: PTH116 - making a Path takes longer than looking at it
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _raise(error: OSError) -> None:
    raise error
