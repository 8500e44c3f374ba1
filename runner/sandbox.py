"""What the launcher shuts a program into while it is still root: its own mounts, and for a build its own network.

``python -I -m runner.sandbox`` prints what of this the host lets us do: the platform asks before it relies on it.
The launcher imports this for programs that have a sandbox: few imports, nothing of the platform.
"""

# ruff: noqa: PTH103, PTH112, PTH118, PTH123
# pathlib would cost a fifth of the launcher's time.
from __future__ import annotations

import json
import os
import sys
from typing import Any

from runner.kernel import (
    CLONE_NEWIPC,
    CLONE_NEWNS,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_REC,
    MS_SLAVE,
    mount,
    read_only,
    read_write,
    unshare,
)

#: Folders in which every account of the machine can write, and the size of a build's own.
SHARED = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - they are what is shut out
_TMP_OPTIONS = "size=256m,nr_inodes=20000,mode=1777"
_SHM_OPTIONS = "size=64m,nr_inodes=2000,mode=1777"


def enter(plan: dict[str, Any]) -> None:
    """Shut the calling process in; ``plan`` is a ``runner.spec.Sandbox`` as plain data. Raises OSError.

    With a network of its own it returns in a child: the caller has become the way to the index (``runner.network``).
    """
    if plan["index"]:
        from runner import network  # here: most programs keep the host's

        network.replace(*plan["index"])
    for group in plan["cgroups"]:
        with open(os.path.join(group, "cgroup.procs"), "w") as file:
            file.write("0")
    if plan["private"]:
        _mounts(plan["tmp"], plan["keep"], plan["writable"])


def _mounts(tmp: str, keep: list[str], writable: str) -> None:
    unshare(CLONE_NEWNS | (CLONE_NEWIPC if writable else 0))
    # What the host mounts later is seen here too; what happens here is seen by nobody else.
    mount("none", "/", flags=MS_REC | MS_SLAVE)
    kept = [(path, os.open(path, os.O_PATH | os.O_CLOEXEC)) for path in covered(keep)]
    # Nothing is put into a folder of an account's own: it could lead elsewhere. What is kept needs one in memory.
    own = os.open(tmp, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC) if tmp and not kept else -1
    if writable:
        read_only("/", everything_below=True)
        # Of other accounts' processes not even the names are seen. By its word, not its number: a kernel that does
        # not know the word (before 5.8) would change the whole machine's /proc.
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "hidepid=invisible")
    _replace_shared(own)
    os.umask(0o022)  # or the account could not go through what is made here; the program's own umask is set later
    for path, folder in kept:
        os.makedirs(path, 0o755, exist_ok=True)
        mount(f"/proc/self/fd/{folder}", path, flags=MS_BIND | MS_REC)
    if writable:
        mount(writable, writable, flags=MS_BIND)
        read_write(writable)


def covered(paths: list[str]) -> list[str]:
    """Those of ``paths`` that lie in a shared folder, and within none of the others.

    >>> covered(["/tmp/a/b", "/srv/x", "/tmp/a", "/tmpfiles"])
    ['/tmp/a']
    """
    found: list[str] = []
    for path in sorted({os.path.realpath(path) for path in paths}):
        inside = path.startswith(tuple(f"{folder}/" for folder in SHARED))
        if inside and not path.startswith(tuple(f"{kept}/" for kept in found)):
            found.append(path)
    return found


def _replace_shared(own: int) -> None:
    tmp, var_tmp, shm = SHARED
    if own >= 0:
        mount(f"/proc/self/fd/{own}", tmp, flags=MS_BIND)
    else:
        mount("tmpfs", tmp, "tmpfs", MS_NOSUID | MS_NODEV, _TMP_OPTIONS)
    mount(tmp, var_tmp, flags=MS_BIND)
    if os.path.isdir(shm):
        mount("tmpfs", shm, "tmpfs", MS_NOSUID | MS_NODEV, _SHM_OPTIONS)


def _why_not(plan: dict[str, Any]) -> str:
    """Why the plan cannot be carried out here; empty when it can. Tried in a child, which ends."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        why = "it ended early"
        try:
            enter(plan)
            why = ""
        except OSError as error:
            why = str(error.strerror)
        finally:
            os.write(writing, why.encode())
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as answer:
        return answer.read()


def main() -> int:
    """Print what cannot be enforced, and why, as ``{"tmp", "files", "network"}``; the reason is empty for what can."""
    nothing: dict[str, Any] = {"private": True, "tmp": "", "keep": [], "writable": "", "index": [], "cgroups": []}
    found = {
        "tmp": _why_not(nothing),
        "files": _why_not({**nothing, "writable": "/dev"}),
        "network": _why_not({**nothing, "private": False, "index": ["127.0.0.1", 1, "/nonexistent"]}),
    }
    print(json.dumps(found))  # noqa: T201 - the program's output
    return 0


if __name__ == "__main__":
    sys.exit(main())
