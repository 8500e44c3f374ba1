"""The form by which a distribution is uploaded (multipart/form-data, RFC 7578), read as it comes, its file to the disk.

What is not a form, or larger than one may be, raises ``mirror/bad-upload`` or ``mirror/too-large``; nothing else does,
whatever the bytes are. The grammar is that of the library multipart; the bounds are ours.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from core.errors import DaeError
from pypi_mirror.turns import Source

BLOCK = 64 << 10
PARTS = 4096  # a form has one part for each requirement and classifier
HEADER_BYTES = 4096
FIELDS_BYTES = 16 << 20  # all fields together: descriptions, signatures and attestations among them
KEPT_BYTES = 4096  # of a field that is read; none of them is longer
CONTENT = "content"
#: The fields that are read. The file's own metadata say all else, and are what counts.
KEPT = frozenset({":action", "protocol_version", "filetype", "name", "version", "metadata_version"}) | {
    "md5_digest", "sha256_digest", "blake2_256_digest",
}  # fmt: skip


@dataclass(slots=True)
class Upload:
    """An uploaded form: the fields that are read, and the file's name, size and digests in hex."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str = ""
    size: int = 0
    digests: dict[str, str] = field(default_factory=dict)


def read(body: Source, content_type: str, file: BinaryIO, limit: int) -> Upload:
    """Read a form to its end; its file, of at most ``limit`` bytes, is written into ``file``."""
    reader = _Reader(file, limit)
    try:
        with PushMultipartParser(
            _boundary(content_type), max_header_size=HEADER_BYTES, max_segment_count=PARTS
        ) as parser:
            for block in _blocks(body, most(limit)):
                for event in parser.parse(block):
                    reader.take(event)
    except MultipartError as error:
        raise bad(f"the form cannot be read: {str(error)[:100]}") from None
    return reader.done()


def most(limit: int) -> int:
    """The size of the largest form that there can be with a file of at most ``limit`` bytes."""
    return limit + FIELDS_BYTES + PARTS * HEADER_BYTES


def _boundary(content_type: str) -> str:
    kind, options = parse_options_header(content_type)  # type: ignore[no-untyped-call]  # it has no types
    boundary = options.get("boundary", "")
    if kind != "multipart/form-data" or not re.match(r"[!-~]{1,200}\Z", boundary):
        raise bad("an upload is a form, multipart/form-data with a boundary")
    return str(boundary)


def _blocks(body: Source, limit: int) -> Iterator[bytes]:
    while block := _block(body):
        time.sleep(0)  # under gevent reading waits for nobody while more is there: others have their turn here
        limit -= len(block)
        if limit < 0:
            raise bad("the form is too large")
        yield block


def _block(body: Source) -> bytes:
    try:
        return body.read(BLOCK)
    except OSError:  # the client left, or what it sent is no HTTP
        raise bad("the upload broke off") from None


class _Reader:
    """Takes the form's events one after the other."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._upload = Upload()
        self._file = file
        self._limit = limit
        self._left = FIELDS_BYTES
        self._kinds: dict[str, Any] = {
            "md5_digest": hashlib.md5(usedforsecurity=False),
            "sha256_digest": hashlib.sha256(),
            "blake2_256_digest": hashlib.blake2b(digest_size=32),
        }
        self._name = ""  # of the part that is being read
        self._is_content = False
        self._value = bytearray()

    def take(self, event: MultipartSegment | bytes | bytearray | None) -> None:
        if isinstance(event, MultipartSegment):
            self._begin(event)
        elif event is None:
            self._end()
        else:
            self._add(event)

    def _begin(self, part: MultipartSegment) -> None:
        self._name, self._value = part.name or "", bytearray()
        self._is_content = self._name == CONTENT
        if self._is_content:
            if self._upload.filename:
                raise bad("the form has more than one file")
            self._upload.filename = part.filename or ""
            if not part.filename:
                raise bad("the file has no name")
        elif self._name in KEPT and self._name in self._upload.fields:
            raise bad(f"the form has the field {self._name} twice")

    def _add(self, data: bytes | bytearray) -> None:
        if self._is_content:
            self._upload.size += len(data)
            if self._upload.size > self._limit:
                raise too_large(self._limit)
            for digest in self._kinds.values():
                digest.update(data)
            self._file.write(data)
            return
        self._left -= len(data)
        if self._left < 0:
            raise bad("the form's fields are too large")
        if self._name in KEPT:
            self._value += data
            if len(self._value) > KEPT_BYTES:
                raise bad(f"the field {self._name} is too large")

    def _end(self) -> None:
        if self._name in KEPT and not self._is_content:
            self._upload.fields[self._name] = self._value.decode("utf-8", "replace")

    def done(self) -> Upload:
        if not self._upload.filename:
            raise bad(f"the form holds no file called {CONTENT}")
        self._upload.digests = {name: digest.hexdigest() for name, digest in self._kinds.items()}
        return self._upload


def bad(cause: str) -> DaeError:
    return DaeError("mirror/bad-upload", cause, "upload with twine, uv, poetry, flit, hatch or dae")


def too_large(limit: int) -> DaeError:
    return DaeError(
        "mirror/too-large", f"the file is larger than {limit} bytes", "make it smaller, or ask the operator"
    )
