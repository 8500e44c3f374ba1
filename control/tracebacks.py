"""Tracebacks as their reader wants them: the app's own frames, and the one that raised."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

_FRAME = re.compile(r'  File "(?P<path>[^"]+)", line \d+')
_OF_FRAME = re.compile(r"    |  \[Previous line repeated")
_INSTALLED = re.compile(r'(?<=")/[^"]*/(?:site-packages|lib/python3\.\d+)/(?=[^"])')
#: What the server says around it, and what the error says once more.
_NOISE = re.compile(
    r"\[[\d :+-]+\] \[\d+\] \[\w+\] (?:Exception in worker process|Worker \(pid:\d+\) exited with code"
    r"|Shutting down: Master|Reason: Worker failed to boot)|dae: wsgi_app [\w.:]+ cannot be imported: "
)
LEFT_OUT = "(frames outside of your code are left out; all of them: dae logs)"


def shortened(lines: Sequence[str], code: Path) -> list[str]:
    """The ``lines`` that an instance wrote before it crashed, without what is not the app's; ``code``: its folder.

    Of each traceback the frames in ``code`` are left, by their paths there, and the last frame, whose file it may be.
    """
    found, frames, dropped = list[str](), list[list[str]](), 0
    for line in (*lines, ""):
        if _FRAME.match(line):
            frames.append([line])
        elif frames and _OF_FRAME.match(line):
            frames[-1].append(line)
        else:
            kept = [frame for number, frame in enumerate(frames, 1) if number == len(frames) or _is_mine(frame, code)]
            dropped += len(frames) - len(kept)
            found += [_short(text, code) for frame in kept for text in frame]
            frames.clear()
            if line and not _NOISE.match(line) and not _is_said(line, found):
                found.append(line)
    return [*found, *([LEFT_OUT] if dropped else [])]


def _is_mine(frame: Sequence[str], code: Path) -> bool:
    match = _FRAME.match(frame[0])
    return match is not None and match["path"].startswith(f"{code}/")


def _short(line: str, code: Path) -> str:
    return _INSTALLED.sub("", line.replace(f'"{code}/', '"')) if _FRAME.match(line) else line


def _is_said(line: str, before: Sequence[str]) -> bool:
    """Whether it is the message of the exception in the line before, once more."""
    return bool(before) and before[-1].endswith(f": {line}")
