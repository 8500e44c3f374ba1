"""Work on whole trees that somebody else made: no symlink is ever followed, not even by the one who put it there."""

from __future__ import annotations

import os
import stat
from collections.abc import Container
from pathlib import Path

from core.errors import DaeError

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def seal(tree: Path, owner: tuple[int, int] | None, sealed: Container[tuple[int, int]] = ()) -> None:
    """Make everything in ``tree`` read-only for everybody: folders 0555, files 0444, or 0555 when they are programs.

    ``owner`` (uid, gid), when this process is root: whose it becomes. ``sealed``: files (device and inode) that are so
    already, under another name too. Raises ``build/unsafe-tree`` for what is neither
    a file, a folder nor a symbolic link, and, as root, for a file with other names elsewhere: its other name would
    change with it.
    """
    for path, folders, files, descriptor in os.fwalk(tree, topdown=False, follow_symlinks=False):
        for name in (*folders, *files):
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                if owner is not None:
                    os.chown(name, *owner, dir_fd=descriptor, follow_symlinks=False)
            elif stat.S_ISREG(status.st_mode):
                if (status.st_dev, status.st_ino) not in sealed:
                    _seal_file(name, descriptor, owner, path)
            elif not stat.S_ISDIR(status.st_mode):
                raise DaeError("build/unsafe-tree", f"{ascii(name)[1:-1]} is not a file, folder or link", "remove it")
        _apply(descriptor, 0o555, owner)


def _seal_file(name: str, folder: int, owner: tuple[int, int] | None, path: str) -> None:
    descriptor = os.open(name, _OPEN, dir_fd=folder)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or (owner is not None and status.st_nlink > 1):
            raise DaeError(
                "build/unsafe-tree", f"{ascii(path + '/' + name)[1:-1]} has other names elsewhere", "copy it"
            )
        _apply(descriptor, 0o555 if status.st_mode & stat.S_IXUSR else 0o444, owner)
    finally:
        os.close(descriptor)


def _apply(descriptor: int, mode: int, owner: tuple[int, int] | None) -> None:
    if owner is not None:
        os.fchown(descriptor, *owner)
    os.fchmod(descriptor, mode)
