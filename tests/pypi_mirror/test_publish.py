"""Private projects: published in process, served at once, never mixed with upstream's."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import DaeError
from core.paths import Home
from pypi_mirror.publish import publish
from tests.pypi_mirror.mirror_process import MirrorProcess
from tests.pypi_mirror.test_serving import file_url
from tests.pypi_mirror.upstream_model import UpstreamModel, build_wheel


def wheel(folder: Path, name: str, version: str = "1.0", requires: str = "") -> Path:
    path = folder / f"{name}-{version}-py3-none-any.whl"
    path.write_bytes(build_wheel(name, version, requires))
    return path


def sdist(folder: Path, name: str, version: str, info: str) -> Path:
    path = folder / f"{name}-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo(f"{name}-{version}/PKG-INFO")
        member.size = len(info)
        archive.addfile(member, io.BytesIO(info.encode()))
    return path


def refused(home: Home, path: Path) -> str:
    with pytest.raises(DaeError) as caught:
        publish(home, path)
    return caught.value.code


def test_private_shadows_upstream(
    tmp_path: Path, upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]
) -> None:
    """A name that is private shows private files only, also when upstream's page was held before, at once."""
    theirs, _ = upstream.add("internal", "9.0")
    mirror = new_mirror(upstream.url, ttl=0)
    assert theirs in mirror.get("/pypi/simple/internal/").text
    entry = publish(Home(mirror.home), wheel(tmp_path, "internal"))
    asked = upstream.counts["/simple/internal/"]
    page = mirror.get("/pypi/simple/internal/").text
    assert entry.filename in page
    assert "data-core-metadata" in page
    assert theirs not in page
    assert upstream.counts["/simple/internal/"] == asked
    assert mirror.get(file_url(entry.sha256, entry.filename)).status == 200
    upstream.refuse()
    assert mirror.get("/pypi/simple/internal/").status == 200


def test_a_private_file_that_is_lost(
    tmp_path: Path, upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]
) -> None:
    """What is private and not on the disk any more is 404, and upstream hears nothing of it."""
    mirror = new_mirror(upstream.url)
    entry = publish(Home(mirror.home), wheel(tmp_path, "lost"))
    url = file_url(entry.sha256, entry.filename)
    for suffix in (".metadata", ""):
        (mirror.home / "mirror" / (url.removeprefix("/pypi/") + suffix)).unlink()
        assert mirror.get(url + suffix).status == 404
    assert upstream.counts.total() == 0 and upstream.ranges == []


def test_publish_again(tmp_path: Path) -> None:
    """Identical bytes change nothing; other bytes under the same name are refused; a new version joins the old."""
    home = Home(tmp_path / "home")
    path = wheel(tmp_path, "steady")
    first = publish(home, path)
    page = home.mirror / "pages/default/steady" / "index.json"
    before = page.read_bytes()
    assert publish(home, path) == first
    assert page.read_bytes() == before
    path.write_bytes(build_wheel("steady", "1.0", requires="more"))
    assert refused(home, path) == "mirror/file-exists"
    publish(home, wheel(tmp_path, "steady", "1.1"))
    assert b'"versions":["1.0","1.1"]' in page.read_bytes()


def test_the_web_server_reads_it(tmp_path: Path) -> None:
    """Whatever the umask of who publishes first: every folder lets the group in, which is nginx's way to a page."""
    home = Home(tmp_path / "home")
    before = os.umask(0o077)
    try:
        publish(home, wheel(tmp_path, "shown"))
    finally:
        os.umask(before)
    folders = [path for path in home.mirror.rglob("*") if path.is_dir()]
    assert {oct(path.stat().st_mode & 0o777) for path in folders} == {"0o750"}


def test_sdist(tmp_path: Path) -> None:
    """An sdist's PKG-INFO gives the project and requires-python, also where the name holds a hyphen."""
    info = "Metadata-Version: 2.2\nName: my-tool\nVersion: 1.0\nRequires-Python: >=3.9\n"
    home = Home(tmp_path / "home")
    entry = publish(home, sdist(tmp_path, "my-tool", "1.0", info))
    assert entry.requires_python == ">=3.9"
    assert (home.mirror / "pages/default/my-tool" / "index.html").is_file()


def test_what_is_refused(tmp_path: Path) -> None:
    """Neither a stranger's metadata, nor none, nor another kind of file, nor a symlink gets in."""
    home = Home(tmp_path / "home")
    other = sdist(tmp_path, "mine", "1.0", "Metadata-Version: 2.2\nName: yours\nVersion: 1.0\n")
    assert refused(home, other) == "mirror/bad-upload"
    empty = tmp_path / "empty-1.0-py3-none-any.whl"
    empty.write_bytes(b"PK")
    assert refused(home, empty) == "mirror/bad-upload"
    script = tmp_path / "setup.exe"
    script.write_bytes(b"MZ")
    assert refused(home, script) == "mirror/bad-upload"
    link = tmp_path / "link-1.0-py3-none-any.whl"
    link.symlink_to(wheel(tmp_path, "target"))
    with pytest.raises(OSError, match="symbolic"):
        publish(home, link)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_writes_as_the_owner(tmp_path: Path) -> None:
    """Root publishes with the rights of the folder's owner: what it writes is the owner's, and no trap is followed."""
    home = Home(tmp_path / "home")
    home.mirror.mkdir(parents=True)
    for folder in (home.root, tmp_path, *tmp_path.parents):
        if tempfile.gettempdir() in map(str, folder.parents):
            folder.chmod(0o755)
    os.chown(home.mirror, 65534, 65534)
    path = wheel(tmp_path, "owned")
    path.chmod(0o600)
    entry = publish(home, path)
    stored = home.mirror / "files" / entry.sha256[:2] / entry.sha256 / entry.filename
    assert hashlib.sha256(stored.read_bytes()).hexdigest() == entry.sha256
    assert {(found.stat().st_uid, found.stat().st_gid) for found in home.mirror.rglob("*")} == {(65534, 65534)}
    assert refused(home, sdist(tmp_path, "a", "1", "Name: b")) == "mirror/bad-upload"
    secret = tmp_path / "secret"
    secret.mkdir(mode=0o700)
    (home.mirror / "private").rename(home.mirror / "was")
    (home.mirror / "private").symlink_to(secret)
    with pytest.raises(DaeError):
        publish(home, wheel(tmp_path, "trap"))
    assert list(secret.iterdir()) == []
