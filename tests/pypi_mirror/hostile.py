"""Hostile input, as hypothesis makes it up: parts that mean something, put together in ways that mean nothing."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
from typing import Any

from hypothesis import strategies as st

from tests.pypi_mirror.uploading import BOUNDARY, sdist_bytes
from tests.pypi_mirror.zips import METADATA, NAME, Member, archive, wheel_members

# forms

NAMES = st.sampled_from([":action", "content", "name", "version", "sha256_digest", "filetype", "protocol_version", ""])
PART = st.fixed_dictionaries(
    {
        "name": NAMES | st.text(max_size=8),
        "filename": st.none() | st.sampled_from(["x-1.0.tar.gz", "../x", "", NAME]) | st.text(max_size=8),
        "more": st.sampled_from(
            ["", "Content-Type: text/plain\r\n", "Content-Transfer-Encoding: base64\r\n", "X: \0\r\n"]
        )
        | st.text(max_size=8),
        "value": st.binary(max_size=40) | st.sampled_from([b"file_upload", b"1", b"thing", b"sdist"]),
        "end": st.sampled_from(["\r\n", "\n", "", "\r\n\r\n"]),
    }
)


def spelt(parts: list[dict[str, Any]], last: str) -> bytes:
    body = b""
    for part in parts:
        named = "" if part["filename"] is None else f'; filename="{part["filename"]}"'
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{part["name"]}"{named}\r\n{part["more"]}\r\n'
        body += head.encode("utf-8", "surrogatepass") + part["value"] + part["end"].encode()
    return body + f"--{BOUNDARY}{last}".encode()


# names

PIECES = [
    "..",
    "/",
    "\\",
    "thing",
    "-",
    "1.0",
    ".tar.gz",
    ".whl",
    ".zip",
    "py3",
    "none",
    "any",
    "%2e",
    "\0",
    "\r\n",
    '"',
    "+",
    "!",
    "é",
    "\uff54hing",
    "\u202e",
    "CON",
    ":",
    "~",
    " ",
    ".metadata",
    "1!2",
    "99999999999999999999",
]


# metadata

FIELDS = [
    "Metadata-Version",
    "Name",
    "Version",
    "Summary",
    "Requires-Dist",
    "Requires-Python",
    "Classifier",
    "License",
    "License-Expression",
    "License-File",
    "Dynamic",
    "Provides-Extra",
    "Project-URL",
    "Keywords",
    "Home-page",
    "Description-Content-Type",
    "Author-email",
    "Platform",
    "Import-Name",
    "Content-Type",
    "",
]
VALUES = [
    "thing",
    "1.0",
    "2.1",
    "2.4",
    "9.9",
    "MIT",
    "x; python_version < '3'",
    "x @ file:///etc/passwd",
    ">=3",
    "../x",
    "a, b",
    "text/markdown; charset=\xff",
    "=?utf-8?q?=00?=",
    "\0",
    "\n more",
    "<script>",
    "multipart/mixed",
]
LINES = st.lists(
    st.builds(
        lambda field, value: f"{field}: {value}\n",
        st.sampled_from(FIELDS),
        st.sampled_from(VALUES) | st.text(max_size=9),
    )
    | st.text(max_size=20),
    max_size=6,
).map("".join)


def relisted(members: list[Member], version: str) -> list[Member]:
    """The members and a RECORD of them."""
    lines = ""
    for member in members:
        digest = hashlib.sha256(member.data).digest()
        lines += f"{member.path!s},sha256={encoded(digest)},{len(member.data)}\n"
    place = f"thing-{version}.dist-info/RECORD"
    return [*members, Member(place, f"{lines}{place},,\n".encode())]


def encoded(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def packed(files: dict[str, bytes], **more: Any) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as made:
        for path, data in files.items():
            member = tarfile.TarInfo(path)
            member.size = len(data)
            for key, value in more.items():
                setattr(member, key, value)
            made.addfile(member, io.BytesIO(data))
    return stream.getvalue()


# archives

NUMBERS = st.sampled_from([0, 1, 6, 8, 0x7FFF, 0xFFFF]) | st.integers(0, 0xFFFF)
LIES = st.dictionaries(
    st.sampled_from(["flags", "method", "crc", "packed", "size", "disk", "mode", "at"]), NUMBERS, max_size=2
)
PATHS = st.sampled_from(["thing/__init__.py", "../x", "thing/", "thing", "a/b", "A/B", "\0", "é"]) | st.text(max_size=9)
MEMBER = st.builds(
    lambda path, data, central, local, packing: Member(
        path.encode("utf-8", "replace").decode(), data, central, local, packed=packing
    ),
    PATHS,
    st.binary(max_size=30),
    LIES,
    LIES,
    st.none() | st.binary(max_size=20),
)
ENDS = st.dictionaries(st.sampled_from(["disk", "first", "here", "count", "size", "start"]), NUMBERS, max_size=1)
WHEEL, SDIST = archive(wheel_members()), sdist_bytes("thing")


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    """A good archive of which some bytes were changed, cut off or added."""
    name, whole = draw(st.sampled_from([(NAME, WHEEL), ("thing-1.0.tar.gz", SDIST), ("thing-1.0.zip", WHEEL)]))
    content = bytearray(whole)
    for place, value in draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=6)):
        content[place] = value
    return name, bytes(content[: draw(st.integers(0, len(content)) | st.just(len(content)))]) + draw(
        st.binary(max_size=9)
    )


TARRED = st.builds(
    lambda path, data, kind, target: ("thing-1.0.tar.gz", packed({path: data}, type=kind, linkname=target)),
    st.sampled_from(["thing-1.0/PKG-INFO", "thing-1.0/x", "../x", "/x", "x"]),
    st.binary(max_size=30) | st.just(METADATA.encode()),
    st.sampled_from(
        [tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE, b"S", b"x", b"?"]
    ),
    st.sampled_from(["", "PKG-INFO", "../../x", "/etc/passwd"]),
)
ZIPPED = st.builds(
    lambda more, end, name: (name, archive(wheel_members(*more), **end)),
    st.lists(MEMBER, max_size=3),
    ENDS,
    st.sampled_from([NAME, "thing-1.0.zip"]),
)
NOISE = st.tuples(st.sampled_from([NAME, "thing-1.0.tar.gz", "thing-1.0.zip"]), st.binary(max_size=300))


# upstream's pages

URLS = st.sampled_from(
    [
        "file:///etc/passwd",
        "../../../../etc/passwd",
        "javascript:alert(1)",
        "http://[",
        "//x",
        "http://127.0.0.1:1/x",
        "\0",
        "x-1.0.tar.gz#sha256=" + "0" * 64,
        "http://x/\r\nHost: y",
        "thing-1.0.tar.gz",
        "http://u:p@x/",
    ]
)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | URLS | st.just("0" * 64),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
ENTRY = st.fixed_dictionaries(
    {"filename": st.sampled_from(["thing-1.0.tar.gz", NAME, "../x-1.0.zip", "x\0-1.0.whl"]) | ANY, "url": URLS | ANY},
    optional={
        "hashes": st.dictionaries(st.sampled_from(["sha256", "md5", ""]), st.sampled_from(["0" * 64, "x"]) | ANY) | ANY,
        "size": ANY,
        "upload-time": ANY,
        "yanked": ANY,
        "requires-python": ANY,
        "core-metadata": ANY,
        "provenance": ANY,
    },
)
PAGE = st.fixed_dictionaries(
    {"name": st.just("thing") | ANY, "files": st.lists(ENTRY | ANY, max_size=4) | ANY},
    optional={
        "meta": st.just({"api-version": "1.4"}) | ANY,
        "versions": ANY,
        "project-status": ANY,
        "alternate-locations": ANY,
    },
)
HTML = st.lists(
    st.sampled_from(
        [
            "<html>",
            "<a href=",
            "'>",
            '">',
            "</a>",
            "<base href='http://x/'>",
            "data-yanked=",
            "&#0;",
            "&#x110000;",
            "<!--",
            "data-requires-python='&gt;'",
            "thing-1.0.tar.gz",
            "<meta name='pypi:repository-version' content='",
            "9.9",
        ]
    )
    | URLS
    | st.text(max_size=9),
    max_size=20,
).map("".join)
