"""Does each part answer? Asked over its own door, with bounds."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from control.platform.supervisord import RUNNING, Supervisord
from core.config import Settings
from core.errors import DaeError
from core.paths import Home
from runner.client import Agent

PROBE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Probe:
    """How to ask one part; ``ask`` returns what is wrong, or nothing."""

    part: str
    address: str
    ask: Callable[[], str]


def probes(settings: Settings, home: Home) -> list[Probe]:
    """The doors of the parts, in the order in which they depend on one another."""

    def over_http(part: str, path: str, expected: frozenset[int] = frozenset({200})) -> Probe:
        return Probe(part, settings.url + path, lambda: ask_http(settings, path, expected))

    return [
        Probe("agent", str(home.socket("agent")), lambda: ask_agent(home)),
        Probe("nginx", settings.url + "/", lambda: ask_http(settings, "/", frozenset(range(200, 600)))),
        over_http("control", "/", frozenset(range(200, 404))),
        over_http("control", "/api/v1/status", frozenset({200, 401})),
        over_http("receiver", "/git/", frozenset({401})),
        over_http("mirror", "/pypi/simple/"),
    ]


def ask_http(settings: Settings, path: str, expected: frozenset[int]) -> str:
    """GET a path of the platform's host through the public door."""
    connection = http.client.HTTPConnection(settings.local_address, settings.port, timeout=PROBE_SECONDS)
    try:
        connection.request("GET", path, headers={"Host": settings.url.removeprefix("http://"), "Connection": "close"})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"GET {path}: {error}"
    finally:
        connection.close()
    return "" if status in expected else f"GET {path} answers {status}"


def ask_agent(home: Home) -> str:
    """Is the node's agent there?"""
    try:
        Agent(home.socket("agent")).ping()
    except DaeError as error:
        return error.cause
    return ""


def failures(settings: Settings, home: Home, parts: Sequence[str]) -> dict[str, str]:
    """What is wrong, by part: one that does not run, else one that does not answer at its door.

    Whether it runs is asked too: of a server that was killed, an orphaned worker may answer for a moment more.
    """
    try:
        states = Supervisord(home).states()
    except DaeError as error:
        return dict.fromkeys(parts, error.cause)
    down = {part: f"it is {states.get(part, 'missing')}" for part in parts if states.get(part) != RUNNING}
    mute = {probe.part: complaint for probe in reversed(probes(settings, home)) if (complaint := probe.ask())}
    ranked = {**mute, **down}
    return {part: ranked[part] for part in parts if part in ranked}
