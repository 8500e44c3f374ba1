"""Running a build: in a throw-away account, with limits and a deadline; then its work is taken back and sealed."""

from __future__ import annotations

import json
import os
import pwd
import queue
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.argv import CLEAN_ENVIRON
from core.config import Settings
from core.errors import CATALOG, DaeError, disk_full
from core.files import has_room
from core.paths import Home
from runner import confine, folders, procs, seal, spec
from runner.accounts import SLOTS, Accounts, slot_accounts
from runner.confine import Bounds, build_bounds
from runner.limits import build_limits
from runner.spec import LaunchSpec
from runner.stream import Ended, Lines, stream
from runner.usage import DiskWatch

_RESULT_BYTES = 4 << 20
#: The program that builds; the work folder is its last argument.
WORKER = (sys.executable, "-I", "-m", "buildpacks.worker")
OnLine = Callable[[str], None]
Cancelled = Callable[[], bool]


class Builder:
    """The build slots of this node: as many builds at a time as there are slots, the others wait."""

    def __init__(self, settings: Settings, home: Home, accounts: Accounts, worker: Sequence[str] = WORKER) -> None:
        self._worker = tuple(worker)
        self._settings = settings
        self._home = home
        self._accounts = accounts
        self._free: queue.Queue[int] = queue.Queue()
        for number in range(len(SLOTS)):
            self._free.put(number)

    def clean(self) -> None:
        """What builds of a killed agent left: their processes and work folders. Called once, before any build."""
        if not self._accounts.root:
            return
        confine.clean(slot_accounts(self._settings))
        slots = {pwd.getpwnam(name).pw_uid for name in slot_accounts(self._settings)}
        for uid in slots:
            procs.kill_all_of(uid)
        for path in self._home.builds.iterdir():
            if path.lstat().st_uid in slots:
                folders.remove(path)

    def build(self, number: int, on_line: OnLine, cancelled: Cancelled = lambda: False) -> dict[str, Any]:
        """Run the build whose work folder control prepared; returns the content of its ``result.json``.

        Raises the ``build/*`` error that the result names, ``build/timeout``, ``build/failed``, the error of a limit
        that the build met, or ``push/cancelled`` when nobody waits any more.
        """
        work = self._home.builds / str(int(number))
        with self._slot(on_line, cancelled) as account:
            ended, broken = self._run(work, number, account, on_line, cancelled)
        if ended.cancelled:
            raise _cancelled()
        if ended.timed_out:
            cause = f"the build was stopped after {self._settings.build_timeout} s"
            raise broken or DaeError("build/timeout", cause, "require packages with wheels, or ask for more time")
        try:
            return _result(work, ended)
        except DaeError as error:
            raise broken or error from error

    @contextmanager
    def _slot(self, on_line: OnLine, cancelled: Cancelled) -> Iterator[str | None]:
        number = self._wait_for_slot(on_line, cancelled)
        try:
            yield self._accounts.slot(number)
        finally:
            self._free.put(number)

    def _wait_for_slot(self, on_line: OnLine, cancelled: Cancelled) -> int:
        deadline, told = time.monotonic() + self._settings.build_timeout, False
        while not cancelled() and time.monotonic() < deadline:
            try:
                return self._free.get(timeout=0 if not told else 0.5)
            except queue.Empty:
                if not told:
                    on_line("       other builds run: waiting for a free slot")
                told = True
        if cancelled():
            raise _cancelled()
        raise DaeError("build/busy", "other builds ran all the time: no place became free", "try again later")

    def _run(
        self, work: Path, number: int, account: str | None, on_line: OnLine, cancelled: Cancelled
    ) -> tuple[Ended, DaeError | None]:
        """How it ended, and the limit of its control group that it met."""
        _require_folder(work)
        name = f"build-{int(number)}"
        argv = [sys.executable, "-I", "-m", "runner.launch", str(self._home.root), name]
        with build_bounds(self._settings, self._home, work, account) as bounds:
            try:
                self._prepare(work, account)
                self._spec(work, name, account, bounds).save(self._home)
                ended = self._stream(argv, work, on_line, cancelled)
                return ended, bounds.broken()
            finally:
                spec.remove(self._home, name)
                self._take_back(work, account)

    def _stream(self, argv: Sequence[str], work: Path, on_line: OnLine, cancelled: Cancelled) -> Ended:
        """Run it to its end; raises what says that it wrote or printed more than a build may."""
        disk = DiskWatch(work, self._settings.build_disk)

        def stopped() -> bool:
            disk.look()
            return cancelled()

        lines = Lines(self._settings.build_output, self._flooded)
        ended = stream(argv, on_line, timeout=self._settings.build_timeout, cancelled=stopped, lines=lines)
        disk.insist()
        return ended

    def _flooded(self) -> None:
        """Stopped, not silenced: such a build is in a loop mostly, and what it says at its end would be missing."""
        cause = f"the build printed more than {self._settings.build_output >> 10} KiB"
        raise DaeError("build/limit", cause, "have it print less, or ask for more (build_output)")

    def _prepare(self, work: Path, account: str | None) -> None:
        """Give the work folder, made by control, to the slot's account."""
        if account is not None:
            user, platform = pwd.getpwnam(account), pwd.getpwnam(self._settings.account)
            procs.kill_all_of(user.pw_uid)
            seal.give(work, user.pw_uid, user.pw_gid, frozenset({platform.pw_uid}))

    def _take_back(self, work: Path, account: str | None) -> None:
        if account is None:
            own = frozenset({os.geteuid()})
            work.chmod(0o700)  # the build ran as this user and may have closed it
            seal.seal(work, seal.Owners(own, own))
            return
        slot, platform = pwd.getpwnam(account).pw_uid, pwd.getpwnam(self._settings.account)
        procs.kill_all_of(slot)
        accepted, linked = frozenset({slot, platform.pw_uid}), frozenset({slot})
        owners = seal.Owners(accepted, linked, platform.pw_uid, platform.pw_gid)
        seal.seal(work, owners)

    def _spec(self, work: Path, name: str, account: str | None, bounds: Bounds) -> LaunchSpec:
        return LaunchSpec(
            name=name,
            argv=(*self._worker, str(work)),
            environ={**CLEAN_ENVIRON, "HOME": str(work), "TMPDIR": str(work / "tmp"), "PYTHONUNBUFFERED": "1"},
            cwd=str(work),
            account=account,
            umask=0o022,
            limits=build_limits(self._settings, root=account is not None, grouped=bounds.group is not None),
            die_with_parent=True,
            sandbox=bounds.sandbox,
        )


