"""What a wheel and an sdist must be, as a table: each line is one thing that is wrong with an otherwise good one."""

from __future__ import annotations

import gzip
import io
import stat
import struct
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import DaeError
from pypi_mirror import archives
from tests.pypi_mirror.uploading import sdist_bytes
from tests.pypi_mirror.upstream_model import build_wheel, record

INFO = "thing-1.0.dist-info"
METADATA = "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\nRequires-Python: >=3.8\n"
Change = Callable[[dict[str, str]], None]


def wheel(
    change: Change = lambda _members: None, listed: Change = lambda _lines: None, metadata: str = METADATA
) -> bytes:
    """A wheel whose members, and whose lines of RECORD by path, were changed."""
    members = {"thing/__init__.py": "A = 1\n", f"{INFO}/METADATA": metadata, f"{INFO}/WHEEL": "Wheel-Version: 1.0\n"}
    lines = {path: record(path, text) for path, text in members.items()} | {f"{INFO}/RECORD": f"{INFO}/RECORD,,\n"}
    listed(lines)
    change(members)
    members.setdefault(f"{INFO}/RECORD", "".join(lines.values()))
    return zipped(members)


def zipped(members: dict[str, str], mode: int = 0) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in members.items():
            info = zipfile.ZipInfo(path)
            info.external_attr = mode << 16
            archive.writestr(info, text)
    return stream.getvalue()


def refused(folder: Path, name: str, content: bytes) -> str:
    """Why the file is refused; the reason is one line, and short."""
    path = folder / "upload"
    path.write_bytes(content)
    with pytest.raises(DaeError) as caught:
        archives.check(path, name)
    assert caught.value.code == "mirror/bad-upload"
    assert len(caught.value.line()) < 2000
    return caught.value.cause


def put(path: str, text: str) -> Change:
    return lambda members: members.update({path: text})


def both(path: str, text: str = "x") -> bytes:
    """A wheel with one more file, listed as it should be."""
    return wheel(put(path, text), put(path, record(path, text)))


def drop(path: str) -> Change:
    def change(members: dict[str, str]) -> None:
        del members[path]

    return change


WHEELS = {
    "not listed": (wheel(put("thing/more.py", "B = 2\n")), "'thing/more.py' is not listed"),
    "missing": (wheel(drop("thing/__init__.py")), "'thing/__init__.py' is listed and missing"),
    "changed": (wheel(put("thing/__init__.py", "A = 2\n")), "has another content"),
    "wrong size": (
        wheel(listed=put("thing/__init__.py", record("thing/__init__.py", "A = 1\n").replace(",6\n", ",7\n"))),
        "has another content",
    ),
    "without a hash": (wheel(listed=put("thing/__init__.py", "thing/__init__.py,,\n")), "without a hash"),
    "with md5": (wheel(listed=put("thing/__init__.py", "thing/__init__.py,md5=AAAA,6\n")), "without a hash"),
    "no base64": (wheel(listed=put("thing/__init__.py", "thing/__init__.py,sha256=!,6\n")), "another content"),
    "twice in RECORD": (
        wheel(listed=put("thing/__init__.py", 2 * record("thing/__init__.py", "A = 1\n"))),
        "twice, or outside",
    ),
    "outside in RECORD": (wheel(listed=put("x", "../x,,\n")), "twice, or outside"),
    "a NUL in RECORD": (
        wheel(put(f"{INFO}/RECORD", "\0,")),
        "RECORD",
    ),
    "above": (both("../thing.py"), "no path inside"),
    "absolute": (both("/etc/thing.py"), "no path inside"),
    "of another system": (both("thing\\..\\..\\x.py"), "no path inside"),
    "on a drive": (both("C:/x.py"), "no path inside"),
    "two infos": (both("other-1.0.dist-info/METADATA"), "no RECORD in its one"),
    "no metadata": (
        wheel(drop(f"{INFO}/METADATA"), lambda lines: lines.update({f"{INFO}/METADATA": ""})),
        "no metadata",
    ),
    "other version": (wheel(metadata=METADATA.replace("1.0", "1.1")), "holds version 1.1"),
    "other name": (wheel(metadata=METADATA.replace("thing", "other")), "different projects"),
    "no version": (wheel(metadata=METADATA.replace("1.0", "one")), "version"),
    "bad requirement": (wheel(metadata=METADATA + "Requires-Dist: x ==\n"), "requires-dist"),
    "bad python": (wheel(metadata=METADATA.replace(">=3.8", "three")), "requires-python"),
    "metadata of tomorrow": (wheel(metadata=METADATA.replace("2.1", "9.9")), "metadata"),
    "empty metadata": (wheel(metadata=""), "no metadata"),
    "links": (zipped({"thing/link": "/etc/passwd"}, stat.S_IFLNK | 0o777), "a link or a device"),
    "empty": (b"", "no whole zip archive"),
    "no zip": (b"PK\x03\x04" + bytes(100), "no whole zip archive"),
    "cut": (build_wheel("thing", "1.0")[:-30], "no whole zip archive"),
}


