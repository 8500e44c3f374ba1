"""Events and their deliveries come and go together."""

from __future__ import annotations

import datetime

import pytest
import sqlalchemy as sa

from core import events
from core.nouns import now
from core.store import DeliveryRow, EventRow, HookRow, Store


def add_hooks(store: Store, *apps: str, retired: bool = False) -> None:
    with store.write() as session:
        for app in apps:
            session.add(HookRow(app=app, url="https://a.example/", secret="s", retired=retired, created=now()))


def test_append_and_list(store: Store) -> None:
    """An event comes back as it was appended; lists go by app, from an id on, a page at a time."""
    moment = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    with store.write() as session:
        first = events.append(session, "app-created", app="blog", who="ann", data={"a": [1]}, clock=lambda: moment)
        for app in ("shop", "blog", "blog"):
            events.append(session, "push-received", app=app, stage="dev")
    assert (first.kind, first.who, first.data, first.created) == ("app-created", "ann", {"a": [1]}, moment)
    with store.read() as session:
        assert events.list_events(session, "blog")[0] == first
        assert [e.id for e in events.list_events(session)] == [1, 2, 3, 4]
        assert [e.id for e in events.list_events(session, "blog", after=1)] == [3, 4]
        assert [e.id for e in events.list_events(session, "blog", after=1, limit=1)] == [3]
        assert events.list_events(session, "blo") == []


def test_each_interested_webhook_gets_a_delivery(store: Store) -> None:
    """A delivery is due at once for the app's webhooks and those of all apps, not for others or retired ones."""
    add_hooks(store, "", "blog", "shop")
    add_hooks(store, "", "blog", retired=True)
    with store.write() as session:
        event = events.append(session, "release-live", app="blog", stage="dev")
        events.append(session, "platform-started")
    with store.read() as session:
        rows = session.scalars(sa.select(DeliveryRow).order_by(DeliveryRow.id))
        assert [(row.hook, row.event, row.state, row.attempts) for row in rows] == [
            (1, 1, "waiting", 0),
            (2, 1, "waiting", 0),
            (1, 2, "waiting", 0),
        ]
        assert session.get_one(DeliveryRow, 1).due == event.created


def test_what_did_not_happen_is_not_told(store: Store) -> None:
    """When the transaction is undone, event and deliveries are too."""
    add_hooks(store, "")
    with pytest.raises(ZeroDivisionError), store.write() as session:
        events.append(session, "release-live", app="blog")
        raise ZeroDivisionError
    with store.read() as session:
        assert session.scalar(sa.select(sa.func.count(EventRow.id))) == 0
        assert session.scalar(sa.select(sa.func.count(DeliveryRow.id))) == 0


def test_unknown_kinds(store: Store) -> None:
    """A kind outside the catalogue is a defect."""
    with pytest.raises(KeyError), store.write() as session:
        events.append(session, "something-happened")
