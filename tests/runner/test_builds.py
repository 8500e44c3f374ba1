"""Builds in their account, and what is taken back of them."""

from __future__ import annotations

import dataclasses
import os
import pwd
import shutil
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.errors import DaeError
from runner import procs, seal
from runner.build import Builder
from runner.stream import stream
from tests.runner.ground import ROOT, Ground, until

OnLine = Callable[[str], None]


@pytest.fixture
def work(the_ground: Ground) -> Iterator[Callable[[int], Path]]:
    """Makes the work folder of a build, as control does: closed, and the platform's account's."""
    made = []

    def make(number: int) -> Path:
        path = the_ground.home.builds / str(number)
        path.mkdir(mode=0o700)
        (path / "job.json").write_text("{}")
        for entry in (path, path / "job.json"):
            if ROOT:
                shutil.chown(entry, the_ground.settings.account, the_ground.settings.account)
        made.append(path)
        return path

    yield make
    for path in made:
        shutil.rmtree(path, ignore_errors=True)


def builder(ground: Ground, code: str, timeout: int = 20) -> Builder:
    """A builder whose worker is a few lines of Python, run in the work folder."""
    settings = dataclasses.replace(ground.settings, build_timeout=timeout)
    return Builder(settings, ground.home, ground.accounts, (sys.executable, "-I", "-c", code))


GOOD = """\
import json, os, pathlib
print("building", flush=True)
env = pathlib.Path("wheel/bin"); env.mkdir(parents=True)
(env / "tool").write_text("x"); (env / "tool").chmod(0o6777)
(env / "data").write_text("x"); (env / "data").chmod(0o600)
os.link(env / "data", env / "again")
pathlib.Path("wheel/secret").mkdir(mode=0o700)
os.mkfifo("pipe"); os.symlink("/etc/shadow", "stray")
found = {"uid": os.getuid(), "home": os.environ["HOME"], "environ": sorted(os.environ)}
json.dump(found, open("result.json", "w"))
"""


def test_a_build_is_taken_back(
    the_ground: Ground, work: Callable[[int], Path], on_line: OnLine, lines: list[str]
) -> None:
    """It ran as its slot's account; afterwards all is the platform's, closed to writers, without set-id bits."""
    path = work(1)
    result = builder(the_ground, GOOD).build(1, on_line)
    assert lines == ["building"]
    assert result["home"] == str(path)
    assert not [name for name in result["environ"] if name.startswith("DAE_")]
    owner = os.getuid()
    if ROOT:
        owner = pwd.getpwnam(the_ground.settings.account).pw_uid
        assert result["uid"] == pwd.getpwnam(the_ground.settings.account + "_b1").pw_uid
    for entry in [path, *path.rglob("*")]:
        found = entry.lstat()
        assert found.st_uid == owner, entry
        assert stat.S_ISLNK(found.st_mode) or found.st_mode & 0o6022 == 0, entry
    assert stat.S_IMODE((path / "wheel/bin/tool").stat().st_mode) == 0o755
    assert stat.S_IMODE((path / "wheel/bin/data").stat().st_mode) == 0o644
    assert not os.path.lexists(path / "pipe")
    assert not os.path.lexists(path / "stray")


@pytest.mark.parametrize(
    "evil",
    [
        "os.symlink('/etc/shadow', 'wheel/x')",
        "os.symlink('../../..', 'wheel/x')",
        "os.mkfifo('wheel/x')",
        "socket.socket(socket.AF_UNIX).bind('wheel/x')",
    ],
)
def test_what_no_layer_may_hold(the_ground: Ground, work: Callable[[int], Path], on_line: OnLine, evil: str) -> None:
    """Links out of the tree and special files fail the build; nothing of it stays."""
    path = work(2)
    code = f"import os, socket\nos.mkdir('wheel')\n{evil}\nopen('result.json', 'w').write('{{}}')\n"
    with pytest.raises(DaeError, match=r"build/failed.*wheel/x"):
        builder(the_ground, code).build(2, on_line)
    assert not path.exists()


def with_code(path: Path) -> Path:
    """A checkout in a work folder, as control leaves it: with a link of the commit."""
    code = path / "code"
    code.mkdir()
    (code / "app.py").write_text("x")
    (code / "link").symlink_to("app.py")
    if ROOT:
        owner = path.stat()
        for entry in (code, code / "app.py", code / "link"):
            os.chown(entry, owner.st_uid, owner.st_gid, follow_symlinks=False)
    return code


