"""Core metadata of wheels that are not here (PEP 658, 714): resolvers need no wheel, no promise is false."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from core.errors import DaeError
from pypi_mirror import remote
from pypi_mirror.model import File, Project
from pypi_mirror.prefetch import candidates
from pypi_mirror.upstream import Upstream
from tests.pypi_mirror.mirror_process import MirrorProcess, poll
from tests.pypi_mirror.test_serving import JSON, file_url
from tests.pypi_mirror.upstream_model import UpstreamModel, build_wheel


def entries(mirror: MirrorProcess, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(mirror.get(f"/pypi/simple/{name}/", JSON).body)["files"]
    return found


def advertise(upstream: UpstreamModel, name: str, text: bytes, stated: Any = None) -> None:
    """Have upstream offer the metadata of a project's first wheel."""
    (entry, *_) = upstream.pages[name]["files"]
    entry["core-metadata"] = {"sha256": hashlib.sha256(text).hexdigest()} if stated is None else stated
    upstream.bodies[f"/up/{entry['filename']}.metadata"] = text


def test_upstreams_own(upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """What upstream states a hash for is on our page from the first answer on, and costs one small request."""
    filename, sha256 = upstream.add("stated")
    text = b"Metadata-Version: 2.1\nName: stated\nVersion: 1.0\n"
    advertise(upstream, "stated", text)
    mirror = new_mirror(upstream.url)
    (entry,) = entries(mirror, "stated")
    assert entry["core-metadata"] == {"sha256": hashlib.sha256(text).hexdigest()}
    for _ in range(2):
        assert mirror.get(file_url(sha256, filename) + ".metadata").body == text
    assert upstream.counts[f"/up/{filename}.metadata"] == 1
    assert upstream.counts[f"/up/{filename}"] == 0 and upstream.ranges == []


def test_upstreams_own_is_verified(upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """Metadata that is not what upstream's page states is refused, and not kept."""
    filename, sha256 = upstream.add("lied")
    advertise(upstream, "lied", b"Name: lied\nVersion: 1.0\n", {"sha256": "ab" * 32})
    mirror = new_mirror(upstream.url)
    answer = mirror.get(file_url(sha256, filename) + ".metadata")
    assert (answer.status, answer.text.split(":")[0]) == (502, "mirror/hash-mismatch")
    assert [path for path in (mirror.home / "mirror/files").rglob("*") if path.is_file()] == []


def test_no_hash_no_promise(upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """Metadata for which upstream states no sha256 is not on our page."""
    upstream.parts = False
    upstream.add("vague")
    advertise(upstream, "vague", b"Name: vague\nVersion: 1.0\n", True)
    upstream.add("old")
    advertise(upstream, "old", b"x", {"md5": "00"})
    mirror = new_mirror(upstream.url)
    assert "core-metadata" not in entries(mirror, "vague")[0]
    assert "core-metadata" not in entries(mirror, "old")[0]


def test_read_from_afar(upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """Else it is read out of the wheel by requests for parts, and is the same as the wheel's when that comes."""
    filename, sha256 = upstream.add("distant", requires="both", padding=3_000_000)
    mirror = new_mirror(upstream.url)
    url = file_url(sha256, filename)
    text = mirror.get(url + ".metadata").body
    assert b"Requires-Dist: both" in text
    assert upstream.counts[f"/up/{filename}"] == 0 and 1 <= len(upstream.ranges) <= remote.REQUESTS
    assert entries(mirror, "distant")[0]["core-metadata"] == {"sha256": hashlib.sha256(text).hexdigest()}
    assert mirror.get(url).body == upstream.bodies[f"/up/{filename}"]
    assert mirror.get(url + ".metadata").body == text


def test_no_parts(upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """From an upstream that sends no parts of files it comes with the wheel, which is then here."""
    upstream.parts = False
    filename, sha256 = upstream.add("undivided", requires="both")
    mirror = new_mirror(upstream.url)
    assert b"Requires-Dist: both" in mirror.get(file_url(sha256, filename) + ".metadata").body
    assert upstream.counts[f"/up/{filename}"] == 1
    assert mirror.get(file_url(sha256, filename)).status == 200
    assert upstream.counts[f"/up/{filename}"] == 1


def test_none_at_all(upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """A wheel without metadata, an sdist, and a file that no page names have none: 404."""
    filename, sha256 = upstream.add_file("hollow", "hollow-1.0-py3-none-any.whl", b"no zip")
    sdist, sdist_hash = upstream.add_file("hollow", "hollow-1.0.tar.gz", b"x")
    mirror = new_mirror(upstream.url)
    for url in (file_url(sha256, filename), file_url(sdist_hash, sdist), file_url("0" * 64, filename)):
        assert mirror.get(url + ".metadata").status == 404
    assert all("core-metadata" not in entry for entry in entries(mirror, "hollow"))


def test_prefetch(upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """Soon after a page has come, it tells of the metadata of the newest versions, and no wheel was fetched."""
    for version in ("1.0", "2.0", "3.0", "4.0rc1", "10.0"):
        upstream.add("foreseen", version)
    mirror = new_mirror(upstream.url)
    assert all("core-metadata" not in entry for entry in entries(mirror, "foreseen"))
    poll(lambda: sum("core-metadata" in entry for entry in entries(mirror, "foreseen")) == 2)
    told = {entry["filename"] for entry in entries(mirror, "foreseen") if "core-metadata" in entry}
    assert told == {"foreseen-3.0-py3-none-any.whl", "foreseen-10.0-py3-none-any.whl"}
    assert upstream.counts == {"/simple/foreseen/": 1}


def test_candidates() -> None:
    """Wheels of the newest two finished versions that this machine's kind can install, three of each at most."""
    names = [
        "a-1.0-py3-none-any.whl", "a-2.0-py3-none-any.whl", "a-3.0-cp311-cp311-win32.whl", "a-3.0.tar.gz",
        *[f"a-4.0-cp3{minor}-cp3{minor}-manylinux_2_17_x86_64.whl" for minor in range(9, 14)],
        "a-5.0rc1-py3-none-any.whl", "a-nonsense.whl",
    ]  # fmt: skip
    project = Project("a", tuple(File(name, "ab" * 32) for name in names))
    found = [file.filename for file in candidates(project, {"manylinux_2_17_x86_64"})]
    assert found == [*names[6:9], "a-2.0-py3-none-any.whl"]


def source(upstream: UpstreamModel, body: bytes, filename: str = "thing-1.0-py3-none-any.whl") -> bytes | None:
    _, sha256 = upstream.add_file("thing", filename, body)
    file = File(filename, sha256, f"http://127.0.0.1:{upstream.port}/up/{filename}", len(body))
    return remote.read_metadata(Upstream(upstream.url), file, lambda _count: None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"x",
        b"PK\5\6" + b"\xff" * 18,
        build_wheel("other", "1.0"),
        build_wheel("thing", "2.0"),
        build_wheel("thing", "1.0")[:-30],
        build_wheel("thing", "1.0") + b"x" * 100_000,
    ],
    ids=range(7),
)
def test_hostile_wheels(body: bytes, upstream: UpstreamModel) -> None:
    """Of what is no wheel, or another one than its name says, nothing is read, with a few small requests."""
    assert source(upstream, body) is None
    assert len(upstream.ranges) <= remote.REQUESTS


def test_large_directory(upstream: UpstreamModel) -> None:
    """A wheel of many files, with its metadata first, is read in few requests; one that wants too many is left."""
    import io

    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("thing-1.0.dist-info/METADATA", b"Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n")
        for number in range(5000):
            archive.writestr(f"thing/some_folder/module_{number}.py", b"")
    text = source(upstream, stream.getvalue())
    assert text is not None and b"Name: thing" in text
    assert len(upstream.ranges) <= 3


def test_an_upstream_that_fails_meanwhile(upstream: UpstreamModel) -> None:
    """An outage is told as one, and not taken for a wheel without metadata."""
    upstream.mood = "503"
    with pytest.raises(DaeError, match="mirror/unavailable"):
        source(upstream, build_wheel("thing", "1.0"))
