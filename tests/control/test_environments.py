"""Environments: what control believes of what a build's account says."""

from __future__ import annotations

import hashlib
import io
import json
import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import buildpacks
import control.environments
from buildpacks.facts import Facts
from buildpacks.foreign import Pins
from buildpacks.interpreters import find_interpreter
from buildpacks.locks import Pin, releases, render
from control.context import Context
from control.environments import EnvironmentMaker
from control.output import Output
from core.errors import DaeError
from core.files import remove_tree
from core.nouns import Process, ProcessType
from core.paths import Home
from slugs.store import SlugStore
from tests.buildpacks.index import Index, populated, wheel

INTERPRETER = find_interpreter("", shared=False)


@pytest.fixture
def index() -> Iterator[Index]:
    made = populated()
    yield made
    made.close()


class Account:
    """Stands for the agent: packages whose code runs in the build, and writes what it likes."""

    def __init__(self, home: Home, lock: str, built: tuple[str, bytes] = ("", b"")) -> None:
        self.home = home
        self.lock = lock
        self.built = built
        self.jobs: list[dict[str, Any]] = []

    def build(self, number: int, _on_line: Callable[[str], None], _check: Callable[[], None]) -> dict[str, Any]:
        work = self.home.builds / str(number)
        self.jobs.append(json.loads((work / "job.json").read_text()))
        if self.jobs[-1]["source"] is None:
            return {"lock": self.lock}
        name, data = self.built
        (work / "wheel").mkdir()
        if name.isascii() and name.isprintable() and name and "/" not in name:
            (work / "wheel" / name).write_bytes(data)
        return {"wheel": name} if name else {"x": 1}


def lock_of(index: Index, *pins: tuple[str, str]) -> str:
    return render(
        {
            name: Pin(
                version,
                tuple(
                    "sha256:" + hashlib.sha256(d).hexdigest()
                    for f, d in index.files[name].items()
                    if f"-{version}" in f
                ),
            )
            for name, version in pins
        }
    )


class Foreign:
    """The lock of another manager."""

    filename, requires_python, python_from, exact_python, folders = "other.lock", "", "", "", ()

    def __init__(self, lock: str) -> None:
        self.lock = lock

    def groups(self) -> tuple[str, ...]:
        return ()

    def pins(self, facts: Facts, group: str = "") -> Pins:
        return {release.name: Pin(release.version, release.hashes) for release in releases(self.lock)}


def environment(
    index: Index,
    folder: Path,
    agent: Account,
    check: Callable[[], None] = lambda: None,
    foreign: Foreign | None = None,
    stage: str = "",
) -> str:
    """Build an app's environment in the home ``folder``; returns its digest."""
    home = Home(folder)
    for place in (home.builds, home.locks):
        place.mkdir(parents=True, exist_ok=True)
    settings = SimpleNamespace(installer="uv", index_url=index.url, build_timeout=60)
    node = SimpleNamespace(agent=agent)
    context = SimpleNamespace(home=home, settings=settings, slugs=SlugStore(home), node=node)
    recipe = buildpacks.Recipe(processes=(Process("web", ProcessType.WEB),), requirements="evil\n")
    if foreign is not None:
        recipe = buildpacks.Recipe(processes=recipe.processes, lock=foreign)
    maker = EnvironmentMaker(cast(Context, context), 7, Output(lambda _line: None, check), stage)
    return maker.make(recipe, INTERPRETER)


def test_a_stage_asks_its_view_of_the_index(index: Index, tmp_path: Path) -> None:
    """Where the policy has a view of the stage's name, that is asked, and its locks are kept apart from others'."""
    home = Home(tmp_path)
    home.mirror.mkdir()
    (home.mirror / "policy.toml").write_text("[view.beta]\n")
    agent = Account(home, lock_of(index, ("colours", "2.5")))
    for stage in ("dev", "stable", "", "beta"):
        environment(index, tmp_path, agent, stage=stage)
    assert [job["index_url"] for job in agent.jobs] == [index.url, index.url.replace("simple/", "view/beta/simple/")]
    kept = list(home.locks.glob("*.txt"))
    assert len(kept) == 2
    for path in kept:
        os.utime(path, (0, 0))
    environment(index, tmp_path, agent)
    assert sorted(path.stat().st_mtime > 0 for path in kept) == [False, True], "what is asked for is kept from then on"


def test_a_lock_that_the_policy_refuses_goes(index: Index, tmp_path: Path) -> None:
    """What the index hides now is told with its reason, and the kept lock of it is not tried a second time."""
    home = Home(tmp_path)
    agent = Account(home, lock_of(index, ("colours", "2.5")))
    digest = environment(index, tmp_path, agent)
    for folder in (home.environments, home.packages):
        remove_tree(folder)
    hidden = index.files["colours"]
    index.files["colours"] = {}
    index.why["colours"] = b"colours-2.5-py3-none-any.whl is not let through (vulnerability): X-1: fixed in 3 -- take 3"
    with pytest.raises(DaeError) as caught:
        environment(index, tmp_path, agent)
    assert caught.value.code == "build/refused"
    assert "(vulnerability): X-1: fixed in 3" in caught.value.cause
    assert caught.value.hint.startswith("take 3")
    assert list(home.locks.glob("*.txt")) == []
    index.files["colours"] = hidden
    assert environment(index, tmp_path, agent) == digest
    assert len(agent.jobs) == 2


