"""How much time a build still has."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from core.errors import DaeError


@dataclass(frozen=True)
class Deadline:
    """``seconds`` from ``start`` on, by ``clock``."""

    seconds: float
    start: float
    clock: Callable[[], float]

    @classmethod
    def after(cls, seconds: float, clock: Callable[[], float] = time.monotonic) -> Deadline:
        return cls(seconds, clock(), clock)

    def left(self) -> float:
        """The seconds that are left, more than none; raises ``build/timeout``."""
        left = self.start + self.seconds - self.clock()
        if left <= 0:
            cause = f"the build did not end within {self.seconds:g} s"
            raise DaeError("build/timeout", cause, "require packages that have wheels, or ask for more time")
        return left
