"""Reading single files of a tree that somebody else wrote: no symlink is followed, nothing is read without a cap."""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path

from core.errors import DaeError

_CONFLICT = re.compile(r"^(?:<{7}|>{7}) ", re.MULTILINE)


def read_text(source: Path, name: str, cap: int, code: str, again: str = "") -> str | None:
    """The text of the file ``name`` below ``source``, or None when there is none.

    ``name`` is relative, with ``/`` and without ``.`` and ``..``. ``cap`` is in bytes. Raises ``code`` when the file or
    a folder above it is a symlink, and when it is not a regular file, too large or not UTF-8; also when a merge left
    its marks in it. ``again``: the command that makes it anew.
    """
    try:
        descriptor = _open(source, name)
    except (FileNotFoundError, NotADirectoryError) as error:
        if isinstance(error, FileNotFoundError) or not _through_link(source, name):
            return None
        raise DaeError(code, f"{name} is behind a symbolic link", "commit the file itself") from None
    except OSError as error:
        what = "is a symbolic link" if error.errno == errno.ELOOP else f"cannot be read: {error.strerror}"
        raise DaeError(code, f"{name} {what}", "commit the file itself") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DaeError(code, f"{name} is not a regular file", "commit the file itself")
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(cap + 1)
    if len(data) > cap:
        raise DaeError(code, f"{name} is larger than {cap // 1024} KiB", "shorten it")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DaeError(code, f"{name} line {line}: it is not UTF-8 text", "save the file as UTF-8") from None
    if mark := _CONFLICT.search(text):
        line = text[: mark.start()].count("\n") + 1
        hint = "keep what is right, remove the marks, commit and push again"
        if again:
            hint = f"take one side of it (git checkout COMMIT -- {name}), type '{again}', and commit"
        raise DaeError(code, f"{name} line {line}: the marks of a merge conflict stand in it", hint)
    return text


def _open(source: Path, name: str) -> int:
    """Open the file, through folders that are folders: a path is looked up as a whole only when it is one name."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    *folders, last = name.split("/")
    at = os.open(source, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for folder in folders:
            inner = os.open(folder, flags | os.O_DIRECTORY, dir_fd=at)
            os.close(at)
            at = inner
        return os.open(last, flags | os.O_NONBLOCK, dir_fd=at)  # NONBLOCK: opening a FIFO must not wait
    finally:
        os.close(at)


def _through_link(source: Path, name: str) -> bool:
    return any((source / folder).is_symlink() for folder in Path(name).parents)
