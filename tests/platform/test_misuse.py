"""What goes wrong before anything runs: said in one line with its code and what to type."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from control.output import Output
from control.platform import checks, packages
from core.errors import DaeError
from core.paths import Home
from tests.conftest import RunningPlatform

Make = Callable[[], RunningPlatform]


def test_missing_programs_name_the_one_command(tmp_path: Path) -> None:
    """A plain user without nginx and git is told what an administrator types."""
    with pytest.raises(DaeError) as caught:
        packages.ensure(Output(print), uid=1000, search_path=str(tmp_path))
    assert caught.value.code == "platform/missing"
    assert "sudo apt-get install -y nginx-light git" in caught.value.hint


def test_one_missing_program_names_one_package(tmp_path: Path) -> None:
    """What is there is not asked for."""
    (tmp_path / "git").touch(mode=0o755)
    assert packages.missing(str(tmp_path)) == ["nginx"]
    assert packages.command(["nginx"]) == "sudo apt-get install -y nginx-light"


def test_port_taken(new_platform: Make) -> None:
    """A port on which something else listens is refused before anything is made."""
    made = new_platform()
    with socket.socket() as other:
        other.bind(("127.0.0.1", made.port))
        other.listen()
        refused = made.dae("up")
    assert refused.returncode == 1
    assert "platform/port-taken" in refused.stderr
    assert "DAE_PORT" in refused.stderr
    assert not (made.home / "state").exists()


def test_home_too_long(new_platform: Make) -> None:
    """A home under which sockets would not fit is refused with how much shorter it must be."""
    made = new_platform()
    refused = made.dae("up", env={"DAE_HOME": "/tmp/" + "x" * 80})
    assert refused.returncode == 1
    assert "runner/path-too-long" in refused.stderr
    assert "bytes shorter" in refused.stderr


def test_home_of_something_else(new_platform: Make) -> None:
    """A folder with files of somebody else is neither made a home nor erased."""
    made = new_platform()
    other = made.folder / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    for verb in (["up"], ["down", "--erase", "--confirm", str(other)]):
        refused = made.dae(*verb, env={"DAE_HOME": str(other)})
        assert refused.returncode == 1, verb
        assert "settings/invalid" in refused.stderr, verb
    assert [path.name for path in other.iterdir()] == ["thesis.txt"]


def test_erase_wants_the_path(platform: RunningPlatform) -> None:
    """``--erase`` without the home's path typed does nothing."""
    refused = platform.dae("down", "--erase")
    assert refused.returncode == 1
    assert "app/confirm" in refused.stderr
    assert platform.get("localhost", "/")[0] == 200


@pytest.mark.parametrize("path", ["/tmp/a b", "/tmp/a;b", "/tmp/a%b", "/tmp/a\nb", "/tmp/ä", "/"], ids=ascii)
def test_unsafe_paths(path: str) -> None:
    """No character that nginx's or supervisor's configuration reads as its own gets into a home's path."""
    with pytest.raises(DaeError) as caught:
        checks.check_home(Home(Path(path)), os.geteuid())
    assert caught.value.code == "settings/invalid"


@pytest.mark.skipif(os.geteuid() != 0, reason="root may enter any folder, others need the way opened")
def test_a_closed_way_is_opened_in_scratch_folders_only(tmp_path: Path) -> None:
    """Our own folder under /tmp is opened for passing; any other is refused with the command."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    said: list[str] = []
    checks.open_way(Home(closed / "home"), Output(said.append))
    assert closed.stat().st_mode & 0o777 == 0o701
    assert any(str(closed) in line for line in said)
    elsewhere = Path("/var/lib/dae-test-closed")
    elsewhere.mkdir(mode=0o700)
    try:
        with pytest.raises(DaeError) as caught:
            checks.open_way(Home(elsewhere / "home"), Output(said.append))
        assert f"chmod o+x {elsewhere}" in caught.value.hint
    finally:
        elsewhere.rmdir()
