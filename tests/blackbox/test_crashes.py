"""kill -9 of anything, alone, together, and in the middle of a deploy: everything serves again, once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.blackbox.project import Platform, Project, eventually

PARTS = ["control", "receiver", "mirror", "nginx", "agent", "hooks"]


@pytest.fixture(scope="module")
def project(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project.create(platform, tmp_path_factory.mktemp("crash") / "app", "phoenix")
    made.pushed("alive")
    return made


@pytest.fixture(autouse=True)
def _whole_again(platform: Platform) -> Iterator[None]:
    yield
    if platform.dae("status").returncode:
        up = platform.dae("up")
        assert up.returncode == 0, up.stderr


def parts(platform: Platform) -> dict[str, int]:
    """The process ids of the platform's parts."""
    found = json.loads(platform.dae("status", "--json").stdout)
    rows = found["parts"] if isinstance(found, dict) else found
    return {row["part"]: int(row["pid"]) for row in rows if row.get("pid")}


def strike(leader: int) -> None:
    """kill -9 of a part with all its processes: gunicorn's worker would end its request when only the master dies."""
    os.killpg(leader, signal.SIGKILL)


def supervisord(platform: Platform) -> int:
    return int((platform.home / "run" / "agent" / "supervisord.pid").read_text())


def processes(platform: Platform, app: str) -> dict[int, int]:
    """All processes of an app, however they came to be: process id -> parent's."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environ = (entry / "environ").read_bytes()
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        mine = f"DAE_APP={app}\0".encode() in environ and str(platform.home).encode() in environ
        if mine:
            found[int(entry.name)] = parent
    return found


def masters(platform: Platform, app: str) -> list[int]:
    """Those whose parent is not one of them."""
    found = processes(platform, app)
    return [pid for pid, parent in found.items() if parent not in found]


def serves(project: Project, text: bytes) -> bool:
    status, _, body = project.get()
    return status == 200 and body == text


@pytest.mark.parametrize("how", [os.kill, os.killpg])
@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_killed(
    platform: Platform, project: Project, part: str, how: Callable[[int, signal.Signals], None]
) -> None:
    """Its supervisor starts it again; the app serves, from one instance, and the next push goes."""
    killed = parts(platform)[part]
    how(killed, signal.SIGKILL)
    eventually(lambda: parts(platform).get(part, killed) != killed)
    eventually(lambda: serves(project, b"alive"))
    eventually(lambda: platform.dae("status").returncode == 0)
    assert project.dae("info", "--json").returncode == 0
    project.commit(f"after {part}")
    done = project.push()
    assert done.returncode == 0, done.stderr
    eventually(lambda: len(masters(platform, "phoenix")) == 1)


def test_an_instance_is_killed(platform: Platform, project: Project) -> None:
    """The instance is started again, once; nothing of the killed one stays."""
    (pid,) = masters(platform, "phoenix")
    before = set(processes(platform, "phoenix"))
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not before & set(processes(platform, "phoenix")) and serves(project, b"alive"))
    assert len(masters(platform, "phoenix")) == 1


def test_supervisord_is_killed(platform: Platform, project: Project) -> None:
    """The app goes on serving; after `dae up` it still does, from one instance."""
    os.kill(supervisord(platform), signal.SIGKILL)
    assert serves(project, b"alive")
    assert platform.dae("up").returncode == 0
    eventually(lambda: serves(project, b"alive"))
    eventually(lambda: len(masters(platform, "phoenix")) == 1)


def test_everything_is_killed(platform: Platform, project: Project) -> None:
    """All at once, as when the power goes; `dae up` brings every live release back."""
    pids = [supervisord(platform), *parts(platform).values(), *masters(platform, "phoenix")]
    for pid in pids:
        strike(pid)
    assert platform.dae("up").returncode == 0
    eventually(lambda: serves(project, b"alive"))
    eventually(lambda: len(masters(platform, "phoenix")) == 1)


SLOW = "import time\ntime.sleep(1.5)\n"


def killed_while_pushing(project: Project, moment: str, pid: int) -> tuple[str, int]:
    """Push, and kill the process group ``pid`` when the output has ``moment``; returns what was said, and the exit."""
    pushing = subprocess.Popen(
        ["git", "push", "dae", "master"],
        cwd=project.folder,
        env=project.platform.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert pushing.stderr is not None
    said = []
    for line in pushing.stderr:
        said.append(line)
        if moment in line:
            strike(pid)
            break
    said.append(pushing.stderr.read())
    return "".join(said), pushing.wait(timeout=120)


STEPS = [(victim, moment) for victim in ("agent", "control") for moment in ("Locking", "Installing", "Running")]


@pytest.mark.parametrize(("victim", "moment"), STEPS)
def test_killed_in_a_step_of_a_build(platform: Platform, project: Project, victim: str, moment: str) -> None:
    """Nothing of the build is left, no half layer is there; the next push builds, and every byte of it is whole."""
    project.git("reset", "--quiet", "--hard", project.remote_head())
    mark = f"mark-{time.time_ns()}"
    number = 10 + STEPS.index((victim, moment))
    files = project.flask(mark)
    files["pip-req.txt"] += f"six==1.{number}.0\n"  # a lock and an environment of its own
    files["app.yaml"] += f"build: ['echo {mark}; sleep $(cat seconds)']\n"
    files["seconds"] = "100"
    project.write(files)
    project.commit(mark)
    said, status = killed_while_pushing(project, moment, parts(platform)[victim])
    assert moment in said
    assert platform.dae("up").returncode == 0
    assert status == 1, said
    assert project.remote_head() != project.head()
    eventually(lambda: not running(mark))
    project.write({"seconds": "0"})
    project.commit("again")
    again = project.push()
    assert again.returncode == 0, again.stderr
    eventually(lambda: serves(project, mark.encode()))
    eventually(lambda: not list((platform.home / "builds").iterdir()), 60)  # control looks every half minute
    verified = project.dae("slugs", "verify", "--json")
    assert verified.returncode == 0, verified.stderr
    assert json.loads(verified.stdout)["damaged"] == []
    project.pushed("alive")


def running(mark: str) -> list[str]:
    """The processes whose command mentions ``mark``, but for git's."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().decode(errors="replace")
            if mark in words and "git" not in words:
                found.append(words)
    return found


