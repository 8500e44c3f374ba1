"""Resource limits, and what this host can and cannot enforce: nothing is pretended."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from core.config import Settings

_CGROUP = Path("/sys/fs/cgroup")
_BUILD_PROCESSES = 1024
_BUILD_FILE_BYTES = 4 << 30


def instance_limits(settings: Settings, *, root: bool) -> dict[str, int]:
    """The rlimits of an instance (setrlimit(2)). The number of processes is counted per account: root installs only."""
    limits = {"core": 0, "nofile": settings.instance_files}
    if root:
        limits["nproc"] = settings.instance_processes
    if settings.instance_memory:
        limits["as"] = settings.instance_memory
    return limits


def build_limits(*, root: bool) -> dict[str, int]:
    """The rlimits of a build."""
    limits = {"core": 0, "fsize": _BUILD_FILE_BYTES}
    if root:
        limits["nproc"] = _BUILD_PROCESSES
    return limits


def host_report(uid: int | None = None) -> list[tuple[str, bool, str]]:
    """What keeps apps apart on this host: (topic, enforced, sentence) for each."""
    root = (os.geteuid() if uid is None else uid) == 0
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return [
        ("accounts", root, "each app has a UNIX account" if root else "not root: all apps run as this user"),
        _cgroups(),
        _flag("privileges", "NoNewPrivs" in status, "apps cannot gain privileges", "no PR_SET_NO_NEW_PRIVS"),
        _hard_links(),
        _namespaces(status, root),
        ("build network", False, "builds reach the network like any process of this host"),
    ]


def _flag(topic: str, ok: bool, yes: str, no: str) -> tuple[str, bool, str]:
    return topic, ok, yes if ok else no


def _cgroups() -> tuple[str, bool, str]:
    """Detected and told, not used: memory is bounded per process by rlimits."""
    version = "v2" if (_CGROUP / "cgroup.controllers").exists() else "v1" if (_CGROUP / "memory").is_dir() else ""
    folder = _CGROUP if version == "v2" else _CGROUP / "memory"
    if not version or not os.access(folder, os.W_OK):
        return "cgroups", False, "no writable cgroup: memory is limited per process (rlimits), not per app"
    return "cgroups", False, f"cgroup {version} is writable, but only rlimits are set: memory is limited per process"


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


def _namespaces(status: Mapping[str, str], root: bool) -> tuple[str, bool, str]:
    """CAP_SYS_ADMIN (bit 21, capabilities(7)) is what private folders would need."""
    able = root and bool(int(status.get("CapEff", "0").strip(), 16) >> 21 & 1)
    text = (
        "mount namespaces are possible, but /tmp is not yet private" if able else "no mount namespaces: /tmp is shared"
    )
    return "namespaces", False, text
