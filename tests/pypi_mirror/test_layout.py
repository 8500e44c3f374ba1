"""Zip archives that readers read differently, that lie, or that are made to fill a disk: each one is refused."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from core.errors import DaeError
from pypi_mirror import archives, layout
from tests.pypi_mirror.test_archives import refused
from tests.pypi_mirror.zips import (
    INFO,
    NAME,
    Member,
    archive,
    central_header,
    local_header,
    wheel_members,
    zip64_end,
)

CODE = b"A = 1\n"
OTHER = b"A = 2\n"


def code(**lies: object) -> list[Member]:
    """A good wheel, but for one lie about its module."""
    return wheel_members(code=Member("thing/__init__.py", CODE, **lies))  # type: ignore[arg-type]


def both(path: str | bytes, data: bytes = b"", **more: object) -> bytes:
    """A wheel with one more member, which its RECORD lists."""
    return archive(wheel_members(Member(path, data, **more)))  # type: ignore[arg-type]


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def unicode_path(name: bytes) -> bytes:
    body = b"\1" + struct.pack("<L", zlib.crc32(b"thing/__init__.py")) + name
    return struct.pack("<2H", 0x7075, len(body)) + body


def wide(*numbers: int) -> bytes:
    return struct.pack(f"<2H{len(numbers)}Q", 1, 8 * len(numbers), *numbers)


GOOD = archive(wheel_members())
DIRECTORY = len(b"".join(central_header(member.fields()) for member in wheel_members()))
START = len(GOOD) - 22 - DIRECTORY
HIDDEN = local_header(Member("thing/evil.py", OTHER).fields()) + deflated(OTHER)
SIX = len(deflated(CODE))
BOMB = deflated(bytes(8 << 20))

CASES = {
    # one archive in the eyes of who goes by the directory, another one for who goes by the files' headers
    "another name": (archive(code(local={"name": b"thing/__main__.py"})), "which its own header calls"),
    "another size": (archive(code(local={"size": 7})), "say different things"),
    "another packed size": (archive(code(local={"packed": 5})), "say different things"),
    "another sum": (archive(code(local={"crc": 7})), "say different things"),
    "another method": (archive(code(local={"method": 0})), "say different things"),
    "other flags": (archive(code(local={"flags": 2})), "say different things"),
    "no header": (archive(code(local={"mark": b"PK\7\7"})), "has no file where"),
    "a file between": (archive(code(after=HIDDEN)), "belong to no file"),
    "a file before": (archive(wheel_members(), before=HIDDEN), "belong to no file"),
    "a file before, hidden": (archive(code(before=HIDDEN)), "belong to no file"),
    "a file after": (archive(wheel_members(), between=HIDDEN), "bytes before, between or after"),
    "an entry too few": (archive(wheel_members(), here=3, count=3), "has more files than"),
    "an entry too many": (archive(wheel_members(), here=5, count=5), "has fewer files than"),
    "two counts": (archive(wheel_members(), here=3), "one of several parts"),
    "overlapping": (archive([*wheel_members(), Member("x", central={"at": 0})]), "or to two"),
    "two names": (archive(code(central={"extra": unicode_path(b"x.py")})), "damaged extra field"),
    "a field twice": (archive(code(local={"extra": bytes(8)})), "an extra field twice"),
    "a damaged field": (archive(code(local={"extra": b"\1\2\3"})), "damaged extra field"),
    "a long field": (archive(code(central={"extra": b"\1\2\xff\xff"})), "damaged extra field"),
    # bytes that belong to nothing
    "before": (archive(wheel_members(), before=b"#!/bin/sh\n"), "belong to no file"),
    "after": (GOOD + b"\n", "something follows its end"),
    "a comment": (archive(wheel_members(), comment=b"more"), "something follows its end"),
    "a comment of a file": (archive(code(central={"comment": b"more"})), "comment"),
    "two ends": (GOOD + GOOD, "bytes before, between or after"),
    "an end in a comment": (archive(wheel_members(), comment=GOOD[-22:]), "bytes before, between or after"),
    "two ends in a row": (GOOD + GOOD[-22:], "bytes before, between or after"),
    "several parts": (archive(wheel_members(), disk=1), "several parts"),
    "of another part": (archive(code(central={"disk": 1})), "another part"),
    "behind what is packed": (archive(code(packed=deflated(CODE) + b"more")), "damaged"),
    "no end of what is packed": (archive(code(packed=deflated(CODE)[:-1])), "damaged"),
    # zip64
    "no zip64": (archive(wheel_members(), here=0xFFFF, count=0xFFFF), "zip64 record that is not there"),
    "zip64 elsewhere": (
        archive(wheel_members(), zip64=zip64_end(4, DIRECTORY, START, place=0)),
        "not where it should be",
    ),
    "another zip64": (archive(wheel_members(), zip64=zip64_end(3, DIRECTORY, START)), "something else than its end"),
    "zip64 for nothing": (archive(code(central={"extra": wide(7)})), "zip64 field does not fit"),
    "zip64 of another size": (
        archive(code(local={"size": 0xFFFFFFFF, "packed": 0xFFFFFFFF, "extra": wide(7, SIX)})),
        "say different things",
    ),
    "zip64 missing": (archive(code(local={"size": 0xFFFFFFFF})), "zip64 field does not fit"),
    # descriptions behind the file
    "no description": (archive(code(local={"flags": 8}, central={"flags": 8})), "do not describe it"),
    "another description": (
        archive(
            code(local={"flags": 8}, central={"flags": 8}, after=struct.pack("<4s3L", b"PK\7\x08", 1, SIX, len(CODE)))
        ),
        "do not describe it",
    ),
    "stored, described": (
        archive(code(method=0, local={"flags": 8}, central={"flags": 8}, after=bytes(16))),
        "not every reader finds the end",
    ),
    # names
    "twice": (archive([*wheel_members(), Member("thing/__init__.py", CODE)]), "twice"),
    "in another case": (both("Thing/__init__.py"), "twice, maybe spelt otherwise"),
    "in another form": (
        archive(wheel_members(Member("caf\xe9"), Member("cafe\u0301"))),
        "twice, maybe spelt otherwise",
    ),
    "file and folder": (both("thing"), "as a file and as a folder"),
    "folder and file": (archive(wheel_members(Member("a/b/c"), Member("a/b"))), "as a file and as a folder"),
    "an explicit folder": (archive(wheel_members(Member("a/", mode=0), Member("a"))), "as a file and as a folder"),
    "a folder with bytes": (both("folder/", b"x", mode=0), "a folder that is a file"),
    "NUL": (both("thing/a\0.py"), "no path inside"),
    "NUL in UTF-8": (both("thing/\xe9\0.py"), "no path inside"),
    "a control character": (both("thing/\x1b[31m.py"), "no path inside"),
    "a turned name": (both("thing/\u202eyp.a"), "no path inside"),
    "a long name": (both("thing/" + "a" * 2000), "no path inside"),
    "up": (both("../x.py"), "no path inside"),
    "up inside": (both("thing/../../x.py"), "no path inside"),
    "absolute": (both("/x.py"), "no path inside"),
    "of another system": (both("thing\\x.py"), "no path inside"),
    "a drive": (both("c:x.py"), "no path inside"),
    "nothing": (both(""), "no path inside"),
    "two slashes": (both("thing//x.py"), "no path inside"),
    "no encoding": (both(b"thing/\xe9.py"), "not in UTF-8"),
    "not told encoding": (
        both("thing/\xe9.py", central={"flags": 0}, local={"flags": 0}),
        "not in UTF-8, or does not say so",
    ),
    # kinds
    "a link": (both("thing/x", b"/etc/passwd", mode=0o120777), "a link or a device"),
    "a device": (both("thing/x", mode=0o020666), "a link or a device"),
    "a folder as a file": (both("thing/x", mode=0o040755), "a link or a device"),
    "encrypted": (archive(code(local={"flags": 1}, central={"flags": 1})), "is encrypted"),
    "strongly encrypted": (archive(code(local={"flags": 64}, central={"flags": 64})), "is encrypted"),
    "lzma": (archive(code(local={"method": 14}, central={"method": 14})), "not everybody reads"),
    # bombs
    "a ratio": (both("x", central={"size": 80 << 20}, local={"size": 80 << 20}), "100 times"),
    "more than it says": (both("x", central={"size": 3}, local={"size": 3}, packed=BOMB), "another content"),
    "too many": (
        archive(wheel_members(), here=0xFFFF, count=0xFFFF, zip64=zip64_end(300_000, DIRECTORY, START)),
        "unpacks",
    ),
    "a long directory": (archive(wheel_members(), size=0x70000000), "bytes before, between or after"),
    # RECORD
    "a file that RECORD lacks": (archive([*wheel_members(), Member("thing/x", b"")]), "'thing/x' is not listed"),
    "a signature that is damaged": (
        archive([*wheel_members(), Member(f"{INFO}/RECORD.jws", b"x", packed=b"\xff")]),
        "damaged",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_refused(tmp_path: Path, case: str) -> None:
    """A wheel with this one trick is refused, and the reason names it."""
    content, words = CASES[case]
    assert words in refused(tmp_path, NAME, content)


def streamed() -> bytes:
    """Written to where nothing can be corrected later: each file is described behind its bytes."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            self.data += bytes(data)  # type: ignore[call-overload]
            return len(bytes(data))  # type: ignore[call-overload]

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as made:
        for member in wheel_members():
            made.writestr(str(member.path), member.data)
    return pipe.data


