"""What the policy hides besides files and pages: metadata, in each view; and what it reads out of files."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from core.paths import Home
from pypi_mirror import licenses
from pypi_mirror.model import File
from tests.pypi_mirror.mirror_process import MirrorProcess, poll
from tests.pypi_mirror.test_gate import STABLE, ago, in_view, offer, write
from tests.pypi_mirror.test_serving import file_url
from tests.pypi_mirror.upstream_model import JSON_TYPE, UpstreamModel

Start = Callable[..., MirrorProcess]


def on_disk(home: Path, sha256: str, filename: str) -> Path:
    """Where nginx looks for a file."""
    return Home(home).mirror / "files" / sha256[:2] / sha256 / filename


def put(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def sdist(name: str, version: str, info: str, ending: str = ".tar.gz") -> bytes:
    """A source distribution whose PKG-INFO has these lines, too, and comes last."""
    folder, text = f"{name}-{version}", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{info}\n"
    members = {f"{folder}/setup.py": "", f"{folder}/{name}.egg-info/PKG-INFO": "x", f"{folder}/PKG-INFO": text}
    stream = io.BytesIO()
    if ending == ".zip":
        with zipfile.ZipFile(stream, "w") as archive:
            for path, content in members.items():
                archive.writestr(path, content)
        return stream.getvalue()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for path, content in members.items():
            entry = tarfile.TarInfo(path)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content.encode()))
    packers: dict[str, Callable[[bytes], bytes]] = {".tar.bz2": bz2.compress, ".tar.xz": lzma.compress}
    packers |= {".tar.gz": gzip.compress, ".tgz": gzip.compress, ".tar": bytes}
    return packers[ending](stream.getvalue())


def test_metadata_of_what_is_hidden(tmp_path: Path, upstream: UpstreamModel, new_mirror: Start) -> None:
    """It is refused as the file is, before it was ever here and after, and upstream is not asked for it."""
    filename, sha256 = offer(upstream, "young", "1.0", ago(days=1))
    write(tmp_path, "cooldown_days = 7\n[view.stable]\ncooldown_days = 0\n")
    mirror = new_mirror(upstream.url)
    mirror.get("/pypi/simple/young/")
    answer = mirror.get(file_url(sha256, filename) + ".metadata")
    assert (answer.status, answer.text.split(":")[0]) == (403, "mirror/refused")
    assert "wait until" in answer.text
    assert upstream.counts[f"/up/{filename}"] == 0
    text = mirror.get(in_view(sha256, filename) + ".metadata")
    assert (text.status, "Name: young" in text.text) == (200, True), "another view shows it"
    assert mirror.get(file_url(sha256, filename) + ".metadata").status == 403, "and this one still does not"
    assert not on_disk(tmp_path, sha256, filename + ".metadata").exists(), "nginx must not find it"
    page = json.loads(mirror.get(f"{STABLE}/simple/young/", {"Accept": JSON_TYPE}).body)
    assert "core-metadata" in page["files"][0]
    write(tmp_path, "")
    poll(lambda: mirror.get(file_url(sha256, filename) + ".metadata").body == text.body)


@pytest.mark.parametrize("fetched", [True, False])
def test_metadata_of_what_is_hidden_later(
    tmp_path: Path, upstream: UpstreamModel, new_mirror: Start, fetched: bool
) -> None:
    """A policy that changes takes it out of nginx's reach with the file, also where only the metadata is here."""
    filename, sha256 = upstream.add("turned")
    mirror = new_mirror(upstream.url)
    mirror.get("/pypi/simple/turned/")
    url, beside = file_url(sha256, filename) + ".metadata", on_disk(tmp_path, sha256, filename + ".metadata")
    if fetched:
        mirror.get(file_url(sha256, filename))
    text = mirror.get(url)
    assert text.status == 200
    assert beside.is_file()
    write(tmp_path, "[[rule]]\naction = 'deny'\nname = 'turned'\n")
    poll(lambda: not beside.exists())
    assert mirror.get(url).status == 403
    assert mirror.get(url, method="HEAD").status == 403
    assert mirror.get(url, {"Range": "bytes=0-9"}).status == 403
    mirror.stop()
    mirror.start()
    assert mirror.get(url).status == 403
    write(tmp_path, "")
    poll(beside.is_file)
    assert mirror.get(url).body == text.body


