"""Killed at each step of a change of a private project: what is served is the old or the new, and again it succeeds."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.paths import Home
from pypi_mirror import private
from pypi_mirror.model import File, Project
from pypi_mirror.pages import Format
from pypi_mirror.publish import publish
from pypi_mirror.rights import PLATFORM, Caller
from pypi_mirror.stock import recover
from pypi_mirror.store import Store
from tests.pypi_mirror.test_publish import wheel

ANN = Caller("ann", may_claim=True)
#: What gives things their names, or takes them: the steps. What is written before that nobody finds.
STEPS = ("rename", "unlink", "rmdir", "mkdir")
FORMS = ("index.json", "index.html", "index.json.gz", "index.html.gz")
Work = Callable[[Store], object]


def uploaded(version: str) -> Work:
    def work(store: Store) -> object:
        return publish(Home(store.root.parent), store.root.parent / f"tool-{version}-py3-none-any.whl")

    return work


WORK: dict[str, Work] = {
    "the first upload of a name": lambda store: publish(
        Home(store.root.parent), store.root.parent / "other-1.0-py3-none-any.whl"
    ),
    "an upload": uploaded("2.0"),
    "yank": lambda store: private.yank(store, "tool", "1.0", "it leaks", ANN),
    "delete": lambda store: private.delete(store, "tool", "1.0", "it leaks", "tool", ANN),
}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home where ``tool`` 1.0 and 1.1 are ann's, and more is ready to be published."""
    home = tmp_path_factory.mktemp("kills")
    for version in ("1.0", "1.1"):
        publish(Home(home), wheel(home, "tool", version))
    wheel(home, "tool", "2.0")
    wheel(home, "other")
    private.claim(Store(Home(home)), "tool", "ann", PLATFORM)
    return home


def killed(work: Callable[[], object], steps: int, end: Callable[[], None]) -> bool:
    """Whether ``work``, in a process of its own, met its end after so many steps."""
    child = os.fork()
    if child == 0:
        try:
            _count(steps, end)
            work()
        except OSError:
            os._exit(8)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL), code
    return code != 0


def _count(steps: int, end: Callable[[], None]) -> None:
    left = steps

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def step(*words: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                end()
            return function(*words, **named)

        return step

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def seen(store: Store, name: str) -> dict[str, Any] | None:
    """What nginx serves of a project, or else the mirror: in all forms the same, of files that are there."""
    folder = store.root / "pages/default" / name
    if not all((folder / form).is_file() for form in FORMS):
        stream = store.open_page(name, Format.JSON, zipped=False)
        if stream is None:
            return None
        with stream:
            return checked(store, json.loads(stream.read()))
    page = json.loads((folder / "index.json").read_bytes())
    html = (folder / "index.html").read_text()
    assert all(file["filename"] in html for file in page["files"])
    assert html.count("<a ") == len(page["files"])
    assert html.count("data-yanked") == sum(bool(file["yanked"]) for file in page["files"])
    return checked(store, page)


def checked(store: Store, page: dict[str, Any]) -> dict[str, Any]:
    for file in page["files"]:
        content = store.file_path(file["hashes"]["sha256"], file["filename"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file["hashes"]["sha256"]
        file.pop("upload-time")
    return page


def state(store: Store) -> list[object]:
    return [seen(store, name) for name in ("tool", "other")]


@pytest.mark.parametrize("name", WORK)
def test_killed(ground: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Old or new, in every form of the page; again it succeeds; and then nothing tells that anybody was killed."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)  # a kill does not ask what the disk has
    old, new = state(Store(Home(ground))), None
    for steps in range(200):
        home = tmp_path / str(steps)
        shutil.copytree(ground, home, copy_function=os.link)  # nothing is changed in place
        store = Store(Home(home))
        met = killed(lambda store=store: WORK[name](store), steps, kill)  # type: ignore[misc]
        if not met:
            break
        first = state(Store(Home(home)))
        recover(Store(Home(home)))
        WORK[name](Store(Home(home)))
        fresh = Store(Home(home))
        new = new or state(fresh)
        assert first in (old, new), steps
        assert state(fresh) == new, steps
        fresh.sweep(2e10)
        shutil.rmtree(home)
    assert steps > 10
    assert state(store) == new


def named(store: Store) -> set[bool]:
    """Whether the pages of ``up`` that nginx serves by itself, in whichever forms, name its second file."""
    bodies = [path.read_bytes() for path in (store.root / "pages/default/up").glob("index.*")]
    return {b"up-2.0" in (gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body) for body in bodies}


def test_a_page_of_upstream_is_old_or_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is killed while it is renewed leaves no forms of before beside some of after."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
    files = [File(f"up-{number}.0.tar.gz", str(number) * 64, "http://up/", size=1) for number in (1, 2)]
    old, new = (Project("up", tuple(files[:count]), ("1.0", "2.0")[:count]) for count in (1, 2))
    for steps in range(60):
        store = Store(Home(tmp_path / str(steps)))
        store.save(old, 1)
        store.renew("up")
        assert named(store) == {False}
        met = killed(lambda store=store: store.save(new, 2), steps, kill)  # type: ignore[misc]
        assert len(named(store)) < 2, steps
        fresh = Store(Home(tmp_path / str(steps)))
        with fresh.open_page("up", Format.JSON, zipped=False) or pytest.fail("it is lost") as stream:
            assert (b"up-2.0" in stream.read()) == (fresh.load("up") == new)
        if not met:
            break
    assert steps > 3
    assert named(store) == {True}
