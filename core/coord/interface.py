"""Coordination as one small interface: keys with compare-and-set, watches, sessions, locks, election.

A name is one or more segments of ``a-z A-Z 0-9 . _ -`` joined by ``/``. A *prefix* is a name too and means the key of
that name and everything below it, by whole segments: ``nodes/a`` is below ``nodes``, ``nodes-old/a`` is not. The empty
prefix means everything. Keys below ``locks/`` belong to the locks.

Every implementation passes ``tests/core/coord_contract.py``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from core.errors import DaeError

NAME = re.compile(r"(?:[A-Za-z0-9._-]{1,100}/){0,9}[A-Za-z0-9._-]{1,100}\Z")
LOCKS = "locks"


@dataclass(frozen=True, slots=True)
class Entry:
    """A key as it was read. ``version`` changes with every put; ``ephemeral``: it goes when its session ends."""

    key: str
    value: str
    version: int
    ephemeral: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """A hint that ``key`` was ``put`` or is ``gone``; ``missed``: more happened than was kept. Re-reading is truth."""

    key: str
    kind: str


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock, in the holder's own words, and with which fence number."""

    who: str
    fence: int

    def __str__(self) -> str:
        return self.who


class Session(Protocol):
    """A lease that a background thread renews; keys and locks tied to it go when it ends.

    It must not be carried through a fork. A cut-off holder is not told: whoever works under a session looks at
    :attr:`lost` (or calls :meth:`check`) before each step that others may see.
    """

    @property
    def id(self) -> str:
        """The session's own name."""

    @property
    def lost(self) -> bool:
        """True from a moment *before* anybody else may treat the session as ended, by the holder's own clock; and
        for ever after."""

    def check(self) -> None:
        """Raise ``coord/lost`` when :attr:`lost`."""

    def close(self) -> None:
        """End it now: what it held is gone at once. Closing again does nothing."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Lock(Protocol):
    """A lock of many processes: ``with`` takes it and raises ``coord/timeout`` when it is not free in time.

    Not re-entrant: the same session waits for itself.
    """

    @property
    def name(self) -> str: ...

    @property
    def fence(self) -> int:
        """Larger than that of everybody who held this lock before; writes made under the lock carry it. 0: not held."""

    @property
    def lost(self) -> bool:
        """True unless it is held and its session is not lost."""

    def acquire(self, timeout: float | None = None) -> bool:
        """Wait up to ``timeout`` seconds (None: what the lock was made with); True when it is held now.

        Raises ``coord/lost`` when the session ends meanwhile.
        """

    def check(self) -> None:
        """Raise ``coord/lost`` when :attr:`lost`."""

    def release(self) -> None:
        """Let it go; does nothing when it is not held, or is somebody else's by now."""

    def holder(self) -> Holder | None:
        """Who holds it now, or None."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Watch(Protocol):
    """Changes below a prefix since the watch was made."""

    def poll(self, timeout: float) -> list[Change]:
        """The changes since the last poll, oldest first; waits up to ``timeout`` seconds for the first one."""


class Coord(Protocol):
    """What the parts of a platform agree through. Malformed names raise ``input/invalid``."""

    def get(self, key: str) -> Entry | None:
        """The entry, or None when there is no such key."""

    def put(self, key: str, value: str, *, expect: int | None = None, session: Session | None = None) -> int:
        """Write ``value`` and return the new version (at least 1).

        ``expect``: the version that the key must have, 0: it must not exist, None: whatever there is. With a
        ``session`` the key is made to end with it; a key that exists keeps the session it was made with, and a put
        that names another one is refused. Raises ``coord/conflict``, or ``coord/lost`` when the session ended.
        """

    def delete(self, key: str, expect: int | None = None) -> None:
        """Remove the key; nothing happens when there is none. Raises ``coord/conflict`` when it has another version
        than ``expect`` (a missing key has version 0)."""

    def list(self, prefix: str) -> list[Entry]:
        """The entries below ``prefix``, by key."""

    def watch(self, prefix: str) -> Watch:
        """Watch ``prefix`` from now on."""

    def session(self, ttl: float) -> Session:
        """Open a session that ends ``ttl`` seconds after its last renewal."""

    def lock(self, name: str, session: Session, timeout: float | None, who: str = "") -> Lock:
        """The lock ``name``, not taken yet; it will wait up to ``timeout`` seconds, None: as long as it takes.

        ``who`` is what others are told about the holder.
        """

    def holder(self, name: str) -> Holder | None:
        """Who holds the lock ``name``, or None."""

    def elect(self, name: str, session: Session, who: str = "", timeout: float | None = None) -> Lock:
        """The lock whose holder is the leader ``name``; others read it with ``holder("leader/" + name)``."""


def checked(name: str) -> str:
    """Return ``name`` if it is one; raises ``input/invalid``."""
    if not NAME.match(name) or any(part in (".", "..") for part in name.split("/")):
        raise DaeError("input/invalid", f"{name[:80]!a} is not a coordination name", "use a-z, 0-9, . _ - and /")
    return name


def checked_key(name: str) -> str:
    """Return ``name`` if it is a key that callers may write; raises ``input/invalid``."""
    if checked(name).split("/")[0] == LOCKS:
        raise DaeError("input/invalid", f"{name!a} belongs to the locks", "choose another name")
    return name
