"""A signed document and files as one file: a tar of a fixed form, compressed with zstd (RFC 8878).

Its members are ``signature`` (public key and signature, 96 bytes), the document, which is what is signed (of a slug:
``slug.json``, :class:`slugs.bundle.Bundle`), and ``files/SHA256`` for each distinct file in the order of the document.
Every header is one that we can compute (POSIX.1-1988 ustar: no times, owners or modes, no extensions), so reading
compares it and parses nothing: what can go wrong in the names, links, modes and devices of a tar cannot be said in one
of these.
"""

from __future__ import annotations

import hashlib
import re
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from core.errors import DaeError
from slugs.bundle import bad_archive
from slugs.signing import KEY_BYTES, SIGNATURE_BYTES, SLUGS, signer

if TYPE_CHECKING or sys.version_info < (3, 14):
    from backports import zstd
else:
    from compression import zstd

DOCUMENT_CAP = 64 << 20  # bytes; a file of a layer takes some 150 of it
CHUNK = 1 << 20
_SIGNED = KEY_BYTES + SIGNATURE_BYTES
_BLOCK = tarfile.BLOCKSIZE
_END = bytes(2 * _BLOCK)
_LEVEL = 3  # a higher one takes far longer and saves little: most of an environment's bytes are compiled
_WINDOW = 23  # base 2 logarithm of the memory that reading may take


@dataclass(frozen=True, slots=True)
class Form:
    """What an archive holds: how its document is called, what is signed before it, the error of one that is not so."""

    document: str
    says: bytes
    bad: Callable[[str], DaeError]


SLUG = Form("slug.json", SLUGS, bad_archive)


class Writer:
    """Writes an archive to ``out``: first :meth:`document`, then each :meth:`file` in its order, then :meth:`end`."""

    def __init__(self, out: BinaryIO, form: Form = SLUG) -> None:
        self._form = form
        parameters = zstd.CompressionParameter
        self._out = zstd.ZstdFile(
            out, "wb", options={parameters.compression_level: _LEVEL, parameters.checksum_flag: 1}
        )

    def document(self, document: bytes, signature: bytes) -> None:
        for name, data in (("signature", signature), (self._form.document, document)):
            self._out.write(_header(name, len(data)))
            self._out.write(data + _padding(len(data)))

    def file(self, sha256: str, size: int, path: Path) -> bool:
        """Whether the file at ``path`` is the one of that name; when it is not, the archive is good for nothing."""
        self._out.write(_header(f"files/{sha256}", size))
        digest, left = hashlib.sha256(), size
        with path.open("rb") as stream:
            while data := stream.read(min(CHUNK, left)):
                digest.update(data)
                left -= len(data)
                self._out.write(data)
            more = stream.read(1)
        self._out.write(_padding(size))
        return not left and not more and digest.hexdigest() == sha256

    def end(self) -> None:
        self._out.write(_END)
        self._out.close()


class Reader:
    """Reads an archive from ``source``, in the order in which it is written; memory and output are bounded.

    Everything raises the error of its form.
    """

    def __init__(self, source: BinaryIO, form: Form = SLUG) -> None:
        self.form = form
        self._in = zstd.ZstdFile(source, "rb", options={zstd.DecompressionParameter.window_log_max: _WINDOW})

    def document(self) -> tuple[bytes, bytes]:
        """The document, unread, and its signature, unchecked."""
        self._expect(_header("signature", _SIGNED), "it does not begin with a signature")
        signature = self._take(_SIGNED)
        self._expect(_padding(_SIGNED), "there is something behind its signature")
        header = self._take(_BLOCK)
        octal = re.match(rb"([0-7]{11})\0", header[124:136])  # ustar: where the size stands
        size = int(octal[1], 8) if octal else DOCUMENT_CAP + 1
        if size > DOCUMENT_CAP or header != _header(self.form.document, size):
            raise self.form.bad("the archive has no document behind its signature")
        document = self._take(size)
        self._expect(_padding(size), "there is something behind its document")
        return document, signature

    def file(self, sha256: str, size: int) -> Iterator[bytes]:
        """The next file, piece by piece; when the last piece was given out it was the right one."""
        self._expect(_header(f"files/{sha256}", size), f"file {sha256[:12]} is not where it should be")
        digest, left = hashlib.sha256(), size
        while left:
            data = self._take(min(CHUNK, left))
            digest.update(data)
            left -= len(data)
            yield data
        self._expect(_padding(size), f"there is something behind file {sha256[:12]}")
        if digest.hexdigest() != sha256:
            raise self.form.bad(f"file {sha256[:12]} in the archive has other bytes than its name says")

    def end(self) -> None:
        """Nothing may be left."""
        self._expect(_END, "the archive has more files than its document says")
        if self._read(1):
            raise self.form.bad("there is something behind the end of the archive")

    def _expect(self, wanted: bytes, otherwise: str) -> None:
        if self._take(len(wanted)) != wanted:
            raise self.form.bad(f"the archive is not one of a platform: {otherwise}")

    def _take(self, size: int) -> bytes:
        """Exactly so many bytes."""
        pieces = []
        while size:
            data = self._read(min(size, CHUNK))
            if not data:
                raise self.form.bad("the archive ends too early")
            pieces.append(data)
            size -= len(data)
        return b"".join(pieces)

    def _read(self, most: int) -> bytes:
        try:
            return self._in.read(most)
        except (zstd.ZstdError, EOFError) as error:
            raise self.form.bad(f"the archive cannot be unpacked: {error}") from error


def read_document(reader: Reader) -> tuple[bytes, str]:
    """The document of an archive, unread, and the key that signed it; raises the error of its form."""
    document, signature = reader.document()
    key = signer(signature, document, reader.form.says)
    if not key:
        raise reader.form.bad("the archive's document is not what was signed")
    return document, key


def most_bytes(files: Mapping[str, int], document: bytes) -> int:
    """What an archive of ``files`` (sha256 -> size) takes at most: its tar, and what zstd adds at worst."""
    sizes = (_SIGNED, len(document), *files.values(), len(_END))
    tar = sum(_BLOCK + size + len(_padding(size)) for size in sizes)
    return tar + (tar >> 8) + _BLOCK


def write(
    out: BinaryIO,
    files: Mapping[str, int],
    document: bytes,
    signature: bytes,
    places: Mapping[str, Path],
    form: Form = SLUG,
) -> str:
    """Write the archive of ``files`` (sha256 -> size), in their order; ``places``: where each of them lies.

    Returns the sha256 of a file that is not what it is called any more: the archive is then good for nothing; or "".
    """
    writer = Writer(out, form)
    writer.document(document, signature)
    for sha256, size in files.items():
        if not writer.file(sha256, size, places[sha256]):
            return sha256
    writer.end()
    return ""


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o444
    return member.tobuf(tarfile.USTAR_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)
