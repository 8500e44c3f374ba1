"""The build workflow: a commit becomes a slug. Nothing that runs the app's or a package's code runs in this process."""

from __future__ import annotations

import time
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import buildpacks
from buildpacks import development, misspelt, released
from buildpacks.detect import PYTHON
from buildpacks.installed import Chosen
from buildpacks.interpreters import Interpreter
from buildpacks.steps import code_name, has_none, notes
from control import packs, steps
from control.context import Context
from control.dependencies import changes
from control.environments import EnvironmentMaker
from control.output import Output
from control.policy import policy_of
from control.reads import code_key
from control.recording import Source, recorded, slug_before
from core.files import remove_tree
from core.nouns import Slug, now
from receiver.checkout import Base, Checkout
from receiver.repository import Repository
from slugs.environments import EnvironmentStore
from slugs.looks import Look
from slugs.packages import Origin
from slugs.store import CodeLayer


def build(context: Context, source: Source, output: Output) -> Slug:
    """Build a commit, with a record and a log; returns its slug; raises ``build/*``."""
    return recorded(context, source, output, lambda number, teed: _Build(context, source, number, teed).run())


def _shown(origin: Origin) -> str:
    return f"{origin.version} from {origin.address}" if origin.address else origin.version


class _Build:
    """One build: the code layer, the environment layer, the manifest."""

    def __init__(self, context: Context, source: Source, number: int, output: Output) -> None:
        self.context = context
        self.source = source
        self.number = number
        self._said = set[str]()  # lines of this build's output
        self.output = output.teed(lambda line: self._said.add(line.strip()))
        self.before = slug_before(context, source.app, number)
        self.base = self._base()

    def run(self) -> Slug:
        code = self._work("code")
        # Most pushes change no requirement: whether that environment is whole can be seen to meanwhile; of one whose
        # bytes were read lately that is done while an instance of the release boots, by whoever starts one.
        before = self.before.environment if self.before else ""
        trusted = before if self.source.sharing and self.context.reads.recent([before]) else ""
        look = Look(self.context.home.environment(before)) if before and not trusted else None
        try:
            self.output.step(f"Building {self.source.app} from {self.source.commit[:12]}")
            written = self._check_out(code, self.base)
            recipe = buildpacks.detect(code, policy_of(self.context.settings))
            development.check_named(code, recipe.tests_require)
            chosen = packs.choose(self.context, recipe.buildpacks)
            wanted = recipe.python
            folder = Path(self.context.settings.pythons or self.context.home.pythons)
            interpreter = wanted.interpreter(self.context.accounts, folder, now().date())
            told = (*wanted.notes(interpreter.version, now().date()), *recipe.notes, *misspelt.notes(code))
            for note in (*told, *misspelt.environments(code)):
                self.output.warn(note)
            named = [interpreter.id if name == PYTHON else name for name in chosen.names]
            self.output.detail(", ".join([*named, *(p.name for p in recipe.processes)]))
            self.output.check()
            maker = EnvironmentMaker(self.context, self.number, self.output, self.source.stage)
            compiled = interpreter if recipe.is_python else None
            with maker.making(recipe, interpreter, look) as (environment, finish):
                if has_none(code, recipe):  # so the code needs no environment: it is made while that is looked at
                    name = written.tree
                    self._add_code(code, name, written, compiled)
                    finish(trusted)
                else:
                    finish("")
                    self.output.check()
                    name, written = self._compile(code, written, recipe, environment, maker.seconds_left(), chosen)
                    self._add_code(code, name, written, compiled)
            self._tell_changes(environment)
        finally:
            remove_tree(code)
            if look is not None:
                look.close()
        if chosen.classic:
            recipe = recipe.with_defaults(released.read(self.context.home.code(self.source.app, name)).processes)
        slug = Slug(
            commit=self.source.commit,
            code=name,
            environment=environment,
            interpreter=interpreter.id,
            buildpack=chosen.text,
            processes=recipe.processes,
            handlers=recipe.handlers,
            health=recipe.health,
            workers=recipe.workers,
            release_timeout=recipe.release_timeout,
            python_path=recipe.python_path,
        )
        digest = self.context.slugs.save(slug)
        self.output.detail(f"slug {digest[:12]} = environment {environment[:12]} + code {name[:12]}")
        return slug

    def _work(self, name: str) -> Path:
        path = self.context.home.builds / f"{self.number}-{name}"
        remove_tree(path)
        return path

    def _check_out(self, code: Path, base: CodeLayer | None) -> Checkout:
        """Write the commit to the folder ``code``; what ``base`` has, too, is linked."""
        settings = self.context.settings
        repository = Repository(self.context.home, self.source.app)
        return repository.checkout(
            self.source.commit,
            code,
            max_bytes=settings.tree_bytes,
            max_files=settings.tree_files,
            quarantine=self.source.quarantine,
            base=Base(base.place.name, base.place) if base else None,
        )

    def _base(self) -> CodeLayer | None:
        """The code of the app's last build, if its files may be had once more."""
        if self.before is None or not self.source.sharing:
            return None
        return self.context.slugs.code_layer(self.source.app, self.before.code)

    def _compile(
        self,
        code: Path,
        written: Checkout,
        recipe: buildpacks.Recipe,
        environment: str,
        seconds: int,
        chosen: Chosen,
    ) -> tuple[str, Checkout]:
        """Run the commit's compile steps in the folder ``code``; returns the code layer's name: without steps its tree.

        When that layer is there already, none is run. Steps write where they like: they get files of their own.
        """
        for note in notes(code, recipe, self.context.home.environment(environment)):
            self.output.warn(note)
        place = steps.Place(self.number, self.source.app, code)
        order = steps.order_for(self.context, place, recipe, environment, seconds, chosen)
        if order is None:
            return written.tree, written
        name = code_name(written.tree, environment, order, chosen.text)
        if not self.context.slugs.code_faults(self.source.app, name):
            self.output.step("Compiled before from the same files, packages and variables: nothing to run")
            return name, written
        if written.linked:
            remove_tree(code)
            written = self._check_out(code, None)
        steps.run(self.context, place, order, chosen, self.output)
        return name, written

    def _add_code(self, code: Path, name: str, written: Checkout, interpreter: Interpreter | None) -> None:
        """Keep the folder ``code`` as the layer ``name``; ``interpreter``: that of its Python, if that is compiled."""
        slugs, app = self.context.slugs, self.source.app
        if not slugs.code_faults(app, name):
            return
        if interpreter is not None:
            self._compile_python(code, written, interpreter)
        group = self.context.node.agent.ensure_app(app)
        base = self.base if written.linked else None
        slugs.add_code(app, name, code, group, base=base)
        self.context.reads.note(code_key(app, name), code_key(app, base.place.name) if base else "")

    def _compile_python(self, code: Path, written: Checkout, interpreter: Interpreter) -> None:
        base = self.base
        if base is None or self.before is None or self.before.interpreter != interpreter.id:
            warnings = self._compiled(code, interpreter)
        else:
            with ThreadPoolExecutor(1) as pool:
                compiled = pool.submit(self._compiled, code, interpreter, written.linked)
                time.sleep(0)  # where gevent runs it begins now; the bytecode of all else is linked meanwhile
                linked = self.context.slugs.link_bytecode(base, code, written.linked)
            warnings = compiled.result()
            if not set(linked).issuperset(name for name in written.linked if name.endswith(".py")):
                warnings = self._compiled(code, interpreter, linked)  # some had none, or the commit brings its own
        for warning in warnings:
            self.output.warn(warning)

    def _compiled(self, code: Path, interpreter: Interpreter, known: Collection[str] = ()) -> tuple[str, ...]:
        with self.context.spare.compiler(interpreter.python) as compiler:
            return compiler.compile(code, known)

    def _tell_changes(self, environment: str) -> None:
        """Show which packages are others than in the app's build before this one."""
        before = self.before.environment if self.before else None
        if before is None or before == environment:
            return
        store = EnvironmentStore(self.context.home)
        old, new = ({o.name: _shown(o) for o in store.contents(digest)} for digest in (before, environment))
        lines = [line for line in changes(old, new) if line.removesuffix(" added") not in self._said] if old else []
        if lines:
            self.output.step("Packages that changed")
            for line in lines:
                self.output.detail(line)
