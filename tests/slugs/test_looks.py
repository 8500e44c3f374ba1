"""A look at a tree by find, which is compared as a whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slugs.looks import Look


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "pkg").mkdir(parents=True)
    (folder / "pkg/a.py").write_text("one")
    (folder / "pkg/link").symlink_to("a.py")
    return folder


@pytest.fixture
def looked() -> Iterator[Callable[[Path], Look]]:
    looks = []

    def begin(tree: Path) -> Look:
        looks.append(Look(tree))
        return looks[-1]

    yield begin
    for look in looks:
        look.close()


def test_nothing_changed(tree: Path, looked: Callable[[Path], Look]) -> None:
    """Only what was remembered counts, and it does for as long as nothing changes."""
    first = looked(tree)
    assert not first.unchanged()
    first.remember()
    assert first.unchanged() and looked(tree).unchanged()
    os.link(tree / "pkg/a.py", tree.parent / "elsewhere")  # another environment with the same package
    assert looked(tree).unchanged()


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: (tree / "pkg/a.py").write_text("two"),
        lambda tree: (tree / "pkg/a.py").chmod(0o777),
        lambda tree: (tree / "pkg/a.py").unlink(),
        lambda tree: (tree / "pkg/b.py").touch(),
        lambda tree: os.utime(tree / "pkg/a.py", ns=(1, 1)),
        lambda tree: ((tree / "pkg/link").unlink(), (tree / "pkg/link").symlink_to("b.py")),
        lambda tree: (tree / "pkg").rename(tree / "other"),
    ],
)
def test_something_changed(tree: Path, looked: Callable[[Path], Look], change: Callable[[Path], object]) -> None:
    """Content, mode, time, name or goal of anything."""
    looked(tree).remember()
    change(tree)
    assert not looked(tree).unchanged()


def test_what_is_not_there(tmp_path: Path, looked: Callable[[Path], Look]) -> None:
    """A tree that cannot be looked at is never taken for whole."""
    gone = looked(tmp_path / "gone")
    gone.remember()
    assert not gone.unchanged() and not looked(tmp_path / "gone").unchanged()
