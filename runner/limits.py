"""Resource limits, and what this host can and cannot enforce: nothing is pretended."""

from __future__ import annotations

import os
from pathlib import Path

from core.config import Settings
from runner import confine

_BUILD_FILE_BYTES = 4 << 30


def instance_limits(settings: Settings, *, root: bool) -> dict[str, int]:
    """The rlimits of an instance (setrlimit(2)). The number of processes is counted per account: root installs only."""
    limits = {"core": 0, "nofile": settings.instance_files}
    if root:
        limits["nproc"] = settings.instance_processes
    if settings.instance_memory:
        limits["as"] = settings.instance_memory
    return limits


def build_limits(settings: Settings, *, root: bool, grouped: bool) -> dict[str, int]:
    """The rlimits of a build. Memory is bounded for each process, unless a control group bounds it as a whole.

    Data, not address space: JavaScript's and other engines reserve far more of that than they use.
    """
    limits = {"core": 0, "fsize": min(_BUILD_FILE_BYTES, settings.build_disk)}
    if root and not grouped:
        limits["nproc"] = settings.build_processes
    if settings.build_memory and not grouped:
        limits["data"] = settings.build_memory
    return limits


def host_report(settings: Settings, uid: int | None = None) -> list[tuple[str, bool, str]]:
    """What keeps apps apart on this host: (topic, enforced, sentence) for each."""
    root = (os.geteuid() if uid is None else uid) == 0
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return [
        ("accounts", root, "each app has a UNIX account" if root else "not root: all apps run as this user"),
        _flag("privileges", "NoNewPrivs" in status, "apps cannot gain privileges", "no PR_SET_NO_NEW_PRIVS"),
        _hard_links(),
        *confine.report(settings, root),
    ]


def _flag(topic: str, ok: bool, yes: str, no: str) -> tuple[str, bool, str]:
    return topic, ok, yes if ok else no


def _hard_links() -> tuple[str, bool, str]:
    try:
        ok = Path("/proc/sys/fs/protected_hardlinks").read_text().strip() == "1"
    except OSError:
        ok = False
    return _flag(
        "hard links",
        ok,
        "accounts cannot link files of others",
        "fs.protected_hardlinks is off: set it to 1 with sysctl",
    )
