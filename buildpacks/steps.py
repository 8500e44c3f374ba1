"""Compile steps: what of a commit's own code runs during its build, in which order. Decided here, run by the worker."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from buildpacks.detect import PYTHON, STATIC, Recipe
from buildpacks.installed import Pack
from buildpacks.modules import manage_scripts
from buildpacks.node import LOCKS
from core.errors import DaeError
from core.nouns import canonical_json, digest_of

#: The order's file in a build's work folder, and the folder beside it that holds the checkout.
ORDER, CODE = "steps.json", "code"
#: Where code that is tested lies instead: nothing of it is kept, whatever the tests leave there.
TRIAL = "trial"
#: Beside them: classic buildpacks, one folder each, and what they keep between builds (as a folder, and as an archive).
PACKS, CACHE = "packs", "cache"
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
COLLECTSTATIC = Path(__file__).with_name("collectstatic_script.py")

# Raised when the same commit would be compiled into something else than before.
_FORMAT = 1
#: The files that ask for a step.
_ASKING = ("package.json", "bin/pre_compile", "bin/post_compile")
_NODE = re.compile(r"\b(?:node|npm|npx|node_modules)\b")
_SETTINGS = "settings that need config: name it under 'build_env' in app.yaml; or switch this off: 'collectstatic: off'"


@dataclass(frozen=True, slots=True)
class Step:
    """One program that a build runs in the code's folder: what output calls it, its argv, advice for when it fails.

    ``pack``: it is a program of the buildpack in that folder below ``packs``, and gets that one's arguments. ``code``:
    of the error that its failure is.
    """

    name: str
    argv: tuple[str, ...]
    hint: str = "its output is above"
    pack: str = ""
    code: str = "build/step-failed"


@dataclass(frozen=True, slots=True)
class Order:
    """What a build's account is asked to run: ``steps``, with ``environment`` (a folder) and the variables ``values``.

    ``indexes``: the addresses that pip and npm ask. ``drop_modules``: whether npm's packages go when all is done.
    ``timeout``: seconds for everything. ``packs``: the folders of classic buildpacks, which are told ``stack``, and
    keep ``cache_bytes`` at most. ``python_path``: folders of the code that modules are imported from, beside its top.
    ``tests``: a step that fails is the answer, and no error.

    Raises ``input/invalid`` when it cannot be right.
    """

    steps: tuple[Step, ...]
    environment: str
    values: Mapping[str, str] = field(default_factory=dict)
    indexes: tuple[str, str] = ("", "")
    drop_modules: bool = False
    timeout: int = 600
    packs: tuple[str, ...] = ()
    stack: str = ""
    cache_bytes: int = 0
    python_path: tuple[str, ...] = ()
    tests: bool = False

    def __post_init__(self) -> None:
        if not self.steps or self.timeout < 1 or not Path(self.environment).is_absolute():
            raise DaeError("input/invalid", "the order has no steps, no time or no environment", "")

    @property
    def folder(self) -> str:
        """What the folder of the code is called."""
        return TRIAL if self.tests else CODE

    def to_json(self) -> bytes:
        """The order as it stands in its file."""
        return canonical_json(asdict(self)) + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Order:
        """The inverse of :meth:`to_json`; raises ``input/invalid``."""
        try:
            fields: Mapping[str, Any] = json.loads(data)
            steps = tuple(Step(**{**step, "argv": tuple(step["argv"])}) for step in fields["steps"])
            python, npm = fields["indexes"]
            lists = {name: tuple(fields[name]) for name in ("packs", "python_path")}
            return cls(**{**fields, **lists, "steps": steps, "indexes": (python, npm)})
        except (KeyError, TypeError, ValueError) as error:
            raise DaeError("input/invalid", f"{ORDER} cannot be read: {error}", "") from error


def plan(
    source: Path, recipe: Recipe, environment: Path, values: Mapping[str, str], packs: Sequence[Pack] = ()
) -> tuple[Step, ...]:
    """The steps of the commit in the folder ``source``, in their order; most commits have none.

    ``environment``: the folder of its environment layer; ``values``: what the steps see of the app's config; ``packs``:
    its classic buildpacks. Raises ``build/no-node``.
    """
    classic = {pack.name: (folder, pack) for folder, pack in zip(pack_folders(packs), packs, strict=True)}
    steps: list[Step] = []
    for name in recipe.buildpacks:
        if name == PYTHON:
            steps += _python(source, recipe, environment, values)
        elif name in classic:
            steps += _detect_and_compile(*classic[name])
    if not recipe.is_python:
        steps += _commands(recipe)
    if recipe.buildpacks[-1] in classic:
        steps += _release(*classic[recipe.buildpacks[-1]])
    return tuple(steps)


def has_none(source: Path, recipe: Recipe) -> bool:
    """Whether the commit in the folder ``source`` has no steps, whatever there is in its environment."""
    ours = set(recipe.buildpacks) <= {PYTHON, STATIC}
    asked = any((source / name).is_file() for name in _ASKING) or manage_scripts(source)
    return ours and not recipe.build and not asked


def notes(source: Path, recipe: Recipe, environment: Path) -> tuple[str, ...]:
    """What is not run, although the author may count on it, and what to write so that it is."""
    found = manage_scripts(source) if recipe.is_python and recipe.collectstatic and _has_django(environment) else ()
    if len(found) < 2:
        return ()
    run = f"cd {shlex.quote(str(Path(found[0]).parent))} && python manage.py collectstatic --noinput"
    how = f"write under 'build' in app.yaml, say: {run}; or 'collectstatic: off'"
    shown = " and ".join(ascii(path)[1:-1] for path in found[:3])
    return (f"{shown} exist side by side, and collectstatic is run for none of them; {how}",)


def pack_folders(packs: Sequence[Pack]) -> tuple[str, ...]:
    """What the folders of classic buildpacks are called below ``packs``, in a build."""
    return tuple(f"{number}-{pack.name}" for number, pack in enumerate(packs, 1))


def _detect_and_compile(folder: str, pack: Pack) -> tuple[Step, ...]:
    hint = f"add what it looks for, or take {pack.name} out of 'buildpacks' in app.yaml"
    return (
        Step(f"bin/detect of {pack.name}", ("bin/detect",), hint, folder, "build/not-detected"),
        Step(f"bin/compile of {pack.name}", ("bin/compile",), pack=folder),
    )


def _release(folder: str, pack: Pack) -> tuple[Step, ...]:
    """It may be missing: then the commit says itself what to run."""
    there = (pack.place / "bin" / "release").is_file()
    return (Step(f"bin/release of {pack.name}", ("bin/release",), pack=folder),) if there else ()


def _python(source: Path, recipe: Recipe, environment: Path, values: Mapping[str, str]) -> tuple[Step, ...]:
    collects = recipe.collectstatic and values.get("DISABLE_COLLECTSTATIC") != "1"
    return (
        *(_assets(source, environment) if recipe.assets else ()),
        *_script(source, "bin/pre_compile"),
        *_commands(recipe),
        *(_collectstatic(source, environment) if collects else ()),
        *_script(source, "bin/post_compile"),
    )


def _commands(recipe: Recipe) -> tuple[Step, ...]:
    return tuple(Step(command, ("/bin/sh", "-c", command)) for command in recipe.build)


def path_of(environment: Path | str) -> str:
    """PATH of the steps: the environment's programs first."""
    return f"{environment}/bin:{SYSTEM_PATH}"


