"""gevent's plug-ins, looked for once.

While it patches the standard library, gevent asks some 25 times for entry points of plug-ins (``gevent.plugins.*``, its
module ``gevent.events``), and each time the metadata of every package in the environment is read: of 60 packages that
takes 35 ms, a fifth of an instance's start.
"""

from __future__ import annotations

import functools
from importlib import metadata
from typing import Any, Callable

_OURS = "gevent.plugins."


def asked_once(patch: Callable[[], None]) -> Callable[[], None]:
    """``patch``, during which those entry points are looked for once; all others are looked for as ever."""

    @functools.wraps(patch)
    def patched() -> None:
        looked_for = metadata.entry_points
        everything = functools.lru_cache(None)(looked_for)

        def entry_points(**wanted: Any) -> Any:
            if list(wanted) == ["group"] and wanted["group"].startswith(_OURS):
                return everything().select(**wanted)
            return looked_for(**wanted)

        metadata.entry_points = entry_points
        try:
            patch()
        finally:
            metadata.entry_points = looked_for

    return patched
