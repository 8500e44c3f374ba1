"""How much of the disk a build takes: looked at while it runs."""

from __future__ import annotations

import errno
import os
import shutil
import time
from pathlib import Path

from core.errors import DaeError, disk_full

MOST_FILES = 1_000_000
_EVERY = 1.0  # seconds, and no more than a tenth of the time is spent on looking
_RESERVE = 1 << 30


class DiskWatch:
    """Watches the work folder of a build, which may take ``most`` bytes, and the room that is left for all others."""

    def __init__(self, work: Path, most: int) -> None:
        self._work = work
        self._most = most
        self._reserve = min(_RESERVE, shutil.disk_usage(work).total // 20)
        self._next = 0.0

    def look(self) -> None:
        """Look again, unless that was done just now; raises ``build/too-large`` or ``platform/disk-full``."""
        started = time.monotonic()
        if started >= self._next:
            self.insist()
            self._next = time.monotonic() + max(_EVERY, 9 * (time.monotonic() - started))

    def insist(self) -> None:
        """The same, at once."""
        if used_more_than(self._work, self._most):
            cause = f"the build wrote more than {self._most >> 20} MiB, or {MOST_FILES} files"
            raise DaeError("build/too-large", cause, "have it write less, or ask for more (build_disk)")
        # Files without a name are in no folder: what the build took of all there is shows here.
        if shutil.disk_usage(self._work).free < self._reserve:
            raise disk_full(f"the build was stopped: less than {self._reserve >> 20} MiB are left on the node")


def used_more_than(folder: Path, most: int) -> bool:
    """Do the files below ``folder`` take more than ``most`` bytes of disk? No link is followed.

    Somebody else may change all of it meanwhile. What is nested deeper than a path can say counts as too much.
    """
    used = files = 0
    waiting = [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    files += 1
                    used += _blocks(entry) * 512
                    if used > most or files > MOST_FILES:
                        return True
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return True
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
                raise
    return False


def _blocks(entry: os.DirEntry[str]) -> int:
    """None of what is gone by now: the other files of its folder still count."""
    try:
        return entry.stat(follow_symlinks=False).st_blocks
    except FileNotFoundError:
        return 0
