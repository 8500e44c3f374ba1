"""A disk that fills amidst an upload: an error with its code, what is there is served, and nothing is left."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.blackbox.test_disk_full import Disk
from tests.conftest import platform_folder
from tests.pypi_mirror.mirror_process import MirrorProcess
from tests.pypi_mirror.test_serving import JSON, file_url
from tests.pypi_mirror.test_upload import wheel
from tests.pypi_mirror.uploading import Ground
from tests.pypi_mirror.upstream_model import UpstreamModel, build_wheel

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system")


@pytest.fixture(scope="module")
def disk() -> Iterator[Disk]:
    with platform_folder() as folder:
        made = Disk(folder)
        made.mount()
        try:
            yield made
        finally:
            made.unmount()


@pytest.fixture(scope="module")
def small(disk: Disk, shared_upstream: UpstreamModel) -> Iterator[Ground]:
    """A mirror all of whose state lies on the small disk."""
    made = Ground(disk.folder, lambda: MirrorProcess(disk.folder, shared_upstream.url))
    assert made.upload(wheel("tool")).status == 200
    yield made
    disk.free()
    made.mirror.stop()
    made.store.close()


def kept(ground: Ground) -> set[Path]:
    """What lies on the disk for good; the lists of names are written when they are asked for."""
    found = {path for path in ground.home.mirror.rglob("*") if path.is_file() or path.parent.name == "files"}
    return {path for path in found if not path.name.startswith("index.") or path.parent.name != "default"}


@pytest.mark.parametrize("what", ["files", "size"])
def test_full(small: Ground, disk: Disk, what: str) -> None:
    """Wherever the room ends: 507 with its code, the old page and file, nothing new; with room the same is taken."""
    old, version = wheel("tool"), {"files": "2.0", "size": "3.0"}[what]
    new = (f"tool-{version}-py3-none-any.whl", build_wheel("tool", version, padding=50_000))
    before = kept(small)
    page = small.mirror.get("/pypi/simple/tool/", JSON).body
    refused = 0
    for room in range(40):
        disk.leave(**{what: room if what == "files" else room << 13})
        answer = small.upload(new)
        if answer.status == 200:
            break
        refused += 1
        assert answer.status == 507, answer.text
        assert answer.text.startswith("platform/disk-full: "), answer.text
        assert small.mirror.get("/pypi/simple/tool/", JSON).body == page
        assert small.mirror.get(file_url(hashlib.sha256(old[1]).hexdigest(), old[0])).body == old[1]
        assert kept(small) == before
    assert refused > 5
    disk.free()
    assert new[0] in small.mirror.get("/pypi/simple/tool/", JSON).text
    assert "Traceback" not in small.mirror.log.read_text()
