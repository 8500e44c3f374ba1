"""Accounts and folders of apps."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from core.errors import DaeError
from runner import procs
from tests.processes import alive
from tests.runner.ground import Ground, until


def modes(ground: Ground, app: str) -> dict[str, int]:
    home = ground.home
    folder = home.app_home(app)
    paths = {
        "home": folder,
        "perm": folder / "perm",
        "tmp": folder / "tmp",
        "run": home.app_run(app),
        "logs": home.app_logs(app),
    }
    return {name: stat.S_IMODE(path.stat().st_mode) for name, path in paths.items()}


@pytest.mark.root
def test_an_app_has_an_account(the_ground: Ground) -> None:
    """It cannot log in, its group holds nginx's workers, its folders are closed to all others."""
    the_ground.apps.add("lodger")
    name = the_ground.accounts.ensure_app("lodger")
    assert name is not None
    user = pwd.getpwnam(name)
    assert (user.pw_shell, user.pw_dir) == ("/usr/sbin/nologin", str(the_ground.home.app_home("lodger")))
    assert grp.getgrgid(user.pw_gid).gr_mem == [the_ground.settings.www_account]
    assert modes(the_ground, "lodger") == {"home": 0o700, "perm": 0o700, "tmp": 0o700, "run": 0o2750, "logs": 0o750}
    assert the_ground.home.app_home("lodger").stat().st_uid == user.pw_uid
    assert the_ground.home.app_logs("lodger").stat().st_uid == 0
    assert the_ground.accounts.ensure_app("lodger") == name
    assert pwd.getpwnam(name) == user


@pytest.mark.root
def test_an_app_cannot_redirect_us(the_ground: Ground, tmp_path: Path) -> None:
    """A link where a folder of the app should be is not followed: its target keeps owner and mode."""
    the_ground.apps.add("tricky")
    the_ground.accounts.ensure_app("tricky")
    target = tmp_path / "target"
    target.mkdir(mode=0o755)
    perm = the_ground.home.app_home("tricky") / "perm"
    perm.rmdir()
    perm.symlink_to(target)
    with pytest.raises(OSError, match="perm"):
        the_ground.accounts.ensure_app("tricky")
    assert (target.stat().st_uid, stat.S_IMODE(target.stat().st_mode)) == (0, 0o755)
    the_ground.accounts.remove_app("tricky")
    assert target.is_dir()


@pytest.mark.root
def test_a_removed_app_leaves_nothing(the_ground: Ground) -> None:
    """Neither account nor group nor a process in a group of its own."""
    name = the_ground.accounts.ensure_app("leaving")
    assert name is not None
    process = subprocess.Popen(["sleep", "600"], user=name, group=name, extra_groups=[], start_new_session=True)
    the_ground.accounts.remove_app("leaving")
    assert not alive(process.pid)
    process.wait()
    for find in (pwd.getpwnam, grp.getgrnam):
        with pytest.raises(KeyError):
            find(name)
    the_ground.accounts.remove_app("leaving")


@pytest.mark.root
def test_a_renamed_app_keeps_its_ids(the_ground: Ground) -> None:
    """So nothing that it owns has to change hands."""
    before = the_ground.accounts.ensure_app("oldname")
    the_ground.apps.update({"oldname", "newname"})
    assert before is not None
    ids = pwd.getpwnam(before)[2:4]
    the_ground.accounts.rename_app("oldname", "newname")
    after = the_ground.accounts.ensure_app("newname")
    assert after is not None
    assert pwd.getpwnam(after)[2:4] == ids
    assert the_ground.settings.www_account in grp.getgrnam(after).gr_mem


@pytest.mark.root
def test_somebody_elses_account_is_not_used(the_ground: Ground) -> None:
    """An account of that name with another home is neither used nor removed."""
    name = the_ground.accounts.app("squatted")
    assert name is not None
    subprocess.run(["useradd", "--no-create-home", "--home-dir", "/elsewhere", name], check=True)
    try:
        for act in (the_ground.accounts.ensure_app, the_ground.accounts.remove_app):
            with pytest.raises(DaeError, match="runner/account"):
                act("squatted")
        assert pwd.getpwnam(name).pw_dir == "/elsewhere"
    finally:
        subprocess.run(["userdel", name], check=True, capture_output=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="a plain user's install has no accounts")
def test_without_root_there_are_folders_only(the_ground: Ground) -> None:
    """Everything is this user's, closed to others."""
    the_ground.apps.add("plain")
    assert the_ground.accounts.ensure_app("plain") is None
    assert set(modes(the_ground, "plain").values()) == {0o700}


@pytest.mark.parametrize("app", ["..", "a/b", "A", "git", ""])
def test_names_are_checked(the_ground: Ground, app: str) -> None:
    """No name reaches a path or a command that an app may not have."""
    for act in (the_ground.accounts.ensure_app, the_ground.accounts.remove_app):
        with pytest.raises(DaeError, match="app/bad-name"):
            act(app)


@pytest.mark.root
def test_no_chain_of_processes_slips_away(the_ground: Ground) -> None:
    """Processes that each fork and end at once are never found by their number; nothing of them is left either."""
    uid = pwd.getpwnam(str(the_ground.accounts.slot(0))).pw_uid
    shared = Path(tempfile.mkdtemp(prefix="dc", dir="/tmp"))
    os.chown(shared, uid, -1)
    steps = shared / "steps"
    chain = (
        "import os\nfile = os.open('steps', os.O_WRONLY | os.O_CREAT | os.O_APPEND)\n"
        "while True:\n    os.write(file, b'.')\n    if os.fork(): os._exit(0)\n    os.setsid()\n"
    )
    try:
        for _ in range(4):
            subprocess.run([sys.executable, "-I", "-S", "-c", chain], cwd=shared, user=uid, check=True)
        until(lambda: steps.exists() and steps.stat().st_size > 100, "the chains run")
        procs.kill_all_of(uid)
        before = steps.stat().st_size
        for _ in range(20):
            assert procs.of_uid(uid) == []
        assert steps.stat().st_size == before
    finally:
        procs.kill_all_of(uid)
        shutil.rmtree(shared)
