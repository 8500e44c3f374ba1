"""The program that makes environments, against a real index."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from buildpacks import environment_digest, find_interpreter, locks
from buildpacks.facts import facts_of
from control.install import Order
from core.paths import Home
from tests.buildpacks.index import Index, populated

INTERPRETER = find_interpreter()


@pytest.fixture
def index() -> Iterator[Index]:
    made = populated()
    yield made
    made.close()


def lock_of(index: Index, *pins: str) -> str:
    """A lock of ``name==version`` with the hashes of all files that the index has."""
    entries = {}
    for pin in pins:
        name, version = pin.split("==")
        files = [data for file, data in index.files[name].items() if f"-{version}" in file]
        entries[name] = locks.Pin(version, tuple("sha256:" + hashlib.sha256(data).hexdigest() for data in files))
    return locks.render(entries)


def order(index: Index, folder: Path, lock: str, **other: Any) -> Order:
    fields = {
        "home": str(folder / "home"),
        "digest": environment_digest(lock, INTERPRETER.id),
        "lock": lock,
        "label": "test",
        "index_url": index.url,
        "python": str(INTERPRETER.python),
        "version": INTERPRETER.version,
        "interpreter": INTERPRETER.id,
        "tags": facts_of(INTERPRETER).tags,
        "timeout": 60,
    }
    return Order(**{**fields, **other})


def carry_out(folder: Path, wanted: Order) -> tuple[int, dict[str, Any], str]:
    folder.mkdir()
    (folder / "order.json").write_bytes(wanted.to_json())
    command = [sys.executable, "-I", "-m", "control.install", str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, cwd="/", umask=0o077)
    assert ran.stderr == ""
    return ran.returncode, json.loads((folder / "result.json").read_text()), ran.stdout


def test_installs_what_the_lock_says_and_nothing_else(index: Index, tmp_path: Path) -> None:
    """The environment runs, holds exactly the locked versions, and no pip; everybody may read it."""
    wanted = order(index, tmp_path, lock_of(index, "shapes==1.0", "colours==2.5"))
    status, result, shown = carry_out(tmp_path / "o", wanted)
    assert (status, result) == (0, {"sources": []})
    assert shown == "-----> Installing 2 packages\n       colours 2.5\n       shapes 1.0\n"
    env = Home(tmp_path / "home").environment(wanted.digest)
    code = "import shapes, colours, importlib.metadata as m; print(sorted(d.name+d.version for d in m.distributions()))"
    seen = subprocess.run([env / "bin/python", "-I", "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "['colours2.5', 'shapes1.0']"
    assert [p for p in env.rglob("*") if not p.is_symlink() and not p.stat().st_mode & 0o004] == []


def test_no_trace_of_where_it_was_made(index: Index, tmp_path: Path) -> None:
    """Nothing in an environment names a folder; bytecode is there, and a traceback shows where the file stands."""
    wanted = order(index, tmp_path, lock_of(index, "shapes==2.0", "colours==2.5"))
    carry_out(tmp_path / "o", wanted)
    env = Home(tmp_path / "home").environment(wanted.digest)
    traces = [
        p for p in env.rglob("*") if p.is_file() and not p.is_symlink() and os.fsencode(tmp_path) in p.read_bytes()
    ]
    assert traces == []
    assert len(list(env.rglob("colours.*.pyc"))) == 1
    shown = subprocess.run([env / "bin/shapes"], capture_output=True, text=True, check=True, cwd="/")
    assert shown.stdout.strip() == f"shapes 2.0 {env}"
    failed = subprocess.run(
        [env / "bin/python", "-c", "import colours; colours.fail()"], capture_output=True, text=True
    )
    assert f'File "{env}/lib/python' in failed.stderr


def test_the_same_lock_gives_the_same_bytes(index: Index, tmp_path: Path) -> None:
    """Two homes, made in one way or another, hold the same files under the same digest."""
    lock = lock_of(index, "shapes==2.0", "colours==2.5", "gunicorn==22.0.0")
    seen = []
    for name in ("a", "b"):
        wanted = order(index, tmp_path / name, lock)
        if name == "b":  # with some of it there already
            (tmp_path / name).mkdir()
            carry_out(tmp_path / "before", order(index, tmp_path / name, lock_of(index, "colours==2.5")))
        carry_out(tmp_path / f"o{name}", wanted)
        env = Home(tmp_path / name / "home").environment(wanted.digest)
        files = sorted(p for p in env.rglob("*") if p.is_file() and not p.is_symlink())
        seen.append([(str(p.relative_to(env)), hashlib.sha256(p.read_bytes()).hexdigest()) for p in files])
    assert seen[0] == seen[1]


def test_what_is_there_is_not_fetched_again(index: Index, tmp_path: Path) -> None:
    """A second environment fetches and compiles only what it has beyond the first."""
    carry_out(tmp_path / "o1", order(index, tmp_path, lock_of(index, "colours==2.5")))
    index.asked.clear()
    _, _, shown = carry_out(tmp_path / "o2", order(index, tmp_path, lock_of(index, "colours==2.5", "shapes==2.0")))
    assert [path for path in index.asked if "/files/" in path] == ["GET /files/shapes/shapes-2.0-py3-none-any.whl"]
    assert shown == "-----> Installing 2 packages, 1 of them here already\n       shapes 2.0\n"


def test_a_source_distribution_is_asked_for(index: Index, tmp_path: Path) -> None:
    """What has no wheel comes back as what must be built first; given the wheel, the environment is made."""
    from tests.buildpacks.index import wheel

    lock = lock_of(index, "plain==1.0", "colours==2.5")
    status, result, shown = carry_out(tmp_path / "o1", order(index, tmp_path, lock))
    assert (status, shown) == (0, "")
    (source,) = result["sources"]
    assert (source["name"], source["file"]["filename"]) == ("plain", "plain-1.0.tar.gz")
    assert not [path for path in index.asked if "/files/" in path]
    name, data = wheel("plain", "1.0")
    (tmp_path / name).write_bytes(data)
    wanted = order(index, tmp_path, lock, built={source["file"]["sha256"]: str(tmp_path / name)})
    status, result, shown = carry_out(tmp_path / "o2", wanted)
    assert (status, result) == (0, {"sources": []})
    assert list(Home(tmp_path / "home").environment(wanted.digest).rglob("plain.py"))


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        (lambda index: setattr(index, "down", True), "build/mirror-unavailable"),
        (lambda index: index.files.pop("shapes"), "build/install-failed"),
        (lambda index: index.files["colours"].update({"colours-2.5-py3-none-any.whl": b"x"}), "build/install-failed"),
    ],
)
def test_an_index_that_changed_since_the_lock(index: Index, tmp_path: Path, harm: Any, code: str) -> None:
    """No environment stands after a failure, nor a part of one, and its cause is told apart."""
    wanted = order(index, tmp_path, lock_of(index, "shapes==2.0", "colours==2.5"))
    harm(index)
    status, result, _shown = carry_out(tmp_path / "o", wanted)
    assert (status, result["error"]) == (1, code)
    home = Home(tmp_path / "home")
    assert [path for path in home.root.rglob("*") if path.is_file() and path.parent != home.chosen] == []


def test_a_damaged_order_is_a_result(tmp_path: Path) -> None:
    """An order that cannot be read is an error in the result, and status 1; no folder is wrong usage."""
    (tmp_path / "order.json").write_text("{}")
    command = [sys.executable, "-I", "-m", "control.install"]
    assert subprocess.run([*command, tmp_path], capture_output=True).returncode == 1
    assert json.loads((tmp_path / "result.json").read_text())["error"] == "build/failed"
    assert subprocess.run(command, capture_output=True).returncode == 2
