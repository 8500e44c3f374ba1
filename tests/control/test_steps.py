"""What control looks at when compile steps are done."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from control.steps import check_tree
from core.errors import DaeError


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "file").write_text("12345")
    return folder


@pytest.mark.parametrize("target", ["file", "b/../file", "../a", "nowhere", "b"])
def test_links_inside(tree: Path, target: str) -> None:
    """Relative ones that stay in the tree, also if they lead nowhere yet."""
    (tree / "a" / "link").symlink_to(target)
    check_tree(tree, 100, 100)


@pytest.mark.parametrize("target", ["/etc/passwd", "../../x", "b/../../../x", "up/../../x"])
def test_links_that_lead_out(tree: Path, target: str) -> None:
    """Absolute ones, and those that go above the top, through another link too."""
    (tree / "a" / "up").symlink_to("..")
    (tree / "a" / "link").symlink_to(target)
    with pytest.raises(DaeError, match=r"build/unsafe-tree.*link"):
        check_tree(tree, 100, 100)


def test_an_absolute_link_into_the_tree(tree: Path) -> None:
    """It names the build's folder, which is gone by the time that it is followed."""
    (tree / "link").symlink_to(tree / "a" / "file")
    with pytest.raises(DaeError, match="build/unsafe-tree"):
        check_tree(tree, 100, 100)


def test_bounds(tree: Path) -> None:
    """Bytes and files, as a commit's; a link counts as the file that it is, not by what it leads to."""
    check_tree(tree, 5, 2)
    with pytest.raises(DaeError, match="push/too-large"):
        check_tree(tree, 4, 2)
    (tree / "link").symlink_to("a")
    with pytest.raises(DaeError, match="push/too-large"):
        check_tree(tree, 5, 10)
    check_tree(tree, 6, 2)
    (tree / "third").touch()
    with pytest.raises(DaeError, match="push/too-large"):
        check_tree(tree, 6, 2)


@pytest.mark.parametrize("kind", ["file", "folder", "link", "goal"])
def test_names_are_text(tree: Path, kind: str) -> None:
    """What steps leave under a name that is not UTF-8, or as a link to one, is refused and shown escaped."""
    place = Path(os.fsdecode(os.fsencode(tree) + b"/a/\xff"))
    if kind == "file":
        place.touch()
    elif kind == "folder":
        place.mkdir()
    elif kind == "link":
        place.symlink_to("file")
    else:
        (tree / "a" / "link").symlink_to(os.fsdecode(b"\xff"))
    with pytest.raises(DaeError, match=r"build/unsafe-tree: a/.*udcff.* not UTF-8"):
        check_tree(tree, 100, 100)


def test_no_tree(tmp_path: Path) -> None:
    """It was removed, or a link or a file stands in its place."""
    (tmp_path / "link").symlink_to("/etc")
    (tmp_path / "file").touch()
    for name in ("link", "file", "nothing"):
        with pytest.raises(DaeError, match="build/unsafe-tree"):
            check_tree(tmp_path / name, 100, 100)


def test_paths_have_an_end(tree: Path) -> None:
    """A path that the system could not name any more."""
    folder = tree
    for _ in range(9):
        folder /= "d" * 250
    folder.mkdir(parents=True)
    with pytest.raises(DaeError, match="build/unsafe-tree"):
        check_tree(tree, 100, 100)
