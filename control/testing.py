"""One run of an app's tests, in a build's account: in a copy of its code layer, with packages that its tests need."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from buildpacks import development, lockfile
from buildpacks.detect import describe
from buildpacks.facts import facts_of
from buildpacks.interpreters import exact_interpreter
from buildpacks.steps import ORDER, TRIAL, Order, Step
from control import steps
from control.account import built
from control.context import Context
from control.environments import EnvironmentMaker
from control.output import Output
from control.policy import policy_of
from core.cooperative import aside
from core.errors import DaeError, no_room
from core.files import remove_tree
from core.nouns import CiState, Slug
from dae.appfile import AppFile
from slugs.environments import EnvironmentStore

#: What the tests themselves can bring about; anything else means that they were not run to their end.
_THEIRS = frozenset({"build/timeout", "build/step-failed", "build/out-of-memory", "build/too-large", "build/limit"})
#: How a shell says that it found no such program.
NOT_FOUND = 127


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run. ``status``: of the command that failed, 0 when all went well, None when none ended."""

    state: CiState
    status: int | None = None
    error: str = ""


class Trial:
    """The tests of a slug, run with the ``number`` of a build."""

    def __init__(self, context: Context, app: str, digest: str, number: int, output: Output) -> None:
        self.context = context
        self.app = app
        self.digest = digest
        self.number = number
        self.output = output
        self.needs: development.Needs | None = None

    def run(self) -> Outcome:
        """What came of it; raises what kept it from being run: ``slug/*``, ``build/*``, ``runner/*``."""
        work = self.context.home.builds / f"{self.number}-tests"
        remove_tree(work)
        work.mkdir(mode=0o700)  # the copy in it is not the app's account's, which alone may read its code
        try:
            with self._prepared(work / TRIAL) as order:
                return self._test(work / TRIAL, order)
        finally:
            aside(remove_tree, work)

    @contextmanager
    def _prepared(self, code: Path) -> Iterator[Order]:
        """The order, for the copy in the new folder ``code``. No collection takes its environment away meanwhile; that
        the slug is not, is seen to by ``control.keeping``."""
        with self.context.slugs.in_use(self.output.check):
            slug = self.context.slugs.load(self.digest)
            self.context.slugs.verify(slug, self.app)
            self.output.step(f"Testing {self.app} {slug.commit[:12]}, slug {self.digest[:12]}")
            aside(copy_code, self.context.home.code(self.app, slug.code), code)
            described = describe(code) or AppFile()
            environment = self._environment(code, described, slug)
            self.context.testing.add(environment)
        try:
            yield self._order(described, slug, environment)
        finally:
            self.context.testing.discard(environment)

    def _environment(self, code: Path, described: AppFile, slug: Slug) -> str:
        """The digest of the environment to test in: the slug's own when the tests need nothing more."""
        settings, home = self.context.settings, self.context.home
        policy = policy_of(settings)
        found = self.needs = development.needs(code, described.ci.requires, policy) if slug.python else None
        if found is None:
            return slug.environment
        python = exact_interpreter(slug.interpreter, self.context.accounts, Path(settings.pythons or home.pythons))
        made = EnvironmentStore(home).environment(slug.environment)
        if python is None or made is None:
            raise DaeError("slug/damaged", f"{slug.interpreter} or the lock of the slug is gone", "push it again")
        self.output.step(f"Adding what {found} requires to the packages of the slug")
        pins = lockfile.read(made.lock)
        wanted = development.beside(pins, code, found, policy, facts_of(python), described.installer)
        return EnvironmentMaker(self.context, self.number, self.output).make(wanted, python)

    def _order(self, described: AppFile, slug: Slug, environment: str) -> Order:
        values = steps.values_of(self.context, self.app, described.build_env)
        steps.require_all(self.app, described.build_env, values)
        settings, ci = self.context.settings, described.ci
        return Order(
            steps=tuple(Step(command, ("/bin/sh", "-c", command)) for command in ci.run),
            environment=str(self.context.home.environment(environment)),
            values=values,
            indexes=(settings.index_url, settings.npm_url),
            timeout=min(ci.timeout or settings.build_timeout, settings.build_timeout),
            python_path=slug.python_path,
            tests=True,
        )

    def _test(self, code: Path, order: Order) -> Outcome:
        try:
            with built(self.context, self.number, self.output, ORDER, order.to_json(), code, TRIAL) as (result, _work):
                status = result.get("status", 0)
        except DaeError as error:
            if error.code not in _THEIRS:
                raise
            self.output.warn(error.line())
            return Outcome(CiState.FAILED, error=error.code)
        if status == 0:
            self.output.done("the tests passed")
            return Outcome(CiState.PASSED, 0)
        self.output.warn(str(result.get("cause"))[:400])
        if status == NOT_FOUND:
            commands = [step.name for step in order.steps]
            self.output.warn(development.advice(commands, Path(order.environment), self.needs))
        known = isinstance(status, int) and -(1 << 31) < status < 1 << 31  # it is the word of a build's account
        return Outcome(CiState.FAILED, status if known else None, "build/step-failed")


def copy_code(layer: Path, target: Path) -> None:
    """Copy a code layer to where it may be written; without its bytecode, which names other paths than these.

    Raises ``platform/disk-full``.
    """
    shutil.copytree(layer, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"), copy_function=_copy)
    for folder in (target, *(path for path in target.rglob("*") if path.is_dir() and not path.is_symlink())):
        folder.chmod(0o755)


def _copy(source: str, target: str) -> None:
    try:
        shutil.copyfile(source, target)
    except OSError as error:  # of those, copytree would go on with the next file, and tell them all at its end
        raise no_room(error) or error from None
    Path(target).chmod(0o755 if Path(source).stat().st_mode & 0o111 else 0o644)
