"""System calls that the standard library of Python 3.11 has no function for. The launcher imports it for each start."""

from __future__ import annotations

import ctypes

from core.kernel import call

CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWNET = 0x00020000, 0x08000000, 0x40000000  # unshare(2)
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_SLAVE = 2, 4, 8, 4096, 16384, 1 << 19  # mount(2)
_AT_FDCWD, _AT_RECURSIVE, _MOUNT_ATTR_RDONLY = -100, 0x8000, 1  # mount_setattr(2)
_SYS_MOUNT_SETATTR = 442  # on every architecture; the C library has no function for it before glibc 2.36


class _MountAttr(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "userns")]


def unshare(flags: int) -> None:
    """unshare(2); raises OSError."""
    call("unshare", flags, about="unshare")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2); raises OSError."""
    words = [word.encode() or None for word in (source, target, kind)]
    call("mount", *words, ctypes.c_ulong(flags), options.encode() or None, about=f"mount {target}")


def read_only(path: str, *, everything_below: bool) -> None:
    """Take the right to write from the mount at ``path``, and from those below it; raises OSError."""
    _set_attributes(path, _AT_RECURSIVE if everything_below else 0, _MountAttr(set=_MOUNT_ATTR_RDONLY))


def read_write(path: str) -> None:
    """Give it back to the mount at ``path``; raises OSError."""
    _set_attributes(path, 0, _MountAttr(clear=_MOUNT_ATTR_RDONLY))


def _set_attributes(path: str, flags: int, attributes: _MountAttr) -> None:
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    number = ctypes.c_long(_SYS_MOUNT_SETATTR)
    arguments = (_AT_FDCWD, path.encode(), flags, ctypes.byref(attributes), size)
    call("syscall", number, *arguments, about=f"mount_setattr {path}")
