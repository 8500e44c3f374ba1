"""What the platform needs of the system: programs, and the Debian packages that bring them.

``python -m control.platform.packages`` installs what is missing as root, and says what to type otherwise; with the word
``tests`` also what only tests need: without that, those tests are skipped.
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
#: What tests of pages need.
BROWSER: Mapping[str, str] = {"chromium": "chromium", "chromedriver": "chromium-driver"}
APT_TIMEOUT = 600


def missing(search_path: str = CLEAN_ENVIRON["PATH"], packages: Mapping[str, str] = PACKAGES) -> list[str]:
    """The programs that are not on ``search_path``, which is the one the platform runs programs from."""
    return [program for program in packages if shutil.which(program, path=search_path) is None]


def command(programs: list[str], packages: Mapping[str, str] = PACKAGES) -> str:
    """What an administrator types to get ``programs``."""
    return "sudo apt-get install -y " + " ".join(packages[program] for program in programs)


def ensure(
    out: Output, *, uid: int, search_path: str = CLEAN_ENVIRON["PATH"], packages: Mapping[str, str] = PACKAGES
) -> None:
    """Install the missing programs when ``uid`` is root's; raises ``platform/missing`` when they cannot be had."""
    wanted = missing(search_path, packages)
    if not wanted:
        return
    names, hint = " and ".join(wanted), f"type: {command(wanted, packages)}"
    if uid != 0 or shutil.which("apt-get", path=search_path) is None:
        raise DaeError("platform/missing", f"{names} cannot be found on this machine", hint)
    out.step(f"Installing {names}")
    outcome = _apt_install([packages[program] for program in wanted])
    if missing(search_path, packages):
        raise DaeError("platform/missing", f"apt-get did not install {names}: {outcome}", hint)


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
    if "tests" in sys.argv[1:]:
        try:
            ensure(Output(print), uid=os.geteuid(), packages=BROWSER)
        except DaeError as error:
            print(f" !     {error.line()}; tests that want a browser are skipped")  # noqa: T201 - it is a program
