"""A program of ours that works on one folder: reads its order there, leaves ``result.json``, and says what it does."""

from __future__ import annotations

import json
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.errors import DaeError, no_room
from core.files import write_atomically
from core.kernel import PR_SET_PDEATHSIG, prctl

BEAT_SECONDS = 8.0
MEMORY_BYTES = 4 << 30
RESULT = "result.json"
#: The second argument of a program that was started before its order is there, and waits to be told of it.
WAITING = "--waiting"

Say = Callable[[str], None]


def run(name: str, arguments: list[str], work: Callable[[Path, Say], dict[str, Any]]) -> int:
    """Do ``work`` in the folder that ``arguments`` names; returns the exit status.

    0 when ``result.json`` is what ``work`` returned, 1 when it is an error (:meth:`DaeError.to_json`); 2: wrong usage.
    With WAITING it begins when a line comes on stdin; without one nobody needs it any more, and it ends with 0.
    """
    if arguments[1:] not in ([], [WAITING]) or not arguments:
        print(f"usage: python -I -m {name} DIR [{WAITING}]", file=sys.stderr)  # noqa: T201 - a program's usage
        return 2
    folder = Path(arguments[0]).absolute()
    if arguments[1:] and not sys.stdin.buffer.readline():
        return 0
    try:
        result, status = work(folder, say), 0
    except DaeError as error:
        result, status = error.to_json(), 1
    except MemoryError:
        hint = "require packages with wheels, or ask the operator for more memory"
        result, status = DaeError("build/out-of-memory", "there was no memory left", hint).to_json(), 1
    except Exception as error:  # noqa: BLE001 - the outermost edge: the reason goes into the result and the log
        full = no_room(error)
        if full is None:
            traceback.print_exc()
        result, status = (full or DaeError("build/failed", f"{type(error).__name__}: {error}", "")).to_json(), 1
    try:
        write_atomically(folder / RESULT, json.dumps(result, indent=1).encode() + b"\n", 0o644)
    except OSError as error:  # without a result, whoever waits for it looks whether the disk is full
        print(f"{name}: the result cannot be written: {error.strerror}", file=sys.stderr)  # noqa: T201 - the log
        return 1
    return status


def bound() -> None:
    """Have this process end with whoever started it, take a bounded memory, and leave no copy of that when it crashes.

    What works beside control calls it first: a successor of a control that was killed would meet it at work.
    """
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    limit(resource.RLIMIT_AS, MEMORY_BYTES)
    limit(resource.RLIMIT_CORE, 0)


def limit(kind: int, most: int) -> None:
    """Lower a limit of this process (setrlimit(2)), for good; one that is lower already stays."""
    hard = resource.getrlimit(kind)[1]
    most = most if hard == resource.RLIM_INFINITY else min(hard, most)
    resource.setrlimit(kind, (most, most))


def say(line: str) -> None:
    """Show a line to whoever waits for the program."""
    print(line, flush=True)  # noqa: T201 - the program's output


@contextmanager
def beating(say: Say, what: str, every: float = BEAT_SECONDS) -> Iterator[None]:
    """Say a line every so many seconds, so that whoever pushed sees that it goes on."""
    done = threading.Event()

    def beat() -> None:
        beats = 0
        while not done.wait(every):
            beats += 1
            say(f"       still {what} ({beats * every:g} s)")

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
