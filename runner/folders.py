"""Folders of apps and builds, made and given away through descriptors: whoever owns a parent cannot redirect us."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from core.files import remove_tree

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def ensure(path: Path, mode: int, uid: int = -1, gid: int = -1) -> None:
    """Make the folder ``path`` with that owner and mode, or correct them; its parent exists.

    The last part of ``path`` is never followed when it is a symbolic link: raises OSError. Ids of -1 stay.
    """
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        ensure_at(parent, path.name, mode, uid, gid)
    finally:
        os.close(parent)


def ensure_at(parent: int, name: str, mode: int, uid: int = -1, gid: int = -1) -> None:
    """The same below an open folder."""
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)
    folder = os.open(name, _FLAGS, dir_fd=parent)
    try:
        os.fchown(folder, uid, gid)
        os.fchmod(folder, mode)  # after the owner: a change of that clears the set-group-id bit
    finally:
        os.close(folder)


def ensure_below(path: Path, names: tuple[str, ...], mode: int, uid: int = -1, gid: int = -1) -> None:
    """Folders directly below ``path``, which may belong to an app: neither it nor they are followed as links."""
    folder = os.open(path, _FLAGS)
    try:
        for name in names:
            ensure_at(folder, name, mode, uid, gid)
    finally:
        os.close(folder)


def remove(path: Path) -> None:
    """Remove a tree, of whatever depth, without following links; a missing one is fine."""
    remove_tree(path)
