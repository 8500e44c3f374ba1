"""What was done to private projects becomes events: once it is true, and at least once.

An action stands in the project's record, whole with the change that it is; the record counts those that were not told
yet. They are told right after it, else with the next change of the project or when control starts. An upload that was
cut off before its file was listed is not told.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType

import sqlalchemy as sa

from core import events
from core.cooperative import take_flock
from core.errors import DaeError
from core.store import Store as Database
from pypi_mirror import private, records
from pypi_mirror.records import Action
from pypi_mirror.store import Store

#: What was done -> the event, and what its subject is called there. An import is told as a whole.
KINDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "upload": ("package-uploaded", "file"),
        "yank": ("package-yanked", "version"),
        "unyank": ("package-unyanked", "version"),
        "delete": ("package-deleted", "version"),
        "status": ("package-marked", "status"),
        "claim": ("package-claimed", "owner"),
        "release": ("package-released", "owner"),
    }
)

log = logging.getLogger("dae.mirror")


def tell(database: Database, store: Store, name: str) -> None:
    """Append the events of what was done to the project, by its normalised name, and not told yet.

    It never fails what was done: what cannot be told now is told later.
    """
    try:
        with _alone(store):
            _tell(database, store, name)
    except (DaeError, OSError, sa.exc.SQLAlchemyError):
        log.exception("what was done to %s could not be told", name)


def tell_all(database: Database, store: Store) -> None:
    """The same for all projects: for the start."""
    for path in sorted((store.root / "records").glob("*.json")):
        tell(database, store, path.stem)


def _tell(database: Database, store: Store, name: str) -> None:
    if not records.load(store, name).untold:
        return
    with store.locked():  # nobody is between a record and what it tells of
        known, record = records.load(store, name), private.settled(store, name)
        if not (known.is_free or store.is_private(name)):
            return  # the mirror lists what is here of it when it starts
        if record != known:
            records.save(store, name, record)
    with database.write() as session:
        for action in record.actions[-record.untold :]:
            if action.what in KINDS:
                kind, _ = KINDS[action.what]
                who = "" if action.who == "the platform" else action.who
                events.append(session, kind, who=who, data=_data(name, action))
    with store.locked():
        now = records.load(store, name)
        records.save(store, name, replace(now, untold=max(0, now.untold - record.untold)))


def _data(name: str, action: Action) -> dict[str, str]:
    subject = {KINDS[action.what][1]: action.subject} if action.subject else {}
    return {"project": name, **subject, **({"reason": action.reason} if action.reason else {})}


@contextmanager
def _alone(store: Store) -> Iterator[None]:
    """One at a time, in this process and others."""
    with (store.root / "telling.lock").open("ab") as stream:
        take_flock(stream)
        yield