def _require_folder(work: Path) -> None:
    try:
        is_folder = stat.S_ISDIR(work.lstat().st_mode)
    except FileNotFoundError:
        is_folder = False
    if not is_folder:
        raise DaeError("build/failed", "the build has no work folder", "push again")


def _cancelled() -> DaeError:
    return DaeError("push/cancelled", "the build was stopped: nobody waits for it", "push again")


def _result(work: Path, ended: Ended) -> dict[str, Any]:
    """What the build's account wrote: its word, which control checks."""
    try:
        folder = os.open(work, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            file = os.open("result.json", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        finally:
            os.close(folder)
        with os.fdopen(file, "rb") as opened:
            data = json.loads(opened.read(_RESULT_BYTES))
    except (OSError, ValueError) as error:
        if not has_room(work.parent):
            raise disk_full("the build could not write its result") from error
        how = f"signal {-ended.status}" if ended.status < 0 else f"status {ended.status}"
        hint = "its last lines are above"
        if ended.status == -signal.SIGKILL:  # nothing of ours sent it: what we end has another error
            hint = "most likely this machine was out of memory; require packages with wheels, or push again"
        raise DaeError("build/failed", f"the build ended with {how} and no result", hint) from error
    if not isinstance(data, dict):
        raise DaeError("build/failed", "the build's result is not an object", "push again")
    code = data.get("error")
    if code:
        known = isinstance(code, str) and code.startswith(("build/", "platform/disk-full")) and code in CATALOG
        raise DaeError(code if known else "build/failed", str(data.get("cause", code)), str(data.get("hint", "")))
    return data
