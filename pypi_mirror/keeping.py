"""What stays on the disk: the least recently used goes first, and what is there is what it says it is.

A file's time of access is that of its inode, set from nginx's access log, which is read on from where it was left:
nginx serves most files without asking anybody. The atime that the system keeps would do for a day's precision on some
mounts (relatime) and not at all on others (noatime); and the log tells, too, how often the mirror had what was asked.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from core.cooperative import aside
from core.errors import DaeError
from core.files import write_atomically
from core.paths import Home
from pypi_mirror.model import METADATA_SUFFIX, possible_projects
from pypi_mirror.stock import Own, Stocked, measured, stock
from pypi_mirror.store import Store

PASS_SECONDS = 30.0
PASS_BYTES = 32 << 20  # of the log that are read at once
LOCK_BYTES = 8 << 20
BLOCK = 1 << 20
_HASH = re.compile(rb"sha256:([0-9a-f]{64})")
_FILE = re.compile(r"/pypi/(?:view/[a-z0-9-]+/)?files/[0-9a-f]{2}/([0-9a-f]{64})/([^/?]+)")
_PAGE = re.compile(r"/pypi/(?:view/[a-z0-9-]+/)?simple/[^/?]+/")


def pinned(locks: Path) -> frozenset[str]:
    """The sha256 of every file that a kept lock names: a build may need it tomorrow, with upstream away."""
    found: set[str] = set()
    for path in sorted(locks.glob("*.txt")) if locks.is_dir() else ():
        with path.open("rb") as stream:
            found.update(match.decode() for match in _HASH.findall(stream.read(LOCK_BYTES)))
    return frozenset(found)


def usage(store: Store, locks: Path) -> dict[str, int]:
    """How many files and bytes there are, of upstream's and of our own; ``pinned_bytes``: those that locks keep."""
    counts = {"files": 0, "bytes": 0, "pinned_bytes": 0, "private_files": 0, "private_bytes": 0, "held_files": 0}
    own, pins = Own(store), pinned(locks)
    for item, status in measured(store):
        kind = "private_" if item in own else ""
        counts[f"{kind}files"] += 1
        counts[f"{kind}bytes"] += status.st_size
        counts["pinned_bytes"] += 0 if kind or item.sha256 not in pins else status.st_size
        counts["held_files"] += item.held
    return counts


def evict(store: Store, locks: Path, limit: int, *, dry: bool = False) -> dict[str, Any]:
    """Remove files of upstream's until they take ``limit`` bytes at most, those first that nobody asked for longest.

    Never one that a lock names, nor a private one. A file's metadata stays, so that pages stay as they are.
    """
    own = Own(store)
    total, kept, candidates = aside(_evictable, store, own, locks)
    gone: list[Stocked] = []
    for _time, size, item in candidates:
        if total <= limit:
            break
        if not dry:
            with store.locked():
                if item in own:  # it was nobody's yet when it was looked at
                    continue
                item.path.unlink(missing_ok=True)
        total -= size
        gone.append(item)
    return {"files": [item.filename for item in gone], "bytes": total, "pinned_bytes": kept, "limit": limit}


def _evictable(store: Store, own: Own, locks: Path) -> tuple[int, int, list[tuple[int, int, Stocked]]]:
    """The bytes of upstream's files, and of those that locks name; the others in order: last used, bytes, file."""
    pins = pinned(locks)
    total, kept, found = 0, 0, []
    for item, status in measured(store):
        if item in own:
            continue
        total += status.st_size
        if item.sha256 in pins:
            kept += status.st_size
        else:
            found.append((max(status.st_atime_ns, status.st_mtime_ns), status.st_size, item))
    return total, kept, sorted(found, key=lambda one: (one[0], one[2].path))


def verify(store: Store, say: Callable[[str], None]) -> dict[str, Any]:
    """Read every file; a damaged one is removed, and fetched again by who asks for it next.

    One of our own cannot be fetched again: it is put into ``mirror/damaged``, and published again heals it.
    """
    read, damaged, own = 0, [], Own(store)
    for item in stock(store):
        read += 1
        try:
            whole = aside(_sha256, item.path) == item.sha256
        except FileNotFoundError:
            continue  # it was evicted, or held, just now
        if whole:
            continue
        with store.locked():
            if not item.path.is_file():
                continue  # the same
            ours = item in own
            _remove(store, item, ours)
        damaged.append({"file": item.filename, "sha256": item.sha256, "private": ours})
        say(f"{item.filename} is damaged" + (": publish it again" if ours else ": it will be fetched again"))
        for name in possible_projects(item.filename)[:1]:
            store.drop_pages(name)
    return {"files": read, "damaged": damaged}


