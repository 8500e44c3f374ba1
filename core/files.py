"""Durable changes to files and folders: after a kill at any line there is the old content or the new one, whole."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from pathlib import Path
from typing import IO

from core.errors import disk_full

#: What a slug on its way never takes from the node: what runs on it needs it. Bytes, and files.
KEPT_BYTES, KEPT_FILES = 256 << 20, 10_000
_ROOM_BYTES, _ROOM_FILES = 1 << 20, 300
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


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


def has_room(folder: Path, size: int = _ROOM_BYTES, files: int = _ROOM_FILES) -> bool:
    """Whether the file system of ``folder`` has room for some more files: 300, or 1 MiB; else it counts as full.

    Not for none at all, since what failed for want of room may have given some back before anybody looks.
    """
    found = os.statvfs(folder)
    countless = found.f_files == 0  # file systems that make inodes as they need them, such as btrfs
    return found.f_bavail * found.f_frsize >= size and (countless or found.f_favail >= files)


def require_room(folder: Path, what: str, size: int, files: int = 1) -> None:
    """Raise ``platform/disk-full`` unless ``what`` may take so many bytes and files, and the node keeps its own."""
    if not has_room(folder, size + KEPT_BYTES, files + KEPT_FILES):
        cause = f"{what} takes up to {size / 1e6:.1f} MB and {files} files, and would leave the node too little room"
        raise disk_full(cause)


def reserve(out: IO[bytes], size: int, what: str) -> None:
    """Have room for ``size`` bytes of the new file ``out`` from now on (posix_fallocate(3)), so that nobody else counts
    on it; its length is then that, too. Raises ``platform/disk-full``."""
    require_room(Path(out.name), what, size)
    os.posix_fallocate(out.fileno(), 0, size)


def remove_tree(tree: Path) -> None:
    """Delete ``tree``, read-only folders and all, following no symbolic link; nothing to do when it is not there.

    It may be of any depth: whoever made it may have wanted it to be one that nobody can remove.
    """
    if tree.is_symlink() or not tree.is_dir():
        tree.unlink(missing_ok=True)
        return
    try:
        for _path, _folders, _files, descriptor in os.fwalk(tree, follow_symlinks=False):
            os.fchmod(descriptor, 0o700)  # else what is inside cannot be unlinked
        shutil.rmtree(tree)  # by descriptors: shutil.rmtree.avoids_symlink_attacks
    except (RecursionError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (errno.EMFILE, errno.ENAMETOOLONG):
            raise
        _remove_deep(tree)


def _remove_deep(tree: Path) -> None:
    """The same with two open folders: what lies deeper is moved up to the top, and removed there."""
    top = os.open(tree, _FOLDER)
    try:
        while names := os.listdir(top):  # noqa: PTH208 - of a descriptor
            for name in names:
                if stat.S_ISDIR(os.stat(name, dir_fd=top, follow_symlinks=False).st_mode):
                    _empty(name, top)
                    os.rmdir(name, dir_fd=top)
                else:
                    os.unlink(name, dir_fd=top)
    finally:
        os.close(top)
    tree.rmdir()


def _empty(name: str, top: int) -> None:
    folder = os.open(name, _FOLDER, dir_fd=top)
    try:
        os.fchmod(folder, 0o700)
        for entry in os.listdir(folder):  # noqa: PTH208 - the same
            if stat.S_ISDIR(os.stat(entry, dir_fd=folder, follow_symlinks=False).st_mode):
                os.rename(entry, secrets.token_hex(16), src_dir_fd=folder, dst_dir_fd=top)
            else:
                os.unlink(entry, dir_fd=folder)
    finally:
        os.close(folder)
