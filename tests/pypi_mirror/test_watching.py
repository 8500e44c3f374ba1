"""What is seen of a folder of many documents: every change, by a bounded number of looks."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pypi_mirror import watching
from pypi_mirror.watching import Watched

LOOKS = 5


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """20 documents in each of two folders, of yesterday."""
    monkeypatch.setattr(watching, "LOOKS", LOOKS)
    folder = tmp_path / "advisories"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for number in range(20):
            (folder / name / f"{number}.json").write_text("{}")
    settle(folder)
    return folder


def settle(folder: Path) -> None:
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        os.utime(path, (1e9, 1e9))


def watch(folder: Path) -> Watched:
    watched = Watched(folder, (".json",), 1000)
    assert watched.changes() == 1
    assert watched.changes() == 1
    return watched


def looked(monkeypatch: pytest.MonkeyPatch, watched: Watched) -> int:
    """How many looks one call takes."""
    count = 0

    def counted(path: str) -> object:
        nonlocal count
        count += 1
        return stamp(path)

    stamp = watching.stamp
    with monkeypatch.context() as patch:
        patch.setattr(watching, "stamp", counted)
        watched.changes()
    return count


def test_the_looks_are_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many documents there are: the upper folders, and so many of all else."""
    watched = watch(folder)
    assert looked(monkeypatch, watched) == 3 + LOOKS
    for number in range(20):
        (folder / f"more-{number}").mkdir()
        (folder / f"more-{number}" / "1.json").write_text("{}")
    settle(folder)
    assert watched.changes() == 2
    assert looked(monkeypatch, watched) == LOOKS + LOOKS


def added(folder: Path) -> None:
    (folder / "b" / "new.json").write_text("{}")


def removed(folder: Path) -> None:
    (folder / "a" / "7.json").unlink()


def replaced(folder: Path) -> None:
    (folder / "a" / "new").write_text("[]")
    (folder / "a" / "new").rename(folder / "a" / "7.json")


def deeper(folder: Path) -> None:
    (folder / "a" / "deep").mkdir()
    (folder / "a" / "deep" / "1.json").write_text("{}")


@pytest.mark.parametrize("change", [added, removed, replaced, deeper, shutil.rmtree])
def test_what_changes_a_folder_is_seen_at_once(folder: Path, change: object) -> None:
    """A document that comes, goes or is replaced by a rename, in whichever folder; and all of them."""
    watched = watch(folder)
    assert callable(change)
    change(folder)
    assert watched.changes() == 2


def test_what_is_written_in_place_is_seen_in_turn(folder: Path) -> None:
    """After as many looks as it takes to come round; and again when it changes again."""
    watched = watch(folder)
    for number, name in enumerate(("b/19.json", "a/0.json", "b/19.json")):
        with (folder / name).open("a") as stream:
            stream.write(" ")
        assert max(watched.changes() for _ in range(40 // LOOKS + 1)) == 2 + number


def test_a_folder_that_changed_just_now_is_looked_at_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time may stay what it is while more is added in the same moment; and so is one of the time to come."""
    watched = watch(folder)
    for moment in (None, (4e9, 4e9)):
        os.utime(folder / "a", moment)
        watched.changes()
        assert looked(monkeypatch, watched) == 43


def test_a_file_and_nothing(tmp_path: Path) -> None:
    """One file, or none yet, is looked at each time."""
    path = tmp_path / "one.json"
    watched = watch(path)
    path.write_text("{}")
    assert watched.changes() == 2
    path.write_text("{ }")
    assert watched.changes() == 3
    path.unlink()
    assert watched.changes() == 4
