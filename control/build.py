"""The build workflow: a commit becomes a slug. Nothing that runs the app's or a package's code runs here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

import buildpacks
from buildpacks.compile import compile_code
from buildpacks.interpreters import Interpreter, find_interpreter
from buildpacks.job import Job
from buildpacks.locks import canonical
from control.context import Context
from control.output import Output
from core import events
from core.errors import DaeError
from core.files import remove_tree, write_atomically
from core.nouns import Slug, now
from core.store import BuildRow
from receiver.repository import Repository

BUILDPACK = "python/1"


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


class _Build:
    """One build: the code layer, the environment layer, the manifest."""

    def __init__(self, context: Context, source: Source, number: int, output: Output) -> None:
        self.context = context
        self.source = source
        self.number = number
        self.output = output

    def run(self) -> Slug:
        code = self._work("code")
        try:
            tree = self._check_out(code)
            recipe = buildpacks.detect(code)
            interpreter = find_interpreter(recipe.runtime, shared=self.context.accounts)
            self.output.detail(f"{interpreter.id}, {', '.join(p.name for p in recipe.processes)}")
            self.output.check()
            environment = self._environment(recipe, interpreter)
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
            requirements=recipe.requirements,
            engine=engine,
            python=str(interpreter.python),
            interpreter=interpreter.id,
            index_url=self.context.settings.index_url,
            environments=str(self.context.home.environments),
            timeout=self.context.settings.build_timeout,
        )
        known = kept.exists()
        lock = kept.read_text() if known else self._lock(job)
        digest = buildpacks.environment_digest(lock, interpreter.id)
        if self.context.slugs.has_environment(digest):
            what = "Requirements unchanged: nothing to resolve" if known else "An environment of this lock is there"
            self.output.step(f"{what}, nothing to install")
        else:
            with self._built(replace(job, lock=lock)) as (_result, work):
                self.context.slugs.add_environment(digest, work / "env")
        if not known:  # not before: a lock that cannot be installed is made anew by the next push
            write_atomically(kept, lock.encode())
        return digest

    def _lock(self, job: Job) -> str:
        """The lock of the requirements.

        Made by a run of its own: locking may run code of packages, which can put any lock's text into the result. Had
        the same run made the environment, that would stand under the name of another app's lock. As it is, an
        environment is made from nothing but the lock that names it, by the code of packages that are in that lock.
        """
        with self._built(replace(job, steps=("lock",))) as (result, _work):
            return canonical(str(result["lock"]))

    @contextmanager
    def _built(self, job: Job) -> Iterator[tuple[dict[str, Any], Path]]:
        """The result of a job and the folder that it was done in, which is removed afterwards."""
        work = self.context.home.builds / str(self.number)
        remove_tree(work)
        work.mkdir(mode=0o700)
        try:
            write_atomically(work / "job.json", job.to_json(), 0o644)
            yield self.context.node.agent.build(self.number, self.output.raw), work
        finally:
            remove_tree(work)
