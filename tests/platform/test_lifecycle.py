"""``dae up``, ``status``, ``doctor``, ``down``: on a real platform, as its operator uses them."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import RunningPlatform, bring_up
from tests.processes import alive

PARTS = ["nginx", "agent", "control", "receiver", "mirror", "hooks"]
Make = Callable[[], RunningPlatform]


def parts(platform: RunningPlatform) -> dict[str, dict[str, object]]:
    found = platform.dae("status", "--json")
    return {row["part"]: row for row in json.loads(found.stdout)["parts"]}


def state_of(home: Path) -> dict[str, tuple[int, int]]:
    """Every file that a second ``up`` might touch: inode and time of the last change."""
    folders = (home / "platform", home / "run" / "agent", home / "router", home / "run" / "githooks")
    paths = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}


def test_up_again_changes_nothing(platform: RunningPlatform) -> None:
    """The second ``up`` restarts no part, rewrites no file, and says so."""
    pids, files = {name: row["pid"] for name, row in parts(platform).items()}, state_of(platform.home)
    again = bring_up(platform)
    assert "nothing changed" in again.stdout
    assert {name: row["pid"] for name, row in parts(platform).items()} == pids
    assert state_of(platform.home) == files


def test_status_shows_every_part(platform: RunningPlatform) -> None:
    """Each part of the Procfile runs, with a pid and a start, and answers at its door."""
    found = parts(platform)
    assert sorted(found) == sorted(PARTS)
    for row in found.values():
        assert row["state"] == "running", row
        assert row["ok"] is True, row
        assert isinstance(row["pid"], int)
        assert row["pid"] > 1
    table = platform.dae("status")
    assert table.returncode == 0
    assert all(name in table.stdout for name in PARTS)


def test_the_doors_answer(platform: RunningPlatform) -> None:
    """Pages, API, index and git are paths on one host."""
    for path, expected in (("/", 200), ("/api/v1/status", 200), ("/pypi/simple/", 200), ("/git/x.git/info/refs", 401)):
        assert platform.get("localhost", path)[0] == expected, path


def test_the_invoking_user_is_an_administrator(platform: RunningPlatform) -> None:
    """``up`` left a token that the API takes, readable by nobody else."""
    who = json.loads(platform.dae("whoami", "--json").stdout)
    assert who["admin"] is True
    assert (platform.folder / "config" / "credentials.json").stat().st_mode & 0o077 == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="accounts exist on root installs only")
def test_only_what_must_be_is_root(platform: RunningPlatform) -> None:
    """nginx's master and the agent are root; every other part runs as the platform's account."""
    owners = {name: Path(f"/proc/{row['pid']}").stat().st_uid for name, row in parts(platform).items()}
    assert {name for name, uid in owners.items() if uid == 0} == {"nginx", "agent"}
    assert len({uid for uid in owners.values() if uid != 0}) == 1


def test_doctor_is_content(platform: RunningPlatform) -> None:
    """A healthy platform has no finding that fails; what the host cannot enforce is said as a warning."""
    found = platform.dae("doctor", "--json")
    levels = {row["subject"]: row["level"] for row in json.loads(found.stdout)}
    assert found.returncode == 0, found.stdout
    assert {levels[part] for part in PARTS} == {"ok"}
    assert "fail" not in levels.values()


def test_down_stops_everything(new_platform: Make) -> None:
    """After ``down`` no process of the home is left and the port is free; a second one says that nothing runs."""
    made = new_platform()
    bring_up(made)
    pids = [int(str(row["pid"])) for row in parts(made).values()]
    down = made.dae("down")
    assert down.returncode == 0, down.stderr
    assert not [pid for pid in pids if alive(pid)]
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", made.port)) != 0
    assert "Nothing runs" in made.dae("down").stdout
    gone = made.dae("status")
    assert gone.returncode == 1
    assert "platform/not-running" in gone.stderr
    sick = made.dae("doctor")
    assert sick.returncode == 1
    assert "dae up" in sick.stdout
    bring_up(made)
    assert all(row["ok"] for row in parts(made).values())


def test_up_after_supervisord_was_killed(new_platform: Make) -> None:
    """``kill -9`` of supervisord leaves its children; ``up`` ends them and starts one of each."""
    made = new_platform()
    bring_up(made)
    before = {int(str(row["pid"])) for row in parts(made).values()}
    os.kill(int((made.home / "run" / "agent" / "supervisord.pid").read_text()), signal.SIGKILL)
    bring_up(made)
    after = {int(str(row["pid"])) for row in parts(made).values()}
    assert not before & after
    assert not [pid for pid in before if alive(pid)]


def test_two_at_once(new_platform: Make) -> None:
    """Two ``up`` at the same time: both succeed, and there is one platform."""
    from concurrent.futures import ThreadPoolExecutor

    made = new_platform()
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(lambda _: made.dae("up"), range(2)))
    assert [outcome.returncode for outcome in outcomes] == [0, 0], outcomes
    assert len(parts(made)) == len(PARTS)


def test_another_port(new_platform: Make) -> None:
    """``up`` with another setting restarts what it concerns, and the platform is found at the new address."""
    made = new_platform()
    bring_up(made)
    agent = parts(made)["agent"]["pid"]
    other = RunningPlatform(made.folder, port=_free())
    assert "nothing changed" not in bring_up(other).stdout
    assert other.get("localhost", "/")[0] == 200
    assert parts(other)["agent"]["pid"] != agent


def _free() -> int:
    from tests.conftest import free_port

    return free_port()
