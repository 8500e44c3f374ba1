"""From routes to nginx's configuration: file names and texts, nothing else. nginx 1.22 or later.

One server block serves all apps; maps choose by host. What differs per route is one line in each map and one
upstream, so a reload stays cheap with thousands of apps.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from core.config import Settings
from core.errors import DaeError
from core.nouns import Instance, Route, Stage
from core.paths import Home
from router.quoting import address, check_home, word
from router.templates import APPS, COMMON, MAIN, MIME_TYPES, PLATFORM, UPSTREAM


def render(
    routes: Sequence[Route], settings: Settings, home: Home, generation: str, *, root: bool | None = None
) -> dict[str, str]:
    """The files of one generation, by name; ``nginx.conf`` includes the others from its own folder.

    A route whose ``host`` is empty has its app's and stage's own host; one with ``release`` 0 says that the app exists
    and nothing is live. ``root``: does nginx's master run as root (default: does this process)? Raises
    ``router/invalid`` for values that may not stand there or hosts that repeat, ``settings/invalid`` for the home.
    """
    check_home(home)
    root = os.geteuid() == 0 if root is None else root
    return {
        "nginx.conf": _main(settings, home, generation, root),
        "mime.types": MIME_TYPES,
        "common.conf": COMMON,
        "routes.conf": _routes(routes, settings, home),
        "platform.conf": _platform(settings, home),
        "apps.conf": APPS.replace("@LISTEN@", address(settings.listen, settings.port)),
    }


def _main(settings: Settings, home: Home, generation: str, root: bool) -> str:
    values = {
        "GENERATION": generation,
        "USER": f"{settings.account}_www",
        "PID": home.agent_state / "nginx.pid",
        "TMP": home.router / "tmp",
        "LOGS": home.logs,
    }
    text = MAIN if root else "".join(line for line in MAIN.splitlines(True) if not line.startswith("user "))
    return _fill(text, values)


def _platform(settings: Settings, home: Home) -> str:
    names = ["localhost", "127.0.0.1", settings.host]
    if settings.listen not in ("0.0.0.0", "::") and ":" not in settings.listen:  # noqa: S104 - compared only
        names.append(settings.listen)
    values = {
        "CONTROL": home.socket("control"),
        "RECEIVER": home.socket("receiver"),
        "MIRROR": home.socket("mirror"),
        "FILES": home.mirror / "files",
    }
    text = PLATFORM.replace("@LISTEN@", address(settings.listen, settings.port))
    return _fill(text.replace("@NAMES@", " ".join(word(name) for name in dict.fromkeys(names))), values)


def _fill(text: str, values: Mapping[str, object]) -> str:
    for key, value in values.items():
        text = text.replace(f"@{key}@", word(value))
    return text


def _routes(routes: Sequence[Route], settings: Settings, home: Home) -> str:
    """The maps from host to what the apps' server needs to know, and the upstreams."""
    by_host = _by_host(routes, settings)
    live = {host: route for host, route in by_host.items() if route.release}
    parts = [
        _map("dae_app", {host: word(route.app) for host, route in by_host.items()}),
        _map("dae_stage", {host: word(route.stage) for host, route in by_host.items()}),
        _map("dae_upstream", {host: _instance(route).key for host, route in live.items()}),
        _map("dae_release", {host: f"v{route.release}" for host, route in live.items()}),
        _map("dae_code", {host: word(home.code(r.app, r.code)) for host, r in live.items() if r.code}),
    ]
    upstreams = {_instance(route).key: _server(route, home) for route in live.values()}
    parts += [UPSTREAM.replace("@NAME@", word(name)).replace("@SERVER@", server) for name, server in upstreams.items()]
    return "\n".join(parts)


def _by_host(routes: Sequence[Route], settings: Settings) -> dict[str, Route]:
    """Every host of every app: its routes, and for its other stages that nothing is live there."""
    found: dict[str, Route] = {}
    for route in routes:
        host = route.host or settings.app_host(route.app, route.stage)
        if host in found:
            raise DaeError("router/invalid", f"two routes have the host {host[:80]!a}")
        found[host] = route
    for app in dict.fromkeys(route.app for route in routes):
        for stage in Stage:
            found.setdefault(settings.app_host(app, stage), Route("", app, stage, 0))
    return found


def _instance(route: Route) -> Instance:
    return Instance(route.app, route.stage, route.release, "web", route.index)


def _server(route: Route, home: Home) -> str:
    if route.port:
        return word(f"127.0.0.1:{int(route.port)}")
    return word(f"unix:{home.app_socket(route.app, route.stage, route.release, route.index)}")


def _map(variable: str, values: dict[str, str]) -> str:
    lines = "".join(f'    "{word(host)}" "{word(value)}";\n' for host, value in values.items())
    return f'map $host ${variable} {{\n    default "";\n{lines}}}\n'
