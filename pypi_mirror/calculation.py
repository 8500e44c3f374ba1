"""Work on large pages, which takes tenths of a second, beside the one greenlet after the other that the mirror is.

Whoever waits for upstream would be told that time is up before it is seen that upstream had answered long ago.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from core.cooperative import aside

P = ParamSpec("P")
T = TypeVar("T")

#: More at once would be no quicker: Python calculates in one thread at a time.
_places = threading.BoundedSemaphore(2)


def calculated(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """What ``work``, which is pure, returns or raises; others go on meanwhile."""
    with _places:
        return aside(work, *arguments, **named)
