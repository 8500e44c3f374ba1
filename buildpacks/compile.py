"""Bytecode. Compiling parses and never runs what it compiles, so the platform may do it itself, within limits."""

from __future__ import annotations

import ast
import os
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from core import argv
from core.cooperative import aside
from core.errors import DaeError
from core.spawn import Child

# Run by the app's own interpreter; kept apart because that may be another version of Python than the platform's.
SCRIPT = Path(__file__).with_name("compile_script.py")
WARNINGS_CAP = 50
_OUTPUT_CAP = 1 << 20
_LATER = 2.0  # seconds
_LITERAL = re.compile(r"""(['"]).*\1\Z""")


class Compiler:
    """A program that compiles every Python file below a folder, started before that is known; see :meth:`compile`."""

    def __init__(self, python: Path) -> None:
        """``python``: the base interpreter that is compiled for. Raises FileNotFoundError when there is none."""
        self.python = python
        reader, self._writer = os.pipe()
        try:
            self._child = Child(_command(python), argv.CLEAN_ENVIRON, reader, errors=True)
        except BaseException:
            os.close(self._writer)
            raise
        finally:
            os.close(reader)
        self._told = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """End it, whatever it does."""
        if not self._told:
            os.close(self._writer)
            self._child.reader().close()
        self._child.kill()
        self._child.wait()

    def lives(self) -> bool:
        """Whether it still waits for its word."""
        return self._child.poll() is None

    def compile(self, path: Path, known: Iterable[str] = (), timeout: float = 120) -> tuple[str, ...]:
        """Have it compile the folder ``path``, once.

        The names in the bytecode are relative to the folder: an interpreter that imports it puts the place where it
        found it in their stead, and so the same code gives the same bytes wherever it is compiled. ``known``: sources,
        as paths below the folder, whose bytecode is there already. Returns a warning (``file line N: reason``) for each
        file that is not Python to that interpreter: old apps carry such files and never import them, so that is no
        error. Raises ``build/timeout`` and ``build/failed``.
        """
        self._told = True
        late = threading.Event()

        def expire() -> None:
            late.set()
            self._child.kill()

        timer = threading.Timer(timeout, expire)
        timer.daemon = True
        timer.start()
        try:
            aside(_write_all, self._writer, _words([str(path), *known]))
            with self._child.reader() as stream:
                output = stream.read(_OUTPUT_CAP).decode(errors="replace")
                while stream.read(_OUTPUT_CAP):
                    pass
            status = self._child.wait() or 0
        finally:
            timer.cancel()
        if late.is_set():
            cause = f"compiling the app's code took more than {timeout:g} s"
            raise DaeError("build/timeout", cause, "commit less generated code")
        return _warnings(output, status)


class Spare:
    """Keeps a compiler ready for the next build: starting one takes longer than most pushes have it work.

    It has 8 MB, and ends with the process that keeps it.
    """

    def __init__(self) -> None:
        self._ready: Compiler | None = None

    @contextmanager
    def compiler(self, python: Path) -> Iterator[Compiler]:
        """A compiler for the block; another one is started a moment later, when the machine has less to do."""
        ready, self._ready = self._ready, None
        if ready is not None and not (ready.python == python and ready.lives()):
            ready.close()
            ready = None
        with ready or Compiler(python) as compiler:
            yield compiler
        timer = threading.Timer(_LATER, self._renew, [python])
        timer.daemon = True
        timer.start()

    def _renew(self, python: Path) -> None:
        if self._ready is None:
            with suppress(OSError):  # it was needed for nothing yet; the next build will say what is wrong
                self._ready = Compiler(python)


def _warnings(output: str, status: int) -> tuple[str, ...]:
    warnings = [str(ast.literal_eval(line)) for line in output.splitlines() if _LITERAL.match(line)]
    if status < 0:
        # A file that breaks the parser (or its limits) is the app's affair; the rest is compiled at import.
        warnings.append(f"compiling stopped with signal {-status}; the app will start slower")
    elif status != 0:
        raise DaeError("build/failed", f"compiling failed: {' '.join(output.split())[-300:]}", "")
    more = len(warnings) - WARNINGS_CAP
    return tuple(warnings[:WARNINGS_CAP]) + ((f"and {more} files more",) if more > 0 else ())


def _words(words: Iterable[str]) -> bytes:
    return b"".join(os.fsencode(word) + b"\0" for word in words)


def _write_all(descriptor: int, data: bytes) -> None:
    with suppress(BrokenPipeError), open(descriptor, "wb") as stream:  # it has ended; its status says why
        stream.write(data)


def compile_packages(folders: Sequence[Path], python: Path, timeout: float = 600) -> list[Path]:
    """Compile every Python file below each of ``folders``, as :meth:`Compiler.compile` does.

    Files that do not compile are left alone: packages bring such files (templates, other versions'
    branches), and nothing imports them. Returns those of ``folders`` that broke the compiler or its limits: only a part
    of them is compiled. The compiler ends with the caller's process group. Raises ``build/timeout`` and
    ``build/failed``.
    """
    outcome = argv.run(_command(python, folders), timeout=timeout, own_session=False)
    if outcome.timed_out:
        raise DaeError("build/timeout", f"compiling packages took more than {timeout:g} s", "push again")
    if outcome.status > 0:
        raise DaeError("build/failed", f"compiling ended with status {outcome.status}: {outcome.output[-300:]}", "")
    if outcome.status == 0 or len(folders) == 1:
        return list(folders) if outcome.status else []
    # One of them did it: the others shall not go without.
    return [left for folder in folders for left in compile_packages([folder], python, timeout)]


def _command(python: Path, folders: Sequence[Path] = ()) -> list[str]:
    return [str(word) for word in (python, "-I", "-S", "-W", "ignore", SCRIPT, *folders)]
