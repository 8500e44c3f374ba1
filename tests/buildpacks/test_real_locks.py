"""Locks that real versions of poetry, pipenv, uv and pip wrote, as they are, and after a change of their project.

What stands in `locks/` is not edited: each folder is named after the manager that wrote it, for an index at INDEX.
Whether a change makes the lock stale is what that manager itself said of it (`poetry check --lock`, `pipenv verify`).
"""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path

import pytest

from buildpacks import detect
from buildpacks.foreign import ForeignLock, pylock
from buildpacks.policy import Policy
from core.errors import DaeError
from tests.buildpacks.test_foreign import FACTS

INDEX = "http://127.0.0.1:47811/simple/"
LOCKS = Path(__file__).with_name("locks")
OLD, PEP621, PIPENV = ("poetry-1.2", "poetry-1.8", "poetry-2.5"), ("poetry-2.5-project",), ("pipenv-2026.10",)
PYLOCK = ("uv-0.13-pylock", "pip-26.3-pylock")


def lock_in(folder: Path, file: str = "", old: str = "", new: str = "") -> ForeignLock:
    """The lock of a recorded folder; ``file`` of it is changed before it is read."""
    if file:
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new))
    lock = detect(folder, Policy(lambda: (INDEX,))).lock
    assert lock is not None
    return lock


def copied(name: str, tmp_path: Path) -> Path:
    shutil.copytree(LOCKS / name, tmp_path / name)
    (tmp_path / name / "Procfile").write_text("web: x\n")
    return tmp_path / name


@pytest.mark.parametrize("name", [*OLD, *PEP621, *PIPENV, *PYLOCK])
def test_what_they_say(tmp_path: Path, name: str) -> None:
    """What the project requires for this interpreter, and what that leads to; folders of the commit are on the path."""
    lock = lock_in(copied(name, tmp_path))
    found = {project: pin.version for project, pin in lock.pins(FACTS).items()}
    assert found == {"colours": "1.5", "needs-old": "1.0", "shapes": "1.0"}
    assert lock.folders == (() if name in (*PIPENV, *PYLOCK) else ("libs/lib",))


#: Where, what, instead of what; and what the error says, empty where nothing is wrong.
CHANGES = [
    (OLD, 'version = "1"', 'version = "2"', ""),
    (OLD, "[tool.poetry.extras]", "# so it is\n[tool.poetry.extras]", ""),
    (OLD, "^1.0", "^1.1", "dependencies: shapes ^1.1 is required, and it holds shapes 1.0"),
    (OLD, "^3.9", "^3.10", "python: it has ^3.9, pyproject.toml ^3.10"),
    (OLD, '"<2"', '"<1"', "group dev: linting <1 is required, and it holds linting 1.0"),
    (OLD, '"<2"', '"<3"', "what pyproject.toml requires, or where it comes from, was changed after it was made"),
    (OLD, 'extra = ["tools"]', 'more = ["tools"]', "extra extra: it has one, pyproject.toml not; extra more: it has"),
    (OLD, "linux", "win32", "what pyproject.toml requires, or where it comes from"),
    (OLD, "[[tool.poetry.source]]", '[[tool.poetry.source]]\nlinks = "x"', "or where it comes from, was changed"),
    (PEP621, 'version = "1"', 'version = "2"', ""),
    (PEP621, "[project]\n", "[tool.other]\na = 1\n[project]\n", ""),
    (PEP621, ">=1,<2", ">=1.5,<2", "dependencies: shapes <2,>=1.5 is required, and it holds shapes 1.0"),
    (PEP621, ">=3.9,<4", ">=3.10,<4", "python: it has >=3.9,<4, pyproject.toml >=3.10,<4"),
    (PEP621, "linting<2", "linting>=2", "group dev: linting >=2 is required, and it holds linting 1.0"),
    (PEP621, "[dependency-groups]", '[dependency-groups]\nx = ["tools"]', "group x: tools is required, and it holds"),
    (PEP621, 'extra = ["tools"]', 'extra = ["tools", "idna"]', "extra extra: idna is required, and it holds no idna"),
    (PIPENV, "[docs]", "# so it is\n[docs]", ""),
    (PIPENV, "[docs]", "[scripts]\nx = 'y'\n[docs]", ""),
    (PIPENV, "==1.0", "==2.0", "[packages]: shapes==2.0 is required, and it holds shapes 1.0"),
    (PIPENV, '"<2"', '"<1"', "[dev-packages]: linting<1 is required, and it holds linting 1.0"),
    (PIPENV, 'tools = "*"', 'idna = "*"', "[docs]: idna is required, and it holds no idna"),
    (PIPENV, '"3.11"', '"3.12"', "python_version: it has 3.11, Pipfile 3.12"),
    (PIPENV, "python_version", "python_full_version", "python_full_version: it has none, Pipfile 3.11; python_version"),
    (PIPENV, "127.0.0.1", "localhost", "source: it has http://127.0.0.1:47811/simple/, Pipfile http://localhost"),
    (PIPENV, "linux", "win32", "Pipfile was changed after it was made"),
]