def _remove(store: Store, item: Stocked, own: bool) -> None:
    store.place(item.sha256, item.filename + METADATA_SUFFIX).unlink(missing_ok=True)
    if own:
        aside_ = store.root / "damaged"
        aside_.mkdir(mode=0o750, exist_ok=True)
        item.path.rename(aside_ / f"{item.sha256[:16]}-{item.filename}")
    else:
        item.path.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class Counts:
    """What nginx answered below /pypi/. A hit is what it answered without asking the mirror."""

    inode: int = 0
    offset: int = 0
    page_hits: int = 0
    page_misses: int = 0
    file_hits: int = 0
    file_misses: int = 0
    bytes_saved: int = 0
    bytes_passed: int = 0  # that the mirror itself sent
    uploads: int = 0
    refused: int = 0  # pages and files, by the policy

    @property
    def hit_rate(self) -> float | None:
        """The part of all requests that were hits; None before the first."""
        hits, misses = self.page_hits + self.file_hits, self.page_misses + self.file_misses
        return hits / (hits + misses) if hits + misses else None


def counts(store: Store) -> Counts:
    """What was counted so far."""
    try:
        return Counts(**json.loads((store.root / "access.json").read_bytes()))
    except (FileNotFoundError, ValueError, TypeError):
        return Counts()


def read_log(store: Store, log: Path) -> Counts:
    """Read on in nginx's access log: set the files' times of access, and count. What is read is read once.

    Where somebody else is just reading, what was counted so far is returned.
    """
    with (store.root / "access.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return counts(store)
        return aside(_read_on, store, log)


def _read_on(store: Store, log: Path) -> Counts:
    known = counts(store)
    try:
        stream = log.open("rb")
    except (FileNotFoundError, PermissionError):
        return known
    with stream:
        status = os.fstat(stream.fileno())
        start = known.offset if (status.st_ino == known.inode and known.offset <= status.st_size) else 0
        stream.seek(start)
        text = stream.read(PASS_BYTES)
    whole = text.rfind(b"\n") + 1
    found = replace(known, inode=status.st_ino, offset=start + whole)
    for line in text[:whole].splitlines():
        if b'"path":"/pypi/' in line:
            found = _counted(store, found, line)
    if found != known:
        write_atomically(store.root / "access.json", json.dumps({n: getattr(found, n) for n in _FIELDS}).encode())
    return found


_FIELDS = tuple(Counts.__dataclass_fields__)


def _counted(store: Store, found: Counts, line: bytes) -> Counts:
    try:
        data = json.loads(line)
        path, status, size = str(data["path"]), int(data["status"]), int(data["bytes"])
        hit = data.get("upstream") in ("", "-")
        moment = datetime.fromisoformat(data["time"]).timestamp()
    except (ValueError, KeyError, TypeError):
        return found
    if path.startswith("/pypi/?") or path == "/pypi/":
        return replace(found, uploads=found.uploads + (data.get("method") == "POST" and status == 200))
    if status == 403 and (_FILE.match(path) or _PAGE.match(path)):
        return replace(found, refused=found.refused + 1)
    if status not in (200, 206, 304):
        return found
    if match := _FILE.match(path):
        _touch(store, match[1], unquote(match[2]), moment)
        if hit:
            return replace(found, file_hits=found.file_hits + 1, bytes_saved=found.bytes_saved + size)
        return replace(found, file_misses=found.file_misses + 1, bytes_passed=found.bytes_passed + size)
    if _PAGE.match(path):
        if hit:
            return replace(found, page_hits=found.page_hits + 1)
        return replace(found, page_misses=found.page_misses + 1)
    return found


def _touch(store: Store, sha256: str, filename: str, moment: float) -> None:
    try:
        paths = (store.file_path(sha256, filename), store.held_path(sha256, filename))
    except DaeError:
        return
    for path in paths:
        try:
            status = path.stat()
            if status.st_atime < moment:
                os.utime(path, ns=(int(moment * 1e9), status.st_mtime_ns))
        except OSError:
            continue


class Keeper:
    """Does all that now and then, in the mirror's process. ``limit``: bytes; 0 for none."""

    def __init__(self, store: Store, home: Home, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._store, self._home, self._limit, self._clock = store, home, limit, clock
        self._due = clock() + PASS_SECONDS
        self._working = threading.Lock()

    def __call__(self) -> None:
        with self._working:
            if self._clock() < self._due:
                return
            self._due = self._clock() + PASS_SECONDS
            aside(read_log, self._store, self._home.logs / "nginx-access.log")
            if self._limit and aside(used, self._store) > self._limit:
                evict(self._store, self._home.locks, self._limit)


def used(store: Store) -> int:
    """The bytes that all files take."""
    return sum(status.st_size for _, status in measured(store))
