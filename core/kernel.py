"""System calls for whatever is started: prctl(2), which the standard library has no function for.

The launcher imports it for each start: few imports.
"""

from __future__ import annotations

import ctypes
import os

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38  # prctl(2)


def prctl(option: int, value: int) -> None:
    """prctl(2); raises OSError."""
    call("prctl", option, *(ctypes.c_ulong(number) for number in (value, 0, 0, 0)), about=f"prctl({option})")


def call(name: str, *arguments: object, about: str) -> None:
    """A function of the C library that returns 0 when it did what it should; raises OSError, which says ``about``."""
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{about}: {os.strerror(number)}")
