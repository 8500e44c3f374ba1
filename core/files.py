"""Durable changes to files and folders: after a kill at any line there is the old content or the new one, whole."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path


def write_atomically(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write ``data`` beside ``path``, sync it, and rename it there; the file has ``mode`` whatever the umask.

    Two writers of one path do not meet: the last one wins. What a killed one leaves begins with a dot.
    """
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(descriptor, mode)
            stream.write(data)
            stream.flush()
            os.fsync(descriptor)
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Have the names in ``folder`` on disk before going on."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_tree(tree: Path) -> None:
    """Delete ``tree``, read-only folders and all, following no symbolic link; nothing to do when it is not there."""
    if tree.is_symlink() or not tree.is_dir():
        tree.unlink(missing_ok=True)
        return
    for _path, _folders, _files, descriptor in os.fwalk(tree, follow_symlinks=False):
        os.fchmod(descriptor, 0o700)  # else what is inside cannot be unlinked
    shutil.rmtree(tree)  # by descriptors: shutil.rmtree.avoids_symlink_attacks
