"""``python -I -m runner.launch``: run as supervisor runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import DaeError
from core.paths import Home
from runner import launch, procs
from runner.spec import LaunchSpec, record_path
from runner.strays import reap_strays
from tests.processes import alive
from tests.runner.ground import Ground, until

REPORT = """\
import grp, json, os, resource
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "environ": dict(os.environ), "cwd": os.getcwd(), "umask": os.umask(0), "ids": os.getresuid() + os.getresgid(),
    "groups": [grp.getgrgid(g).gr_name for g in os.getgroups()], "files": resource.getrlimit(resource.RLIMIT_NOFILE),
    "core": resource.getrlimit(resource.RLIMIT_CORE), "gain": status["NoNewPrivs"].strip(),
    "leads": os.getpgrp() == os.getpid(),
}))
"""


def spec(name: str, *code: str, **changes: object) -> LaunchSpec:
    values: dict[str, object] = {
        "name": name,
        "argv": (sys.executable, "-I", "-c", *code),
        "environ": {"ONLY": "this"},
        "cwd": "/",
        "account": None,
        **changes,
    }
    return LaunchSpec(**values)  # type: ignore[arg-type]


def command(home: Home, name: str) -> list[str]:
    return [sys.executable, "-I", "-m", "runner.launch", str(home.root), name]


def start(home: Home, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen(command(home, name), stdout=subprocess.PIPE, text=True, process_group=0)


def report(home: Home, name: str) -> dict[str, object]:
    outcome = subprocess.run(command(home, name), capture_output=True, text=True, check=True, timeout=20)
    data: dict[str, object] = json.loads(outcome.stdout)
    return data


def test_it_looks_where_the_agent_writes() -> None:
    """The launcher's own idea of the agent's folder is core.paths'."""
    assert Path("/h").joinpath(*launch.STATE) == Home(Path("/h")).agent_state


def test_the_program_gets_what_the_spec_says(the_ground: Ground) -> None:
    """Environment (nothing else), folder, umask, limits, no way to gain privileges, a process group of its own."""
    limits = {"nofile": 77, "core": 0}
    spec("report", REPORT, cwd="/usr", umask=0o027, limits=limits).save(the_ground.home)
    found = report(the_ground.home, "report")
    environ = found.pop("environ")
    assert isinstance(environ, dict)
    assert {key: value for key, value in environ.items() if key != "LC_CTYPE"} == {"ONLY": "this"}
    expected = {"cwd": "/usr", "umask": 0o027, "files": [77, 77], "core": [0, 0], "gain": "1", "leads": True}
    assert expected.items() <= found.items()


@pytest.mark.root
def test_root_is_given_up_whole(the_ground: Ground) -> None:
    """Real, effective and saved ids are the account's; of groups it has those of the spec alone."""
    account = the_ground.settings.account
    spec("whoami", REPORT, account=account + "_b1", groups=(account,)).save(the_ground.home)
    found = report(the_ground.home, "whoami")
    ids = found["ids"]
    assert isinstance(ids, list)
    assert 0 not in ids
    assert len(set(ids[:3])) == len(set(ids[3:])) == 1
    assert found["groups"] == [account]


@pytest.mark.root
def test_a_spec_of_somebody_else_is_refused(the_ground: Ground) -> None:
    """A file that another account owns or may write starts nothing."""
    for name, change in (("alien", lambda path: os.chown(path, 1, 1)), ("open", lambda path: path.chmod(0o622))):
        spec(name, "print('ran')").save(the_ground.home)
        change(the_ground.home.agent_state / "specs" / f"{name}.json")
        outcome = subprocess.run(command(the_ground.home, name), capture_output=True, text=True, check=False)
        assert outcome.returncode == 126
        assert "ran" not in outcome.stdout


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "Upper", "a\n"])
def test_names_that_are_none(name: str) -> None:
    """A name that a path would read as its own makes no spec."""
    with pytest.raises(DaeError, match="runner/refused"):
        spec(name, "")


def test_a_spec_survives_its_file(the_ground: Ground) -> None:
    """What is loaded is what was saved; nobody else may read it."""
    made = spec("same", "pass", limits={"nofile": 5}, groups=("a", "b"), die_with_parent=True)
    made.save(the_ground.home)
    assert LaunchSpec.load(the_ground.home, "same") == made
    assert (the_ground.home.agent_state / "specs" / "same.json").stat().st_mode & 0o777 == 0o600


FAMILY = "import os, time; pid = os.fork(); print(os.getpid() if pid else os.getpid(), flush=True); time.sleep(600)"


