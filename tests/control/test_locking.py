"""`dae lock` and `dae upgrade` on the platform's side: what stays, what changes, and who waits; with the real uv."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from buildpacks import lockfile, worker
from buildpacks.locks import Pin, Pins, render
from control import http, locking
from control.context import Context
from control.locking import Wish, lock
from control.locks import locking_turn
from control.output import Output
from core.coord import EmbeddedCoord
from core.errors import DaeError
from core.nouns import App, now
from core.paths import Home
from core.store import AppRow, Store, UserRow
from dae.local import lockfile as sent
from slugs.store import SlugStore
from tests.blackbox.project import eventually
from tests.buildpacks.index import Index, populated, wheel

APP = App("shop", "mary", now())
FILES = {"Procfile": "web: gunicorn app:app\n"}


@pytest.fixture
def index() -> Iterator[Index]:
    made = populated()
    made.add("gevent", wheel("gevent", "25.1"))
    yield made
    made.close()


class Account:
    """Stands for the agent: runs a build's worker here."""

    def __init__(self, home: Home) -> None:
        self.home = home

    def build(self, number: int, on_line: Callable[[str], None], _check: Callable[[], None]) -> dict[str, Any]:
        return worker.build(self.home.builds / str(number), on_line)


class Platform:
    """As much of one as locking needs, with the ``lines`` that it said."""

    def __init__(self, index: Index, folder: Path) -> None:
        self.store = Store.at(folder / "dae.db")
        self.store.migrate()
        with self.store.write() as session:
            session.add(UserRow(name="mary", admin=True, created=now()))
            session.flush()
            session.add(AppRow(name="shop", owner="mary", next_release=1, destroyed=False, created=now()))
        home = Home(folder)
        home.builds.mkdir()
        settings: Any = SimpleNamespace(
            home=folder, index_url=index.url, installer="uv", build_timeout=60, pythons="", build_sources=()
        )
        node: Any = SimpleNamespace(agent=Account(home))
        coord = EmbeddedCoord(self.store)
        self.context = Context(settings, home, self.store, coord, SlugStore(home), node, accounts=False)
        self.lines: list[str] = []

    def lock(self, requirements: str, before: str | None = None, *upgrade: str, app_yaml: str = "") -> str:
        """The ``dae.lock`` of an app with these requirements, which had the lock ``before``."""
        files = {**FILES, "pip-req.txt": requirements, **({"dae.lock": before} if before is not None else {})}
        if app_yaml:
            files["app.yaml"] = app_yaml
        self.lines = []
        made = lock(self.context, APP, Wish(files, upgrade=upgrade), "mary", Output(self.lines.append))
        return str(made["lock"])


@pytest.fixture
def platform(index: Index, tmp_path: Path) -> Iterator[Platform]:
    made = Platform(index, tmp_path)
    yield made
    made.store.close()


def versions(lock: str) -> dict[str, str]:
    return {name: pin.version for name, pin in lockfile.read(lock).items()}


OLD = {"shapes": "1.0", "colours": "1.5", "gevent": "24.10.1", "gunicorn": "22.0.0", "packaging": "24.0"}


@pytest.mark.parametrize("installer", ["uv", "pip"])
@pytest.mark.parametrize("requirements", ["shapes\ngevent\n", "gevent\ncolours\nshapes\n"])
def test_an_upgrade_reaches_the_newest(platform: Platform, installer: str, requirements: str) -> None:
    """When a newer version needs a newer dependency, that changes with it, and nothing else does; it is said."""
    exact = "".join(f"{name}=={version}\n" for name, version in OLD.items())
    said = f"installer: {installer}\n"
    before = platform.lock(exact, app_yaml=said)
    assert versions(before) == OLD
    loose = platform.lock(requirements, before, app_yaml=said)
    assert versions(loose) == OLD
    upgraded = platform.lock(requirements, loose, "shapes", app_yaml=said)
    assert versions(upgraded) == {**OLD, "shapes": "2.0", "colours": "2.5"}
    assert any("shapes 2.0: others that are locked do not fit beside it" in line for line in platform.lines)
    again = platform.lock(requirements, upgraded, "shapes", app_yaml=said)
    assert again == upgraded
    assert versions(platform.lock(requirements, upgraded, "gevent", app_yaml=said)) == {
        **versions(upgraded),
        "gevent": "25.1",
    }


def test_an_upgrade_that_cannot_be(platform: Platform) -> None:
    """When the requirements themselves hold a version, it stays without a word of a newer one."""
    requirements = "shapes\nneeds-old\ngevent<25\n"
    before = platform.lock(requirements)
    assert versions(before)["shapes"] == "1.0"
    assert platform.lock(requirements, before, "shapes", "gevent") == before
    assert not any("do not fit" in line for line in platform.lines)


