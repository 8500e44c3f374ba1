"""Compile steps of a build: the app's own programs change its checkout, and what they leave is looked at."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import buildpacks
from buildpacks import steps
from buildpacks.installed import Chosen
from buildpacks.steps import CODE, ORDER, Order
from control import packs, releases
from control.account import built
from control.context import Context
from control.output import Output
from core.errors import DaeError
from core.nouns import Stage
from receiver.tree import PATH_BYTES, check_links, check_text, shown


@dataclass(frozen=True, slots=True)
class Place:
    """Where a build is at work: its number, the app, and the folder of the checkout."""

    number: int
    app: str
    code: Path


def order_for(
    context: Context, place: Place, recipe: buildpacks.Recipe, environment: str, seconds: int, chosen: Chosen
) -> Order | None:
    """What is to be run for this commit, None when nothing is, as for most commits.

    Raises ``build/no-node``, and ``build/no-value`` when a name in ``build_env`` has no value in dev: the slug that
    would come out could not be what its author wants.
    """
    layer = context.home.environment(environment)
    values = values_of(context, place.app, recipe.build_env)
    found = steps.plan(place.code, recipe, layer, values, chosen.classic)
    if not found:
        return None
    require_all(place.app, recipe.build_env, values)
    return Order(
        steps=found,
        environment=str(layer),
        values=values,
        indexes=(context.settings.index_url, context.settings.npm_url),
        drop_modules=steps.uses_npm(found) and not steps.keeps_modules(recipe),
        timeout=seconds,
        packs=steps.pack_folders(chosen.classic),
        stack=context.settings.stack,
        cache_bytes=context.settings.cache_bytes,
        python_path=recipe.python_path,
    )


def values_of(context: Context, app: str, names: tuple[str, ...]) -> dict[str, str]:
    """The variables of the app's config in dev that have one of these names: what its own programs see in a build."""
    config = releases.config_of(context.store, app, Stage.DEV) if names else {}
    return {name: config[name] for name in names if name in config}


def require_all(app: str, names: tuple[str, ...], values: Mapping[str, str]) -> None:
    """Raise ``build/no-value`` unless each of the ``names`` has its value."""
    missing = [name for name in names if name not in values]
    if missing:
        cause = f"app.yaml names {', '.join(missing)} under 'build_env', and {app} has no such variable in dev"
        raise DaeError("build/no-value", cause, f"type: dae config set {missing[0]}=VALUE")


def run(context: Context, place: Place, order: Order, chosen: Chosen, output: Output) -> None:
    """Run the steps, the ``chosen`` buildpacks' among them; then the folder of the checkout holds what they made of it.

    Raises ``build/step-failed``, ``build/not-detected``, ``build/timeout``, ``build/unsafe-tree``, ``push/too-large``
    and ``push/cancelled``.
    """
    bring = partial(packs.bring, context, place.app, chosen)
    with built(context, place.number, output, ORDER, order.to_json(), place.code, bring=bring) as (_result, work):
        check_tree(work / CODE, context.settings.tree_bytes, context.settings.tree_files)
        packs.keep(context, place.app, chosen, work)
        (work / CODE).rename(place.code)


def check_tree(tree: Path, max_bytes: int, max_files: int) -> None:
    """Raise unless the tree is one that a commit could have had: its bounds, its names, and links that stay inside.

    The agent took it back already: it holds files, folders and links, all of the platform's account.
    """
    if tree.is_symlink() or not tree.is_dir():
        raise DaeError("build/unsafe-tree", "the compile steps removed the folder of the code", "let them keep it")
    links: dict[bytes, bytes] = {}
    files = folders = total = 0
    for folder, below, names, descriptor in os.fwalk(tree):
        for name in (*below, *names):
            found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            path = os.fsencode(Path(folder, name).relative_to(tree))
            if stat.S_ISDIR(found.st_mode):
                folders += 1
            else:
                files, total = files + 1, total + found.st_size
            if stat.S_ISLNK(found.st_mode):
                links[path] = os.fsencode(os.readlink(name, dir_fd=descriptor))
            _check_bounds(path, max(files, folders) > max_files, total > max_bytes)
    check_links(links)


def _check_bounds(path: bytes, too_many: bool, too_large: bool) -> None:
    if len(path) > PATH_BYTES:
        raise DaeError("build/unsafe-tree", f"{shown(path)} is a path of {len(path)} bytes", "use shorter names")
    check_text(path, path)
    if too_many or too_large:
        what = "has more files than tree_files allows" if too_many else "has more bytes than tree_bytes allows"
        hint = "let the compile steps remove what is not needed to run"
        raise DaeError("push/too-large", f"with what the compile steps made, the code {what}", hint)