def test_a_package_cannot_forge_the_environment_of_another_app(index: Index, tmp_path: Path) -> None:
    """Whatever lock a build's account names: what stands under its digest is what the index has for that lock."""
    victim = lock_of(index, ("shapes", "2.0"), ("colours", "2.5"))
    agent = Account(Home(tmp_path), victim)
    digest = environment(index, tmp_path, agent)
    assert digest == buildpacks.environment_digest(victim, INTERPRETER.id)
    (module,) = Home(tmp_path).environment(digest).rglob("shapes.py")
    with zipfile.ZipFile(io.BytesIO(index.files["shapes"]["shapes-2.0-py3-none-any.whl"])) as archive:
        assert module.read_bytes() == archive.read("shapes.py")
    assert environment(index, tmp_path, agent) == digest
    assert len(agent.jobs) == 1


def test_nothing_in_a_foreign_lock_is_changed(index: Index, tmp_path: Path) -> None:
    """The account locks what every app gets, with the lock as constraints; all else that it says is dropped."""
    own = lock_of(index, ("shapes", "1.0"), ("colours", "1.5"))
    said = lock_of(index, ("colours", "2.5"), ("gunicorn", "22.0.0"), ("gevent", "24.10.1"), ("packaging", "24.0"))
    agent = Account(Home(tmp_path), said + lock_of(index, ("dae", "0.1.0")))
    digest = environment(index, tmp_path, agent, foreign=Foreign(own))
    names = {path.name for path in Home(tmp_path).environment(digest).rglob("*.dist-info")}
    assert {"colours-1.5.dist-info", "shapes-1.0.dist-info", "gunicorn-22.0.0.dist-info"} <= names
    assert "colours-2.5.dist-info" not in names
    assert [(job["requirements"], job["constraints"]) for job in agent.jobs] == [("", own)]
    assert environment(index, tmp_path, agent, foreign=Foreign(own)) == digest
    assert len(agent.jobs) == 1


def test_a_foreign_lock_with_everything_needs_no_build(index: Index, tmp_path: Path) -> None:
    """When it holds what every app gets, no account is asked for anything."""
    runtime = [("gunicorn", "21.2.0"), ("gevent", "24.10.1"), ("packaging", "24.0"), ("dae", "0.1.0")]
    lock = lock_of(index, *runtime, ("colours", "1.5"))
    agent = Account(Home(tmp_path), "")
    assert environment(index, tmp_path, agent, foreign=Foreign(lock)) == buildpacks.environment_digest(
        lock, INTERPRETER.id
    )
    assert agent.jobs == []


def test_a_source_distribution_is_built_in_a_run_of_its_own(index: Index, tmp_path: Path) -> None:
    """The account gets that file to build and no requirements; what it made is used for this package alone."""
    agent = Account(Home(tmp_path), lock_of(index, ("plain", "1.0"), ("colours", "2.5")), wheel("plain", "1.0"))
    digest = environment(index, tmp_path, agent)
    assert [job["requirements"] for job in agent.jobs] == ["evil\n", ""]
    assert agent.jobs[1]["source"]["filename"] == "plain-1.0.tar.gz"
    assert list(Home(tmp_path).environment(digest).rglob("plain.py"))
    assert [path.name for path in Home(tmp_path).builds.iterdir()] == []


def test_a_cancelled_installation_leaves_nothing(index: Index, tmp_path: Path) -> None:
    """Whoever pushed goes away: what was begun is removed, and no program of it is left."""
    home = Home(tmp_path)

    def gone() -> None:
        if list(home.packages.glob(".build7-*")):
            raise DaeError("push/cancelled", "nobody waits", "push again")

    body = "x = 1\n" * 300_000  # compiling it takes a while
    index.add("large", wheel("large", "1.0", body=body))
    agent = Account(home, lock_of(index, ("large", "1.0")))
    with pytest.raises(DaeError, match="push/cancelled"):
        environment(index, tmp_path, agent, check=gone)
    left = [path for folder in (home.packages, home.environments, home.builds) for path in folder.glob("*")]
    assert left == []
    running = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.parent.exists()]
    assert [line for line in running if os.fsencode(tmp_path) in line] == []


def test_installations_wait_for_their_turn(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While others install it says so and waits, and it gives up when nobody waits for it any more."""
    monkeypatch.setattr("control.environments._INSTALLING", threading.BoundedSemaphore(1))
    control.environments._INSTALLING.acquire()
    asked: list[int] = []

    def gone() -> None:
        asked.append(1)
        if len(asked) == 2:
            raise DaeError("push/cancelled", "nobody waits", "push again")

    with pytest.raises(DaeError, match="push/cancelled"):
        environment(index, tmp_path, Account(Home(tmp_path), lock_of(index, ("colours", "2.5"))), check=gone)
    control.environments._INSTALLING.release()
    assert environment(index, tmp_path, Account(Home(tmp_path), lock_of(index, ("colours", "2.5"))))


@pytest.mark.parametrize(
    "built",
    [
        wheel("colours", "2.5"),
        wheel("plain", "2.0"),
        ("plain-1.0-py3-none-any.whl", b"not a wheel"),
        ("../../plain-1.0-py3-none-any.whl", b""),
        ("plain.txt", b""),
        ("plain-1.0-1/../../x-py3-none-any.whl", b""),
        ("plain-1.0-py3-none-any\0.whl", b""),
        ("plain-1.0-py3-none-any\ud800.whl", b""),
        ("", b""),
    ],
)
def test_what_an_account_built_is_not_believed(index: Index, tmp_path: Path, built: tuple[str, bytes]) -> None:
    """A wheel of something else, or none: the build fails, and neither package, environment nor lock is kept."""
    agent = Account(Home(tmp_path), lock_of(index, ("plain", "1.0"), ("colours", "2.5")), built)
    with pytest.raises(DaeError, match="build/"):
        environment(index, tmp_path, agent)
    home = Home(tmp_path)
    kept = {path for folder in (home.environments, home.locks, home.builds) for path in folder.glob("*")}
    assert kept == {home.chosen}
    assert [path for path in home.packages.rglob("*") if "plain" in path.name] == []
