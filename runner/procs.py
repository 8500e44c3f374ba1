"""What the kernel says about process groups (proc(5)), and ending groups that are provably ours.

A process id alone proves nothing: it may have been given to somebody else since. A record therefore also holds the
time at which the group's leader started, in clock ticks since the machine's boot, and the boot itself.

The launcher imports this module before every start of every instance: only cheap modules of the standard library.
"""

# ruff: noqa: PTH123, PTH208
# pathlib would cost a fifth of the launcher's time.
from __future__ import annotations

import json
import os
import signal
import sys
import time
from contextlib import suppress

_DEAD = ("Z", "X")  # zombies are nobody's running code; a container's first process may never collect them
_POLL = 0.02


class Stat:
    """Of a process: its state's letter, its process group and its start in ticks since boot."""

    __slots__ = ("group", "pid", "start", "state")

    def __init__(self, pid: int, state: str, group: int, start: int) -> None:
        self.pid, self.state, self.group, self.start = pid, state, group, start


class Record:
    """A process group that was started: its leader's pid, the leader's start, the boot, and the name it ran under."""

    __slots__ = ("boot", "name", "pid", "start")

    def __init__(self, name: str, pid: int, start: int, boot: str) -> None:
        self.name, self.pid, self.start, self.boot = name, pid, start, boot

    def to_text(self) -> str:
        return json.dumps({"name": self.name, "pid": self.pid, "start": self.start, "boot": self.boot})


def boot_id() -> str:
    """What names this boot of the machine."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def parse_stat(pid: int, text: str) -> Stat:
    """Read ``/proc/PID/stat``; the second field is the program's name in brackets and may itself hold brackets."""
    fields = text[text.rindex(")") + 2 :].split()
    return Stat(pid, fields[0], int(fields[2]), int(fields[19]))


def stat_of(pid: int) -> Stat | None:
    """What the kernel says about a process, or None when there is none."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return parse_stat(pid, file.read())
    except (FileNotFoundError, ProcessLookupError):
        return None


def current(name: str) -> Record:
    """The record of the calling process as the leader of its group."""
    own = stat_of(os.getpid())
    if own is None:
        raise ProcessLookupError("/proc is not mounted")
    return Record(name, own.pid, own.start, boot_id())


def parse_record(text: str) -> Record | None:
    """A record from its text, or None when a crash left it damaged."""
    try:
        data = json.loads(text)
        return Record(str(data["name"]), int(data["pid"]), int(data["start"]), str(data["boot"]))
    except (ValueError, KeyError, TypeError):
        return None


def groups() -> dict[int, list[Stat]]:
    """All process groups of the machine with their living members: one walk through /proc."""
    found: dict[int, list[Stat]] = {}
    for entry in os.listdir("/proc"):
        stat = stat_of(int(entry)) if entry.isdigit() else None
        if stat is not None and stat.state not in _DEAD:
            found.setdefault(stat.group, []).append(stat)
    return found


def is_ours(record: Record, members: list[Stat], leader: Stat | None, boot: str) -> bool:
    """Does the group named by the record's pid consist of what was recorded, or of its descendants?

    A pid is not given out again while a group of that number exists. So either the leader is still the recorded one,
    or it is gone and every member started after it did.
    """
    if record.boot != boot or not members:
        return False
    if leader is not None:
        return leader.start == record.start
    return all(member.start >= record.start for member in members)


def living(records: list[Record]) -> list[Record]:
    """Those of ``records`` whose group still has a running member; the caller's own group is never one."""
    boot, found = boot_id(), groups()
    return [
        record
        for record in records
        if record.pid != os.getpgrp() and is_ours(record, found.get(record.pid, []), stat_of(record.pid), boot)
    ]


def end(records: list[Record], grace: float, force: float = 3.0) -> list[Record]:
    """End the groups of ``records`` that are alive: SIGTERM, ``grace`` seconds, SIGKILL. Returns what was alive.

    Raises TimeoutError when a group outlives SIGKILL by ``force`` seconds.
    """
    alive = found = living(records) if records else []
    if not alive:
        return []
    for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, force)):
        for record in alive:
            _signal(record.pid, number)
        deadline = time.monotonic() + seconds
        while alive and time.monotonic() < deadline:
            time.sleep(_POLL)
            alive = living(alive)
        if not alive:
            return found
    raise TimeoutError("not even SIGKILL ended " + ", ".join(record.name for record in alive))


def exists(group: int) -> bool:
    """Is there any process in the group? One system call; zombies count."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _signal(group: int, number: int) -> None:
    with suppress(ProcessLookupError):  # it ended by itself: what was wanted
        os.killpg(group, number)


def of_uid(uid: int) -> list[int]:
    """The living processes any of whose user ids is ``uid``."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/status") as file:
                lines = dict(line.split(":", 1) for line in file if line.startswith(("Uid:", "State:")))
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(uid) in lines.get("Uid", "").split() and lines["State"].split()[0] not in _DEAD:
            found.append(int(entry))
    return found


#: Run as root. Its real user id is one that nobody else has, so that neither the account's processes nor another
#: one of its kind can signal it in their turn (kill(2)).
_KILLER = "import os, sys; os.setresuid(2**31 + os.getpid(), int(sys.argv[1]), 0); os.kill(-1, 9)"


def kill_all_of(uid: int, seconds: float = 5.0) -> None:
    """SIGKILL every process of an account, whatever group it moved to, until none is left; raises TimeoutError.

    All at once, by kill(2) of -1, during which the kernel lets nobody fork: a chain of processes that each fork and
    end is never met by whoever signals what /proc lists.
    """
    import subprocess  # late: the launcher has no use for it

    if uid <= 0:
        raise ValueError("root's processes are not ours to end")
    deadline = time.monotonic() + seconds
    while True:
        subprocess.run([sys.executable, "-I", "-S", "-c", _KILLER, str(uid)], check=True)
        if not of_uid(uid):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes of uid {uid} do not end")
        time.sleep(_POLL)
