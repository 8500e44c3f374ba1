"""How long to wait before upstream is asked once more for the same thing."""

from __future__ import annotations

import random

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0


def pause(failures: int) -> float:
    """Seconds to wait after so many failures in a row: at most twice as long each time, and no two ask in step."""
    most = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures, 10))
    return random.uniform(most / 2, most)  # noqa: S311 - no secret
