"""Control groups (cgroups(7), version 2 or 1) for builds: how much memory, how many processes, which share of the CPU.

A build's group stands below the one that the agent itself is in, so that limits on the platform as a whole hold.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_NEEDED = ("memory", "pids")
_SHARES = 1024 / 100  # of version 1 for one of version 2's weight
_POLL = 0.02


@dataclass(frozen=True, slots=True)
class Limits:
    """``memory`` in bytes (0: none), swap included; ``processes``, threads included; ``weight``: 100 is everybody's."""

    memory: int
    processes: int
    weight: int


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """Where groups can be made: the folder for each controller; in version 2 one folder for all of them."""

    version: int
    folders: Mapping[str, Path]

    def group(self, name: str) -> Group:
        """The group of that name, which may not be there."""
        return Group(self.version, {key: folder / name for key, folder in self.folders.items()})

    def make(self, name: str, limits: Limits) -> Group:
        """A new, empty group with these limits; what is in one of that name is killed. Raises OSError."""
        group = self.group(name)
        group.remove()
        for folder in group.places():
            folder.mkdir()
        for controller, file, value in _values(self.version, limits):
            if controller in group.folders:
                _write(group.folders[controller] / file, value)
        return group


@dataclass(frozen=True, slots=True)
class Group:
    """One group."""

    version: int
    folders: Mapping[str, Path]

    def places(self) -> tuple[Path, ...]:
        """The folders that a process joins."""
        return tuple(dict.fromkeys(self.folders.values()))

    def out_of_memory(self) -> bool:
        """Did the kernel kill one of its processes for want of memory?"""
        file = "memory.events" if self.version == 2 else "memory.oom_control"
        return _counter(self.folders["memory"] / file, "oom_kill") > 0

    def out_of_processes(self) -> bool:
        """Was one of its processes refused another one?"""
        return _counter(self.folders["pids"] / "pids.events", "max") > 0

    def kill(self, seconds: float = 5.0) -> None:
        """SIGKILL everything in it, whatever session or group it moved to; raises TimeoutError."""
        folder = self.folders["pids"]
        if not folder.exists():
            return
        if (folder / "cgroup.kill").exists():
            _write(folder / "cgroup.kill", "1")
        _write(folder / "pids.max", "0")  # from now on what is killed has no successor
        deadline = time.monotonic() + seconds
        while pids := [int(pid) for pid in (folder / "cgroup.procs").read_text().split() if pid != "0"]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the processes of {folder} do not end")
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_POLL)

    def remove(self) -> None:
        """End what is in it, and remove it; nothing to do when it is not there. Raises OSError or TimeoutError."""
        self.kill()
        for folder in self.places():
            if folder.exists():
                _remove(folder)


def find(processes: str | None = None) -> Hierarchy | None:
    """Where this process can make groups with limits of memory and processes; None: nowhere.

    ``processes``: what ``/proc/self/cgroup`` says.
    """
    text = Path("/proc/self/cgroup").read_text() if processes is None else processes
    lines = [line.split(":", 2) for line in text.splitlines() if line.count(":") >= 2]
    paths = {controller: path for _, names, path in lines for controller in names.split(",")}
    if (_ROOT / "cgroup.controllers").exists():
        return _second(paths.get("", "/"))
    return _first(paths)


def _first(paths: Mapping[str, str]) -> Hierarchy | None:
    found = {}
    for controller in (*_NEEDED, "cpu"):
        folder = _ROOT / controller / paths.get(controller, "/").lstrip("/")
        # In a container the path may be the host's: what is mounted is our own group then.
        folder = folder if folder.is_dir() else _ROOT / controller
        if (folder / "cgroup.procs").exists() and os.access(folder, os.W_OK):
            found[controller] = folder
    return Hierarchy(1, found) if all(controller in found for controller in _NEEDED) else None


def _second(path: str) -> Hierarchy | None:
    """The nearest group from ours up whose children can have limits: one with processes of its own is none."""
    own = _ROOT / path.lstrip("/")
    for folder in (own, *own.parents):
        if not folder.is_relative_to(_ROOT) or not os.access(folder, os.W_OK):
            return None
        with suppress(OSError):
            for controller in {*_NEEDED, "cpu"} - _handed_on(folder):
                with suppress(OSError):
                    _write(folder / "cgroup.subtree_control", f"+{controller}")
            if _handed_on(folder).issuperset(_NEEDED):
                return Hierarchy(2, {name: folder for name in (*_NEEDED, "cpu") if name in _handed_on(folder)})
    return None


def _handed_on(folder: Path) -> set[str]:
    return set((folder / "cgroup.subtree_control").read_text().split())


def _values(version: int, limits: Limits) -> list[tuple[str, str, str]]:
    """What is written where: (controller, file, value). The file of a limit on swap is not on every kernel."""
    memory = str(limits.memory or ("max" if version == 2 else -1))
    if version == 2:
        found = [("memory", "memory.max", memory), ("memory", "memory.oom.group", "0")]
        found += [("memory", "memory.swap.max", "0" if limits.memory else "max")]
        found += [("cpu", "cpu.weight", str(limits.weight))]
    else:
        found = [("memory", "memory.limit_in_bytes", memory), ("memory", "memory.memsw.limit_in_bytes", memory)]
        found += [("cpu", "cpu.shares", str(max(2, int(limits.weight * _SHARES))))]
    return [*found, ("pids", "pids.max", str(limits.processes))]


def _write(file: Path, value: str) -> None:
    """Into a file that is there: an accounting that this kernel was built without bounds nothing."""
    if file.exists():
        file.write_text(value)


def _counter(file: Path, name: str) -> int:
    try:
        lines = dict(line.split(None, 1) for line in file.read_text().splitlines())
    except FileNotFoundError:
        return 0
    return int(lines.get(name, 0))


def _remove(folder: Path) -> None:
    deadline = time.monotonic() + 2.0
    while True:
        try:
            return folder.rmdir()
        except OSError:  # a killed process counts until it is collected
            if time.monotonic() > deadline:
                raise
            time.sleep(_POLL)
