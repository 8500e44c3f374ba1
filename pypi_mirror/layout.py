"""Whether a zip archive means the same to every reader of it (APPNOTE.TXT 6.3.10), before anybody reads it.

Some readers go by the directory at an archive's end, some by the header before each file, some by what comes first.
Here an archive is records that touch one another from the first byte to the last, and each says what the directory
says. What is otherwise raises :class:`LayoutError`, which says what is wrong, and nothing else does.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

from pypi_mirror.inside import clash, is_inside, shown

ENTRIES = 200_000
DIRECTORY_BYTES = 64 << 20
#: A file may unpack to so many times its size where it unpacks to more than SMALL_BYTES: deflate itself can do 1032.
RATIO = 100
SMALL_BYTES = 64 << 20
STORED, DEFLATED = 0, 8
BLOCK = 1 << 20

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_ZIP64, _UNICODE_PATH = 0x0001, 0x7075  # kinds of extra fields
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF  # "see the zip64 record"
_DESCRIBED, _UTF8 = 1 << 3, 1 << 11
_FLAGS = _DESCRIBED | _UTF8 | 0b110  # and how hard it was tried to pack it


class LayoutError(Exception):
    """What is wrong with an archive, as the end of a sentence."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder (its path ends in "/"): what its bytes are, and where. ``mode``: of UNIX, 0 when it has none."""

    path: str
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    mode: int
    at: int  # of its header
    start: int = 0  # of its bytes

    @property
    def is_folder(self) -> bool:
        return self.path.endswith("/")


def read(stream: BinaryIO, most: int) -> dict[str, Entry]:
    """The files of the archive by their paths; altogether they unpack to at most ``most`` bytes."""
    length = stream.seek(0, os.SEEK_END)
    start, end, count = _directory(stream, length)
    entries = list(_central(_at(stream, start, end - start), count))
    _bounded(entries, most)
    files = [entry.path for entry in entries if not entry.is_folder]
    if path := clash(files, [entry.path[:-1] for entry in entries if entry.is_folder]):
        raise LayoutError(f"holds {shown(path)} twice, maybe spelt otherwise, or as a file and as a folder")
    placed = list(_placed(stream, sorted(entries, key=lambda entry: entry.at), start))
    return {entry.path: entry for entry in placed if not entry.is_folder}


def content(stream: BinaryIO, entry: Entry) -> Iterator[bytes]:
    """The bytes of a file, in blocks."""
    size, crc = 0, 0
    try:
        for block in _unpacked(stream, entry):
            size, crc = size + len(block), zlib.crc32(block, crc)
            if size > entry.size:
                break
            yield block
    except zlib.error:
        size = -1
    if (size, crc) != (entry.size, entry.crc):
        raise LayoutError(f"holds {shown(entry.path)}, which is not what its header says: it is damaged")


# the end, and the directory before it


def _directory(stream: BinaryIO, length: int) -> tuple[int, int, int]:
    """Where the directory starts and ends, and how many entries it has."""
    end = length - _END.size
    if end < 0:
        raise LayoutError("is no whole zip archive: it is too short for one")
    mark, disk, first, here, count, size, start, comment = _END.unpack(_at(stream, end, _END.size))
    if mark != b"PK\5\6":
        raise LayoutError("is no whole zip archive: it does not end as one does, or something follows its end")
    if comment or disk or first or here != count:
        raise LayoutError("is a zip archive with a comment, or one of several parts")
    end, (count, size, start) = _end64(stream, end, (count, size, start))
    if start + size != end:
        raise LayoutError("has bytes before, between or after the parts of its zip archive")
    if count > ENTRIES or size > DIRECTORY_BYTES:
        raise LayoutError("unpacks to more than it may")
    return start, end, count


def _end64(stream: BinaryIO, end: int, told: tuple[int, int, int]) -> tuple[int, tuple[int, int, int]]:
    """Where the directory ends, and its count, size and start: as the zip64 record says them, if there is one."""
    place = end - _LOCATOR.size
    locator = _LOCATOR.unpack(_at(stream, place, _LOCATOR.size)) if place >= 0 else (b"", 0, 0, 0)
    wanted = told[0] == _MAX16 or _MAX32 in told[1:]
    if locator[0] != b"PK\6\7":
        if wanted:
            raise LayoutError("points to a zip64 record that is not there")
        return end, told
    place -= _END64.size
    if locator[1:] != (0, place, 1) or place < 0:
        raise LayoutError("has a zip64 record that is not where it should be")
    mark, size, _, _, disk, first, here, *found = _END64.unpack(_at(stream, place, _END64.size))
    expected = (min(found[0], _MAX16), min(found[1], _MAX32), min(found[2], _MAX32))
    if mark != b"PK\6\6" or size != _END64.size - 12 or disk or first or here != found[0] or told != expected:
        raise LayoutError("has a zip64 record that says something else than its end does")
    return place, (found[0], found[1], found[2])


