"""The folders of a home, their owners and modes: a table, what differs from it, and the doing.

The table says in code what the page at the top of ``core/paths.py`` says in words.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.paths import Home


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that must exist. ``ours``: it belongs to the platform's account, else to root; the same of its group."""

    path: Path
    mode: int
    ours: bool = False
    group_ours: bool = False


@dataclass(frozen=True, slots=True)
class Ids:
    """Numbers of the platform's account and group; on a plain-user install there is nobody to give folders to."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Found:
    """What is on disk."""

    uid: int
    gid: int
    mode: int


@dataclass(frozen=True, slots=True)
class Step:
    """One difference to settle: make the folder, or correct its owner and mode."""

    path: Path
    make: bool
    uid: int
    gid: int
    mode: int


def table(home: Home) -> tuple[Folder, ...]:
    """The folders in an order in which parents come first."""
    return (
        Folder(home.root, 0o755),
        Folder(home.platform, 0o755),
        Folder(home.state, 0o700, ours=True, group_ours=True),
        Folder(home.state / "releases", 0o700, ours=True, group_ours=True),
        Folder(home.repos, 0o700, ours=True, group_ours=True),
        Folder(home.builds, 0o711, ours=True, group_ours=True),
        Folder(home.environments.parent, 0o755),
        Folder(home.environments, 0o755, ours=True, group_ours=True),
        Folder(home.packages, 0o700, ours=True, group_ours=True),
        Folder(home.codes, 0o711, ours=True, group_ours=True),
        Folder(home.slugs, 0o700, ours=True, group_ours=True),
        Folder(home.locks, 0o700, ours=True, group_ours=True),
        Folder(home.caches, 0o700, ours=True, group_ours=True),
        Folder(home.buildpacks, 0o755),
        Folder(home.pythons, 0o755),
        Folder(home.mirror, 0o750, ours=True, group_ours=True),
        Folder(home.apps, 0o711),
        # Root's, with the sticky bit: the account makes its sockets here and cannot replace the agent's records.
        Folder(home.run, 0o1771, group_ours=True),
        Folder(home.run / "a", 0o711),
        Folder(home.live, 0o755),
        Folder(home.agent_state, 0o711),
        Folder(home.router, 0o755),
        Folder(home.logs, 0o750, group_ours=True),
        Folder(home.logs / "apps", 0o750, group_ours=True),
        Folder(home.logs / "builds", 0o750, ours=True, group_ours=True),
        Folder(home.logs / "tests", 0o750, ours=True, group_ours=True),
    )


def plan(folders: Sequence[Folder], ids: Ids | None, find: Callable[[Path], Found | None]) -> list[Step]:
    """The steps from what ``find`` sees to what the table says; ``ids`` None: owners stay as they are."""
    steps = []
    for folder in folders:
        found = find(folder.path)
        uid = -1 if ids is None else ids.uid if folder.ours else 0
        gid = -1 if ids is None else ids.gid if folder.group_ours else 0
        settled = found is not None and found.mode == folder.mode
        if ids is not None and found is not None:
            settled = settled and (found.uid, found.gid) == (uid, gid)
        if not settled:
            steps.append(Step(folder.path, found is None, uid, gid, folder.mode))
    return steps


def find(path: Path) -> Found | None:
    """What is at ``path``, not following a symbolic link; raises NotADirectoryError for anything but a folder."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(f"{path} is not a folder")
    return Found(status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))


def apply(steps: Sequence[Step]) -> None:
    """Carry the steps out. Folders are held by descriptor: their parents may belong to a less trusted account."""
    for step in steps:
        if step.make:
            step.path.mkdir(mode=0o700, parents=True)
        descriptor = os.open(step.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            os.fchown(descriptor, step.uid, step.gid)
            os.fchmod(descriptor, step.mode)
        finally:
            os.close(descriptor)
