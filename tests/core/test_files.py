"""Files: replaced whole, with the mode that was asked for; trees removed whatever their modes."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from core.files import remove_tree, sync_folder, write_atomically


def test_the_new_content_replaces_the_old(tmp_path: Path) -> None:
    """The last writer's content and mode stand there, whatever the umask, and nothing else is left in the folder."""
    path = tmp_path / "x.json"
    before = os.umask(0o077)
    try:
        write_atomically(path, b"old")
        assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"old", 0o600)
        write_atomically(path, b"new", 0o644)
    finally:
        os.umask(before)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"new", 0o644)
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]
    sync_folder(tmp_path)


def test_a_write_that_fails_leaves_the_old_content(tmp_path: Path) -> None:
    """When the last step cannot be taken, what was there stays, and the half-done file goes."""
    (tmp_path / "x").mkdir()
    with pytest.raises(OSError):
        write_atomically(tmp_path / "x", b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"] and (tmp_path / "x").is_dir()


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    """A symbolic link in the file's place gives way to the file; what it leads to keeps its content."""
    (tmp_path / "other").write_text("other")
    (tmp_path / "x").symlink_to("other")
    write_atomically(tmp_path / "x", b"new")
    assert not (tmp_path / "x").is_symlink()
    assert (tmp_path / "other").read_text() == "other"


def test_writers_of_one_path_do_not_meet(tmp_path: Path) -> None:
    """Many at once: each write is whole, none fails, and the file is one of theirs."""
    path, failures = tmp_path / "x", []

    def write(number: int) -> None:
        try:
            for _ in range(20):
                write_atomically(path, bytes([number]) * 10_000)
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(set(path.read_bytes())) == 1 and len(path.read_bytes()) == 10_000
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_trees_are_removed(tmp_path: Path) -> None:
    """Read-only folders, files, links (not what they lead to), and what is not there at all."""
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "b" / "file").touch()
    (tmp_path / "kept").mkdir()
    (tree / "link").symlink_to(tmp_path / "kept")
    for folder in (tree / "a" / "b", tree / "a", tree):
        folder.chmod(0o555)
    (tmp_path / "link").symlink_to("kept")
    (tmp_path / "file").touch()
    for name in ("tree", "link", "file", "missing"):
        remove_tree(tmp_path / name)
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]


def test_a_tree_of_any_depth_goes(tmp_path: Path) -> None:
    """Deeper than Python recurses and longer than any path may be: it is removed, and what it links to is not."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("kept")
    tree = tmp_path / "tree"
    tree.mkdir()
    here = os.open(tree, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        os.symlink(tmp_path / "kept", "link", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    remove_tree(tree)
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept" / "file").read_text() == "kept"