def _central(data: bytes, count: int) -> Iterator[Entry]:
    """The directory's entries."""
    place = 0
    for _ in range(count):
        if place + _CENTRAL.size > len(data):
            raise LayoutError("has fewer files than its zip archive's end says")
        fields = _CENTRAL.unpack_from(data, place)
        mark, _, _, flags, method, _, _, crc, packed, size, name_size, extra_size, comment_size, disk, _, attr, at = (
            fields
        )
        place += _CENTRAL.size
        name, extra = data[place : place + name_size], data[place + name_size : place + name_size + extra_size]
        place += name_size + extra_size
        if mark != b"PK\1\2" or place > len(data):
            raise LayoutError("has a damaged directory in its zip archive")
        path = _path(name, flags)
        size, packed, at = _wide(extra, (size, packed, at), path, flags)
        if comment_size or disk:
            raise LayoutError(f"holds {shown(path)} with a comment, or in another part")
        yield _sound(Entry(path, flags, method, crc, packed, size, attr >> 16, at))
    if place != len(data):
        raise LayoutError("has more files than its zip archive's end says")


def _path(name: bytes, flags: int) -> str:
    """A name that is read alike by who knows the flag for UTF-8 and who does not."""
    try:
        path = name.decode("utf-8" if flags & _UTF8 else "ascii")
    except UnicodeDecodeError:
        raise LayoutError(f"holds a file at {shown(name)}, which is not in UTF-8, or does not say so") from None
    if not is_inside(path.removesuffix("/")):
        raise LayoutError(f"holds a file at {shown(path)}, which is no path inside of it")
    return path


def _sound(entry: Entry) -> Entry:
    if entry.flags & ~_FLAGS or entry.method not in (STORED, DEFLATED):
        raise LayoutError(f"is encrypted, or packed in a way that not everybody reads ({shown(entry.path)})")
    if stat.S_IFMT(entry.mode) not in (0, stat.S_IFDIR if entry.is_folder else stat.S_IFREG):
        raise LayoutError(f"holds a link or a device: {shown(entry.path)}")
    if entry.is_folder and (entry.size or entry.packed > 2):  # so long is nothing, packed
        raise LayoutError(f"holds {shown(entry.path)}, a folder that is a file as well")
    if entry.method == STORED and (entry.size != entry.packed or (entry.size and entry.flags & _DESCRIBED)):
        raise LayoutError(f"holds {shown(entry.path)}, of which not every reader finds the end")
    return entry


def _wide(extra: bytes, told: tuple[int, ...], path: str, flags: int) -> tuple[int, ...]:
    """The numbers with those of the zip64 field in the place of the ones that point there.

    A field that nothing points to repeats the numbers (Bazel writes it so), unless a description is to follow: how long
    that is depends on the field.
    """
    wanted = [number == _MAX32 for number in told]
    data = _extra(extra, path).get(_ZIP64)
    if data is None and not any(wanted):
        return told
    repeated = struct.pack(f"<{len(told)}Q", *told)[: len(data or b"")]
    if data and data == repeated and not any(wanted) and not flags & _DESCRIBED:
        return told
    if not data or len(data) != 8 * sum(wanted):
        raise LayoutError(f"holds {shown(path)}, whose zip64 field does not fit its header")
    wide = iter(struct.unpack(f"<{len(data) // 8}Q", data))
    return tuple(next(wide) if is_wide else number for number, is_wide in zip(told, wanted, strict=True))


