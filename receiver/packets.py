"""pkt-lines: the frames of git's protocol (gitprotocol-common(5)), and the two texts that the door itself speaks.

The door reads the commands at the head of a push (gitprotocol-pack(5), "Reference Update Request") only to be able to
answer in git's own words when it refuses; git gets every byte unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from core.errors import DaeError

FLUSH = b"0000"
PACKET_BYTES = 65520  # the longest pkt-line, its four digits included
HEAD_BYTES = 4 << 20  # about 30,000 ref updates
BAND_BYTES = 990  # fits the older side-band as well

_LENGTH = re.compile(rb"[0-9a-fA-F]{4}\Z")
_COMMAND = re.compile(rb"[0-9a-f]{40} [0-9a-f]{40} ([^\0\n]+)")
_CONTROL = re.compile(rb"[\x01-\x1f\x7f]")

Read = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of a push: its bytes, the refs it asks for, and what the client understands."""

    raw: bytes
    refs: tuple[bytes, ...]
    capabilities: frozenset[bytes]


def packet(data: bytes) -> bytes:
    """One pkt-line."""
    if len(data) + 4 > PACKET_BYTES:
        raise ValueError("longer than a pkt-line may be")
    return b"%04x" % (len(data) + 4) + data


def read_exactly(read: Read, size: int) -> bytes:
    """``size`` bytes, or fewer at the end of the stream; ``read`` may give less than it is asked for."""
    parts = []
    while size > 0 and (part := read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def read_packet(read: Read) -> bytes | None:
    """The next frame with its length, as it came; None at the end, or where the stream breaks off.

    Raises ``input/invalid`` for what is not a pkt-line.
    """
    length = read_exactly(read, 4)
    if len(length) < 4:
        return None
    if not _LENGTH.match(length):
        raise DaeError("input/invalid", "the body is not in git's format", "push with git itself")
    size = int(length, 16)
    if size <= 4:  # flush-pkt, delim-pkt, response-end-pkt and the empty pkt-line
        return length
    if size > PACKET_BYTES:
        raise DaeError("input/invalid", "a line of the body is longer than git's format allows", "push with git itself")
    data = read_exactly(read, size - 4)
    return length + data if len(data) == size - 4 else None


def frames(read: Read) -> Iterator[bytes]:
    """Whole frames until the stream ends or breaks off."""
    while (frame := read_packet(read)) is not None:
        yield frame


def read_head(read: Read) -> Head:
    """The commands up to the first flush; raises ``input/invalid`` for anything else or too many of them.

    Raises ``push/bad-ref`` for control characters. git runs the hook before it looks at a ref's name, and gives the
    hook one line for each: a line feed within a name would be one more update, that git itself knows nothing of.
    """
    raw, refs, capabilities = bytearray(), [], frozenset[bytes]()
    for frame in frames(read):
        raw += frame
        if frame == FLUSH:
            break
        if len(raw) > HEAD_BYTES:
            raise DaeError("input/invalid", "the push moves too many refs", "push one branch")
        line, _, rest = frame[4:].partition(b"\0")
        if rest and not capabilities:
            capabilities = frozenset(rest.split())
        if _CONTROL.search(line.removesuffix(b"\n")):
            raise DaeError("push/bad-ref", "the name of a ref holds control characters", "push with git itself")
        command = _COMMAND.match(line)
        if command is not None:
            refs.append(command[1])
    return Head(bytes(raw), tuple(refs), capabilities)


def refusal(head: Head, error: DaeError) -> bytes:
    """The answer to a push that the door ends itself: the error for people, and git's report (report-status).

    The client shows the error's line and ``! [remote rejected] master -> master (push/too-large)``, and exits 1.
    """
    report = packet(b"unpack " + error.code.encode() + b"\n")
    report += b"".join(packet(b"ng " + ref + b" " + error.code.encode() + b"\n") for ref in head.refs)
    report += FLUSH
    if b"side-band-64k" not in head.capabilities and b"side-band" not in head.capabilities:
        return report
    return band(2, f"\n{error.lines()}\n".encode()) + band(1, report) + FLUSH


def unpack_failed(frame: bytes) -> bool:
    """Whether the frame, on a side band, begins git's report on a push whose objects it could not store."""
    return frame[4:5] == b"\x01" and frame[9:16] == b"unpack " and not frame.startswith(b"ok\n", 16)


def band(number: int, data: bytes) -> bytes:
    """``data`` on one of the side bands: 1 the report, 2 text for people."""
    pieces = (data[start : start + BAND_BYTES] for start in range(0, len(data), BAND_BYTES))
    return b"".join(packet(bytes([number]) + piece) for piece in pieces)


def service_line(service: str) -> bytes:
    """What comes before the refs in protocol 0 and 1 (gitprotocol-http(5), "Smart Server Response")."""
    return packet(f"# service={service}\n".encode()) + FLUSH
