"""Which part of a file is asked for (RFC 9110, 14): one range of bytes; anything else gets the whole file."""

from __future__ import annotations

import re
from dataclasses import dataclass

_RANGE = re.compile(r"bytes=\s*([0-9]{0,18})-([0-9]{0,18})\s*\Z", re.ASCII | re.IGNORECASE)
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)\Z", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Range:
    """``length`` bytes from ``start`` on; none when nothing of what was asked for is there (416)."""

    start: int
    length: int


def wanted(header: str, size: int) -> Range | None:
    """The part of ``size`` bytes that a Range header asks for; None for the whole: several ranges, or no sense."""
    match = _RANGE.match(header)
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        length = min(int(match[2]), size)
        return Range(size - length, length)
    start = int(match[1])
    end = min(int(match[2]), size - 1) if match[2] else size - 1
    if match[2] and int(match[2]) < start:
        return None  # "is invalid", so it is as if there were no header
    return Range(start, max(0, end - start + 1))


def received(header: str) -> tuple[int, int, int | None] | None:
    """First byte, last byte and the whole's size, if it is told, of a Content-Range; None when it makes no sense."""
    match = _CONTENT_RANGE.match(header.strip())
    if match is None:
        return None
    first, last, size = int(match[1]), int(match[2]), None if match[3] == "*" else int(match[3])
    return (first, last, size) if first <= last and (size is None or last < size) else None
