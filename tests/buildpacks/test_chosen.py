"""Choices that are noted: they save reading pages, and never outlive what the index says."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildpacks import chosen, locks
from buildpacks.chosen import Chosen
from buildpacks.deadline import Deadline
from buildpacks.index import Index as Client
from core.errors import DaeError
from tests.buildpacks.index import Index, populated, wheel

TAGS = ("py3-none-any",)


@pytest.fixture
def index() -> Iterator[Index]:
    made = populated()
    yield made
    made.close()


def made(index: Index, folder: Path, kind: str = "one") -> Chosen:
    return Chosen(folder / "chosen", Client(index.url, Deadline.after(30)), kind, TAGS)


def shapes(index: Index, version: str = "1.0") -> locks.Release:
    files = [data for name, data in index.files["shapes"].items() if f"-{version}-" in name]
    return locks.Release("shapes", version, tuple("sha256:" + hashlib.sha256(data).hexdigest() for data in files))


def test_a_page_that_did_not_change_is_not_read_again(index: Index, tmp_path: Path) -> None:
    """The second choice is the first one, and the index sent nothing for it but that nothing changed."""
    first = made(index, tmp_path).choose(shapes(index))
    sent = index.sent
    assert sent
    assert made(index, tmp_path).choose(shapes(index)) == first
    assert index.sent == sent
    assert len(index.asked) == 2


def test_what_the_index_hides_since_is_not_taken(index: Index, tmp_path: Path) -> None:
    """A file that is noted and not listed any more is as one that never was."""
    release = shapes(index)
    made(index, tmp_path).choose(release)
    index.files["shapes"] = {name: data for name, data in index.files["shapes"].items() if "-1.0-" not in name}
    with pytest.raises(DaeError, match="with a hash of the lock"):
        made(index, tmp_path).choose(release)


def test_a_better_file_that_came_since_is_taken(index: Index, tmp_path: Path) -> None:
    """A changed page is read and chosen from anew."""
    index.add("late", wheel("late", "1.0"))
    ((name, data),) = index.files["late"].items()
    better = name.replace("-py3-", "-1-py3-")  # a build number: of two wheels of one tag the greater one counts
    release = locks.Release("late", "1.0", ("sha256:" + hashlib.sha256(data).hexdigest(),))
    assert made(index, tmp_path).choose(release).file.filename == name
    index.add("late", (better, data))
    assert made(index, tmp_path).choose(release).file.filename == better


def test_what_the_interpreter_takes_since(index: Index, tmp_path: Path) -> None:
    """A system that learned to take other wheels chooses anew, although the page is as it was."""
    files = [wheel("late", "1.0"), ("late-1.0-py3-none-linux_x86_64.whl", b"for this one system")]
    for file in files:
        index.add("late", file)
    release = locks.Release("late", "1.0", tuple("sha256:" + hashlib.sha256(data).hexdigest() for _name, data in files))
    assert made(index, tmp_path).choose(release).file.filename == files[0][0]
    client = Client(index.url, Deadline.after(30))
    newer = Chosen(tmp_path / "chosen", client, "one", ("py3-none-linux_x86_64", *TAGS))
    assert newer.choose(release).file.filename == files[1][0]


def test_others_have_notes_of_their_own(index: Index, tmp_path: Path) -> None:
    """Another interpreter, index, version or set of hashes is asked for anew."""
    made(index, tmp_path).choose(shapes(index))
    sent = index.sent
    made(index, tmp_path, "two").choose(shapes(index))
    assert index.sent > sent
    sent = index.sent
    made(index, tmp_path).choose(shapes(index, "2.0"))
    assert index.sent > sent


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"etag": "x", "choice": {}}', "other hash", "other name"])
def test_damaged_notes(index: Index, tmp_path: Path, damage: str) -> None:
    """What cannot be read, or is not of this release, is no note: the page is read."""
    release = shapes(index)
    choice = made(index, tmp_path).choose(release)
    (note,) = (tmp_path / "chosen").iterdir()
    fields = json.loads(note.read_text())
    if damage == "other hash":
        fields["choice"]["file"]["sha256"] = "0" * 64
    elif damage == "other name":
        fields["choice"]["name"] = "colours"
    note.write_text(json.dumps(fields) if damage.startswith("other") else damage)
    assert made(index, tmp_path).choose(release) == choice
    assert json.loads(note.read_text())["choice"]["file"]["sha256"] == choice.file.sha256


def test_an_index_without_etags(index: Index, tmp_path: Path) -> None:
    """Nothing is noted, and everything goes on as without notes."""
    index.tags = False
    first = made(index, tmp_path).choose(shapes(index))
    assert made(index, tmp_path).choose(shapes(index)) == first
    assert list((tmp_path / "chosen").iterdir()) == []


def test_an_index_that_is_away(index: Index, tmp_path: Path) -> None:
    """A note is no answer of the index."""
    made(index, tmp_path).choose(shapes(index))
    index.down = True
    with pytest.raises(DaeError, match="build/mirror-unavailable"):
        made(index, tmp_path).choose(shapes(index))


def test_notes_that_nobody_asks_for_go(index: Index, tmp_path: Path) -> None:
    """Each use counts; also what a killed writer left goes."""
    folder = tmp_path / "chosen"
    assert chosen.forget_unused(folder) == 0
    made(index, tmp_path).choose(shapes(index))
    made(index, tmp_path).choose(shapes(index, "2.0"))
    (folder / ".left.new").touch()
    for path in folder.iterdir():
        os.utime(path, (0, 0))
    made(index, tmp_path).choose(shapes(index))
    assert chosen.forget_unused(folder) == 2
    assert len(list(folder.iterdir())) == 1
