"""A platform with the app blog, for workflows that ask nothing of the node but accounts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from control.accounts import Identity
from control.context import Context
from control.locks import lock_name
from control.node import Node
from control.output import Output
from core.config import Settings
from core.coord import EmbeddedCoord
from core.nouns import now
from core.paths import Home
from core.store import AppRow, Store, UserRow
from slugs import SlugStore

MARY = Identity("mary", admin=True)
QUIET = Output(lambda _line: None)


class Agent:
    """Tells who held the app while its account was made."""

    def __init__(self, store: Store) -> None:
        self.coord = EmbeddedCoord(store)
        self.holders: list[str] = []

    def ensure_app(self, app: str) -> None:
        self.holders.append(str(self.coord.holder(lock_name(app))))


@contextmanager
def platform(home: Home, database: Path) -> Iterator[Context]:
    store = Store.at(database)
    store.migrate()
    with store.write() as session:
        session.add(UserRow(name="mary", admin=True, created=now()))
        session.flush()
        session.add(AppRow(name="blog", owner="mary", next_release=1, destroyed=False, created=now()))
    node = cast(Node, SimpleNamespace(agent=Agent(store)))
    yield Context(Settings(home.root), home, store, EmbeddedCoord(store), SlugStore(home), node, accounts=False)
    store.close()
