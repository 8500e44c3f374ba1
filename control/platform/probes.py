"""Does each part answer? Asked over its own door, with bounds."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Mapping
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


def probes(settings: Settings, home: Home, supervisord: Supervisord) -> list[Probe]:
    """One probe for each part, in the order in which they depend on one another."""

    def over_http(part: str, path: str, expected: frozenset[int] = frozenset({200})) -> Probe:
        return Probe(part, settings.url + path, lambda: ask_http(settings, path, expected))

    return [
        Probe("agent", str(home.socket("agent")), lambda: ask_agent(home)),
        Probe("nginx", settings.url + "/", lambda: ask_http(settings, "/", frozenset(range(200, 600)))),
        over_http("control", "/", frozenset(range(200, 404))),
        over_http("control", "/api/v1/status", frozenset({200, 401})),
        over_http("receiver", "/git/", frozenset({401})),
        over_http("mirror", "/pypi/simple/"),
        Probe("hooks", "-", lambda: ask_state(supervisord, "hooks")),
    ]


def ask_http(settings: Settings, path: str, expected: frozenset[int]) -> str:
    """GET a path of the platform's host through the public door."""
    address = settings.local_url.removeprefix("http://").rpartition(":")[0]
    connection = http.client.HTTPConnection(address, settings.port, timeout=PROBE_SECONDS)
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


def ask_state(supervisord: Supervisord, part: str) -> str:
    """For a part without a door: does it run?"""
    try:
        state = supervisord.states().get(part, "missing")
    except DaeError as error:
        return error.cause
    return "" if state == RUNNING else f"it is {state}"


def failures(wanted: list[Probe]) -> Mapping[str, str]:
    """What is wrong, by part; the first complaint of a part counts."""
    found: dict[str, str] = {}
    for probe in wanted:
        complaint = probe.ask()
        if complaint:
            found.setdefault(probe.part, complaint)
    return found
