"""A part of a file (RFC 9110, 14): what ``Range`` and ``If-Range`` ask for, and the part to send.

nginx does this for files that are on the disk; here it is for the first who asks, whose request fetched the file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)\Z", re.ASCII | re.IGNORECASE)
_ONE_RANGE = re.compile(r"bytes\s*=\s*(\d{0,18})-(\d{0,18})\s*\Z", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Part:
    """``length`` bytes from ``start`` on, of ``total``; of a part that cannot be, ``length`` is 0."""

    start: int
    length: int
    total: int

    @property
    def content_range(self) -> str:
        if not self.length:
            return f"bytes */{self.total}"
        return f"bytes {self.start}-{self.start + self.length - 1}/{self.total}"


def asked(header: str, if_range: str, etag: str, total: int) -> Part | None:
    """The part of a file that is asked for; None when the whole is to be sent, as a server may for what it does not do.

    That is: several ranges, other units, and ``If-Range`` with another entity tag or a date.
    """
    match = _ONE_RANGE.match(header.strip())
    if match is None or (if_range and if_range.strip() != etag) or match[1] == match[2] == "":
        return None
    first, last = match[1], match[2]
    if first and last and int(last) < int(first):
        return None  # "invalid", and to be ignored
    if not first:
        length = min(int(last), total)
        return Part(total - length, length, total)
    start = int(first)
    end = min(int(last), total - 1) if last else total - 1
    return Part(start, max(0, end - start + 1), total)


def received(header: str) -> tuple[int, int, int | None] | None:
    """First byte, last byte and the whole's size, if it is told, of a Content-Range; None when it makes no sense."""
    match = _CONTENT_RANGE.match(header.strip())
    if match is None:
        return None
    first, last, size = int(match[1]), int(match[2]), None if match[3] == "*" else int(match[3])
    return (first, last, size) if first <= last and (size is None or last < size) else None
