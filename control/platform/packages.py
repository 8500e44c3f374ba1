"""What the platform needs of the system: programs, and the Debian packages that bring them.

``python -m control.platform.packages`` installs what is missing as root, and says what to type otherwise.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping

from control.output import Output
from core.argv import CLEAN_ENVIRON, run
from core.errors import DaeError

#: Program -> Debian package. ``nginx-light`` has every module that the router's configuration uses.
PACKAGES: Mapping[str, str] = {"nginx": "nginx-light", "git": "git"}
APT_TIMEOUT = 600


def missing(search_path: str = CLEAN_ENVIRON["PATH"]) -> list[str]:
    """The programs that are not on ``search_path``, which is the one the platform runs programs from."""
    return [program for program in PACKAGES if shutil.which(program, path=search_path) is None]


def command(programs: list[str]) -> str:
    """What an administrator types to get ``programs``."""
    return "sudo apt-get install -y " + " ".join(PACKAGES[program] for program in programs)


def ensure(out: Output, *, uid: int, search_path: str = CLEAN_ENVIRON["PATH"]) -> None:
    """Install the missing programs when ``uid`` is root's; raises ``platform/missing`` when they cannot be had."""
    wanted = missing(search_path)
    if not wanted:
        return
    names = " and ".join(wanted)
    if uid != 0 or shutil.which("apt-get", path=search_path) is None:
        raise DaeError("platform/missing", f"{names} cannot be found on this machine", f"type: {command(wanted)}")
    out.step(f"Installing {names}")
    outcome = _apt_install([PACKAGES[program] for program in wanted])
    if missing(search_path):
        raise DaeError("platform/missing", f"apt-get did not install {names}: {outcome}", f"type: {command(wanted)}")


def _apt_install(packages: list[str]) -> str:
    """Try with the package lists that are there, then with new ones; returns apt-get's last words."""
    environ = {"DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    outcome = run(install, environ=environ, timeout=APT_TIMEOUT)
    if not outcome.ok:
        run(["apt-get", "update"], environ=environ, timeout=APT_TIMEOUT)
        outcome = run(install, environ=environ, timeout=APT_TIMEOUT)
    return " / ".join(outcome.output.splitlines()[-3:])


if __name__ == "__main__":
    try:
        ensure(Output(print), uid=os.geteuid())
    except DaeError as error:
        sys.exit(f" !     {error.line()}")
