"""The lock of a developer's working tree, as a push of it would be locked: for ``dae lock`` and ``dae upgrade``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import Version

import buildpacks
from buildpacks import lockfile
from buildpacks.facts import facts_of
from buildpacks.foreign import LOCKS
from buildpacks.interpreters import Interpreter
from buildpacks.lockfile import FILE
from buildpacks.locks import Pin, Pins
from control.account import borrowed_number
from control.context import Context
from control.dependencies import changes
from control.environments import EnvironmentMaker, Locker
from control.locks import locking_turn
from control.output import Output
from control.policy import policy_of
from core.cooperative import aside
from core.errors import DaeError
from core.files import remove_tree
from core.nouns import App, now

FILES = 200
PATH_BYTES, NAME_BYTES = 1000, 255


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be locked: the ``files`` that describe an app (texts by their paths), one of them maybe ``dae.lock``.

    ``check``: only tell whether that lock is of the others. ``anew``: nothing of it stays; else all does that still
    fits, but the projects in ``upgrade``.
    """

    files: Mapping[str, str]
    check: bool = False
    anew: bool = False
    upgrade: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.files) > FILES:
            raise DaeError("input/invalid", f"more than {FILES} files", "see docs/api.md")
        for name in self.files:
            if not _is_path(name):
                raise DaeError("input/invalid", f"{name[:80]!a} cannot be the path of a file here", "see docs/api.md")


def _is_path(name: str) -> bool:
    """Whether it is the path of a file in a commit, as a requirements file may name one."""
    parts = [part.encode() for part in name.split("/")] if name.isprintable() else []
    fits = all(0 < len(part) <= NAME_BYTES and part not in (b".", b"..") for part in parts)
    return bool(parts) and fits and len(name.encode()) <= PATH_BYTES


def lock(context: Context, app: App, wish: Wish, who: str, output: Output) -> dict[str, Any]:
    """``{"lock", "packages", "changes"}``: the text of a ``dae.lock``, how many it holds, lines that say what is new.

    Raises what a build does before it installs, and ``input/invalid``.
    """
    before = wish.files.get(FILE)
    with borrowed_number(context, app.name, who) as number:
        recipe = _detected(context, number, wish)
        wanted = recipe.python
        folder = Path(context.settings.pythons or context.home.pythons)
        interpreter = wanted.interpreter(context.accounts, folder, now().date())
        if wish.check:
            return _checked(recipe, interpreter, output)
        pins = lockfile.read(before) if before is not None else Pins()
        names = {str(canonicalize_name(name)) for name in wish.upgrade}
        _require_known(names, pins, recipe)
        keep = {name: pin for name, pin in pins.items() if not (wish.anew or name in names or pin.source)}
        with locking_turn(context, output) as told:
            maker = EnvironmentMaker(context, number, told)
            with maker.locker(recipe, interpreter) as make:
                made = _made(make, told, keep, names)
    text = lockfile.render(made, recipe.requirements, recipe.constraints, recipe.options, facts_of(interpreter))
    if len(text.encode()) > lockfile.SIZE_CAP:
        cause = f"{FILE} would be larger than {lockfile.SIZE_CAP // 1024} KiB, which no push takes"
        raise DaeError("build/bad-requirements", cause, "require fewer packages")
    new = lockfile.read(text)
    lines = changes({n: p.version for n, p in pins.items()}, {n: p.version for n, p in new.items()})
    return {"lock": text, "packages": len(new), "changes": list(lines)}


def _detected(context: Context, number: int, wish: Wish) -> buildpacks.Recipe:
    """What a push of the files would build; raises what tells that there is nothing to lock here, too."""
    tree = context.home.builds / f"{number}-tree"
    remove_tree(tree)
    try:
        _write(tree, wish)
        recipe = buildpacks.detect(tree, policy_of(context.settings))
    finally:
        remove_tree(tree)
    if not recipe.is_python:
        raise DaeError("build/unsupported-manifest", "the app has no Python, so nothing to lock", "see: dae builds")
    if recipe.lock is not None and not wish.check:
        cause = f"{recipe.lock.filename} is this app's lock already"
        raise DaeError("build/bad-requirements", cause, f"its own manager renews it: {_command(recipe)}")
    return recipe


