"""Forms that anybody may have made: read, or refused in our own words; never more in memory or on disk than allowed."""

from __future__ import annotations

import hashlib
import io

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.errors import DaeError
from pypi_mirror import forms
from tests.pypi_mirror.uploading import BOUNDARY, form

LIMIT = 100_000
KIND = f"multipart/form-data; boundary={BOUNDARY}"
GOOD = form(
    {":action": "file_upload", "name": "n", "description": "text\r\n--b0un"}, "x-1.0.tar.gz", b"content\r\n--b0"
)


class Slow(io.BytesIO):
    """Gives so many bytes at a time as it likes."""

    def __init__(self, content: bytes, step: int) -> None:
        super().__init__(content)
        self._step = step

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self._step)


class Breaking(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        raise OSError("the client left")


def read(body: bytes, kind: str = KIND, step: int = 1 << 16) -> tuple[forms.Upload, bytes]:
    file = io.BytesIO()
    return forms.read(Slow(body, step), kind, file, LIMIT), file.getvalue()


def refused(body: bytes, kind: str = KIND) -> DaeError:
    with pytest.raises(DaeError) as caught:
        read(body, kind)
    assert caught.value.code in ("mirror/bad-upload", "mirror/too-large")
    return caught.value


@pytest.mark.parametrize("step", [1, 2, 7, 100, 1 << 16])
def test_read(step: int) -> None:
    """A form is read the same however it is cut, its digests are its content's, and what is not read is not kept."""
    upload, content = read(GOOD, step=step)
    assert content == b"content\r\n--b0"
    assert upload.fields == {":action": "file_upload", "name": "n"}
    assert (upload.filename, upload.size) == ("x-1.0.tar.gz", len(content))
    assert upload.digests["sha256_digest"] == hashlib.sha256(content).hexdigest()
    assert upload.digests["blake2_256_digest"] == hashlib.blake2b(content, digest_size=32).hexdigest()


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "multipart/form-data", "multipart/form-data; boundary=", "multipart/mixed; boundary=x",
             "multipart/form-data; boundary=" + "x" * 300, "multipart/form-data; boundary=\xff"]
)  # fmt: skip
def test_other_content_types(kind: str) -> None:
    """What is no form by its type is refused before it is read."""
    refused(GOOD, kind)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        GOOD[:-1] and GOOD[: len(GOOD) // 2],
        GOOD[:-6],
        f"--{BOUNDARY}--\r\n".encode(),
        f"--{BOUNDARY}\r\n\r\nno header\r\n--{BOUNDARY}--\r\n".encode(),
        f"--{BOUNDARY}\r\nContent-Disposition: form-data\r\n\r\nx\r\n--{BOUNDARY}--\r\n".encode(),
        f"--{BOUNDARY}\r\nContent-Disposition: \xff\r\n\r\nx\r\n--{BOUNDARY}--\r\n".encode("latin-1"),
        form({"name": "\udcff".encode("utf-8", "surrogateescape").decode("latin-1")}, "", b""),
        form({}, "a", b"1")[: -len(BOUNDARY) - 8] + b"\r\n" + form({}, "b", b"2"),
        form({":action": "a"}, "x", b"")[: -len(BOUNDARY) - 8] + b"\r\n" + form({":action": "b"}, "x", b""),
        b"x" * 1_000_000,
        f"--{BOUNDARY}\r\nA: ".encode() + b"x" * 1_000_000,
    ],
)
def test_what_is_no_form(body: bytes) -> None:
    """A form that is cut, empty, ambiguous or without end is refused."""
    refused(body)


def test_bounds() -> None:
    """Too large a file is told apart from too large a form."""
    assert refused(form({}, "x", bytes(LIMIT + 1))).code == "mirror/too-large"
    assert refused(form({"name": "x" * 5000}, "x", b"")).code == "mirror/bad-upload"


def test_a_client_that_left() -> None:
    """A connection that breaks is no defect."""
    with pytest.raises(DaeError, match="broke off"):
        forms.read(Breaking(), KIND, io.BytesIO(), LIMIT)


PIECES = st.sampled_from(
    [b"--" + BOUNDARY.encode(), b"\r\n", b"\n", b"\r", b"--", b"Content-Disposition: form-data; name=", b'"content"',
     b'; filename="a-1.0.tar.gz"', b'":action"', b"file_upload", b"; filename*=UTF-8''%ff", b": ", b"\xff", b"\0"]
)  # fmt: skip


@settings(max_examples=1000, deadline=None)
@given(st.lists(PIECES | st.binary(max_size=20), max_size=40).map(b"".join), st.integers(1, 50))
@example(GOOD, 3)
def test_any_bytes(body: bytes, step: int) -> None:
    """Whatever comes: it is read, or refused in our own words, and no more is written than came."""
    file = io.BytesIO()
    try:
        upload = forms.read(Slow(body, step), KIND, file, LIMIT)
    except DaeError as error:
        assert error.code in ("mirror/bad-upload", "mirror/too-large")
    else:
        assert upload.size == len(file.getvalue()) <= len(body)


@settings(max_examples=500, deadline=None)
@given(st.data(), st.integers(1, 50))
def test_damaged_forms(data: st.DataObject, step: int) -> None:
    """The same for a good form of which some bytes were changed."""
    body = bytearray(GOOD)
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), max_size=6)):
        body[place] = value
    try:
        forms.read(Slow(bytes(body), step), KIND, io.BytesIO(), LIMIT)
    except DaeError as error:
        assert error.code in ("mirror/bad-upload", "mirror/too-large")


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60))
def test_any_content_type(kind: str) -> None:
    """Whatever the type's parameters are."""
    try:
        forms.read(Slow(GOOD, 100), "multipart/form-data" + kind, io.BytesIO(), LIMIT)
    except DaeError as error:
        assert error.code == "mirror/bad-upload"