def _assets(source: Path, environment: Path) -> tuple[Step, ...]:
    if not (source / "package.json").is_file():
        return ()
    for program in ("node", "npm"):
        if shutil.which(program, path=path_of(environment)) is None:
            cause = f"the commit has a package.json, and there is no {program} on this node"
            raise DaeError("build/no-node", cause, "ask the operator for Node.js, or write 'assets: off' into app.yaml")
    verb = "ci" if any((source / name).is_file() for name in LOCKS) else "install"
    return (
        Step(f"npm {verb}", ("npm", verb, "--no-audit", "--no-fund")),
        Step("npm run build --if-present", ("npm", "run", "build", "--if-present")),
    )


def _script(source: Path, name: str) -> tuple[Step, ...]:
    if not (source / name).is_file():
        return ()
    # The shell: a script without a first line '#!' is one of its own. Many a commit lacks the executable's bit.
    return (Step(name, ("/bin/sh", "-c", f"chmod +x {name} && exec {name}")),)


def _collectstatic(source: Path, environment: Path) -> tuple[Step, ...]:
    found = manage_scripts(source)
    if len(found) != 1 or not _has_django(environment):  # of several see notes()
        return ()
    folder = () if found[0] == "manage.py" else (str(Path(found[0]).parent),)
    return (Step(f"{found[0]} collectstatic", ("python", str(COLLECTSTATIC), *folder), _SETTINGS),)


def _has_django(environment: Path) -> bool:
    return any(environment.glob("lib/python*/site-packages/django/__init__.py"))


def keeps_modules(recipe: Recipe) -> bool:
    """Whether something that runs later may need npm's packages: a command or a handler that names node or them."""
    words = [process.command for process in recipe.processes] + [h.static_files for h in recipe.handlers]
    return any(_NODE.search(text) for text in words)


def uses_npm(steps: Sequence[Step]) -> bool:
    """Whether npm installs packages in them."""
    return any(step.argv[0] == "npm" for step in steps)


def code_name(tree: str, environment: str, order: Order, buildpack: str) -> str:
    """The name (40 hex digits, as a git tree has) of the code layer that ``order`` makes of the git tree ``tree``.

    Of the same commit, environment, steps and values the same comes out, as far as we can know.
    """
    steps = [[step.name, list(step.argv)] for step in order.steps]
    facts = ["code", _FORMAT, tree, environment, steps, dict(order.values), order.drop_modules, buildpack]
    if order.python_path:
        facts.append(list(order.python_path))
    if order.packs:
        facts.append(order.stack)
    return digest_of(canonical_json(facts))[:40]
