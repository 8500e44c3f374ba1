"""Bytecode for code layers, and which interpreter makes it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from buildpacks import compile as compile_module
from buildpacks import find_interpreter
from buildpacks.compile import Compiler, Spare
from buildpacks.interpreters import usable_by_all
from core.errors import DaeError
from tests.processes import alive

PYTHON = find_interpreter().python


def compile_code(path: Path, python: Path, known: Iterable[str] = (), timeout: float = 120) -> tuple[str, ...]:
    with Compiler(python) as compiler:
        return compiler.compile(path, known, timeout)


def compiled(tree: Path) -> list[str]:
    return sorted(str(path.relative_to(tree)) for path in tree.rglob("*.pyc"))


def test_compiles_for_the_final_place(tmp_path: Path) -> None:
    """Tracebacks of a moved layer show where it stands, and Python takes the bytecode without looking at the source."""
    tree, final = tmp_path / "x.tmp", tmp_path / "final"
    (tree / "pkg").mkdir(parents=True)
    (tree / "pkg/mod.py").write_text("def fail():\n    raise ValueError\n")
    assert compile_code(tree, PYTHON) == ()
    tree.rename(final)
    (final / "pkg/mod.py").write_text("raise SystemExit('the source was compiled again')")
    command = [str(PYTHON), "-B", "-c", "from pkg import mod; mod.fail()"]
    ran = subprocess.run(command, cwd=final, capture_output=True, text=True)
    assert f'File "{final}/pkg/mod.py", line 2, in fail' in ran.stderr


def test_other_pythons_files_are_warnings(tmp_path: Path) -> None:
    """A file that this Python cannot parse is named with its line, without its text; the others are compiled."""
    (tmp_path / "old.py").write_text("x = 1\nprint 'password'\n")
    (tmp_path / "new.py").write_text("print('x')\n")
    (tmp_path / "nul.py").write_bytes(b"a\0b")
    (tmp_path / "odd.py").write_bytes(b"# coding: no-such-codec\n")
    (tmp_path / "deep.py").write_text("(" * 90_000)
    warnings = compile_code(tmp_path, PYTHON)
    assert sorted(warning.split(":")[0].split(" ")[0] for warning in warnings) == [
        "deep.py",
        "nul.py",
        "odd.py",
        "old.py",
    ]
    assert any(warning.startswith("old.py line 2: ") for warning in warnings)
    assert "password" not in "".join(warnings)
    assert [Path(path).name.split(".")[0] for path in compiled(tmp_path)] == ["new"]


def test_runs_nothing_of_the_app(tmp_path: Path) -> None:
    """Neither the app's modules nor its sitecustomize are imported by compiling them."""
    for name in ("sitecustomize", "json", "py_compile", "mod"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    assert compile_code(tmp_path, PYTHON) == ()
    assert not (tmp_path / "ran").exists()


def test_follows_no_link(tmp_path: Path) -> None:
    """Links to files, folders, caches and caches' files are neither read through nor written through."""
    outside, tree = tmp_path / "outside", tmp_path / "tree"
    for folder in (outside / "pkg", tree / "a", tree / "b/__pycache__"):
        folder.mkdir(parents=True)
    (outside / "pkg/secret.py").write_text("secret = 'x' 'y' z\n")
    (outside / "victim.pyc").write_text("untouched")
    (tree / "file.py").symlink_to(outside / "pkg/secret.py")
    (tree / "folder").symlink_to(outside / "pkg")
    (tree / "a/__pycache__").symlink_to(outside)
    (tree / "a/mod.py").write_text("x = 1\n")
    (tree / "b/mod.py").write_text("x = 1\n")
    tag = "cpython-" + find_interpreter().series.replace(".", "")
    (tree / f"b/__pycache__/mod.{tag}.pyc").symlink_to(outside / "victim.pyc")
    before = sorted(outside.rglob("*"))
    warnings = compile_code(tree, PYTHON)
    assert sorted(outside.rglob("*")) == before
    assert (outside / "victim.pyc").read_text() == "untouched"
    assert len(warnings) == 2
    assert "secret" not in "".join(warnings)


def test_a_committed_cache_is_not_believed(tmp_path: Path) -> None:
    """Bytecode that came with the commit is replaced by bytecode of the source."""
    (tmp_path / "mod.py").write_text("x = 'source'\n")
    compile_code(tmp_path, PYTHON)
    cache = next(tmp_path.rglob("*.pyc"))
    cache.write_bytes(b"stale")
    compile_code(tmp_path, PYTHON)
    assert b"source" in cache.read_bytes()


def test_deep_folders(tmp_path: Path) -> None:
    """A tree that is deeper than Python's stack is compiled like another."""
    deep = "/".join(["d"] * 600)
    os.makedirs(tmp_path / deep)  # noqa: PTH103 - Path.mkdir calls itself for each parent
    (tmp_path / deep / "mod.py").write_text("x = 1\n")
    assert compile_code(tmp_path, PYTHON) == ()
    assert len(compiled(tmp_path)) == 1


def test_an_interpreter_that_does_not_work(tmp_path: Path) -> None:
    """An interpreter that fails is a failure, not a warning."""
    for known in ((), [f"{number}.py" for number in range(50_000)]):
        with pytest.raises(DaeError, match="build/failed"):
            compile_code(tmp_path, Path("/bin/false"), known)


def test_started_before_there_is_anything(tmp_path: Path) -> None:
    """It waits for its word, and takes what is there then; one that nobody needs ends."""
    with Compiler(PYTHON) as compiler:
        (tmp_path / "code").mkdir()
        for number in range(5000):  # more names than a pipe holds
            (tmp_path / f"code/a_module_of_some_length_{number}.py").touch()
        (tmp_path / "code/new.py").write_text("x = 1\n")
        known = [path.name for path in (tmp_path / "code").glob("a_*.py")]
        assert compiler.compile(tmp_path / "code", known) == ()
    assert len(compiled(tmp_path / "code")) == 1
    with Compiler(PYTHON) as unneeded:
        pid = unneeded._child.pid
    assert not alive(pid)


def test_one_is_kept_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is used once; one that has died, or is another interpreter's, is not; and it ends with who keeps it."""
    monkeypatch.setattr(compile_module, "_LATER", 0)
    (tmp_path / "mod.py").write_text("x = 1\n")
    spare = Spare()
    used = list[Compiler]()
    for _ in range(3):
        with spare.compiler(PYTHON) as compiler:
            assert compiler.compile(tmp_path) == ()
        assert not compiler.lives()
        until(lambda: spare._ready is not None)
        assert spare._ready is not None
        used.append(spare._ready)
    ready = used[-1]
    os.kill(ready._child.pid, signal.SIGKILL)
    until(lambda: not used[-1].lives())
    with spare.compiler(PYTHON) as compiler:
        assert compiler.compile(tmp_path) == ()
    until(lambda: spare._ready is not None)
    assert spare._ready is not None
    ready = spare._ready
    with pytest.raises(DaeError), spare.compiler(Path("/bin/false")) as compiler:
        compiler.compile(tmp_path)
    assert not alive(ready._child.pid)
    with Compiler(PYTHON) as last:
        os.close(last._writer)  # as when its keeper dies
        last._told = True
        assert last._child.wait(30) == 0
    assert len(set(map(id, used))) == 3


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_compiler_that_takes_too_long(tmp_path: Path) -> None:
    """It is ended, and that is said."""
    sleeper = tmp_path / "python"
    sleeper.write_text("#!/bin/sh\nexec sleep 600\n")
    sleeper.chmod(0o755)
    with pytest.raises(DaeError, match="build/timeout"):
        compile_code(tmp_path, sleeper, timeout=0.1)


def test_the_default_interpreter() -> None:
    """Without a version the platform's own base interpreter serves; its id says what its environments depend on."""
    found = find_interpreter()
    assert (
        found == find_interpreter("python") == find_interpreter("python3") == find_interpreter(f"python{found.series}")
    )
    assert found.id.startswith("cpython-{}.{}.{}-".format(*found.version))
    assert found.python.is_absolute()
    assert sys.prefix not in str(found.python)


def test_interpreters_for_other_accounts() -> None:
    """An interpreter below a folder that others may not enter is not given to apps."""
    assert usable_by_all(find_interpreter("", shared=True).python)


def test_reach(tmp_path: Path) -> None:
    """Every parent counts, also behind a symbolic link."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    program = closed / "python"
    program.write_text("")
    program.chmod(0o755)
    (tmp_path / "link").symlink_to(program)
    assert not usable_by_all(tmp_path / "link")
    assert not usable_by_all(tmp_path / "nothing")
    assert usable_by_all(Path("/usr/bin/env"))


@pytest.mark.parametrize("runtime", ["python2", "python27", "python2.7", "python3.99"])
def test_unknown_interpreters(runtime: str) -> None:
    """A Python that is not here is refused with a list of those that are."""
    with pytest.raises(DaeError) as caught:
        find_interpreter(runtime)
    assert caught.value.code == "build/bad-runtime"
    assert f"python{find_interpreter().series}" in caught.value.cause


def install(folder: Path, version: str) -> None:
    """Put a Python into ``folder``: this one, which says that it is another."""
    program = folder / version / "bin" / "python3.99"
    program.parent.mkdir(parents=True, exist_ok=True)
    mine = ", ".join(map(str, sys.version_info[:3]))
    said = "3, 99, " + version.rpartition(".")[2]
    program.write_text(f'#!/bin/sh\n{sys.executable} "$@" | sed "s/\\[{mine}\\]/[{said}]/"\n')
    program.chmod(0o755)


def test_interpreters_that_an_operator_installs(tmp_path: Path) -> None:
    """One that was just put there is found; the newest of its series counts; one that was changed is asked again."""

    def find() -> tuple[int, int, int]:
        return find_interpreter("python3.99", shared=False, folder=tmp_path).version

    with pytest.raises(DaeError, match="build/bad-runtime"):
        find()
    install(tmp_path, "3.99.1")
    assert find() == (3, 99, 1)
    install(tmp_path, "3.99.4")
    assert find() == (3, 99, 4)
    assert find_interpreter(requires=">=3.99", shared=False, folder=tmp_path).version == (3, 99, 4)
    (tmp_path / "3.99.4" / "bin" / "python3.99").unlink()
    assert find() == (3, 99, 1)
    (tmp_path / "3.99.1" / "bin" / "python3.99").unlink()
    install(tmp_path, "3.99.1")
    assert find() == (3, 99, 1)
    (tmp_path / "3.99.1" / "bin" / "python3.99").chmod(0o600)
    with pytest.raises(DaeError, match="build/bad-runtime"):
        find()


def test_a_package_that_breaks_the_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, and the packages beside it are compiled all the same."""
    script = tmp_path / "script.py"
    script.write_text("import os, sys\nif any('bad' in w for w in sys.argv): os.kill(os.getpid(), 9)\n")
    script.write_text(script.read_text() + compile_module.SCRIPT.read_text())
    monkeypatch.setattr(compile_module, "SCRIPT", script)
    for name in ("good", "bad"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "m.py").write_text("x = 1\n")
    left = compile_module.compile_packages([tmp_path / "good", tmp_path / "bad"], find_interpreter().python)
    assert left == [tmp_path / "bad"]
    assert len(list((tmp_path / "good").rglob("*.pyc"))) == 1