def test_a_checkout_comes_back(the_ground: Ground, work: Callable[[int], Path], on_line: OnLine) -> None:
    """Links stay links, the commit's and those of a step, and lead nobody anywhere; modes and owners are ours."""
    path = work(21)
    code = with_code(path)
    steps = """\
import os
os.chdir("code")
open("app.py", "a").write("y"); os.chmod("app.py", 0o6777)
os.mkdir("made", 0o700); open("made/file", "w").write("z"); os.link("made/file", "made/again")
os.symlink("../app.py", "made/own"); os.symlink("/etc/shadow", "made/out")
open("../result.json", "w").write("{}")
"""
    before = Path("/etc/shadow").stat()
    builder(the_ground, steps).build(21, on_line)
    owner = pwd.getpwnam(the_ground.settings.account).pw_uid if ROOT else os.getuid()
    assert {entry.lstat().st_uid for entry in [code, *code.rglob("*")]} == {owner}
    assert (code / "app.py").read_text() == "xy"
    assert stat.S_IMODE((code / "app.py").stat().st_mode) == 0o755
    assert stat.S_IMODE((code / "made").stat().st_mode) == 0o755
    assert str((code / "link").readlink()) == "app.py"
    assert str((code / "made/own").readlink()) == "../app.py"
    assert str((code / "made/out").readlink()) == "/etc/shadow", "where links lead is for control to look at"
    after = Path("/etc/shadow").stat()
    assert (before.st_uid, before.st_mode) == (after.st_uid, after.st_mode)


@pytest.mark.parametrize(
    "evil",
    [
        "os.mkfifo('code/x')",
        "socket.socket(socket.AF_UNIX).bind('code/x')",
        "os.rename('code', 'c'); os.symlink('/etc', 'code')",
        "os.rename('code', 'c'); os.symlink('c', 'code')",
        "os.makedirs('code/' + '/'.join(['d'] * 120))",
    ],
)
def test_what_no_checkout_may_hold(the_ground: Ground, work: Callable[[int], Path], on_line: OnLine, evil: str) -> None:
    """Special files, a link in the folder's own place, bottomless folders: the build fails and nothing stays."""
    path = work(22)
    with_code(path)
    code = f"import os, socket\n{evil}\nopen('result.json', 'w').write('{{}}')\n"
    with pytest.raises(DaeError, match=r"build/unsafe-tree.*code"):
        builder(the_ground, code).build(22, on_line)
    assert not path.exists()
    assert Path("/etc").stat().st_uid == 0


@pytest.mark.root
def test_files_of_others_are_not_taken(the_ground: Ground, tmp_path: Path) -> None:
    """A hard link to another account's file is refused, and the file stays its owner's."""
    tree = the_ground.home.builds / "linked"
    (tree / "wheel").mkdir(parents=True)
    secret = the_ground.home.builds / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    os.chown(secret, 1, 1)
    os.link(secret, tree / "wheel" / "x")
    slot = pwd.getpwnam(the_ground.settings.account + "_b1").pw_uid
    for path in (tree, tree / "wheel"):
        os.chown(path, slot, slot)
    owners = seal.Owners(frozenset({slot}), frozenset({slot}), 0, 0)
    with pytest.raises(DaeError, match="build/failed"):
        seal.seal(tree, owners)
    assert (secret.stat().st_uid, stat.S_IMODE(secret.stat().st_mode)) == (1, 0o600)
    secret.unlink()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("raise SystemExit(3)", "build/failed.*status 3"),
        ("import os; os.kill(os.getpid(), 9)", "build/failed.*signal 9"),
        ("open('result.json', 'w').write('[]')", "build/failed"),
        ("open('result.json', 'w').write('{')", "build/failed"),
        ("import os; os.symlink('/etc/passwd', 'result.json')", "build/failed"),
        (
            "import json; json.dump({'error': 'build/unresolvable', 'cause': 'no'}, open('result.json', 'w'))",
            "unresolvable: no",
        ),
        ("import json; json.dump({'error': 'auth/forbidden'}, open('result.json', 'w'))", "build/failed"),
        ("import time; time.sleep(600)", "build/timeout"),
    ],
)
def test_builds_that_fail(
    the_ground: Ground, work: Callable[[int], Path], on_line: OnLine, code: str, expected: str
) -> None:
    """Each way to end badly has its error; the build's account chooses among errors of builds only."""
    path = work(3)
    with pytest.raises(DaeError, match=expected):
        builder(the_ground, code, timeout=1 if "sleep" in code else 20).build(3, on_line)
    if ROOT:
        assert path.stat().st_uid == pwd.getpwnam(the_ground.settings.account).pw_uid