def _extra(data: bytes, path: str) -> dict[int, bytes]:
    """The extra fields of a header by their kinds; up to three zeros, by which zipalign aligns, all readers pass over.

    More zeros are fields of kind 0, and two of a kind uv does not take.
    """
    found: dict[int, bytes] = {}
    place = 0
    while place + 4 <= len(data) or any(data[place:]):
        if place + 4 > len(data):
            raise LayoutError(f"holds {shown(path)}, whose header has a damaged extra field")
        kind, size = struct.unpack_from("<2H", data, place)
        place += 4 + size
        if kind in found:
            raise LayoutError(f"holds {shown(path)}, whose header has an extra field twice, which uv does not take")
        if place > len(data) or kind == _UNICODE_PATH:  # that is a second name
            raise LayoutError(f"holds {shown(path)}, whose header has a damaged extra field")
        found[kind] = data[place - size : place]
    return found


# all entries together


def _bounded(entries: Sequence[Entry], most: int) -> None:
    size, packed = sum(entry.size for entry in entries), sum(entry.packed for entry in entries)
    if size > most:
        raise LayoutError("unpacks to more than it may")
    if size > SMALL_BYTES and size > RATIO * packed:
        raise LayoutError(f"unpacks to more than {RATIO} times what it is packed to")


# the files themselves


def _placed(stream: BinaryIO, entries: Sequence[Entry], end: int) -> Iterator[Entry]:
    """The entries with the places of their bytes: each begins where the one before ends, as does the directory."""
    at = 0
    for entry in entries:
        if entry.at != at:
            raise LayoutError(f"has bytes before {shown(entry.path)} that belong to no file, or to two")
        start, is_wide = _local(stream, entry, end)
        at = start + entry.packed
        if entry.flags & _DESCRIBED:
            at += _described(stream, entry, at, "<4sL2Q" if is_wide else "<4s3L")
        yield replace(entry, start=start)
    if at != end:
        raise LayoutError("has bytes before, between or after the parts of its zip archive")


def _local(stream: BinaryIO, entry: Entry, end: int) -> tuple[int, bool]:
    """Where the file's bytes start, and whether its own header, which says what the directory says, is of zip64."""
    start = entry.at + _LOCAL.size
    if start > end:
        raise LayoutError(f"says that {shown(entry.path)} is where its directory is")
    fields = _LOCAL.unpack(_at(stream, entry.at, _LOCAL.size))
    mark, _, flags, method, _, _, crc, packed, size, name_size, extra_size = fields
    if mark != b"PK\3\4" or start + name_size + extra_size + entry.packed > end:
        raise LayoutError(f"has no file where its directory says that {shown(entry.path)} is")
    name, extra = _at(stream, start, name_size), _at(stream, start + name_size, extra_size)
    is_wide = _MAX32 in (size, packed)
    size, packed = _wide(extra, (size, packed), entry.path, flags)
    same = (entry.crc, entry.packed, entry.size)
    allowed = (same, (0, 0, 0)) if entry.flags & _DESCRIBED else (same,)
    if (flags, method) != (entry.flags, entry.method) or (crc, packed, size) not in allowed:
        raise LayoutError(f"holds {shown(entry.path)}, of which its header and its directory say different things")
    if name != entry.path.encode():
        raise LayoutError(f"holds {shown(entry.path)}, which its own header calls {shown(name)}")
    return start + name_size + extra_size, is_wide


def _described(stream: BinaryIO, entry: Entry, at: int, form: str) -> int:
    """How long the description behind a file's bytes is, which says the same once more."""
    wanted = struct.pack(form, b"PK\7\x08", entry.crc, entry.packed, entry.size)
    if _at(stream, at, len(wanted)) != wanted:
        raise LayoutError(f"has bytes after {shown(entry.path)} that do not describe it")
    return len(wanted)


def _unpacked(stream: BinaryIO, entry: Entry) -> Iterator[bytes]:
    stream.seek(entry.start)
    left = entry.packed
    inflate = zlib.decompressobj(-zlib.MAX_WBITS) if entry.method == DEFLATED else None
    while left and (data := stream.read(min(BLOCK, left))):
        left -= len(data)
        if inflate is None:
            yield data
            continue
        while data and not inflate.eof:
            yield inflate.decompress(data, BLOCK)
            data = inflate.unconsumed_tail
        if inflate.eof and (left or inflate.unused_data):
            raise zlib.error("something follows the end of the file")
    if inflate is not None:
        yield inflate.flush()
        if not inflate.eof:
            raise zlib.error("the file has no end")


def _at(stream: BinaryIO, place: int, size: int) -> bytes:
    stream.seek(place)
    data = stream.read(size)
    if len(data) != size:
        raise LayoutError("is no whole zip archive: it is cut off")
    return data
