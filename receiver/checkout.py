"""The exact bytes of a commit, written to a fresh folder.

``git archive`` and ``git checkout`` would obey the commit's own .gitattributes (export-ignore, export-subst, eol,
filters): what runs must be the commit's tree, whole. So: one ``git ls-tree``, all checks, then one ``git cat-file
--batch`` (git-cat-file(1)).
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from core.errors import DaeError
from core.spawn import Child
from receiver.tree import Entry, Plan, check_links, parse_entry, plan

LISTING_SECONDS = 60  # a tree of nothing but folders can be made to list forever
WRITING_SECONDS = 900
CHUNK = 1 << 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Base:
    """A tree (its object name) that was written before to ``folder``, where nobody has changed it since."""

    tree: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Checkout:
    """What was written: the tree's object name, and the paths of the files that are links into the base."""

    tree: str
    linked: frozenset[str] = frozenset()


def checkout(
    git: Sequence[str],
    environ: Mapping[str, str],
    commit: str,
    dest: Path,
    limits: tuple[int, int],
    base: Base | None = None,
) -> Checkout:
    """Write the tree of ``commit`` to ``dest``, which must not exist.

    ``git`` is the beginning of the argv, up to the subcommand; ``limits``: the most bytes and the most files. ``dest``
    becomes 0700, folders and executables in it 0755, files 0644. A file that ``base`` has, too, is a link to the one
    there, and must not be written to. Nothing is left when it fails. Raises ``build/unsafe-tree``, ``push/too-large``,
    ``push/bad-ref`` (no such commit) or FileExistsError.
    """
    todo = _plan(git, environ, commit, *limits)
    links: Sequence[bytes] = ()
    if base is not None:
        todo, links = _without(todo, _entries(git, environ, base.tree))
    dest.mkdir(mode=0o700)
    try:
        tree = _fill(git, environ, commit, dest, todo)
        if base is not None:
            _link(base.folder, dest, links)
    except BaseException:
        shutil.rmtree(dest)
        raise
    return Checkout(tree, frozenset(os.fsdecode(path) for path in links))


def _entries(git: Sequence[str], environ: Mapping[str, str], tree: str) -> frozenset[tuple[bytes, str, int]]:
    """The files of a tree of ours; none when git does not have it (any more)."""
    argv = [*git, "ls-tree", "-r", "-z", "-l", "--full-tree", "--end-of-options", tree]
    with _running(argv, environ, None, LISTING_SECONDS) as (process, stream):
        found = frozenset(_identity(parse_entry(line)) for line in _records(stream))
        return found if process.wait() == 0 else frozenset()


def _identity(entry: Entry) -> tuple[bytes, str, int]:
    return entry.path, entry.blob, entry.permissions


def _without(todo: Plan, known: frozenset[tuple[bytes, str, int]]) -> tuple[Plan, list[bytes]]:
    """The plan without the files that are ``known``, and their paths. Bytecode that was committed is always written:
    in the base, ours may stand in its place."""
    links = {entry.path for entry in todo.files if _identity(entry) in known and b"__pycache__" not in entry.path}
    return replace(todo, files=[entry for entry in todo.files if entry.path not in links]), sorted(links)


def _link(base: Path, dest: Path, paths: Iterable[bytes]) -> None:
    there, here = os.open(base, _FOLDER), os.open(dest, _FOLDER)
    try:
        for path in paths:
            os.link(path, path, src_dir_fd=there, dst_dir_fd=here, follow_symlinks=False)
    finally:
        os.close(here)
        os.close(there)


def _plan(git: Sequence[str], environ: Mapping[str, str], commit: str, max_bytes: int, max_files: int) -> Plan:
    argv = [*git, "ls-tree", "-r", "-z", "-l", "--full-tree", "--end-of-options", commit]
    with _running(argv, environ, None, LISTING_SECONDS) as (process, stream):
        todo = plan(map(parse_entry, _records(stream)), max_bytes, max_files)
        if process.wait() != 0:
            raise DaeError("push/bad-ref", f"the files of {commit} cannot be listed", "push with git itself")
    return todo


