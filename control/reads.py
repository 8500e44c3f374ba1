"""When the bytes of layers were last read or written, so that pushes need not read them all each time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

#: How long a push takes it that bytes are as they were when they were last read or written.
RECENT_SECONDS = 3600.0


def code_key(app: str, code: str) -> str:
    """What the code layer ``code`` of an app is called here; an environment is called by its digest."""
    return f"{app}/{code}"


class Reads:
    """In memory: after a start of the process everything is read once more."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._times: dict[str, float] = {}

    def note(self, layer: str, like: str = "") -> None:
        """The layer was read or written now; or, of files that it shares with the layer ``like``, when that was."""
        oldest = self._clock() - RECENT_SECONDS
        moment = self._times.get(like, oldest) if like else self._clock()
        self._times = {name: at for name, at in self._times.items() if at > oldest}
        self._times[layer] = moment

    def recent(self, layers: Iterable[str]) -> bool:
        """Whether all of them were, within RECENT_SECONDS."""
        oldest = self._clock() - RECENT_SECONDS
        return all(self._times.get(layer, oldest) > oldest for layer in layers)