def test_a_license_in_the_metadata(tmp_path: Path, upstream: UpstreamModel, new_mirror: Start) -> None:
    """Who asks for the metadata alone is refused by what it says; the wheel itself is not fetched for it."""
    name, text = "agpl-1.0-py3-none-any.whl", b"Metadata-Version: 2.4\nName: agpl\nVersion: 1.0\nLicense: AGPL-3.0\n"
    filename, sha256 = upstream.add_file("agpl", name, b"x" * 100)
    upstream.pages["agpl"]["files"][0]["core-metadata"] = {"sha256": hashlib.sha256(text).hexdigest()}
    upstream.bodies[f"/up/{name}.metadata"] = text
    write(tmp_path, "[[rule]]\naction = 'deny'\nlicense = 'AGPL*'\n")
    mirror = new_mirror(upstream.url)
    assert "href" in mirror.get("/pypi/simple/agpl/").text
    assert mirror.get(file_url(sha256, filename) + ".metadata").status == 403
    assert not on_disk(tmp_path, sha256, filename + ".metadata").exists()
    assert mirror.get(file_url(sha256, filename)).status == 403
    assert upstream.counts[f"/up/{filename}"] == 0


@pytest.mark.parametrize(
    "info",
    [
        "License-Expression: MIT OR AGPL-3.0-only",
        "License: AGPL-3.0",
        "License: AGPL-3.0\n        and its text\n        in many lines",
        "Classifier: License :: OSI Approved :: AGPL Version 3",
    ],
)
def test_what_says_a_license(info: str) -> None:
    """The expression and its parts, classifiers, and the old field, whose first line it is that counts."""
    text = f"Metadata-Version: 2.4\nName: a\nVersion: 1.0\n{info}\n".encode()
    assert any(word.startswith("AGPL") for word in licenses.named_in(text))


@pytest.mark.parametrize("ending", [".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar", ".zip"])
def test_the_license_of_an_sdist(tmp_path: Path, ending: str) -> None:
    """It is read out of whatever archive, kept, and known when the archive is gone."""
    kept = licenses.Licenses(tmp_path, put)
    file = File(f"kit-1.0{ending}", "a" * 64)
    assert kept.of(file, None) is None, "it is not here"
    path = tmp_path / "archive"
    path.write_bytes(sdist("kit", "1.0", "License: GPL-3.0", ending))
    assert kept.of(file, path) == ("GPL-3.0",)
    path.unlink()
    assert kept.of(file, None) == ("GPL-3.0",)


@pytest.mark.parametrize(
    "body", [b"", b"no archive", gzip.compress(b"x" * 2000, mtime=0), gzip.compress(b"x" * 99, mtime=0)[:30]]
)
@pytest.mark.parametrize("ending", [".tar.gz", ".zip", ".tar.zst", ".tar.lzma"])
def test_an_sdist_that_cannot_be_read(tmp_path: Path, body: bytes, ending: str) -> None:
    """It says no license; that is 'unknown' to a rule."""
    path = tmp_path / "archive"
    path.write_bytes(body)
    kept = licenses.Licenses(tmp_path, put)
    assert kept.of(File(f"kit-1.0{ending}", "a" * 64), path) == ()


def test_an_sdist_of_a_license_that_is_denied(tmp_path: Path, upstream: UpstreamModel, new_mirror: Start) -> None:
    """It is refused when it has come and from then on, also after it was evicted; what was here before is, too."""
    late, late_sha = upstream.add_file("late", "late-1.0.tar.gz", sdist("late", "1.0", "License: AGPL-3.0"))
    early, early_sha = upstream.add_file("early", "early-1.0.tar.gz", sdist("early", "1.0", "License: AGPL-3.0"))
    free, free_sha = upstream.add_file("free", "free-1.0.tar.gz", sdist("free", "1.0", "License: MIT"))
    mirror = new_mirror(upstream.url)
    mirror.get("/pypi/simple/early/")
    assert mirror.get(file_url(early_sha, early)).status == 200
    write(tmp_path, "[[rule]]\naction = 'deny'\nlicense = 'AGPL*'\n")
    poll(lambda: not on_disk(tmp_path, early_sha, early).exists())
    assert mirror.get(file_url(early_sha, early)).status == 403
    assert "href" not in mirror.get("/pypi/simple/early/").text
    assert "href" in mirror.get("/pypi/simple/late/").text
    assert mirror.get(file_url(late_sha, late)).status == 403
    assert not on_disk(tmp_path, late_sha, late).exists()
    assert "href" not in mirror.get("/pypi/simple/late/").text
    (Home(tmp_path).mirror / "held" / late_sha[:2] / late_sha / late).unlink()
    assert mirror.get(file_url(late_sha, late)).status == 403
    mirror.get("/pypi/simple/free/")
    assert mirror.get(file_url(free_sha, free)).status == 200
    assert "href" in mirror.get("/pypi/simple/free/").text
    assert mirror.get(file_url(free_sha, free) + ".metadata").status == 404