def family(home: Home, name: str) -> tuple[subprocess.Popen[str], list[int]]:
    """A running group of two; returns its leader's process and all pids."""
    process = start(home, name)
    assert process.stdout is not None
    return process, sorted(int(process.stdout.readline()) for _ in range(2))


@pytest.mark.parametrize("leader_dies", [False, True])
def test_the_previous_group_is_ended_first(the_ground: Ground, leader_dies: bool) -> None:
    """Before a program starts, nothing of its last start is alive, with its leader or without."""
    name = f"twice{int(leader_dies)}"
    spec(name, FAMILY).save(the_ground.home)
    first, pids = family(the_ground.home, name)
    if leader_dies:
        first.kill()
        first.wait()
        assert [pid for pid in pids if alive(pid)]
    second, others = family(the_ground.home, name)
    assert not [pid for pid in pids if alive(pid)]
    assert all(alive(pid) for pid in others)
    os.killpg(second.pid, signal.SIGKILL)
    first.wait()
    second.wait()


def test_a_group_that_took_over_the_number_is_spared(the_ground: Ground) -> None:
    """A record whose leader started at another time names nobody we may end."""
    bystander = subprocess.Popen(["sleep", "600"], process_group=0)
    spec("reused", "print('ran')").save(the_ground.home)
    record = procs.Record("reused", bystander.pid, 1, procs.boot_id())
    pids = the_ground.home.agent_state / "pids"
    pids.mkdir(mode=0o700, exist_ok=True)
    record_path(the_ground.home, "reused").write_text(record.to_text())
    outcome = subprocess.run(command(the_ground.home, "reused"), capture_output=True, text=True, check=True)
    assert outcome.stdout == "ran\n"
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def test_a_stale_socket_is_removed(the_ground: Ground) -> None:
    """What a killed incarnation left at DAE_SOCKET does not keep the next from binding."""
    path = the_ground.home.root / "run" / "stale.s"
    bind = f"import socket; socket.socket(socket.AF_UNIX).bind({str(path)!r}); print('bound')"
    spec("binder", bind, environ={"DAE_SOCKET": str(path)}).save(the_ground.home)
    for _ in range(2):
        outcome = subprocess.run(command(the_ground.home, "binder"), capture_output=True, text=True, check=True)
        assert outcome.stdout == "bound\n"
    path.unlink()


STUBBORN = (
    "import os, signal, time; signal.signal(15, signal.SIG_IGN); os.fork(); print('up', flush=True); time.sleep(600)"
)


def test_strays_are_reaped(own_ground: Ground) -> None:
    """Groups that outlived their supervisor end, even those that ignore SIGTERM; what ended by itself is forgotten."""
    home = own_ground.home
    for name, code in (("meek", FAMILY), ("stubborn", STUBBORN), ("gone", "print('up')")):
        spec(name, code).save(home)
    running = {name: start(home, name) for name in ("meek", "stubborn", "gone")}
    for process in running.values():
        assert process.stdout is not None
        process.stdout.readline()
    running["gone"].wait()
    assert sorted(reap_strays(home, grace=0.3)) == ["meek", "stubborn"]
    for process in running.values():
        until(lambda process=process: not procs.groups().get(process.pid), "the group is gone")  # type: ignore[misc]
        process.wait()
    assert reap_strays(home) == []


def test_stat_of_a_name_with_brackets() -> None:
    """The program's name may hold anything, also what looks like the next fields."""
    found = procs.parse_stat(5, "5 (a) R 9 9 (x) S 1 42 " + "0 " * 16 + "777 0 0\n")
    assert (found.state, found.group, found.start) == ("S", 42, 777)


@pytest.mark.parametrize(
    ("boot", "leader", "members", "ours"),
    [
        ("b", 100, [100, 150], True),
        ("b", None, [100, 150], True),
        ("b", None, [99], False),
        ("b", 101, [101], False),
        ("other", 100, [100], False),
        ("b", None, [], False),
    ],
)
def test_whose_group_it_is(boot: str, leader: int | None, members: list[int], ours: bool) -> None:
    """Ours: this boot, and the recorded leader, or a leader that is gone and members no older than it."""
    record = procs.Record("x", 7, 100, "b")
    stats = [procs.Stat(7 + n, "S", 7, start) for n, start in enumerate(members)]
    found = None if leader is None else procs.Stat(7, "S", 7, leader)
    assert procs.is_ours(record, stats, found, boot) is ours
