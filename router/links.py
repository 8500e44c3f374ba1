"""Routes as links: a host is a link to the release that serves it, and switching is one rename.

nginx resolves the link for every request (``$realpath_root``), so that a switch needs no reload: no connection of a
client is closed, no worker of a former configuration lingers on for its websockets, and ten thousand apps cost nginx's
configuration nothing. In ``home.live``::

    h/blog.dev.example -> ../blog.dev.v3.1.0          a host
    blog.dev.v3.1.0/s     -> the instance's socket    app . stage . release . index . port (0: the socket)
    blog.dev.v3.1.0/code  -> the code layer           what static handlers are served from
    blog.beta.v0.1.0/                                 nothing is live there
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.config import HOST_NAME, Settings
from core.errors import DaeError
from core.nouns import Instance, Route, Stage
from core.paths import Home

#: Seconds that a release's folder outlives its last host: a request that resolved the link may still send a file.
KEPT_SECONDS = 3600


def hosts(routes: Sequence[Route], settings: Settings) -> dict[str, Route]:
    """Every host and its route: those named, and for an app's other stages that nothing is live there.

    A route whose ``host`` is empty has its app's and stage's own; one with ``release`` 0 says that the app exists and
    nothing is live. Raises ``router/invalid`` for hosts that repeat or could not be one.
    """
    found: dict[str, Route] = {}
    for route in routes:
        host = route.host or settings.app_host(route.app, route.stage)
        if host in found or not HOST_NAME.match(host) or len(host) > 253:
            raise DaeError("router/invalid", f"{host[:80]!a} is the host of two routes, or none at all")
        found[host] = route
    for app in dict.fromkeys(route.app for route in routes):
        for stage in Stage:
            found.setdefault(settings.app_host(app, stage), Route("", app, stage, 0))
    return found


def folder_name(route: Route) -> str:
    """The name that nginx reads app, stage, release and port from; made of validated parts."""
    Instance(route.app, route.stage, route.release or 1, "web", route.index)  # raises for what is not one
    return f"{route.app}.{route.stage}.v{int(route.release)}.{int(route.index)}.{int(route.port)}"


class Links:
    """The links on disk. One caller at a time."""

    def __init__(self, home: Home, settings: Settings) -> None:
        self._home = home
        self._settings = settings
        self._hosts = home.live / "h"

    def apply(self, routes: Sequence[Route]) -> None:
        """Make exactly these routes stand; each host changes in one rename, unchanged ones are not touched."""
        wanted = {host: folder_name(route) for host, route in hosts(routes, self._settings).items()}
        self._hosts.mkdir(parents=True, exist_ok=True)
        self._hosts.chmod(0o755)  # whatever the umask: nginx's workers read it
        for route in hosts(routes, self._settings).values():
            self._ensure_folder(route)
        there = self._there()
        for host, name in wanted.items():
            if there.get(host) != name:
                _link(self._hosts / host, f"../{name}")
        for host in there.keys() - wanted.keys():
            (self._hosts / host).unlink()
        self._remove_old(set(wanted.values()))

    def _there(self) -> Mapping[str, str]:
        """The links by host; one that was being made by a process that was killed has no host's name."""
        return {entry.name: entry.readlink().name for entry in self._hosts.iterdir() if entry.name != ".new"}

    def _ensure_folder(self, route: Route) -> None:
        """A folder is complete when it has its name, and never changes afterwards."""
        place = self._home.live / folder_name(route)
        if place.is_dir():
            return
        aside = self._home.live / ".new"
        shutil.rmtree(aside, ignore_errors=True)  # of a process that was killed
        aside.mkdir()
        aside.chmod(0o755)
        if route.release:
            socket = self._home.app_socket(route.app, route.stage, route.release, route.index)
            (aside / "s").symlink_to(socket)
        if route.code:
            (aside / "code").symlink_to(self._home.code(route.app, route.code))
        aside.rename(place)

    def _remove_old(self, wanted: set[str]) -> None:
        """What nothing leads to any more: after a while, or at once when the app itself is gone."""
        oldest = time.time() - KEPT_SECONDS
        apps = {name.partition(".")[0] for name in wanted}
        for entry in self._home.live.iterdir():
            unwanted = entry.name not in wanted and entry != self._hosts
            if unwanted and (entry.name.partition(".")[0] not in apps or entry.lstat().st_ctime < oldest):
                shutil.rmtree(entry)


def _link(path: Path, target: str) -> None:
    aside = path.with_name(".new")
    aside.unlink(missing_ok=True)
    aside.symlink_to(target)
    aside.rename(path)