def _made(make: Locker, output: Output, keep: Pins, names: Collection[str]) -> str:
    """The lock. When nothing fits beside what should stay, that is told, and everything is resolved anew."""
    try:
        made = make(keep, {})
    except DaeError as error:
        if error.code != "build/unresolvable" or not keep:
            raise
        output.warn("nothing fits beside the versions that are locked: resolving all of them anew")
        return make({}, {})
    return _raised(make, output, made, names) if names and keep else made


def _raised(make: Locker, output: Output, made: str, names: Collection[str]) -> str:
    """The lock ``made``, with the newest of ``names``; all else in it changes only where it must.

    Beside versions that stay, a resolver takes an older one rather than fail. Which is the newest shows without them.
    """
    output.step(f"Looking for newer versions of {', '.join(sorted(names))[:200]}")
    try:
        newest = lockfile.read(make({}, {}))
    except DaeError as error:
        if error.code not in ("build/unresolvable", "build/install-failed"):
            raise
        output.warn(f"there may be newer ones, but all anew cannot be resolved: {error.cause}")
        return made
    now = lockfile.read(made)
    held = {name: newest[name] for name in names if name in newest and _is_newer(newest[name], now.get(name))}
    if not held:
        return made
    told = ", ".join(f"{name} {pin.version}" for name, pin in sorted(held.items()))
    output.step(f"{told[:200]}: others that are locked do not fit beside it, and change")
    stay = {name: pin for name, pin in now.items() if name not in held}
    try:
        return make(held, stay)
    except DaeError as error:
        if error.code != "build/unresolvable":
            raise  # else the installer gave up: not all do when there is a solution, and what is in both is one
    return make({**held, **{name: pin for name, pin in stay.items() if newest.get(name) == pin}}, {})


def _is_newer(one: Pin, other: Pin | None) -> bool:
    """Whether both come from the index, and the ``one`` is newer."""
    if other is None or one.source or other.source:
        return False
    return Version(one.version) > Version(other.version)


def _require_known(names: Collection[str], pins: Pins, recipe: buildpacks.Recipe) -> None:
    if unknown := sorted(set(names) - set(pins)):
        cause = f"{FILE} holds no {', '.join(unknown)[:200]!a}" if pins else f"there is no {FILE} yet"
        add = f"require it in {recipe.requirements_file} first" if pins else f"make it first: {lockfile.COMMAND}"
        raise DaeError("input/invalid", cause, add)


def _checked(recipe: buildpacks.Recipe, interpreter: Interpreter, output: Output) -> dict[str, Any]:
    """What a push would say of the commit's lock, whoever made it."""
    if recipe.lock is None:
        raise DaeError("build/lock-outdated", f"there is no {FILE}", f"make it: {lockfile.COMMAND}")
    count = len(aside(recipe.lock.pins, facts_of(interpreter)))
    output.done(f"{recipe.lock.filename} is of the present requirements: {count} packages")
    return {"lock": "", "packages": count, "changes": []}


def _command(recipe: buildpacks.Recipe) -> str:
    return LOCKS[recipe.lock.filename] if recipe.lock else lockfile.COMMAND


def _write(tree: Path, wish: Wish) -> None:
    """The files, as a commit would hold them; without the lock when that is made anew."""
    tree.mkdir(mode=0o700)
    for name, text in wish.files.items():
        if name == FILE and not wish.check:
            continue
        path = tree / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
        except (FileExistsError, IsADirectoryError, NotADirectoryError, UnicodeEncodeError):
            raise DaeError("input/invalid", f"{name[:80]!a} cannot be written", "see docs/api.md") from None
