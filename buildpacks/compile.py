"""Bytecode. Compiling parses and never runs what it compiles, so the platform may do it itself, within limits."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from core import argv
from core.errors import DaeError

# Run by the app's own interpreter; kept apart because that may be another version of Python than the platform's.
SCRIPT = Path(__file__).with_name("compile_script.py")
WARNINGS_CAP = 50
_LITERAL = re.compile(r"""(['"]).*\1\Z""")


def compile_code(path: Path, python: Path, known: Iterable[str] = (), timeout: float = 120) -> tuple[str, ...]:
    """Compile every Python file below ``path`` with the base interpreter ``python``.

    The names in the bytecode are relative to ``path``: an interpreter that imports it puts the place where it found it
    in their stead, and so the same code gives the same bytes wherever it is compiled. ``known``: sources, as paths
    below ``path``, whose bytecode is there already. Returns a warning (``file line N: reason``) for each file that is
    not Python to that interpreter: old apps carry such files and never import them, so that is no error. Raises
    ``build/timeout`` and ``build/failed``.
    """
    outcome = _run(python, [path], timeout, known)
    if outcome.timed_out:
        cause = f"compiling the app's code took more than {timeout:g} s"
        raise DaeError("build/timeout", cause, "commit less generated code")
    warnings = [str(ast.literal_eval(line)) for line in outcome.output.splitlines() if _LITERAL.match(line)]
    if outcome.status < 0:
        # A file that breaks the parser (or its limits) is the app's affair; the rest is compiled at import.
        warnings.append(f"compiling stopped with signal {-outcome.status}; the app will start slower")
    elif outcome.status != 0:
        raise DaeError("build/failed", f"compiling failed: {' '.join(outcome.output.split())[-300:]}", "")
    more = len(warnings) - WARNINGS_CAP
    return tuple(warnings[:WARNINGS_CAP]) + ((f"and {more} files more",) if more > 0 else ())


def compile_packages(folders: Sequence[Path], python: Path, timeout: float = 600) -> list[Path]:
    """Compile every Python file below each of ``folders``, as :func:`compile_code` does.

    Files that do not compile are left alone: packages bring such files (templates, other versions'
    branches), and nothing imports them. Returns those of ``folders`` that broke the compiler or its limits: only a part
    of them is compiled. The compiler ends with the caller's process group. Raises ``build/timeout`` and
    ``build/failed``.
    """
    outcome = _run(python, folders, timeout, own_session=False)
    if outcome.timed_out:
        raise DaeError("build/timeout", f"compiling packages took more than {timeout:g} s", "push again")
    if outcome.status > 0:
        raise DaeError("build/failed", f"compiling ended with status {outcome.status}: {outcome.output[-300:]}", "")
    if outcome.status == 0 or len(folders) == 1:
        return list(folders) if outcome.status else []
    # One of them did it: the others shall not go without.
    return [left for folder in folders for left in compile_packages([folder], python, timeout)]


def _run(
    python: Path, folders: Sequence[Path], timeout: float, known: Iterable[str] = (), *, own_session: bool = True
) -> argv.Outcome:
    command: list[str | Path] = [python, "-I", "-S", "-W", "ignore", SCRIPT, *folders]
    stdin = b"".join(os.fsencode(name) + b"\0" for name in known)
    return argv.run(command, stdin=stdin, timeout=timeout, own_session=own_session)
