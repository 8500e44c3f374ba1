"""The form by which a distribution is uploaded (multipart/form-data, RFC 7578), read as it comes, its file to the disk.

What is not a form, or larger than one may be, raises ``mirror/bad-upload`` or ``mirror/too-large``; nothing else does,
whatever the bytes are. The grammar is Werkzeug's; the bounds are ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Protocol

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import NEED_DATA, Data, Epilogue, Event, Field, File, MultipartDecoder

from core.errors import DaeError

BLOCK = 64 << 10
PARTS = 4096  # a form has one part for each requirement and classifier
BUFFER_BYTES = 256 << 10  # the headers of a part, and what cannot be told yet from a boundary
FIELDS_BYTES = 16 << 20  # all fields together: descriptions, signatures and attestations among them
KEPT_BYTES = 4096  # of a field that is read; none of them is longer
CONTENT = "content"
#: The fields that are read. The file's own metadata say all else, and are what counts.
KEPT = frozenset({":action", "protocol_version", "filetype", "name", "version", "metadata_version"}) | {
    "md5_digest", "sha256_digest", "blake2_256_digest",
}  # fmt: skip


class Source(Protocol):
    """What the bytes of the body are read from."""

    def read(self, size: int, /) -> bytes: ...


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
        for event in _events(body, _boundary(content_type)):
            reader.take(event)
    except RequestEntityTooLarge:
        raise bad("the form has too many parts, or one with too long a header") from None
    except (ValueError, AssertionError, AttributeError, TypeError) as error:
        # Werkzeug's decoder says by ValueError that it is no form; the others guard against what it trips over.
        raise bad(f"the form cannot be read: {str(error)[:100]!a}") from None
    return reader.done()


def _boundary(content_type: str) -> bytes:
    kind, options = parse_options_header(content_type)
    boundary = options.get("boundary", "")
    if kind != "multipart/form-data" or not 1 <= len(boundary) <= 200 or not boundary.isascii():
        raise bad("an upload is a form, multipart/form-data with a boundary")
    return boundary.encode()


def _events(body: Source, boundary: bytes) -> Iterator[Event]:
    decoder = MultipartDecoder(boundary, BUFFER_BYTES, max_parts=PARTS)
    while True:
        block = _block(body)
        decoder.receive_data(block or None)
        while (event := decoder.next_event()) is not NEED_DATA:
            yield event
            if isinstance(event, Epilogue):
                return


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

    def take(self, event: Event) -> None:
        if isinstance(event, File | Field):
            self._begin(event)
        elif isinstance(event, Data):
            self._add(event.data)
            if not event.more_data:
                self._end()

    def _begin(self, event: File | Field) -> None:
        self._name, self._value = event.name or "", bytearray()
        self._is_content = isinstance(event, File) and self._name == CONTENT
        if isinstance(event, File) and self._is_content:
            if self._upload.filename:
                raise bad("the form has more than one file")
            self._upload.filename = event.filename
            if not event.filename:
                raise bad("the file has no name")
        elif self._name in KEPT and self._name in self._upload.fields:
            raise bad(f"the form has the field {self._name} twice")

    def _add(self, data: bytes) -> None:
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
            self._upload.fields[self._name] = self._value.decode()  # UnicodeDecodeError is a ValueError

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