def _records(stream: IO[bytes]) -> Iterator[bytes]:
    """The parts that end in NUL."""
    pending = b""
    while chunk := stream.read(1 << 16):
        *whole, pending = (pending + chunk).split(b"\0")
        yield from whole


def _fill(git: Sequence[str], environ: Mapping[str, str], commit: str, dest: Path, todo: Plan) -> str:
    names = [commit, *(e.blob for e in todo.links), *(e.blob for e in todo.files)]
    with tempfile.TemporaryFile() as wanted:  # a file, not a pipe: git and we never wait for one another
        wanted.write("".join(f"{name}\n" for name in names).encode())
        wanted.seek(0)
        argv = [*git, "cat-file", "--batch", "--buffer"]
        with _running(argv, environ, wanted, WRITING_SECONDS) as (_process, stream):
            return _write(stream, commit, dest, todo)


def _write(stream: IO[bytes], commit: str, dest: Path, todo: Plan) -> str:
    tree = _read_commit(stream, commit)
    targets = {link.path: b"".join(_blob(stream, link)) for link in todo.links}
    check_links(targets)
    root = os.open(dest, _FOLDER)
    try:
        for folder in todo.folders:
            os.mkdir(folder, 0o755, dir_fd=root)
            os.chmod(folder, 0o755, dir_fd=root)  # noqa: S103 - the umask; relative to the open folder
        for entry in todo.files:
            _write_file(stream, entry, root)
        for path, target in targets.items():  # last, so that nothing is ever written through one
            os.symlink(target, path, dir_fd=root)
    finally:
        os.close(root)
    return tree


def _write_file(stream: IO[bytes], entry: Entry, root: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(entry.path, flags, 0o600, dir_fd=root)
    try:
        for chunk in _blob(stream, entry):
            written = os.write(descriptor, chunk)
            while written < len(chunk):
                written += os.write(descriptor, chunk[written:])
        os.fchmod(descriptor, entry.permissions)
    finally:
        os.close(descriptor)


def _read_commit(stream: IO[bytes], commit: str) -> str:
    """The tree that a commit names; an annotated tag or a blob is not one, and git would not take it for a branch."""
    kind, size = _header(stream, commit)
    first = b""
    for chunk in _content(stream, size):
        first = first or chunk[:46]
    if kind != b"commit" or not first.startswith(b"tree "):
        raise DaeError("push/bad-ref", f"{commit} is a {kind.decode()} and not a commit", "push a commit")
    return first[5:45].decode()


def _blob(stream: IO[bytes], entry: Entry) -> Iterator[bytes]:
    kind, size = _header(stream, entry.blob)
    if (kind, size) != (b"blob", entry.size):
        raise DaeError("platform/internal", f"git has {entry.blob} as {kind.decode()} of {size} bytes", "see: git fsck")
    return _content(stream, size)


def _header(stream: IO[bytes], name: str) -> tuple[bytes, int]:
    """``<name> <type> <size>``: the line before each object."""
    words = stream.readline(200).split()
    if len(words) != 3 or words[0] != name.encode():
        raise DaeError("platform/internal", f"git does not have the object {name}", "see: git fsck")
    return words[1], int(words[2])


def _content(stream: IO[bytes], size: int) -> Iterator[bytes]:
    left = size
    while left:
        chunk = stream.read(min(left, CHUNK))
        if not chunk:
            raise DaeError("platform/internal", "git ended in the middle of an object", "see the log; push again")
        left -= len(chunk)
        yield chunk
    stream.read(1)  # the newline after each object


@contextmanager
def _running(
    argv: Sequence[str], environ: Mapping[str, str], stdin: IO[bytes] | None, seconds: float
) -> Iterator[tuple[Child, IO[bytes]]]:
    """A git and what it writes; it ends with the block, and is killed when it takes longer than ``seconds``."""
    process = Child(argv, environ, stdin)
    timer = threading.Timer(seconds, process.kill)
    timer.daemon = True
    timer.start()
    try:
        with process.reader() as stream:
            yield process, stream
    finally:
        timer.cancel()
        process.kill()
        process.wait()