def of_zipfile(*, zip64: bool = False) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("thing/", b"")
        for member in wheel_members(Member("thing/\xe9.py")):
            with made.open(str(member.path), "w", force_zip64=zip64) as file:
                file.write(member.data)
    return stream.getvalue()


TAKEN = {
    "as it should be": GOOD,
    "streamed": streamed(),
    "with folders and letters": of_zipfile(),
    "of zip64": of_zipfile(zip64=True),
    "an end of zip64": archive(wheel_members(), zip64=zip64_end(4, DIRECTORY, START)),
    "zip64 that repeats": archive(code(local={"extra": wide(len(CODE), SIX)})),
    "zeros that align": archive(code(local={"extra": b"\x55\x54\5\0\3abcd" + bytes(3)}, central={"extra": bytes(7)})),
    "an extra field": archive(code(local={"extra": b"\x55\x54\5\0\3abcd"})),
    "stored": archive(code(method=0)),
}


@pytest.mark.parametrize("case", TAKEN)
def test_taken(tmp_path: Path, case: str) -> None:
    """What tools may rightly write is taken."""
    path = tmp_path / "upload"
    path.write_bytes(TAKEN[case])
    assert archives.check(path, NAME).name == "thing"


def test_many_files(tmp_path: Path) -> None:
    """A wheel of more files than the old end of an archive can count is taken."""
    path = tmp_path / "upload"
    with zipfile.ZipFile(path, "w") as made:
        for number in range(66_000):
            made.writestr(zipfile.ZipInfo(f"a/{number}"), b"")
    with path.open("rb") as stream:
        assert len(layout.read(stream, 1 << 30)) == 66_000


def test_what_readers_see(tmp_path: Path) -> None:
    """Whatever is taken holds for zipfile what it holds here."""
    path = tmp_path / "upload"
    for content in TAKEN.values():
        path.write_bytes(content)
        with path.open("rb") as stream, zipfile.ZipFile(path) as other:
            found = layout.read(stream, 1 << 30)
            assert list(found) == [info.filename for info in other.infolist() if not info.is_dir()]
            for name, entry in found.items():
                assert b"".join(layout.content(stream, entry)) == other.read(name)


def test_one_error(tmp_path: Path) -> None:
    """Cut off anywhere, it is refused in our own words."""
    path = tmp_path / "upload"
    for length in range(0, len(GOOD), 7):
        path.write_bytes(GOOD[:length])
        with pytest.raises(DaeError, match="mirror/bad-upload"):
            archives.check(path, NAME)
