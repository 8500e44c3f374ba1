"""Activation: how a wanted release becomes the live one. Deploy, promotion, rollback and config changes end here."""

from __future__ import annotations

from dataclasses import dataclass, replace

from control import releases
from control.context import Context
from control.output import Output
from control.plan import Plan, Step
from control.releases import Wanted
from control.wholeness import Reading
from core.errors import disk_full
from core.files import has_room
from core.nouns import Action, ProcessType, Release, ReleaseState

#: Going back must be quick and must not migrate; a config change brings no code.
RUNS_RELEASE_COMMAND = frozenset({Action.DEPLOY, Action.PROMOTE})


@dataclass
class Activation:
    """One activation. ``release`` is there once its row is written; ``old`` is what was live before.

    ``reading``: that of the slug, without which only the plan can be shown.
    """

    context: Context
    wanted: Wanted
    number: int
    old: Release | None
    release: Release | None = None
    reading: Reading | None = None

    @classmethod
    def prepare(cls, context: Context, wanted: Wanted) -> Activation:
        """Look at what is live; the caller holds the app's lock."""
        old = releases.live(context.store, wanted.app).get((wanted.app, wanted.stage))
        return cls(context, wanted, releases.next_number(context.store, wanted.app), old)

    @property
    def candidate(self) -> Release:
        if self.release is None:
            raise RuntimeError("the release's row is the plan's first step")
        return self.release

    def plan(self) -> Plan:
        """Record, release command, start beside the old, route; commit; workers, drain."""
        wanted, name = self.wanted, f"v{self.number}"
        host = self.context.settings.app_host(wanted.app, wanted.stage)
        before = [Step(f"record {name} in {wanted.stage}", self._record, self._failed)]
        command = wanted.slug.process(ProcessType.RELEASE)
        if command is not None and wanted.action in RUNS_RELEASE_COMMAND:
            before.append(Step(f"run the release command: {command.command}", self._release_command))
        if wanted.slug.process(ProcessType.WEB) is not None:
            health = wanted.slug.health
            text = f"start {name} on a socket of its own, wait until {health.path} answers, read every byte of it"
            before.append(Step(text, self._start_web, self._stop_web))
        else:
            before.append(Step(f"read every byte of {name}", lambda _output: self._read.mended()))
        if wanted.slug.process(ProcessType.WORKER) is not None:
            text = f"start the workers of {name} beside the old ones"
            before.append(Step(text, lambda output: self._start(ProcessType.WORKER, output), self._stop_workers))
        if wanted.slug.process(ProcessType.WEB) is not None:
            before.append(Step(f"route {host} to {name}", lambda _output: self._route(), self._unroute))
        old = f", {self.old.name} superseded" if self.old else ""
        commit = Step(f"{name} is live in {wanted.stage}{old}", lambda _output: self._commit())
        after = []
        if self.old is not None:
            if self.context.node.slug(self.old).process(ProcessType.WORKER) is not None:
                after.append(Step(f"stop the workers of {self.old.name}", lambda _output: self._stop_old_workers()))
            seconds = self.context.settings.drain_timeout
            after.append(
                Step(
                    f"let {self.old.name} finish its requests (at most {seconds} s), stop it",
                    lambda _output: self._drain(),
                )
            )
        after.append(Step("note what should run on this node", lambda _output: self.context.node.reconcile()))
        return Plan(before, commit, after)

    def _record(self, output: Output) -> None:
        output.step(f"Releasing v{self.number} to {self.wanted.stage}")
        self.release = releases.record(self.context.store, self.context.home, self.wanted)

    def _failed(self, code: str) -> None:
        if self.release is not None:
            releases.fail(self.context.store, self.release, code)

    def _release_command(self, output: Output) -> None:
        self._read.mended()  # what it does to a database stays done
        output.step("Running the release command")
        self.context.node.release_command(self.candidate, output)

    @property
    def _read(self) -> Reading:
        if self.reading is None:
            raise RuntimeError("a slug goes live only while every byte of it is read")
        return self.reading

    def _start_web(self, output: Output) -> None:
        self._read.started(lambda: self._start(ProcessType.WEB, output), lambda: self._stop_web(""))

    def _start(self, kind: ProcessType, output: Output) -> None:
        for instance in self.context.node.instances(self.candidate, kind):
            self.context.node.start(instance, output.detail)

    def _stop_web(self, _code: str) -> None:
        self.context.node.stop(self.context.node.instances(self.candidate, ProcessType.WEB))

    def _stop_workers(self, _code: str) -> None:
        self.context.node.stop(self.context.node.instances(self.candidate, ProcessType.WORKER))

    def _route(self) -> None:
        self.context.node.route_to(self.candidate)

    def _unroute(self, _code: str) -> None:
        if self.release is not None:
            self.context.node.forget(self.release)  # or it would be routed again
            self.context.node.route()

    def _commit(self) -> None:
        # After the switch git still has to take the objects in and to move the ref: it would refuse what is live.
        if self.wanted.push and not has_room(self.context.home.repos):
            raise disk_full("there is no room on the disk for moving the branch")
        releases.make_live(self.context.store, self.candidate, self.wanted.config)
        self.release = replace(self.candidate, state=ReleaseState.LIVE)

    def _stop_old_workers(self) -> None:
        if self.old is not None:
            node = self.context.node
            node.stop(node.instances(self.old, ProcessType.WORKER), self.context.settings.drain_timeout)

    def _drain(self) -> None:
        if self.old is not None:
            node = self.context.node
            node.retire(node.instances(self.old, ProcessType.WEB), self.context.settings.drain_timeout)

    def run(self, reading: Reading, output: Output) -> Release:
        """Do it and return the live release; when it fails nothing has changed but the failed release's row."""
        self.reading = reading
        try:
            self.plan().run(output)
        finally:
            if self.release is not None:
                self.context.node.forget(self.release)
        return self.candidate