@pytest.mark.parametrize("case", WHEELS)
def test_wheels_that_are_refused(tmp_path: Path, case: str) -> None:
    """A wheel with this one fault is refused, and the reason names it."""
    content, words = WHEELS[case]
    assert words in refused(tmp_path, "thing-1.0-py3-none-any.whl", content)


@pytest.mark.parametrize(
    "text",
    [METADATA, METADATA + "License-File: LICENSE\n", METADATA.replace("2.1", "2.4") + "License-File: L\n"],
)
def test_wheels_that_are_taken(tmp_path: Path, text: str) -> None:
    """A good wheel is taken, also with the License-File that setuptools wrote before the standard had it."""
    path = tmp_path / "upload"
    path.write_bytes(wheel(metadata=text))
    found = archives.check(path, "thing-1.0-py3-none-any.whl")
    assert (found.name, found.version, found.requires_python) == ("thing", "1.0", ">=3.8")


def test_a_file_twice(tmp_path: Path) -> None:
    """A wheel with one path twice is refused: which of the two is meant is a matter of the reader's."""
    stream = io.BytesIO(wheel())
    with zipfile.ZipFile(stream, "a") as archive, pytest.warns(UserWarning):
        archive.writestr("thing/__init__.py", "A = 1\n")
    assert "twice" in refused(tmp_path, "thing-1.0-py3-none-any.whl", stream.getvalue())


def test_a_bomb(tmp_path: Path) -> None:
    """A wheel that says to be larger than any wheel, and one that is larger than it says, are refused at once."""
    content = bytearray(wheel())
    place = content.rindex(b"PK\x01\x02")
    for size in (5 << 30, 3):
        content[place + 24 : place + 28] = struct.pack("<I", min(size, 0xFFFFFFFE))
        assert refused(tmp_path, "thing-1.0-py3-none-any.whl", bytes(content))


@pytest.mark.parametrize(
    "name",
    ["thing.whl", "thing-1.0.tgz", "thing-1.0.tar.bz2", "thing-1.0.exe", "../thing-1.0.tar.gz", "thing-one.tar.gz", ""],
)
def test_names(tmp_path: Path, name: str) -> None:
    """A file that is not called as a distribution is, is none."""
    refused(tmp_path, name, sdist_bytes("thing"))


INFO_OF_SDIST = {"thing-1.0/PKG-INFO": METADATA}


def test_zip_sdists(tmp_path: Path) -> None:
    """An sdist may be a zip archive, too, of one folder with its metadata, which means the same to every reader."""
    path = tmp_path / "upload"
    path.write_bytes(zipped({**INFO_OF_SDIST, "thing-1.0/a/thing.py": "A = 1\n"}))
    assert archives.check(path, "thing-1.0.zip").requires_python == ">=3.8"
    for content, words in (
        (zipped({**INFO_OF_SDIST, "x.py": ""}), "'x.py', which is not in the folder thing-1.0"),
        (zipped({**INFO_OF_SDIST, "thing-1.0/../x.py": ""}), "no path inside"),
        (zipped({"thing-1.0/thing.py": ""}), "no metadata"),
        (zipped({"thing-1.0/PKG-INFO": METADATA.replace("thing", "other")}), "different projects"),
        (zipped(INFO_OF_SDIST, stat.S_IFLNK | 0o777), "a link or a device"),
        (zipped(INFO_OF_SDIST) + b"more", "something follows its end"),
        (sdist_bytes("thing"), "no whole zip archive"),
    ):
        assert words in refused(tmp_path, "thing-1.0.zip", content)


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2", "2.1", "2.2", "2.3", "2.4", "2.5"])
def test_versions_of_metadata(tmp_path: Path, version: str) -> None:
    """Every version of the standard is taken, and a field of a later one, or a wrong value, is told by its name."""
    text = METADATA.replace("2.1", version).replace("Requires-Python: >=3.8\n", "")
    path = tmp_path / "upload"
    path.write_bytes(wheel(metadata=text))
    archives.check(path, "thing-1.0-py3-none-any.whl")
    for line, field in (
        ("License-Expression: MIT OR", "license-expression"),
        ("Import-Name: 1thing", "import-name"),
        ("Dynamic: name", "dynamic"),
        ("Requires-Dist: x @", "requires-dist"),
        ("Description-Content-Type: text/html", "description-content-type"),
    ):
        content = wheel(metadata=text + line + "\n")
        assert field in refused(tmp_path, "thing-1.0-py3-none-any.whl", content)


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 0) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, target, size
    return made


