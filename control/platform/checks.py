"""What must be true of a home and a port before anything is made there."""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
import tempfile
from pathlib import Path

from control.output import Output
from core.config import Settings
from core.errors import DaeError
from core.paths import Home

# The home stands in the configuration of nginx and of supervisor: letters that neither of them reads as its own.
SAFE_PATH = re.compile(r"/[A-Za-z0-9._@+~/-]*\Z")
#: What a home may hold before the platform's lock is in it: settings, and a first start that was cut off.
_EARLY = {"dae.toml", "platform"}


def check_home(home: Home, uid: int) -> None:
    """Raise ``runner/path-too-long`` or ``settings/invalid`` for a home that could not work for this user."""
    home.check_lengths()
    if not SAFE_PATH.match(str(home.root)) or home.root == Path("/"):
        cause = f"the home {str(home.root)!a} has characters that stand for something else in configuration files"
        raise DaeError("settings/invalid", cause, "choose a DAE_HOME of letters, digits and . _ @ + ~ -")
    if home.root.is_symlink():
        raise DaeError("settings/invalid", f"the home {home.root} is a symbolic link", "set DAE_HOME to its target")
    if home.root.is_dir() and home.root.stat().st_uid != uid:
        cause = f"{home.root} belongs to user {home.root.stat().st_uid}"
        raise DaeError("settings/invalid", cause, "run it as that user, or choose another DAE_HOME")
    entries = {entry.name for entry in home.root.iterdir()} if home.root.is_dir() else set()
    if entries - _EARLY and not is_home(home):
        raise DaeError("settings/invalid", f"{home.root} holds something else", "choose an empty folder as DAE_HOME")


def is_home(home: Home) -> bool:
    """Is this folder a platform's? Its lock is the first file that is made in it, and goes last."""
    return (home.platform / "lock").is_file()


def open_way(home: Home, out: Output) -> None:
    """Make sure that other accounts can come to the home: each folder above it must let them pass.

    Only scratch folders of our own are changed, as ``mktemp -d`` makes them; for others raises ``settings/invalid``.
    """
    scratch = {Path("/tmp"), Path("/var/tmp"), Path(tempfile.gettempdir())}  # noqa: S108 - compared only
    for folder in reversed(home.root.parents):
        found = folder.stat() if folder.exists() else None
        if found is None or found.st_mode & stat.S_IXOTH:
            continue
        if found.st_uid != os.geteuid() or not scratch & set(folder.parents):
            cause = f"the platform's accounts cannot pass through {folder}, where the home is"
            raise DaeError("settings/invalid", cause, f"choose another DAE_HOME, or type: chmod o+x {folder}")
        folder.chmod(stat.S_IMODE(found.st_mode) | stat.S_IXOTH)
        out.detail(f"{folder} now lets other accounts pass")


def check_port(settings: Settings) -> None:
    """Raise ``platform/port-taken`` when another program listens there, ``settings/invalid`` when we may not."""
    family = socket.AF_INET6 if ":" in settings.listen else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.listen, settings.port))
        except OSError as error:
            raise _port_error(settings, error) from error


def _port_error(settings: Settings, error: OSError) -> DaeError:
    door = f"{settings.listen}:{settings.port}"
    if error.errno == errno.EADDRINUSE:
        return DaeError("platform/port-taken", f"another program listens on {door}", "choose another DAE_PORT")
    cause = f"the platform may not listen on {door}: {error.strerror}"
    return DaeError("settings/invalid", cause, "choose another DAE_PORT")


def passable(path: Path) -> bool:
    """May every account pass through all folders above ``path``?"""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in path.parents)
