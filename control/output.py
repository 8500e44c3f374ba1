"""What a person sees of a workflow: lines of one grammar, as they happen."""

from __future__ import annotations

from collections.abc import Callable


class Output:
    """Writes lines to a sink; also asks it whether anybody still wants the work done."""

    def __init__(self, sink: Callable[[str], None], check: Callable[[], None] = lambda: None) -> None:
        self._sink = sink
        self._check = check

    def guarded(self, check: Callable[[], None]) -> Output:
        """The same output, whose ``check`` also asks ``check``."""

        def both() -> None:
            self._check()
            check()

        return Output(self._sink, both)

    def teed(self, sink: Callable[[str], None]) -> Output:
        """The same output, whose lines also go to ``sink``."""

        def both(line: str) -> None:
            sink(line)
            self._sink(line)

        return Output(both, self._check)

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
        """Raise when the work should end here; plans call it before each step up to their commit."""
        self._check()
