"""Buildpacks of an app's choice: those that the operator has, and what they keep between two builds of one app."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from buildpacks import installed
from buildpacks.installed import Chosen
from buildpacks.steps import CACHE, PACKS, pack_folders
from control.context import Context
from core import events


def choose(context: Context, names: tuple[str, ...]) -> Chosen:
    """The buildpacks of these names as they are now; raises ``build/unknown-buildpack``."""
    folder = Path(context.settings.buildpacks) if context.settings.buildpacks else context.home.buildpacks
    return installed.choose(folder, names)


def unchanged(context: Context, text: str) -> bool:
    """Whether a slug with this ``buildpack`` would be made by the same today; raises ``build/unknown-buildpack``."""
    return choose(context, installed.names_in(text)).text == text


def bring(context: Context, app: str, chosen: Chosen, work: Path) -> None:
    """Put copies of the classic buildpacks, and what the app's last build kept, into the work folder of a build."""
    if not chosen.classic:
        return
    (work / PACKS).mkdir()
    for pack, folder in zip(chosen.classic, pack_folders(chosen.classic), strict=True):
        installed.copy(pack, work / PACKS / folder)
    kept = context.home.cache(app)
    if kept.exists() and kept.stat().st_size <= context.settings.cache_bytes:
        shutil.copyfile(kept, _archive(work))


def keep(context: Context, app: str, chosen: Chosen, work: Path) -> None:
    """Take what a build that went well kept for the app's next one. It is never looked into, here or anywhere."""
    if not chosen.classic:
        return
    archive, kept = _archive(work), context.home.cache(app)
    try:
        found = os.lstat(archive)
    except FileNotFoundError:
        kept.unlink(missing_ok=True)
        return
    if stat.S_ISREG(found.st_mode) and found.st_size <= context.settings.cache_bytes:
        archive.chmod(0o600)
        archive.replace(kept)


def forget(context: Context, app: str) -> None:
    """Remove what is kept for an app."""
    context.home.cache(app).unlink(missing_ok=True)


def empty(context: Context, app: str, who: str) -> int:
    """Have the app's next build find an empty cache; returns how many bytes were kept (0: it was empty)."""
    try:
        size = context.home.cache(app).stat().st_size
    except FileNotFoundError:
        return 0
    forget(context, app)
    with context.store.write() as session:
        events.append(session, "cache-emptied", app=app, who=who, data={"bytes": size})
    return size


def rename(context: Context, app: str, to: str) -> None:
    """Keep it under the app's new name; may be repeated."""
    if context.home.cache(app).exists():
        context.home.cache(app).replace(context.home.cache(to))


def _archive(work: Path) -> Path:
    return work / f"{CACHE}.tar"
