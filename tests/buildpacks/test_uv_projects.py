"""Projects as people write them: what the real uv calls up to date, straight after it locked, is taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from buildpacks import detect
from buildpacks.facts import facts_of
from buildpacks.foreign.reading import Node
from buildpacks.foreign.uv import read
from buildpacks.interpreters import find_interpreter
from buildpacks.policy import Policy
from core.errors import DaeError
from tests.buildpacks.index import Index, populated, wheel
from tests.buildpacks.test_uv_lock import Real

SHOP = '[project]\nname = "shop"\nversion = "1"\nrequires-python = ">=3.9"\n'
INSIDE = '[[tool.uv.index]]\nname = "inside"\nurl = "@INDEX@"\n'
SIDE = '[project]\nname = "Lib.A"\nversion = "1.0-dev"\n'

#: The files of each, but for a Procfile.
PROJECTS: dict[str, dict[str, str]] = {
    "names and versions that are not in their normal form": {
        "pyproject.toml": '[project]\nname = "My_Shop"\nversion = "2024.01.15-beta"\nrequires-python = ">=3.9"\n'
        'dependencies = ["lib_a"]\n[tool.uv.sources]\nlib-a = { workspace = true }\n'
        '[tool.uv.workspace]\nmembers = ["a"]\n',
        "a/pyproject.toml": SIDE,
    },
    "a package for one system": {
        "pyproject.toml": SHOP
        + "dependencies = [\"tools; platform_system == 'Windows'\", \"colours; os_name == 'nt'\"]\n"
    },
    "an override and a constraint that come from somewhere": {
        "pyproject.toml": SHOP + 'dependencies = ["shapes"]\n'
        '[tool.uv]\nconstraint-dependencies = ["shapes<3"]\noverride-dependencies = ["colours"]\n'
        '[tool.uv.sources]\ncolours = { index = "inside" }\nshapes = { index = "inside" }\n' + INSIDE
    },
    "a group for newer Pythons": {
        "pyproject.toml": SHOP
        + '[dependency-groups]\ndev = ["tools", { include-group = "test" }]\ntest = ["colours"]\n'
        '[tool.uv.dependency-groups]\ntest = { requires-python = ">=3.11" }\n'
    },
    "an extra by its marker": {
        "pyproject.toml": SHOP + "dependencies = [\"colours; extra == 'Foo_x'\"]\n"
        '[project.optional-dependencies]\nfoo-x = ["tools"]\n'
    },
    "a range that starts before a release": {
        "pyproject.toml": SHOP.replace(">=3.9", ">=3.9.0rc1,!=3.10.1,<4.0") + 'dependencies = ["tools"]\n'
    },
    "prereleases where there is nothing else": {"pyproject.toml": SHOP + '[tool.uv]\nprerelease = "if-necessary"\n'},
    "settings that stand in uv.toml": {
        "pyproject.toml": SHOP + '[tool.uv]\nprerelease = "allow"\nconstraint-dependencies = ["tools<2"]\n',
        "uv.toml": 'prerelease = "disallow"\n',
    },
    "a workspace of which not all is": {
        "pyproject.toml": SHOP + 'dependencies = ["lib-a"]\n[tool.uv.sources]\nlib-a = { workspace = true }\n'
        '[tool.uv.workspace]\nmembers = ["p/*", "q/*/*"]\nexclude = ["./p/old-*", "q/*"]\n',
        "p/a/pyproject.toml": SIDE + 'dependencies = ["shop"]\n[tool.uv.sources]\nshop = { workspace = true }\n',
        "p/own/pyproject.toml": '[project]\nname = "own"\nversion = "1"\n[tool.uv]\nmanaged = false\n',
        "p/old-b/pyproject.toml": '[project]\nname = "old-b"\nversion = "1"\n',
        "q/deep/er/pyproject.toml": '[project]\nname = "deeper"\nversion = "1"\n',
    },
    "an extra of all extras": {
        "pyproject.toml": SHOP + '[project.optional-dependencies]\nall = ["shop[a,b]"]\na = ["tools"]\nb = ["shapes"]\n'
    },
}


@pytest.fixture(scope="module")
def index() -> Iterator[Index]:
    made = populated()
    made.add("tools", wheel("tools", "0.9"))
    yield made
    made.close()


@pytest.mark.parametrize("what", PROJECTS)
def test_what_uv_takes_is_taken(tmp_path: Path, index: Index, what: str) -> None:
    """Nothing is called out of date that uv would not change: who got that error could do nothing about it."""
    folder = tmp_path / "project"
    for name, text in {**PROJECTS[what], "Procfile": "web: x\n"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text.replace("@INDEX@", index.url))
    real = Real(folder, index, facts_of(find_interpreter()))
    locked = real.uv(folder, "lock")
    assert locked.returncode == 0, locked.stderr
    lock = detect(folder, Policy(lambda: (index.url,))).lock
    assert lock is not None
    try:
        lock.pins(real.facts)
    except DaeError as error:
        pytest.fail(error.line())


@dataclass(frozen=True)
class Counting(Node):
    """A package that counts how often its dependencies are asked for."""

    asked: Counter[int] = field(default_factory=Counter)

    def tables(self, key: str) -> tuple[Node, ...]:
        self.asked[id(self)] += key == "dependencies"
        return Node.tables(self, key)


def test_each_package_is_looked_at_once(tmp_path: Path) -> None:
    """Many versions of a package, each of which requires all of them, do not lead round and round."""
    package = '[[package]]\nname = "a"\nversion = "{}"\nsource = {{ virtual = "lib{}" }}\ndependencies = [{}]\n'
    many = "".join(package.format(n, n, '{ name = "a" }, { name = "shop" }') for n in range(50))
    root = '[[package]]\nname = "shop"\nversion = "1"\nsource = { virtual = "." }\ndependencies = [{ name = "a" }]\n'
    lock = read(f'version = 1\nrequires-python = ">=3.9"\n{root}{many}', {}, tmp_path, Policy())
    asked = Counter[int]()
    counting = {
        name: tuple(Counting(one.file, one.data, one.place, asked) for one in several)
        for name, several in lock.packages.items()
    }
    assert len(replace(lock, packages=counting).folders) == 50
    assert set(asked.values()) == {1}
    assert len(asked) == 51
