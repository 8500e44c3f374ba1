"""Programs of our own that work beside control, so that they do not hold it up: an order in, a result out."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from control.output import Output
from core import argv
from core.errors import DaeError, disk_full
from core.files import has_room, write_atomically
from core.program import RESULT, WAITING

LINE_CHARS = 2000


def run(module: str, work: Path, order: bytes, timeout: float, output: Output) -> dict[str, Any]:
    """Have ``module`` carry out ``order`` in the folder ``work``; its lines go to ``output``; returns its result.

    Raises the error that it ended with, ``build/failed`` when it left none, and TimeoutError.
    """
    with Program(module, work) as program:
        return program.carry_out(order, timeout, output)


class Program:
    """One of them, which may be started before its order is known: it has imported what it needs when that comes.

    It carries out one order; at the end of the block it is gone.
    """

    def __init__(self, module: str, work: Path) -> None:
        self._module = module
        self._work = work
        theirs, self._pipe = os.pipe()
        try:
            command: list[str | Path] = [sys.executable, "-I", "-m", module, work, WAITING]
            self._started: argv.Started | None = argv.Started(command, stdin=theirs)
        except BaseException:
            os.close(self._pipe)
            raise
        finally:
            os.close(theirs)

    def carry_out(self, order: bytes, timeout: float, output: Output) -> dict[str, Any]:
        """See :func:`run`; ``timeout`` counts from now."""
        write_atomically(self._work / "order.json", order)

        def on_line(line: str) -> None:
            output.raw("".join(letter for letter in line[:LINE_CHARS] if letter.isprintable()))

        started, self._started = self._started, None
        assert started is not None  # noqa: S101 - it carries out one order
        with suppress(BrokenPipeError):  # it ended already: what it said tells why
            os.write(self._pipe, b"\n")
        outcome = started.finish(timeout, on_line=on_line, check=output.check)
        if outcome.timed_out:
            raise TimeoutError(self._module)
        return self._result(outcome)

    def _result(self, outcome: argv.Outcome) -> dict[str, Any]:
        path = self._work / RESULT
        try:
            result: dict[str, Any] = json.loads(path.read_bytes())
        except (FileNotFoundError, ValueError) as error:
            if not has_room(self._work):
                raise disk_full(f"{self._module} could not write its result") from error
            cause = f"{self._module} ended with status {outcome.status} and no result"
            raise DaeError("build/failed", cause, "its last lines are above") from error
        path.unlink()
        if "error" in result:
            raise DaeError.from_json(result)
        return result

    def close(self) -> None:
        """End it, unless it has carried out its order."""
        os.close(self._pipe)
        if self._started is not None:
            self._started.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
