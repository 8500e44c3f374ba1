"""The file that an export writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sdk.conftest import Person
from tests.sdk.platform import LIVE, Platform

ARCHIVE = f"apps/blog/slugs/{LIVE['slug']}/archive"
DATA = b"an archive"


@pytest.fixture
def exporting(ann: Person, platform: Platform) -> Person:
    platform.answers["GET", ARCHIVE] = (200, DATA)
    return ann


def test_its_name(exporting: Person) -> None:
    """It is called after app and slug, or as one says; the name is printed, and nothing else is left beside it."""
    name = f"blog-{str(LIVE['slug'])[:12]}.dae.tar.zst"
    assert exporting.dae("slugs", "export", "-a", "blog").stdout == f"{name}\n"
    assert exporting.dae("slugs", "export", "-a", "blog", "-o", "mine").stdout == "mine\n"
    assert sorted(path.name for path in exporting.folder.iterdir()) == [name, "mine"]
    assert (exporting.folder / "mine").read_bytes() == DATA


@pytest.mark.parametrize("target", [".", "..", "/", "folder", ""])
def test_a_folder_is_no_file(exporting: Person, platform: Platform, target: str) -> None:
    """It is refused before anything is exported, and the error says what to type."""
    (exporting.folder / "folder").mkdir()
    refused = exporting.dae("slugs", "export", "-a", "blog", "-o", target, status=1)
    assert "local/file" in refused.stderr and "is a folder" in refused.stderr
    assert "-o " in refused.stderr.splitlines()[-1]
    assert not [request for request in platform.asked if request.path.endswith("/archive")]


def test_nothing_is_written_through_a_link(exporting: Person, tmp_path: Path) -> None:
    """What somebody put beside the file, or in its place, is not what is written to."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for name in ("out.part", "out"):
        (exporting.folder / name).symlink_to(victim)
    exporting.dae("slugs", "export", "-a", "blog", "-o", "out")
    assert victim.read_text() == "mine"
    assert not (exporting.folder / "out").is_symlink() and (exporting.folder / "out").read_bytes() == DATA
    assert (exporting.folder / "out.part").is_symlink()


def test_what_failed_leaves_what_was_there(exporting: Person, platform: Platform) -> None:
    """An export that does not come leaves the file of before, and no part of another."""
    (exporting.folder / "out").write_text("before")
    platform.answers["GET", ARCHIVE] = [b"half", b"of it"]
    refused = exporting.dae("slugs", "export", "-a", "blog", "-o", "out", status=1)
    assert "platform/bad-answer" in refused.stderr
    assert [(path.name, path.read_text()) for path in exporting.folder.iterdir()] == [("out", "before")]


def test_a_folder_that_is_not_there(exporting: Person) -> None:
    """It is said of which file, and why."""
    refused = exporting.dae("slugs", "export", "-a", "blog", "-o", "nowhere/out", status=1)
    assert "local/file: nowhere/out cannot be written: No such file or directory" in refused.stderr
