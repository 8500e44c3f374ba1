"""Programs of our own that work beside control, so that they do not hold it up: an order in, a result out."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from control.output import Output
from core import argv
from core.errors import DaeError, disk_full
from core.files import has_room, write_atomically
from core.program import RESULT

LINE_CHARS = 2000


def run(module: str, work: Path, order: bytes, timeout: float, output: Output) -> dict[str, Any]:
    """Have ``module`` carry out ``order`` in the folder ``work``; its lines go to ``output``; returns its result.

    Raises the error that it ended with, ``build/failed`` when it left none, and TimeoutError.
    """
    write_atomically(work / "order.json", order)

    def on_line(line: str) -> None:
        output.raw("".join(letter for letter in line[:LINE_CHARS] if letter.isprintable()))

    command: list[str | Path] = [sys.executable, "-I", "-m", module, work]
    outcome = argv.run(command, timeout=timeout, on_line=on_line, check=output.check)
    if outcome.timed_out:
        raise TimeoutError(module)
    try:
        result: dict[str, Any] = json.loads((work / RESULT).read_bytes())
    except (FileNotFoundError, ValueError) as error:
        if not has_room(work):
            raise disk_full(f"{module} could not write its result") from error
        cause = f"{module} ended with status {outcome.status} and no result"
        raise DaeError("build/failed", cause, "its last lines are above") from error
    (work / RESULT).unlink()
    if "error" in result:
        raise DaeError.from_json(result)
    return result
