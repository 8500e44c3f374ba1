"""Request bodies as git sends them: plain or gzip (gitprotocol-http(5)), of known length or chunked."""

from __future__ import annotations

import zlib
from typing import Any

from core.errors import DaeError
from receiver.packets import Read

CHUNK = 1 << 16
GZIP = 16 + zlib.MAX_WBITS


class Inflater:
    """Reads a gzip stream (RFC 1952) piece by piece: never more is unpacked than was asked for.

    Raises EOFError where the stream is cut short or is not gzip.
    """

    def __init__(self, read: Read) -> None:
        self._read = read
        self._inflate = zlib.decompressobj(GZIP)

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes; none at the end."""
        while not self._inflate.eof:
            packed = self._inflate.unconsumed_tail or self._read(min(size, CHUNK))
            if not packed:
                raise EOFError("the gzip stream is cut short")
            try:
                data = self._inflate.decompress(packed, size)
            except zlib.error as error:
                raise EOFError("not a gzip stream") from error
            if data:
                return data
        return b""


def reader(environ: dict[str, Any]) -> Read:
    """The function that reads a request's body, unpacked; raises ``input/invalid`` for another encoding.

    The server ends ``wsgi.input`` where the body ends (``wsgi.input_terminated``), chunked or not.
    """
    read: Read = environ["wsgi.input"].read
    encoding = environ.get("HTTP_CONTENT_ENCODING", "identity").strip().lower()
    if encoding in ("gzip", "x-gzip"):
        return Inflater(read).read
    if encoding not in ("", "identity"):
        raise DaeError("input/invalid", "the body's encoding is neither gzip nor identity", "push with git itself")
    return read
