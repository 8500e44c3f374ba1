"""What a commit holds, judged before a byte of it is written. Pure: listings in, plans out.

A listing is the output of ``git ls-tree -r -z -l --full-tree`` (git-ls-tree(1)). Commits come from strangers: paths,
modes and the targets of symlinks are looked at as an attacker's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from core.errors import DaeError

NAME_BYTES = 255  # NAME_MAX, limits.h(0p)
PATH_BYTES = 2048  # leaves room below PATH_MAX for the folder that the tree is put into
PATH_FOLDERS = 100  # each holds a descriptor open while a tree is walked, and Python walks by recursion
TARGET_BYTES = 2048
LINK_HOPS = 40  # path_resolution(7)
LINK_STEPS = 200_000  # how long all links of a commit together may take to follow

_LINE = re.compile(rb"(\d{6}) (blob|commit|tree) ([0-9a-f]{40}) +(\d+|-)\t(.+)\Z", re.DOTALL)
# The code points that HFS+ ignores in names: ".g<U+200C>it" is ".git" there (git's utf8.c, next_hfs_char).
_IGNORED = dict.fromkeys([*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF])


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or symlink of a commit: its mode as git has it, its blob and that blob's size in bytes."""

    mode: int
    blob: str
    size: int
    path: bytes

    @property
    def is_link(self) -> bool:
        return self.mode == 0o120000

    @property
    def permissions(self) -> int:
        return 0o755 if self.mode & 0o100 else 0o644


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be written: folders (parents first), files, and at last the symlinks."""

    folders: Sequence[bytes]
    files: Sequence[Entry]
    links: Sequence[Entry]


def unsafe(path: bytes, reason: str, hint: str = "remove it from the commit") -> DaeError:
    """``build/unsafe-tree`` that names the path."""
    return DaeError("build/unsafe-tree", f"{shown(path)} {reason}", hint)


def shown(path: bytes) -> str:
    """A path for people: nothing in it reaches a terminal as a control character."""
    text = ascii(path[:200].decode(errors="surrogateescape"))
    return text[1:-1]


def parse_entry(line: bytes) -> Entry:
    """One record of the listing; raises ``build/unsafe-tree`` for submodules and for modes that git does not make."""
    match = _LINE.match(line)
    if match is None:
        raise unsafe(line, "is a record that cannot be read")
    mode, kind, blob, size, path = match.groups()
    if mode == b"160000":
        raise unsafe(
            path, "is a submodule, and submodules are not fetched", "commit its files, or require it as a package"
        )
    if kind != b"blob" or mode not in (b"100644", b"100755", b"100664", b"120000"):
        raise unsafe(path, f"has the mode {mode.decode()}, which a commit should not have")
    return Entry(int(mode, 8), blob.decode(), int(size), path)


def plan(entries: Iterable[Entry], max_bytes: int, max_files: int) -> Plan:
    """Check all paths, counts and sizes; the targets of links are checked later, by :func:`check_links`.

    ``entries`` is read no further than the limits allow. Raises ``build/unsafe-tree`` or ``push/too-large``.
    """
    folders: dict[bytes, None] = {}
    files: dict[bytes, Entry] = {}
    total = 0
    for entry in entries:
        total += entry.size
        if total > max_bytes:
            raise DaeError(
                "push/too-large", f"the commit unpacks to more than {max_bytes:,} bytes", "take out large files"
            )
        _check_path(entry.path, folders)
        if entry.path in files:
            raise unsafe(entry.path, "is in its tree twice")
        files[entry.path] = entry
        if len(files) > max_files or len(folders) > max_files:
            raise DaeError(
                "push/too-large", f"the commit has more than {max_files:,} files or folders", "take some out"
            )
    for folder in folders:
        if folder in files:
            raise unsafe(folder, "is both a file and a folder")
    links = [entry for entry in files.values() if entry.is_link]
    for link in links:
        if not 0 < link.size <= TARGET_BYTES:
            raise unsafe(link.path, f"is a symlink with a target of {link.size} bytes")
    return Plan(list(folders), [entry for entry in files.values() if not entry.is_link], links)


def _check_path(path: bytes, folders: dict[bytes, None]) -> None:
    """Raise unless every part of the path is a plain name; adds its folders, parents first."""
    if len(path) > PATH_BYTES or b"\0" in path:
        raise unsafe(path, f"is a path of {len(path)} bytes")
    check_text(path, path)
    if path.count(b"/") > PATH_FOLDERS:
        raise unsafe(path, f"lies below more than {PATH_FOLDERS} folders")
    folder, _, name = path.rpartition(b"/")
    _check_name(name, path)
    if not folder and len(path) != len(name):
        raise unsafe(path, "is an absolute path")
    missing = []
    while folder and folder not in folders:
        missing.append(folder)
        parent, slash, name = folder.rpartition(b"/")
        _check_name(name, path)
        if slash and not parent:
            raise unsafe(path, "is an absolute path")
        folder = parent
    folders.update(dict.fromkeys(reversed(missing)))


def _check_name(name: bytes, path: bytes) -> None:
    if name in (b"", b".", b".."):
        raise unsafe(path, "has an empty part, '.' or '..' in its path")
    if len(name) > NAME_BYTES:
        raise unsafe(path, f"has a name of {len(name)} bytes in its path")
    if is_dot_git(name):
        raise unsafe(path, "has a name in its path that stands for git's own folder")


def check_text(path: bytes, text: bytes) -> None:
    """Raise ``build/unsafe-tree`` unless ``text``, which is ``path`` or where it leads, is UTF-8 (RFC 3629).

    The manifest of a layer names its files, and could not name such a one.
    """
    try:
        text.decode()
    except UnicodeDecodeError:
        what = "has a name" if text is path else f"is a symlink to {shown(text)}, a name"
        raise unsafe(path, f"{what} that is not UTF-8", "rename it") from None


def is_dot_git(name: bytes) -> bool:
    """Whether any file system takes the name for ``.git``: the rules of core.protectHFS and core.protectNTFS."""
    if name.isascii() and b"git" not in name.lower():
        return False
    text = name.decode(errors="replace").translate(_IGNORED).lower()
    return any(part.split(":")[0].rstrip(" .") in (".git", "git~1") for part in text.split("\\"))


def check_links(targets: Mapping[bytes, bytes]) -> None:
    """Raise ``build/unsafe-tree`` unless every symlink (path -> target) stays inside the tree, and is UTF-8.

    They are followed as the kernel would, through one another (path_resolution(7)): taking ``..`` off the text is not
    enough where a folder on the way is itself a link.
    """
    budget = LINK_STEPS
    for path, target in targets.items():
        check_text(path, target)
        budget = _follow(path, target, targets, budget)


def _follow(path: bytes, target: bytes, targets: Mapping[bytes, bytes], budget: int) -> int:
    """Walk one link to its end; returns what is left of the budget of steps."""
    done = path.split(b"/")[:-1]
    todo: list[bytes] = []
    hops = 0
    following: bytes | None = target
    while following is not None or todo:
        if following is not None:
            hops += 1
            if following.startswith(b"/") or b"\0" in following:
                raise _outward(path, target)
            todo.extend(reversed(following.split(b"/")))
            following = None
        budget -= 1
        if hops > LINK_HOPS or budget < 0:
            raise unsafe(path, "is a symlink that leads through too many others")
        part = todo.pop()
        if part == b"..":
            if not done:
                raise _outward(path, target)
            done.pop()
        elif part not in (b"", b"."):
            following = targets.get(b"/".join([*done, part]))
            if following is None:
                done.append(part)
    return budget


def _outward(path: bytes, target: bytes) -> DaeError:
    return unsafe(
        path, f"is a symlink to {shown(target)}, which is outside the commit", "link within the repository only"
    )
