"""Coordination on the state store, among the processes of one machine.

Sessions are rows with a deadline. There is no server: whoever reads, writes or polls carries out what is due, with a
change row for each key that goes. Time is CLOCK_MONOTONIC, which all processes of a machine share and nobody sets;
the boot id beside it ends the sessions of an earlier boot.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm

from core.coord.interface import LOCKS, Change, Entry, Holder, Session, checked, checked_key
from core.coord.lease import Lease
from core.coord.locking import EmbeddedLock
from core.errors import DaeError
from core.store import CoordChangeRow, CoordFenceRow, CoordKeyRow, CoordSessionRow, Store

KEPT_CHANGES = 10_000
PRUNE_EVERY = 256
Changes = list[Change]  # inside the class, ``list`` is a method
PAUSE = 0.05  # seconds between two looks at the change rows, for what other processes did


def boot_id() -> str:
    """The name that Linux gives to this boot of the machine (proc(5))."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class EmbeddedCoord:
    """``Coord`` on the tables ``coord_*`` of a migrated store; ``clock`` must be one that all processes share."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic, boot: str = "") -> None:
        self._store, self._clock = store, clock
        self._boot = boot or boot_id()
        self._changed = threading.Condition()

    # keys

    def get(self, key: str) -> Entry | None:
        with self._reading() as db:
            row = db.get(CoordKeyRow, checked(key))
            return _entry(row) if row else None

    def list(self, prefix: str) -> list[Entry]:
        with self._reading() as db:
            wanted = sa.select(CoordKeyRow).where(_below(CoordKeyRow.key, prefix)).order_by(CoordKeyRow.key)
            return [_entry(row) for row in db.scalars(wanted)]

    def put(self, key: str, value: str, *, expect: int | None = None, session: Session | None = None) -> int:
        checked_key(key)
        with self._writing() as db:
            row = db.get(CoordKeyRow, key)
            _expected(key, row, expect)
            if session is not None:
                self._alive(db, session)
                if row is not None and row.session != session.id:
                    raise DaeError("coord/conflict", f"{key} belongs to another session, or to none", "delete it first")
            return _put(db, key, value, session.id if session else row.session if row else "")

    def delete(self, key: str, expect: int | None = None) -> None:
        checked_key(key)
        with self._writing() as db:
            row = db.get(CoordKeyRow, key)
            _expected(key, row, expect)
            if row is not None:
                _delete(db, row)

    def watch(self, prefix: str) -> EmbeddedWatch:
        return EmbeddedWatch(self, prefix)

    # sessions

    def session(self, ttl: float) -> Lease:
        if ttl <= 0:
            raise DaeError("input/invalid", f"a session cannot live {ttl} seconds", "give it some time")
        name, began = uuid.uuid4().hex, self._clock()
        with self._writing() as db:
            db.add(CoordSessionRow(id=name, boot=self._boot, ttl=ttl, expires=self._clock() + ttl))
        return Lease(name, ttl, began, self._clock, lambda: self._renew(name), lambda: self._end(name))

    def _renew(self, name: str) -> bool:
        with self._writing() as db:
            row = db.get(CoordSessionRow, name)
            if row is not None:
                row.expires = self._clock() + row.ttl
            return row is not None

    def _end(self, name: str) -> None:
        with self._writing() as db:
            _end_sessions(db, [name])

    def _alive(self, db: orm.Session, session: Session) -> None:
        session.check()
        if db.get(CoordSessionRow, session.id) is None:
            raise DaeError("coord/lost", "the coordination session ended", "try again")

    # locks

    def lock(self, name: str, session: Session, timeout: float | None, who: str = "") -> EmbeddedLock:
        return EmbeddedLock(self, name, session, timeout, who)

    def elect(self, name: str, session: Session, who: str = "", timeout: float | None = None) -> EmbeddedLock:
        return self.lock(f"leader/{name}", session, timeout, who)

    def holder(self, name: str) -> Holder | None:
        entry = self.get(_lock_key(name))
        return _holder(entry.value) if entry else None

    def take(self, name: str, session: Session, who: str) -> int:
        """One attempt: the fence number, or 0 when it is held. Looks before it writes, so that waiting is cheap."""
        session.check()
        if self.holder(name) is not None:
            return 0
        key = _lock_key(name)
        with self._writing() as db:
            self._alive(db, session)
            if db.get(CoordKeyRow, key) is not None:
                return 0
            row = db.get(CoordFenceRow, name) or CoordFenceRow(name=name, number=0)
            row.number += 1
            db.add(row)
            _put(db, key, json.dumps({"who": who, "fence": row.number}), session.id)
            return row.number

    def release(self, name: str, fence: int) -> None:
        """Release the lock if ``fence`` is still its number."""
        with self._writing() as db:
            row = db.get(CoordKeyRow, _lock_key(name))
            if row is not None and _holder(row.value).fence == fence:
                _delete(db, row)

    # changes

    def changes(self, prefix: str, after: int) -> tuple[int, Changes]:
        """The changes below ``prefix`` with a number above ``after``, and the number of the last change of all."""
        with self._reading() as db:
            first, last = db.execute(sa.select(sa.func.min(CoordChangeRow.id), sa.func.max(CoordChangeRow.id))).one()
            if last is None or last <= after:
                return after, []
            wanted = sa.select(CoordChangeRow.key, CoordChangeRow.kind).where(
                CoordChangeRow.id > after, _below(CoordChangeRow.key, prefix)
            )
            found = [Change(key, kind) for key, kind in db.execute(wanted.order_by(CoordChangeRow.id))]
            return last, ([Change(prefix, "missed")] if first > after + 1 else []) + found

    def last_change(self) -> int:
        """The number of the last change so far."""
        with self._store.read() as db:
            return db.scalar(sa.select(sa.func.max(CoordChangeRow.id))) or 0

    def wait(self, seconds: float) -> None:
        """Wait until something was written in this process, or ``seconds`` went by."""
        with self._changed:
            self._changed.wait(seconds)

    def now(self) -> float:
        """What the clock says."""
        return self._clock()

    # transactions

    @contextmanager
    def _reading(self) -> Iterator[orm.Session]:
        with self._store.read() as db:
            due = db.scalar(sa.select(sa.exists().where(self._due())))
        if due:
            with self._writing():
                pass  # opening it carries out what is due
        with self._store.read() as db:
            yield db

    @contextmanager
    def _writing(self) -> Iterator[orm.Session]:
        with self._store.write() as db:
            ended = list(db.scalars(sa.select(CoordSessionRow.id).where(self._due())))
            if ended:
                _end_sessions(db, ended)
            yield db
        with self._changed:
            self._changed.notify_all()

    def _due(self) -> sa.ColumnElement[bool]:
        return sa.or_(CoordSessionRow.expires <= self._clock(), CoordSessionRow.boot != self._boot)


class EmbeddedWatch:
    """Reads the change rows after the one that was the last when it was made, or polled."""

    def __init__(self, coord: EmbeddedCoord, prefix: str) -> None:
        self._coord, self._prefix = coord, prefix and checked(prefix)
        self._seen = coord.last_change()

    def poll(self, timeout: float) -> list[Change]:
        deadline = self._coord.now() + timeout
        while True:
            self._seen, found = self._coord.changes(self._prefix, self._seen)
            left = deadline - self._coord.now()
            if found or left <= 0:
                return found
            self._coord.wait(min(left, PAUSE))


def _entry(row: CoordKeyRow) -> Entry:
    return Entry(row.key, row.value, row.version, ephemeral=row.session != "")


def _holder(value: str) -> Holder:
    data = json.loads(value)
    return Holder(data["who"], data["fence"])


def _lock_key(name: str) -> str:
    return f"{LOCKS}/{checked(name)}"


def _below(column: Any, prefix: str) -> sa.ColumnElement[bool]:
    """The key ``prefix`` and what is below it; ``0`` is the character after ``/``."""
    if not prefix:
        return sa.true()
    checked(prefix)
    return sa.or_(column == prefix, sa.and_(column > f"{prefix}/", column < f"{prefix}0"))


def _expected(key: str, row: CoordKeyRow | None, expect: int | None) -> None:
    version = row.version if row else 0
    if expect is not None and expect != version:
        raise DaeError("coord/conflict", f"{key} has version {version}, not {expect}", "read it again, and decide anew")


def _change(db: orm.Session, key: str, kind: str) -> int:
    """Note a change; its number doubles as the key's version, so that none ever comes twice."""
    row = CoordChangeRow(key=key, kind=kind)
    db.add(row)
    db.flush()
    if row.id % PRUNE_EVERY == 0:
        db.execute(sa.delete(CoordChangeRow).where(CoordChangeRow.id <= row.id - KEPT_CHANGES))
    return row.id


def _put(db: orm.Session, key: str, value: str, session: str) -> int:
    version = _change(db, key, "put")
    db.merge(CoordKeyRow(key=key, value=value, version=version, session=session))
    return version


def _delete(db: orm.Session, row: CoordKeyRow) -> None:
    _change(db, row.key, "gone")
    db.delete(row)


def _end_sessions(db: orm.Session, names: list[str]) -> None:
    for row in list(db.scalars(sa.select(CoordKeyRow).where(CoordKeyRow.session.in_(names)))):
        _delete(db, row)
    db.execute(sa.delete(CoordSessionRow).where(CoordSessionRow.id.in_(names)))
    db.flush()
