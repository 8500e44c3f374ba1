"""The build workflow: a commit becomes a slug. Nothing that runs the app's or a package's code runs here."""

from __future__ import annotations

import json
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from packaging.utils import parse_wheel_filename

import buildpacks
from buildpacks.compile import compile_code
from buildpacks.deadline import Deadline
from buildpacks.interpreters import Interpreter, find_interpreter
from buildpacks.job import Job
from buildpacks.locks import canonical
from buildpacks.wheels import Choice
from control.context import Context
from control.dependencies import changes
from control.install import Order
from control.output import Output
from core import argv, events
from core.errors import DaeError
from core.files import remove_tree, write_atomically
from core.nouns import Slug, now
from core.program import RESULT
from core.store import BuildRow
from receiver.repository import Repository
from slugs.packages import PackageStore

BUILDPACK = "python/2"
LINE_CHARS = 2000
#: Unpacking and compiling keep a core busy each: what waits here is quicker done than all at once.
_INSTALLING = threading.BoundedSemaphore(2)


@dataclass(frozen=True, slots=True)
class Source:
    """What is to be built: a commit of an app's repository, whose objects may still be in quarantine."""

    app: str
    commit: str
    who: str
    quarantine: Path | None = None


def find_slug(context: Context, app: str, commit: str) -> Slug | None:
    """The slug that a commit was built into, if its layers are still there."""
    query = (
        sa.select(BuildRow.slug)
        .where(BuildRow.app == app, BuildRow.commit == commit, BuildRow.state == "succeeded")
        .order_by(BuildRow.id.desc())
        .limit(1)
    )
    with context.store.read() as session:
        digest = session.scalar(query)
    if digest is None:
        return None
    try:
        slug = context.slugs.load(digest)
        context.slugs.verify(slug, app)
        if slug.buildpack != BUILDPACK:
            return None  # another version of the platform built it, and might build it otherwise
    except DaeError:
        return None  # gone or damaged: it is built again
    return slug


def build(context: Context, source: Source, output: Output) -> Slug:
    """Build a commit, with a record and a log; returns its slug; raises ``build/*``."""
    number = _begin(context, source)
    path = context.home.build_log(number)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as log:
        teed = output.teed(lambda line: print(line, file=log, flush=True))
        try:
            slug = _Build(context, source, number, teed).run()
        except BaseException as error:
            code = error.code if isinstance(error, DaeError) else "platform/internal"
            print(f" !     {error}", file=log)
            _finish(context, source, number, error=code)
            raise
    _finish(context, source, number, slug=slug.digest)
    return slug


def _begin(context: Context, source: Source) -> int:
    with context.store.write() as session:
        row = BuildRow(
            app=source.app, commit=source.commit, who=source.who, state="running", slug="", error="", created=now()
        )
        session.add(row)
        session.flush()
        data = {"build": row.id, "commit": source.commit}
        events.append(session, "build-started", app=source.app, who=source.who, data=data)
        return row.id


def _finish(context: Context, source: Source, number: int, slug: str = "", error: str = "") -> None:
    with context.store.write() as session:
        row = session.get_one(BuildRow, number)
        row.state, row.slug, row.error, row.finished = ("failed" if error else "succeeded"), slug, error, now()
        data = {"build": number, "commit": source.commit, "slug": slug, "error": error}
        events.append(session, f"build-{row.state}", app=source.app, who=source.who, data=data)


def _environment_before(context: Context, app: str, number: int) -> str | None:
    """The environment of the app's last build that succeeded before build ``number``."""
    query = (
        sa.select(BuildRow.slug)
        .where(BuildRow.app == app, BuildRow.id < number, BuildRow.state == "succeeded")
        .order_by(BuildRow.id.desc())
        .limit(1)
    )
    with context.store.read() as session:
        digest = session.scalar(query)
    try:
        return context.slugs.load(digest).environment if digest else None
    except DaeError:
        return None  # its manifest is gone: nothing to compare with


