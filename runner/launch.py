"""``python -I -m runner.launch HOME NAME``: the command of every program under supervisor.

It ends what is left of NAME's previous process group (a killed supervisord leaves its children behind, and its
successor would start a second copy), records itself, shuts itself in, gives up every privilege that the spec does not
name and becomes the program. It stands on the critical path of each start: few imports, of the platform only modules
that keep to the same rule.
"""

# ruff: noqa: PTH108, PTH118
# pathlib would cost a fifth of the launcher's time.
from __future__ import annotations

import grp
import json
import os
import pwd
import resource
import signal
import stat
import sys
from contextlib import suppress
from typing import Any

from core.kernel import PR_SET_NO_NEW_PRIVS, PR_SET_PDEATHSIG, prctl
from runner import procs

STATE = ("run", "agent")  # core.paths.Home.agent_state, which would import too much here; a test compares them
GRACE = 2.0  # seconds that a leftover of the previous start gets before SIGKILL
LIMITS = {
    "as": resource.RLIMIT_AS,
    "core": resource.RLIMIT_CORE,
    "cpu": resource.RLIMIT_CPU,
    "data": resource.RLIMIT_DATA,
    "fsize": resource.RLIMIT_FSIZE,
    "nofile": resource.RLIMIT_NOFILE,
    "nproc": resource.RLIMIT_NPROC,
}


class LaunchError(Exception):
    """The program was not started; the text says why."""


def main(argv: list[str]) -> int:
    """Become the program; returns only when that failed, with the reason on standard error."""
    if len(argv) != 2:
        print("usage: python -I -m runner.launch HOME NAME", file=sys.stderr)  # noqa: T201 - a command's usage
        return 2
    home, name = argv
    try:
        launch(home, name)
    except (LaunchError, OSError, KeyError, ValueError, TypeError) as error:
        print(f"runner.launch: {name} was not started: {error!r}", file=sys.stderr, flush=True)  # noqa: T201 - the log
    return 126


def launch(home: str, name: str) -> None:
    """Do everything up to execve, in the one order in which each step still may be done."""
    state = open_folder(os.path.join(home, *STATE))
    spec = load(state, name)
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)
    end_previous(state, name)
    if spec["sandbox"]:
        from runner import sandbox  # here: not every program has one

        sandbox.enter(spec["sandbox"])
    set_limits(spec["limits"])
    give_up_privileges(spec["account"], spec["groups"], spec["no_new_privs"])
    if spec["die_with_parent"]:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # the kernel forgets it when the user id changes, so: now
    os.chdir(spec["cwd"])
    os.umask(spec["umask"])
    remove_socket(spec["environ"].get("DAE_SOCKET", ""))
    # Python ignores SIGPIPE, and what is ignored stays ignored in the next program.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execve(spec["argv"][0], spec["argv"], spec["environ"])  # noqa: S606 - no shell is what is wanted


def open_folder(path: str, parent: int | None = None) -> int:
    """A descriptor of a folder that belongs to us: nobody else can have put it there."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    if os.fstat(folder).st_uid != os.geteuid():
        raise LaunchError(f"{path} belongs to somebody else")
    return folder


def load(state: int, name: str) -> dict[str, Any]:
    """The spec as plain data, from a file that nobody but us can have written."""
    if "/" in name or name.startswith("."):
        raise LaunchError("that is not a program's name")
    specs = open_folder("specs", state)
    with os.fdopen(os.open(f"{name}.json", os.O_RDONLY | os.O_NOFOLLOW, dir_fd=specs)) as file:
        found = os.fstat(file.fileno())
        if found.st_uid != os.geteuid() or not stat.S_ISREG(found.st_mode) or found.st_mode & 0o022:
            raise LaunchError("its spec can be written by somebody else")
        data: dict[str, Any] = json.load(file)
    if data["name"] != name:
        raise LaunchError("its spec is another program's")
    return data


def end_previous(state: int, name: str) -> None:
    """End the previous incarnation's process group, and record this one in its place."""
    with suppress(FileExistsError):
        os.mkdir("pids", 0o700, dir_fd=state)
    pids = open_folder("pids", state)
    file_name = f"{name}.json"
    try:
        with os.fdopen(os.open(file_name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=pids)) as file:
            previous = procs.parse_record(file.read())
    except FileNotFoundError:
        previous = None
    if previous is not None and previous.pid != os.getpid() and procs.exists(previous.pid):
        procs.end([previous], GRACE)
    # No fsync: after a crash of the machine the record says nothing, and a damaged one is taken for none.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(file_name + ".new", flags, 0o600, dir_fd=pids), "w") as file:
            file.write(procs.current(name).to_text())
        os.rename(file_name + ".new", file_name, src_dir_fd=pids, dst_dir_fd=pids)
    except OSError:  # a full disk must not be left fuller
        with suppress(OSError):
            os.unlink(file_name + ".new", dir_fd=pids)
        raise


def set_limits(limits: dict[str, int]) -> None:
    """Set resource limits; one that this host does not let us raise is set as high as it goes."""
    for key, wanted in limits.items():
        number = LIMITS[key]
        hard = resource.getrlimit(number)[1]
        try:
            resource.setrlimit(number, (wanted, wanted))
        except (ValueError, PermissionError):
            resource.setrlimit(number, (min(wanted, hard) if hard >= 0 else wanted, hard))


def give_up_privileges(account: str | None, groups: list[str], no_new_privs: bool) -> None:
    """Become ``account``, with exactly ``groups`` besides its own; an unprivileged caller can only stay who it is."""
    if no_new_privs:
        prctl(PR_SET_NO_NEW_PRIVS, 1)
    if account is None:
        return
    user = pwd.getpwnam(account)
    if user.pw_uid == 0:
        raise LaunchError("an account of its own is not root's")
    if os.geteuid() == 0:
        os.setgroups([grp.getgrnam(group).gr_gid for group in groups])
        os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
        os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    if (os.getuid(), os.geteuid()) != (user.pw_uid, user.pw_uid):
        raise LaunchError(f"only root may become {account}")


def remove_socket(path: str) -> None:
    """A socket that a killed incarnation left would keep most servers from binding; it is ours by now."""
    with suppress(FileNotFoundError):
        if path and stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
