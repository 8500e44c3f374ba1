"""From requirements to an environment layer: locked in a build's account, installed by the platform itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import buildpacks
from buildpacks import locks
from buildpacks.deadline import Deadline
from buildpacks.facts import facts_of
from buildpacks.interpreters import Interpreter
from buildpacks.job import JOB, Job
from buildpacks.locks import Pins
from buildpacks.wheels import Choice
from control import mirror_door, programs
from control.account import built, built_wheel
from control.context import Context
from control.index_view import index_url, keeps, view_of
from control.install import Order
from control.output import Output
from control.sources import Bringer
from core.cooperative import aside
from core.errors import DaeError
from core.files import remove_tree, write_atomically
from slugs.environments import EnvironmentStore
from slugs.looks import Look

#: Unpacking and compiling keep a core busy each: what waits here is quicker done than all at once.
_INSTALLING = threading.BoundedSemaphore(2)
#: Installers that are started while versions are resolved have 25 MB each, and some are never needed.
_EARLY = threading.BoundedSemaphore(4)


#: Makes a lock in which the first pins stay as they are, and the second ones as far as they fit.
Locker = Callable[[Pins, Pins], str]


class EnvironmentMaker:
    """Makes the environment of the build ``number``, in the time that a build may take."""

    def __init__(self, context: Context, number: int, output: Output, stage: str = "") -> None:
        """``stage``: the one that is built for; its view of the index is asked, where there is one."""
        self.context = context
        self.view = view_of(context, stage)
        self.number = number
        self.output = output
        self.deadline = Deadline.after(context.settings.build_timeout)

    def make(self, recipe: buildpacks.Recipe, interpreter: Interpreter) -> str:
        """Have the environment layer of a recipe, and return its digest; what is there already is not made again.

        Raises ``build/*``.
        """
        with self.making(recipe, interpreter) as (digest, finish):
            finish("")
        return digest

    @contextmanager
    def making(
        self, recipe: buildpacks.Recipe, interpreter: Interpreter, look: Look | None = None
    ) -> Iterator[tuple[str, Callable[[str], None]]]:
        """The same in two halves: the digest, and what makes sure that the layer is there and whole.

        Until that is called, it may be neither; it takes the digest of a layer that is taken for whole unseen, as it
        is looked at before anything serves from it. ``look``: one that was begun at the layer which it probably is;
        what else a build has to do can be done while that is under way.
        """
        foreign = self._foreign(recipe, interpreter)
        said = None if foreign is None else locks.render(foreign)
        job = self._job(recipe, interpreter, recipe.constraints if foreign is None else _limits(foreign))
        key = buildpacks.lock_key(recipe, interpreter.id, job.engine, said, self.view)
        kept = self.context.home.locks / f"{key}.txt"
        known = kept.exists() and keeps(self.context, self.view, kept.read_text(), interpreter.id)
        with (
            Bringer(self.context, self.number, self.output, job, interpreter, self.deadline) as bringer,
            _Installer(self) as installer,
        ):
            if not known:
                installer.begin()
            lock = kept.read_text() if known else self._lock(job, foreign, bringer)
            digest = buildpacks.environment_digest(lock, interpreter.id)

            def finish(trusted: str) -> None:
                if digest == trusted or not self.context.slugs.environment_faults(digest, look):
                    what = (
                        "Requirements unchanged: nothing to resolve"
                        if known
                        else "An environment of this lock is there"
                    )
                    self.output.step(f"{what}, nothing to install")
                else:
                    with _dropping(kept):
                        installer.install(job, interpreter, lock, digest, bringer)
                taken = [(release.name, release.version) for release in locks.releases(lock) if release.source is None]
                for line in mirror_door.warnings(self.context.home, self.view, taken):
                    self.output.warn(line)
                if known:
                    kept.touch()  # of those that nobody asks for control.keeping has only so many
                else:  # not before: a lock that cannot be installed is made anew by the next push
                    write_atomically(kept, lock.encode())

            yield digest, finish

    @contextmanager
    def locker(self, recipe: buildpacks.Recipe, interpreter: Interpreter) -> Iterator[Locker]:
        """Makes new locks of a recipe without one; what it requires by address is brought once. Raises ``build/*``."""
        job = self._job(recipe, interpreter, recipe.constraints)
        with Bringer(self.context, self.number, self.output, job, interpreter, self.deadline) as bringer:
            brought = bringer.bring(bringer.wanted(job))

            def lock(held: Pins, preferred: Pins) -> str:
                kept, liked = _limits(held), _limits(preferred)
                wanted = replace(job, held=kept, preferred=liked, timeout=self.seconds_left())
                return self._resolved(wanted, brought, bringer)

            yield lock

    def _job(self, recipe: buildpacks.Recipe, interpreter: Interpreter, constraints: str) -> Job:
        return Job(
            engine=recipe.installer or self.context.settings.installer,
            python=str(interpreter.python),
            interpreter=interpreter.id,
            index_url=index_url(self.context, self.view),
            requirements=recipe.requirements,
            requirements_file=recipe.requirements_file,
            constraints=constraints,
            options=recipe.options,
            timeout=self.seconds_left(),
        )

    def seconds_left(self) -> int:
        """Of the time that the whole build has; raises ``build/timeout``."""
        return max(1, int(self.deadline.left()))

    def _foreign(self, recipe: buildpacks.Recipe, interpreter: Interpreter) -> Pins | None:
        """What the lock of another manager says for the interpreter; None without one."""
        if recipe.lock is None:
            return None
        pins = aside(recipe.lock.pins, facts_of(interpreter))  # of a large lock it takes seconds
        self.output.step(f"Taking {len(pins)} packages as {recipe.lock.filename} says")
        return pins

    def _lock(self, job: Job, foreign: Pins | None, bringer: Bringer) -> str:
        """A lock of what the job requires; with ``foreign`` that, and beside it what else every app gets.

        What is required by its address is brought first: what it requires itself is known only then.
        """
        wanted = bringer.wanted(job) if foreign is None else {name: pin for name, pin in foreign.items() if pin.source}
        brought = bringer.bring(wanted)
        if foreign is not None and not buildpacks.lacks_runtime(locks.render({**foreign, **brought})):
            return locks.render({**foreign, **brought})
        if foreign is not None:
            job = replace(job, requirements=bringer.of_runtime())
        return self._resolved(job, {**(foreign or {}), **brought}, bringer)

    def _resolved(self, job: Job, given: Pins, bringer: Bringer) -> str:
        """What is ``given``, and beside it what a build's account finds for the job."""
        job, code = bringer.with_wheels(job)
        with built(self.context, self.number, self.output, JOB, job.to_json(), code) as (result, _work):
            lock = locks.canonical(str(result.get("lock")))
        return locks.beside(locks.render(given), lock)


class _Installer:
    """Makes one environment of nothing but the lock that names it; what it leaves unfinished is gone after the block.

    What comes as a wheel is unpacked, by the platform itself. What does not is built before, each in a run of its own:
    code of a package that ran beside others could change what they are, for all apps that have them.
    """

    def __init__(self, maker: EnvironmentMaker) -> None:
        self._maker = maker
        self._context = maker.context
        self._label = f"build{maker.number}"
        self._work = maker.context.home.builds / f"{maker.number}-install"
        self._early: programs.Program | None = None

    def __enter__(self) -> Self:
        remove_tree(self._work)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_early()
        if self._work.exists():
            remove_tree(self._work)
            EnvironmentStore(self._context.home, self._label).remove_unfinished()

    def begin(self) -> None:
        """Start the program that will install: that takes as long as resolving some versions. Its order comes later."""
        if _EARLY.acquire(blocking=False):
            try:
                self._early = programs.Program("control.install", self._folder())
            except BaseException:
                _EARLY.release()
                raise

    def _end_early(self) -> None:
        if self._early is not None:
            early, self._early = self._early, None
            try:
                early.close()
            finally:
                _EARLY.release()

    def _folder(self) -> Path:
        if not self._work.exists():
            self._work.mkdir(mode=0o700)
        return self._work

    def install(self, job: Job, interpreter: Interpreter, lock: str, digest: str, bringer: Bringer) -> None:
        """Have the environment ``digest``; raises ``build/*``."""
        order = Order(
            home=str(self._context.home.root),
            digest=digest,
            lock=lock,
            label=self._label,
            index_url=job.index_url,
            python=job.python,
            version=interpreter.version,
            interpreter=interpreter.id,
            tags=facts_of(interpreter).tags,
            timeout=self._maker.seconds_left(),
            built=bringer.built(),
        )
        work = self._folder()
        missing = self._ordered(order, work)
        order.built.update(bringer.built_again(lock, [choice for choice in missing if choice.is_direct]))
        for choice in missing:
            if choice.file.sha256 not in order.built:
                order.built[choice.file.sha256] = str(self._wheel(job, choice, work))
        order = replace(order, timeout=self._maker.seconds_left())
        if order.built and (left := self._ordered(order, work)):
            cause = f"{left[0].file.filename} was built and is still asked for"
            raise DaeError("build/failed", cause, "push again")

    def _ordered(self, order: Order, work: Path) -> list[Choice]:
        """Have the order carried out; returns what must be built first."""
        try:
            with self._turn():
                result = self._carried_out(order, work)
        except TimeoutError as error:
            cause = f"the build was stopped after {self._context.settings.build_timeout} s, while it installed"
            raise DaeError("build/timeout", cause, "push again: packages that are installed stay") from error
        return [Choice.from_json(fields) for fields in result["sources"]]

    def _carried_out(self, order: Order, work: Path) -> dict[str, Any]:
        output = self._maker.output
        if self._early is None:
            return programs.run("control.install", work, order.to_json(), order.timeout, output)
        try:
            return self._early.carry_out(order.to_json(), order.timeout, output)
        finally:
            self._end_early()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait until one may install."""
        told = False
        while not _INSTALLING.acquire(timeout=0.5 if told else 0):
            if not told:
                self._maker.output.detail("other builds install: waiting for them")
            told = True
            self._maker.output.check()
            self._maker.deadline.left()
        try:
            yield
        finally:
            _INSTALLING.release()

    def _wheel(self, job: Job, choice: Choice, work: Path) -> Path:
        """Build a source distribution into a wheel; returns where that lies, below ``work``."""
        only = replace(
            job, requirements="", constraints="", options=(), source=choice.file, timeout=self._maker.seconds_left()
        )
        maker = self._maker
        return built_wheel(self._context, maker.number, maker.output, only, work / f"built-{choice.file.sha256}")


@contextmanager
def _dropping(kept: Path) -> Iterator[None]:
    """A lock of what the index lets through no more goes: the next push makes another one."""
    try:
        yield
    except DaeError as error:
        if error.code == "build/refused":
            kept.unlink(missing_ok=True)
        raise


def _limits(pins: Pins) -> str:
    """Of the ``pins`` what comes from the index."""
    return locks.render({name: pin for name, pin in pins.items() if pin.source is None})
