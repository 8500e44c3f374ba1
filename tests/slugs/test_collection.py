"""What nothing needs is removed, and nothing else, whoever works beside it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from core.errors import DaeError
from core.nouns import Handler, Process, ProcessType, Slug
from core.paths import Home
from slugs import SlugStore, collection
from slugs.environments import EnvironmentStore
from slugs.packages import Installed, Origin, PackageStore, package_key


@pytest.fixture
def store(tmp_path: Path) -> SlugStore:
    return SlugStore(Home(tmp_path / "h"))


def package(store: SlugStore, name: str) -> Installed:
    origin = Origin(name, "1", f"{name}-1-py3-none-any.whl", "a" * 64)
    key = package_key(origin, "cpython")
    with PackageStore(store.home).adding(key, origin) as tree:
        (tree / f"{name}.py").write_text(name * 1000)
    found = PackageStore(store.home).find(key)
    assert found is not None
    return found


def slug(store: SlugStore, tmp_path: Path, app: str, code: str, environment: str, *packages: Installed) -> str:
    EnvironmentStore(store.home).assemble(environment * 64, packages)
    built = tmp_path / f"{app}-{code}"
    built.mkdir()
    (built / "app.py").write_text(code)
    store.add_code(app, code * 40, built)
    made = Slug(
        commit=code * 40, code=code * 40, environment=environment * 64, interpreter="cpython", buildpack="python",
        processes=(Process("web", ProcessType.WEB),), handlers=(Handler("/.*", wsgi_app="app:app"),),
    )  # fmt: skip
    return store.save(made)


def left(store: SlugStore) -> dict[str, list[str]]:
    home = store.home
    return {
        "slugs": sorted(path.stem for path in home.slugs.iterdir()),
        "codes": sorted(f"{path.parent.name}/{path.name[:4]}" for path in home.codes.glob("*/*")),
        "environments": sorted(path.name[0] for path in home.environments.iterdir()),
        "packages": sorted(path.name for path in home.packages.iterdir()),
    }


def test_only_what_nothing_needs_goes(store: SlugStore, tmp_path: Path) -> None:
    """A shared environment and a shared package stay while one slug needs them."""
    one, two, three = (package(store, name) for name in ("one", "two", "three"))
    kept = slug(store, tmp_path, "blog", "a", "1", one, two)
    slug(store, tmp_path, "blog", "b", "1")
    slug(store, tmp_path, "shop", "a", "2", two, three)
    garbage = collection.mark(store, [("blog", kept)])
    assert garbage.counts == {"slugs": 2, "codes": 2, "environments": 1, "packages": 1}
    freed = collection.remove(collection.set_aside(garbage))
    assert freed > 5000
    assert left(store) == {
        "slugs": [kept],
        "codes": ["blog/aaaa", "blog/aaaa"],  # the layer, and its manifest
        "environments": ["1"],
        "packages": sorted([one.key, two.key]),
    }
    store.verify(store.load(kept), "blog")
    assert collection.mark(store, [("blog", kept)]).counts == dict.fromkeys(garbage.counts, 0)


def test_nothing_is_kept_by_nothing(store: SlugStore, tmp_path: Path) -> None:
    """An empty platform has nothing to mark; a slug that was removed keeps no layer; a damaged one lets nothing go."""
    assert not any(collection.mark(store, []).counts.values())
    digest = slug(store, tmp_path, "blog", "a", "1", package(store, "one"))
    store.home.slug(digest).write_text("{}")
    with pytest.raises(DaeError, match="slug/damaged"):
        collection.mark(store, [("blog", digest)])
    store.home.slug(digest).unlink()
    assert collection.mark(store, [("blog", digest)]).counts == {
        "slugs": 0, "codes": 1, "environments": 1, "packages": 1,
    }  # fmt: skip


def test_who_works_alone_waits_for_the_others(store: SlugStore) -> None:
    """Many use the store at once; a collection waits for all of them, and they for it."""
    order: list[str] = []

    def collect() -> None:
        with store.alone():
            order.append("alone")

    with store.in_use(), store.in_use():
        waiting = threading.Thread(target=collect)
        waiting.start()
        time.sleep(0.2)
        order.append("used")
    waiting.join(10)
    assert order == ["used", "alone"]

    class StoppedError(Exception):
        pass

    def stop() -> None:
        raise StoppedError

    with store.alone(), pytest.raises(StoppedError), store.in_use(stop):
        pytest.fail("it was not alone")


def test_a_killed_user_keeps_nobody_waiting(store: SlugStore) -> None:
    """The lock dies with its holder."""
    code = (
        "import os, sys; from pathlib import Path; from core.paths import Home; from slugs import SlugStore\n"
        "with SlugStore(Home(Path(sys.argv[1]))).in_use():\n    os.kill(os.getpid(), 9)\n"
    )
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", code, str(store.home.root)]
    assert subprocess.run(command, env={"PYTHONPATH": root, "PATH": os.environ["PATH"]}).returncode == -9
    with store.alone(lambda: pytest.fail("it is still held")):
        pass


def test_killed_between_two_renames(store: SlugStore, tmp_path: Path) -> None:
    """What was set aside and not removed is swept; what was not yet set aside is found by the next collection."""
    slug(store, tmp_path, "blog", "a", "1", package(store, "one"))
    garbage = collection.mark(store, [])
    half = collection.Garbage(garbage.slugs, garbage.codes, (), ())
    collection.set_aside(half)
    store.sweep()
    assert left(store)["slugs"] == left(store)["codes"] == []
    assert collection.mark(store, []).counts == {"slugs": 0, "codes": 0, "environments": 1, "packages": 1}
