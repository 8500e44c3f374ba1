"""One run of an app's tests, in a build's account: in a copy of its code layer, with packages that its tests need."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import buildpacks
from buildpacks import development, lockfile
from buildpacks.detect import describe
from buildpacks.interpreters import exact_interpreter
from buildpacks.steps import ORDER, Order, Step
from control import steps
from control.account import built
from control.context import Context
from control.environments import EnvironmentMaker
from control.output import Output
from control.policy import policy_of
from core.errors import DaeError
from core.files import remove_tree
from core.nouns import CiState, Slug
from dae.appfile import AppCi
from slugs.environments import EnvironmentStore

#: What the tests themselves can bring about; anything else means that they were not run to their end.
_THEIRS = frozenset({"build/timeout", "build/step-failed", "build/out-of-memory", "build/too-large", "build/failed"})


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

    def run(self) -> Outcome:
        """What came of it; raises what kept it from being run: ``slug/*``, ``build/*``, ``runner/*``."""
        slug = self.context.slugs.load(self.digest)
        self.context.slugs.verify(slug, self.app)
        code = self.context.home.builds / f"{self.number}-tests"
        remove_tree(code)
        try:
            self.output.step(f"Testing {self.app} {slug.commit[:12]}, slug {self.digest[:12]}")
            copy_code(self.context.home.code(self.app, slug.code), code)
            recipe = buildpacks.detect(code, policy_of(self.context.settings))
            described = describe(code)
            ci = described.ci if described else AppCi()
            return self._test(code, self._order(ci, recipe, self._environment(code, ci, recipe, slug)))
        finally:
            remove_tree(code)

    def _environment(self, code: Path, ci: AppCi, recipe: buildpacks.Recipe, slug: Slug) -> str:
        """The digest of the environment to test in: the slug's own when the tests need nothing more."""
        name = development.file_of(code, ci.requires) if recipe.is_python else ""
        if not name:
            return slug.environment
        settings, home = self.context.settings, self.context.home
        python = exact_interpreter(slug.interpreter, self.context.accounts, Path(settings.pythons or home.pythons))
        made = EnvironmentStore(home).environment(slug.environment)
        if python is None or made is None:
            raise DaeError("slug/damaged", f"{slug.interpreter} or the lock of the slug is gone", "push it again")
        self.output.step(f"Adding what {name} requires to the packages of the slug")
        pins = lockfile.read(made.lock)
        wanted = development.with_development(code, recipe, name, pins, policy_of(settings))
        return EnvironmentMaker(self.context, self.number, self.output).make(wanted, python)

    def _order(self, ci: AppCi, recipe: buildpacks.Recipe, environment: str) -> Order:
        values = steps.values_of(self.context, self.app, recipe.build_env)
        steps.require_all(self.app, recipe.build_env, values)
        settings = self.context.settings
        return Order(
            steps=tuple(Step(command, ("/bin/sh", "-c", command)) for command in ci.run),
            environment=str(self.context.home.environment(environment)),
            values=values,
            indexes=(settings.index_url, settings.npm_url),
            timeout=min(ci.timeout or settings.build_timeout, settings.build_timeout),
            tests=True,
        )

    def _test(self, code: Path, order: Order) -> Outcome:
        try:
            with built(self.context, self.number, self.output, ORDER, order.to_json(), code) as (result, _work):
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
        known = isinstance(status, int) and -(1 << 31) < status < 1 << 31  # it is the word of a build's account
        return Outcome(CiState.FAILED, status if known else None, "build/step-failed")


def copy_code(layer: Path, target: Path) -> None:
    """Copy a code layer to where it may be written; without its bytecode, which names other paths than these."""
    shutil.copytree(layer, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"), copy_function=_copy)
    for folder, _below, _names in os.walk(target):
        Path(folder).chmod(0o755)


def _copy(source: str, target: str) -> None:
    time.sleep(0)  # others have their turn
    if os.path.islink(source):  # noqa: PTH114 - what copytree gives
        os.symlink(os.readlink(source), target)  # noqa: PTH115, PTH211 - the same
        return
    shutil.copyfile(source, target)
    Path(target).chmod(0o755 if os.stat(source).st_mode & 0o111 else 0o644)  # noqa: PTH116 - the same
