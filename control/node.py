"""This node as the workflows see it: what should run and be routed is always derived from the store, whole.

Two workflows on two apps run side by side. What one of them has started but not committed yet (a candidate), and what
still drains, is kept here, so that the other's reconciliation neither stops nor unroutes it. When control is killed
the memory is gone, and so recovery's reconciliation tidies up exactly what was not committed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from control import releases
from control.crashes import Ran, explained
from control.output import Output
from control.tracebacks import shortened
from core.errors import DaeError, disk_full
from core.files import has_room
from core.nouns import Instance, ProcessType, Release, Route, Slug, Stage
from core.paths import Home
from core.store import Store
from runner.client import Agent, Check, OnLine
from runner.instances import load_release
from slugs import SlugStore

log = logging.getLogger("dae.control")

SETTLE_SECONDS = 1
LINES_SHOWN = 25


class Node:
    """Starts, stops and routes instances through the node's agent."""

    def __init__(self, agent: Agent, store: Store, slugs: SlugStore, home: Home) -> None:
        self.agent = agent
        self._store = store
        self._slugs = slugs
        self._home = home
        self._kept: set[str] = set()
        self._candidates: dict[tuple[str, Stage], Release] = {}
        self._applying = threading.RLock()
        self._slug_cache: dict[str, Slug] = {}
        self._ports: dict[tuple[str, int], int] = {}
        #: Set when the agent went away while it was asked something: what it did of that is not known.
        self.disturbed = threading.Event()

    @contextmanager
    def _asking(self) -> Iterator[Agent]:
        try:
            yield self.agent
        except DaeError as error:
            if error.code == "runner/unavailable":
                self.disturbed.set()
            raise

    def slug(self, release: Release) -> Slug:
        """The release's manifest; it never changes, so it is read once."""
        if release.slug not in self._slug_cache:
            self._slug_cache[release.slug] = self._slugs.load(release.slug)
        return self._slug_cache[release.slug]

    def instances(self, release: Release, kind: ProcessType) -> list[Instance]:
        """The instances of a kind that a release consists of."""
        found = [p for p in self.slug(release).processes if p.kind is kind]
        return [Instance(release.app, release.stage, release.number, p.name, release.index) for p in found]

    def start(self, instance: Instance, on_line: OnLine, check: Check = lambda: None) -> None:
        """Start one instance; a web instance answers when this returns. It is left alone until :meth:`forget`.

        ``check`` is called several times a second; what it raises ends the instance.
        """
        self._kept.add(instance.key)
        lines: list[str] = []
        try:
            with self._asking() as agent:
                agent.start(instance.key, lines.append, check)
        except DaeError as error:
            if not error.code.startswith("release/"):
                raise
            ran = self._ran(instance.app, instance.release, instance.process)
            for line in shortened(lines, ran.code)[-LINES_SHOWN:]:
                on_line(line)
            if not has_room(self._home.root):  # the launcher, too, writes before it starts anything
                raise disk_full(f"there is no room on the disk for starting {instance.process}") from error
            _explain(error, lines, ran)
            raise

    def start_all(self, instances: Iterable[Instance], on_line: OnLine, check: Check = lambda: None) -> None:
        """Start them one after the other, as :meth:`start` does."""
        for instance in instances:
            self.start(instance, on_line, check)

    def release_command(self, release: Release, output: Output) -> None:
        """Run the release command, if it has one; raises ``release/command-failed``."""
        lines: list[str] = []

        def heard(line: str) -> None:
            lines.append(line)
            output.detail(line)

        try:
            self.agent.release_command(release.app, release.number, heard, output.check)
        except DaeError as error:
            _explain(error, lines, self._ran(release.app, release.number, ProcessType.RELEASE))
            raise

    def _ran(self, app: str, number: int, process: str) -> Ran:
        slug = self._slugs.load(load_release(self._home, app, number).slug)
        command = next((found.command for found in slug.processes if found.name == process), "")
        return Ran(self._home.code(app, slug.code), self._home.environment(slug.environment), command)

    def stop(self, instances: Iterable[Instance], grace: int = 5) -> None:
        """Stop instances and forget them."""
        keys = [instance.key for instance in instances]
        with self._asking() as agent:
            agent.stop(keys, grace)
        self._kept.difference_update(keys)

    def retire(self, instances: Iterable[Instance], grace: int) -> None:
        """Let instances finish their requests and stop them, without making anybody wait."""
        chosen = list(instances)
        self._kept.update(instance.key for instance in chosen)
        threading.Thread(target=self._retire, args=(chosen, grace), daemon=True).start()

    def _retire(self, instances: list[Instance], grace: int) -> None:
        # Requests that were on their way to the old socket when the route changed are accepted by then: a listener
        # that closes resets those that still wait in its queue.
        time.sleep(SETTLE_SECONDS)
        try:
            self.stop(instances, grace)
        except DaeError as error:
            log.warning("retiring %s: %s", [i.key for i in instances], error.line())
            self._kept.difference_update(i.key for i in instances)  # the next reconciliation stops them

    def route_to(self, candidate: Release) -> None:
        """Route the candidate's stage to it; everything else as the store has it."""
        self._candidates[candidate.app, candidate.stage] = candidate
        self.route()

    def forget(self, candidate: Release) -> None:
        """The candidate became live, or failed: from now on the store alone decides about it."""
        self._candidates.pop((candidate.app, candidate.stage), None)
        for kind in (ProcessType.WEB, ProcessType.WORKER):
            self._kept.difference_update(instance.key for instance in self.instances(candidate, kind))

    def route(self) -> None:
        """Make the router serve what the store says, and the candidates."""
        with self._applying, self._asking() as agent:
            wanted = {**releases.live(self._store), **self._candidates}
            agent.route([asdict(self._route(wanted[key])) for key in sorted(wanted)])

    def _route(self, release: Release) -> Route:
        key = (release.app, release.number)
        if key not in self._ports:
            self._ports[key] = int(releases.read_file(self._home, release)["port"])
        return Route(
            host="",  # the agent knows the domain
            app=release.app,
            stage=release.stage,
            release=release.number,
            index=release.index,
            port=self._ports[key],
            code=self.slug(release).code,
        )

    def desired(self) -> list[str]:
        """The keys of all instances that should run."""
        keys: set[str] = set()
        for release in releases.live(self._store).values():
            for kind in (ProcessType.WEB, ProcessType.WORKER):
                keys.update(instance.key for instance in self.instances(release, kind))
        return sorted(keys)

    def reconcile(self) -> dict[str, Any]:
        """Start what is missing and stop what nobody wants; returns ``{"started", "stopped", "failed"}``.

        Candidates and what drains are neither started nor stopped: a workflow is busy with them.
        """
        with self._applying, self._asking() as agent:
            return agent.reconcile(self.desired(), sorted(self._kept))


def _explain(error: DaeError, lines: list[str], ran: Ran) -> None:
    """Raise it with what can be known of its cause, if it is that of a program of the app's."""
    if error.code in ("release/crashed", "release/command-failed", "release/unhealthy"):
        told = explained(error, lines, ran)
        raise told from (None if told is error else error)
