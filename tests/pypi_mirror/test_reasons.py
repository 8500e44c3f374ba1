"""What reaches the person who pushes: why the index refuses a package, and what it warns of."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

import buildpacks
from buildpacks.deadline import Deadline
from buildpacks.engines.pip import PipEngine
from buildpacks.engines.tool import Tool
from buildpacks.engines.uv import UvEngine
from buildpacks.interpreters import find_interpreter
from buildpacks.locks import Pin, render
from control.context import Context
from control.environments import EnvironmentMaker
from control.output import Output
from core.errors import DaeError
from core.nouns import Process, ProcessType
from core.paths import Home
from slugs.store import SlugStore
from tests.control.test_environments import Account, Foreign
from tests.pypi_mirror.mirror_process import MirrorProcess, poll
from tests.pypi_mirror.test_gate import _licensed, write
from tests.pypi_mirror.test_rulebook import document
from tests.pypi_mirror.upstream_model import UpstreamModel, build_wheel

Start = Callable[..., MirrorProcess]
INTERPRETER = find_interpreter("", shared=False)
HOLE = "PYSEC-1: fixed in 1.5"


def advise(home: Path, name: str = "shop") -> None:
    (home / "mirror-advisories").mkdir()
    (home / "mirror-advisories" / "a.json").write_text(document("PYSEC-1", name))


@pytest.mark.parametrize("engine", [UvEngine, PipEngine])
def test_a_lock_that_cannot_be_made(
    engine: type[UvEngine | PipEngine], tmp_path: Path, upstream: UpstreamModel, new_mirror: Start
) -> None:
    """Whatever resolves, and whether page or metadata are refused: rule, cause and way out are quoted."""
    upstream.add("shop", "1.0")
    upstream.add("needs", "1.0", requires="shop")
    body = _licensed(build_wheel("agpl", "1.0"), "AGPL-3.0-only")
    upstream.add_file("agpl", "agpl-1.0-py3-none-any.whl", body)
    upstream.add("denied", "1.0")
    advise(tmp_path)
    write(
        tmp_path,
        "private = ['acme-*']\n"
        "[[rule]]\naction = 'deny'\nname = 'denied'\nreason = 'ask Ann first'\n"
        "[[rule]]\naction = 'deny'\nlicense = 'AGPL*'\nreason = 'it infects'\n",
    )
    mirror = new_mirror(upstream.url)
    for number, (requirement, rule, cause, hint) in enumerate(
        (
            ("shop", "(vulnerability)", HOLE, "take shop>=1.5"),
            ("needs", "(vulnerability)", HOLE, "take shop>=1.5"),
            ("denied==1.0", "(rule 1)", "ask Ann first", "ask whoever runs the index"),
            ("agpl", "(rule 2)", "it infects", "ask whoever runs the index"),
            ("acme-pay", "", "acme-pay is a private name", "publish it to this index"),
        )
    ):
        shown: list[str] = []
        work = tmp_path / f"work{number}"
        work.mkdir()
        tool = Tool(INTERPRETER.python, mirror.index, work, work / "cache", Deadline.after(300), shown.append)
        with pytest.raises(DaeError) as caught:
            engine(tool).lock([requirement])
        words = " ".join((caught.value.cause, *shown))
        assert cause in caught.value.cause, (requirement, caught.value.cause, shown)
        assert rule in words
        assert hint in caught.value.hint, requirement


def push(home: Path, index: str, lock: str, *, foreign: bool) -> list[str]:
    """What an app's environment is made of that lock, which it has or the platform makes; the lines of the build."""
    place, lines = Home(home), list[str]()
    for folder in (place.builds, place.locks):
        folder.mkdir(parents=True, exist_ok=True)
    settings = SimpleNamespace(installer="uv", index_url=index, build_timeout=300)
    node = SimpleNamespace(agent=Account(place, lock))
    context = SimpleNamespace(home=place, settings=settings, slugs=SlugStore(place), node=node)
    recipe = buildpacks.Recipe(processes=(Process("web", ProcessType.WEB),), requirements="shop\n")
    if foreign:
        recipe = buildpacks.Recipe(processes=recipe.processes, lock=Foreign(lock))
    EnvironmentMaker(cast(Context, context), 7, Output(lines.append)).make(recipe, INTERPRETER)
    return lines


def locked(upstream: UpstreamModel) -> str:
    """A lock with all that every app gets, of which nothing but the names matters here."""
    names = {"shop": "1.0", "gunicorn": "22.0.0", "gevent": "24.10.1"}
    return render({name: Pin(text, (f"sha256:{upstream.add(name, text)[1]}",)) for name, text in names.items()})


@pytest.mark.parametrize("foreign", [True, False])
def test_a_push_that_is_refused(foreign: bool, tmp_path: Path, upstream: UpstreamModel, new_mirror: Start) -> None:
    """A lock that names what is hidden is refused with the reason, whoever made it; also by what the file says."""
    lock = locked(upstream)
    advise(tmp_path)
    mirror = new_mirror(upstream.url)
    with pytest.raises(DaeError) as caught:
        push(tmp_path, mirror.index, lock, foreign=foreign)
    assert caught.value.code == "build/refused"
    assert f"(vulnerability): {HOLE}" in caught.value.cause
    assert "take shop>=1.5" in caught.value.hint
    (tmp_path / "mirror-advisories" / "a.json").unlink()
    body = _licensed(build_wheel("late", "1.0"), "AGPL-3.0-only")
    _, sha256 = upstream.add_file("late", "late-1.0-py3-none-any.whl", body)
    write(tmp_path, "[[rule]]\naction = 'deny'\nlicense = 'AGPL*'\nreason = 'it infects'\n")
    poll(lambda: "rule" in (Home(tmp_path).mirror / "policy.toml").read_text())
    with pytest.raises(DaeError) as caught:
        push(tmp_path, mirror.index, lock + render({"late": Pin("1.0", (f"sha256:{sha256}",))}), foreign=foreign)
    assert (caught.value.code, "(rule 1): it infects" in caught.value.cause) == ("build/refused", True)


@pytest.mark.parametrize("foreign", [True, False])
def test_a_push_with_a_warning(foreign: bool, tmp_path: Path, upstream: UpstreamModel, new_mirror: Start) -> None:
    """It succeeds, and says in one line what is known of a package: each time, also when nothing is installed."""
    lock = locked(upstream)
    advise(tmp_path)
    write(tmp_path, "vulnerabilities = 'warn'\n")
    mirror = new_mirror(upstream.url)
    for _ in range(2):
        said = [line for line in push(tmp_path, mirror.index, lock, foreign=foreign) if "vulnerability" in line]
        assert said == [f" !     shop 1.0 has a known vulnerability: {HOLE}"]
    write(tmp_path, "ignore_vulnerabilities = ['PYSEC-1']\n")
    poll(lambda: json.loads(mirror.get("/mirror/known?of=shop==1.0").body) == {})
    assert not [line for line in push(tmp_path, mirror.index, lock, foreign=foreign) if "vulnerability" in line]
