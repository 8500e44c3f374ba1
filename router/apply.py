"""A running nginx: routes as links; its configuration written aside, tested, swapped in as a whole, waited for."""

from __future__ import annotations

import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from core.argv import run
from core.config import Settings
from core.errors import DaeError
from core.files import sync_folder, write_atomically
from core.nouns import Route
from core.paths import Home
from router.links import Links
from router.render import render

KEPT = 3
RELOAD_SECONDS = 10.0
_GENERATION = re.compile(r"gen-([0-9]{1,12})\Z")
_POLL = 0.01


class Applier:
    """Makes nginx serve routes: links that it resolves itself (``router.links``), and the configuration to do so.

    ``router/current`` is a link to the generation of the configuration in force. Any thread may call.
    """

    def __init__(self, home: Home, settings: Settings, reload_seconds: float = RELOAD_SECONDS) -> None:
        self._home = home
        self._settings = settings
        self._reload_seconds = reload_seconds
        self._links = Links(home, settings)
        self._lock = threading.Lock()

    def apply(self, routes: Sequence[Route]) -> bool:
        """Serve exactly ``routes``, from the next request on. True: nginx runs. False: it will serve them when it does.

        Raises ``router/invalid`` for routes that cannot be.
        """
        with self._lock:
            self._links.apply(routes)
            return self.master() is not None

    def wait_up(self, seconds: float) -> bool:
        """Wait for an nginx that is being started; does it run?"""
        deadline = time.monotonic() + seconds
        while self.master() is None:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL * 10)
        return True

    def configure(self) -> bool:
        """Put the configuration of these settings and this version in force; does nothing when it is.

        Returns when no new request is taken by an old worker. True: nginx has it. False: nginx does not run, and will
        find it when it starts. Raises ``router/invalid`` (nginx refused the files) or ``release/not-routed`` (it did
        not take them in time); the generation before then stays in force.
        """
        with self._lock:
            before, master = self._current(), self.master()
            if before is not None and self._is(before):
                return master is not None
            self._swap(self._write())
            if master is None:
                self._remove_old()
                return False
            try:
                reload(master, self._reload_seconds)
            except DaeError:
                if before is not None:
                    self._swap(before)
                    reload(master, 0, must=False)
                raise
            self._remove_old()
            return True

    def admit(self, groups: set[int]) -> None:
        """Have workers that are in these groups: a process keeps the groups it began with, and apps come later.

        nginx is reloaded when its workers lack one; that is once for each new app. Raises ``release/not-routed``.
        """
        with self._lock:
            master = self.master()
            if master is not None and not all(groups <= groups_of(pid) for pid in workers(master)):
                reload(master, self._reload_seconds)

    def master(self) -> int | None:
        """The pid of the running nginx of this home, or None."""
        try:
            pid = int((self._home.agent_state / "nginx.pid").read_text())
            title = _title(pid)
        except (OSError, ValueError):
            return None
        return pid if title.startswith("nginx: master process") else None

    def _is(self, generation: Path) -> bool:
        """Whether a generation is what would be written now."""
        number = generation.name.removeprefix("gen-")
        try:
            files = render(self._settings, self._home, number)
            return all((generation / name).read_text() == text for name, text in files.items())
        except FileNotFoundError:
            return False

    def _write(self) -> Path:
        """Write the next generation and let nginx test it; returns its folder."""
        router = self._home.router
        (router / "tmp").mkdir(exist_ok=True)
        number = max([0, *self._numbers()]) + 1
        aside, final = router / "new", router / f"gen-{number}"
        shutil.rmtree(aside, ignore_errors=True)  # of an applier that was killed
        aside.mkdir(mode=0o755)
        for name, text in render(self._settings, self._home, str(number)).items():
            write_atomically(aside / name, text.encode(), 0o644)
        _test(aside)
        aside.rename(final)
        return final

    def _swap(self, generation: Path) -> None:
        link = self._home.router / "current.new"
        link.unlink(missing_ok=True)
        link.symlink_to(generation.name)
        link.rename(self._home.router / "current")
        sync_folder(self._home.router)

    def _current(self) -> Path | None:
        link = self._home.router / "current"
        return self._home.router / link.readlink() if link.is_symlink() else None

    def _numbers(self) -> list[int]:
        return [int(match[1]) for entry in self._home.router.iterdir() if (match := _GENERATION.match(entry.name))]

    def _remove_old(self) -> None:
        for number in sorted(self._numbers())[:-KEPT]:
            folder = self._home.router / f"gen-{number}"
            if folder != self._current():
                shutil.rmtree(folder)


def reload(master: int, seconds: float, *, must: bool = True) -> None:
    """Tell nginx to read its configuration, and wait until every worker that accepts is a new one.

    Raises ``release/not-routed`` when that takes longer than ``seconds``; without ``must`` nothing is waited for.
    """
    old = workers(master)
    try:
        os.kill(master, signal.SIGHUP)
    except ProcessLookupError:
        raise DaeError(
            "release/not-routed", "nginx ended before it read the new configuration", "see: dae status"
        ) from None
    if not must:
        return
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        accepting = workers(master)
        if accepting and not accepting & old:
            return
        time.sleep(_POLL)
    raise DaeError(
        "release/not-routed", f"nginx did not take the new configuration within {seconds:g} s", "see nginx-error.log"
    )


def groups_of(pid: int) -> set[int]:
    """The supplementary groups of a process (proc(5)); none when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return set()
    found = re.search(r"^Groups:\t(.*)$", status, re.MULTILINE)
    return {int(group) for group in found[1].split()} if found else set()


def workers(master: int) -> set[int]:
    """The workers that accept connections: an old one says in its title that it is shutting down."""
    children = Path(f"/proc/{master}/task/{master}/children")
    try:
        pids = [int(pid) for pid in children.read_text().split()]
    except FileNotFoundError:
        return set()
    return {pid for pid in pids if _title(pid) == "nginx: worker process"}


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0 ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _test(folder: Path) -> None:
    argv = ["nginx", "-t", "-q", "-p", f"{folder}/", "-c", "nginx.conf", "-e", "stderr"]
    try:
        outcome = run(argv)
    except FileNotFoundError:
        raise DaeError("platform/missing", "there is no nginx", "type: apt-get install -y nginx-light") from None
    if not outcome.ok:
        raise DaeError(
            "router/invalid", f"nginx: {outcome.output.strip()[-500:]}", "the generation before stays in force"
        )
