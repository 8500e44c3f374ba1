"""Taking back a tree that a build's account made: nothing in it is trusted until this has looked at all of it.

Everything is reached through descriptors of folders that were opened without following links, and no process of the
build's account is alive any more.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from core.errors import DaeError
from runner import folders

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_DEPTH = 110  # a commit has at most 100 folders in one another (receiver.tree)
#: The entry of a work folder's top that holds a checkout, and all below which symbolic links may stand.
CODE = "code"
_LINKED = (CODE, "packs", "trial")


@dataclass(frozen=True, slots=True)
class Owners:
    """Who may own what is found (``accepted``), even what has several names (``may_link``), and who owns it then.

    ``uid`` -1: it stays whose it is.
    """

    accepted: frozenset[int]
    may_link: frozenset[int]
    uid: int = -1
    gid: int = -1


@dataclass(slots=True)
class _Walk:
    """One walk over a tree whose top is ``root``; ``kept`` names the entries of the top that must be flawless."""

    root: Path
    owners: Owners
    kept: frozenset[str]
    refused: list[str] = field(default_factory=list)
    #: Files with several names that were found acceptable: by their next name they are somebody else's already.
    taken: set[int] = field(default_factory=set)


def give(tree: Path, uid: int, gid: int, accepted: frozenset[int]) -> None:
    """Give a tree to a build's account; raises ``build/failed`` for a file that is not the giver's to give.

    Symbolic links are refused too, but for those of the checkout in ``code`` (or in ``trial``, for tests) and of
    buildpacks in ``packs``, which are given as links.
    """
    walk = _Walk(tree, Owners(accepted, frozenset(), uid, gid), frozenset())
    _tree(walk, change_modes=False)
    if walk.refused:
        raise DaeError(
            "build/failed", f"the work folder holds a file of another account: {walk.refused[0]}", "push again"
        )


def seal(tree: Path, owners: Owners, kept: Sequence[str] = ("wheel", CODE)) -> None:
    """Take a tree back: owners and modes are set, set-id bits go, and what a build may not hand over is refused.

    Refused are: symbolic links, devices, pipes and sockets; what another account owns, and so hard links to the files
    of others. Within ``kept`` a refusal fails the build (``build/failed``, or ``build/unsafe-tree`` for ``code``) and
    the tree is removed; elsewhere the entry is. Symbolic links below ``code``, ``trial`` and ``packs`` stay, and are
    not followed here: where they lead is for control to look at.
    """
    walk = _Walk(tree, owners, frozenset(kept))
    _tree(walk, change_modes=True)
    if walk.refused:
        folders.remove(tree)
        raise _left(walk.refused[0])


def _left(path: str) -> DaeError:
    shown = ascii(path[:200])[1:-1]
    if path.split("/")[0] != CODE:
        return DaeError("build/failed", f"the build left what it may not hand over: {shown}", "see the build's log")
    cause = f"the app's compile steps left {shown}, which is neither file, folder nor link of theirs"
    return DaeError("build/unsafe-tree", cause, "let them remove it: sockets, pipes and files of others cannot stay")


def _tree(walk: _Walk, *, change_modes: bool) -> None:
    top = os.open(walk.root, _FOLDER)
    try:
        if os.fstat(top).st_uid in walk.owners.accepted:
            _folder(walk, top, PurePosixPath(), change_modes)
        else:
            walk.refused.append(".")
    finally:
        os.close(top)


def _folder(walk: _Walk, folder: int, path: PurePosixPath, change_modes: bool) -> None:
    """Everything in an open folder, then the folder itself."""
    if change_modes:
        # The top stays closed: what lies beside the results (orders, variables) is for nobody else's eyes.
        os.fchmod(folder, 0o755 if path.parts else 0o700)
    for name in os.listdir(folder):
        here = path / name
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not _acceptable(walk, here, found):
            _refuse(walk, folder, here, found)
        elif stat.S_ISDIR(found.st_mode):
            _below(walk, folder, here, change_modes)
        else:
            os.chown(name, walk.owners.uid, walk.owners.gid, dir_fd=folder, follow_symlinks=False)
            if change_modes and stat.S_ISREG(found.st_mode):
                _file_mode(folder, name, found.st_mode)
    os.fchown(folder, walk.owners.uid, walk.owners.gid)


def _below(walk: _Walk, folder: int, here: PurePosixPath, change_modes: bool) -> None:
    child = _open_folder(folder, here.name)
    try:
        _folder(walk, child, here, change_modes)
    finally:
        os.close(child)


def _open_folder(folder: int, name: str) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=folder)
    except PermissionError:  # only without root: the build, which ran as this user, took the right away
        os.chmod(name, 0o700, dir_fd=folder)
        return os.open(name, _FOLDER, dir_fd=folder)


def _file_mode(folder: int, name: str, mode: int) -> None:
    """0755 for what is executable, 0644 for the rest: no set-id bits, nobody else writes."""
    wanted = 0o755 if mode & 0o111 else 0o644
    if stat.S_IMODE(mode) == wanted:
        return
    file = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        Path(f"/proc/self/fd/{file}").chmod(wanted)  # fchmodat(2) has no AT_SYMLINK_NOFOLLOW of use here
    finally:
        os.close(file)


def _acceptable(walk: _Walk, here: PurePosixPath, found: os.stat_result) -> bool:
    if found.st_uid not in walk.owners.accepted or len(here.parts) > _DEPTH:
        return False
    if stat.S_ISREG(found.st_mode) and found.st_nlink > 1 and found.st_ino not in walk.taken:
        if found.st_uid not in walk.owners.may_link:
            return False
        walk.taken.add(found.st_ino)
    if stat.S_ISLNK(found.st_mode):
        return here.parts[0] in _LINKED and len(here.parts) > 1
    return stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)


def _refuse(walk: _Walk, folder: int, here: PurePosixPath, found: os.stat_result) -> None:
    if here.parts[0] in walk.kept or not walk.kept:
        walk.refused.append(str(here))
    elif stat.S_ISDIR(found.st_mode):
        folders.remove(walk.root / here)
    else:
        os.unlink(here.name, dir_fd=folder)
