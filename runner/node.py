"""The instances of this node: started, stopped and reconciled through supervisord."""

from __future__ import annotations

import logging
import pwd
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from core.config import Settings
from core.errors import DaeError
from core.nouns import Health, Instance, ProcessType, Slug
from core.paths import Home
from runner import folders, health, procs, spec, tails
from runner.accounts import Accounts
from runner.confine import instance_sandbox
from runner.desired import Desired
from runner.ending import Ending, HasEnded, command_failed
from runner.instances import ReleaseFile, load_release, load_slug, process_of, spec_for
from runner.plan import Start, plan, text
from runner.spec import LaunchSpec
from runner.stream import stream
from runner.supervisor import Supervisor
from runner.warm import SECONDS, Waiting, order

log = logging.getLogger("dae.agent")

_POLL = 0.03
_KILL_SECONDS = 5.0
_WORKER_SECONDS = 1.0  # a worker that lives so long counts as started: it has no health check
OnLine = Callable[[str], None]


class Node:
    """What runs here. Any thread may call; two calls never touch one instance at the same time."""

    def __init__(self, settings: Settings, home: Home, accounts: Accounts, supervisor: Supervisor) -> None:
        self._settings = settings
        self._home = home
        self._accounts = accounts
        self._supervisor = supervisor
        self.desired = Desired(home)
        self._busy: set[str] = set()
        self._waiting: dict[str, Waiting] = {}  # what was started for a release to come
        self._changed = threading.Condition()

    # -- the operations ----------------------------------------------------------------------------------------------

    def instances(self) -> list[dict[str, Any]]:
        """``{"key", "pid", "state", "since"}`` for each instance that supervisord keeps."""
        found = sorted(self._supervisor.instances().values(), key=lambda i: i.key)
        return [
            {"key": i.key, "pid": i.pid, "state": i.state, "since": i.since}
            for i in found
            if i.key not in self._waiting
        ]

    def warm(self, key: str, like: int, unwanted: HasEnded) -> None:
        """Get ready to start an instance like those of release ``like``, for as long as who asked waits.

        When :meth:`start` was not called for it until ``unwanted``, or within a minute, it is ended.
        """
        instance = Instance.from_key(key)
        with self._claim([key]):
            if key in self._supervisor.instances():
                return
            model = replace(load_release(self._home, instance.app, like), number=instance.release)
            waiting = Waiting.like(self._launch(instance, model, load_slug(self._home, model.slug)))
            if waiting is None:
                return
            self._spawn(instance, waiting.launch, known=False, waiting=True)
            self._waiting[key] = waiting
        unwanted(SECONDS)
        with self._claim([key]):
            if self._waiting.pop(key, None) is not None:
                self._end([key], grace=0)

    def start(self, key: str, on_line: OnLine, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Start an instance and wait until it serves (web) or has lived for a second (worker).

        When it does not, it is stopped and removed, ``on_line`` gets the last lines that this start logged, and
        ``release/crashed``, ``release/unhealthy`` or ``release/silent`` is raised; ``push/cancelled`` when nobody
        waits any more: an instance that nobody was told of must not stay.
        """
        instance = Instance.from_key(key)
        with self._claim([key]):
            running = self._supervisor.instances().get(key)
            before = tails.place(self._home.instance_log(instance))
            launch, check = self._spec(instance)
            waiting = self._waiting.pop(key, None)
            # It runs already: it is checked, and let be.
            there = running is not None and running.pid != 0 and waiting is None
            pid = running.pid if running and there else self._tell(instance, launch, waiting)
            pid = pid or self._spawn(instance, launch, known=running is not None)
            ending = Ending(pid)

            def ended(seconds: float) -> bool:
                if cancelled():
                    raise DaeError("push/cancelled", f"nobody waits for {key} any more", "deploy again")
                return ending(seconds)

            try:
                self._await(instance, launch, check, ended)
                ended(0)
            except BaseException:
                if not there:
                    self._end([key], grace=0)
                for line in tails.since(self._home.instance_log(instance), before) or ["(it wrote nothing)"]:
                    on_line(line)
                raise
            finally:
                ending.close()
            self.desired.change(add=[key])

    def stop(self, keys: Sequence[str], grace: int) -> None:
        """Stop instances together: SIGTERM, ``grace`` seconds, SIGKILL; ones that do not run are no error."""
        known = [Instance.from_key(key).key for key in keys]
        with self._claim(known):
            self.desired.change(drop=known)
            self._end(known, grace)

    def reconcile(self, desired: Sequence[str] | None, spare: Sequence[str] = ()) -> dict[str, Any]:
        """Start what is missing, without waiting for health, and stop what nobody wants; ``spare`` is left as it is.

        ``desired`` None: what was wanted last. Instances that another call works on are left to it. Returns
        ``{"started", "stopped", "failed"}``: keys, keys, and the error by key.
        """
        with self._changed:
            wanted = {key: Instance.from_key(key) for key in (self.desired.read() if desired is None else desired)}
            self.desired.replace(wanted)
            there = {key: Instance.from_key(key) for key in self._supervisor.instances()}
            steps = [
                s
                for s in plan(wanted.values(), there.values())
                if s.instance.key not in self._busy.union(spare, self._waiting)
            ]
            keys = [step.instance.key for step in steps]
            self._busy.update(keys)
        try:
            log.info("reconciling: %s", text(steps).replace("\n", "; ") or "nothing to do")
            starts = [step.instance for step in steps if isinstance(step, Start)]
            failed = {i.key: error.to_json() for i in starts if (error := self._try_spawn(i)) is not None}
            stops = [step.instance.key for step in steps if not isinstance(step, Start)]
            self._end(stops, self._settings.drain_timeout)
        finally:
            self._release(keys)
        return {"started": [i.key for i in starts if i.key not in failed], "stopped": stops, "failed": failed}

    def release_command(self, app: str, number: int, on_line: OnLine, cancelled: Callable[[], bool]) -> None:
        """Run the slug's release command as the app, with the release's environment; none is no error.

        Raises ``release/command-failed``.
        """
        release = load_release(self._home, app, number)
        slug = load_slug(self._home, release.slug)
        process = slug.process(ProcessType.RELEASE)
        if process is None:
            return
        self.ensure_app(app)
        instance = Instance.from_key(f"{app}.{release.stage}.v{number}.{process.name}.1")
        with self._claim([instance.key]):
            launch = self._launch(instance, release, slug)
            replace(launch, die_with_parent=True).save(self._home)
            argv = [sys.executable, "-I", "-m", "runner.launch", str(self._home.root), instance.key]
            seconds = slug.release_timeout or self._settings.release_timeout
            try:
                ended = stream(argv, on_line, timeout=seconds, cancelled=cancelled)
            finally:
                spec.remove(self._home, instance.key)
        if ended.timed_out or ended.cancelled or ended.status != 0:
            raise command_failed(process.command, ended, seconds)

    def ensure_app(self, app: str) -> str | None:
        """Make the app's account and folders; returns its group. Raises ``runner/account``."""
        try:
            return self._accounts.ensure_app(app)
        except OSError as error:  # the app may have put something else in a folder's place
            raise DaeError("runner/account", f"the folders of {app} are not as they should be: {error}") from error

    def remove_app(self, app: str) -> None:
        """Stop everything of the app, remove its account, folders, data and logs."""
        self.stop(self._of(app), 0)
        self._accounts.remove_app(app)

    def rename_app(self, app: str, to: str) -> None:
        """Move the account and folders of an app; what still runs of it is stopped."""
        self.stop(self._of(app), self._settings.drain_timeout)
        self._accounts.rename_app(app, to)

    # -- how ---------------------------------------------------------------------------------------------------------

    def _of(self, app: str) -> list[str]:
        return [
            key for key in {*self._supervisor.instances(), *self.desired.read()} if Instance.from_key(key).app == app
        ]

    @contextmanager
    def _claim(self, keys: Sequence[str]) -> Iterator[None]:
        """Have instances for oneself: all of them at once, so that two callers never wait for each other."""
        with self._changed:
            self._changed.wait_for(lambda: not self._busy & set(keys))
            self._busy.update(keys)
        try:
            yield
        finally:
            self._release(keys)

    def _release(self, keys: Iterable[str]) -> None:
        with self._changed:
            self._busy.difference_update(keys)
            self._changed.notify_all()

    def _spec(self, instance: Instance) -> tuple[LaunchSpec, Health | None]:
        """How to start it, and how a web instance is checked."""
        release = load_release(self._home, instance.app, instance.release)
        slug = load_slug(self._home, release.slug)
        launch = self._launch(instance, release, slug)
        web = process_of(instance, slug).kind is ProcessType.WEB
        return launch, slug.health if web else None

    def _launch(self, instance: Instance, release: ReleaseFile, slug: Slug) -> LaunchSpec:
        settings, home, account = self._settings, self._home, self._accounts.app(instance.app)
        sandbox = instance_sandbox(settings, home, instance.app, account)
        return spec_for(instance, release, slug, settings, home, account, sandbox)

    def _tell(self, instance: Instance, launch: LaunchSpec, waiting: Waiting | None) -> int:
        """Have the one that waits become ``launch``; returns its pid, 0 when it cannot, or has ended."""
        if waiting is None or not waiting.fits(launch):
            return 0
        launch.save(self._home)  # supervisord starts it from this when it ends, be it before it was told
        return self._supervisor.tell(instance.key, order(launch))

    def _spawn(self, instance: Instance, launch: LaunchSpec, *, known: bool, waiting: bool = False) -> int:
        if known:  # supervisord keeps it, but it has no process: begin afresh
            self._end([instance.key], grace=0)
        self.ensure_app(instance.app)
        launch.save(self._home)
        return self._supervisor.start(instance, waiting=waiting)

    def _try_spawn(self, instance: Instance) -> DaeError | None:
        """Start one of many; what is wrong with it must not keep the others from starting."""
        try:
            self._spawn(instance, self._spec(instance)[0], known=False)
        except DaeError as error:
            log.error("%s was not started: %s", instance.key, error.line())
            return error
        return None

    def _await(self, instance: Instance, launch: LaunchSpec, check: Health | None, ended: HasEnded) -> None:
        if check is None:
            if ended(_WORKER_SECONDS):
                raise DaeError("release/crashed", f"{instance.process} ended at once", "its last lines are above")
            return
        uid = pwd.getpwnam(launch.account).pw_uid if launch.account else None
        socket_path = self._home.app_socket(instance.app, instance.stage, instance.release, instance.index)
        port = int(launch.environ.get("PORT") or 0)
        host = self._settings.app_host(instance.app, instance.stage)
        health.wait_healthy(health.Target(None if port else socket_path, port, host, uid), check, ended)

    def _end(self, keys: Sequence[str], grace: int) -> None:
        """Stop and forget instances: bounded, whatever they do."""
        deadline = time.monotonic() + grace
        left = [key for key in keys if not self._supervisor.stop(key, grace)]
        left = self._wait_removed(left, grace)
        left = [key for key in left if not self._supervisor.kill(key)]
        left = self._wait_removed(left, _KILL_SECONDS)
        if left:
            raise DaeError("runner/unavailable", f"not even SIGKILL ended {', '.join(left)}", "see: dae doctor")
        self._end_leftovers(keys, deadline)
        for key in keys:
            i = Instance.from_key(key)
            spec.remove(self._home, key)
            # The folder is the app's: whatever it put there in the socket's place must not keep others from ending.
            try:
                folders.remove(self._home.app_socket(i.app, i.stage, i.release, i.index))
            except OSError as error:
                log.warning("%s: its socket's place was not cleared: %s", key, error)

    def _wait_removed(self, keys: list[str], seconds: float) -> list[str]:
        deadline = time.monotonic() + seconds
        while keys and time.monotonic() < deadline:
            time.sleep(_POLL)
            keys = [key for key in keys if not self._supervisor.remove(key)]
        return keys

    def _end_leftovers(self, keys: Iterable[str], deadline: float) -> None:
        """Members of the groups that outlived their leader, as the children of a shell do, have until ``deadline``."""
        found = []
        for key in keys:
            path = spec.record_path(self._home, key)
            record = procs.parse_record(path.read_text()) if path.exists() else None
            if record is not None and procs.exists(record.pid):
                found.append(record)
        while found and time.monotonic() < deadline:
            time.sleep(_POLL)
            found = procs.living(found)
        procs.end(found, grace=0)
