"""The files on the disk, looked at while others come and go; and which of them are our own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.paths import Home
from pypi_mirror import keeping, private, rights, stock
from pypi_mirror.model import File, Project, versions_of
from pypi_mirror.publish import publish
from pypi_mirror.stock import Own, Stocked
from pypi_mirror.store import Store
from tests.pypi_mirror.test_publish import wheel
from tests.pypi_mirror.uploading import sdist_bytes


def put(store: Store, filename: str, url: str = "") -> File:
    """A file on the disk that is not listed yet."""
    body = filename.encode()
    file = File(filename, hashlib.sha256(body).hexdigest(), url, size=len(body))
    with store.new_file() as (stream, temporary):
        stream.write(body)
        store.publish_file(stream, temporary, file)
    return file


def keep(store: Store, name: str, *files: File) -> None:
    with store.locked():
        store.save_private(Project(name, files, versions_of(files)))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(Home(tmp_path))


def test_a_record_is_read_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose many files are is found in one reading of a project's record, also where nothing beside them says it."""
    files = [put(store, f"ours-{number}.0.tar.gz") for number in range(20)]
    strays = [put(store, f"ours-{number}.0.zip", "http://up/") for number in range(20)]
    keep(store, "ours", *files)
    for file in files[:10]:
        store.record(file).unlink()  # as of a home of before there were such
    loads: list[str] = []
    load = store.load

    def counted(name: str) -> Project | None:
        loads.append(name)
        return load(name)

    monkeypatch.setattr(store, "load", counted)
    own = Own(store)
    found = {item.filename: item in own for item in stock.stock(store)}
    assert found == {file.filename: True for file in files} | {file.filename: False for file in strays}
    assert loads == ["ours"]


def test_a_record_that_changes(store: Store) -> None:
    """It is read anew; of one that is damaged all counts as ours that could be its file."""
    first, second = put(store, "ours-1.0.tar.gz"), put(store, "ours-2.0.tar.gz")
    own, other = Own(store), Stocked(store.file_path(second.sha256, second.filename), second.sha256, second.filename)
    keep(store, "ours", first)
    assert other not in own
    keep(store, "ours", first, second)
    store.record(second).unlink()
    assert other in own
    keep(store, "ours", first)
    assert other not in own
    (store.root / "private" / "ours.json").write_text("{")
    assert other in own


def vanishing(monkeypatch: pytest.MonkeyPatch, *gone: str) -> None:
    """Let these files go away right after they were seen."""
    seen = stock.stock

    def stocked(store: Store) -> Iterator[Stocked]:
        for item in seen(store):
            if item.filename in gone:
                item.path.unlink()
            yield item

    monkeypatch.setattr(stock, "stock", stocked)


def test_files_that_go_away_meanwhile(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither status, nor eviction, nor what is made anew of the files fails for one that went beside it."""
    for number in range(4):
        put(store, f"theirs-{number}.0.tar.gz", "http://up/")
    vanishing(monkeypatch, "theirs-1.0.tar.gz")
    assert keeping.usage(store, tmp_path / "locks")["files"] == 3
    vanishing(monkeypatch, "theirs-2.0.tar.gz")
    assert keeping.evict(store, tmp_path / "locks", 1 << 20)["bytes"] == 2 * len("theirs-1.0.tar.gz")
    vanishing(monkeypatch, "theirs-3.0.tar.gz")
    assert stock.recover(store) == ["theirs"]
    assert [file.filename for file in (store.load("theirs") or Project("none")).files] == ["theirs-0.0.tar.gz"]


def test_a_folder_that_goes_away_meanwhile(store: Store) -> None:
    """An upload that is taken back takes its folder with it: the walk goes on."""
    files = [put(store, f"theirs-{number}.0.tar.gz", "http://up/") for number in range(9)]
    walk = stock.stock(store)
    first = next(walk)
    for file in files:
        if file.sha256 != first.sha256:
            store.withdraw(file)
    assert list(walk) == []


def test_what_is_published_while_room_is_made(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file that was nobody's when it was seen, and is listed as ours when its turn comes, stays."""
    file = put(store, "ours-1.0.tar.gz")
    locked = store.locked

    @contextmanager
    def after_an_upload() -> Iterator[None]:
        monkeypatch.setattr(store, "locked", locked)
        keep(store, "ours", file)
        with locked():
            yield

    monkeypatch.setattr(store, "locked", after_an_upload)
    assert keeping.evict(store, tmp_path / "locks", 0)["files"] == []
    assert store.file_path(file.sha256, file.filename).is_file()


def test_what_was_deleted_does_not_come_back(store: Store, tmp_path: Path) -> None:
    """Whoever was killed before the files went: they go at the start, and are not listed where the listing was lost.

    What was uploaded again, of the same bytes, is there again.
    """
    home = Home(tmp_path)
    paths = {version: wheel(tmp_path, "ours", version) for version in ("1.0", "2.0", "3.0")}
    files = {version: publish(home, path) for version, path in paths.items()}
    saved = {file: [store.file_path(file.sha256, file.filename), store.record(file)] for file in files.values()}
    bodies = {path: path.read_bytes() for file in saved for path in saved[file]}
    for version in ("1.0", "2.0"):
        private.delete(store, "ours", version, "wrong", "ours", rights.PLATFORM)
    files["2.0"] = publish(home, paths["2.0"])
    for lost in (False, True):
        for path in saved[files["1.0"]]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bodies[path])
        if lost:
            (store.root / "private" / "ours.json").unlink()
        assert stock.recover(store) == ["ours"] * lost
        assert not any(path.exists() for path in saved[files["1.0"]])
        assert store.load("ours") == Project("ours", (files["3.0"], files["2.0"]), ("3.0", "2.0"))


def test_the_license_of_what_went_away(store: Store) -> None:
    """An sdist that goes while it is asked is not noted as one without a license; one that is no archive is."""
    file = put(store, "theirs-1.0.tar.gz", "http://up/")
    path = store.file_path(file.sha256, file.filename)
    path.unlink()
    assert store.licenses.of(file, path) is None
    assert store.known(file).licenses is None
    path.write_bytes(sdist_bytes("theirs", info="License-Expression: MIT\n"))
    assert store.known(file).licenses == ("MIT",)
    other = put(store, "theirs-2.0.tar.gz", "http://up/")
    for _ in range(2):
        assert store.known(other).licenses == ()
