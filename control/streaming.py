"""Long work as a stream: a line of JSON for each line of output, at last the result or the error."""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from control.output import Output
from core.errors import DaeError, no_room

log = logging.getLogger("dae.control")

BEAT_SECONDS = 8  # design: a sign of life at least every 10 s, so that no proxy and no person gives up
PULSE_SECONDS = 0.5  # an empty line, which readers skip: only who writes learns that nobody reads any more


def stream(work: Callable[[Output], dict[str, Any]]) -> Iterator[bytes]:
    """Run ``work`` beside the caller and yield ndjson: ``{"line"}`` ..., then ``{"ok"}`` or an error; empty lines too.

    When the reader goes away, ``Output.check`` raises in the work at its next step.
    """
    items: queue.Queue[dict[str, Any]] = queue.Queue()
    gone = threading.Event()

    def check() -> None:
        if gone.is_set():
            raise DaeError("push/cancelled", "the client went away before the switch", "try again")

    output = Output(lambda line: items.put({"line": line}), check)
    threading.Thread(target=_run, args=(work, output, items), daemon=True).start()
    started = spoken = time.monotonic()
    try:
        while True:
            try:
                item = items.get(timeout=PULSE_SECONDS)
            except queue.Empty:
                if time.monotonic() - spoken < BEAT_SECONDS:
                    yield b"\n"
                    continue
                item = {"line": f"       ... {time.monotonic() - started:.0f} s"}
            spoken = time.monotonic()
            yield json.dumps(item).encode() + b"\n"
            if "line" not in item:
                return
    finally:
        gone.set()


def _run(work: Callable[[Output], dict[str, Any]], output: Output, items: queue.Queue[dict[str, Any]]) -> None:
    try:
        items.put({"ok": work(output)})
    except DaeError as error:
        items.put(error.to_json())
    except Exception as error:
        log.exception("a workflow failed in a way it should not")
        items.put(internal_error(error).to_json())


def internal_error(error: BaseException | None = None) -> DaeError:
    """What a client is told of a full disk, or of a defect: no details, they are in the log."""
    return no_room(error) or DaeError(
        "platform/internal", "the platform failed in a way it should not", "see control's log; try again"
    )
