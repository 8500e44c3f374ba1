"""Reading single files of a tree that somebody else wrote: no symlink is followed, nothing is read without a cap."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from core.errors import DaeError


def read_text(source: Path, name: str, cap: int, code: str) -> str | None:
    """The text of the file ``name`` directly in ``source``, or None when there is none.

    ``cap`` is in bytes. Raises ``code`` when it is a symlink, not a regular file, too large or not UTF-8.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # NONBLOCK: opening a FIFO must not wait
    try:
        descriptor = os.open(source / name, flags)
    except FileNotFoundError:
        return None
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
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DaeError(code, f"{name} line {line}: it is not UTF-8 text", "save the file as UTF-8") from None
