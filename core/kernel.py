"""What the standard library has no function for: prctl(2) for whatever is started, and mallopt(3).

The launcher imports it for each start: few imports.
"""

from __future__ import annotations

import ctypes
import os

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38  # prctl(2)
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # mallopt(3)


def prctl(option: int, value: int) -> None:
    """prctl(2); raises OSError."""
    call("prctl", option, *(ctypes.c_ulong(number) for number in (value, 0, 0, 0)), about=f"prctl({option})")


def call(name: str, *arguments: object, about: str) -> None:
    """A function of the C library that returns 0 when it did what it should; raises OSError, which says ``about``."""
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{about}: {os.strerror(number)}")


def give_memory_back() -> None:
    """Have memory that large things took given back to the system when they are gone; no effect but with glibc.

    Otherwise glibc puts up both thresholds as soon as one large thing is freed, and keeps what it once had.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 64 << 10)
        mallopt(M_TRIM_THRESHOLD, 256 << 10)
