"""``dae status``: the platform's parts, their state, and whether each answers."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from typing import Any

from control.platform.probes import failures, probes
from control.platform.supervisord import Supervisord
from core.config import Settings
from core.errors import DaeError
from core.paths import Home
from dae.cli.client import Client
from dae.cli.credentials import chosen


def gather(settings: Settings, environ: Mapping[str, str]) -> list[dict[str, Any]]:
    """The parts as ``{"part", "state", "pid", "since", "address", "ok", "detail"}``.

    Whoever may speak to supervisord is answered from here; others are answered by the API, which then must run.
    Raises ``platform/not-running``.
    """
    home = Home(settings.home)
    if os.access(home.socket("supervisor"), os.R_OK | os.W_OK):
        return on_this_node(settings, home)
    if home.root.is_dir() and home.root.stat().st_uid == os.geteuid():
        raise DaeError("platform/not-running", f"no platform runs in {home.root}", "type: make up, or: dae up")
    return list(Client(chosen(environ)).get("status")["parts"])


def on_this_node(settings: Settings, home: Home) -> list[dict[str, Any]]:
    """Ask supervisord for the states, and each part itself whether it answers."""
    found = [info for info in Supervisord(home).processes() if "." not in info["name"]]  # others are apps' instances
    addresses = {probe.part: probe.address for probe in probes(settings, home)}
    problems = failures(settings, home, [info["name"] for info in found])
    return [
        {
            "part": info["name"],
            "state": str(info["statename"]).lower(),
            "pid": info["pid"],
            "since": datetime.datetime.fromtimestamp(info["start"], datetime.UTC).isoformat(),
            "address": addresses.get(info["name"], "-"),
            "ok": info["name"] not in problems,
            "detail": problems.get(info["name"], "answers"),
        }
        for info in found
    ]