@pytest.mark.parametrize("victim", [*PARTS, "supervisord"])
@pytest.mark.parametrize("moment", ["Building", "Releasing"])
def test_killed_in_a_deploy(platform: Platform, project: Project, victim: str, moment: str) -> None:
    """The branch has moved exactly when the new one serves; exit 0 means that it has, a refusal that it has not.

    When what carries the answer is killed, git can only say that the connection was lost; either may be true then.
    """
    version = f"{victim}-{moment}-{time.time_ns()}"
    project.git("reset", "--quiet", "--hard", project.remote_head())
    before = project.get()[2]
    project.write(project.flask(version))
    project.write({"app.py": SLOW + (project.folder / "app.py").read_text()})
    project.commit(version)
    pid = supervisord(platform) if victim == "supervisord" else parts(platform)[victim]
    said, status = killed_while_pushing(project, moment, pid)
    assert platform.dae("up").returncode == 0
    moved = project.remote_head() == project.head()
    eventually(lambda: serves(project, version.encode() if moved else before))
    assert moved or status == 1, said
    assert not (moved and "[remote rejected]" in said), said
    eventually(lambda: len(masters(platform, "phoenix")) == 1)
    listed = json.loads(project.dae("releases", "--json").stdout)
    assert not [r for r in listed if r["state"] == "starting"]
    assert len([r for r in listed if r["state"] == "live" and r["stage"] == "dev"]) == 1
    again = project.push()
    assert again.returncode == 0, again.stderr
    eventually(lambda: serves(project, version.encode()))
    project.pushed("alive")