@pytest.mark.parametrize(("name", "old", "new", "says"), [(name, *rest) for names, *rest in CHANGES for name in names])
def test_changes(tmp_path: Path, name: str, old: str, new: str, says: str) -> None:
    """A lock is refused when its manager says that it is stale, with what can be told, and the command."""
    file, command = ("Pipfile", "pipenv lock") if name in PIPENV else ("pyproject.toml", "poetry lock")
    lock = lock_in(copied(name, tmp_path), file, old, new)
    if not says:
        assert lock.pins(FACTS)
        return
    with pytest.raises(DaeError) as caught:
        lock.pins(FACTS)
    assert (caught.value.code, caught.value.hint.split("'")[1]) == ("build/lock-outdated", command)
    assert says in caught.value.cause


@pytest.mark.parametrize("name", PYLOCK)
def test_a_pylock_of_other_requirements(tmp_path: Path, name: str) -> None:
    """It is refused when pyproject.toml requires more; the command that is shown leaves groups for developers out."""
    lock = lock_in(copied(name, tmp_path), "pyproject.toml", "shapes>=1,<2", "shapes>=1.5,<2")
    with pytest.raises(DaeError, match=r"shapes") as caught:
        lock.pins(FACTS)
    assert (caught.value.code, caught.value.hint.split("'")[1]) == ("build/lock-outdated", pylock.COMMAND)
    said = (LOCKS / PYLOCK[0] / "pylock.toml").read_text()
    assert pylock.COMMAND in said  # as uv, which was called so, says in its first lines
    assert "linting" not in said


@pytest.mark.parametrize(
    ("wanted", "range_", "note"),
    [
        ('python_version = "3.11"', "==3.11.*", ()),
        ('python_full_version = "3.11.1"', "==3.11.*", ("Pipfile asks for 3.11.1; this platform has 3.11.2",)),
    ],
)
def test_the_python_of_a_pipfile(tmp_path: Path, wanted: str, range_: str, note: tuple[str, ...]) -> None:
    """It says which interpreter is wanted; another patch level of its series is told."""
    folder = copied(PIPENV[0], tmp_path)
    (folder / "Pipfile").write_text((folder / "Pipfile").read_text().replace('python_version = "3.11"', wanted))
    python = detect(folder, Policy(lambda: (INDEX,))).python
    assert (python.requires, python.required_by) == (range_, "Pipfile")
    told = python.notes((3, 11, 2), datetime.date(2026, 1, 1))
    assert tuple(line.partition(", of")[0] for line in told) == note


def test_a_folder_outside(tmp_path: Path) -> None:
    """It is not pushed, and the error says so."""
    folder = copied("poetry-2.5", tmp_path)
    lock = lock_in(folder, "poetry.lock", 'url = "libs/lib"', 'url = "../lib"')
    with pytest.raises(DaeError, match=r"poetry\.lock: lib: the folder \.\./lib is outside the repository") as caught:
        lock.pins(FACTS)
    assert "move it into the repository" in caught.value.hint