ESCAPE = """\
import os, time
if not os.fork():
    os.setsid()
    if not os.fork():
        open("pid.txt", "w").write(str(os.getpid()))
        time.sleep(600)
time.sleep(600)
"""


@pytest.mark.root
def test_nothing_of_a_build_survives(the_ground: Ground, work: Callable[[int], Path], on_line: OnLine) -> None:
    """Also a process that left the group and the session ends with the build, when nobody waits for it any more."""
    path = work(4)
    with pytest.raises(DaeError, match="push/cancelled"):
        builder(the_ground, ESCAPE).build(
            4, on_line, lambda: (path / "pid.txt").exists() and (path / "pid.txt").read_text() != ""
        )
    assert procs.of_uid(pwd.getpwnam(the_ground.settings.account + "_b1").pw_uid) == []


def test_builds_wait_for_a_slot(the_ground: Ground, work: Callable[[int], Path]) -> None:
    """A third build waits, says so, and runs when one of the two others is done."""
    code = (
        "import os, time\nwhile not os.path.exists('../go'): time.sleep(0.02)\nopen('result.json', 'w').write('{}')\n"
    )
    made, said, results = builder(the_ground, code), list[str](), list[object]()
    for number in (11, 12, 13):
        work(number)
    threads = [threading.Thread(target=lambda n=n: results.append(made.build(n, said.append))) for n in (11, 12, 13)]
    for thread in threads:
        thread.start()
    until(lambda: said, "the third says that it waits")
    go = the_ground.home.builds / "go"
    go.touch()
    for thread in threads:
        thread.join(30)
    go.unlink()
    assert results == [{}, {}, {}]
    assert len(said) == 1


def test_the_real_worker_reports_a_bad_job(the_ground: Ground, work: Callable[[int], Path], on_line: OnLine) -> None:
    """The program that builds can be run by the build's account, and its error comes through."""
    work(5)
    with pytest.raises(DaeError, match="build/failed") as caught:
        Builder(the_ground.settings, the_ground.home, the_ground.accounts).build(5, on_line)
    assert "no result" not in caught.value.cause


def test_no_work_folder(the_ground: Ground, on_line: OnLine) -> None:
    """A build that nobody prepared, or that is a link to elsewhere, is refused."""
    link = the_ground.home.builds / "7"
    link.symlink_to("/etc")
    for number in (6, 7):
        with pytest.raises(DaeError, match="build/failed"):
            builder(the_ground, "").build(number, on_line)
    link.unlink()
    assert Path("/etc").stat().st_uid == 0


def test_output_is_streamed_and_bounded(on_line: OnLine, lines: list[str]) -> None:
    """Lines come as they are written, the last one without a newline too; the status is the program's."""
    ended = stream([sys.executable, "-c", "print('a'); print('b', end=''); raise SystemExit(4)"], on_line, timeout=20)
    assert (lines, ended.status, ended.timed_out) == (["a", "b"], 4, False)


def test_a_closed_output_is_not_an_end(on_line: OnLine, lines: list[str]) -> None:
    """A program that closes its output is waited for all the same."""
    code = "import os, sys; print('x', flush=True); os.close(1); os.close(2); import time; time.sleep(0.3); os._exit(5)"
    assert stream([sys.executable, "-c", code], on_line, timeout=20).status == 5
    assert lines == ["x"]


def test_a_listener_that_fails_ends_the_program(tmp_path: Path) -> None:
    """When the lines can no longer be handed on, the program is killed."""
    pids: list[int] = []

    def fail(line: str) -> None:
        pids.append(int(line))
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        stream(
            [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"], fail, timeout=20
        )
    assert not procs.groups().get(pids[0])
