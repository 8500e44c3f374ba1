"""What a person sees of a workflow: lines of one grammar, as they happen."""

from __future__ import annotations

from collections.abc import Callable

from core.errors import DaeError


class Output:
    """Writes lines to a sink; also asks it whether anybody still wants the work done."""

    def __init__(self, sink: Callable[[str], None], cancelled: Callable[[], bool] = lambda: False) -> None:
        self._sink = sink
        self._cancelled = cancelled

    def step(self, text: str) -> None:
        self._sink(f"-----> {text}")

    def detail(self, text: str) -> None:
        self._sink(f"       {text}")

    def warn(self, text: str) -> None:
        self._sink(f" !     {text}")

    def raw(self, text: str) -> None:
        """A line of another program that speaks the same grammar."""
        self._sink(text)

    def done(self, text: str) -> None:
        self._sink(f"=====> {text}")

    def check(self) -> None:
        """Raise ``push/cancelled`` when the asking client is gone; called before each step up to the switch."""
        if self._cancelled():
            raise DaeError("push/cancelled", "the client went away before the switch", "push again")