class _Build:
    """One build: the code layer, the environment layer, the manifest."""

    def __init__(self, context: Context, source: Source, number: int, output: Output) -> None:
        self.context = context
        self.source = source
        self.number = number
        self.output = output
        self.deadline = Deadline.after(context.settings.build_timeout)

    def run(self) -> Slug:
        code = self._work("code")
        try:
            tree = self._check_out(code)
            recipe = buildpacks.detect(code)
            wanted = recipe.python
            interpreter = find_interpreter(wanted.runtime, self.context.accounts, wanted.requires)
            for note in wanted.notes(interpreter.version, now().date()):
                self.output.warn(note)
            self.output.detail(f"{interpreter.id}, {', '.join(p.name for p in recipe.processes)}")
            self.output.check()
            environment = self._environment(recipe, interpreter)
            self._tell_changes(environment)
            self.output.check()
            self._add_code(code, tree, interpreter)
        finally:
            remove_tree(code)
        slug = Slug(
            commit=self.source.commit,
            code=tree,
            environment=environment,
            interpreter=interpreter.id,
            buildpack=BUILDPACK,
            processes=recipe.processes,
            handlers=recipe.handlers,
            health=recipe.health,
            workers=recipe.workers,
        )
        digest = self.context.slugs.save(slug)
        self.output.detail(f"slug {digest[:12]} = environment {environment[:12]} + code {tree[:12]}")
        return slug

    def _work(self, name: str) -> Path:
        path = self.context.home.builds / f"{self.number}-{name}"
        remove_tree(path)
        return path

    def _check_out(self, code: Path) -> str:
        settings = self.context.settings
        self.output.step(f"Building {self.source.app} from {self.source.commit[:12]}")
        repository = Repository(self.context.home, self.source.app)
        return repository.checkout(
            self.source.commit,
            code,
            max_bytes=settings.tree_bytes,
            max_files=settings.tree_files,
            quarantine=self.source.quarantine,
        )

    def _add_code(self, code: Path, tree: str, interpreter: Interpreter) -> None:
        slugs, app = self.context.slugs, self.source.app
        if slugs.has_code(app, tree):
            return
        for warning in compile_code(code, interpreter.python, self.context.home.code(app, tree)):
            self.output.warn(warning)
        group = self.context.node.agent.ensure_app(app)
        slugs.add_code(app, tree, code, group)

    def _environment(self, recipe: buildpacks.Recipe, interpreter: Interpreter) -> str:
        """The digest of the environment layer; nothing is resolved or installed when it is there already."""
        engine = recipe.installer or self.context.settings.installer
        kept = self.context.home.locks / f"{buildpacks.lock_key(recipe, interpreter.id, engine)}.txt"
        job = Job(
            engine=engine,
            python=str(interpreter.python),
            interpreter=interpreter.id,
            index_url=self.context.settings.index_url,
            requirements=recipe.requirements,
            requirements_file=recipe.requirements_file,
            timeout=self._seconds_left(),
        )
        known = kept.exists()
        lock = kept.read_text() if known else self._lock(job)
        digest = buildpacks.environment_digest(lock, interpreter.id)
        if self.context.slugs.has_environment(digest):
            what = "Requirements unchanged: nothing to resolve" if known else "An environment of this lock is there"
            self.output.step(f"{what}, nothing to install")
        else:
            self._install(job, interpreter, lock, digest)
        if not known:  # not before: a lock that cannot be installed is made anew by the next push
            write_atomically(kept, lock.encode())
        return digest

    def _tell_changes(self, environment: str) -> None:
        """Show which packages are others than in the app's build before this one."""
        before = _environment_before(self.context, self.source.app, self.number)
        if before is None or before == environment:
            return
        store = PackageStore(self.context.home)
        old, new = ({o.name: o.version for o in store.contents(digest)} for digest in (before, environment))
        lines = changes(old, new) if old else []
        if lines:
            self.output.step("Packages that changed")
            for line in lines:
                self.output.detail(line)

    def _seconds_left(self) -> int:
        """Of the time that the whole build has; raises ``build/timeout``."""
        return max(1, int(self.deadline.left()))

    def _lock(self, job: Job) -> str:
        with self._built(job) as (result, _work):
            return canonical(str(result.get("lock")))

    def _install(self, job: Job, interpreter: Interpreter, lock: str, digest: str) -> None:
        """Make the environment of nothing but the lock that names it.

        What comes as a wheel is unpacked, by the platform itself. What does not is built before, each in a run of its
        own: code of a package that ran beside others could change what they are, for all apps that have them.
        """
        label = f"build{self.number}"
        order = Order(
            home=str(self.context.home.root),
            digest=digest,
            lock=lock,
            label=label,
            index_url=job.index_url,
            python=job.python,
            version=interpreter.version,
            interpreter=interpreter.id,
            timeout=self._seconds_left(),
        )
        work = self._work("install")
        work.mkdir(mode=0o700)
        try:
            for choice in self._ordered(order, work):
                if choice.file.sha256 not in order.built:
                    order.built[choice.file.sha256] = str(self._wheel(job, choice, work))
            order = replace(order, timeout=self._seconds_left())
            if order.built and (left := self._ordered(order, work)):
                cause = f"{left[0].file.filename} was built and is still asked for"
                raise DaeError("build/failed", cause, "push again")
        finally:
            remove_tree(work)
            PackageStore(self.context.home, label).remove_unfinished()

    def _ordered(self, order: Order, work: Path) -> list[Choice]:
        """Have the order carried out; returns what must be built first."""
        write_atomically(work / "order.json", order.to_json())

        def on_line(line: str) -> None:
            self.output.raw("".join(letter for letter in line[:LINE_CHARS] if letter.isprintable()))

        command: list[str | Path] = [sys.executable, "-I", "-m", "control.install", work]
        if not _INSTALLING.acquire(blocking=False):
            self.output.detail("other builds install: waiting for them")
            if not _INSTALLING.acquire(timeout=order.timeout):
                raise DaeError("build/timeout", "other builds did not end in time", "push again")
        try:
            outcome = argv.run(command, timeout=order.timeout, on_line=on_line, check=self.output.check)
        finally:
            _INSTALLING.release()
        if outcome.timed_out:
            cause = f"the build was stopped after {self.context.settings.build_timeout} s, while it installed"
            raise DaeError("build/timeout", cause, "push again: packages that are installed stay")
        try:
            result = json.loads((work / RESULT).read_bytes())
        except (FileNotFoundError, ValueError) as error:
            cause = f"installing ended with status {outcome.status} and no result"
            raise DaeError("build/failed", cause, "its last lines are above") from error
        (work / RESULT).unlink()
        if "error" in result:
            raise DaeError.from_json(result)
        return [Choice.from_json(fields) for fields in result["sources"]]

    def _wheel(self, job: Job, choice: Choice, work: Path) -> Path:
        """Build a source distribution into a wheel; returns where that lies, below ``work``."""
        with self._built(replace(job, requirements="", source=choice.file, timeout=self._seconds_left())) as (
            result,
            built,
        ):
            name, folder = str(result.get("wheel")), work / f"built-{choice.file.sha256}"
            folder.mkdir()
            try:
                parse_wheel_filename(name)
                if "/" in name or not stat.S_ISREG((built / "wheel" / name).lstat().st_mode):
                    raise ValueError("it is no file")
                return (built / "wheel" / name).rename(folder / name)
            except (OSError, ValueError) as error:
                raise DaeError("build/failed", f"the build left no wheel called {name[:80]!a}", "push again") from error

    @contextmanager
    def _built(self, job: Job) -> Iterator[tuple[dict[str, Any], Path]]:
        """The result of a run in a build's account, and the folder that it was done in, which is removed afterwards."""
        work = self.context.home.builds / str(self.number)
        remove_tree(work)
        work.mkdir(mode=0o700)
        try:
            write_atomically(work / "job.json", job.to_json(), 0o644)
            yield self.context.node.agent.build(self.number, self.output.raw), work
        finally:
            remove_tree(work)
