"""Zip archives written byte by byte, so that each number in them may lie."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.pypi_mirror.upstream_model import record

INFO = "thing-1.0.dist-info"
METADATA = "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\nRequires-Python: >=3.8\n"
NAME = "thing-1.0-py3-none-any.whl"


@dataclass
class Member:
    """A file, as it is packed. ``central`` and ``local`` say otherwise than the truth in one of its two headers."""

    path: str | bytes
    data: bytes = b""
    central: Mapping[str, Any] = field(default_factory=dict)
    local: Mapping[str, Any] = field(default_factory=dict)
    before: bytes = b""
    after: bytes = b""
    packed: bytes | None = None
    method: int = 8
    mode: int = 0o100644

    def fields(self) -> dict[str, Any]:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = packer.compress(self.data) + packer.flush() if self.method == 8 else self.data
        packed = packed if self.packed is None else self.packed
        name = self.path.encode() if isinstance(self.path, str) else self.path
        return {
            "mark": b"", "flags": 0 if name.isascii() else 1 << 11, "method": self.method, "crc": zlib.crc32(self.data),
            "packed": len(packed), "size": len(self.data), "name": name, "extra": b"", "comment": b"", "disk": 0,
            "mode": self.mode, "at": 0, "bytes": packed,
        }  # fmt: skip


def archive(members: list[Member], before: bytes = b"", between: bytes = b"", after: bytes = b"", **end: Any) -> bytes:
    """The members, their directory and its end; bytes of nobody's in three places; and what the end says instead."""
    body, directory = bytearray(before), b""
    for member in members:
        body += member.before
        told = {**member.fields(), "at": len(body)}
        body += local_header({**told, **member.local}) + told["bytes"] + member.after
        directory += central_header({**told, **member.central})
    start = len(body) + len(between)
    told = {"disk": 0, "first": 0, "here": len(members), "count": len(members), "size": len(directory), "start": start}
    told |= {"comment": b"", "zip64": b""} | end
    numbers = (told[key] for key in ("disk", "first", "here", "count", "size", "start"))
    tail = struct.pack("<4s4H2LH", b"PK\5\6", *numbers, len(told["comment"])) + told["comment"]
    return b"".join([body, between, directory, told["zip64"], tail, after])


def local_header(told: Mapping[str, Any]) -> bytes:
    numbers = (told["flags"], told["method"], 0, 33, told["crc"], told["packed"], told["size"])
    lengths = (len(told["name"]), len(told["extra"]))
    head = struct.pack("<4s5H3L2H", told["mark"] or b"PK\3\4", 20, *numbers, *lengths)
    return bytes(head + told["name"] + told["extra"])


def central_header(told: Mapping[str, Any]) -> bytes:
    numbers = (told["flags"], told["method"], 0, 33, told["crc"], told["packed"], told["size"])
    lengths = (len(told["name"]), len(told["extra"]), len(told["comment"]))
    rest = (*lengths, told["disk"], 0, told["mode"] << 16, told["at"])
    head = struct.pack("<4s6H3L5H2L", told["mark"] or b"PK\1\2", 0x314, 20, *numbers, *rest)
    return bytes(head + told["name"] + told["extra"] + told["comment"])


def zip64_end(count: int, size: int, start: int, *, place: int | None = None) -> bytes:
    """The record and locator of zip64 behind a directory of that size, which starts there."""
    numbers = (b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, start)
    return struct.pack("<4sQ2H2L4Q", *numbers) + struct.pack(
        "<4sLQL", b"PK\6\7", 0, start + size if place is None else place, 1
    )


def wheel_members(*more: Member, code: Member | None = None, listed: str | None = None) -> list[Member]:
    """The members of a good wheel, or one of it and more beside them, all of which RECORD lists."""
    code = code or Member("thing/__init__.py", b"A = 1\n")
    members = [code, Member(f"{INFO}/METADATA", METADATA.encode()), Member(f"{INFO}/WHEEL", b"Wheel-Version: 1.0\n")]
    members += more
    lines = ""
    for member in members:
        path = member.path if isinstance(member.path, str) else member.path.decode("latin-1")
        if not path.endswith("/"):
            lines += record(f'"{path}"', member.data.decode("latin-1"))
    place = f"{INFO}/RECORD"
    return [*members, Member(place, (lines + f"{place},,\n" if listed is None else listed).encode())]