def test_an_upgrade_is_no_downgrade(index: Index, platform: Platform) -> None:
    """What is newer beside what is locked than all anew would be is not replaced by what is older."""
    index.add("limits", wheel("limits", "1.0"))
    before = platform.lock("limits\nshapes\ncolours\n")
    index.add("limits", wheel("limits", "2.0", requires=["shapes<2"]))
    upgraded = platform.lock("limits\nshapes\ncolours\n", before, "shapes")
    assert upgraded == before
    assert versions(upgraded)["shapes"] == "2.0"


def test_the_rest_cannot_be_resolved(index: Index, platform: Platform) -> None:
    """A newest version of something else that does not build does not keep a package from being upgraded."""
    index.add("limits", wheel("limits", "1.0"))
    before = platform.lock("limits\ncolours<2\n")
    index.add("limits", wheel("limits", "2.0", requires=["broken"]))
    index.add("colours", wheel("colours", "1.6"))
    upgraded = platform.lock("limits\ncolours<2\n", before, "colours")
    assert versions(upgraded) == {**versions(before), "colours": "1.6"}
    assert any("all anew cannot be resolved" in line for line in platform.lines)


def test_an_installer_that_gives_up() -> None:
    """When no way is found to keep what may stay, what is the same in the old lock and in all anew does."""

    def pin(version: str) -> Pin:
        return Pin(version, ("sha256:" + hashlib.sha256(version.encode()).hexdigest(),))

    now_, newest = ({"a": pin("1"), "b": pin("1"), "c": pin("1")}, {"a": pin("2"), "b": pin("2"), "c": pin("1")})
    asked: list[tuple[Pins, Pins]] = []

    def make(held: Pins, preferred: Pins) -> str:
        asked.append((held, preferred))
        if preferred:
            raise DaeError("build/unresolvable", "gave up")
        return render(newest if not held or ("c" in held and "a" in held) else now_)

    made = locking._made(make, Output(lambda _line: None), {"b": now_["b"], "c": now_["c"]}, {"a"})
    assert lockfile.read(made) == newest
    assert asked[-1] == ({"a": pin("2"), "c": pin("1")}, {})


def test_hashes_stay_and_bind(index: Index, platform: Platform) -> None:
    """A file that the index got later is not added to what is locked; the requirements' own hashes bind at once."""
    before = platform.lock("colours==2.5\n")
    index.add("colours", ("colours-2.5-cp27-none-macosx_10_9_x86_64.whl", b"later"))
    assert platform.lock("colours==2.5\n", before) == before
    old = index.files["colours"]["colours-2.5-py3-none-any.whl"]
    wanted = "sha256:" + hashlib.sha256(old).hexdigest()
    asked = f"colours==2.5 --hash={wanted}\n"
    assert lockfile.read(platform.lock(asked, before))["colours"].hashes == (wanted,)


def test_one_at_a_time(platform: Platform) -> None:
    """Of all apps' locks one is made at a time, so that a push finds a place; who waits is told, but not for whom."""
    done: list[str] = []
    worker_thread = threading.Thread(target=lambda: done.append(platform.lock("colours\n")))
    with locking_turn(platform.context, Output(lambda _line: None)):
        worker_thread.start()
        eventually(lambda: any("waiting for another dae.lock" in line for line in platform.lines))
        assert not done
        checked = Wish({**FILES, "pip-req.txt": "colours\n"}, check=True)
        with pytest.raises(DaeError, match=r"there is no dae\.lock"):  # that makes nothing, and does not wait
            lock(platform.context, APP, checked, "mary", Output(lambda _line: None))
    worker_thread.join(timeout=60)
    assert versions(done[0])["colours"] == "2.5"


def test_caps_agree(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command sends the platform takes, and no lock is made that a push would refuse."""
    assert sent.SIZE_CAP == lockfile.SIZE_CAP
    assert (sent.COUNT_CAP, sent.REQUEST_CAP) == (locking.FILES, http.REQUEST_BYTES)
    monkeypatch.setattr(lockfile, "SIZE_CAP", 100)
    with pytest.raises(DaeError, match=r"dae\.lock would be larger than") as caught:
        platform.lock("colours\n")
    assert caught.value.code == "build/bad-requirements"


@pytest.mark.parametrize("name", ["größe/base 1.in", "a" * 255, "/".join(["ü" * 100] * 4)])
def test_paths_that_a_commit_may_have(name: str) -> None:
    """Whatever a requirements file may include can be sent."""
    assert Wish({name: ""}).files == {name: ""}


@pytest.mark.parametrize("name", ["a" * 256, "ü" * 128, "a/" * 500 + "a", "a\n", "a/./b", "\u202e"])
def test_paths_that_are_none(name: str) -> None:
    """A name that no file system takes, or that shows as another, is an error of the request."""
    with pytest.raises(DaeError, match="cannot be the path"):
        Wish({name: ""})