SDISTS = {
    "outside": ((member("x"),), "not in the folder thing-1.0"),
    "above": ((member("thing-1.0/../../x"),), "not in the folder"),
    "absolute": ((member("/thing-1.0/x"),), "not in the folder"),
    "device": ((member("thing-1.0/x", tarfile.CHRTYPE),), "no file"),
    "pipe": ((member("thing-1.0/x", tarfile.FIFOTYPE),), "no file"),
    "link out": ((member("thing-1.0/x", tarfile.SYMTYPE, "../../etc/passwd"),), "leads to no file"),
    "absolute link": ((member("thing-1.0/x", tarfile.SYMTYPE, "/etc/passwd"),), "leads to no file"),
    "hard link out": ((member("thing-1.0/x", tarfile.LNKTYPE, "/etc/passwd"),), "leads to no file"),
    "link to a folder": ((member("thing-1.0/x", tarfile.SYMTYPE, "."),), "leads to no file"),
    "below a link": (
        (member("thing-1.0/x", tarfile.SYMTYPE, "PKG-INFO"), member("thing-1.0/x/y")),
        "below a link",
    ),
    "chain of links": (
        (member("thing-1.0/x", tarfile.SYMTYPE, "y"), member("thing-1.0/y", tarfile.SYMTYPE, "../..")),
        "leads to no file",
    ),
    "twice": ((member("thing-1.0/PKG-INFO"),), "twice"),
}


@pytest.mark.parametrize("case", SDISTS)
def test_sdists_that_are_refused(tmp_path: Path, case: str) -> None:
    """An sdist with this one trick is refused, and the reason names it."""
    members, words = SDISTS[case]
    assert words in refused(tmp_path, "thing-1.0.tar.gz", sdist_bytes("thing", "1.0", *members))


def test_links_inside(tmp_path: Path) -> None:
    """A link to a file of the same sdist harms nobody, and is taken."""
    path = tmp_path / "upload"
    path.write_bytes(sdist_bytes("thing", "1.0", member("thing-1.0/docs/x", tarfile.SYMTYPE, "../PKG-INFO")))
    assert archives.check(path, "thing-1.0.tar.gz").version == "1.0"


def test_sdists_without_end(tmp_path: Path) -> None:
    """An sdist that unpacks to gigabytes, or has a name of megabytes, is refused in seconds and little memory."""
    started = time.monotonic()
    bomb = sdist_bytes("thing", "1.0", member("thing-1.0/zeros", size=300 << 20))
    assert len(bomb) < 1 << 20
    assert "too large" in refused(tmp_path, "thing-1.0.tar.gz", bomb)
    long = member("thing-1.0/" + "x" * (2 << 20))
    assert "too large" in refused(tmp_path, "thing-1.0.tar.gz", sdist_bytes("thing", "1.0", long))
    assert time.monotonic() - started < 20


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_archives(tmp_path: Path, data: st.DataObject) -> None:
    """Whatever bytes of an archive are changed, cut or added: it is taken, or refused in our own words."""
    name, content = data.draw(
        st.sampled_from(
            [("thing-1.0-py3-none-any.whl", wheel()), ("thing-1.0.tar.gz", gzip.decompress(sdist_bytes("thing")))]
        )
    )
    damaged = bytearray(content)
    for place, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=8)
    ):
        damaged[place] = value
    damaged = damaged[: data.draw(st.integers(0, len(content)) | st.just(len(content)))] + data.draw(
        st.binary(max_size=30)
    )
    path = tmp_path / "upload"
    path.write_bytes(gzip.compress(bytes(damaged), 1) if name.endswith("gz") else bytes(damaged))
    try:
        archives.check(path, name)
    except DaeError as error:
        assert error.code == "mirror/bad-upload"
