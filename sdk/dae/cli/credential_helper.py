"""``python -I -S credential_helper.py``: what git asks for name and token, at each push (git-credential(1)).

A file by itself, of the standard library's quickest parts: the command takes 70 ms to start, which every push would
wait for. Whatever is not simply a saved login (DAE_TOKEN, nobody logged in) is left to ``dae credential get``.
"""

# ruff: noqa: PTH118, PTH123 - pathlib would cost as much as all the rest
from __future__ import annotations

import json
import os
import sys

TYPE_CHECKING = False  # typing takes as long to import as json
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Optional

#: As ``dae.cli.credentials`` has them; a test compares the answers of both.
DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def saved(asked: Mapping[str, str], environ: Mapping[str, str]) -> Optional[tuple[str, str]]:
    """The user and token for what git asked, a dict of its lines; None for all but the plain case."""
    scheme, host = asked.get("protocol", ""), asked.get("host", "").lower()
    if scheme not in DEFAULT_PORTS or not host or environ.get("DAE_TOKEN"):
        return None
    base = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME", ""), ".config")
    folder = environ.get("DAE_CONFIG") or os.path.join(base, "dae")
    try:
        with open(os.path.join(folder, "credentials.json"), encoding="utf-8") as file:
            entry = json.load(file)["platforms"][f"{scheme}://{host.removesuffix(DEFAULT_PORTS[scheme])}"]
        user, token = str(entry["user"]), str(entry["token"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return (user, token) if asked.get("username", user) == user else None


def main() -> int:
    """Answer, or have the command answer; returns the exit status."""
    request = sys.stdin.read()
    pairs = [line.partition("=") for line in request.split("\n\n")[0].splitlines()]
    found = saved({key: value for key, _, value in pairs}, os.environ)
    if found is None:
        import subprocess

        command = [sys.executable, "-I", "-m", "dae", "credential", "get"]
        return subprocess.run(command, input=request, text=True, check=False).returncode
    sys.stdout.write("username={}\npassword={}\n".format(*found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
